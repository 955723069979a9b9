"""Case 22: JPEG Extended (1.2.840.10008.1.2.4.51) of 12 bits, lossy: decoded by GDCM as DCMTK decodes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit
from support.cases import case_folder
from support.pixels import dataset_of, file_bytes

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.decoding import read_frame, stored_values
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import TruncatedDicomError, UnsupportedPixelsError


def collected() -> Path:
    return case_folder("22-jpeg-extended-12bit") / "dcmcjpeg-12bit.dcm"


def test_it_is_decoded_as_dcmtk_decodes_it(tmp_path: Path) -> None:
    path, plain = collected(), tmp_path / "plain.dcm"
    values = stored_values(read_dataset(path))
    assert (values.shape, values.dtype) == ((64, 48), np.uint16)
    assert float(pixels.to_display(read_dataset(path)).mean()) == pytest.approx(0.4594, abs=1e-3)
    np.testing.assert_array_equal(read_frame(path).values, values)
    if not shutil.which("dcmdjpeg"):
        pytest.skip("DCMTK is not installed")
    subprocess.run(["dcmdjpeg", path, plain], check=True)
    np.testing.assert_array_equal(values, pydicom.dcmread(plain).pixel_array)


def test_a_cut_code_stream_is_truncated() -> None:
    dataset = read_dataset(collected())
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[:40]])
    with pytest.raises(TruncatedDicomError, match="could not be decoded"):
        stored_values(dataset)


def test_without_gdcm_the_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdcm", None)
    dataset = dataset_of(np.zeros((8, 8)))
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    with pytest.raises(UnsupportedPixelsError, match="pip install python-gdcm"):
        stored_values(dataset)


def with_header(bits: int, allocated: int, precision: int, syntax: UID = JPEGExtended12Bit) -> bytes:
    """A header of so many bits before a code stream of another number; the size of both is the same."""
    made = dataset_of(np.zeros((8, 8)), bits=bits, BitsAllocated=allocated)
    made.file_meta.TransferSyntaxUID = syntax
    frame = b"\xff\xd8\xff\xc1\x00\x0b" + bytes([precision]) + b"\x00\x08\x00\x08\x01\x01\x11\x00\xff\xd9"
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    return file_bytes(made)


@pytest.mark.parametrize(("bits", "allocated", "precision"), [(8, 16, 12), (8, 8, 12), (10, 16, 12), (12, 16, 8)])
@pytest.mark.parametrize("syntax", [JPEGExtended12Bit, JPEGBaseline8Bit], ids=["Extended", "Baseline"])
def test_a_code_stream_of_other_bits_than_its_header_is_named(bits: int, allocated: int, precision: int, syntax: UID) -> None:
    """Decoded all the same it would be another picture: values that wrapped around, or one of a sixteenth of the brightness."""
    message = rf"expected a code stream of {bits} bits, as Bits Stored \(0028,0101\) says, got one of {precision}"
    with pytest.raises(UnsupportedPixelsError, match=message):
        stored_values(read_dataset(with_header(bits, allocated, precision, syntax)))


def test_signed_values_of_12_bits_keep_their_sign() -> None:
    dataset = read_dataset(collected())
    unsigned = stored_values(dataset).astype(int)
    dataset.PixelRepresentation = 1
    np.testing.assert_array_equal(stored_values(dataset), np.where(unsigned >= 2048, unsigned - 4096, unsigned))
