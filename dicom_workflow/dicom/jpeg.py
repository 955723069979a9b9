"""Code streams of the JPEG family: the size that each declares, and 12-bit JPEG, for which pydicom has no decoder."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import JPEGExtended12Bit

from dicom_workflow.dicom.element_walker import PIXEL_DATA
from dicom_workflow.errors import UnsupportedPixelsError

_JPEG2000_START, _JP2_START = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_JPEG_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}  # SOF markers; tables lie between them


def code_stream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components of a JPEG, JPEG-LS or JPEG 2000 code stream, None for anything else.

    References
    ----------
    ISO/IEC 10918-1 B.2.2 (SOF), 14495-1 C.2.2 (SOF55); ISO/IEC 15444-1 A.5.1 (SIZ).
    """
    if frame.startswith((_JPEG2000_START, _JP2_START)):
        # In a JP2 file boxes come first, and one of them may hold what only looks like a code stream: the largest counts.
        starts = [found.start() for found in re.finditer(_JPEG2000_START, frame)] if frame.startswith(_JP2_START) else [0]
        sizes = [struct.unpack_from(">4L16xH", frame, start + 8) for start in starts]
        sizes = [(bottom - top, right - left, components) for right, bottom, left, top, components in sizes]
        return max(sizes, key=lambda size: size[0] * size[1] * size[2], default=None)
    at = 2
    while frame[:2] == b"\xff\xd8" and frame[at] == 0xFF:
        if frame[at + 1] in _JPEG_FRAMES:
            rows, columns, components = struct.unpack_from(">HHB", frame, at + 5)
            return rows, columns, components
        at += 1 if frame[at + 1] == 0xFF else 2 + int(struct.unpack_from(">H", frame, at + 2)[0])  # FF may fill
    return None


def decode_12_bits(frame: bytes, options: dict[str, Any]) -> NDArray[Any]:
    """Decode JPEG Extended (Process 2 and 4) of 12 bits by GDCM, which pydicom does not ask for it.

    Parameters
    ----------
    frame : bytes
        Code stream of one frame.
    options : dict
        Of pydicom's `as_pixel_options`: rows, columns, samples_per_pixel, photometric_interpretation.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, samples), uint16

    Raises
    ------
    UnsupportedPixelsError
        GDCM is not installed.
    ValueError
        GDCM cannot decode the code stream.
    """
    try:
        import gdcm  # type: ignore[import-untyped]
    except ImportError:
        raise UnsupportedPixelsError(
            "no installed decoder reads JPEG Extended (1.2.840.10008.1.2.4.51) of 12 bits. `pip install python-gdcm`."
        ) from None
    rows, columns, samples = (int(options[key]) for key in ("rows", "columns", "samples_per_pixel"))
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(options["photometric_interpretation"]))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str.__str__(JPEGExtended12Bit))))
    image.SetPixelFormat(gdcm.PixelFormat(samples, 16, 12, 11, 0))
    text = image.GetBuffer()  # GDCM returns char* as text
    if text is None:
        raise ValueError("GDCM returns no pixels")
    shape = (rows, columns, samples) if samples > 1 else (rows, columns)
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), "<u2").reshape(shape)
