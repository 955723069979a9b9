"""The journal in one SQLite file, for one machine: the default."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_workflow.groundtruth.store.database import Fetched, JournalTakenError, JournalUnavailableError, Values


class SqliteDatabase:
    """A file, with write-ahead log and ``synchronous=FULL``; every thread has a connection of its own.

    Parameters
    ----------
    path : Path
        The file; made when there is none. A file ``lock`` stands beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._local = threading.local()
        self._writing = threading.RLock()

    @property
    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.path.touch(mode=0o600)  # before SQLite does: its companion files take over the mode
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=30, cached_statements=256)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
        return connection

    def execute(self, sql: str, values: Values = (), /) -> Fetched:
        """Read, over this thread's connection."""
        with self._trouble():
            return Fetched(self._connection.execute(sql, values))

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction. With `durable`, what it wrote is on disk when the block ends."""
        with self._writing, self._trouble():
            db = self._connection
            if not durable:
                db.execute("PRAGMA synchronous = NORMAL")
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    # SQLite itself takes back what met a full disk; a COMMIT that it refused is still under way.
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            finally:
                if not durable:
                    db.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # a full disk, a file that another program holds
            raise JournalUnavailableError(f"{self.path}: the journal cannot be used now: {error}.") from error

    @contextlib.contextmanager
    def alone(self, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Hold the folder for this process; the system lets go of it when the process ends, however it ends."""
        folder, deadline = self.path.parent, time.monotonic() + wait_seconds
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("a+") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() < deadline:
                        time.sleep(0.2)
                        continue
                    stream.seek(0)
                    other = stream.read().strip()
                    message = f"{folder}: another labeling service (process {other}) works here already."
                    raise JournalTakenError(message) from None
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            yield

    def when_taken(self, end: Callable[[], None]) -> None:
        """Nothing: the system takes a lock from nobody."""

    def is_ready(self) -> bool:
        """Say whether the file is there still."""
        return self.path.exists()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None
