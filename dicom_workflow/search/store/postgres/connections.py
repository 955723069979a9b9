"""Connections to the PostgreSQL of a search store: verified TLS, timeouts, and errors that say what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import psycopg
from pgvector.psycopg.halfvec import register_halfvec_info
from psycopg import errors
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.types import TypeInfo
from psycopg.types.string import StrDumper, StrDumperUnknown
from psycopg_pool import ConnectionPool, PoolTimeout

from dicom_workflow.errors import RecordError, SearchStoreError, SettingsError
from dicom_workflow.http_server import is_loopback

CONNECTIONS = 8
"""Most connections of one process."""
WAIT_SECONDS = 5.0
"""How long a request waits for a free connection."""
STATEMENT_SECONDS = 60
_OPTIONS = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
    "plan_cache_mode": "force_custom_plan",  # the best plan depends on how much a filter leaves
    "random_page_cost": "1.1",  # of disks without a head; with the default, a few thousand rows are found by reading all
}
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Return a text that PostgreSQL can hold: U+FFFD for NUL and for half a surrogate pair. Its length stays."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class _Unknown(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return super().dump(storable(obj))


class _Text(StrDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(storable(obj))


ADAPTERS = AdaptersMap(psycopg.adapters)
ADAPTERS.register_dumper(str, _Text)
ADAPTERS.register_dumper(str, _Unknown)
# Prepared statements would not survive a proxy between (RDS Proxy, PgBouncer).
_SHARED = {"autocommit": True, "context": ADAPTERS, "prepare_threshold": None, "application_name": "dicom-workflow search"}


def parameters_of(url: str) -> dict[str, Any]:
    """Return libpq's parameters of a URL. Beyond this machine the server's certificate and name are always verified.

    Raises
    ------
    SettingsError
        The URL cannot be read, or it turns the verification off.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:  # its message repeats the URL, and with it the password
        raise SettingsError(
            "The URL of the search store cannot be read. Expected postgresql://USER@HOST:5432/DATABASE; special characters of "
            "a password are written as %XX, or the password is given in PGPASSWORD or ~/.pgpass."
        ) from None
    options = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
    parameters: dict[str, Any] = {"connect_timeout": 10, **given, "options": f"{options} {given.get('options') or ''}".strip()}
    parameters |= {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
    host = str(given.get("host") or "")
    if not host or host.startswith("/") or is_loopback(host):
        return parameters
    if given.get("sslmode", "verify-full") != "verify-full":
        raise SettingsError(
            f"{shown_url(given)}: sslmode={given['sslmode']} does not verify the server. Leave it out, and name the "
            "certificate authority with sslrootcert=FILE where it is not the system's."
        )
    return {"sslrootcert": "system", **parameters, "sslmode": "verify-full"}


def shown_url(parameters: dict[str, Any]) -> str:
    """Return the URL without the password and without parameters."""
    user = f"{parameters['user']}@" if parameters.get("user") else ""
    host = str(parameters.get("host") or "")
    port = f":{parameters['port']}" if parameters.get("port") else ""
    place = f"{host}{port}" if not host.startswith("/") else f"{host.replace('/', '%2F')}{port}"
    return f"postgresql://{user}{place}/{parameters.get('dbname') or ''}"


def connect(parameters: dict[str, Any]) -> psycopg.Connection[Any]:
    """Return one connection, beside those of a pool."""
    return psycopg.connect(**{**_SHARED, **parameters})


def pool(parameters: dict[str, Any], halfvec: TypeInfo) -> ConnectionPool[psycopg.Connection[Any]]:
    """Return an open pool, whose connections are made on demand and know pgvector's type."""
    return ConnectionPool(
        kwargs={**_SHARED, **parameters},
        configure=lambda connection: register_halfvec_info(connection, halfvec),
        min_size=0,
        max_size=CONNECTIONS,
        num_workers=1,
        timeout=WAIT_SECONDS,
        reconnect_timeout=WAIT_SECONDS,
        check=ConnectionPool.check_connection,
        name="search",
        open=True,
    )


def first_line(error: BaseException) -> str:
    """Return the first line of a message of the server, which holds no values of a statement."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn the errors of PostgreSQL into those of a store.

    Raises
    ------
    SearchStoreError
        The server does not answer, refuses to write, or is full.
    RecordError
        It refuses a value.
    """
    try:
        yield
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
        raise SearchStoreError(
            f"{url}: this user, or this server, may only read ({first_line(error)}). "
            "Index with a user who owns the tables, and over the address of the primary server."
        ) from error
    except (errors.DiskFull, errors.OutOfMemory, errors.ConfigurationLimitExceeded) as error:
        raise SearchStoreError(
            f"{url}: the server is full ({first_line(error)}). Free space there, then run it again."
        ) from error
    except errors.QueryCanceled as error:
        raise SearchStoreError(
            f"{url}: the server took longer than {STATEMENT_SECONDS} s. Run dicom-workflow search maintain --store {url}"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, errors.UndefinedTable) as error:
        raise SearchStoreError(
            f"{url}: the search store does not answer ({first_line(error)}). Check that the server runs, then try again; "
            "what was acknowledged before is kept."
        ) from error
    except (psycopg.DataError, errors.ProgramLimitExceeded) as error:
        # Who searches reads this: the server's message may repeat a value, and the address of the store names its host.
        raise RecordError(
            f"PostgreSQL refuses a value ({type(error).__name__}). Correct it; nothing of this batch was written."
        ) from None
