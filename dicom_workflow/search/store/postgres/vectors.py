"""Embeddings in PostgreSQL: a table for each space, and the choice between an exact and an approximate search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg import sql

from dicom_workflow.search.store.postgres import schema
from dicom_workflow.search.store.postgres.spaces import StoredSpace
from dicom_workflow.search.store.postgres.statements import TRUE, Condition, Statement

CANDIDATES = 200
"""Of a search over an index of codes, whose vectors are then compared. Of the ten nearest of 100,000 x 1,024, 100 hold .970 and
200 hold .998."""
MOST_CANDIDATES = 1_000
"""That pgvector's hnsw.ef_search takes."""
EF_SEARCH = 200
"""Candidates of a search over an index of vectors. With 100, recall@10 was .982 at 100,000 x 1,024."""
EXACT_ROWS = 3_000
"""Up to so many images that a filter leaves are all compared; above, the HNSW index is read until enough of them are found."""
COUNTED_ROWS = 6_000
"""A filter is counted no further: it leaves so many, or more."""
SURE_ROWS = 12_000
"""A filter that leaves so many by the server's statistics is not counted, which would cost as much as the search."""
SCAN_FACTOR = 3
"""How many times the entries of the index that a filter needs on average are read. What is not found by then lies elsewhere, as
under a filter that follows the clusters of other images, and everything that the filter leaves is compared."""
LEAST_SCANNED = 2_000
_APPROXIMATE = sql.SQL(
    "SET LOCAL hnsw.ef_search = {}; SET LOCAL hnsw.iterative_scan = relaxed_order; SET LOCAL hnsw.max_scan_tuples = {}; "
    "SET LOCAL hnsw.scan_mem_multiplier = 4; SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off; "
    "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
    "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off"
)


def write_vectors(
    connection: psycopg.Connection[Any], stored: StoredSpace, image_ids: Sequence[str], vectors: NDArray[np.float32]
) -> int:
    """Set the vectors of images that are in the store, and return how many there were.

    Parameters
    ----------
    connection : psycopg Connection
        In a transaction or with autocommit.
    stored : StoredSpace
        Of the vectors.
    image_ids : sequence of str
        Each once.
    vectors : ndarray, shape (len(image_ids), dimensions), float32
        Of unit length.
    """
    statement = sql.SQL(
        "WITH given AS MATERIALIZED (SELECT i.number, g.vector FROM unnest(%s::text[], %b::halfvec[]) AS g (image_id, vector) "
        "JOIN search_images i USING (image_id) ORDER BY i.number), written AS (INSERT INTO {table} SELECT * FROM given "
        "ON CONFLICT (number) DO UPDATE SET vector = excluded.vector WHERE {table}.vector <> excluded.vector) "
        "SELECT count(*) FROM given"
    ).format(table=schema.vectors_table(stored.number))
    row = connection.execute(statement, (list(image_ids), [HalfVector(vector) for vector in vectors])).fetchone()
    return int(row[0]) if row else 0


def read_vectors(connection: psycopg.Connection[Any], stored: StoredSpace, image_ids: Sequence[str]) -> NDArray[np.float32]:
    """Return the vectors of images.

    Parameters
    ----------
    connection : psycopg Connection
        Any.
    stored : StoredSpace
        Of the vectors.
    image_ids : sequence of str
        In any order; may repeat.

    Returns
    -------
    ndarray, shape (len(image_ids), dimensions), float32
        Rows of NaN where an image has none.
    """
    statement = sql.SQL("SELECT image_id, vector FROM search_images JOIN {} USING (number) WHERE image_id = ANY(%s)").format(
        schema.vectors_table(stored.number)
    )
    rows = connection.execute(statement, (list(image_ids),), binary=True).fetchall()
    known = {image_id: vector.to_numpy().astype(np.float32) for image_id, vector in rows}
    missing = np.full(stored.space.dimensions, np.nan, np.float32)
    found = [known.get(image_id, missing) for image_id in image_ids]
    return np.stack(found) if found else np.zeros((0, stored.space.dimensions), np.float32)


@dataclass(frozen=True)
class Near:
    """Numbers of images with their cosine distances to the query, best first."""

    rows: tuple[tuple[int, float], ...]
    exact: bool


