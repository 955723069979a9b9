"""Upload of DICOM files: many at once, each with an outcome of its own, each read back.

A file counts as stored only when the archive's own copy was read back and is what was sent. A crash of the archive, an answer
that was lost, a proxy's page or other bytes under the same SOP Instance UID cannot pass for success.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dicom_workflow.archive.protocol import ALREADY_THERE, Archive, DicomFile
from dicom_workflow.archive.thread_pool import map_threads
from dicom_workflow.archive.upload_report import VERIFIED, FileOutcome, Outcome, ResumeLog, UploadReport
from dicom_workflow.dicom.inspection import inspect, md5_of
from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    DicomError,
    InstanceNotFoundError,
    InstanceTooLargeError,
    RecordError,
    StorageError,
)
from dicom_workflow.formats.instances import Instance

_FAILURES_IN_A_ROW = 5
_READ_BACKS = 4
"""Of a file whose MD5 in the archive is right: what came back otherwise was damaged on its way. Other bytes are read twice."""
_IN_MEMORY_BYTES = 4 << 20
"""A file up to this size is read once and kept until it is verified; a larger one is read in pieces, again for each step."""


class UploadInterruptedError(KeyboardInterrupt):
    """Ctrl-C during an upload; `report` says what was verified until then and what was not sent."""

    def __init__(self, report: UploadReport) -> None:
        self.report = report
        super().__init__(f"upload interrupted: {report.counts}. Run it again to send the rest.")


def upload(
    source: str | Path | Iterable[str | Path],
    archive: Archive,
    *,
    workers: int = 16,
    resume_log_path: Path | None = None,
    progress: bool = True,
) -> UploadReport:
    """Store DICOM files, read every one back, and return what became of each.

    Parameters
    ----------
    source : path or iterable of paths
        A folder, searched to its last subfolder, links to folders included (names beginning with a dot are left out), or files.
    archive : Archive
    workers : int
        Files in flight at once.
    resume_log_path : Path, optional
        One JSON line is written there as each file is done. Given again after an interruption, files that it names and that
        have not changed since are not sent again; their MD5 in the archive is asked for.
    progress : bool
        Show a progress bar.

    Returns
    -------
    UploadReport
        One outcome per file, in sorted order for a folder, else in the order given; a folder that cannot be read has one too. A
        bad file never ends the batch. An archive that does not answer within the retry budget does, and the files not sent are
        `failed`.

    Raises
    ------
    StorageError
        There is no such folder, or no file in it.
    ArchiveUnavailableError, ArchiveCredentialsError
        At the start, before anything is sent.
    UploadInterruptedError
        Ctrl-C; it carries the report.
    """
    paths, unreadable = _files(source)
    description = archive.check()
    started = time.monotonic()
    batch = _Batch(paths, unreadable, archive, ResumeLog(resume_log_path, description) if resume_log_path else None)
    report = lambda: UploadReport(batch.finish(), description, time.monotonic() - started, archive.verification)  # noqa: E731
    try:
        map_threads(batch.one, len(paths), batch.stopped, workers=workers, label="upload", progress=progress)
        batch.look_again()
    except KeyboardInterrupt:
        batch.stop("the upload was interrupted")
        raise UploadInterruptedError(report()) from None
    finally:
        batch.close()
    return report()


def _files(source: str | Path | Iterable[str | Path]) -> tuple[list[Path], dict[Path, str]]:
    """The files to send and the folders that cannot be searched, in one sorted list, and why the latter cannot."""
    if not isinstance(source, str | Path):
        return [Path(path) for path in source], {}
    root = Path(source)
    try:
        is_file, is_folder = root.is_file(), root.is_dir()
    except OSError as error:
        raise StorageError(f"{root}: cannot be read: {error.strerror}.") from None
    if is_file:
        return [root], {}
    if not is_folder:
        raise StorageError(f"{root}: there is no such folder of DICOM files. Check the path.")
    found: list[Path] = []
    unreadable: dict[Path, str] = {}

    def note(error: OSError) -> None:
        unreadable[Path(os.fsdecode(error.filename))] = f"the folder cannot be searched: {error.strerror}"

    seen: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(root, onerror=note, followlinks=True):
        folder = Path(name)
        try:
            status = folder.stat()
        except OSError as error:  # it was removed since, or its own folder cannot be entered
            note(error)
            continue
        if (status.st_dev, status.st_ino) in seen:  # two links to one folder, or a loop
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(child for child in folders if not child.startswith("."))
        found += [folder / child for child in files if not child.startswith(".")]
    if not (found or unreadable):
        raise StorageError(f"{root}: the folder holds no DICOM files.")
    return sorted([*found, *unreadable]), unreadable


class _Batch:
    """The state that the workers of one upload share."""

    def __init__(
        self, paths: Sequence[Path], unreadable: Mapping[Path, str], archive: Archive, resume_log: ResumeLog | None
    ) -> None:
        self._paths = paths
        self._unreadable = unreadable
        self._archive = archive
        self._resume_log = resume_log
        self._outcomes: list[FileOutcome | None] = [None] * len(paths)
        self._claims = _Claims()
        self._stop_reason = ""
        self._failures = 0
        self.stopped = threading.Event()

    def one(self, number: int) -> None:
        """Bring one file to its outcome."""
        path = self._paths[number]
        try:
            outcome = self._send(number, path)
        except InstanceTooLargeError as error:
            outcome = FileOutcome(str(path), Outcome.REFUSED, str(error))
        except (ArchiveUnavailableError, ArchiveCredentialsError) as error:
            outcome = FileOutcome(str(path), Outcome.FAILED, str(error))
            if not self._answers():
                self.stop(str(error))
        except ArchiveError as error:
            outcome = FileOutcome(str(path), Outcome.FAILED, str(error))
        finally:
            self._claims.pass_on(number)
        self._count_failures(outcome)
        self._outcomes[number] = outcome
        if self._resume_log:
            self._resume_log.write(path, outcome.to_json())

    def stop(self, reason: str) -> None:
        """Send nothing more."""
        self._stop_reason = self._stop_reason or reason
        self.stopped.set()

    def look_again(self) -> None:
        """Name what was verified and is gone now: an archive of limited size deletes old instances."""
        if self.stopped.is_set():
            return
        verified = {number: item.instance for number, item in enumerate(self._outcomes) if item and item.instance}
        try:
            gone = set(self._archive.missing(instance.reference for instance in verified.values()))
        except ArchiveError:  # each was read back; an archive that went away since has lost nothing by that
            return
        for number, instance in verified.items():
            if instance.reference in gone:
                reason = "it was verified, but the archive holds it no longer: does it recycle patients or limit its storage?"
                self._outcomes[number] = FileOutcome(str(self._paths[number]), Outcome.FAILED, reason)

    def finish(self) -> tuple[FileOutcome, ...]:
        """Return the outcome of every file, sent or not."""
        return tuple(
            outcome or FileOutcome(str(path), Outcome.FAILED, f"not sent, or not verified: {self._stop_reason}")
            for path, outcome in zip(self._paths, self._outcomes, strict=True)
        )

    def close(self) -> None:
        """Close the resume log."""
        if self._resume_log:
            self._resume_log.close()

    def _answers(self) -> bool:
        """Whether the archive answers at all: then the trouble is this file's, not the archive's."""
        try:
            self._archive.check()
        except ArchiveError:
            return False
        return True

    def _count_failures(self, outcome: FileOutcome) -> None:
        """A full disk refuses every file; there is no use in sending it the other ten thousand."""
        self._failures = self._failures + 1 if outcome.outcome is Outcome.FAILED else 0
        if self._failures >= _FAILURES_IN_A_ROW:
            self.stop(f"{self._failures} files in a row failed, the last one with: {outcome.reason}")

    def _send(self, number: int, path: Path) -> FileOutcome:
        if path in self._unreadable:
            return FileOutcome(str(path), Outcome.REFUSED, self._unreadable[path])
        try:
            is_small = path.is_file() and path.stat().st_size <= _IN_MEMORY_BYTES  # a device has no size, and no end
            file: DicomFile = path.read_bytes() if is_small else path
            instance = inspect(file).to_instance(md5_of(file))
        except OSError as error:
            return FileOutcome(str(path), Outcome.REFUSED, _cannot_be_read(path, error))
        except DicomError as error:
            return FileOutcome(str(path), Outcome.REFUSED, str(error))
        first = self._claims.claim(number, instance, path)
        if first is not None:
            return _second(path, instance, *first)
        known = self._logged(path, instance)
        return known or self._store(path, file, instance)

    def _logged(self, path: Path, instance: Instance) -> FileOutcome | None:
        """What the resume log says of these very bytes, if the archive still holds them."""
        line = self._resume_log.read(path) if self._resume_log else None
        if not line or line.get("outcome") not in VERIFIED:
            return None
        try:
            recorded = Instance.parse(line.get("instance"))
            if recorded.md5 != instance.md5 or self._archive.md5(recorded.reference) != instance.md5:
                return None
        except (RecordError, InstanceNotFoundError):
            return None
        return FileOutcome(str(path), Outcome(line["outcome"]), line.get("reason", ""), recorded)

    def _store(self, path: Path, file: DicomFile, instance: Instance) -> FileOutcome:
        try:
            result = self._archive.store_instance(file, instance)
        except DicomError as error:
            return FileOutcome(str(path), Outcome.REFUSED, str(error))
        for attempt in range(1, _READ_BACKS + 1):
            found = self._archive.compare(result.reference, file)
            if found.equal:
                outcome = Outcome.ALREADY_THERE if result.status == ALREADY_THERE else Outcome.STORED
                identifier, md5 = result.reference.orthanc_instance_id, found.md5 or instance.md5
                return FileOutcome(str(path), outcome, instance=replace(instance, orthanc_instance_id=identifier, md5=md5))
            if attempt > 1 and found.md5 != instance.md5:
                break
        if found.md5 == instance.md5:
            reason = "what came back is not what was sent, though the archive's MD5 is right: its storage or a proxy is damaged"
            return FileOutcome(str(path), Outcome.FAILED, reason, archive_md5=found.md5)
        if result.status == ALREADY_THERE:
            reason = (
                f"the archive holds other bytes under SOP Instance UID {instance.sop_instance_uid}: MD5 {found.md5} there, "
                f"{instance.md5} here. It keeps its own; give the changed image a new UID."
            )
            return FileOutcome(str(path), Outcome.CONFLICT, reason, archive_md5=found.md5)
        reason = f"the archive changed the file: MD5 {found.md5} there, {instance.md5} here. Does it transcode what comes in?"
        return FileOutcome(str(path), Outcome.FAILED, reason, archive_md5=found.md5)


class _Claims:
    """Which file of a batch has an identity first, in the order of the files, however the threads run."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._next = 0
        self._passed: set[int] = set()
        self._first: dict[str, tuple[Path, str]] = {}

    def claim(self, number: int, instance: Instance, path: Path) -> tuple[Path, str] | None:
        """Wait for this file's turn; return path and MD5 of the file that came first, None when it is this one."""
        with self._turn:
            self._turn.wait_for(lambda: self._next >= number)
            first = self._first.setdefault(instance.sop_instance_uid, (path, instance.md5))
            self._advance(number)
        return None if first[0] is path else first

    def pass_on(self, number: int) -> None:
        """This file claims nothing, or has claimed."""
        with self._turn:
            self._advance(number)

    def _advance(self, number: int) -> None:
        if number < self._next:
            return
        self._passed.add(number)
        while self._next in self._passed:
            self._passed.remove(self._next)
            self._next += 1
        self._turn.notify_all()


def _second(path: Path, instance: Instance, first: Path, first_md5: str) -> FileOutcome:
    if first_md5 == instance.md5:
        return FileOutcome(str(path), Outcome.DUPLICATE, f"the same bytes as {first}")
    reason = (
        f"{first} has other bytes under SOP Instance UID {instance.sop_instance_uid}: MD5 {first_md5} there, "
        f"{instance.md5} here. Only the first was sent; give the changed image a new UID."
    )
    return FileOutcome(str(path), Outcome.CONFLICT, reason, archive_md5=first_md5)


def _cannot_be_read(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"a link to {path.readlink()}, which does not exist"
    return f"cannot be read: {error.strerror}"
