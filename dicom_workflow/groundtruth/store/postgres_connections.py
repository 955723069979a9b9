"""Connections to the PostgreSQL of the job database: SQL dialect, verified TLS, and the advisory lock.

The advisory lock belongs to the database and ends with the connection that took it.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.rows import dict_row
from psycopg.types.string import StrDumperUnknown
from psycopg_pool import ConnectionPool

from dicom_workflow.groundtruth.store.database import JobDatabaseInUseError, JobDatabaseUnavailableError
from dicom_workflow.http_server import is_loopback
from dicom_workflow.settings import DatabaseAddress

_DIALECT = {" WITHOUT ROWID": "", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA", "%": "%%", "?": "%s"}
NOCASE = b"CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
"""SQLite's NOCASE collation, under which texts that differ only in case are equal."""

# A peer that vanished is given up after half a minute on both sides; the server then releases the lock.
_SERVER_OPTIONS = {
    "synchronous_commit": "on",
    "statement_timeout": "60s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "gssencmode": "disable",
    "target_session_attrs": "read-write",  # during a failover the cluster's name may still lead to a replica
}

LOCK = int.from_bytes(hashlib.sha256(b"dicom-workflow/groundtruth/job-database").digest()[:8], "big", signed=True)

# How an advisory lock of one 64-bit key looks in pg_locks.
_HOLDER = (
    "SELECT pid, a.application_name AS name, coalesce(host(a.client_addr), 'the same machine') AS address,"
    " to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC') AS since"
    " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    " AND (l.classid::bigint << 32 | l.objid::bigint) = %s"
)


@cache
def translated(sql: str) -> str:
    """Return a statement of this package in PostgreSQL's dialect with psycopg's placeholders."""
    for word, other in _DIALECT.items():
        sql = re.sub(rf"\b{word}\b" if word.isalpha() else re.escape(word), other, sql)
    return re.sub(r":([a-z_]+)\b", r"%(\1)s", sql)


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        # PostgreSQL cannot store NUL in a text. No name of ours contains one, so such a text finds nothing.
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


_ADAPTERS = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_dumper(str, _Text)


def parameters_of(address: DatabaseAddress) -> dict[str, Any]:
    """Return libpq's connection parameters. Beyond this machine the server's certificate and name are always verified."""
    parameters: dict[str, Any] = {
        **_CONNECTION,
        "host": address.host,
        "port": address.port,
        "dbname": address.name,
        "user": address.user,
        "password": address.password.reveal() or None,
        "options": " ".join(f"-c {name}={value}" for name, value in _SERVER_OPTIONS.items()),
    }
    if address.ca or not (address.host.startswith("/") or is_loopback(address.host)):
        parameters.update(sslmode="verify-full", sslrootcert=address.ca or "system")
    return parameters


def writer(parameters: dict[str, Any], name: str) -> psycopg.Connection[Any]:
    """Return the writing connection; the server shows `name` in pg_stat_activity."""
    return psycopg.connect(**parameters, application_name=name, autocommit=True, row_factory=dict_row, context=_ADAPTERS)


def readers(parameters: dict[str, Any], name: str, *, size: int, timeout_seconds: float) -> ConnectionPool[Any]:
    """Return a pool of read-only connections, opened on demand.

    Parameters
    ----------
    parameters : dict
        From `parameters_of`.
    name : str
        Prefix of the name that the server shows.
    size : int
        Most connections at one time.
    timeout_seconds : float
        How long a request waits for a connection.
    """

    def configure(connection: psycopg.Connection[Any]) -> None:
        connection.execute(b"SET default_transaction_read_only TO on")

    shared = {"application_name": f"{name} reads", "autocommit": True, "row_factory": dict_row, "context": _ADAPTERS}
    return ConnectionPool(
        kwargs={**parameters, **shared},
        min_size=1,
        max_size=size,
        num_workers=1,
        timeout=timeout_seconds,
        configure=configure,
        check=ConnectionPool.check_connection,
        name="groundtruth-readers",
        open=True,
    )


def take_lock(connection: psycopg.Connection[Any], own_name: str, database: str) -> None:
    """Take the advisory lock for as long as the connection lives.

    Parameters
    ----------
    connection : psycopg Connection
        With rows as dictionaries.
    own_name : str
        Name that all connections of this process have, and no other's.
    database : str
        For messages.

    Raises
    ------
    JobDatabaseInUseError
        Another service has it.
    JobDatabaseUnavailableError
        It is being released just now; it may be free in a moment.
    """
    got = connection.execute("SELECT pg_try_advisory_lock(%s) AS got", (LOCK,)).fetchone()
    if got and got["got"]:
        return
    holder = connection.execute(_HOLDER, (LOCK,)).fetchone()
    if holder is None:
        raise JobDatabaseUnavailableError(f"{database}: another labeling service is just releasing the job database.")
    if holder["name"] == own_name:
        # An earlier connection of ours, whose end the server has not noticed yet.
        connection.execute("SELECT pg_terminate_backend(%s)", (holder["pid"],))
        raise JobDatabaseUnavailableError(f"{database}: an earlier connection of this service is still ending.")
    # Of the connections of other users the server tells the name alone.
    where = f", connected from {holder['address']} since {holder['since']}" if holder["since"] else ""
    raise JobDatabaseInUseError(f"{database} is in use by another labeling service ({holder['name']}{where}).")
