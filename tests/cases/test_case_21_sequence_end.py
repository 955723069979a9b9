"""Case 21: delimiters of sequences, items and fragments that have a length, which should be 0."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless
from support.archive import dataset, dicom, to_bytes
from support.cases import case_folder

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.decoding import read_frame, stored_values
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import TruncatedDicomError

END, ITEM_END = struct.pack("<HH", 0xFFFE, 0xE0DD), struct.pack("<HH", 0xFFFE, 0xE00D)


def compressed(syntax: str) -> bytes:
    made = dataset(3, size_px=64)
    made.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return to_bytes(made, made.file_meta.TransferSyntaxUID)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("length", [0xFFFFFFFF, 4, 1])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless], ids=str)
def test_pixel_data_that_end_with_it_are_read(syntax: str, length: int, tmp_path: Path) -> None:
    data = compressed(syntax)
    assert data.endswith(END + bytes(4))
    changed = data[:-4] + struct.pack("<L", length)
    assert inspect(changed).rows == 64
    plain = stored_values(read_dataset(dicom(3, size_px=64)))
    np.testing.assert_array_equal(stored_values(read_dataset(changed)), plain)
    (tmp_path / "one.dcm").write_bytes(changed)
    np.testing.assert_array_equal(read_frame(tmp_path / "one.dcm").values, plain)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("length", [0xFFFFFFFF, 8])
def test_a_sequence_in_the_header_that_ends_with_it_is_read(length: int) -> None:
    data = dicom()
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    odd = struct.pack("<L", length)
    undefined = b"\xff\xff\xff\xff"
    sequence = struct.pack("<HH2sH", 8, 0x1140, b"SQ", 0) + undefined + b"\xfe\xff\x00\xe0" + undefined
    changed = data[:at] + sequence + ITEM_END + odd + END + odd + data[at:]
    assert inspect(changed).pixel_bytes == 256
    assert (pixels.to_display(read_dataset(changed)) == pixels.to_display(read_dataset(data))).all()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("end", [END, ITEM_END], ids=["sequence", "item"])
@pytest.mark.parametrize("syntax", ["", RLELossless], ids=["native", "RLE"])
def test_an_end_too_many_ends_nothing(syntax: str, end: bytes) -> None:
    data = (compressed(syntax) if syntax else dicom(3, size_px=64)) + end + bytes(4)
    assert inspect(data).rows == 64
    plain = stored_values(read_dataset(dicom(3, size_px=64)))
    np.testing.assert_array_equal(stored_values(read_dataset(data)), plain)


def test_pixel_data_without_any_end_are_truncated() -> None:
    data = compressed(JPEG2000Lossless)
    with pytest.raises(TruncatedDicomError, match="the file ends inside"):
        read_dataset(data[:-8])


def test_the_collected_file() -> None:
    path = case_folder("21-sequence-end") / "frag-delim-undefined-length.dcm"
    assert inspect(path).rows == 64
    assert float(pixels.to_display(read_dataset(path)).mean()) == pytest.approx(0.459, abs=1e-3)
