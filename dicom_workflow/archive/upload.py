"""Batches of files into an archive and out of it: many at once, each with an outcome of its own, none believed unread.

A file counts as arrived only when the archive's own copy was read back and is, byte for byte, what was sent. So neither a
crash of the archive, nor an answer lost on its way, nor a proxy's page, nor other bytes under the same SOP Instance UID can
pass for success.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dicom_workflow.archive.protocol import ALREADY_THERE, Archive
from dicom_workflow.archive.resume_log import Journal
from dicom_workflow.archive.thread_pool import run_all
from dicom_workflow.archive.upload_report import VERIFIED, FileOutcome, Outcome, RetrieveReport, UploadReport
from dicom_workflow.dicom.inspection import Inspection, inspect, md5_of
from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    DicomError,
    InstanceNotFoundError,
    RecordError,
    StorageError,
    WorkflowError,
)
from dicom_workflow.formats.instances import Instance
from dicom_workflow.storage import Storage, to_uri

_FAILURES_IN_A_ROW = 5


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
    journal_path: Path | None = None,
    progress: bool = True,
) -> UploadReport:
    """Store DICOM files, read every one back, and return what became of each.

    Parameters
    ----------
    source : path or iterable of paths
        A folder, searched to its last subfolder (names beginning with a dot are left out), or files.
    archive : Archive
    workers : int
        Files in flight at once.
    journal_path : Path, optional
        One JSON line is written there as each file is done. Given again after an interruption, files that it names and that
        have not changed since are not sent again; their MD5 in the archive is asked for.
    progress : bool
        Show a progress bar.

    Returns
    -------
    UploadReport
        One outcome per file, in sorted order for a folder, else in the order given. A bad file never ends the batch; an archive
        that is gone for longer than its patience does, and the files not sent are `failed`.

    Raises
    ------
    StorageError
        There is no such folder, or no file in it.
    ArchiveUnavailableError, ArchiveCredentialsError
        At the start, before anything is sent.
    UploadInterruptedError
        Ctrl-C; it carries the report.
    """
    paths = _files(source)
    description = archive.check()
    started = time.monotonic()
    batch = _Batch(paths, archive, Journal(journal_path, description) if journal_path else None)
    try:
        run_all(len(paths), batch.one, batch.stopped, workers=workers, label="upload", progress=progress)
    except KeyboardInterrupt:
        batch.stop("the upload was interrupted")
        raise UploadInterruptedError(_report(batch, description, started)) from None
    finally:
        batch.close()
    return _report(batch, description, started)


def _report(batch: _Batch, description: str, started: float) -> UploadReport:
    return UploadReport(tuple(batch.finish()), description, time.monotonic() - started)


def _files(source: str | Path | Iterable[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [Path(path) for path in source]
    root = Path(source)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise StorageError(f"{root}: expected a folder of DICOM files, found none. Check the path.")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not found:
        raise StorageError(f"{root}: expected DICOM files, the folder holds none.")
    return found


class _Batch:
    """The state that the workers of one upload share."""

    def __init__(self, paths: Sequence[Path], archive: Archive, journal: Journal | None) -> None:
        self._paths = paths
        self._archive = archive
        self._journal = journal
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
        except (ArchiveUnavailableError, ArchiveCredentialsError) as error:
            outcome = FileOutcome(str(path), Outcome.FAILED, str(error))
            self.stop(str(error))
        except ArchiveError as error:
            outcome = FileOutcome(str(path), Outcome.FAILED, str(error))
        finally:
            self._claims.pass_on(number)
        self._count_failures(outcome)
        self._outcomes[number] = outcome
        if self._journal:
            self._journal.write(path, outcome.to_json())

    def stop(self, reason: str) -> None:
        """Send nothing more."""
        self._stop_reason = self._stop_reason or reason
        self.stopped.set()

    def finish(self) -> Iterator[FileOutcome]:
        """Yield the outcome of every file, sent or not."""
        for path, outcome in zip(self._paths, self._outcomes, strict=True):
            yield outcome or FileOutcome(str(path), Outcome.FAILED, f"not sent, or not verified: {self._stop_reason}")

    def close(self) -> None:
        if self._journal:
            self._journal.close()

    def _count_failures(self, outcome: FileOutcome) -> None:
        """A full disk refuses every file; there is no use in sending it the other ten thousand."""
        self._failures = self._failures + 1 if outcome.outcome is Outcome.FAILED else 0
        if self._failures >= _FAILURES_IN_A_ROW:
            self.stop(f"{self._failures} files in a row failed, the last one with: {outcome.reason}")

    def _send(self, number: int, path: Path) -> FileOutcome:
        try:
            data = path.read_bytes()
            found = inspect(data)
        except OSError as error:
            return FileOutcome(str(path), Outcome.REFUSED, f"cannot be read: {error.strerror}")
        except DicomError as error:
            return FileOutcome(str(path), Outcome.REFUSED, str(error))
        instance = found.to_instance(md5_of(data))
        first = self._claims.claim(number, instance, path)
        if first is not None:
            return _second(path, instance, *first)
        known = self._journaled(path, instance)
        return known or self._store(path, data, found, instance)

    def _journaled(self, path: Path, instance: Instance) -> FileOutcome | None:
        """What the journal says of these very bytes, if the archive still holds them."""
        line = self._journal.read(path) if self._journal else None
        if not line or line.get("outcome") not in VERIFIED:
            return None
        try:
            recorded = Instance.parse(line.get("instance"))
            if recorded.md5 != instance.md5 or self._archive.md5(recorded.reference) != instance.md5:
                return None
        except (RecordError, InstanceNotFoundError):
            return None
        return FileOutcome(str(path), Outcome(line["outcome"]), line.get("reason", ""), recorded)

    def _store(self, path: Path, data: bytes, found: Inspection, instance: Instance) -> FileOutcome:
        try:
            result = self._archive.store_instance(data)
        except DicomError as error:
            return FileOutcome(str(path), Outcome.REFUSED, str(error))
        instance = replace(instance, orthanc_instance_id=result.reference.orthanc_instance_id)
        for _ in range(2):  # the second time for an answer that was damaged on its way
            if self._archive.holds(result.reference, data):
                outcome = Outcome.ALREADY_THERE if result.status == ALREADY_THERE else Outcome.STORED
                return FileOutcome(str(path), outcome, instance=instance)
        archive_md5 = self._archive.md5(result.reference)
        if archive_md5 == instance.md5:
            reason = "what came back is not what was sent, though the archive's MD5 is right: its storage or a proxy is damaged"
            return FileOutcome(str(path), Outcome.FAILED, reason, archive_md5=archive_md5)
        if result.status == ALREADY_THERE:
            reason = (
                f"the archive holds other bytes under SOP Instance UID {found.sop_instance_uid}: MD5 {archive_md5} there, "
                f"{instance.md5} here. It keeps its own; give the changed image a new UID."
            )
            return FileOutcome(str(path), Outcome.CONFLICT, reason, archive_md5=archive_md5)
        reason = f"the archive changed the file: MD5 {archive_md5} there, {instance.md5} here. Does it transcode what comes in?"
        return FileOutcome(str(path), Outcome.FAILED, reason, archive_md5=archive_md5)


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


def retrieve(
    instances: Iterable[Instance], archive: Archive, folder: str | Path, *, workers: int = 16, progress: bool = True
) -> RetrieveReport:
    """Write instances of an archive to a folder, one ``<SOP Instance UID>.dcm`` each, and return what became of each.

    Every file is held against the archive's MD5 (and the record's, where it has one) and appears whole or not at all. Files
    that are there already and right are left alone. An instance that cannot be had is named in `refused`; the rest goes on.

    Raises
    ------
    ArchiveUnavailableError, ArchiveCredentialsError
        At the start, before anything is fetched.
    """
    wanted = list({instance.sop_instance_uid: instance for instance in instances}.values())
    archive.check()
    started = time.monotonic()
    root = Path(folder)
    outcomes: list[FileOutcome | None] = [None] * len(wanted)
    stopped = threading.Event()
    storage = Storage()

    def one(number: int) -> None:
        instance = wanted[number]
        name = f"{instance.sop_instance_uid}.dcm"
        try:
            outcomes[number] = _fetch(instance, archive, root / name, storage)
        except WorkflowError as error:
            outcomes[number] = FileOutcome(name, Outcome.FAILED, str(error))
            if isinstance(error, ArchiveUnavailableError | ArchiveCredentialsError):
                stopped.set()

    run_all(len(wanted), one, stopped, workers=workers, label="retrieve", progress=progress)
    finished = tuple(
        outcome or FileOutcome(f"{instance.sop_instance_uid}.dcm", Outcome.FAILED, "not fetched: the archive is gone")
        for instance, outcome in zip(wanted, outcomes, strict=True)
    )
    refused = {item.sop_instance_uid: out.reason for item, out in zip(wanted, finished, strict=True) if not out.instance}
    paths = {out.instance.sop_instance_uid: root / Path(out.path).name for out in finished if out.instance}
    return RetrieveReport(finished, paths, refused, time.monotonic() - started)


def _fetch(instance: Instance, archive: Archive, path: Path, storage: Storage) -> FileOutcome:
    if path.is_file():
        md5 = md5_of(path.read_bytes())
        if md5 == (instance.md5 or archive.md5(instance.reference)):
            return FileOutcome(str(path), Outcome.ALREADY_THERE, instance=replace(instance, md5=md5))
    data = archive.retrieve_instance(instance.reference)
    md5 = md5_of(data)
    if instance.md5 and md5 != instance.md5:
        reason = f"expected MD5 {instance.md5}, the archive now holds {md5}. List the archive again."
        return FileOutcome(str(path), Outcome.FAILED, reason, archive_md5=md5)
    storage.write_bytes(to_uri(path), data)
    return FileOutcome(str(path), Outcome.RETRIEVED, instance=replace(instance, md5=md5, size_bytes=len(data)))
