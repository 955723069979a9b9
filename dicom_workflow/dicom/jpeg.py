"""Code streams of the JPEG family: their declared size, the lower resolutions of JPEG 2000, and JPEG of 12 bits.

JPEG 2000 stores an image as a small one and, for each doubling, what has to be added. In most files the small one comes first.
So the beginning of a code stream, with a header that promises no more than that, is a code stream of the small image: any
decoder reads it, and works only for the pixels that are wanted.

References: ISO/IEC 15444-1 A.4.2 (SOT), A.5.1 (SIZ), A.6.1 (COD), A.6.4 (QCD), B.5 (resolution levels), B.12 (order of
packets).
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGExtended12Bit

from dicom_workflow.dicom.element_walker import PIXEL_DATA
from dicom_workflow.dicom.reading import MAX_PIXELS, check_supported, name_of, plugin_of
from dicom_workflow.errors import UnsupportedPixelsError

_JPEG2000_START, _JP2_START = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_JPEG_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}  # SOF markers; tables lie between them
_SIZE, _CODING, _QUANTIZATION, _COMMENT = 0xFF51, 0xFF52, 0xFF5C, 0xFF64
_TILE, _DATA = 0xFF90, 0xFF93
_END = b"\xff\xd9"
_ITEM = b"\xfe\xff\x00\xe0"

_LAYER_FIRST, _RESOLUTION_FIRST = 0, (1, 2)  # orders of packets
_SPARE_BYTES = 2**16


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
    found = _frame_header(frame)
    return found[1:] if found else None


def precision_of(frame: bytes) -> int:
    """Return the bits of a sample in a JPEG code stream, 0 for anything else (ISO/IEC 10918-1 B.2.2)."""
    found = _frame_header(frame)
    return found[0] if found else 0


def _frame_header(frame: bytes) -> tuple[int, int, int, int] | None:
    """Return precision, rows, columns and components of a JPEG or JPEG-LS code stream."""
    at = 2
    while frame[:2] == b"\xff\xd8" and frame[at] == 0xFF:
        if frame[at + 1] in _JPEG_FRAMES:
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
            return precision, rows, columns, components
        at += 1 if frame[at + 1] == 0xFF else 2 + int(struct.unpack_from(">H", frame, at + 2)[0])  # FF may fill
    return None


def decode_12_bits(frame: bytes, options: dict[str, Any]) -> NDArray[Any]:
    """Decode JPEG Extended (Process 2 and 4) of 12 bits by GDCM, which pydicom does not ask for it.

    Parameters
    ----------
    frame : bytes
        Code stream of one frame.
    options : dict
        Of pydicom's `as_pixel_options`: rows, columns, samples_per_pixel, photometric_interpretation, pixel_representation.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, samples), uint16, or int16 of signed pixels

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
    photometric = gdcm.PhotometricInterpretation.GetPIType(str(options["photometric_interpretation"]))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str.__str__(JPEGExtended12Bit))))
    image.SetPixelFormat(gdcm.PixelFormat(samples, 16, 12, 11, 0))
    text = image.GetBuffer()  # GDCM returns char* as text
    if text is None:
        raise ValueError("GDCM returns no pixels")
    shape = (rows, columns, samples) if samples > 1 else (rows, columns)
    dtype = "<i2" if options["pixel_representation"] else "<u2"
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype).reshape(shape)


def reduced_values(dataset: Dataset, longer_px: int) -> tuple[NDArray[Any], int] | None:
    """Return the stored values of a JPEG 2000 image at a lower resolution, which takes a tenth of the time.

    Parameters
    ----------
    dataset : Dataset
        As for `stored_values`.
    longer_px : int
        What the longer side will be shrunk to. At least twice as many pixels are left, so that there is something to average.

    Returns
    -------
    values : ndarray, shape (ceil(rows / 2**halvings), ceil(columns / 2**halvings)), unsigned integers of 8 or 16 bits
        Pixel i stands where pixel i * 2**halvings of the whole image stands, not in the middle of what it covers.
    halvings : int
        From 1 upwards.

    None where the whole image has to be decoded: another compression, a small image, signed values, fewer levels in the code
    stream, or anything about it that is unusual or broken, which `stored_values` then reads or names.

    References
    ----------
    ISO/IEC 15444-1 B.5 (resolution levels), F.3 (an even pixel is a low-pass pixel).
    """
    bits = check_supported(dataset, name_of(dataset))
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    halvings = int(max(rows, columns) / (2 * longer_px)).bit_length() - 1
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if halvings < 1 or syntax not in (JPEG2000, JPEG2000Lossless) or dataset.get("PixelRepresentation", 0) != 0:
        return None
    try:
        frame = _code_stream(dataset.PixelData)
        halvings = min(halvings, halvings_of(frame, (rows, columns), bits))
    except Exception:  # noqa: BLE001  # broken in whatever way: `stored_values` says how
        return None
    shape = -(-rows >> halvings), -(-columns >> halvings)
    for decoded in (_by_its_beginning, _by_pillow) if halvings >= 1 else ():
        with contextlib.suppress(Exception):
            values = decoded(dataset, frame, halvings, shape)
            if values is not None and values.shape == shape and values.dtype.kind == "u":
                return values, halvings
    return None


def _code_stream(pixel_data: bytes) -> bytes | memoryview:
    """Return the code stream of an image of one frame; where it lies there in one piece, as most do, without a copy."""
    table, table_bytes = struct.unpack_from("<4sL", pixel_data)
    item, item_bytes = struct.unpack_from("<4sL", pixel_data, 8 + table_bytes)
    start = 16 + table_bytes
    if table == item == _ITEM and start + item_bytes == len(pixel_data):
        return memoryview(pixel_data)[start:]
    return get_frame(pixel_data, 0, number_of_frames=1)


