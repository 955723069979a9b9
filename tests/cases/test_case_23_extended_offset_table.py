"""Case 23, the Python half: elements of VR OV, SV and UV, of which the Extended Offset Table is one."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate_extended, get_frame
from pydicom.uid import RLELossless
from support.archive import dicom
from support.cases import case_folder
from support.pixels import dataset_of, file_bytes

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.decoding import read_frame, stored_values
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.dicom.reading import read_dataset


@pytest.mark.parametrize("vr", [b"OV", b"SV", b"UV"])
def test_an_element_of_64_bits_is_read_over(vr: bytes) -> None:
    data = dicom(1)
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    element = struct.pack("<HH2sHLQ", 0x0009, 0x1010, vr, 0, 8, 2**40)
    changed = data[:at] + element + data[at:]
    assert inspect(changed).pixel_bytes == 256
    assert (pixels.to_display(read_dataset(changed)) == pixels.to_display(read_dataset(data))).all()


def test_frames_are_found_by_the_extended_offset_table(tmp_path: Path) -> None:
    frames, values = [], np.arange(3 * 16).reshape(3, 4, 4)
    for frame in values:
        made = dataset_of(frame, bits=8)
        made.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
        frames.append(get_frame(made.PixelData, 0, number_of_frames=1))
    many = dataset_of(values.reshape(12, 4), bits=8, Rows=4, NumberOfFrames=3)
    many.file_meta.TransferSyntaxUID = RLELossless
    many.PixelData, many.ExtendedOffsetTable, many.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    many["PixelData"].VR, many["PixelData"].is_undefined_length = "OB", True
    (tmp_path / "many.dcm").write_bytes(file_bytes(many))
    for index, expected in enumerate(values):
        np.testing.assert_array_equal(read_frame(tmp_path / "many.dcm", index).values, expected)


@pytest.mark.parametrize(("offsets", "lengths"), [
    (struct.pack("<Q", 99_999), struct.pack("<Q", 100)), (struct.pack("<Q", 0), struct.pack("<Q", 10)),
    (struct.pack("<Q", 0), None), (b"", b""), (b"\0\0\0\0", b"\0\0\0\0"),
], ids=["beyond the end", "too short", "no lengths", "empty", "4 bytes"])  # fmt: skip
def test_one_frame_needs_no_table_and_a_wrong_one_does_no_harm(offsets: bytes, lengths: bytes | None, tmp_path: Path) -> None:
    made = dataset_of(np.arange(16).reshape(4, 4), bits=8)
    made.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    made.ExtendedOffsetTable = offsets
    if lengths is not None:
        made.ExtendedOffsetTableLengths = lengths
    (tmp_path / "one.dcm").write_bytes(file_bytes(made))
    expected = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(stored_values(read_dataset(tmp_path / "one.dcm")), expected)
    np.testing.assert_array_equal(read_frame(tmp_path / "one.dcm").values, expected)


def test_the_collected_file() -> None:
    path = case_folder("23-extended-offset-table") / "extended-offset-table.dcm"
    assert inspect(path).rows == 64
    assert float(pixels.to_display(read_dataset(path)).mean()) == pytest.approx(0.4594, abs=1e-3)
    assert read_frame(path).values.shape == (64, 48)
