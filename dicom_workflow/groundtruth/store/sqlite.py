"""The job database in one SQLite file, for one machine: the default."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dicom_workflow.errors import ServiceError
from dicom_workflow.groundtruth.store.database import Fetched, JobDatabaseInUseError, JobDatabaseUnavailableError, Values

_ENDINGS = ("", "-wal", "-shm")
"""Endings of the files that SQLite keeps for one database; all of them hold answers."""


class SqliteDatabase:
    """A file with write-ahead log and ``synchronous=FULL``; every thread has its own connection.

    Parameters
    ----------
    path : Path
        The file; created when missing, readable by its owner alone. A file ``lock`` stands beside it.
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
                _refuse_earlier_layout(self.path)
            _make_private(self.path)
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=30, cached_statements=256)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
        return connection

    def execute(self, sql: str, values: Values = (), /) -> Fetched:
        """Run a reading statement over this thread's connection."""
        with self._as_unavailable():
            return Fetched(self._connection.execute(sql, values))

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Open the one writing transaction. With `durable`, what it wrote is on disk when the block ends."""
        with self._writing, self._as_unavailable():
            db = self._connection
            if not durable:
                db.execute("PRAGMA synchronous = NORMAL")
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    # On a full disk SQLite rolls back by itself; after a refused COMMIT the transaction is still open.
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            finally:
                if not durable:
                    db.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # a full disk, or a file locked by another program
            raise JobDatabaseUnavailableError(f"{self.path}: the job database cannot be used now: {error}.") from error

    @contextlib.contextmanager
    def exclusive(self, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Lock the folder for this process; the operating system releases the lock however the process ends.

        Raises
        ------
        JobDatabaseInUseError
            Another process still has the lock after `wait_seconds`.
        """
        lock, deadline = self.path.parent / "lock", time.monotonic() + wait_seconds
        _make_private(lock)
        with lock.open("a+") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() < deadline:
                        time.sleep(0.2)
                        continue
                    stream.seek(0)
                    message = f"{lock.parent} is in use by another labeling service (process {stream.read().strip()})."
                    raise JobDatabaseInUseError(message) from None
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            yield

    def on_lock_lost(self, stop: Callable[[], None]) -> None:
        """Do nothing: the operating system never takes the lock away."""

    def is_ready(self) -> bool:
        """Say whether the file still exists."""
        return self.path.exists()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


def _make_private(path: Path) -> None:
    """Create a file that its owner alone may read, and take other rights from one made earlier with its companions."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # before SQLite does: the companion files take over the mode
        for ending in _ENDINGS:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + ending).chmod(0o600)
    except OSError as error:
        raise JobDatabaseUnavailableError(f"{path} cannot be made a private file: {error.strerror}.") from error


def _refuse_earlier_layout(path: Path) -> None:
    """Earlier versions gave the file another name: a service that started beside it would seem to have lost every job."""
    earlier = sorted(path.parent.glob(f"*{path.suffix}"))
    if earlier:
        move = "; ".join(
            f"mv {shlex.quote(str(found))} {shlex.quote(str(path) + ending)}"
            for ending in _ENDINGS
            if (found := earlier[0].with_name(earlier[0].name + ending)).exists()
        )
        raise ServiceError(f"{earlier[0]} is a job database of an earlier version. Stop its service, then rename it: {move}")
