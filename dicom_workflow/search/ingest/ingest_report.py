"""What became of every image and report of an ingest: counted, and what was left out with its reason."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from dicom_workflow.errors import SearchError, printable

if TYPE_CHECKING:
    import pandas

INGEST_SCHEMA = "dicom-workflow/search-ingest/1"
Item = Literal["image", "report", "vector"]


class Outcome(StrEnum):
    """What became of one image, report or external vector."""

    INDEXED = "indexed"
    CHANGED = "changed"
    """It is in the index with other content, and was replaced."""
    LINKED = "linked"
    """It is in the index; its report, or what the report states, is new."""
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    """It cannot be used, as the reason says."""
    NOTED = "noted"
    """Something about an image or a report that was counted already: an orphan report, two reports for one image."""


@dataclass(frozen=True)
class Entry:
    """One line of the report: an image, a report or a vector, and why it was left out or what is to be known of it."""

    item: Item
    name: str
    outcome: Outcome
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the JSON object of a line."""
        return {"item": self.item, "name": self.name, "outcome": str(self.outcome), "reason": self.reason}


@dataclass
class IngestReport:
    """Counts of everything, and an entry for whatever has a reason; with a path, each entry is a line of a file at once.

    Parameters
    ----------
    path : Path, optional
        JSON lines; it names patients' files, so only this user may read it.

    Raises
    ------
    SearchError
        The file cannot be written.
    """

    path: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    counts: Counter[tuple[Item, Outcome]] = field(default_factory=Counter)
    _stream: IO[str] | None = field(default=None, repr=False)

    def __enter__(self) -> IngestReport:
        if self.path:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                self._stream = os.fdopen(handle, "w", encoding="utf-8")
            except OSError as error:
                raise SearchError(f"{self.path}: the report cannot be written: {error.strerror}.") from error
            self._write({"schema": INGEST_SCHEMA})
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._write({"counts": self.to_json()})
            self._stream.close()
            self._stream = None

    def add(self, item: Item, name: str, outcome: Outcome, reason: str = "") -> None:
        """Count one item, and keep why where there is a reason.

        Parameters
        ----------
        item : {'image', 'report', 'vector'}
        name : str
            Of the file, the line or the id.
        outcome : Outcome
        reason : str
            For a person: what was expected, and what to do.
        """
        self.counts[item, outcome] += 1
        if reason:
            entry = Entry(item, printable(name), outcome, printable(reason))
            self.entries.append(entry)
            self._write(entry.to_json())

    def count(self, item: Item, *outcomes: Outcome) -> int:
        """Return how many items had one of the outcomes."""
        return sum(self.counts[item, outcome] for outcome in outcomes)

    @property
    def ok(self) -> bool:
        """Whether nothing was left out."""
        return not any(outcome == Outcome.SKIPPED and number for (_, outcome), number in self.counts.items())

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return item → outcome → number, without zeros."""
        found: dict[str, dict[str, int]] = {}
        for (item, outcome), number in sorted(self.counts.items()):
            found.setdefault(item, {})[str(outcome)] = number
        return found

    def to_frame(self) -> pandas.DataFrame:
        """Return a table of what was left out or is to be known: item, name, outcome, reason."""
        import pandas

        return pandas.DataFrame([entry.to_json() for entry in self.entries], columns=["item", "name", "outcome", "reason"])

    def lines(self, *, most: int = 20) -> Iterator[str]:
        """Yield lines for a person: the counts, then the first reasons and where the others are.

        Parameters
        ----------
        most : int
            Reasons at most.
        """
        for item, outcomes in self.to_json().items():
            yield f"{item}s: {', '.join(f'{number:,} {outcome}' for outcome, number in outcomes.items())}"
        for entry in self.entries[:most]:
            yield f"  {entry.item} {entry.name}: {entry.outcome}: {entry.reason}"
        if len(self.entries) > most:
            yield f"  and {len(self.entries) - most:,} more{f' in {self.path}' if self.path else ''}"

    def _write(self, value: dict[str, Any]) -> None:
        if self._stream:
            try:
                self._stream.write(json.dumps(value, ensure_ascii=False) + "\n")
                self._stream.flush()
            except OSError as error:
                raise SearchError(f"{self.path}: the report cannot be written: {error.strerror}. Free some space.") from error
