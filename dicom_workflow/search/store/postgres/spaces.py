"""Embedding spaces in PostgreSQL: a table of vectors for each, and which of them serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from pgvector import HalfVector
from psycopg import sql

from dicom_workflow.search.documents import EmbeddingSpace
from dicom_workflow.search.store.postgres import schema
from dicom_workflow.search.store.query_vectors import known_space
from dicom_workflow.search.store.records import check_droppable, check_space

_LOCK = "LOCK TABLE search_spaces IN SHARE ROW EXCLUSIVE MODE"
"""One process at a time changes the list; others go on reading it."""


@dataclass(frozen=True)
class StoredSpace:
    """A space with the number of its table; `indexed` once its HNSW index can be used.

    `rows` is the number of its vectors as the server estimated it last; 0 when it never did. `center` is the mean of the
    vectors that its index is coded against; None where the index holds the vectors themselves, or there is none.
    """

    number: int
    space: EmbeddingSpace
    indexed: bool
    rows: int
    center: HalfVector | None


def stored_spaces(connection: psycopg.Connection[Any]) -> list[StoredSpace]:
    """Return all spaces, the one that serves first."""
    rows = connection.execute(
        "SELECT number, space_id, dimensions, description, EXISTS (SELECT FROM pg_index WHERE indisvalid AND "
        "indexrelid = to_regclass(format('search_vectors_%s_hnsw', number))), "
        "(SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(format('search_vectors_%s', number)))"
        ", center FROM search_spaces ORDER BY NOT serves, number",
        binary=True,
    ).fetchall()
    return [StoredSpace(row[0], EmbeddingSpace(row[1], row[2], row[3]), row[4], row[5] or 0, row[6]) for row in rows]


def all_spaces(connection: psycopg.Connection[Any]) -> list[EmbeddingSpace]:
    """Return all spaces without the state of their indexes, the one that serves first."""
    rows = connection.execute("SELECT space_id, dimensions, description FROM search_spaces ORDER BY NOT serves, number")
    return [EmbeddingSpace(*row) for row in rows]


def stored_space(connection: psycopg.Connection[Any], space_id: str) -> StoredSpace:
    """Return the space of that id; of an empty one, the space that serves.

    Raises
    ------
    RecordError
        There is none.
    """
    spaces = stored_spaces(connection)
    found = known_space([item.space for item in spaces], space_id)
    return next(item for item in spaces if item.space == found)


def add(connection: psycopg.Connection[Any], space: EmbeddingSpace) -> None:
    """Make a table for the vectors of a space, in a transaction; a known space changes nothing.

    Raises
    ------
    RecordError
        The space is known with another length, or has more dimensions than pgvector stores.
    """
    connection.execute(_LOCK)
    known = [stored.space for stored in stored_spaces(connection)]
    if not check_space(space, known, most_dimensions=schema.MAX_DIMENSIONS):
        return
    row = connection.execute(
        "INSERT INTO search_spaces (space_id, dimensions, description, serves) VALUES (%s, %s, %s, %s) RETURNING number",
        (space.space_id, space.dimensions, space.description, not known),
    ).fetchone()
    schema.create_vectors(connection, row[0] if row else 0, space.dimensions)


def serve(connection: psycopg.Connection[Any], space_id: str) -> None:
    """Let queries that name no space use this one, in a transaction.

    Raises
    ------
    RecordError
        There is no such space.
    """
    connection.execute(_LOCK)
    number = stored_space(connection, space_id).number
    connection.execute("UPDATE search_spaces SET serves = false WHERE serves")
    connection.execute("UPDATE search_spaces SET serves = true WHERE number = %s", (number,))


def drop(connection: psycopg.Connection[Any], space_id: str) -> None:
    """Delete the embeddings of a space, in a transaction.

    Raises
    ------
    RecordError
        There is no such space, or it serves.
    """
    connection.execute(_LOCK)
    stored = stored_space(connection, space_id)
    check_droppable(stored.space, stored_space(connection, "").space)
    connection.execute(sql.SQL("DROP TABLE {}").format(schema.vectors_table(stored.number)))
    connection.execute("DELETE FROM search_spaces WHERE number = %s", (stored.number,))