def _by_its_beginning(
    dataset: Dataset, frame: bytes | memoryview, halvings: int, shape: tuple[int, int]
) -> NDArray[Any] | None:
    """Decode only the bytes of the lower resolution, by the decoder of whole images."""
    shorter = lower_resolution(frame, halvings)
    if shorter is None:
        return None
    syntax = dataset.file_meta.TransferSyntaxUID
    described: dict[str, Any] = {
        "rows": shape[0],
        "columns": shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_representation": 0,
        "pixel_keyword": "PixelData",
    }
    values, _ = get_decoder(syntax).as_array(encapsulate([shorter]), decoding_plugin=plugin_of(syntax), **described)
    return values


def _by_pillow(dataset: Dataset, frame: bytes | memoryview, halvings: int, shape: tuple[int, int]) -> NDArray[Any] | None:
    """Have Pillow find the lower resolution in a code stream in which it does not come first; it takes half as long again."""
    if dataset.Rows * dataset.Columns > (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
        return None
    with Image.open(io.BytesIO(frame), formats=["JPEG2000"]) as image:
        image.reduce = halvings  # type: ignore[method-assign,assignment]  # of this format an attribute, see Pillow's page
        # Pillow expects sides rounded to the nearest, the code stream has them rounded up (B.5): multiples make them equal.
        image._size = (shape[1] << halvings, shape[0] << halvings)
        values = np.array(image)
    # Pillow fills its 16 bits from above.
    return values >> (16 - int(dataset.BitsStored)) if values.dtype.itemsize == 2 else values


def halvings_of(frame: bytes | memoryview, size: tuple[int, int], bits: int) -> int:
    """Return how often a plain JPEG 2000 code stream of one unsigned component may be halved; 0 for any other.

    Parameters
    ----------
    frame : bytes or memoryview
        A code stream without the boxes of a JP2 file.
    size : (rows, columns)
        What it has to be of.
    bits : int
        How many bits its values have to have.
    """
    if frame[:4] != _JPEG2000_START:
        return 0
    _, right, bottom, left, top, _, _, _, _, components, depth, step_x, step_y = struct.unpack_from(">H8LH3B", frame, 6)
    # A grid that does not begin at 0, or has holes, puts the pixels of a lower resolution elsewhere.
    if (left, top, components, depth, step_x, step_y) != (0, 0, 1, bits - 1, 1, 1) or (bottom, right) != size:
        return 0
    segments, _ = _main_header(frame)
    return next((body[5] for marker, body in segments if marker == _CODING), 0)


def lower_resolution(frame: bytes | memoryview, halvings: int) -> bytes | None:
    """Return the code stream of an image at a lower resolution, from that of the whole one.

    Parameters
    ----------
    frame : bytes or memoryview
        A code stream for which `halvings_of` allows so many.
    halvings : int
        How often both sides are halved, rounded up.

    Returns
    -------
    bytes, or None
        None where the lower resolution does not lie together at the beginning (several tiles, layers that each hold all
        resolutions, own precincts), and where the code stream does not end as it should.
    """
    segments, tile = _main_header(frame)
    if not segments or {marker for marker, _ in segments} - {_SIZE, _CODING, _QUANTIZATION, _COMMENT}:
        return None
    shorter = bytearray(frame[:2])
    pixels = bits = 0
    for marker, body in segments:
        if marker == _SIZE:
            right, bottom, _, _, tile_right, tile_bottom, tile_left, tile_top = struct.unpack_from(">8L", body, 2)
            if tile_left or tile_top or tile_right < right or tile_bottom < bottom:
                return None
            columns, rows = -(-right >> halvings), -(-bottom >> halvings)
            pixels, bits = rows * columns, body[36] + 1
            struct.pack_into(">8L", body, 2, columns, rows, 0, 0, columns, rows, 0, 0)
        elif marker == _CODING:
            style, order, layers = struct.unpack_from(">BBH", body)
            if style & 1 or not (order in _RESOLUTION_FIRST or (order == _LAYER_FIRST and layers == 1)):
                return None
            body[5] -= halvings
        elif marker == _QUANTIZATION:
            # One entry for each band of each resolution, without step or with; or one from which the others are derived.
            entry_bytes = {0: 1, 2: 2}.get(body[0] & 31, 0)
            del body[len(body) - 3 * halvings * entry_bytes :]
        shorter += struct.pack(">HH", marker, 2 + len(body)) + body
    length, tile_bytes, part, parts, data = struct.unpack_from(">2xH2xLBBH", frame, tile)
    ends = frame[tile + tile_bytes : tile + tile_bytes + 2] == _END
    if (length, part, parts, data) != (10, 0, 1, _DATA) or not ends:
        return None
    # Half as much again as the pixels would take as they are; a decoder that misses something says so.
    enough = 3 * pixels * bits // 16 + _SPARE_BYTES
    kept = frame[tile + 14 : tile + min(tile_bytes, 14 + enough)]
    return bytes(shorter) + struct.pack(">HHHLBBH", _TILE, 10, 0, 14 + len(kept), 0, 1, _DATA) + kept + _END


def _main_header(frame: bytes | memoryview) -> tuple[list[tuple[int, bytearray]], int]:
    """Return markers and contents of the segments before the first tile, and where that begins; none where it never does."""
    segments: list[tuple[int, bytearray]] = []
    at = 2
    while at + 4 <= len(frame):
        marker, length = struct.unpack_from(">2H", frame, at)
        if marker == _TILE:
            return segments, at
        if marker < 0xFF00 or length < 2:
            break
        segments.append((marker, bytearray(frame[at + 4 : at + 2 + length])))
        at += 2 + length
    return [], at
