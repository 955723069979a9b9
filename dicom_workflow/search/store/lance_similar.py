"""Similar images in a Lance table: plan, search, leave out what may not be a hit, and search exactly where hits are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dicom_workflow.search.query import ImageHit, ImageHits, ImageQuery, Where
from dicom_workflow.search.store.lance_filters import one_of, to_expression
from dicom_workflow.search.store.lance_schema import image_of, vector_column
from dicom_workflow.search.store.lance_vectors import VectorTable
from dicom_workflow.search.store.planner import EXACT, plan_search
from dicom_workflow.search.store.query_vectors import QueryVector

_SPARE = 20
"""Hits fetched beyond k, for those of the query's own patient; a patient with more is left out by a filter."""


def find_similar(images: VectorTable, query: ImageQuery, wanted: QueryVector, count: Callable[[Where], int]) -> ImageHits:
    """Return the most similar images.

    Parameters
    ----------
    images : VectorTable
        Where they are.
    query : ImageQuery
        Its `k` and `where` are used.
    wanted : QueryVector
        Direction, space and what is left out.
    count : callable
        Filter → how many images match it.
    """
    rows_in_all, partitions = images.size(vector_column(wanted.space.space_id))
    where = to_expression(query.where) if query.where is not None else ""
    plan = plan_search(rows_in_all, partitions, count(query.where) if query.where is not None else None)
    limit = query.k + len(wanted.image_ids) + (_SPARE if wanted.patient_keys else 0)
    rows = images.nearest_rows(wanted, plan, where=where, limit=limit)
    hits = _allowed(rows, wanted)
    if len(hits) < query.k and not (plan.exact and len(rows) < limit):
        # Fewer than asked for, and not because there are no more: own patient's images, or the index lost some.
        plan = EXACT
        left = [where] if where else []
        left += [f"NOT {one_of('patient_key', wanted.patient_keys)}"] if wanted.patient_keys else []
        limit = query.k + len(wanted.image_ids)
        rows = images.nearest_rows(wanted, plan, where=" AND ".join(left), limit=limit)
        hits = _allowed(rows, wanted)
    return ImageHits(tuple(hits[: query.k]), wanted.space.space_id, plan.exact)


def _allowed(rows: list[dict[str, Any]], wanted: QueryVector) -> list[ImageHit]:
    hits = (ImageHit(image_of(row), 1.0 - float(row["_distance"])) for row in rows)
    return [
        hit for hit in hits if hit.image.image_id not in wanted.image_ids and hit.image.patient_key not in wanted.patient_keys
    ]
