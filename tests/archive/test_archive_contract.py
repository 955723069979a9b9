"""What every archive promises: the same tests for Orthanc's REST interface, its DICOMweb plugin, and the folder."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.archive import SERIES, SOP, STUDY, dataset, dicom, multi_frame, open_dicomweb, open_orthanc, to_bytes, write_files

from dicom_workflow.archive import open_archive
from dicom_workflow.archive.download import retrieve
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.archive.orthanc_process import OrthancServer, find_dicomweb_plugin, find_orthanc
from dicom_workflow.archive.protocol import ALREADY_THERE, STORED, Archive
from dicom_workflow.archive.upload import upload
from dicom_workflow.archive.upload_report import Outcome, UploadReport
from dicom_workflow.errors import InstanceNotFoundError, NotDicomError, SettingsError, StorageError
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.settings import Settings

UNKNOWN = ObjectReference("1.2.3", "1.2.4", "1.2.5")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer | None]:
    if not find_orthanc():
        yield None
        return
    with OrthancServer(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


ORTHANC = pytest.mark.orthanc


@pytest.fixture(params=["folder", pytest.param("orthanc", marks=ORTHANC), pytest.param("dicomweb", marks=ORTHANC)])
def archive(request: pytest.FixtureRequest, server: OrthancServer | None, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "folder":
        yield FolderArchive(tmp_path / "archive")
        return
    if server is None:
        pytest.skip("there is no Orthanc here")
    with contextlib.closing(open_orthanc(server)) as orthanc:
        if request.param == "orthanc":
            yield orthanc
        elif not find_dicomweb_plugin():
            pytest.skip("Orthanc has no DICOMweb plugin here")
        else:
            with contextlib.closing(open_dicomweb(server)) as made:
                made.delete_instance = orthanc.delete_instance  # type: ignore[method-assign]  # the plugin deletes nothing
                yield made
        for instance in list(orthanc.search_for_instances()):
            orthanc.delete_instance(instance.reference)


def test_it_says_what_it_is(archive: Archive) -> None:
    assert archive.check().startswith(("Orthanc 1.", "folder archive at ", "DICOMweb server at http://127.0.0.1"))


def test_what_goes_in_comes_out_byte_for_byte(archive: Archive) -> None:
    data = dicom()
    result = archive.store_instance(data)
    assert result.status == STORED
    assert archive.retrieve_instance(result.reference) == data
    assert archive.md5(result.reference) == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert archive.compare(result.reference, data).equal
    for other in (data[:-1], data + b"\0", data[:-1] + bytes([data[-1] ^ 1]), b""):
        assert not archive.compare(result.reference, other).equal


def test_an_identity_known_already_is_never_overwritten(archive: Archive) -> None:
    first, second = dicom(seed=1), dicom(seed=2)
    reference = archive.store_instance(first).reference
    assert archive.store_instance(first).status == ALREADY_THERE
    assert archive.store_instance(second) == archive.store_instance(first)
    assert archive.retrieve_instance(reference) == first


def test_a_patient_id_in_another_script_is_listed_as_text(archive: Archive) -> None:
    made = dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientID = "Größe-7"
    data = to_bytes(made)
    archive.store_instance(data)
    assert [instance.patient_id for instance in archive.search_for_instances()] == ["Größe-7"]


def test_the_listing_names_every_level_whatever_the_page_size(archive: Archive) -> None:
    for number in range(9):
        archive.store_instance(dicom(number, patient_id=f"P{1 + number // 3}"))
    assert list(FolderArchive(Path("/nonexistent")).search_for_instances()) == []
    for page_size in (1, 2, 9, 1000):
        found = {instance.sop_instance_uid: instance for instance in archive.search_for_instances(page_size)}
        assert len(found) == 9
    instance = found[f"{SOP}.8"]
    assert (instance.patient_id, instance.modality) == ("P3", "DX")
    assert (instance.study_instance_uid, instance.series_instance_uid) == (f"{STUDY}.3", f"{SERIES}.3")
    assert instance.size_bytes in (0, len(dicom(8, patient_id="P3"))), "a DICOMweb server tells no size"


@pytest.mark.parametrize("data", [b"", b"<html>Sign in</html>", bytes(1000)], ids=["empty", "page", "zeros"])
def test_what_is_not_dicom_is_refused(archive: Archive, data: bytes) -> None:
    with pytest.raises(NotDicomError):
        archive.store_instance(data)


def test_an_instance_is_found_by_its_sop_instance_uid_alone(archive: Archive) -> None:
    data = dicom()
    archive.store_instance(data)
    assert archive.retrieve_instance(ObjectReference(sop_instance_uid=f"{SOP}.0")) == data
    (instance,) = archive.search_for_instances()
    assert archive.retrieve_instance(instance.reference) == data
    assert archive.retrieve_instance(ObjectReference.parse(instance.reference.to_source())) == data, "by its manifest line"


def test_frames_come_as_they_are_stored(archive: Archive) -> None:
    data, frames = multi_frame(5)
    reference = archive.store_instance(data).reference
    assert archive.retrieve_frames(reference, [1]) == frames[:1]
    assert archive.retrieve_frames(reference, [4, 2]) == [frames[3], frames[1]]
    with pytest.raises(InstanceNotFoundError):
        archive.retrieve_frames(reference, [6])


def test_what_is_missing_is_named(archive: Archive) -> None:
    stored = [archive.store_instance(dicom(number)).reference for number in range(3)]
    assert archive.missing(stored) == []
    archive.delete_instance(stored[1])
    assert archive.missing([*stored, UNKNOWN]) == [stored[1], UNKNOWN]


def test_a_file_on_disk_is_stored_compared_and_retrieved_in_pieces(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    path.write_bytes(dicom(size_px=1500))
    reference = archive.store_instance(path).reference
    assert archive.compare(reference, path).equal
    with (tmp_path / "back.dcm").open("w+b") as stream:
        assert archive.retrieve_to(reference, stream) == hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert (tmp_path / "back.dcm").read_bytes() == path.read_bytes()
    changed = tmp_path / "changed.dcm"
    changed.write_bytes(path.read_bytes()[:-1] + b"?")
    assert not archive.compare(reference, changed).equal


def test_an_instance_that_is_not_there_is_said_so(archive: Archive) -> None:
    archive.check()
    for call in (archive.md5, archive.retrieve_instance, archive.delete_instance):
        with pytest.raises(InstanceNotFoundError, match="no such instance"):
            call(UNKNOWN)
    with pytest.raises(InstanceNotFoundError, match="no such instance"):
        archive.compare(UNKNOWN, b"")


def test_every_file_of_a_batch_has_its_outcome(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write_files(folder, 3)
    (folder / "003-same.dcm").write_bytes(dicom(0))
    (folder / "004-changed.dcm").write_bytes(dicom(1, seed=99))
    (folder / "005-cut.dcm").write_bytes(dicom(5)[:-20])
    (folder / "006-page.dcm").write_bytes(b"<html>Sign in</html>")
    (folder / "deeper").mkdir()
    (folder / "deeper" / "007.dcm").write_bytes(dicom(7))
    (folder / ".hidden").write_bytes(b"x")
    archive.store_instance(dicom(2))
    archive.store_instance(dicom(7, seed=70))

    report = upload(folder, archive, progress=False)

    assert [Path(item.path).name for item in report.outcomes] == [
        "000.dcm", "001.dcm", "002.dcm", "003-same.dcm", "004-changed.dcm", "005-cut.dcm", "006-page.dcm", "007.dcm",
    ]  # fmt: skip
    assert [item.outcome for item in report.outcomes] == [
        Outcome.STORED, Outcome.STORED, Outcome.ALREADY_THERE, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.REFUSED,
        Outcome.REFUSED, Outcome.CONFLICT,
    ]  # fmt: skip
    assert report.counts == {"stored": 2, "already there": 1, "duplicate": 1, "conflict": 2, "refused": 2}
    assert not report.ok
    reasons = [item.reason for item in report.outcomes]
    assert reasons[3] == f"the same bytes as {folder / '000.dcm'}"
    assert f"{folder / '001.dcm'} has other bytes under SOP Instance UID {SOP}.1" in reasons[4]
    assert "the file ends inside Pixel Data (7FE0,0010)" in reasons[5]
    assert "HTML" in reasons[6]
    ours, theirs = (hashlib.md5(data, usedforsecurity=False).hexdigest() for data in (dicom(7), dicom(7, seed=70)))
    assert f"MD5 {theirs} there, {ours} here" in reasons[7]
    assert report.outcomes[7].archive_md5 == theirs
    assert [instance.sop_instance_uid for instance in report.instances] == [f"{SOP}.0", f"{SOP}.1", f"{SOP}.2"]
    assert all(archive.md5(instance.reference) == instance.md5 for instance in report.instances)
    assert report.verification == archive.verification
    assert report.metrics()["instances_verified"] == 3
    assert list(report.problems()["outcome"]) == ["conflict", "refused", "refused", "conflict"]
    assert list(report.to_frame().columns) == ["path", "outcome", "reason", "sop_instance_uid", "md5", "size_bytes"]
    assert report.to_json()["counts"] == report.counts


def test_the_embedded_archive_is_for_its_owner_alone(tmp_path: Path) -> None:
    FolderArchive(tmp_path / "images").store_instance(to_bytes(dataset()))
    assert (tmp_path / "images").stat().st_mode & 0o077 == 0


def test_two_uploads_of_the_same_files_at_once_both_tell_the_truth(archive: Archive, tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 40)
    reports: list[UploadReport] = []
    threads = [threading.Thread(target=lambda: reports.append(upload(files, archive, progress=False))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(report.instances) for report in reports] == [40, 40, 40]
    stored = sum(report.counts.get("stored", 0) for report in reports)
    told = len(files) if isinstance(archive, FolderArchive) else stored  # a repeated request does not tell who came first
    assert stored == told >= len(files)
    assert len(list(archive.search_for_instances())) == 40


def test_instances_are_retrieved_checked_and_not_twice(archive: Archive, tmp_path: Path) -> None:
    instances = list(upload(write_files(tmp_path / "files", 4), archive, progress=False).instances)
    folder = tmp_path / "out"
    first = retrieve(instances, archive, folder, progress=False)
    assert first.counts == {"retrieved": 4}
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{item.sop_instance_uid}.dcm" for item in instances)
    assert all(path.read_bytes()[128:132] == b"DICM" for path in first.paths.values())

    damaged = first.paths[instances[0].sop_instance_uid]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    archive.delete_instance(instances[1].reference)
    first.paths[instances[1].sop_instance_uid].unlink()
    again = retrieve(instances, archive, folder, progress=False)
    assert again.counts == {"retrieved": 1, "failed": 1, "already there": 2}
    assert damaged.read_bytes() == archive.retrieve_instance(instances[0].reference)
    assert list(again.refused) == [instances[1].sop_instance_uid]
    assert "no such instance" in again.refused[instances[1].sop_instance_uid]
    assert len(again.paths) == 3


def test_there_must_be_files(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no such folder of DICOM files"):
        upload(tmp_path / "nowhere", archive)
    with pytest.raises(StorageError, match="the folder holds no DICOM files"):
        upload(tmp_path, FolderArchive(tmp_path / "a"))
    assert upload([], archive, progress=False).outcomes == ()


def test_a_missing_file_is_one_outcome(archive: Archive, tmp_path: Path) -> None:
    (good,) = write_files(tmp_path, 1)
    report = upload([tmp_path / "gone.dcm", good], archive, progress=False)
    assert report.counts == {"stored": 1, "refused": 1}
    assert report.outcomes[0].reason == "cannot be read: No such file or directory"


def test_settings_name_the_archive(tmp_path: Path) -> None:
    assert repr(open_archive(Settings(tmp_path, archive="folder"))).startswith("FolderArchive(")
    assert repr(open_archive(Settings(tmp_path, orthanc_url="http://127.0.0.1:1"))) == "OrthancArchive('http://127.0.0.1:1')"
    with pytest.raises(SettingsError, match="ORTHANC_URL is empty"):
        open_archive(Settings(tmp_path))
