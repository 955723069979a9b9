"""Every pixel that a network sees is what the standard says, worked out a second time by `independent_pixels`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from support import independent_pixels
from support.pixels import compressed, dataset_of, file_bytes

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import TruncatedDicomError, UnsupportedPixelsError, WorkflowError

TOLERANCE = 1e-6
SIZE_PX = 24


def assert_true(path: Path, size_px: int = SIZE_PX) -> None:
    dataset = read_dataset(path)
    dataset.filename = str(path)
    ours, again = pixels.to_model_input(dataset, size_px=size_px), independent_pixels.model_input(dataset, size_px)
    assert ours.shape == again.shape == (1, size_px, size_px)
    np.testing.assert_allclose(ours, again, rtol=0, atol=TOLERANCE, err_msg=path.name)


# built cases


def picture(bits: int, signed: bool, shape: tuple[int, int] = (61, 47)) -> np.ndarray:
    """Seeded values that reach both ends of what so many bits can hold."""
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    made = 0.5 + 0.45 * np.sin(5 * x + 1) * np.cos(4 * y) + np.random.default_rng(bits).normal(0, 0.03, shape)
    values = np.clip(np.rint(made * (2**bits - 1)), 0, 2**bits - 1).astype(int)
    values[:2, :3], values[-2:, -3:] = 0, 2**bits - 1
    return values - 2 ** (bits - 1) * signed


def table(first: int, bits: int, entries: Sequence[int] | np.ndarray, *, padded: bool = False) -> Items:
    """One LUT; entries of 8 bits one in each byte or, `padded`, each in a word of its own."""
    item, octets = Dataset(), np.asarray(entries).astype("u1" if bits == 8 and not padded else "<u2").tobytes()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", octets + b"\0" * (len(octets) % 2))
    return Items([item])


def bent(count: int, bits: int, power: float = 0.6) -> np.ndarray:
    return np.rint((np.arange(count) / (count - 1)) ** power * (2**bits - 1))


def looks(bits: int, signed: bool) -> dict[str, dict[str, Any]]:
    """Everything that may stand between stored and displayed values, for values of so many bits."""
    levels, lowest = 2**bits, -(2 ** (bits - 1)) * signed
    middle, span = lowest + levels / 2, levels / 2
    padding = int(lowest + levels - 1)
    below_zero = {"RescaleSlope": 1, "RescaleIntercept": -(levels // 2) - lowest}
    return {
        "nothing said": {},
        "rescale without window": {"RescaleSlope": 0.25, "RescaleIntercept": -1024.5},
        "window": {"WindowCenter": middle, "WindowWidth": span},
        "several windows": {"WindowCenter": [middle - 9, 3, 4], "WindowWidth": [span + 1, 70, 80]},
        "window of width 1": {"WindowCenter": middle, "WindowWidth": 1},
        "negative intercept, LINEAR_EXACT": {
            "RescaleSlope": 2.5, "RescaleIntercept": -1000, "VOILUTFunction": "LINEAR_EXACT",
            "WindowCenter": 2.5 * middle - 1000, "WindowWidth": 2 * span,
        },
        "negative slope, SIGMOID": {
            "RescaleSlope": -1, "RescaleIntercept": levels, "VOILUTFunction": "SIGMOID",
            "WindowCenter": levels - middle, "WindowWidth": span,
        },
        "modality LUT and window": {
            "ModalityLUTSequence": table(lowest, 16, bent(levels, 16)), "WindowCenter": 40_000, "WindowWidth": 30_000
        },
        "short modality LUT": {"ModalityLUTSequence": table(int(middle) - 20, 16, bent(40, 12, 2.0))},
        "VOI LUT of 8 bits": {"VOILUTSequence": table(lowest, 8, bent(levels, 8))},
        "VOI LUT of 8 bits in words": {"VOILUTSequence": table(lowest, 8, bent(levels, 8), padded=True)},
        "VOI LUT of 16 bits that begins below zero": {
            **below_zero, "VOILUTSequence": table(-(levels // 2), 16, bent(levels, 16, 1.7))
        },
        "VOI LUT and window": {
            "VOILUTSequence": table(int(middle - span / 2), 12, bent(int(span), 12)), "WindowCenter": 1, "WindowWidth": 2
        },
        "INVERSE": {"PresentationLUTShape": "INVERSE", "WindowCenter": middle + 5, "WindowWidth": span},
        "padding": {"PixelPaddingValue": padding},
        "padding range": {"PixelPaddingValue": padding, "PixelPaddingRangeLimit": int(padding - span / 4)},
    }  # fmt: skip


DEPTHS = (8, 10, 12, 14, 16)
CASES = [
    (photometric, signed, bits, look)
    for photometric, signed, bits in itertools.product(("MONOCHROME1", "MONOCHROME2"), (False, True), DEPTHS)
    for look in looks(8, False)
]
SHAPES = [(61, 47), (24, 24), (24, 11), (5, 90), (300, 37), (19, 23), (1, 40)]


def test_there_are_at_least_sixty_built_cases() -> None:
    assert len(CASES) == 2 * 2 * 5 * 16


@pytest.mark.parametrize(("photometric", "signed", "bits"), sorted({case[:3] for case in CASES}), ids=str)
def test_a_built_case_is_shown_as_the_standard_says(tmp_path: Path, photometric: str, signed: bool, bits: int) -> None:
    for look, tags in looks(bits, signed).items():
        path = tmp_path / f"{look}.dcm"
        made = dataset_of(picture(bits, signed), bits=bits, signed=signed, photometric=photometric, **tags)
        path.write_bytes(file_bytes(made))
        assert_true(path)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high_bit", ["usual", "highest"])
def test_what_stands_in_unused_bits_is_not_seen(tmp_path: Path, signed: bool, bits: int, high_bit: str) -> None:
    values = picture(bits, signed)
    dataset = dataset_of(values, bits=bits, signed=signed, WindowCenter=100, WindowWidth=2000)
    garbage = np.random.default_rng(0).integers(0, 2 ** (16 - bits), values.shape)
    cells = values & (2**bits - 1)
    if high_bit == "highest":
        dataset.HighBit = 15
        cells = cells << (16 - bits) | garbage
    else:
        cells = cells | garbage << bits
    dataset.PixelData = cells.astype("<u2").tobytes()
    clean = dataset_of(values, bits=bits, signed=signed, WindowCenter=100, WindowWidth=2000)
    for name, made in (("garbage", dataset), ("clean", clean)):
        (tmp_path / name).write_bytes(file_bytes(made))
        assert_true(tmp_path / name)
    np.testing.assert_array_equal(*(pixels.to_model_input(made, size_px=SIZE_PX) for made in (dataset, clean)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_is_fitted_by_its_grid_of_pixels(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Whatever the file says of the shape of its pixels: a digitizer may be wrong about it, and the grid was displayed."""
    for tags in ({}, {"PixelAspectRatio": [2, 1]}, {"PixelSpacing": [0.3, 0.15]}):
        path = tmp_path / "one.dcm"
        path.write_bytes(file_bytes(dataset_of(picture(12, False, shape), **tags)))
        assert_true(path)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [
    ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless
], ids=lambda syntax: syntax.name)  # fmt: skip
def test_every_transfer_syntax_gives_the_same_pixels(tmp_path: Path, syntax: Any, bits: int) -> None:
    values = picture(bits, False)
    dataset = dataset_of(values, bits=bits, photometric="MONOCHROME1", WindowCenter=100, WindowWidth=150, PixelPaddingValue=0)
    plain = pixels.to_model_input(dataset, size_px=SIZE_PX)
    if syntax.is_compressed and not syntax.is_deflated:
        compressed(dataset, syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = values.astype(">u2" if bits > 8 else "u1").tobytes() + b"\0" * (bits == 8)
    path = tmp_path / "one.dcm"
    path.write_bytes(file_bytes(dataset))
    assert_true(path)
    np.testing.assert_array_equal(pixels.to_model_input(read_dataset(path), size_px=SIZE_PX), plain)


def test_padding_and_nothing_else_is_black(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(file_bytes(dataset_of(np.full((30, 20), 7), PixelPaddingValue=7, photometric="MONOCHROME1")))
    assert_true(path)
    assert not pixels.to_model_input(read_dataset(path), size_px=SIZE_PX).any()


# real files

COLOUR = "expected MONOCHROME1 or MONOCHROME2 with one sample per pixel, got "
REFUSED = {
    COLOUR + "RGB with 3": """
        HTJ2KLossless_08_RGB HTJ2K_08_RGB SC_rgb SC_rgb_16bit SC_rgb_16bit_2frame SC_rgb_2frame SC_rgb_32bit
        SC_rgb_32bit_2frame SC_rgb_dcmtk_ebcr_dcmd SC_rgb_dcmtk_ebcyn1_dcmd SC_rgb_dcmtk_ebcyn2_dcmd
        SC_rgb_dcmtk_ebcynp_dcmd SC_rgb_dcmtk_ebcys2_dcmd SC_rgb_dcmtk_ebcys4_dcmd SC_rgb_expb SC_rgb_expb_16bit
        SC_rgb_expb_16bit_2frame SC_rgb_expb_2frame SC_rgb_expb_32bit SC_rgb_expb_32bit_2frame
        SC_rgb_gdcm2k_uncompressed US1_UNCI US1_UNCR color-pl color-px""",
    COLOUR + "YBR_": "SC_ybr_full_uncompressed US1_J2KI US1_J2KR",
    COLOUR + "PALETTE COLOR": """
        OBXXXX1A OBXXXX1A_2frame OBXXXX1A_expb OBXXXX1A_expb_2frame OBXXXX1A_rle OBXXXX1A_rle_2frame gdcm-US-ALOKA-16
        gdcm-US-ALOKA-16_big""",
    "expected one frame, got ": """
        eCT_Supplemental emri_small emri_small_RLE emri_small_big_endian emri_small_jpeg_2k_lossless emri_small_jpeg_ls_lossless
        liver liver_deflate liver_expb liver_j2k liver_nonbyte_aligned liver_nonbyte_aligned_deflate liver_nonbyte_aligned_j2k
        liver_nonbyte_aligned_rle liver_rle""",
    "the instance has Double Float Pixel Data (7FE0,0009)": "parametric_map_double_float",
    "the instance has Float Pixel Data (7FE0,0008)": "parametric_map_float",
    "the file ends inside": "emri_small_jpeg_2k_lossless_too_short",
    "not a DICOM file: expected 'DICM' at byte 128": "JLSL_RGB_ILV0 JLSL_RGB_ILV1 JLSL_RGB_ILV2 JLSN_RGB_ILV0 OT-PAL-8-face",
}
REASONS = {f"{name}.dcm": reason for reason, names in REFUSED.items() for name in names.split()}


@pytest.mark.real_data
@pytest.mark.parametrize("part", range(4))
def test_every_real_radiograph_is_shown_as_the_standard_says(sample_data: Path, part: int) -> None:
    files = sorted((sample_data / "radiographs").rglob("*.dcm"))
    assert len(files) == 167
    for path in files[part::4]:
        assert_true(path, 224)


@pytest.mark.real_data
def test_images_of_either_polarity_are_shown_as_the_standard_says(sample_data: Path) -> None:
    files = sorted((sample_data / "rsna").rglob("*.dcm"))
    assert len(files) == 2
    for path in files:
        assert_true(path, 224)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:openjpeg")
def test_every_kind_of_file_is_shown_as_the_standard_says_or_refused_for_its_reason(sample_data: Path) -> None:
    files = {path.name: path for path in sorted((sample_data / "dicom_variety").glob("*.dcm"))}
    assert REASONS.keys() <= files.keys()
    assert len(files.keys() - REASONS.keys()) == 20
    for name, path in files.items():
        if name not in REASONS:
            assert_true(path, 224)
            continue
        with pytest.raises(WorkflowError) as refusal:
            pixels.to_model_input(read_dataset(path), size_px=224)
        assert REASONS[name] in str(refusal.value), name
        assert type(refusal.value) in (UnsupportedPixelsError, TruncatedDicomError) or "DICM" in REASONS[name]
