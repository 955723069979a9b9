"""What earlier runs of `files.read_reports` wrote: one that was interrupted goes on where it was, and nothing is read twice.

A run writes to ``TARGET.part``, which becomes the target when all is read. The next run takes from the target and from what was
left of a part (kept as ``TARGET.earlier`` until the run is whole) every report whose text is the same and that the same version
of the same engine has read. A last line that was cut short is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class EarlierAnswers:
    """The answers of earlier runs, found by report id and text.

    Parameters
    ----------
    target : Path
        Of the run that is beginning; a part that was left is taken over.
    language_model : str
        Name and version of what reads, or how they begin.

    Raises
    ------
    OSError
        What was left cannot be read, or not be kept.
    """

    def __init__(self, target: Path, language_model: str) -> None:
        self.part, self.kept = Path(f"{target}.part"), Path(f"{target}.earlier")
        self._model = language_model
        if self.part.exists():
            with _private(self.kept, os.O_APPEND) as kept:
                for _, line in _whole_lines(self.part):
                    kept.write(line)
            self.part.unlink()
        self._places: dict[str, tuple[Path, int]] = {}
        for path in (target, self.kept):
            for offset, line in _whole_lines(path):
                if report_id := _answer(line).get("report_id"):
                    self._places[report_id] = path, offset

    def find(self, report_id: str, text: str) -> dict[str, Any] | None:
        """Return the answer for a report, or None where it is to be read."""
        if report_id not in self._places:
            return None
        path, offset = self._places[report_id]
        with path.open("rb") as file:
            file.seek(offset)
            found = _answer(file.readline())
        version = str(found.get("language_model", ""))  # a service says its own with each answer, after the name
        current = version == self._model or version.startswith(f"{self._model}.")
        return dict(found) if current and found.get("text") == text else None

    def __bool__(self) -> bool:
        return bool(self._places)

    def create_part(self) -> Any:
        """Return the new part, open for writing; only this user may read it, as it holds the text of reports."""
        return _private(self.part, os.O_TRUNC)

    def finish(self, target: Path) -> None:
        """Let the part be the target."""
        self.part.replace(target)
        self.kept.unlink(missing_ok=True)


def _private(path: Path, how: int) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600), "wb")


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and line; nothing for a file that is not there, and no last line without an end."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        offset = 0
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _answer(line: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("findings"), list) else {}
