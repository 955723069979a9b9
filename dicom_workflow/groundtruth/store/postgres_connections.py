"""How a journal's PostgreSQL is reached: verified beyond this machine, and given up when it is gone without a word."""

from __future__ import annotations

import ipaddress
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from dicom_workflow.groundtruth.store.postgres_dialect import ADAPTERS
from dicom_workflow.settings import DatabaseAddress

# A peer that is gone without a word is given up after half a minute on both sides; the server then lets go of the lock.
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
    "target_session_attrs": "read-write",  # while a cluster fails over, its name still leads to what is a replica now
}


def parameters_of(address: DatabaseAddress) -> dict[str, Any]:
    """Return how libpq is to connect. Beyond this machine the server's certificate and name are always verified."""
    parameters: dict[str, Any] = {
        **_CONNECTION,
        "host": address.host,
        "port": address.port,
        "dbname": address.name,
        "user": address.user,
        "password": address.password.reveal() or None,
        "options": " ".join(f"-c {name}={value}" for name, value in _SERVER_OPTIONS.items()),
    }
    if address.ca or not _is_this_machine(address.host):
        parameters.update(sslmode="verify-full", sslrootcert=address.ca or "system")
    return parameters


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


def writer(parameters: dict[str, Any], name: str) -> psycopg.Connection[Any]:
    """Return a connection that shows a name to whoever asks the server."""
    return psycopg.connect(**parameters, application_name=name, autocommit=True, row_factory=dict_row, context=ADAPTERS)


def readers(parameters: dict[str, Any], name: str, *, size: int, patience_seconds: float) -> ConnectionPool[Any]:
    """Return some connections that cannot write, opened as they are asked for."""

    def configure(connection: psycopg.Connection[Any]) -> None:
        connection.execute(b"SET default_transaction_read_only TO on")

    shared = {"application_name": f"{name} reads", "autocommit": True, "row_factory": dict_row, "context": ADAPTERS}
    return ConnectionPool(
        kwargs={**parameters, **shared},
        min_size=1,
        max_size=size,
        num_workers=1,
        timeout=patience_seconds,
        configure=configure,
        check=ConnectionPool.check_connection,
        name="groundtruth-readers",
        open=True,
    )