def nearest(
    connection: psycopg.Connection[Any],
    stored: StoredSpace,
    vector: NDArray[np.float32],
    k: int,
    wanted: Condition,
    left_out: Condition,
) -> Near:
    """Return the nearest images, exactly where few are left by the filter, else over the index.

    Parameters
    ----------
    connection : psycopg Connection
        Not in a transaction.
    stored : StoredSpace
        To search in.
    vector : ndarray, shape (dimensions,), float32
        The query.
    k : int
        How many images.
    wanted : Condition
        The filter, on search_images.
    left_out : Condition
        That an image is not one of a few that are no hits.
    """
    query = HalfVector(vector)
    left = _left(connection, stored, wanted) if stored.indexed else 0
    if left > EXACT_ROWS:
        # The order of the index is almost that of the distances: more than wanted, sorted by these, give the first ones.
        candidates = 2 * k if stored.center is None else min(max(CANDIDATES, 5 * k), MOST_CANDIDATES)
        scanned = max(LEAST_SCANNED, round(SCAN_FACTOR * candidates * stored.rows / left))
        with connection.transaction():
            connection.execute(_APPROXIMATE.format(sql.Literal(max(EF_SEARCH, candidates)), sql.Literal(scanned)))
            rows = connection.execute(*_over_index(stored, query, k, candidates, wanted & left_out)).fetchall()
        if rows and rows[0][2] == candidates:
            return Near(tuple((int(number), float(distance)) for number, distance, _ in rows), exact=False)
    return Near(compared(connection, stored, vector, k, wanted & left_out), exact=True)


def compared(
    connection: psycopg.Connection[Any], stored: StoredSpace, vector: NDArray[np.float32], k: int, condition: Condition
) -> tuple[tuple[int, float], ...]:
    """Return the nearest images after comparing every one that fulfils a condition: numbers and cosine distances.

    Parameters
    ----------
    connection : psycopg Connection
        Any.
    stored : StoredSpace
        To search in.
    vector : ndarray, shape (dimensions,), float32
        The query.
    k : int
        How many images.
    condition : Condition
        On search_images.
    """
    query = HalfVector(vector)
    statement = sql.SQL(
        "WITH near AS MATERIALIZED (SELECT number, vector <=> %b AS distance FROM search_images JOIN {} USING (number) "
        "WHERE {}) SELECT number, distance FROM near ORDER BY distance, number LIMIT {}"
    ).format(schema.vectors_table(stored.number), condition.text, sql.Literal(k))
    rows = connection.execute(statement, (query, *condition.values))
    return tuple((int(number), float(distance)) for number, distance in rows)


def _left(connection: psycopg.Connection[Any], stored: StoredSpace, wanted: Condition) -> int:
    """Return how many images a filter leaves, estimated where they are many, and else counted up to a limit."""
    if wanted.text is TRUE:
        return max(stored.rows, COUNTED_ROWS)
    plan = sql.SQL("EXPLAIN (FORMAT JSON) SELECT FROM search_images WHERE {}").format(wanted.text)
    row = connection.execute(plan, wanted.values).fetchone()
    if row and (estimated := int(row[0][0]["Plan"]["Plan Rows"])) >= SURE_ROWS:
        return estimated
    counted = sql.SQL("SELECT count(*) FROM (SELECT FROM search_images WHERE {} LIMIT {}) counted").format(
        wanted.text, sql.Literal(COUNTED_ROWS)
    )
    row = connection.execute(counted, wanted.values).fetchone()
    return int(row[0]) if row else 0


def _over_index(
    stored: StoredSpace, query: HalfVector, k: int, candidates: int, condition: Condition
) -> tuple[Statement, tuple[Any, ...]]:
    """Return the statement for the nearest of the candidates that the index gives first; each row has their number too."""
    order, values = _order(stored, query)
    statement = sql.SQL(
        "WITH near AS MATERIALIZED (SELECT number, vector FROM {table} {images} WHERE {condition} ORDER BY {order} "
        "LIMIT {candidates}) SELECT number, vector <=> %b AS distance, (SELECT count(*) FROM near) "
        "FROM near ORDER BY distance, number LIMIT {k}"
    ).format(
        images=sql.SQL("" if condition.text is TRUE else "JOIN search_images USING (number)"),
        table=schema.vectors_table(stored.number), condition=condition.text, order=order, candidates=sql.Literal(candidates),
        k=sql.Literal(k),
    )  # fmt: skip
    return statement, (*condition.values, *values, query)


def _order(stored: StoredSpace, query: HalfVector) -> tuple[Statement, tuple[HalfVector, ...]]:
    """Return the distance by which the index of a space orders its vectors, with the parameters."""
    if stored.center is None:
        return sql.SQL("vector <=> %b"), (query,)
    given = sql.SQL("%b::halfvec")
    codes = [schema.code(vector, given, stored.space.dimensions) for vector in (sql.SQL("vector"), given)]
    return sql.SQL(" <~> ").join(codes), (stored.center, query, stored.center)
