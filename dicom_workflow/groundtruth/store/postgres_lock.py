"""The lock of a journal in PostgreSQL: an advisory one of the database, which ends with the connection that took it."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg

from dicom_workflow.groundtruth.store.database import JournalTakenError, JournalUnavailableError

LOCK = int.from_bytes(hashlib.sha256(b"dicom-workflow/groundtruth/journal").digest()[:8], "big", signed=True)

# How an advisory lock of one 64-bit key looks in pg_locks.
_HOLDER = (
    "SELECT pid, a.application_name AS name, coalesce(host(a.client_addr), 'its own machine') AS address,"
    " to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC') AS since"
    " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
    " AND (l.classid::bigint << 32 | l.objid::bigint) = %s"
)


def take(connection: psycopg.Connection[Any], own_name: str, journal: str) -> None:
    """Take the lock for as long as the connection lives.

    Parameters
    ----------
    connection : psycopg Connection
        With rows as dictionaries.
    own_name : str
        What all connections of this process call themselves, and no other's.
    journal : str
        For messages.

    Raises
    ------
    JournalTakenError
        Another service has it.
    JournalUnavailableError
        It is let go of just now; it may be free in a moment.
    """
    got = connection.execute("SELECT pg_try_advisory_lock(%s) AS got", (LOCK,)).fetchone()
    if got and got["got"]:
        return
    holder = connection.execute(_HOLDER, (LOCK,)).fetchone()
    if holder is None:
        raise JournalUnavailableError(f"{journal}: another labeling service let go of the journal just now.")
    if holder["name"] == own_name:
        # An earlier connection of ours, whose end the server has not noticed yet.
        connection.execute("SELECT pg_terminate_backend(%s)", (holder["pid"],))
        raise JournalUnavailableError(f"{journal}: an earlier connection still ends.")
    # Of the connections of other users the server tells the name alone.
    where = f", connected from {holder['address']} since {holder['since']}" if holder["since"] else ""
    raise JournalTakenError(f"{journal}: another labeling service ({holder['name']}{where}) works here already.")
