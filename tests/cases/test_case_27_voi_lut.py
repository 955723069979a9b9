"""Case 27: look-up tables whose first value mapped has the sign of their input, and tables shorter than their descriptor.

The means are those of the formulas of PS3.3 C.11 in NumPy, and of DCMTK.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian
from support.cases import case_folder
from support.pixels import dataset_of, file_bytes

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import UnsupportedPixelsError

RAMP = [round(65535 * at / 4095) for at in range(4096)]
VALUES = np.arange(4096).reshape(64, 64)


def table(
    first: int, vr: str, entries: list[int], *, bits: int = 16, count: int | None = None, data_vr: str = "OW"
) -> Sequence:
    """A LUT whose first value mapped is written as `vr`, whatever sign it has."""
    item = Dataset()
    number = first - 65536 if vr == "SS" and first >= 32768 else first % 65536 if vr == "US" else first
    item.add_new("LUTDescriptor", vr, [len(entries) if count is None else count, number, bits])
    octets = np.array(entries, "<u2").tobytes()
    item.add_new("LUTData", data_vr, octets if data_vr == "OW" else entries)
    return Sequence([item])


def shown(dataset: Dataset) -> np.ndarray:
    return pixels.to_display(read_dataset(file_bytes(dataset)))


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("implicit", [False, True])
def test_the_voi_lut_of_rescaled_values_begins_below_zero_in_either_vr(vr: str, implicit: bool) -> None:
    dataset = dataset_of(VALUES, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=table(-1024, vr, RAMP))
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    np.testing.assert_allclose(shown(dataset), VALUES / 4095, atol=1e-4)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_the_modality_lut_of_signed_pixels_begins_below_zero_in_either_vr(vr: str) -> None:
    dataset = dataset_of(
        VALUES - 2048, signed=True, ModalityLUTSequence=table(-2048, vr, RAMP), WindowCenter=32768, WindowWidth=65536
    )
    np.testing.assert_allclose(shown(dataset), VALUES / 4095, atol=1e-4)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_unsigned_input_above_32767_is_not_taken_for_negative(vr: str) -> None:
    dataset = dataset_of(VALUES + 40_000, bits=16, VOILUTSequence=table(40_000, vr, RAMP))
    np.testing.assert_allclose(shown(dataset), VALUES / 4095, atol=1e-4)


def test_the_output_of_a_modality_lut_is_never_negative() -> None:
    """C.11.2.1.1: signed pixels, but the VOI LUT sees what the Modality LUT gives."""
    modality = table(-2048, "SS", [value + 40_000 for value in range(4096)])
    dataset = dataset_of(VALUES - 2048, signed=True, ModalityLUTSequence=modality, VOILUTSequence=table(40_000, "SS", RAMP))
    np.testing.assert_allclose(shown(dataset), VALUES / 4095, atol=1e-4)


@pytest.mark.parametrize("data_vr", ["OW", "US"])
@pytest.mark.parametrize("kept", [4095, 2049, 2048, 1000, 1])
def test_a_table_shorter_than_its_descriptor_goes_on_with_its_last_entry(kept: int, data_vr: str) -> None:
    dataset = dataset_of(VALUES, VOILUTSequence=table(0, "US", RAMP[:kept], count=4096, data_vr=data_vr))
    np.testing.assert_allclose(shown(dataset), np.minimum(VALUES, kept - 1) / 4095, atol=1e-4)


def test_entries_of_8_bits_may_lie_in_words_of_their_own_or_two_in_a_word() -> None:
    entries = list(range(256))
    packed = np.arange(256, dtype="u1").view("<u2").tolist()
    for lut in (table(0, "US", entries, bits=8), table(0, "US", packed, bits=8, count=256)):
        np.testing.assert_allclose(shown(dataset_of(VALUES % 256, bits=8, VOILUTSequence=lut)), VALUES % 256 / 255, atol=1e-4)


def described(numbers: list[int], data: bytes = b"\0\1") -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", numbers)
    item.add_new("LUTData", "OW", data)
    return Sequence([item])


@pytest.mark.parametrize(("lut", "said"), [
    (described([65535, 0, 65535]), r"LUT Descriptor \(0028,3002\) of 8 to 16 bits an entry, got 65535"),
    (described([1, 0, 17]), "8 to 16 bits an entry, got 17"),
    (described([1, 0]), "three numbers"),
    (described([4, 0, 16], b""), r"LUT Data \(0028,3006\) of 4 entries, got none"),
], ids=["65535 bits", "17 bits", "two numbers", "no data"])  # fmt: skip
@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_table_that_cannot_be_is_refused_by_its_attribute(name: str, lut: Any, said: str) -> None:
    with pytest.raises(UnsupportedPixelsError, match=said):
        shown(dataset_of([[1, 2]], **{name: lut}))


@pytest.mark.parametrize(("name", "mean"), [
    ("voi-rescaled-first-1024-implicit", 0.624), ("modality-lut-signed-high-US", 0.526), ("modality-lut-signed-high", 0.526),
    ("voi-short", 0.620),
])  # fmt: skip
def test_the_collected_files(name: str, mean: float) -> None:
    dataset = read_dataset(case_folder("27-voi-lut") / f"{name}.dcm")
    assert float(pixels.to_display(dataset).mean()) == pytest.approx(mean, abs=5e-4)
