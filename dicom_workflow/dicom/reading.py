"""A DICOM file as a pydicom data set, and whether its pixels can be decoded; every failure is an error of this package.

pydicom reads an element when it is asked for and lets through whatever its parsers and decoders raise, down to the panic of a
Rust decoder. Here each of these becomes the outcome of the one file, with a reason: see `errors_named`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, RLELossless

from dicom_workflow.dicom.element_values import name_of_tag, numbers_of, text_of
from dicom_workflow.dicom.element_walker import DEFLATED, walk
from dicom_workflow.errors import DicomError, NotDicomError, UnsupportedPixelsError, WorkflowError
from dicom_workflow.formats.json_schema import shown

MAX_PIXELS = 2**27
"""Pixels of a frame. A header may promise any size in a few bytes; more than this is refused before memory is taken for it."""

# The quickest decoder of each compression. pydicom would otherwise take GDCM first wherever it happens to be installed.
_DECODERS = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pylibjpeg",
}
_REQUIRED = ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
_MAX_ELEMENTS = 200_000  # of an instance that is read whole: pydicom takes 1 kB and 10 µs for each
_DEFERRED_BYTES = 2 * MAX_PIXELS  # a longer value than the largest image is left in the file until it is asked for


@contextlib.contextmanager
def errors_named(name: str, doing: str) -> Iterator[None]:
    """Raise whatever pydicom or a decoder raises as a DicomError with a reason in words.

    Parameters
    ----------
    name : str
        How the message names the file or instance.
    doing : str
        What could not be done: "its elements cannot be read".

    Raises
    ------
    DicomError
        In place of any exception that is no WorkflowError. Ctrl-C and the end of the interpreter pass.
    """
    try:
        yield
    except WorkflowError:
        raise
    except BaseException as error:
        if not is_file_error(error):
            raise
        raise DicomError(f"{name}: {doing}: {reason_of(error)}.") from error


def read_dataset(source: str | Path | bytes) -> Dataset:
    """Return the DICOM instance in a file or in bytes.

    Parameters
    ----------
    source : str, Path or bytes
        Path of a DICOM Part 10 file, or its content.

    Returns
    -------
    Dataset
        Values longer than the largest image that is displayed stay in the file until they are asked for.

    Raises
    ------
    NotDicomError
        No DICOM file, or one without a SOP Class UID (PS3.10 7.1).
    TruncatedDicomError
        It ends inside an element or before its pixel data end.
    UnsupportedPixelsError
        A deflated data set that would grow above `element_walker.MAX_INFLATED_BYTES`.
    DicomError
        The file cannot be read from disk, or its elements cannot be parsed.
    """
    where = "these bytes" if isinstance(source, bytes) else str(source)
    with located(where):
        found = walk(source, max_elements=_MAX_ELEMENTS)
        with errors_named(where, "its elements cannot be read"):
            if isinstance(source, bytes):
                dataset = pydicom.dcmread(io.BytesIO(source))
            else:
                deferred = None if found.transfer_syntax_uid == DEFLATED else _DEFERRED_BYTES
                dataset = pydicom.dcmread(source, defer_size=deferred)
            if not dataset.get("SOPClassUID"):
                raise NotDicomError("SOP Class UID (0008,0016) is missing: this is no DICOM instance.")
    return dataset


def read_header(path: str | Path) -> Dataset:
    """Return the data set of a file without its pixel data, which are not read.

    Parameters
    ----------
    path : str or Path
        DICOM Part 10 file.

    Raises
    ------
    DicomError
        As `read_dataset`.
    """
    with located(str(path)), errors_named(str(path), "its elements cannot be read"):
        walk(path)
        return pydicom.dcmread(path, stop_before_pixels=True)


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Put the path in front of the message where a file cannot be read or breaks a rule.

    Raises
    ------
    DicomError
        Of the same class as within; for an OSError too.
    """
    try:
        yield
    except DicomError as error:
        if str(error).startswith(where):
            raise
        raise type(error)(f"{where}: {error}") from error
    except OSError as error:
        raise DicomError(f"{where}: the file cannot be read: {error.strerror or error}.") from error


