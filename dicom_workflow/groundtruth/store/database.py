"""The interface of the job database: reads, one writing transaction at a time, and a lock against a second service.

Implemented by `sqlite.SqliteDatabase` and `postgres.PostgresDatabase`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dicom_workflow.errors import ServiceError, WorkflowError

Values = Sequence[Any] | Mapping[str, Any]


class JobDatabaseUnavailableError(WorkflowError):
    """The job database does not answer. Nothing was written; the same request may succeed in a moment."""


class CommitOutcomeUnknownError(JobDatabaseUnavailableError):
    """The connection was lost during COMMIT, so the outcome is unknown. Look the row up by its key."""


class JobDatabaseInUseError(ServiceError):
    """Another labeling service uses this job database."""


class Rows(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """Number of rows written."""

    def fetchone(self) -> Any:
        """Return the next row by column names, or None."""

    def __iter__(self) -> Iterator[Any]: ...


class Fetched(list[Any]):
    """Rows that were read completely, so that using them cannot fail and holds no connection."""

    def fetchone(self) -> Any:
        """Return the first row by column names, or None."""
        return self[0] if self else None


class Transaction(Protocol):
    """An open transaction."""

    def execute(self, sql: str, values: Values = ..., /) -> Rows:
        """Run one statement; its placeholders are ``?`` or ``:name``."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for each row of values."""


class Database(Protocol):
    """The database that holds jobs, workers and answers."""

    @property
    def name(self) -> str:
        """Path or address for messages, without a password."""

    def execute(self, sql: str, values: Values = ..., /) -> Fetched:
        """Run a reading statement.

        Raises
        ------
        JobDatabaseUnavailableError
            The database does not answer.
        """

    def write(self, *, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Open the one writing transaction. With `durable`, what it wrote survives a crash once the block has ended.

        Raises
        ------
        JobDatabaseUnavailableError
            The database does not answer; nothing was written.
        CommitOutcomeUnknownError
            The connection was lost during COMMIT.
        """

    def exclusive(self, *, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
        """Keep every other labeling service out while the block lasts.

        Parameters
        ----------
        wait_seconds : float
            How long to wait for a database that does not answer, and for another service that is stopping.

        Raises
        ------
        JobDatabaseInUseError
            Another service has the lock, or took it while the database was unreachable; the latter is raised at the end of
            the block.
        JobDatabaseUnavailableError
            The database does not answer.
        """

    def on_lock_lost(self, stop: Callable[[], None]) -> None:
        """Register `stop`, called when another service has taken the lock and this one must stop serving."""

    def is_ready(self) -> bool:
        """Say without waiting whether requests can be served."""

    def close(self) -> None:
        """Close the connection of this thread, if it has one."""
