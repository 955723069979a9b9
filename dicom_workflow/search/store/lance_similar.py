"""Similar images in a Lance table: plan, search, leave out what may not be a hit, and search exactly where hits are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from dicom_workflow.search.query import ImageHit, ImageHits, ImageQuery, Where
from dicom_workflow.search.store.lance_filters import one_of, to_expression
from dicom_workflow.search.store.lance_schema import IMAGE_COLUMNS, image_of, vector_column
from dicom_workflow.search.store.lance_tables import LanceTables
from dicom_workflow.search.store.planner import EXACT, Plan, partitions_for, plan_search
from dicom_workflow.search.store.query_vectors import QueryVector

_SPARE = 20
"""Hits fetched beyond k, for those of the query's own patient; a patient with more is left out by a filter."""


def find_similar(
    tables: LanceTables, table: Any, query: ImageQuery, wanted: QueryVector, count: Callable[[Where], int]
) -> ImageHits:
    """Return the most similar images.

    Parameters
    ----------
    tables, table
        Where the images are.
    query : ImageQuery
        Its `k` and `where` are used.
    wanted : QueryVector
        Direction, space and what is left out.
    count : callable
        Filter → how many images match it.
    """
    column = vector_column(wanted.space.space_id)
    where = to_expression(query.where) if query.where is not None else ""
    plan = plan_search(
        tables.read(table.count_rows),
        index_partitions(tables, table, column),
        count(query.where) if query.where is not None else None,
    )
    limit = query.k + len(wanted.image_ids) + (_SPARE if wanted.patient_keys else 0)
    rows = nearest_rows(tables, table, wanted, plan, where=where, limit=limit)
    hits = _allowed(rows, wanted)
    if len(hits) < query.k and not (plan.exact and len(rows) < limit):
        # Fewer than asked for, and not because there are no more: own patient's images, or the index lost some.
        plan = EXACT
        left = [where] if where else []
        left += [f"NOT {one_of('patient_key', wanted.patient_keys)}"] if wanted.patient_keys else []
        limit = query.k + len(wanted.image_ids)
        rows = nearest_rows(tables, table, wanted, plan, where=" AND ".join(left), limit=limit)
        hits = _allowed(rows, wanted)
    return ImageHits(tuple(hits[: query.k]), wanted.space.space_id, plan.exact)


def nearest_rows(
    tables: LanceTables, table: Any, wanted: QueryVector, plan: Plan, *, where: str, limit: int, columns: Any = IMAGE_COLUMNS
) -> list[dict[str, Any]]:
    """Return the rows nearest to a direction, with their cosine distance in ``_distance``.

    Parameters
    ----------
    tables, table
        Where the images are.
    wanted : QueryVector
        Direction and space.
    plan : Plan
        How to search.
    where : str
        Expression of `to_expression`, or empty.
    limit : int
        Most rows.
    columns : sequence of str
        What is needed of a row.
    """

    def search() -> pa.Table:
        found = table.search(wanted.vector, vector_column_name=vector_column(wanted.space.space_id)).distance_type("cosine")
        found = found.select([*columns, "_distance"]).limit(limit)
        found = found.where(where, prefilter=True) if where else found
        found = found.bypass_vector_index() if plan.exact else found.nprobes(plan.probes).refine_factor(plan.refine)
        return found.to_arrow()

    return tables.read(search).to_pylist()


def index_partitions(tables: LanceTables, table: Any, column: str) -> int:
    """Return the number of partitions of a vector index; 0 where there is none.

    Parameters
    ----------
    tables, table
        Where the images are.
    column : str
        That of an embedding space.
    """
    for index in tables.read(table.list_indices):
        if index.columns == [column]:
            return partitions_for(index.num_indexed_rows or 0)
    return 0


def _allowed(rows: list[dict[str, Any]], wanted: QueryVector) -> list[ImageHit]:
    hits = (ImageHit(image_of(row), 1.0 - float(row["_distance"])) for row in rows)
    return [
        hit for hit in hits if hit.image.image_id not in wanted.image_ids and hit.image.patient_key not in wanted.patient_keys
    ]
