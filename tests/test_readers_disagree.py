"""Where the usual readers of DICOM files disagree or stay silent, and what a network of this package sees: exact values.

MONAI's two readers, ITKReader and PydicomReader, differ on polarity, and which one is used depends on what is installed.
Neither applies a Modality LUT, a window, a VOI LUT, Presentation LUT Shape or padding, and both turn the axes. Each test is one
of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.pixels import dataset_of, file_bytes, lut

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import UnsupportedPixelsError

WINDOW = {"WindowCenter": 50.5, "WindowWidth": 101}  # 0 is black, 100 white


def seen(values: Any, **tags: Any) -> list[float]:
    """Four stored values side by side as the network sees them, between the black rows above and below."""
    made = pixels.to_model_input(read_dataset(file_bytes(dataset_of([values], **tags))), size_px=len(values))
    assert made.shape == (1, len(values), len(values))
    assert made.dtype == np.float32
    row = (len(values) - 1) // 2
    assert not np.delete(made[0], row, axis=0).any()
    return [round(float(value), 6) for value in made[0, row]]


def test_rows_come_before_columns() -> None:
    values = np.zeros((5, 3), int)
    values[0, 2], values[4, 0] = 100, 50
    made = pixels.to_model_input(dataset_of(values, **WINDOW), size_px=5)
    assert made.shape == (1, 5, 5)
    assert {(int(row), int(column)): float(made[0, row, column]) for row, column in np.argwhere(made[0])} == {
        (0, 3): 1.0,  # the right upper corner of a picture of 3 columns in the middle of 5
        (4, 1): 0.5,
    }


def test_monochrome2_is_bright_where_values_are_high() -> None:
    assert seen([0, 25, 100, 120], **WINDOW) == [0, 0.25, 1, 1]


def test_monochrome1_is_inverted_after_its_window() -> None:
    """Inverted before, by 4095 - value, the whole picture would lie above the window and be white."""
    assert seen([0, 25, 100, 120], photometric="MONOCHROME1", **WINDOW) == [1, 0.75, 0, 0]


def test_monochrome1_with_a_voi_lut_is_inverted_after_it() -> None:
    tags = {"VOILUTSequence": lut(0, 8, [0, 51, 204, 255])}
    assert seen([0, 1, 2, 3], photometric="MONOCHROME1", **tags) == [1, 0.8, 0.2, 0]


def test_slope_and_intercept_come_before_the_window() -> None:
    assert seen([1000, 1025, 1050, 1100], RescaleSlope=2, RescaleIntercept=-2000, **WINDOW) == [0, 0.5, 1, 1]


def test_a_modality_lut_takes_the_place_of_slope_and_intercept() -> None:
    tags = {"ModalityLUTSequence": lut(7, 16, [100, 75, 25, 0]), "RescaleSlope": 9, "RescaleIntercept": 9}
    assert seen([6, 8, 9, 11], **tags, **WINDOW) == [1, 0.75, 0.25, 0]


def test_a_linear_window_reaches_black_and_white_half_a_value_early() -> None:
    assert seen([94, 95, 99, 105], WindowCenter=100, WindowWidth=11) == [0, 0.05, 0.45, 1]


def test_a_linear_exact_window_does_not() -> None:
    assert seen([90, 95, 100, 110], WindowCenter=100, WindowWidth=20, VOILUTFunction="LINEAR_EXACT") == [0, 0.25, 0.5, 1]


def test_a_sigmoid_window_never_ends() -> None:
    values = seen([0, 100, 125, 200], WindowCenter=100, WindowWidth=100, VOILUTFunction="SIGMOID")
    assert values == [0.017986, 0.5, 0.731059, 0.982014]


def test_a_voi_lut_comes_before_a_window() -> None:
    assert seen([0, 10, 11, 12], VOILUTSequence=lut(10, 8, [0, 51, 255]), **WINDOW) == [0, 0, 0.2, 1]


@pytest.mark.parametrize(("photometric", "shape", "expected"), [
    ("MONOCHROME2", "IDENTITY", [0, 0.25, 1, 1]),
    ("MONOCHROME2", "INVERSE", [1, 0.75, 0, 0]),
    ("MONOCHROME1", "IDENTITY", [1, 0.75, 0, 0]),
    ("MONOCHROME1", "INVERSE", [1, 0.75, 0, 0]),
])  # fmt: skip
def test_presentation_lut_shape_inverts_and_not_twice(photometric: str, shape: str, expected: list[float]) -> None:
    assert seen([0, 25, 100, 120], photometric=photometric, PresentationLUTShape=shape, **WINDOW) == expected


def test_padding_is_black_and_takes_no_part_in_the_statistics() -> None:
    assert seen([4095, 1000, 1500, 2000], PixelPaddingValue=4095) == [0, 0, 0.5, 1]
    assert seen([4095, 1000, 1500, 2000], PixelPaddingValue=4095, photometric="MONOCHROME1") == [0, 1, 0.5, 0]
    assert seen([3900, 4095, 50, 100], PixelPaddingValue=4095, PixelPaddingRangeLimit=3900, **WINDOW) == [0, 0, 0.5, 1]


def test_garbage_in_unused_high_bits_is_not_seen() -> None:
    assert seen([0xF000, 0x5019, 0x1064, 0x0064], bits=12, **WINDOW) == [0, 0.25, 1, 1]


def test_signed_values_keep_their_sign() -> None:
    assert seen([-50, -25, 0, 50], signed=True, WindowCenter=0.5, WindowWidth=101) == [0, 0.25, 0.5, 1]


def test_two_frames_are_refused_and_not_mixed() -> None:
    with pytest.raises(UnsupportedPixelsError, match="expected one frame, got 2"):
        pixels.to_model_input(dataset_of([[1, 2], [3, 4]], Rows=1, NumberOfFrames=2), size_px=4)


def test_colour_is_refused_for_it_may_be_a_screen_shot_with_a_name_in_it() -> None:
    colour = dataset_of([0] * 12, bits=8, photometric="RGB", SamplesPerPixel=3, PlanarConfiguration=0, Rows=2, Columns=2)
    with pytest.raises(UnsupportedPixelsError, match="got RGB with 3"):
        pixels.to_model_input(colour, size_px=4)
