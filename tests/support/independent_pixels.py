"""The network input of a DICOM radiograph, computed a second time from the clauses of the standard.

Nothing of `dicom_workflow.dicom` is used. Every pixel goes its way by itself in double precision; there are no tables over
all possible values. Compressed pixels are decoded by another library than the package uses, wherever there is another one:

    compression               here                                the package
    none, deflated            bit arithmetic on the bytes         pydicom
    RLE                       `packbits`, below                   pylibjpeg-rle
    JPEG baseline             Pillow                              GDCM
    JPEG-LS                   GDCM; CharLS where it cannot        CharLS
    JPEG 2000                 Pillow's OpenJPEG                   pylibjpeg's OpenJPEG
    JPEG lossless             GDCM, the only one there is         GDCM
"""

from __future__ import annotations

import io
from typing import Any

import gdcm
import jpeg_ls
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless


def model_input(dataset: Dataset, size_px: int) -> np.ndarray:
    """Return shape (1, size_px, size_px), float64 in [0, 1]: the display image fitted into a black square."""
    image = shrunk(display(dataset), size_px)
    square = np.zeros((1, size_px, size_px))
    top, left = (size_px - image.shape[0]) // 2, (size_px - image.shape[1]) // 2
    square[0, top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def display(dataset: Dataset) -> np.ndarray:
    """Return shape (rows, columns), float64 in [0, 1], 0 black: PS3.4 N.2, the grayscale transformations in their order."""
    stored = stored_values(dataset)
    padding = is_padding(dataset, stored)
    values = modality(dataset, stored)
    shown = voi(dataset, values)
    if shown is None:
        shown = whole_range(dataset, values) if dataset.BitsStored <= 8 else percentiles(values, padding)
    # C.7.6.3.1.2: the smallest value of MONOCHROME1 is white, "after any VOI gray scale transformations have been performed";
    # C.8.11.3.1.2: Presentation LUT Shape says the same of it as INVERSE, not the opposite of the opposite.
    if dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shown = 1.0 - shown
    return np.where(padding, 0.0, shown)


# stored values


def stored_values(dataset: Dataset) -> np.ndarray:
    """Return shape (rows, columns), int64: PS3.5 8.1.1, Bits Stored below and including High Bit."""
    syntax = dataset.file_meta.TransferSyntaxUID
    shape = dataset.Rows, dataset.Columns
    if not syntax.is_compressed or syntax.is_deflated:
        return cells(dataset, dataset.PixelData).reshape(shape)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax == RLELossless:
        return cells(dataset, packbits(frame, dataset.Rows * dataset.Columns)).reshape(shape)
    if syntax in (JPEG2000, JPEG2000Lossless):
        return openjpeg_of_pillow(dataset, frame)
    if syntax == JPEGBaseline8Bit:
        with Image.open(io.BytesIO(frame)) as image:
            return np.asarray(image).astype(np.int64)
    return cells(dataset, by_gdcm(dataset, frame)).reshape(shape)


def cells(dataset: Dataset, data: bytes) -> np.ndarray:
    """Return the values in pixel cells of 1, 8 or 16 bits."""
    count = dataset.Rows * dataset.Columns
    if dataset.BitsAllocated == 1:  # PS3.5 8.1.1: the first pixel in the lowest bit
        return np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[:count].astype(np.int64)
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    words = np.frombuffer(data, f"{order}u{dataset.BitsAllocated // 8}")[:count].astype(np.int64)
    values = (words >> (dataset.HighBit + 1 - dataset.BitsStored)) & (2**dataset.BitsStored - 1)
    if dataset.PixelRepresentation == 1:
        values = np.where(values >= 2 ** (dataset.BitsStored - 1), values - 2**dataset.BitsStored, values)
    return values


def packbits(frame: bytes, pixels: int) -> bytes:
    """Return native little endian pixels: PS3.5 G, one segment for each byte of a pixel, the most significant first."""
    header = np.frombuffer(frame[:64], "<u4")
    ends = [*header[2 : 1 + header[0]], len(frame)]
    planes = []
    for start, end in zip(header[1 : 1 + header[0]], ends, strict=True):
        plane, at = bytearray(), int(start)
        while len(plane) < pixels and at < end:
            count = frame[at]
            if count < 128:
                plane += frame[at + 1 : at + 2 + count]
                at += 2 + count
            else:
                plane += frame[at + 1 : at + 2] * (257 - count if count > 128 else 0)
                at += 2 if count > 128 else 1
        planes.append(np.frombuffer(bytes(plane[:pixels]), "u1"))
    return np.stack(planes[::-1], axis=1).tobytes()


def openjpeg_of_pillow(dataset: Dataset, frame: bytes) -> np.ndarray:
    """Pillow fills its 16 bits from above and makes signed values positive: both are undone."""
    at = 0 if frame.startswith(b"\xff\x4f\xff\x51") else frame.index(b"\xff\x4f\xff\x51")
    depth, signed = (frame[at + 42] & 127) + 1, frame[at + 42] & 128
    with Image.open(io.BytesIO(frame), formats=["JPEG2000"]) as image:
        values = np.asarray(image).astype(np.int64)
    if depth > 8:
        values >>= 16 - depth
    if signed:
        values -= 2 ** (depth - 1)
    elif dataset.PixelRepresentation == 1:  # a code stream that does not know that its bits are signed
        values = np.where(values >= 2 ** (dataset.BitsStored - 1), values - 2**dataset.BitsStored, values)
    return values


def by_gdcm(dataset: Dataset, frame: bytes) -> bytes:
    """Return the pixels of a file as GDCM decodes them, little endian; it reads no JPEG-LS of 7 bits."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(dataset.filename))
    assert reader.Read(), dataset.filename
    pixels: str | None = reader.GetImage().GetBuffer()
    return pixels.encode("utf-8", "surrogateescape") if pixels else jpeg_ls.decode(np.frombuffer(frame, "u1")).tobytes()


def is_padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """C.7.5.1.1.2: the value itself, or every value from it to the limit, both included."""
    if "PixelPaddingValue" not in dataset:
        return np.zeros(stored.shape, bool)
    ends = sorted((dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)))
    return (stored >= ends[0]) & (stored <= ends[1])


# modality and VOI


def modality(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """C.11.1: the table where there is one, else m * SV + b."""
    if dataset.get("ModalityLUTSequence"):
        table, first, _ = table_of(dataset.ModalityLUTSequence[0])
        return looked_up(table, stored - first)
    return float(dataset.get("RescaleSlope", 1)) * stored + float(dataset.get("RescaleIntercept", 0))


def voi(dataset: Dataset, values: np.ndarray) -> np.ndarray | None:
    """C.11.2: the first table, else the first window, in [0, 1]; None without either."""
    if dataset.get("VOILUTSequence"):
        table, first, bits = table_of(dataset.VOILUTSequence[0])
        return looked_up(table, np.rint(values).astype(np.int64) - first) / (2**bits - 1)
    if not dataset.get("WindowWidth"):
        return None
    center, width = (np.ravel(np.asarray(dataset[name].value, float))[0] for name in ("WindowCenter", "WindowWidth"))
    function = dataset.get("VOILUTFunction", "LINEAR")
    if function == "SIGMOID":  # C.11.2.1.3.1
        return 1.0 / (1.0 + np.exp(-4.0 * (values - center) / width))
    if function == "LINEAR_EXACT":  # C.11.2.1.3.2
        below, above, ramp = values <= center - width / 2, values > center + width / 2, (values - center) / width + 0.5
    else:  # C.11.2.1.2.1
        middle = center - 0.5
        below, above = values <= middle - (width - 1) / 2, values > middle + (width - 1) / 2
        ramp = (values - middle) / (width - 1) + 0.5 if width > 1 else np.zeros(values.shape)
    return np.where(below, 0.0, np.where(above, 1.0, ramp))


def table_of(item: Dataset) -> tuple[np.ndarray, int, int]:
    """C.11.1.1, C.11.2.1.1: entries, first value mapped, bits of an entry; 0 entries are 65,536.

    Entries of 8 bits lie one in each byte, except where the length shows that each has a word of its own.
    """
    count, first, bits = item.LUTDescriptor
    count = count or 65536
    data: Any = item.LUTData
    octets = data if isinstance(data, bytes) else np.atleast_1d(np.array(data)).astype("<u2").tobytes()
    in_bytes = len(octets) < 2 * count
    return np.frombuffer(octets, "u1" if in_bytes else "<u2")[:count].astype(np.float64), int(first), int(bits)


def looked_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Below the first value mapped the first entry holds, above the last the last."""
    return table[np.minimum(np.maximum(index, 0), len(table) - 1)]


# what the standard leaves open: as `to_display` and `to_model_input` say


def whole_range(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """8 bits or fewer without window: from what the smallest possible stored value becomes to what the largest does."""
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    low, high = sorted(modality(dataset, ends))
    return np.zeros(values.shape) if high <= low else np.clip((values - low) / (high - low), 0, 1)


def percentiles(values: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """More bits without window: from the half to the 99.5th hundredth of the pixels that are no padding."""
    if padding.all():
        return np.zeros(values.shape)
    low, high = np.quantile(values[~padding], [0.005, 0.995], method="inverted_cdf")
    return np.zeros(values.shape) if high <= low else np.clip((values - low) / (high - low), 0, 1)


def shrunk(image: np.ndarray, size_px: int) -> np.ndarray:
    """Rows and then columns times a matrix of weights; the longer side becomes `size_px`."""
    scale = size_px / max(image.shape)
    rows, columns = (max(1, round(side * scale)) for side in image.shape)
    if (rows, columns) == image.shape:
        return image
    return np.clip(weights(image.shape[0], rows) @ image @ weights(image.shape[1], columns).T, 0.0, 1.0)


def weights(many: int, few: int) -> np.ndarray:
    """Return shape (few, many): sinc(x) (0.54 + 0.46 cos(pi x)) for |x| < 1, x the distance in pixels of the coarser image."""
    step = many / few
    centers, places = (np.arange(few) + 0.5) * step, np.arange(many) + 0.5
    x = (places[None, :] - centers[:, None]) / max(step, 1.0)
    shape = np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0.0)
    return shape / shape.sum(axis=1, keepdims=True)
