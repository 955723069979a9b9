"""What became of the files of a batch: one outcome for each, the reports that count them, and the log to resume from."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_workflow.archive.protocol import READ_BACK
from dicom_workflow.errors import ArchiveError, StorageError, printable
from dicom_workflow.formats.instances import Instance

if TYPE_CHECKING:
    import pandas


class Outcome(StrEnum):
    """What became of one file."""

    STORED = "stored"
    ALREADY_THERE = "already there"
    DUPLICATE = "duplicate"
    """The same bytes came earlier in this batch."""
    CONFLICT = "conflict"
    """The archive, or an earlier file of this batch, has other bytes under the same identity; nothing was overwritten."""
    REFUSED = "refused"
    """It is not fit to be sent, or the archive cannot read it."""
    FAILED = "failed"
    """It could not be sent or not be verified; try again."""
    RETRIEVED = "retrieved"


RESUME_LOG_SCHEMA = "dicom-workflow/resume-log/1"
VERIFIED = (Outcome.STORED, Outcome.ALREADY_THERE)
ARRIVED = (*VERIFIED, Outcome.DUPLICATE)
"""The file's bytes are in the archive; those of a duplicate came with the file before it."""


@dataclass(frozen=True)
class FileOutcome:
    """One file of a batch; a name that is not UTF-8 is escaped in `path`.

    `instance` is set when the archive's copy was verified, `archive_md5` when it is another.
    """

    path: str
    outcome: Outcome
    reason: str = ""
    instance: Instance | None = None
    archive_md5: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", printable(self.path).replace("\n", "\\x0a"))
        object.__setattr__(self, "reason", printable(self.reason))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the empty fields."""
        data = {"path": self.path, "outcome": str(self.outcome), "reason": self.reason, "archive_md5": self.archive_md5}
        instance = {"instance": self.instance.to_json()} if self.instance else {}
        return {**{name: value for name, value in data.items() if value}, **instance}


@dataclass(frozen=True)
class UploadReport:
    """What became of every file of an upload, in the order of the files."""

    outcomes: tuple[FileOutcome, ...]
    archive: str
    seconds: float
    verification: str = READ_BACK
    """What it means that a file was verified: `READ_BACK` or `READ_BACK_CONTENT` of the archive protocol."""

    @property
    def counts(self) -> dict[str, int]:
        """Outcome → number of files; they add up to the number of files given."""
        found = Counter(item.outcome for item in self.outcomes)
        return {str(outcome): found[outcome] for outcome in Outcome if found[outcome]}

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The verified instances, each once, with MD5 and size."""
        return tuple(item.instance for item in self.outcomes if item.instance and item.outcome in VERIFIED)

    @property
    def size_bytes(self) -> int:
        """Bytes of the verified instances."""
        return sum(instance.size_bytes for instance in self.instances)

    @property
    def ok(self) -> bool:
        """Whether every file is in the archive."""
        return all(item.outcome in ARRIVED for item in self.outcomes)

    @property
    def without_patient_id(self) -> tuple[Instance, ...]:
        """The verified instances that name no patient: they can be labeled, but belong to no split of a training set."""
        return tuple(instance for instance in self.instances if not instance.patient_id)

    def metrics(self) -> dict[str, Any]:
        """Return the figures of a summary."""
        counts = Counter(item.outcome for item in self.outcomes)
        return {
            "instances_uploaded": counts[Outcome.STORED] + counts[Outcome.ALREADY_THERE],
            "instances_verified": len(self.instances),
            "instances_without_patient_id": len(self.without_patient_id),
            "files": len(self.outcomes),
            **{f"files_{str(name).replace(' ', '_')}": counts[name] for name in Outcome if name is not Outcome.RETRIEVED},
            "bytes_verified": self.size_bytes,
            "seconds": round(self.seconds, 3),
            "verification": self.verification,
        }

    def to_frame(self) -> pandas.DataFrame:
        """Return a table of all files: path, outcome, reason, SOP Instance UID, MD5, size in bytes."""
        return _frame(self.outcomes)

    def problems(self) -> pandas.DataFrame:
        """Return the table of the files that did not arrive, with the reasons."""
        return _frame([item for item in self.outcomes if item.outcome not in ARRIVED])

    def to_json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {
            "archive": self.archive,
            "verification": self.verification,
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "files": [item.to_json() for item in self.outcomes],
        }


@dataclass(frozen=True)
class RetrieveReport:
    """What became of every instance asked for; `paths` holds the files that are right, by SOP Instance UID."""

    outcomes: tuple[FileOutcome, ...]
    paths: Mapping[str, Path]
    refused: Mapping[str, str]
    """SOP Instance UID → why there is no file."""
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """Outcome → number of instances."""
        return dict(Counter(str(item.outcome) for item in self.outcomes))


def _frame(outcomes: Sequence[FileOutcome]) -> pandas.DataFrame:
    import pandas as pd

    rows = [
        {
            "path": item.path,
            "outcome": str(item.outcome),
            "reason": item.reason,
            "sop_instance_uid": item.instance.sop_instance_uid if item.instance else "",
            "md5": item.instance.md5 if item.instance else "",
            "size_bytes": item.instance.size_bytes if item.instance else 0,
        }
        for item in outcomes
    ]
    return pd.DataFrame(rows, columns=["path", "outcome", "reason", "sop_instance_uid", "md5", "size_bytes"])


class ResumeLog:
    """The resume log of an upload: the lines of earlier runs, and a file to which lines are appended; safe for several threads.

    A line cut short by the end of the process is ignored. Each run begins with a line that names its archive, for a person to
    read: what a line says of a file counts only after the archive was asked for the file's MD5.

    Raises
    ------
    StorageError
        It cannot be read or written.
    """

    def __init__(self, path: Path, archive: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.fchmod(handle, 0o600)  # its lines name patients; the file may be from before, with other rights
            self._stream = os.fdopen(handle, "a", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path}: the resume log cannot be written: {error.strerror}.") from error
        self._load(text, archive)

    def _load(self, text: str, archive: str) -> None:
        lines = [line for line in map(_parse, text.splitlines()) if line]
        self._known = {str(line["path"]): line for line in lines if "path" in line}
        if text and not text.endswith("\n"):
            self._stream.write("\n")  # ends the torn line
        self._append({"schema": RESUME_LOG_SCHEMA, "archive": archive})

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return the last line about a file, None when there is none."""
        return self._known.get(str(path))

    def write(self, path: Path, line: dict[str, Any]) -> None:
        """Append a line about a file; it outlives this process."""
        self._append({**line, "path": str(path)})

    def close(self) -> None:
        """Flush to disk and close."""
        with self._lock:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        with self._lock:
            self._stream.write(text)
            self._stream.flush()


def _parse(line: str) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


class NothingStoredError(ArchiveError):
    """No file of an upload reached the archive; `report` says why, file by file."""

    def __init__(self, report: UploadReport) -> None:
        self.report = report
        reasons = Counter(str(row.reason) for row in report.problems().itertuples())
        listed = "".join(f"\n- {reason} ({count} files)" for reason, count in reasons.most_common(5))
        super().__init__(f"None of {report.metrics()['files']} files is in the archive:{listed}")
