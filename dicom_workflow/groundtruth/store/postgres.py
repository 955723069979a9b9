"""The journal in PostgreSQL, for a service without a disk of its own.

The connection that writes holds an advisory lock of the database, and there is no other way to write. So whoever lost the
lock, with its connection, cannot write; and what is read is read only while that connection stands. A thread looks after it:
it connects again when the database was away, and ends the service when another one has the lock by then.

The server lets go of the lock when it is done with the connection, and so with its last transaction. Whoever has the lock again
after a COMMIT that nobody heard of therefore sees for certain whether it was done.
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
from dicom_workflow.groundtruth.store import postgres_lock
from dicom_workflow.groundtruth.store.database import (
    Fetched,
    JournalTakenError,
    JournalUnavailableError,
    OutcomeUnknownError,
    Rows,
    Values,
)
from dicom_workflow.groundtruth.store.postgres_dialect import NOCASE, translated
from dicom_workflow.settings import DatabaseAddress

READERS = 8
"""Most connections for reading; one more writes."""
BEAT_SECONDS = 1.0
RETRY_SECONDS = 0.2
PATIENCE_SECONDS = 5.0
"""How long a request waits for a database that just restarted."""
END_SECONDS = 3.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Held:
    """The connection that holds the lock, and those that read while it stands."""

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
    """A database that belongs to one labeling service at a time. It can be used inside `alone` only.

    Parameters
    ----------
    address : DatabaseAddress
        The user must own the database, or may create tables and a collation in it.
    """

    def __init__(self, address: DatabaseAddress) -> None:
        self.name = f"postgresql://{address.host}:{address.port}/{address.name}"
        self._on_taken: Callable[[], None] = lambda: None
        self._parameters = connections.parameters_of(address)
        # The server shows it to whoever asks who holds the lock.
        self._own_name = f"groundtruth {socket.gethostname()[:40]}/{os.getpid()}/{os.urandom(2).hex()}"
        self._writing = threading.RLock()
        self._changed = threading.Condition()
        self._held: _Held | None = None
        self._taken: JournalTakenError | None = None
        self._ending = threading.Event()
        self._look = threading.Event()

    # Reading and writing

    def execute(self, sql: str, values: Values = (), /) -> Fetched:
        """Read, over one of a few connections; once more when the first try meets one that is broken."""
        for is_last in (False, True):
            held = self._current()
            try:
                with held.readers.connection() as connection:
                    return Fetched(connection.execute(translated(sql).encode(), values))
            except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
                self._look.set()
                if is_last:
                    raise self._unavailable(error) from error
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[_Transaction]:
        """One transaction, over the connection that holds the lock."""
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
                raise RuntimeError("a transaction of the journal within another: the inner COMMIT would end both")
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
            raise OutcomeUnknownError(f"{self.name}: the connection ended inside COMMIT.") from error
        if ended != "COMMIT":  # the server answers so when a statement failed and nobody noticed
            raise JournalUnavailableError(f"{self.name}: expected COMMIT, got {ended}. Nothing was written.")

    def _current(self) -> _Held:
        """Return the connections; wait a little for a database that is just coming back."""
        with self._changed:
            self._changed.wait_for(lambda: self._held or self._taken or self._ending.is_set(), PATIENCE_SECONDS)
            if self._held is None:
                raise JournalUnavailableError(f"{self.name}: the journal does not answer now.")
            return self._held

    def _unavailable(self, error: BaseException) -> JournalUnavailableError:
        return JournalUnavailableError(f"{self.name}: the journal does not answer now ({type(error).__name__}).")

    # Holding the lock

    @contextlib.contextmanager
    def alone(self, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Hold the database for this process; the server lets go of it when the connection ends, however it ends."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                self._hold()
                break
            except (JournalTakenError, JournalUnavailableError) as error:
                if time.monotonic() >= deadline:
                    raise
                _log.warning("waiting: %s", error)
                time.sleep(BEAT_SECONDS)
        watch = threading.Thread(target=self._watch, name="groundtruth-journal", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._ending.set()
            self._look.set()
            watch.join(END_SECONDS)  # it may wait for a server that is gone without a word
            is_idle = self._writing.acquire(timeout=END_SECONDS)  # a request may still be at its last transaction
            if self._held:
                self._drop(self._held)
            if is_idle:
                self._writing.release()
        if self._taken:
            raise self._taken

    def _hold(self) -> None:
        """Connect, take the lock, and open the connections for reading."""
        try:
            writer = connections.writer(self._parameters, self._own_name)
        except psycopg.Error as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise JournalUnavailableError(f"{self.name}: the journal does not answer: {reason}") from error
        try:
            postgres_lock.take(writer, self._own_name, self.name)
            if writer.execute(b"SHOW fsync").fetchone() == {"fsync": "off"}:
                _log.warning("%s: fsync is off there: what is acknowledged does not outlive a power failure", self.name)
            writer.execute(NOCASE)
            readers = connections.readers(
                self._parameters, self._own_name, size=READERS, patience_seconds=PATIENCE_SECONDS
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
        if self._ending.is_set():  # too late: nobody will let go of it any more
            self._drop(held)

    def _drop(self, held: _Held, error: BaseException | None = None) -> None:
        with self._changed:
            if self._held is not held:
                return
            self._held = None
        if error is not None:
            _log.warning("%s: the connection that holds the journal ended: %s", self.name, type(error).__name__)
        held.writer.close()
        held.readers.close(timeout=1)
        self._look.set()

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                self._beat()
            except JournalTakenError as error:
                _log.error("%s", error)
                with self._changed:
                    self._taken = error
                    self._changed.notify_all()
                self._on_taken()
                return
            except JournalUnavailableError:
                pass  # who asks is told so, and the next beat tries again
            except Exception:  # noqa: BLE001 - without this thread the service would stay away for ever
                _log.exception("%s: the journal could not be looked after; the next beat tries again", self.name)
            self._look.wait(BEAT_SECONDS if self._held else RETRY_SECONDS)
            self._look.clear()

    def _beat(self) -> None:
        held = self._held
        if held is None:
            self._hold()
            _log.warning("%s: the journal is held again", self.name)
        elif self._writing.acquire(blocking=False):  # a transaction under way finds out by itself
            try:
                held.writer.execute(b"SELECT 1")
            except psycopg.Error as error:
                self._drop(held, error)
            finally:
                self._writing.release()

    def when_taken(self, end: Callable[[], None]) -> None:
        """Have `end` called when another service took the journal while the database was out of reach."""
        self._on_taken = end
        if self._taken:
            end()

    def is_ready(self) -> bool:
        """Say whether the lock is held, as far as the last beat knows."""
        return self._held is not None

    def close(self) -> None:
        """Nothing: connections belong to no thread."""


def _is_outage(error: BaseException) -> bool:
    # A replica that a failover left us with refuses to write, which psycopg does not count among the operational errors.
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction)
