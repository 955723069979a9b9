"""Batches: interrupted, killed, resumed; whatever happens, the report and the resume log say what is true."""

from __future__ import annotations

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.archive import dicom, write_files

from dicom_workflow.archive.download import retrieve
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.archive.protocol import DicomFile, StoreResult
from dicom_workflow.archive.upload import UploadInterruptedError, upload
from dicom_workflow.errors import StorageError, VerificationError
from dicom_workflow.formats.instances import Instance


class CountingArchive(FolderArchive):
    """A folder that counts what is sent to it, and may press Ctrl-C at one of the files."""

    sent = 0
    interrupt_at = -1
    _lock = threading.Lock()

    def store_instance(self, file: DicomFile, instance: Instance | None = None) -> StoreResult:
        with self._lock:
            self.sent += 1
            if self.sent == self.interrupt_at:
                _thread.interrupt_main()
            is_late = self.sent > self.interrupt_at > 0
        if is_late:  # or a fast machine has sent everything before the main thread hears of Ctrl-C
            time.sleep(0.05)
        return super().store_instance(file, instance)


def test_ctrl_c_leaves_a_report_that_is_true_and_a_resume_log_to_go_on_from(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 60)
    archive = CountingArchive(tmp_path / "archive")
    archive.interrupt_at = 10
    resume_log = tmp_path / "upload.jsonl"
    with pytest.raises(UploadInterruptedError, match="Run it again to send the rest") as caught:
        upload(files, archive, workers=2, resume_log_path=resume_log, progress=False)
    report = caught.value.report
    sent_first = archive.sent
    assert 10 <= sent_first < 60
    assert report.counts == {"stored": sent_first, "failed": 60 - sent_first}
    assert report.outcomes[-1].reason == "not sent, or not verified: the upload was interrupted"
    assert all(archive.md5(instance.reference) == instance.md5 for instance in report.instances)

    archive.interrupt_at = -1
    again = upload(files, archive, resume_log_path=resume_log, progress=False)
    assert again.counts == {"stored": 60}, "the resume log remembers what was stored and what was there before"
    assert archive.sent == 60, "nothing was sent twice"


def test_a_resume_log_is_not_believed_against_the_archive_or_the_file(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 3)
    archive = CountingArchive(tmp_path / "archive")
    resume_log = tmp_path / "upload.jsonl"
    first = upload(files, archive, resume_log_path=resume_log, progress=False)
    archive.delete_instance(first.instances[0].reference)
    files[1].write_bytes(dicom(1, seed=77))
    with resume_log.open("a") as stream:
        stream.write('{"path": "torn')
    again = upload(files, archive, resume_log_path=resume_log, progress=False)
    assert [str(item.outcome) for item in again.outcomes] == ["stored", "conflict", "stored"]
    assert archive.sent == 5
    lines = [json.loads(line) for line in resume_log.read_text().splitlines() if not line.endswith("torn")]
    assert lines[0] == {"schema": "dicom-workflow/resume-log/1", "archive": archive.check()}
    assert len(lines) == 2 * (1 + 3)


def test_the_resume_log_of_another_archive_hides_nothing(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 2)
    upload(files, FolderArchive(tmp_path / "a"), resume_log_path=tmp_path / "j", progress=False)
    other = CountingArchive(tmp_path / "b")
    assert upload(files, other, resume_log_path=tmp_path / "j", progress=False).counts == {"stored": 2}
    assert other.sent == 2


def test_a_resume_log_that_cannot_be_written_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    archive = CountingArchive(tmp_path / "archive")
    with pytest.raises(StorageError, match="the resume log cannot be written: Is a directory"):
        upload(write_files(tmp_path / "files", 1), archive, resume_log_path=tmp_path, progress=False)
    assert archive.sent == 0


def test_a_client_killed_at_any_moment_leaves_what_one_clean_run_leaves(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 150)
    archive = FolderArchive(tmp_path / "archive")
    resume_log = tmp_path / "upload.jsonl"
    script = (
        "import sys; from pathlib import Path; from dicom_workflow.archive.folder import FolderArchive\n"
        "from dicom_workflow.archive.upload import upload\n"
        "files, archive, resume_log = map(Path, sys.argv[1:])\n"
        "upload(files, FolderArchive(archive), workers=3, resume_log_path=resume_log, progress=False)\n"
    )
    for lines in (5, 40, 90):
        process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "files", tmp_path / "archive", resume_log])
        while process.poll() is None and (not resume_log.exists() or resume_log.read_bytes().count(b"\n") < lines):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    report = upload(files, archive, resume_log_path=resume_log, progress=False)
    assert len(report.instances) == 150
    assert set(report.counts) <= {"stored", "already there"}, "already there: stored just before a kill, not yet in the log"
    assert {instance.sop_instance_uid for instance in archive.search_for_instances()} == {
        instance.sop_instance_uid for instance in report.instances
    }
    for path, instance in zip(files, report.instances, strict=True):
        assert archive.retrieve_instance(instance.reference) == path.read_bytes()


def test_outcomes_do_not_depend_on_which_thread_was_first(tmp_path: Path) -> None:
    """The first file of the list keeps the identity, also when it is the slowest to read."""
    files = []
    for number in range(30):
        for copy in range(3):
            path = tmp_path / f"{number:02}-{copy}.dcm"
            path.write_bytes(dicom(number, seed=number + 1000 * (copy == 1), size_px=16))
            files.append(path)
    for run in range(3):
        report = upload(files, FolderArchive(tmp_path / f"archive-{run}"), workers=8, progress=False)
        assert [str(item.outcome) for item in report.outcomes] == ["stored", "conflict", "duplicate"] * 30


def test_a_file_that_rots_in_the_folder_is_noticed(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")
    (instance,) = upload(write_files(tmp_path / "files", 1), archive, progress=False).instances
    (stored,) = (tmp_path / "archive").rglob("*.dcm")
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    with pytest.raises(VerificationError, match="the file was changed after it was stored"):
        archive.retrieve_instance(instance.reference)
    report = upload(tmp_path / "files", archive, progress=False)
    assert report.counts == {"failed": 1}
    assert "its storage or a proxy is damaged" in report.outcomes[0].reason
    assert retrieve([instance], archive, tmp_path / "out", progress=False).counts == {"failed": 1}


def test_a_record_that_was_lost_is_made_again_from_the_file(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")
    instances = upload(write_files(tmp_path / "files", 2), archive, progress=False).instances
    for number, record in enumerate(sorted((tmp_path / "archive").rglob("*.json"))):
        record.write_text("{") if number else record.unlink()
    assert set(archive.search_for_instances()) == set(instances)


def test_a_resume_log_that_was_there_before_becomes_private(tmp_path: Path) -> None:
    resume_log = tmp_path / "upload.jsonl"
    resume_log.write_text("")
    resume_log.chmod(0o644)
    upload(write_files(tmp_path / "files", 1), FolderArchive(tmp_path / "a"), resume_log_path=resume_log, progress=False)
    assert resume_log.stat().st_mode & 0o777 == 0o600


def test_a_bar_is_shown_when_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_files(tmp_path / "files", 2)
    upload(files, FolderArchive(tmp_path / "a"), progress=False)
    assert capsys.readouterr().err == ""
    upload(files, FolderArchive(tmp_path / "b"), progress=True)
    assert "upload: 100%" in capsys.readouterr().err
