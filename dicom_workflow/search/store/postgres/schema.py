"""Tables of the search store in PostgreSQL, with pgvector: how they are made, and the check that they are ours.

Every column that a filter may name has an index, so that counting what a filter leaves costs little, and with it the choice
between an exact and an approximate search. Reports are found over an index beside the server (`report_index`): their rows say
which transaction wrote them.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from dicom_workflow.errors import SearchStoreError
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.query import IMAGE_FILTERS
from dicom_workflow.search.store.postgres.statements import Statement
from dicom_workflow.search.store.protocol import STORE_VERSION
from dicom_workflow.search.store.records import IMAGE_LISTS

MAX_DIMENSIONS = 16_000
"""Of a halfvec (pgvector 0.8)."""
_INLINE_DIMENSIONS = 3_900
"""A longer vector does not fit into a page of 8 kB beside its header."""
CODED_FROM = 768
"""Dimensions from which the index holds one bit a dimension; below, so few bits would not tell neighbors apart."""
OLDEST_PGVECTOR = (0, 8)
"""The first version that goes on reading an HNSW index until a filter is satisfied."""
_CREATING = 0x5EA7C4
"""Key of the advisory lock under which one process at a time creates tables."""

IMAGE_COLUMNS = tuple(ImageDocument.__dataclass_fields__)
_INTEGERS = ("rows", "columns")
_OTHER = """
CREATE TABLE search_store (version integer NOT NULL);
CREATE TABLE search_reports (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, report_id text COLLATE "C" NOT NULL UNIQUE,
  written xid8 NOT NULL, document json NOT NULL);
CREATE INDEX ON search_reports (written);
CREATE TABLE search_deleted_reports (number bigint NOT NULL, written xid8 NOT NULL);
CREATE INDEX ON search_deleted_reports (written);
CREATE TABLE search_spaces (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, space_id text COLLATE "C" NOT NULL UNIQUE,
  dimensions integer NOT NULL, description text NOT NULL, serves boolean NOT NULL, center halfvec);
CREATE UNIQUE INDEX search_spaces_serves ON search_spaces (serves) WHERE serves;
"""


def vectors_table(number: int) -> sql.Identifier:
    """Return the name of the table with the vectors of the space of that number."""
    return sql.Identifier(f"search_vectors_{number:d}")


def vectors_index(number: int) -> sql.Identifier:
    """Return the name of its HNSW index."""
    return sql.Identifier(f"search_vectors_{number:d}_hnsw")


def code(vector: Statement, center: Statement, dimensions: int) -> Statement:
    """Return the expression of a vector's code: a bit a dimension, set where the vector is above the center of its space.

    Parameters
    ----------
    vector, center : Composable
        Expressions of type halfvec.
    dimensions : int
        Of both.
    """
    return sql.SQL("(binary_quantize({} - {})::bit({}))").format(vector, center, sql.Literal(dimensions))


def _column(name: str) -> Statement:
    if name in IMAGE_LISTS:
        return sql.SQL("{} text[] COLLATE \"C\" NOT NULL DEFAULT '{{}}'").format(sql.Identifier(name))
    if name in _INTEGERS:
        return sql.SQL("{} integer NOT NULL DEFAULT 0").format(sql.Identifier(name))
    return sql.SQL("{} text COLLATE \"C\" NOT NULL DEFAULT ''").format(sql.Identifier(name))


def _images() -> Statement:
    """Return the statements that make the table of images, with an index on each column that filters name."""
    columns = sql.SQL(", ").join(map(_column, IMAGE_COLUMNS))
    number = "CREATE TABLE search_images (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {}, UNIQUE (image_id))"
    statements = [sql.SQL(number).format(columns)]
    for name in IMAGE_COLUMNS:
        if name in IMAGE_FILTERS and name not in ("image_id", *_INTEGERS):
            method = sql.SQL("gin" if name in IMAGE_LISTS else "btree")
            statements.append(sql.SQL("CREATE INDEX ON search_images USING {} ({})").format(method, sql.Identifier(name)))
    return sql.SQL("; ").join(statements)


def create(connection: psycopg.Connection[Any]) -> None:
    """Make all tables, unless another process has made them meanwhile.

    Parameters
    ----------
    connection : psycopg Connection
        Of a user who may create tables in the current schema.

    Raises
    ------
    SearchStoreError
        The server has no pgvector.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATING,))
        if version_of(connection) is not None:
            return
        _need_pgvector(connection)
        connection.execute(_images())
        connection.execute(_OTHER)
        connection.execute("INSERT INTO search_store (version) VALUES (%s)", (STORE_VERSION,))


