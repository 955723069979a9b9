"""Similar images in a Lance table: plan, search, leave out what may not be a hit, and search exactly where hits are missing.

LanceDB's blocking interface hands a vector search between threads six times, which costs a third of its processor time. So the
search is one coroutine, run by an event loop of the thread that asks.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dicom_workflow.search.query import ImageHit, ImageHits, ImageQuery, Where
from dicom_workflow.search.store.lance_filters import one_of, to_expression
from dicom_workflow.search.store.lance_schema import IMAGE_COLUMNS, image_of, vector_column
from dicom_workflow.search.store.lance_tables import LanceTables
from dicom_workflow.search.store.planner import EXACT, Plan, partitions_for, plan_search
from dicom_workflow.search.store.query_vectors import QueryVector

Answer = TypeVar("Answer")

_SPARE = 20
"""Hits fetched beyond k, for those of the query's own patient; a patient with more is left out by a filter."""
_idle: list[asyncio.AbstractEventLoop] = []
"""Event loops that no thread uses now; as many as threads have asked at once."""


def wait_for(act: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Return what a coroutine returns; also where an event loop runs in this thread already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            loop = _idle.pop()
        except IndexError:
            loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(act())
        finally:
            _idle.append(loop)
    with ThreadPoolExecutor(1) as another:
        return another.submit(lambda: wait_for(act)).result()


@atexit.register
def _close_loops() -> None:
    while _idle:
        _idle.pop().close()


class VectorTable:
    """The images of a store as rows to search by their embeddings.

    Parameters
    ----------
    tables : LanceTables
        Where they are.
    name : str
        Of the table.
    """

    def __init__(self, tables: LanceTables, name: str) -> None:
        self._tables = tables
        self._table = tables.read(lambda: wait_for(lambda: tables.open_asynchronous(name)))
        self._known: tuple[int, int, dict[str, int]] = (-1, 0, {})

    def size(self, column: str) -> tuple[int, int]:
        """Return how many rows there are, and how many partitions the vector index of a column has; 0 where there is none."""
        _, rows, partitions = self._tables.read(lambda: wait_for(self._facts))
        return rows, partitions.get(column, 0)

    async def _facts(self) -> tuple[int, int, dict[str, int]]:
        version = await self._table.version()
        if version != self._known[0]:
            indexes = await self._table.list_indices()
            vectors = {index.columns[0]: partitions_for(index.num_indexed_rows or 0) for index in indexes if _of_vectors(index)}
            self._known = version, await self._table.count_rows(), vectors
        return self._known

    def nearest_rows(
        self, wanted: QueryVector, plan: Plan, *, where: str, limit: int, columns: Sequence[str] = IMAGE_COLUMNS
    ) -> list[dict[str, Any]]:
        """Return the rows nearest to a direction, with their cosine distance in ``_distance``.

        Parameters
        ----------
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

        async def search() -> Any:
            query = self._table.query().nearest_to(wanted.vector).column(vector_column(wanted.space.space_id))
            query = query.distance_type("cosine").select([*columns, "_distance"]).limit(limit)
            query = query.where(where) if where else query  # before the search, not of its hits
            if plan.exact:
                query = query.bypass_vector_index()
            else:
                query = query.nprobes(plan.probes).refine_factor(plan.refine_of(limit))
            return await query.to_arrow()

        rows: list[dict[str, Any]] = self._tables.read(lambda: wait_for(search)).to_pylist()
        return rows


def _of_vectors(index: Any) -> bool:
    return str(index.index_type).lower().startswith("ivf")


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
