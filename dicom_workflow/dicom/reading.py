"""Reading a DICOM file whole, and its pixels as they are stored. Everything that can be wrong with either has its own error."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from dicom_workflow.dicom.code_stream import code_stream_size
from dicom_workflow.dicom.inspection import check_deflated
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

_READ_ERRORS = (AttributeError, EOFError, KeyError, NotImplementedError, TypeError, ValueError, OverflowError, struct.error,
                zlib.error, RecursionError)  # fmt: skip
DECODE_ERRORS = (*_READ_ERRORS, IndexError, RuntimeError, OSError, Image.DecompressionBombError)

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
        data = source if isinstance(source, bytes) else _content_of(Path(source))
    except OSError as error:
        raise DicomError(f"{where}: expected a readable file, got: {error.strerror or error}.") from error
    if data[128:132] == b"DICM" and len(data) < 160:
        raise TruncatedDicomError(f"{where}: ends inside its file meta information, after {len(data)} bytes. {_AGAIN}")
    if data[128:132] == b"DICM" and _ends_in_pixels(data):
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


def _content_of(path: Path) -> bytes:
    """Return a file's content; of a pipe or a device nobody knows when it ends, or whether it ever does."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder says itself that it is one
        raise DicomError(f"{path}: expected a regular file, got a pipe, socket or device. Write it to a file first.")
    return path.read_bytes()


def _ends_in_pixels(data: bytes) -> bool:
    """Say whether compressed pixel data begin that no delimiter ends; from behind, where a whole file has it at once."""
    last_end = max(0, data.rfind(_SEQUENCE_DELIMITER))
    return any(data.rfind(mark, last_end) >= 0 for mark in _ENCAPSULATED_PIXELS)


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
    bits = check_supported(dataset, name)
    syntax = _transfer_syntax(dataset, name)
    if syntax.is_encapsulated:
        _check_code_stream(dataset, name)
    try:
        # pydicom clears the high bits only where High Bit is the usual one: take all bits of native pixels, clear them below.
        options = {} if syntax.is_encapsulated else {"bits_stored": dataset.BitsAllocated}
        values = pixel_array(dataset, decoding_plugin=plugin_of(syntax), **options)
    except DECODE_ERRORS as error:
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


def check_supported(dataset: Dataset, name: str) -> int:
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
        found = code_stream_size(get_frame(dataset.PixelData, 0, number_of_frames=1))
    except (*_READ_ERRORS, IndexError):
        return  # broken: the decoder says how
    if found and found != (dataset.Rows, dataset.Columns, 1):
        raise UnsupportedPixelsError(
            f"{name}: expected a code stream of {dataset.Rows} rows × {dataset.Columns} columns with one component, as its "
            f"header says, got one of {found[0]} × {found[1]} with {found[2]}. {_AGAIN}"
        )


def _transfer_syntax(dataset: Dataset, name: str) -> UID:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise UnsupportedPixelsError(f"{name}: expected a Transfer Syntax UID in the file meta information, got none.")
    return UID(syntax)


def plugin_of(syntax: UID) -> str:
    """Return the name of the decoder to use of those that are installed, or nothing for pydicom's choice."""
    wanted = _DECODERS.get(syntax, "")
    return wanted if wanted and wanted in get_decoder(syntax).available_plugins else ""


def name_of(dataset: Dataset) -> str:
    """Return how messages speak of an instance: by its UID, never by a patient's name."""
    return f"instance {dataset.get('SOPInstanceUID', 'without UID')}"


def shortened(error: BaseException) -> str:
    """Return an error's message on one line, never long: decoders put whole lists of plugins into theirs."""
    text = " ".join((str(error) or type(error).__name__).split())
    return text.rstrip(".") if len(text) <= 160 else f"{text[:157]}…"
