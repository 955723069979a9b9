"""Reading a DICOM file whole, and its pixels as they are stored. Everything that can be wrong with either has its own error."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from dicom_workflow.archive.inspection import check_deflated
from dicom_workflow.errors import DicomError, NotDicomError, TruncatedDicomError, UnsupportedPixelsError

MAX_PIXELS = 2**27
"""A header may promise any size in a few bytes; more than this is refused before memory is taken for it."""

# The quickest decoder of each compression. pydicom would otherwise take GDCM first wherever it happens to be installed.
_DECODERS = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pylibjpeg",
}

# pydicom stops quietly at the end of a cut file; then the pixel data are simply not there. These bytes tell the two apart.
_ENCAPSULATED_PIXELS = tuple(b"\xe0\x7f\x10\x00" + vr + b"\x00\x00\xff\xff\xff\xff" for vr in (b"OB", b"OW"))
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"

_JPEG2000_CODING, _JPEG2000_TILE = 0xFF52, 0xFF90
_JPEG2000_SIZE, _JP2_FILE = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_JPEG_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}  # SOF markers; tables lie between them

_READ_ERRORS = (AttributeError, EOFError, KeyError, NotImplementedError, TypeError, ValueError, OverflowError, struct.error,
                zlib.error, RecursionError)  # fmt: skip
_DECODE_ERRORS = (*_READ_ERRORS, IndexError, RuntimeError, OSError, Image.DecompressionBombError)

_AGAIN = "Fetch or copy the file again."


def read_dataset(source: str | Path | bytes) -> Dataset:
    """Return the DICOM instance in a file or in bytes, whole.

    Parameters
    ----------
    source : str, Path or bytes
        Path of a DICOM Part 10 file, or its content.

    Raises
    ------
    NotDicomError
        No DICOM file, or one without a SOP Class UID (PS3.10 7.1).
    TruncatedDicomError
        It ends inside an element or before its pixel data end.
    UnsupportedPixelsError
        A deflated data set that would grow above `inspection.MAX_INFLATED_BYTES`.
    DicomError
        The file cannot be read from disk.
    """
    where = "these bytes" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise DicomError(f"{where}: expected a readable file, got: {error.strerror or error}.") from error
    if data[128:132] == b"DICM" and len(data) < 160:
        raise TruncatedDicomError(f"{where}: ends inside its file meta information, after {len(data)} bytes. {_AGAIN}")
    pixels_at = max(data.rfind(mark) for mark in _ENCAPSULATED_PIXELS)
    if data[128:132] == b"DICM" and pixels_at >= 0 and data.find(_SEQUENCE_DELIMITER, pixels_at) < 0:
        raise TruncatedDicomError(f"{where}: ends inside its compressed pixel data, after {len(data)} bytes. {_AGAIN}")
    check_deflated(data)
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        cut = _cut_element(dataset)
        has_class = not cut and bool(dataset.get("SOPClassUID"))
    except InvalidDicomError:
        raise NotDicomError(
            f"{where}: expected a DICOM file with 'DICM' at byte 128, got {len(data)} bytes that begin with {data[:4]!r}."
        ) from None
    except _READ_ERRORS as error:
        raise NotDicomError(f"{where}: expected a DICOM data set, got what cannot be parsed: {shortened(error)}.") from error
    if cut:
        raise TruncatedDicomError(f"{where}: {cut}. {_AGAIN}")
    if not has_class:
        raise NotDicomError(f"{where}: expected a DICOM instance with a SOP Class UID, got a data set without one.")
    return dataset


def _cut_element(dataset: Dataset) -> str:
    """Say which element ends too early; only the last can, because pydicom reads until the bytes end."""
    if not len(dataset):
        return "ends before its first element"
    element: Any = dataset.get_item(max(dataset.keys()))
    length, value = getattr(element, "length", None), getattr(element, "value", None)
    if isinstance(length, int) and isinstance(value, bytes) and length != 0xFFFFFFFF and len(value) < length:
        return f"element {element.tag} says {length} bytes, the file ends after {len(value)} of them"
    return ""


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """Return the stored values of one single-frame grey-scale instance, cleaned of unused bits.

    Returns
    -------
    ndarray, shape (rows, columns), unsigned or signed integers of 8 or 16 bits
        Bits above High Bit or below the stored ones are gone, the sign is extended.

    Raises
    ------
    UnsupportedPixelsError
        No pixel data, colour, more than one frame, floating point, more than 16 bits, or a compression without decoder.
    TruncatedDicomError
        Fewer pixels than rows × columns, or a code stream that cannot be decoded to its end.

    References
    ----------
    PS3.3 C.7.6.3 (image pixel), PS3.5 8.1 (bits allocated, stored, high bit).
    """
    name = name_of(dataset)
    bits = _check_supported(dataset, name)
    syntax = _transfer_syntax(dataset, name)
    if syntax.is_encapsulated:
        _check_code_stream(dataset, name)
    try:
        # pydicom clears the high bits only where High Bit is the usual one: take all bits of native pixels, clear them below.
        options = {} if syntax.is_encapsulated else {"bits_stored": dataset.BitsAllocated}
        values = pixel_array(dataset, decoding_plugin=_plugin(syntax), **options)
    except _DECODE_ERRORS as error:
        if syntax.is_compressed and syntax.is_encapsulated and not get_decoder(syntax).is_available:
            raise UnsupportedPixelsError(
                f"{name}: no installed decoder reads {syntax.name}. `pip install python-gdcm`, or ask the archive to transcode."
            ) from error
        raise TruncatedDicomError(
            f"{name}: expected {dataset.Rows} rows × {dataset.Columns} columns of {syntax.name}, could not decode them: "
            f"{shortened(error)}. {_AGAIN}"
        ) from error
    if values.shape != (dataset.Rows, dataset.Columns):
        raise UnsupportedPixelsError(f"{name}: expected one grey-scale plane, got an array of shape {values.shape}.")
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        raise UnsupportedPixelsError(f"{name}: expected integers of at most 16 bits, got {values.dtype}.")
    if values.dtype.byteorder not in "=|":
        values = values.astype(values.dtype.newbyteorder("="))
    spare_low = 0 if syntax.is_encapsulated else max(0, int(dataset.get("HighBit", bits - 1)) + 1 - bits)
    spare_high = values.dtype.itemsize * 8 - bits - spare_low
    if spare_high > 0 or spare_low > 0:
        values = (values << max(0, spare_high)) >> (spare_low + max(0, spare_high))
    return values


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
    ISO/IEC 15444-1 A.5.1 (SIZ), A.6.1 (COD), B.5 (resolution levels), F.3 (an even pixel is a low-pass pixel).
    """
    bits = _check_supported(dataset, name_of(dataset))
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    halvings = int(max(rows, columns) / (2 * longer_px)).bit_length() - 1
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if halvings < 1 or syntax not in (JPEG2000, JPEG2000Lossless) or dataset.get("PixelRepresentation", 0) != 0:
        return None
    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        halvings = min(halvings, _halvings(frame, (rows, columns), bits))
        if halvings < 1 or rows * columns > (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
            return None
        with Image.open(io.BytesIO(frame), formats=["JPEG2000"]) as image:
            image.reduce = halvings  # type: ignore[method-assign,assignment]  # of this format an attribute, see Pillow's page
            # Pillow expects sides rounded to the nearest, the code stream has them rounded up (B.5): multiples make them equal.
            image._size = (-(-columns >> halvings) << halvings, -(-rows >> halvings) << halvings)
            values = np.array(image)
    except _DECODE_ERRORS:
        return None
    if values.shape != (-(-rows >> halvings), -(-columns >> halvings)) or values.dtype.kind != "u":
        return None
    # Pillow fills its 16 bits from above.
    return (values >> (16 - bits) if values.dtype.itemsize == 2 else values), halvings


def _halvings(frame: bytes, size: tuple[int, int], bits: int) -> int:
    """Return how often a plain JPEG 2000 code stream of one unsigned component may be halved; 0 for any other."""
    if not frame.startswith(_JPEG2000_SIZE):
        return 0
    _, right, bottom, left, top, _, _, _, _, components, depth, step_x, step_y = struct.unpack_from(">H8LH3B", frame, 6)
    # A grid that does not begin at 0, or has holes, puts the pixels of a lower resolution elsewhere.
    if (left, top, components, depth, step_x, step_y) != (0, 0, 1, bits - 1, 1, 1) or (bottom, right) != size:
        return 0
    at = 2
    while at + 4 <= len(frame):
        marker, length = struct.unpack_from(">2H", frame, at)
        if marker == _JPEG2000_CODING:
            return frame[at + 9]
        if marker == _JPEG2000_TILE or marker < 0xFF00:
            break
        at += 2 + length
    return 0


def _check_supported(dataset: Dataset, name: str) -> int:
    """Return Bits Stored, or say why these pixels are not displayed."""
    if "PixelData" not in dataset:
        kind = next((k for k in ("FloatPixelData", "DoubleFloatPixelData") if k in dataset), "")
        raise UnsupportedPixelsError(f"{name}: expected Pixel Data, got {kind or 'an instance without pixels'}.")
    photometric = str(dataset.get("PhotometricInterpretation", "nothing"))
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or dataset.get("SamplesPerPixel", 1) != 1:
        raise UnsupportedPixelsError(
            f"{name}: expected MONOCHROME1 or MONOCHROME2 with one sample per pixel, got {photometric} "
            f"with {dataset.get('SamplesPerPixel', 1)}."
        )
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
        rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsStored)
    except (AttributeError, TypeError, ValueError) as error:
        raise UnsupportedPixelsError(f"{name}: expected Rows, Columns and Bits Stored, got: {shortened(error)}.") from error
    if frames != 1:
        raise UnsupportedPixelsError(f"{name}: expected one frame, got {frames}.")
    if not 1 <= bits <= 16:
        raise UnsupportedPixelsError(f"{name}: expected 1 to 16 bits stored, got {bits}.")
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UnsupportedPixelsError(f"{name}: expected 1 to {MAX_PIXELS} pixels, got {rows} rows × {columns} columns.")
    return bits


