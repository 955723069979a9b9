"""Case 11: an image without PatientID is stored and counted at upload, long before a training set refuses it."""

from __future__ import annotations

from pathlib import Path

from support.archive import write_files

from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.archive.upload import upload


def test_images_without_patient_id_are_counted_and_named(tmp_path: Path) -> None:
    write_files(tmp_path / "data", 5)
    write_files(tmp_path / "more", 6, patient_id="")[5].rename(tmp_path / "data" / "nobody.dcm")
    report = upload(tmp_path / "data", FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"stored": 6}
    assert report.metrics()["instances_without_patient_id"] == 1
    (instance,) = report.without_patient_id
    (named,) = (item.path for item in report.outcomes if item.instance == instance)
    assert Path(named).name == "nobody.dcm"
