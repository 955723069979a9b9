"""The resume log of an upload: one JSON line per file that is done, so that an interrupted batch can be continued."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from dicom_workflow.errors import StorageError

SCHEMA = "dicom-workflow/resume-log/1"


class ResumeLog:
    """The lines of earlier runs, and a file to which lines are appended; safe for several threads.

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
        self._append({"schema": SCHEMA, "archive": archive})

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
