"""The journal of an upload: one JSON line per file that came to an outcome, so that a batch can go on where it was ended."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from dicom_workflow.errors import StorageError

SCHEMA = "dicom-workflow/upload-journal/1"


class Journal:
    """Lines of earlier runs to read, and a file that grows by a line at a time; safe for several threads.

    A line torn by the end of the process is passed over. Each run begins with a line that names its archive, for a person: what
    a line says of a file is only ever believed after the archive was asked for the file's MD5.

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
            self._stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path}: the journal cannot be written: {error.strerror}.") from error
        self._load(text, archive)

    def _load(self, text: str, archive: str) -> None:
        lines = [line for line in map(_parse, text.splitlines()) if line]
        self._known = {str(line["path"]): line for line in lines if "path" in line}
        if text and not text.endswith("\n"):
            self._stream.write("\n")  # ends the torn line
        self._append({"journal": SCHEMA, "archive": archive})

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
