"""The job database in PostgreSQL, for a service without a persistent disk.

The writing connection holds an advisory lock, and there is no other way to write. A service that lost the lock, together with
its connection, therefore cannot write, and it reads only while that connection is open. A monitor thread reconnects after an
outage and stops the service when another one has taken the lock in the meantime.

The server releases the lock when the connection's last transaction has ended. After a COMMIT of unknown outcome, a service that
has the lock again therefore sees for certain whether the transaction was committed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from dicom_workflow.groundtruth.store import postgres_connections as connections
from dicom_workflow.groundtruth.store.database import (
    CommitOutcomeUnknownError,
    Fetched,
    JobDatabaseInUseError,
    JobDatabaseUnavailableError,
    Rows,
    Values,
)
from dicom_workflow.groundtruth.store.postgres_connections import NOCASE, translated
from dicom_workflow.settings import DatabaseAddress

READERS = 8
"""Most reading connections; there is one writing connection besides."""
MONITOR_SECONDS = 1.0
RETRY_SECONDS = 0.2
OUTAGE_TIMEOUT_SECONDS = 5.0
"""How long a request waits for a database that is restarting."""
STOP_SECONDS = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Held:
    """The connection that holds the lock, and the pool that reads while it is open."""

    writer: psycopg.Connection[Any]
    readers: ConnectionPool[Any]


class _Transaction:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Values = (), /) -> Rows:
        return self._connection.execute(translated(sql).encode(), values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        self._connection.cursor().executemany(translated(sql).encode(), rows)


class PostgresDatabase:
    """A database used by one labeling service at a time, and only inside `exclusive`.

    Parameters
    ----------
    address : DatabaseAddress
        The user owns the database, or may create tables and a collation in it.
    """

    def __init__(self, address: DatabaseAddress) -> None:
        self.name = f"postgresql://{address.host}:{address.port}/{address.name}"
        self._stop: Callable[[], None] = lambda: None
        self._parameters = connections.parameters_of(address)
        # The server shows this name as the holder of the lock.
        self._own_name = f"groundtruth {socket.gethostname()[:40]}/{os.getpid()}/{os.urandom(2).hex()}"
        self._writing = threading.RLock()
        self._changed = threading.Condition()
        self._held: _Held | None = None
        self._lost: JobDatabaseInUseError | None = None
        self._closing = threading.Event()
        self._check_now = threading.Event()

    # Reading and writing

    def execute(self, sql: str, values: Values = (), /) -> Fetched:
        """Run a reading statement over the pool; a broken connection is tried once more.

        Raises
        ------
        JobDatabaseUnavailableError
            The database does not answer.
        """
        try:
            return self._fetched(sql, values)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout):
            self._check_now.set()
        try:
            return self._fetched(sql, values)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            self._check_now.set()
            raise self._unavailable(error) from error

    def _fetched(self, sql: str, values: Values) -> Fetched:
        with self._current().readers.connection() as connection:
            return Fetched(connection.execute(translated(sql).encode(), values))

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[_Transaction]:
        """Open the one writing transaction, over the connection that holds the lock."""
        with self._writing:
            held = self._begin(durable=durable)
            try:
                yield _Transaction(held.writer)
            except BaseException as error:
                self._roll_back(held)
                if _is_outage(error):
                    raise self._unavailable(error) from error
                raise
            self._commit(held)

    def _begin(self, *, durable: bool) -> _Held:
        begin = b"BEGIN" if durable else b"BEGIN; SET LOCAL synchronous_commit TO off"
        for is_last in (False, True):
            held = self._current()
            if held.writer.info.transaction_status is TransactionStatus.INTRANS:
                raise RuntimeError("nested transactions: the inner COMMIT would end both")
            try:
                held.writer.execute(begin, prepare=False)
            except psycopg.Error as error:  # the database restarted since the last transaction
                self._drop(held, error)
                if is_last:
                    raise self._unavailable(error) from error
            else:
                return held
        raise AssertionError("unreachable")

    def _roll_back(self, held: _Held) -> None:
        try:
            held.writer.execute(b"ROLLBACK", prepare=False)
        except psycopg.Error as error:
            self._drop(held, error)

    def _commit(self, held: _Held) -> None:
        try:
            ended = held.writer.execute(b"COMMIT", prepare=False).statusmessage
        except psycopg.Error as error:
            self._drop(held, error)
            problem = "the connection was lost during COMMIT, so the outcome is unknown"
            raise CommitOutcomeUnknownError(f"{self.name}: {problem}.") from error
        if ended != "COMMIT":  # the server answers ROLLBACK when a failed statement was ignored
            raise JobDatabaseUnavailableError(f"{self.name}: COMMIT was answered with {ended}. Nothing was written.")

    def _current(self) -> _Held:
        """Return the connections; wait a little for a database that is restarting."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._lost or self._closing.is_set(), OUTAGE_TIMEOUT_SECONDS)
            if self._held is None:
                raise JobDatabaseUnavailableError(f"{self.name}: the job database does not answer now.")
            return self._held

    def _unavailable(self, error: BaseException) -> JobDatabaseUnavailableError:
        return JobDatabaseUnavailableError(f"{self.name}: the job database does not answer now ({type(error).__name__}).")

    # Holding the lock

    @contextlib.contextmanager
    def exclusive(self, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Lock the database for this process; the server releases the lock however the connection ends.

        Parameters
        ----------
        wait_seconds : float
            How long to wait for a database that does not answer, and for another service that is stopping.

        Raises
        ------
        JobDatabaseInUseError
            Another service has the lock, or took it during an outage; the latter is raised at the end of the block.
        JobDatabaseUnavailableError
            The database does not answer.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                self._hold()
                break
            except (JobDatabaseInUseError, JobDatabaseUnavailableError) as error:
                if time.monotonic() >= deadline:
                    raise
                _log.warning("waiting for the job database: %s", error)
                time.sleep(MONITOR_SECONDS)
        monitor = threading.Thread(target=self._monitor, name="groundtruth-job-database", daemon=True)
        monitor.start()
        try:
            yield
        finally:
            self._closing.set()
            self._check_now.set()
            monitor.join(STOP_SECONDS)  # it may be waiting for a server that vanished
            is_idle = self._writing.acquire(timeout=STOP_SECONDS)  # a request may still be in its last transaction
            if self._held:
                self._drop(self._held)
            if is_idle:
                self._writing.release()
        if self._lost:
            raise self._lost

    def _hold(self) -> None:
        """Connect, take the lock, and open the connections for reading."""
        try:
            writer = connections.writer(self._parameters, self._own_name)
        except psycopg.Error as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise JobDatabaseUnavailableError(f"{self.name}: the job database does not answer: {reason}") from error
        try:
            connections.take_lock(writer, self._own_name, self.name)
            if writer.execute(b"SHOW fsync").fetchone() == {"fsync": "off"}:
                _log.warning("%s: fsync is off on this server: accepted answers do not survive a power failure", self.name)
            writer.execute(NOCASE)
            readers = connections.readers(
                self._parameters, self._own_name, size=READERS, timeout_seconds=OUTAGE_TIMEOUT_SECONDS
            )
        except psycopg.Error as error:
            writer.close()
            raise self._unavailable(error) from error
        except BaseException:
            writer.close()
            raise
        held = _Held(writer, readers)
        with self._changed:
            self._held = held
            self._changed.notify_all()
        if self._closing.is_set():  # too late: `exclusive` has ended and would not close it any more
            self._drop(held)

    def _drop(self, held: _Held, error: BaseException | None = None) -> None:
        with self._changed:
            if self._held is not held:
                return
            self._held = None
        if error is not None:
            _log.warning("%s: the connection that holds the lock was lost: %s", self.name, type(error).__name__)
        held.writer.close()
        held.readers.close(timeout=1)
        self._check_now.set()

    def _monitor(self) -> None:
        while not self._closing.is_set():
            try:
                self._check()
            except JobDatabaseInUseError as error:
                _log.error("%s", error)
                with self._changed:
                    self._lost = error
                    self._changed.notify_all()
                self._stop()
                return
            except JobDatabaseUnavailableError:
                pass  # requests are answered with the error, and the next round tries again
            except Exception:  # noqa: BLE001 - without this thread the service would stay unavailable for ever
                _log.exception("%s: checking the connection failed; trying again", self.name)
            self._check_now.wait(MONITOR_SECONDS if self._held else RETRY_SECONDS)
            self._check_now.clear()

    def _check(self) -> None:
        held = self._held
        if held is None:
            self._hold()
            _log.warning("%s: connected again and locked", self.name)
        elif self._writing.acquire(blocking=False):  # an open transaction notices by itself
            try:
                held.writer.execute(b"SELECT 1")
            except psycopg.Error as error:
                self._drop(held, error)
            finally:
                self._writing.release()

    def on_lock_lost(self, stop: Callable[[], None]) -> None:
        """Register `stop`, called when another service has taken the lock during an outage."""
        self._stop = stop
        if self._lost:
            stop()

    def is_ready(self) -> bool:
        """Say whether the lock was held at the last check."""
        return self._held is not None

    def close(self) -> None:
        """Do nothing: connections belong to no thread."""


def _is_outage(error: BaseException) -> bool:
    # After a failover a replica refuses to write, which psycopg does not count among the operational errors.
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction)
