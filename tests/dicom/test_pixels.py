"""The grayscale pipeline, one row of the standard at a time, on images small enough to work out by hand."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from support.pixels import compressed, dataset_of, file_bytes, lut

from dicom_workflow.dicom import element_walker, pixels
from dicom_workflow.dicom.decoding import stored_values
from dicom_workflow.dicom.jpeg import reduced_values
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import DicomError, NotDicomError, TruncatedDicomError, UnsupportedPixelsError, WorkflowError

SAMPLE_DATA = os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", "")
real_data = pytest.mark.skipif(not SAMPLE_DATA, reason="DICOM_WORKFLOW_SAMPLE_DATA names no folder")


def shown(dataset: Dataset, **arguments: Any) -> list[float]:
    display = pixels.to_display(dataset, **arguments)
    assert display.dtype == np.float32
    return [round(float(value), 4) for value in display.ravel()]


# stored values


def test_values_come_as_they_are_stored() -> None:
    values = stored_values(dataset_of([[0, 1, 4095], [7, 8, 9]]))
    assert values.tolist() == [[0, 1, 4095], [7, 8, 9]]
    assert values.dtype == np.uint16


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_depth_keeps_its_extremes(bits: int) -> None:
    top = 2**bits - 1
    assert stored_values(dataset_of([0, top], bits=bits)).tolist() == [[0, top]]
    half = 2 ** (bits - 1)
    assert stored_values(dataset_of([-half, half - 1], bits=bits, signed=True)).tolist() == [[-half, half - 1]]


def test_garbage_above_the_stored_bits_is_removed() -> None:
    unsigned = dataset_of([0xF123, 0x7FFF], bits=12)
    assert stored_values(unsigned).tolist() == [[0x123, 0xFFF]]
    signed = dataset_of([0], bits=12, signed=True)
    signed.Columns = 2
    signed.PixelData = np.array([0x0FFF, 0x1801], "<u2").tobytes()  # -1 and -2047 without and with garbage
    assert stored_values(signed).tolist() == [[-1, -2047]]


def test_a_high_bit_above_the_usual_place_is_shifted_down() -> None:
    dataset = dataset_of([0x1230, 0xFFFF], bits=12)
    dataset.HighBit = 15
    assert stored_values(dataset).tolist() == [[0x123, 0xFFF]]


def test_big_endian_values_are_read() -> None:
    dataset = dataset_of([1, 258])
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = np.array([1, 258], ">u2").tobytes()
    assert stored_values(dataset).tolist() == [[1, 258]]


def test_colour_is_refused_and_named() -> None:
    with pytest.raises(UnsupportedPixelsError, match=r"instance 1\.2\.3: expected MONOCHROME1 or .* got RGB with 3"):
        pixels.to_display(dataset_of([0] * 12, bits=8, photometric="RGB", SamplesPerPixel=3, Rows=2, Columns=2))


def test_two_frames_are_refused_and_counted() -> None:
    with pytest.raises(UnsupportedPixelsError, match="expected one frame, got 2"):
        pixels.to_display(dataset_of([[1, 2], [3, 4]], Rows=1, NumberOfFrames=2))


def test_an_instance_without_pixels_is_refused() -> None:
    dataset = dataset_of([1])
    del dataset.PixelData
    with pytest.raises(UnsupportedPixelsError, match=r"the instance has no Pixel Data \(7FE0,0010\)"):
        pixels.to_display(dataset)


def test_floating_point_pixels_are_refused_by_name() -> None:
    dataset = dataset_of([1])
    del dataset.PixelData
    dataset.FloatPixelData = bytes(4)
    with pytest.raises(UnsupportedPixelsError, match=r"the instance has Float Pixel Data \(7FE0,0008\)"):
        pixels.to_display(dataset)


def test_more_than_sixteen_bits_are_refused() -> None:
    with pytest.raises(UnsupportedPixelsError, match="expected 1 to 16 bits stored, got 32"):
        pixels.to_display(dataset_of([1, 2], bits=16, BitsAllocated=32, BitsStored=32, HighBit=31, Columns=1))


def test_a_promise_of_four_gigapixels_is_refused_before_it_is_kept() -> None:
    with pytest.raises(UnsupportedPixelsError, match="got 65535 rows × 65535 columns"):
        pixels.to_display(dataset_of([1], Rows=65535, Columns=65535))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGBaseline8Bit])
def test_a_code_stream_larger_than_its_header_is_refused_before_it_is_decoded(syntax: str) -> None:
    if syntax == JPEGBaseline8Bit:
        buffer = io.BytesIO()
        Image.new("L", (64, 64)).save(buffer, "JPEG")
        frame = buffer.getvalue()
    else:
        frame = next(generate_frames(compressed(dataset_of(np.zeros((64, 64)), bits=8), syntax).PixelData, number_of_frames=1))
    dataset = dataset_of(np.zeros((16, 16)), bits=8)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    with pytest.raises(UnsupportedPixelsError, match=r"code stream of 16 rows × 16 columns .* got one of 64 × 64 with 1"):
        stored_values(dataset)


def test_a_deflated_data_set_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(np.zeros((512, 512)), bits=8)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = file_bytes(dataset)
    assert read_dataset(data).Rows == 512
    monkeypatch.setattr(element_walker, "MAX_INFLATED_BYTES", 100_000)
    monkeypatch.setattr(element_walker, "_INFLATED_PIECE_BYTES", 1000)
    with pytest.raises(UnsupportedPixelsError, match="the deflated data set grows above 100,000 bytes"):
        read_dataset(data)


def test_an_instance_without_transfer_syntax_is_refused() -> None:
    dataset = dataset_of([1])
    dataset.file_meta = FileMetaDataset()
    with pytest.raises(UnsupportedPixelsError, match="has no Transfer Syntax UID"):
        stored_values(dataset)


def test_a_compression_without_decoder_says_what_to_install() -> None:
    dataset = dataset_of([1, 2])
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    if get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for lossless JPEG is installed")
    with pytest.raises(UnsupportedPixelsError, match=r"no installed decoder reads JPEG Lossless.*pip install python-gdcm"):
        stored_values(dataset)


RAMP = np.arange(64 * 64).reshape(64, 64)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compression_changes_no_value(syntax: str, bits: int) -> None:
    values = RAMP % 2**bits
    assert np.array_equal(stored_values(compressed(dataset_of(values, bits=bits), syntax)), values)


def test_baseline_jpeg_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16), 100, np.uint8)).save(buffer, "JPEG", quality=95)
    dataset = dataset_of(np.zeros((16, 16)), bits=8)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([buffer.getvalue()])
    assert np.abs(stored_values(dataset).astype(int) - 100).max() <= 1


# truncation


def test_too_few_uncompressed_pixels_are_truncated() -> None:
    dataset = dataset_of(np.zeros((4, 4)))
    dataset.PixelData = dataset.PixelData[:20]
    with pytest.raises(TruncatedDicomError, match="expected 4 rows × 4 columns of Explicit VR Little Endian"):
        stored_values(dataset)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_cut_code_stream_is_truncated(syntax: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64))
    dataset = compressed(dataset_of(noise), syntax)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: int(len(frame) * kept)]])
    with pytest.raises(TruncatedDicomError, match=r"expected 64 rows × 64 columns.*could not be decoded"):
        stored_values(dataset)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_file_cut_anywhere_is_truncated_or_says_it_has_no_pixels(syntax: str) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (32, 32))
    dataset = dataset_of(noise)
    whole = file_bytes(dataset if syntax == ExplicitVRLittleEndian else compressed(dataset, syntax))
    assert stored_values(read_dataset(whole)).tolist() == noise.tolist()
    for end in range(132, len(whole) - 8, 13):
        with pytest.raises((TruncatedDicomError, UnsupportedPixelsError, NotDicomError)):
            stored_values(read_dataset(whole[:end]))


def test_a_cut_uncompressed_file_names_the_element() -> None:
    whole = file_bytes(dataset_of(np.zeros((4, 4))))
    with pytest.raises(TruncatedDicomError, match=r"ends inside Pixel Data \(7FE0,0010\) at byte \d+: 22 of 32 bytes"):
        read_dataset(whole[:-10])


# reading


def test_a_dataset_is_read_from_a_path_and_from_bytes(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(file_bytes(dataset_of([5])))
    assert read_dataset(path).SOPInstanceUID == "1.2.3"
    assert read_dataset(str(path)).SOPInstanceUID == "1.2.3"
    assert read_dataset(path.read_bytes()).SOPInstanceUID == "1.2.3"


def test_a_text_file_is_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(NotDicomError, match=r"notes\.txt: not a DICOM file: expected 'DICM' at byte 128, got 5 bytes"):
        read_dataset(tmp_path / "notes.txt")


def test_a_missing_file_is_a_package_error(tmp_path: Path) -> None:
    with pytest.raises(DicomError, match=r"gone\.dcm: the file cannot be read: No such file"):
        read_dataset(tmp_path / "gone.dcm")


def test_random_bytes_behind_a_dicom_preamble_are_a_package_error() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        with pytest.raises(WorkflowError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels.to_display(read_dataset(bytes(128) + b"DICM" + generator.bytes(600)))


# modality


def test_rescale_slope_and_intercept_are_applied() -> None:
    dataset = dataset_of([0, 10, 4095], RescaleSlope=2, RescaleIntercept=-100)
    assert pixels.rescaled(dataset).tolist() == [[-100, -80, 8090]]
    assert pixels.rescaled(dataset).dtype == np.float32


def test_a_modality_lut_comes_before_rescale_and_clamps_outside() -> None:
    dataset = dataset_of([0, 2, 3, 4, 9], ModalityLUTSequence=lut(2, 16, [1000, 2000, 500]), RescaleSlope=7)
    assert pixels.rescaled(dataset).tolist() == [[1000, 1000, 2000, 500, 500]]


def test_a_modality_lut_may_begin_below_zero() -> None:
    dataset = dataset_of([-3, -2, -1, 0], signed=True, ModalityLUTSequence=lut(-2, 16, [5, 6, 7]))
    assert pixels.rescaled(dataset).tolist() == [[5, 5, 6, 7]]


def test_a_lut_without_data_is_refused() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [2, 0, 16])
    with pytest.raises(UnsupportedPixelsError, match=r"expected LUT Data \(0028,3006\) of 2 entries, got none"):
        pixels.rescaled(dataset_of([1], ModalityLUTSequence=Sequence([item])))


# VOI


def test_a_linear_window_follows_the_formula_of_the_standard() -> None:
    # C.11.2.1.2.1 with c = 2048, w = 4096 as in the standard's own example: 0 is black, 4095 white
    assert shown(dataset_of([0, 2047, 2048, 4095], WindowCenter=2048, WindowWidth=4096)) == [0, 0.4999, 0.5001, 1]
    # c = 100, w = 11: black up to 94.5, white above 104.5, (x - 99.5) / 10 + 0.5 between
    assert shown(dataset_of([94, 95, 99, 104, 105], WindowCenter=100, WindowWidth=11)) == [0, 0.05, 0.45, 0.95, 1]


def test_a_linear_window_of_width_one_is_a_step() -> None:
    assert shown(dataset_of([99, 100], WindowCenter=100, WindowWidth=1)) == [0, 1]


def test_a_linear_exact_window_has_no_half_pixel() -> None:
    dataset = dataset_of([95, 100, 105], WindowCenter=100, WindowWidth=20, VOILUTFunction="LINEAR_EXACT")
    assert shown(dataset) == [0.25, 0.5, 0.75]


def test_a_linear_window_narrower_than_one_is_read_as_exact() -> None:
    dataset = dataset_of([0, 1, 2], RescaleSlope=0.25, WindowCenter=0.25, WindowWidth=0.5)
    assert shown(dataset) == [0, 0.5, 1]


def test_a_sigmoid_window_follows_the_formula_of_the_standard() -> None:
    dataset = dataset_of([0, 100, 125, 4095], WindowCenter=100, WindowWidth=100, VOILUTFunction="SIGMOID")
    assert shown(dataset) == [round(1 / (1 + np.exp(4.0)), 4), 0.5, round(1 / (1 + np.exp(-1.0)), 4), 1]


def test_the_window_is_in_rescaled_values() -> None:
    assert shown(dataset_of([0, 50, 100], RescaleIntercept=1000, WindowCenter=1050.5, WindowWidth=101)) == [0, 0.5, 1]


def test_a_second_window_is_chosen_by_its_index() -> None:
    dataset = dataset_of([0, 200], WindowCenter=[100.5, 2000], WindowWidth=[201, 2])
    assert shown(dataset) == [0, 1]
    assert shown(dataset, index=1) == [0, 0]
    with pytest.raises(DicomError, match="expected a window index below 2, got 2"):
        pixels.to_display(dataset, index=2)


def test_a_window_asked_for_replaces_the_one_in_the_file() -> None:
    dataset = dataset_of([0, 50, 100], WindowCenter=2000, WindowWidth=10, VOILUTFunction="LINEAR_EXACT")
    assert shown(dataset, window=(50, 100)) == [0, 0.5, 1]
    with pytest.raises(DicomError, match="width > 0"):
        pixels.to_display(dataset, window=(50, 0))


def test_a_window_of_width_zero_in_the_file_counts_as_none() -> None:
    assert shown(dataset_of([0, 51, 255], bits=8, WindowCenter=100, WindowWidth=0)) == [0, 0.2, 1]


def test_a_voi_lut_is_used_before_a_window() -> None:
    table = lut(10, 8, [0, 51, 255])
    dataset = dataset_of([0, 10, 11, 12, 99], VOILUTSequence=table, WindowCenter=1, WindowWidth=2)
    assert shown(dataset) == [0, 0, 0.2, 1, 1]
    with pytest.raises(DicomError, match="expected a VOI LUT index below 1, got 1"):
        pixels.to_display(dataset, index=1)


def test_a_voi_lut_works_on_rescaled_values() -> None:
    assert shown(dataset_of([0, 1, 2], RescaleIntercept=-1, VOILUTSequence=lut(-1, 12, [0, 819, 4095]))) == [0, 0.2, 1]


def test_voi_lut_entries_of_eight_bits_may_be_packed_in_words() -> None:
    packed = lut(0, 8, [0x3300, 0xFF66], count=4)  # 0, 51, 102, 255
    assert shown(dataset_of([0, 1, 2, 3], VOILUTSequence=packed)) == [0, 0.2, 0.4, 1]


def test_a_lut_in_words_survives_a_file() -> None:
    dataset = dataset_of([0, 1, 2], VOILUTSequence=lut(0, 16, [0, 13107, 65535]))
    dataset.VOILUTSequence[0]["LUTData"].VR = "OW"
    dataset.VOILUTSequence[0]["LUTData"].value = np.array([0, 13107, 65535], "<u2").tobytes()
    assert shown(read_dataset(file_bytes(dataset))) == [0, 0.2, 1]


# what to show when nothing says it


def test_eight_bits_without_window_show_their_whole_range() -> None:
    assert shown(dataset_of([51, 102, 51, 51], bits=8)) == [0.2, 0.4, 0.2, 0.2]
    assert shown(dataset_of([-128, 127], bits=8, signed=True)) == [0, 1]


def test_more_bits_without_window_show_robust_percentiles() -> None:
    values = np.repeat(np.arange(1000, 2000), 10).reshape(100, 100)
    values[0, :3] = 4095, 4095, 0  # a lead marker and a dead pixel do not set the contrast
    display = pixels.to_display(dataset_of(values))
    low, high = np.quantile(values, 0.005), np.quantile(values, 0.995)
    assert display[50, 0] == pytest.approx((1500 - low) / (high - low), abs=2e-3)
    assert display[0, 0] == 1
    assert display[0, 2] == 0


def test_an_image_of_one_value_is_black_without_window() -> None:
    assert shown(dataset_of([700, 700])) == [0, 0]


# inversion


def test_monochrome1_is_inverted_after_the_window() -> None:
    dataset = dataset_of([0, 50, 100], photometric="MONOCHROME1", WindowCenter=50.5, WindowWidth=101)
    assert shown(dataset) == [1, 0.5, 0]


def test_presentation_lut_shape_inverse_inverts() -> None:
    assert shown(dataset_of([0, 255], bits=8, PresentationLUTShape="INVERSE")) == [1, 0]
    assert shown(dataset_of([0, 255], bits=8, PresentationLUTShape="IDENTITY")) == [0, 1]


def test_monochrome1_that_also_says_inverse_is_inverted_once() -> None:
    assert shown(dataset_of([0, 255], bits=8, photometric="MONOCHROME1", PresentationLUTShape="INVERSE")) == [1, 0]


def test_both_photometric_interpretations_of_one_image_look_alike() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (40, 40))
    bright = pixels.to_display(dataset_of(values, WindowCenter=2048, WindowWidth=4096))
    dark = pixels.to_display(dataset_of(4095 - values, photometric="MONOCHROME1", WindowCenter=2048, WindowWidth=4096))
    assert np.allclose(bright, dark, atol=1e-6)


# padding


def test_padding_is_black_in_either_interpretation() -> None:
    window = {"WindowCenter": 50.5, "WindowWidth": 101, "PixelPaddingValue": 4000}
    assert shown(dataset_of([4000, 0, 100], **window)) == [0, 0, 1]
    assert shown(dataset_of([4000, 0, 100], photometric="MONOCHROME1", **window)) == [0, 1, 0]


def test_a_padding_range_is_masked_whichever_end_comes_first() -> None:
    window = {"WindowCenter": 50.5, "WindowWidth": 101, "PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 3990}
    assert shown(dataset_of([3989, 3990, 3995, 4000, 4001], **window)) == [1, 0, 0, 0, 1]


def test_padding_takes_no_part_in_the_statistics() -> None:
    values = np.full((10, 10), 4095)
    values[0] = np.arange(1000, 1010)
    display = pixels.to_display(dataset_of(values, PixelPaddingValue=4095))
    assert display[0, 0] == 0
    assert display[0, 9] == 1
    assert display[5, 5] == 0


def test_signed_padding_is_recognized_with_the_sign_of_the_pixels() -> None:
    dataset = dataset_of([-2000, 0, 100], bits=16, signed=True, WindowCenter=50.5, WindowWidth=101, PixelPaddingValue=-2000)
    assert shown(dataset) == [0, 0, 1]
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    assert shown(dataset) == [0, 1, 0]


# for the network and for pages


def test_the_model_input_keeps_the_aspect_and_pads_with_black() -> None:
    model_input = pixels.to_model_input(dataset_of(np.full((40, 20), 255), bits=8), size_px=8)
    assert model_input.shape == (1, 8, 8)
    assert model_input.dtype == np.float32
    assert model_input[0].tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]] * 8


def test_shrinking_averages_the_area_instead_of_sampling_it() -> None:
    stripes = np.tile([0, 255], (64, 32))
    model_input = pixels.to_model_input(dataset_of(stripes, bits=8), size_px=8)
    assert np.allclose(model_input, 0.5, atol=0.02)


def test_an_image_of_the_right_size_is_passed_unchanged() -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 16))
    assert np.allclose(pixels.to_model_input(dataset_of(values, bits=8), size_px=16)[0], values / 255, atol=1e-6)


def test_a_smaller_image_is_enlarged() -> None:
    model_input = pixels.to_model_input(dataset_of([[0, 255], [0, 255]], bits=8), size_px=8)
    assert model_input[0, :, [0, -1]].tolist() == [[0] * 8, [1] * 8]


def test_the_png_is_eight_bit_grey_and_no_larger_than_asked() -> None:
    dataset = dataset_of(np.tile(np.arange(100), (50, 1)), bits=8)
    whole = Image.open(io.BytesIO(pixels.to_png(dataset)))
    assert (whole.mode, whole.size) == ("L", (100, 50))
    assert np.asarray(whole)[0].tolist() == list(range(100))
    assert Image.open(io.BytesIO(pixels.to_png(dataset, max_px=10))).size == (10, 5)
    windowed = Image.open(io.BytesIO(pixels.to_png(dataset, window=(50, 1))))
    assert set(np.asarray(windowed).ravel().tolist()) == {0, 255}


# real files


def opened(path: Path, read: Callable[[Any], Any]) -> str:
    try:
        display = read(read_dataset(path))
    except WorkflowError as error:
        return type(error).__name__
    assert display.dtype == np.float32
    assert np.isfinite(display).all()
    assert 0 <= display.min() <= display.max() <= 1
    return "decoded"


@real_data
@pytest.mark.real_data
def test_all_real_radiographs_are_decoded() -> None:
    files = sorted(Path(SAMPLE_DATA, "radiographs").rglob("*.dcm"))
    assert len(files) == 167
    assert {opened(path, lambda dataset: pixels.to_model_input(dataset, size_px=64)) for path in files} == {"decoded"}


@real_data
@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_every_kind_of_file_is_decoded_or_refused_with_a_package_error() -> None:
    outcome = {path.name: opened(path, pixels.to_display) for path in Path(SAMPLE_DATA, "dicom_variety").glob("*.dcm")}
    assert outcome["RG1_J2KI.dcm"] == outcome["mlut_18.dcm"] == outcome["vlut_04.dcm"] == outcome["693_J2KR.dcm"] == "decoded"
    assert outcome["SC_rgb.dcm"] == outcome["eCT_Supplemental.dcm"] == "UnsupportedPixelsError"
    assert outcome["emri_small_jpeg_2k_lossless_too_short.dcm"] == "TruncatedDicomError"
    assert sum(result == "decoded" for result in outcome.values()) >= 17


@real_data
@pytest.mark.real_data
def test_the_same_stored_values_under_the_other_interpretation_are_the_negative() -> None:
    bright, dark = (pixels.to_display(read_dataset(Path(SAMPLE_DATA, "rsna", f"cr_monochrome{n}.dcm"))) for n in (2, 1))
    assert np.allclose(bright, 1 - dark, atol=1e-6)


# a lower resolution of JPEG 2000

REDUCED = pixels.REDUCED_VERSION


def radiograph(rows: int, columns: int, *, noise: float = 12.0) -> np.ndarray:
    """A made radiograph of 12 bits: two dark fields, an edge, fine lines and noise."""
    y, x = np.mgrid[:rows, :columns] / max(rows, columns)
    fields = sum(np.exp(-(((x - at) / 0.12) ** 2) - ((y - 0.4) / 0.3) ** 2) for at in (0.25, 0.65))
    values = 2600 - 1700 * fields + 500 * (x > 0.45) * (y > 0.5) + 150 * np.sin(60 * x) * np.sin(45 * y)
    return np.clip(values + np.random.default_rng(0).normal(0, noise, values.shape), 0, 4095)


def both(dataset: Dataset, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    return pixels.to_model_input(dataset, size_px=size_px), pixels.to_model_input(dataset, size_px=size_px, version=REDUCED)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize(("size_px", "halvings"), [(256, None), (128, 1), (65, 1), (64, 2), (32, 3), (2, 5)])
def test_at_least_twice_the_wanted_pixels_are_decoded(size_px: int, halvings: int | None) -> None:
    found = reduced_values(compressed(dataset_of(radiograph(512, 301)), JPEG2000Lossless), size_px)
    assert (found and found[1]) == halvings  # five levels are all that the code stream has
    if found:
        assert found[0].shape == (-(-512 >> found[1]), -(-301 >> found[1]))


@pytest.mark.parametrize("tags", [
    {},
    {"photometric": "MONOCHROME1"},
    {"WindowCenter": 1900, "WindowWidth": 2600},
    {"WindowCenter": 1900, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID", "photometric": "MONOCHROME1"},
    {"VOILUTSequence": lut(0, 12, [round(4095 * (i / 4095) ** 0.6) for i in range(4096)])},
    {"RescaleSlope": -1, "RescaleIntercept": 4095},
], ids=lambda tags: "-".join(tags) or "percentiles")  # fmt: skip
def test_a_lower_resolution_gives_nearly_the_same_image(tags: dict[str, Any]) -> None:
    whole, reduced = both(compressed(dataset_of(radiograph(1000, 819), **tags), JPEG2000Lossless), 112)
    assert correlation(whole, reduced) >= 0.999
    assert np.abs(whole - reduced).mean() < 0.005


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_lower_resolution_keeps_every_depth(bits: int) -> None:
    values = radiograph(512, 400, noise=0) * 2.0 ** (bits - 12)
    found = reduced_values(compressed(dataset_of(values, bits=bits), JPEG2000Lossless), 64)
    assert found
    assert found[0].dtype.itemsize == (1 if bits <= 8 else 2)
    assert abs(float(found[0].mean()) / float(values.astype(int).mean()) - 1) < 0.01


@pytest.mark.parametrize("shape", [(640, 640), (641, 523), (523, 642), (1027, 701)])
def test_a_lower_resolution_moves_nothing(shape: tuple[int, int]) -> None:
    """An edge stays where it is to a fiftieth of a pixel; taken as averages the pixels would have moved it by a fifth."""
    for axis in (0, 1):
        ramp = np.broadcast_to(np.linspace(0, 4095, shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1)), shape)
        whole, reduced = both(compressed(dataset_of(ramp, WindowCenter=2048, WindowWidth=4096), JPEG2000Lossless), 64)
        step = 64 / max(shape) * (4095 / (shape[axis] - 1)) / 4095 * (max(shape) / 64) ** 2
        inner = np.abs(whole - reduced)[0, 16:48, 16:48]
        assert inner.max() < 0.02 * step


def test_other_compressions_small_images_and_signed_values_are_decoded_whole() -> None:
    for dataset, size_px in (
        (dataset_of(radiograph(512, 400)), 64),
        (compressed(dataset_of(radiograph(512, 400)), JPEGLSLossless), 64),
        (compressed(dataset_of(radiograph(512, 400)), JPEG2000Lossless), 200),
        (compressed(dataset_of(radiograph(512, 400) - 2048, signed=True), JPEG2000Lossless), 64),
    ):
        assert reduced_values(dataset, size_px) is None
        whole, reduced = both(dataset, size_px)
        assert np.array_equal(whole, reduced)


def test_where_padding_is_to_be_seen_the_whole_image_is_decoded() -> None:
    values = radiograph(512, 400)
    values[:, :40] = 4095
    padded = compressed(dataset_of(values, PixelPaddingValue=4095), JPEG2000Lossless)
    whole, reduced = both(padded, 64)
    assert np.array_equal(whole, reduced)
    assert reduced[0, 32, 7 : 7 + 4].max() == 0


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_cut_code_stream_is_truncated_at_a_lower_resolution_too(kept: float) -> None:
    dataset = compressed(dataset_of(radiograph(512, 400)), JPEG2000Lossless)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: int(len(frame) * kept)]])
    with pytest.raises(TruncatedDicomError):
        pixels.to_model_input(dataset, size_px=64)
    with pytest.raises(TruncatedDicomError):
        pixels.to_model_input(dataset, size_px=64, version=REDUCED)


def test_a_version_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(DicomError, match="expected a preprocessing version of 1, 1-reduced, got '7'"):
        pixels.to_model_input(dataset_of([[0, 1]]), size_px=8, version="7")


@real_data
@pytest.mark.real_data
def test_real_radiographs_in_jpeg_2000_keep_their_looks_at_a_lower_resolution() -> None:
    """Packed into it by turns with their 8 bits as they are, and with 12: noise where 4 bits were missing."""
    generator = np.random.default_rng(0)
    correlations = []
    for number, path in enumerate(sorted(Path(SAMPLE_DATA, "radiographs").rglob("*.dcm"))[::16]):
        dataset = read_dataset(path)
        values = stored_values(dataset)
        if number % 2:
            deep = values * 16.0 + generator.normal(8, 10, values.shape)
            dataset = dataset_of(np.clip(deep, 0, 4095), photometric=str(dataset.PhotometricInterpretation))
        else:
            dataset = dataset_of(values, bits=8, photometric=str(dataset.PhotometricInterpretation))
        if min(values.shape) >= 512:
            packed = compressed(dataset, JPEG2000Lossless)
            assert reduced_values(packed, 112)
            correlations.append(correlation(*both(packed, 112)))
    assert len(correlations) >= 8
    assert min(correlations) >= 0.999
