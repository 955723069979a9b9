"""What the journal asks of a database: reads, one writing transaction at a time, and that no second service writes beside it.

`sqlite.SqliteDatabase` and `postgres.PostgresDatabase` are the two there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dicom_workflow.errors import ServiceError, WorkflowError

Values = Sequence[Any] | Mapping[str, Any]


class JournalUnavailableError(WorkflowError):
    """The database does not answer now. Nothing was written; the same request may succeed in a moment."""


class OutcomeUnknownError(JournalUnavailableError):
    """The connection ended inside COMMIT: what was written may be there or not. Who must know looks for it by its key."""


class JournalTakenError(ServiceError):
    """Another labeling service works on this journal."""


class Rows(Protocol):
    """What a statement gave back."""

    @property
    def rowcount(self) -> int:
        """How many rows were written."""

    def fetchone(self) -> Any:
        """Return the next row by column names, or None."""

    def __iter__(self) -> Iterator[Any]: ...


class Fetched(list[Any]):
    """Rows that are here already, so that reading them cannot fail any more and holds no connection."""

    def fetchone(self) -> Any:
        """Return the first row by column names, or None."""
        return self[0] if self else None


class Session(Protocol):
    """A transaction under way."""

    def execute(self, sql: str, values: Values = ..., /) -> Rows:
        """Do one statement; values stand as ``?`` or ``:name``."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Do one statement for each row of values."""


class Database(Protocol):
    """The database behind a journal."""

    @property
    def name(self) -> str:
        """Where it is, for messages; without a password."""

    def execute(self, sql: str, values: Values = ..., /) -> Fetched:
        """Read.

        Raises
        ------
        JournalUnavailableError
            It does not answer.
        """

    def write(self, *, durable: bool = True) -> AbstractContextManager[Session]:
        """One transaction; no other one is under way. With `durable`, what it wrote outlives a crash when the block ends.

        Raises
        ------
        JournalUnavailableError
            It does not answer; nothing was written.
        OutcomeUnknownError
            Its answer to COMMIT did not arrive.
        """

    def alone(self, *, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Keep every other labeling service away while the block lasts.

        Parameters
        ----------
        wait_seconds : float
            How long to wait for a database that does not answer, and for another service that ends.

        Raises
        ------
        JournalTakenError
            Another service has it; or took it while the database was out of reach, which is raised at the end of the block.
        JournalUnavailableError
            It does not answer.
        """

    def when_taken(self, end: Callable[[], None]) -> None:
        """Have `end` called when another service has the journal all the same: this one must stop serving."""

    def is_ready(self) -> bool:
        """Say at once whether requests can be served now."""

    def close(self) -> None:
        """Let go of what this thread holds."""
