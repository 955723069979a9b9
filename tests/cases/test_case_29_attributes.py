"""Case 29, the DICOM parts: a UID that breaks a rule, and attributes that are missing, each named."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.archive import dataset, to_bytes
from support.pixels import dataset_of, file_bytes

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.decoding import read_frame
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import DicomError, TruncatedDicomError

NAMES = {
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
    "SOPInstanceUID": "SOP Instance UID",
}


def with_uid(keyword: str, uid: bytes) -> bytes:
    made = dataset()
    value = "9" * 72
    setattr(made, keyword, value[: len(uid)])
    if keyword == "SOPInstanceUID":
        made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    return to_bytes(made).replace(value[: len(uid)].encode(), uid)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("keyword", NAMES)
def test_the_rule_that_a_uid_breaks_is_named(keyword: str) -> None:
    assert inspect(with_uid(keyword, b"1" * 64)).rows == 16
    with pytest.raises(DicomError, match=rf"{NAMES[keyword]} .* has 72 characters; a UID has at most 64"):
        inspect(with_uid(keyword, b"1.23" * 18))
    for strange, named in ((b"1.2.abc.44", "'a'"), (b"1.2,3 4.55", "','"), (b"1.2.3-4.55", "'-'")):
        with pytest.raises(DicomError, match=rf"{NAMES[keyword]} .* contains {named}; a UID consists of digits and dots"):
            inspect(with_uid(keyword, strange))


REQUIRED = {
    "PixelRepresentation": "Pixel Representation",
    "BitsStored": "Bits Stored",
    "BitsAllocated": "Bits Allocated",
    "Rows": "Rows",
    "Columns": "Columns",
    "SamplesPerPixel": "Samples Per Pixel|Samples per Pixel",
}


@pytest.mark.parametrize("keyword", REQUIRED)
def test_the_attribute_that_is_missing_is_named(tmp_path: Path, keyword: str) -> None:
    made = dataset_of([[1, 2], [3, 4]])
    made["PixelData"].VR = "OW"
    delattr(made, keyword)
    data = file_bytes(made)
    (tmp_path / "one.dcm").write_bytes(data)
    for read in (lambda: pixels.to_model_input(read_dataset(data), size_px=8), lambda: read_frame(tmp_path / "one.dcm")):
        with pytest.raises(DicomError, match=rf"({REQUIRED[keyword]}) \(0028,\d+\) is missing") as refusal:
            read()
        assert not isinstance(refusal.value, TruncatedDicomError)
        assert "again" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("uid", [b"1..2", b"1.2.", b".1.2", b"..", b"."], ids=repr)
def test_a_uid_with_an_empty_component_is_named(uid: bytes) -> None:
    with pytest.raises(DicomError, match=r"Series Instance UID .* has an empty component; a UID has digits before and after"):
        made = dataset()
        made.SeriesInstanceUID = "9" * 10
        inspect(to_bytes(made).replace(b"9" * 10, uid.ljust(10, b"\0")))


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_an_upload_names_the_attribute_that_is_missing_or_empty(keyword: str) -> None:
    for change in (delattr, lambda made, name: setattr(made, name, None)):
        made = dataset()
        change(made, keyword)
        with pytest.raises(DicomError, match=rf"{keyword} \(0028,001.\) is missing, without which the pixels cannot be read"):
            inspect(to_bytes(made))


@pytest.mark.parametrize("keyword", ["PixelRepresentation", "BitsStored"])
def test_an_attribute_that_is_empty_is_named(keyword: str) -> None:
    made = dataset()
    setattr(made, keyword, None)
    with pytest.raises(DicomError, match=rf"{REQUIRED[keyword]}.*: expected one whole number \(VR US\), got an empty element"):
        pixels.to_display(read_dataset(to_bytes(made)))


def test_a_missing_photometric_interpretation_is_named() -> None:
    made = dataset()
    del made.PhotometricInterpretation
    with pytest.raises(DicomError, match=r"Photometric Interpretation \(0028,0004\) is missing"):
        pixels.to_display(read_dataset(to_bytes(made)))