def _need_pgvector(connection: psycopg.Connection[Any]) -> None:
    try:
        with connection.transaction():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
        raise SearchStoreError(
            "The database has no pgvector, and this user may not install it. "
            "Let an administrator run CREATE EXTENSION vector in this database (pgvector 0.8 or later)."
        ) from error
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    version = str(row[0]) if row else ""
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PGVECTOR:
        raise SearchStoreError(
            f"The database has pgvector {version}; 0.8 or later is needed, because an earlier one loses hits under a filter. "
            "Let an administrator run ALTER EXTENSION vector UPDATE."
        )


def version_of(connection: psycopg.Connection[Any]) -> int | None:
    """Return the version of the layout in the database, or None where there is no search store."""
    # From the table of tables, not by to_regclass: that would repeat an answer from before another process made them.
    known = "SELECT FROM pg_class WHERE relname = 'search_store' AND pg_table_is_visible(oid)"
    if connection.execute(known).fetchone() is None:
        return None
    row = connection.execute("SELECT version FROM search_store").fetchone()
    return int(row[0]) if row else None


def check_version(connection: psycopg.Connection[Any], url: str) -> None:
    """Refuse a database that this package cannot use.

    Parameters
    ----------
    connection : psycopg Connection
        Of any user who may read.
    url : str
        For messages; without a password.

    Raises
    ------
    SearchStoreError
        There is no search store, or it is of another version.
    """
    version = version_of(connection)
    if version is None:
        raise SearchStoreError(
            f"There is no search store in {url}. Create it: dicom-workflow search index SOURCE --store {url}"
        )
    if version > STORE_VERSION:
        raise SearchStoreError(
            f"The search store in {url} is of version {version}; this package knows versions up to {STORE_VERSION}. "
            "Upgrade the package: pip install --upgrade 'dicom-workflow[search]'"
        )
    if version < STORE_VERSION:
        raise SearchStoreError(
            f"The search store in {url} is of version {version}; this package needs version {STORE_VERSION}. Index again into "
            "an empty database: createdb NEW, then dicom-workflow search index SOURCE --store postgresql://HOST/NEW"
        )


def create_vectors(connection: psycopg.Connection[Any], number: int, dimensions: int) -> None:
    """Make the table for the vectors of a space.

    Parameters
    ----------
    connection : psycopg Connection
        In a transaction.
    number : int
        Of the space.
    dimensions : int
        Of its vectors.
    """
    table = vectors_table(number)
    connection.execute(
        sql.SQL(
            "CREATE TABLE {} (number bigint PRIMARY KEY REFERENCES search_images ON DELETE CASCADE, "
            "vector halfvec({}) NOT NULL)"
        ).format(table, sql.Literal(dimensions))
    )
    # Inline where it fits: a vector that is stored apart costs a look-up for each comparison, and no less space (three vectors
    # of 1,024 dimensions a page of 8 kB either way).
    storage = sql.SQL("PLAIN" if dimensions <= _INLINE_DIMENSIONS else "EXTERNAL")
    connection.execute(sql.SQL("ALTER TABLE {} ALTER vector SET STORAGE {}").format(table, storage))
