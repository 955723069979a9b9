"""The stored values of a JPEG 2000 image at a lower resolution, for those who need no more."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEG2000Lossless

from dicom_workflow.dicom.code_stream import halvings_of, lower_resolution
from dicom_workflow.dicom.reading import DECODE_ERRORS, MAX_PIXELS, check_supported, name_of, plugin_of

_ITEM = b"\xfe\xff\x00\xe0"


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
    except DECODE_ERRORS:
        return None
    shape = -(-rows >> halvings), -(-columns >> halvings)
    for decoded in (_by_its_beginning, _by_pillow) if halvings >= 1 else ():
        with contextlib.suppress(*DECODE_ERRORS):
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