def _check_code_stream(dataset: Dataset, name: str) -> None:
    """A code stream names its own size, and decoders take memory for that one: a kilobyte can ask for many gigabytes."""
    try:
        found = _code_stream_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    except (*_READ_ERRORS, IndexError):
        return  # broken: the decoder says how
    if found and found != (dataset.Rows, dataset.Columns, 1):
        raise UnsupportedPixelsError(
            f"{name}: expected a code stream of {dataset.Rows} rows × {dataset.Columns} columns with one component, as its "
            f"header says, got one of {found[0]} × {found[1]} with {found[2]}. {_AGAIN}"
        )


def _code_stream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components of a JPEG, JPEG-LS or JPEG 2000 code stream, None for anything else.

    References
    ----------
    ISO/IEC 10918-1 B.2.2 (SOF), 14495-1 C.2.2 (SOF55), 15444-1 A.5.1 (SIZ).
    """
    if frame.startswith((_JPEG2000_SIZE, _JP2_FILE)):
        # In a JP2 file boxes come first, and one of them may hold what only looks like a code stream: the largest counts.
        starts = [found.start() for found in re.finditer(_JPEG2000_SIZE, frame)] if frame.startswith(_JP2_FILE) else [0]
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


def _transfer_syntax(dataset: Dataset, name: str) -> UID:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise UnsupportedPixelsError(f"{name}: expected a Transfer Syntax UID in the file meta information, got none.")
    return UID(syntax)


def _plugin(syntax: UID) -> str:
    wanted = _DECODERS.get(syntax, "")
    return wanted if wanted and wanted in get_decoder(syntax).available_plugins else ""


def name_of(dataset: Dataset) -> str:
    """Return how messages speak of an instance: by its UID, never by a patient's name."""
    return f"instance {dataset.get('SOPInstanceUID', 'without UID')}"


def shortened(error: BaseException) -> str:
    """Return an error's message on one line, never long: decoders put whole lists of plugins into theirs."""
    text = " ".join((str(error) or type(error).__name__).split())
    return text.rstrip(".") if len(text) <= 160 else f"{text[:157]}…"
