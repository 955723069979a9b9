"""The stored values of the frames of a DICOM image, decoded by the quickest decoder that is installed."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import as_pixel_options
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID, ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGExtended12Bit

from dicom_workflow.dicom.element_values import integer_of
from dicom_workflow.dicom.element_walker import DEFLATED, walk
from dicom_workflow.dicom.jpeg import code_stream_size, decode_12_bits, precision_of
from dicom_workflow.dicom.reading import (
    check_image_pixel,
    check_supported,
    decoder_of,
    errors_named,
    is_file_error,
    located,
    name_of,
    plugin_of,
    read_dataset,
    reason_of,
)
from dicom_workflow.errors import TruncatedDicomError, UnsupportedPixelsError

_AGAIN = "Fetch or copy the file again."


@dataclass(frozen=True)
class Frame:
    """One frame of a DICOM image as it is stored."""

    values: NDArray[Any]
    """Shape (rows, columns), or (rows, columns, samples) for more than one sample per pixel; integers of 8, 16 or 32 bits,
    unsigned or signed as Pixel Representation says. Unused bits are cleared."""
    photometric_interpretation: str
    """What the values stand for, after decoding: RGB where a JPEG 2000 decoder has undone YBR_RCT or YBR_ICT."""


def read_frame(path: str | Path, index: int = 0) -> Frame:
    """Return the stored values of one frame of a file, gray or color; no other frame is read or decoded.

    Parameters
    ----------
    path : str or Path
        DICOM Part 10 file.
    index : int
        0 for the first frame.

    Returns
    -------
    Frame
        Values of shape (rows, columns) or (rows, columns, samples), and their photometric interpretation.

    Raises
    ------
    UnsupportedPixelsError
        No such frame, no pixel data, more than `MAX_PIXELS` pixels, or a transfer syntax without a decoder.
    TruncatedDicomError
        A frame that cannot be decoded to its end.
    DicomError
        As `read_dataset`; a required attribute is missing.

    References
    ----------
    PS3.3 C.7.6.3 (image pixel), C.7.6.6 (multi-frame); PS3.5 A.4 (fragments, offset tables).
    """
    where = str(path)
    with located(where), errors_named(where, f"frame {index} cannot be read"):
        found = walk(path)
        if found.pixel_position < 0:
            raise UnsupportedPixelsError("the instance has no Pixel Data (7FE0,0010).")
        if found.transfer_syntax_uid == DEFLATED:  # a frame of it has no place in the file
            dataset = read_dataset(path)
            return _decoded_frame(dataset, dataset.PixelData, where, index)
        header = pydicom.dcmread(path, stop_before_pixels=True)
        with Path(path).open("rb") as file:
            vr = ""
            if found.transfer_syntax_uid == ExplicitVRBigEndian:  # value of Pixel Data, after VR, reserved bytes and length
                file.seek(found.pixel_position - 8)
                vr = file.read(2).decode("ascii", "replace")
            file.seek(found.pixel_position)
            return _decoded_frame(header, file, where, index, vr)


def _decoded_frame(header: Dataset, source: Any, name: str, index: int, vr: str = "") -> Frame:
    decoder = decoder_of(header, name)
    bits = check_image_pixel(header, name)
    options = _options(header, vr)
    count = int(options["number_of_frames"])
    if not 0 <= index < count:
        raise UnsupportedPixelsError(f"{name}: expected a frame index from 0 to {count - 1}, got {index}.")
    if decoder.UID.is_encapsulated:
        offsets = tuple(header.get(keyword) for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"))
        known = offsets if count > 1 and all(offsets) else None  # one frame needs none
        frame = get_frame(source, index, number_of_frames=count, extended_offsets=known)
        _check_code_stream(frame, header, name)
        source, index, options["number_of_frames"] = encapsulate([frame]), 0, 1
    elif isinstance(source, bytes):
        source = io.BytesIO(source)
    values, photometric = _decode(decoder, source, options, name, index)
    return Frame(_cleaned(values, header, bits, decoder.UID), photometric)


def stored_values(dataset: Dataset) -> NDArray[Any]:
    """Return the stored values of one single-frame grayscale instance, cleaned of unused bits.

    Parameters
    ----------
    dataset : Dataset
        CR/DX or another instance of one frame with one sample per pixel.

    Returns
    -------
    ndarray, shape (rows, columns), uint8, int8, uint16 or int16
        Bits above High Bit or below the stored ones are gone, the sign is extended.

    Raises
    ------
    UnsupportedPixelsError
        No pixel data, color, more than one frame, floating point, more than 16 bits, or a transfer syntax without decoder.
    TruncatedDicomError
        Fewer pixels than rows × columns, or a code stream that cannot be decoded to its end.
    DicomError
        An element cannot be read, or a required attribute is missing.

    References
    ----------
    PS3.3 C.7.6.3 (image pixel), PS3.5 8.1 (bits allocated, stored, high bit).
    """
    name = name_of(dataset)
    with errors_named(name, "its pixels cannot be read"):
        return _stored_values(dataset, name)


def _stored_values(dataset: Dataset, name: str) -> NDArray[Any]:
    bits = check_supported(dataset, name)
    decoder = decoder_of(dataset, name)
    source: Dataset | bytes = dataset
    frame = b""
    if decoder.UID.is_encapsulated:
        with contextlib.suppress(Exception):  # where there is no frame, the decoder says why
            frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
            source = encapsulate([frame])
        _check_code_stream(frame, dataset, name)
    values, _ = _decode(decoder, source, _options(dataset), name, None)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise UnsupportedPixelsError(f"{name}: expected one grayscale plane, got an array of shape {values.shape}.")
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        raise UnsupportedPixelsError(f"{name}: expected integers of at most 16 bits, got {values.dtype}.")
    return _cleaned(values, dataset, bits, decoder.UID)


def _options(dataset: Dataset, vr: str = "") -> dict[str, Any]:
    """Return the Image Pixel module as pydicom's decoders take it, without offset tables.

    The VR of Pixel Data counts for pixels of 8 bits in a big endian file: in words (OW) they lie in swapped pairs (PS3.5 D).
    """
    if not vr and "PixelData" in dataset:
        vr = str(dataset["PixelData"].VR)
    if dataset.BitsAllocated > 8 or vr != "OW":
        vr = "OB" if dataset.BitsAllocated <= 8 else "OW"
    return as_pixel_options(dataset.group_dataset(0x0028), pixel_keyword="PixelData", pixel_vr=vr)


def _decode(decoder: Decoder, source: Any, options: dict[str, Any], name: str, index: int | None) -> tuple[NDArray[Any], str]:
    """Return the values as the decoder leaves them, and their photometric interpretation."""
    syntax = decoder.UID
    try:
        if syntax == JPEGExtended12Bit and options["bits_stored"] > 8:
            pixel_data = source.PixelData if isinstance(source, Dataset) else source
            values = decode_12_bits(get_frame(pixel_data, 0, number_of_frames=1), options)
            return values, str(options["photometric_interpretation"])
        if not syntax.is_encapsulated:
            # pydicom clears the high bits only where High Bit is the usual one: take all bits, `_cleaned` clears them.
            options = {**options, "bits_stored": options["bits_allocated"]}
        values, found = decoder.as_array(source, index=index, raw=True, decoding_plugin=plugin_of(syntax), **options)
        return values, str(found["photometric_interpretation"])
    except UnsupportedPixelsError as error:
        raise UnsupportedPixelsError(f"{name}: {error}") from None
    except BaseException as error:
        if not is_file_error(error):
            raise
        raise TruncatedDicomError(
            f"{name}: expected {options['rows']} rows × {options['columns']} columns of {syntax.name}, "
            f"which could not be decoded: {reason_of(error)}. {_AGAIN}"
        ) from error


def _cleaned(values: NDArray[Any], dataset: Dataset, bits: int, syntax: UID) -> NDArray[Any]:
    """Return values in native byte order without unused bits, the sign extended (PS3.5 8.1.1)."""
    if values.dtype.kind not in "iu":
        return values
    if values.dtype.byteorder not in "=|":
        values = values.astype(values.dtype.newbyteorder("="))
    high_bit, width = integer_of(dataset, "HighBit"), values.dtype.itemsize * 8
    if high_bit is None or not bits <= high_bit < width:
        high_bit = bits - 1  # the only place with space for all bits
    spare_low = 0 if syntax.is_encapsulated else high_bit + 1 - bits
    spare_high = width - bits - spare_low
    if spare_high > 0 or spare_low > 0:
        values = (values << max(0, spare_high)) >> (spare_low + max(0, spare_high))
    return values


def _check_precision(found: int, bits: int, name: str) -> None:
    """Lossy JPEG has samples of 8 or 12 bits; taken for the other size, they make another picture."""
    if found > bits or (found == 8 and bits > 8):
        raise UnsupportedPixelsError(
            f"{name}: expected a code stream of {bits} bits, as Bits Stored (0028,0101) says, got one of {found}. "
            "Ask the archive to transcode it to Explicit VR Little Endian (1.2.840.10008.1.2.1)."
        )


def _check_code_stream(frame: bytes, dataset: Dataset, name: str) -> None:
    """A code stream names its own size, and decoders take memory for that one: a kilobyte can ask for many gigabytes."""
    try:
        found = code_stream_size(frame)
    except (IndexError, ValueError, struct.error):
        return  # broken: the decoder says how
    rows, columns, samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    if found and dataset.file_meta.TransferSyntaxUID in (JPEGBaseline8Bit, JPEGExtended12Bit):
        _check_precision(precision_of(frame), int(dataset.BitsStored), name)
    if found and found != (rows, columns, samples):
        components = "one component" if samples == 1 else f"{samples} components"
        raise UnsupportedPixelsError(
            f"{name}: expected a code stream of {rows} rows × {columns} columns with {components}, as its "
            f"header says, got one of {found[0]} × {found[1]} with {found[2]}. {_AGAIN}"
        )
