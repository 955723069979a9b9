"""Maintenance of the search store in PostgreSQL: indexes, statistics, and recall and duplicates on the live data."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from dicom_workflow.search.store.postgres import schema
from dicom_workflow.search.store.postgres.spaces import StoredSpace, stored_spaces
from dicom_workflow.search.store.postgres.statements import TRUE, Condition
from dicom_workflow.search.store.postgres.vectors import compared, nearest
from dicom_workflow.search.store.protocol import Maintenance

INDEX_FROM = 5_000
"""Images of a space below which every query compares all of them."""
M, EF_CONSTRUCTION = 16, 64
_CENTER_OF = 20_000
"""Vectors whose mean is the center of a space."""
RECALL_AT = 10
SAMPLES, COMPARED = 100, 4_000_000
"""Queries of a recall sample, and most vectors that all of its exact searches together read."""
_MEGABYTE = 2**20
_TABLES = ("search_images", "search_reports", "search_deleted_reports", "search_store", "search_spaces")


def maintain(connection: psycopg.Connection[Any]) -> Maintenance:
    """Index, compact and measure; other processes may read and write meanwhile.

    Parameters
    ----------
    connection : psycopg Connection
        With autocommit, of the owner of the tables, used for nothing else: its settings are changed.
    """
    connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
    spaces = stored_spaces(connection)
    before = _bytes(connection, spaces)
    for table in (*map(sql.Identifier, _TABLES), *(schema.vectors_table(stored.number) for stored in spaces)):
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(table))
    # After a dump and restore, rows tell of transactions that this server has not had yet: they would seem new at each search.
    restored = "UPDATE {} SET written = pg_current_xact_id() WHERE written >= pg_snapshot_xmax(pg_current_snapshot())"
    for name in ("search_reports", "search_deleted_reports"):
        connection.execute(sql.SQL(restored).format(sql.Identifier(name)))
    for stored in spaces:
        if not stored.indexed:
            _index(connection, stored)
    spaces = stored_spaces(connection)
    images, distinct_images = _counts(connection, "search_images", "image_id")
    reports, distinct_reports = _counts(connection, "search_reports", "report_id")
    return Maintenance(
        images=images,
        reports=reports,
        embeddings={stored.space.space_id: _count(connection, schema.vectors_table(stored.number)) for stored in spaces},
        duplicate_images=images - distinct_images,
        duplicate_reports=reports - distinct_reports,
        recall=_recall(connection, spaces[0]) if spaces else {},
        bytes_before=before,
        bytes_after=_bytes(connection, spaces),
    )


def _count(connection: psycopg.Connection[Any], table: sql.Identifier) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def _counts(connection: psycopg.Connection[Any], table: str, key: str) -> tuple[int, int]:
    """Return the rows and the distinct keys, read from the table and not from its unique index."""
    statement = sql.SQL("SELECT count(*), count(DISTINCT {}) FROM {}").format(sql.Identifier(key), sql.Identifier(table))
    with connection.transaction():
        connection.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off")
        row = connection.execute(statement).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _bytes(connection: psycopg.Connection[Any], spaces: list[StoredSpace]) -> int:
    names = [*_TABLES, *(f"search_vectors_{stored.number:d}" for stored in spaces)]
    row = connection.execute(
        "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) name", (names,)
    ).fetchone()
    return int(row[0] or 0) if row else 0


def _index(connection: psycopg.Connection[Any], stored: StoredSpace) -> None:
    """Build the HNSW index of a space that has enough vectors, without keeping writers waiting."""
    table, index = schema.vectors_table(stored.number), schema.vectors_index(stored.number)
    rows = _count(connection, table)
    if rows < INDEX_FROM:
        return
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))  # half built when a process was killed
    coded = stored.space.dimensions >= schema.CODED_FROM
    # Of each vector its code, or two bytes a dimension, and about 500 bytes of links; what does not fit is built many times
    # slower. The server says what it may take: effective_cache_size is the part of its machine's memory that it counts on.
    needed = int(rows * (stored.space.dimensions * (1 / 8 if coded else 2) + 500) * 1.2 / _MEGABYTE) + 64
    row = connection.execute("SELECT pg_size_bytes(current_setting('effective_cache_size'))").fetchone()
    memory = min(needed, max(64, (int(row[0]) if row else 0) // _MEGABYTE * 3 // 4))
    build = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING hnsw ({}) WITH (m = {}, ef_construction = {})")
    what = _code(connection, stored) if coded else sql.SQL("vector halfvec_cosine_ops")
    statement = build.format(index, table, what, sql.Literal(M), sql.Literal(EF_CONSTRUCTION))
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory}MB")))
    workers = max(1, (os.cpu_count() or 1) - 1)
    connection.execute(sql.SQL("SET max_parallel_maintenance_workers = {}").format(sql.Literal(workers)))
    try:
        connection.execute(statement)
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
        # Workers share the graph in /dev/shm, which containers keep small; one process alone needs none of it.
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(index))
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute(statement)


def _code(connection: psycopg.Connection[Any], stored: StoredSpace) -> sql.Composed:
    """Choose the center of a space, and return what its index holds."""
    connection.execute(
        sql.SQL(
            "UPDATE search_spaces SET center = (SELECT avg(vector) FROM (SELECT vector FROM {} ORDER BY hashint8(number) "
            "LIMIT {}) sample) WHERE number = {}"
        ).format(schema.vectors_table(stored.number), sql.Literal(_CENTER_OF), sql.Literal(stored.number))
    )
    row = connection.execute("SELECT center::text FROM search_spaces WHERE number = %s", (stored.number,)).fetchone()
    center = sql.SQL("{}::halfvec").format(sql.Literal(row[0] if row else ""))
    return sql.SQL("{} bit_hamming_ops").format(schema.code(sql.SQL("vector"), center, stored.space.dimensions))


def _recall(connection: psycopg.Connection[Any], stored: StoredSpace) -> dict[str, float]:
    """Return recall@10 for sampled images as queries, without a filter and with filters of three kinds."""
    rows = _count(connection, schema.vectors_table(stored.number))
    if not rows:
        return {}
    samples = min(SAMPLES, rows, max(5, COMPARED // rows))
    queries = _sample(connection, stored, samples + 1)
    center, queries = queries[0], queries[1:] or queries
    members = [
        number for number, _ in compared(connection, stored, center[1], max(1, min(rows // 80, 50_000)), Condition(TRUE))
    ]
    part = sql.SQL("hashint8(number) & 1048575 < {}")
    filters = {
        "none": Condition(TRUE),
        "30 %": Condition(part.format(sql.Literal(int(0.3 * 2**20)))),
        "1 %": Condition(part.format(sql.Literal(int(0.01 * 2**20)))),
        "one cluster": Condition(sql.SQL("number = ANY(%s)"), (members,)),
    }
    recall = {}
    for name, wanted in filters.items():
        found = expected = 0
        for number, vector in queries:
            left_out = Condition(sql.SQL("number <> %s"), (number,))
            exact = {number for number, _ in compared(connection, stored, vector, RECALL_AT, wanted & left_out)}
            near = nearest(connection, stored, vector, RECALL_AT, wanted, left_out)
            found, expected = found + len(exact & {number for number, _ in near.rows}), expected + len(exact)
        recall[name] = found / expected if expected else 1.0
    return recall


def _sample(connection: psycopg.Connection[Any], stored: StoredSpace, size: int) -> list[tuple[int, NDArray[np.float32]]]:
    statement = sql.SQL("SELECT number, vector FROM {} ORDER BY hashint8(number) LIMIT {}").format(
        schema.vectors_table(stored.number), sql.Literal(size)
    )
    rows = connection.execute(statement, binary=True).fetchall()
    return [(int(number), vector.to_numpy().astype(np.float32)) for number, vector in rows]
