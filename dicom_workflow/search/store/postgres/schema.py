"""Tables of the search store in PostgreSQL, with pgvector: how they are made, and the check that they are ours.

Every column that a filter may name has an index, so that counting what a filter leaves costs little, and with it the choice
between an exact and an approximate search. The words of a report are stored as stems, cut by this package and not by the
server: none is left out, because "no" and "without" decide what a report says.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from dicom_workflow.errors import SearchStoreError
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.query import IMAGE_FILTERS, REPORT_FILTERS
from dicom_workflow.search.store.postgres.statements import Statement
from dicom_workflow.search.store.protocol import STORE_VERSION
from dicom_workflow.search.store.records import IMAGE_LISTS

MAX_DIMENSIONS = 16_000
"""Of a halfvec (pgvector 0.8)."""
MAX_INDEXED_DIMENSIONS = 4_000
"""Of a halfvec in an HNSW index (pgvector 0.8)."""
_INLINE_DIMENSIONS = 3_900
"""A longer vector does not fit into a page of 8 kB beside its header."""
OLDEST_PGVECTOR = (0, 8)
"""The first version that goes on reading an HNSW index until a filter is satisfied."""
_CREATING = 0x5EA7C4
"""Key of the advisory lock under which one process at a time creates tables."""

IMAGE_COLUMNS = tuple(ImageDocument.__dataclass_fields__)
REPORT_COLUMNS = tuple(REPORT_FILTERS)
_INTEGERS = ("rows", "columns")
_OTHER = """
CREATE TABLE search_store (version integer NOT NULL, reports bigint, average_words float8);
CREATE TABLE search_terms (lexeme text COLLATE "C" PRIMARY KEY, documents bigint NOT NULL);
CREATE TABLE search_spaces (
  number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, space_id text COLLATE "C" NOT NULL UNIQUE,
  dimensions integer NOT NULL, description text NOT NULL, serves boolean NOT NULL);
CREATE UNIQUE INDEX search_spaces_serves ON search_spaces (serves) WHERE serves;
CREATE INDEX search_reports_words ON search_reports USING gin (words);
CREATE INDEX search_reports_newest ON search_reports (study_date DESC, report_id);
ALTER TABLE search_reports SET (toast_tuple_target = 512);
"""


def vectors_table(number: int) -> sql.Identifier:
    """Return the name of the table with the vectors of the space of that number."""
    return sql.Identifier(f"search_vectors_{number:d}")


def vectors_index(number: int) -> sql.Identifier:
    """Return the name of its HNSW index."""
    return sql.Identifier(f"search_vectors_{number:d}_hnsw")


def _column(name: str, lists: tuple[str, ...]) -> Statement:
    if name in lists:
        # Beside the row, and the document apart from it: facets and ranks read many rows and no document.
        return sql.SQL("{} text[] STORAGE MAIN COLLATE \"C\" NOT NULL DEFAULT '{{}}'").format(sql.Identifier(name))
    if name in _INTEGERS:
        return sql.SQL("{} integer NOT NULL DEFAULT 0").format(sql.Identifier(name))
    return sql.SQL("{} text COLLATE \"C\" NOT NULL DEFAULT ''").format(sql.Identifier(name))


def _table(table: str, key: str, columns: tuple[str, ...], lists: tuple[str, ...], more: str) -> Statement:
    """Return the statements that make a table of documents with an index on each of its columns that filters name."""
    filters = IMAGE_FILTERS if key == "image_id" else REPORT_FILTERS
    statements = [
        sql.SQL("CREATE TABLE {} (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {}, {} UNIQUE ({}))").format(
            sql.Identifier(table),
            sql.SQL(", ").join(_column(name, lists) for name in columns),
            sql.SQL(more),
            sql.Identifier(key),
        )
    ]
    for name in columns:
        if name in filters and name not in (key, *_INTEGERS):
            method = sql.SQL("gin" if name in lists else "btree")
            statements.append(
                sql.SQL("CREATE INDEX ON {} USING {} ({})").format(sql.Identifier(table), method, sql.Identifier(name))
            )
    return sql.SQL("; ").join(statements)


def report_list_columns() -> tuple[str, ...]:
    """Return the columns of a report that hold several values."""
    return tuple(name for name, kind in REPORT_FILTERS.items() if kind == "keywords")


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
        connection.execute(_table("search_images", "image_id", IMAGE_COLUMNS, IMAGE_LISTS, ""))
        more = "document json NOT NULL, words tsvector STORAGE MAIN NOT NULL, word_count integer NOT NULL, "
        connection.execute(_table("search_reports", "report_id", REPORT_COLUMNS, report_list_columns(), more))
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
    # Inline where it fits: a vector that is stored apart costs a look-up for each comparison.
    storage = sql.SQL("PLAIN" if dimensions <= _INLINE_DIMENSIONS else "EXTERNAL")
    connection.execute(sql.SQL("ALTER TABLE {} ALTER vector SET STORAGE {}").format(table, storage))
