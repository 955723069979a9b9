"""Case 16: an Orthanc that overwrites, and one that recycles patients: nothing is overwritten, and what is gone is named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from support.archive import dicom, open_dicomweb, open_orthanc, write_files

from dicom_workflow.archive.orthanc_process import OrthancServer, find_dicomweb_plugin, find_orthanc
from dicom_workflow.archive.upload import upload

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here"),
]


@pytest.mark.parametrize("kind", ["orthanc", "dicomweb"])
def test_changed_bytes_under_a_known_uid_are_a_conflict_and_nothing_is_overwritten(kind: str, tmp_path: Path) -> None:
    if kind == "dicomweb" and not find_dicomweb_plugin():
        pytest.skip("Orthanc has no DICOMweb plugin here")
    first, second = write_files(tmp_path / "first", 8), write_files(tmp_path / "second", 8)
    second[3].write_bytes(dicom(3, seed=99))
    with OrthancServer(tmp_path / "orthanc", {"OverwriteInstances": True}) as server:
        with contextlib.closing((open_dicomweb if kind == "dicomweb" else open_orthanc)(server)) as archive:
            assert upload(first, archive, progress=False).counts == {"stored": 8}
            report = upload(second, archive, progress=False)
        assert report.counts == {"already there": 7, "conflict": 1}
        assert "the archive holds other bytes" in report.outcomes[3].reason
        with contextlib.closing(open_orthanc(server)) as fresh:
            stored = [fresh.retrieve_instance(found.reference) for found in fresh.search_for_instances()]
            assert sorted(stored) == sorted(path.read_bytes() for path in first)
            assert upload(second, fresh, progress=False).counts == {"already there": 7, "conflict": 1}, "by another client"


def test_what_a_recycling_archive_removed_during_the_upload_is_named(tmp_path: Path) -> None:
    files = [write_files(tmp_path / f"p{number}", number + 1, patient_id=f"P{number}")[number] for number in range(10)]
    with (
        OrthancServer(tmp_path / "orthanc", {"MaximumPatientCount": 4}) as server,
        contextlib.closing(open_orthanc(server)) as archive,
    ):
        report = upload(files, archive, workers=1, progress=False)
        held = {found.sop_instance_uid for found in archive.search_for_instances()}
    assert report.counts == {"stored": 4, "failed": 6}
    assert {instance.sop_instance_uid for instance in report.instances} == held
    assert "the archive holds it no longer" in report.outcomes[0].reason
    assert not report.ok