def check_supported(dataset: Dataset, name: str) -> int:
    """Return Bits Stored of an instance that `stored_values` reads.

    Raises
    ------
    UnsupportedPixelsError
        No pixel data, color, more than one frame or more than 16 bits.
    DicomError
        A required attribute is missing or cannot be read; the message names it.
    """
    with errors_named(name, "its elements cannot be read"):
        if "PixelData" not in dataset:
            kind = next((k for k in ("FloatPixelData", "DoubleFloatPixelData") if k in dataset), "")
            found = (
                f"{name_of_tag(tag_for_keyword(kind) or 0)}, which cannot be displayed" if kind else "no Pixel Data (7FE0,0010)"
            )
            raise UnsupportedPixelsError(f"{name}: the instance has {found}.")
        photometric = text_of(dataset, "PhotometricInterpretation")
        samples = dataset.get("SamplesPerPixel", 1)
        frames = text_of(dataset, "NumberOfFrames")
    if not photometric:
        raise DicomError(f"{name}: Photometric Interpretation (0028,0004) is missing, without which pixels cannot be shown.")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or samples != 1:
        raise UnsupportedPixelsError(
            f"{name}: expected MONOCHROME1 or MONOCHROME2 with one sample per pixel, got {photometric} with {samples}."
        )
    if numbers_of(dataset, "NumberOfFrames") not in ([], [0.0], [1.0]):
        raise UnsupportedPixelsError(f"{name}: expected one frame, got {frames}.")
    bits = check_image_pixel(dataset, name)
    if not 1 <= bits <= 16:
        raise UnsupportedPixelsError(f"{name}: expected 1 to 16 bits stored, got {bits}.")
    return bits


def check_image_pixel(dataset: Dataset, name: str) -> int:
    """Return Bits Stored, once the required attributes of the Image Pixel module are there (PS3.3 C.7.6.3).

    Raises
    ------
    UnsupportedPixelsError
        No pixel, or more than `MAX_PIXELS`.
    DicomError
        An attribute is missing or cannot be read; the message names it.
    """
    values = {}
    for keyword in _REQUIRED:
        label = name_of_tag(tag_for_keyword(keyword) or 0)
        if keyword not in dataset:
            raise DicomError(f"{name}: {label} is missing, without which the pixels cannot be read.")
        with errors_named(name, f"{label} cannot be read"):
            value = dataset[keyword].value
        if not isinstance(value, int):
            found = f"{shown(value)} (VR {dataset[keyword].VR})" if value is not None else "an empty element"
            raise DicomError(f"{name}: {label}: expected one whole number (VR US), got {found}.")
        values[keyword] = int(value)
    rows, columns = values["Rows"], values["Columns"]
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UnsupportedPixelsError(f"{name}: expected 1 to {MAX_PIXELS} pixels, got {rows} rows × {columns} columns.")
    return values["BitsStored"]


def decoder_of(dataset: Dataset, name: str) -> Decoder:
    """Return pydicom's decoder of the transfer syntax of an instance.

    Raises
    ------
    UnsupportedPixelsError
        There is no transfer syntax, or no installed decoder for it; the message names the syntax.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if not syntax:
        raise UnsupportedPixelsError(f"{name}: the file meta information has no Transfer Syntax UID (0002,0010).")
    uid = UID(str(syntax), config.IGNORE)
    kind = "unknown here" if uid.startswith("1.2.840.10008.") else "private"
    label = f"{uid.name} ({uid})" if uid.type == "Transfer Syntax" else f"{uid} ({kind})"
    advice = "ask the archive to transcode it to Explicit VR Little Endian (1.2.840.10008.1.2.1)"
    try:
        decoder = get_decoder(uid)
    except (NotImplementedError, ValueError):
        raise UnsupportedPixelsError(f"{name}: no installed decoder reads the transfer syntax {label}; {advice}.") from None
    if uid.is_encapsulated and not decoder.is_available:
        raise UnsupportedPixelsError(
            f"{name}: no installed decoder reads {label}. `pip install python-gdcm pylibjpeg[openjpeg]`, or {advice}."
        )
    return decoder


def plugin_of(syntax: UID) -> str:
    """Return the name of the decoder to use of those that are installed, or nothing for pydicom's choice."""
    wanted = _DECODERS.get(syntax, "")
    return wanted if wanted and wanted in get_decoder(syntax).available_plugins else ""


def name_of(dataset: Dataset) -> str:
    """Return how messages name an instance: by its UID, never by a patient's name."""
    try:
        return f"instance {dataset.get('SOPInstanceUID') or 'without UID'}"
    except Exception:  # noqa: BLE001  # whatever pydicom's parsers raise: a name must not be what fails
        return "instance without a readable UID"


def reason_of(error: BaseException) -> str:
    """Return an error's message on one line, never long, and never the bare name of an exception."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, KeyError):
        text = f"nothing is known of {text}"
    return (text if len(text) <= 160 else f"{text[:157]}…") or f"its parser stopped with {type(error).__name__}"


def is_file_error(error: BaseException) -> bool:
    """Say whether an exception is an error of the file that was read, and not Ctrl-C or the end of the interpreter."""
    # The panic of a decoder written in Rust is no Exception.
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"
