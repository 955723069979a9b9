"""The beginning of a JPEG 2000 code stream is the code stream of a smaller image, where its packets come in that order."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000, JPEG2000Lossless

from dicom_workflow.dicom import jpeg

ROWS, COLUMNS = 333, 258


def values(bits: int, *, rows: int = ROWS, columns: int = COLUMNS, noise: float = 0.02) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns] / max(rows, columns)
    made = 0.5 + 0.4 * np.sin(9 * x) * np.cos(7 * y) + np.random.default_rng(0).normal(0, noise, y.shape)
    return np.clip(made * 2**bits, 0, 2**bits - 1).astype("u1" if bits == 8 else "<u2")


def encoded(array: np.ndarray, **options: Any) -> bytes:
    """A code stream of 8 or 16 bits without the boxes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG2000", no_jp2=True, **options)
    return buffer.getvalue()


def decoded(frame: bytes, shape: tuple[int, ...], bits: int, syntax: Any = JPEG2000Lossless) -> np.ndarray:
    allocated = 8 if bits == 8 else 16
    return get_decoder(syntax).as_array(
        encapsulate([frame]), rows=shape[0], columns=shape[1], number_of_frames=1, samples_per_pixel=1, pixel_representation=0,
        photometric_interpretation="MONOCHROME2", bits_allocated=allocated, bits_stored=bits, pixel_keyword="PixelData",
        decoding_plugin="pylibjpeg",
    )[0]  # fmt: skip


def by_pillow(frame: bytes, shape: tuple[int, int], halvings: int) -> np.ndarray:
    """The lower resolution as another build of the library finds it in the whole code stream."""
    with Image.open(io.BytesIO(frame), formats=["JPEG2000"]) as image:
        image.reduce = halvings  # type: ignore[method-assign,assignment]
        image._size = (shape[1] << halvings, shape[0] << halvings)
        return np.array(image)


def halved(halvings: int) -> tuple[int, int]:
    return -(-ROWS >> halvings), -(-COLUMNS >> halvings)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("halvings", [1, 2, 3, 5])
@pytest.mark.parametrize("order", ["LRCP", "RLCP", "RPCL"])
def test_the_small_image_is_the_one_that_the_whole_code_stream_holds(order: str, halvings: int, bits: int) -> None:
    frame = encoded(values(bits), progression=order)
    assert jpeg.halvings_of(frame, (ROWS, COLUMNS), bits) == 5
    shorter = jpeg.lower_resolution(frame, halvings)
    assert shorter
    assert jpeg.code_stream_size(shorter) == (*halved(halvings), 1)
    found = decoded(shorter, halved(halvings), bits)
    np.testing.assert_array_equal(found, by_pillow(frame, halved(halvings), halvings))


def test_the_rest_of_the_code_stream_is_left_away() -> None:
    frame = encoded(values(16, rows=2000, columns=1500))
    shorter = jpeg.lower_resolution(frame, 3)
    assert shorter
    assert len(shorter) < len(frame) / 10


def test_noise_that_cannot_be_compressed_is_not_cut() -> None:
    noise = np.random.default_rng(1).integers(0, 2**16, (1024, 1024)).astype("<u2")
    frame = encoded(noise)
    shorter = jpeg.lower_resolution(frame, 1)
    assert shorter
    np.testing.assert_array_equal(decoded(shorter, (512, 512), 16), by_pillow(frame, (512, 512), 1))


def test_a_code_stream_from_which_too_much_was_cut_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a bound that did not hold would be seen: nothing is filled in for what is missing."""
    monkeypatch.setattr(jpeg, "_SPARE_BYTES", -60_000)
    shorter = jpeg.lower_resolution(encoded(values(16, noise=0.5)), 1)
    assert shorter
    with pytest.raises(RuntimeError):
        decoded(shorter, halved(1), 16)


def test_layers_may_follow_within_a_resolution() -> None:
    frame = encoded(values(16), progression="RLCP", quality_mode="rates", quality_layers=[20, 5, 1])
    shorter = jpeg.lower_resolution(frame, 2)
    assert shorter
    np.testing.assert_array_equal(decoded(shorter, halved(2), 16), by_pillow(frame, halved(2), 2))


def test_the_lossy_transform_differs_by_rounding_at_most() -> None:
    frame = encoded(values(16), irreversible=True, quality_mode="rates", quality_layers=[8])
    shorter = jpeg.lower_resolution(frame, 2)
    assert shorter
    difference = decoded(shorter, halved(2), 16, JPEG2000).astype(int) - by_pillow(frame, halved(2), 2)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("options", [
    {"tile_size": (128, 128)},
    {"progression": "LRCP", "quality_mode": "rates", "quality_layers": [20, 5, 1]},
    {"precinct_size": (128, 128)},
    {"progression": "PCRL"},
    {"progression": "CPRL"},
], ids=str)  # fmt: skip
def test_packets_in_another_order_are_left_to_the_decoder(options: dict[str, Any]) -> None:
    assert jpeg.lower_resolution(encoded(values(16), **options), 1) is None


@pytest.mark.parametrize("kept", [0, 3, 60, 120, 0.5, 0.999])
def test_a_cut_code_stream_has_no_lower_resolution(kept: float) -> None:
    frame = encoded(values(16))
    cut = frame[: kept if isinstance(kept, int) else int(len(frame) * kept)]
    assert jpeg.lower_resolution(cut, 1) is None


def test_a_header_of_another_size_depth_or_grid_allows_no_halving() -> None:
    frame = encoded(values(16))
    assert jpeg.halvings_of(frame, (ROWS, COLUMNS), 16) == 5
    assert jpeg.halvings_of(frame, (COLUMNS, ROWS), 16) == 0
    assert jpeg.halvings_of(frame, (ROWS, COLUMNS), 12) == 0
    assert jpeg.halvings_of(b"\xff\xd8\xff\xd9", (ROWS, COLUMNS), 16) == 0
    moved = frame[:16] + (4).to_bytes(4, "big") + frame[20:]
    assert jpeg.halvings_of(moved, (ROWS, COLUMNS), 16) == 0
