"""The recall that users of a Lance store get, measured on its own images, without a filter and under several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.search.documents import EmbeddingSpace
from dicom_workflow.search.store.lance_schema import STAMP_BITS, vector_column, vectors_of
from dicom_workflow.search.store.lance_similar import VectorTable
from dicom_workflow.search.store.lance_tables import LanceTables
from dicom_workflow.search.store.planner import EXACT, plan_search
from dicom_workflow.search.store.query_vectors import QueryVector

_QUERIES, _K = 30, 10
_SHARES = {"30 %": 0.3, "1 %": 0.01, "0.1 %": 0.001}
_CLUSTER_SHARE, _CLUSTER_ROWS = 0.0125, 5_000


def sample_recall(tables: LanceTables, table: Any, images: VectorTable, space: EmbeddingSpace) -> dict[str, float]:
    """Return filter → recall@10 of images of the store, against a scan of all embeddings.

    A plain sample can show .99 where a filter that follows the clusters finds .03; so one of the filters does.

    Parameters
    ----------
    tables, table, images
        Where the images are, by row and by embedding.
    space : EmbeddingSpace
        It has at least one embedding.
    """
    column = vector_column(space.space_id)
    query = table.search().select(["stamp"]).where(f"{column} IS NOT NULL").limit(None)
    # Stamps are random, so the least ones are a sample, and "less than a share of all numbers" is a filter of that share.
    stamps = np.sort(tables.read(query.to_arrow)["stamp"].to_numpy())
    query = table.search().select(["stamp", column]).where(_one_of(stamps[:_QUERIES])).limit(None)
    sample = tables.read(query.to_arrow)
    vectors, own = vectors_of(sample[column], space.dimensions), sample["stamp"].to_pylist()
    size = min(_CLUSTER_ROWS, max(_K + 1, int(len(stamps) * _CLUSTER_SHARE)))
    near = images.nearest_rows(_toward(space, vectors[0]), EXACT, where="", limit=size, columns=["stamp"])
    cluster = np.sort(np.asarray([row["stamp"] for row in near], np.int64))
    limits = {name: int(share * (1 << STAMP_BITS)) for name, share in _SHARES.items()}
    allowed = {"none": stamps} | {name: stamps[stamps < limit] for name, limit in limits.items()} | {"one cluster": cluster}
    wheres = {"none": ""} | {name: f"stamp < {limit}" for name, limit in limits.items()} | {"one cluster": _one_of(cluster)}
    exact = _scan(_batches(tables, table, space), vectors, own, allowed)
    rows, partitions = images.size(column)
    recall = {}
    for name, where in wheres.items():
        plan = plan_search(rows, partitions, len(allowed[name]) if where else None)
        found = 0
        for at, vector in enumerate(vectors):
            got = images.nearest_rows(_toward(space, vector), plan, where=where, limit=_K + 1, columns=["stamp"])
            found += len({row["stamp"] for row in got} & set(exact[name][at]))
        total = sum(map(len, exact[name]))
        recall[name] = round(found / total, 4) if total else 1.0
    return recall


def _toward(space: EmbeddingSpace, vector: NDArray[np.float32]) -> QueryVector:
    return QueryVector(space, vector, (), ())


def _one_of(stamps: NDArray[np.int64]) -> str:
    return f"stamp IN ({', '.join(map(str, stamps.tolist()))})"


def _batches(tables: LanceTables, table: Any, space: EmbeddingSpace) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    column = vector_column(space.space_id)
    query = table.search().select(["stamp", column]).where(f"{column} IS NOT NULL").limit(None)
    for batch in tables.read(query.to_batches):
        values = batch[column].flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        yield batch["stamp"].to_numpy(), values.reshape(-1, space.dimensions)


def _scan(
    batches: Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]],
    queries: NDArray[np.float32],
    own: Sequence[int],
    allowed: Mapping[str, NDArray[np.int64]],
) -> dict[str, list[list[int]]]:
    """Return filter → for each query the stamps of the ten nearest images, itself left out; one pass over all embeddings."""
    best: dict[str, list[list[tuple[float, int]]]] = {name: [[] for _ in queries] for name in allowed}
    for stamps, vectors in batches:
        scores = queries @ vectors.T / np.linalg.norm(vectors, axis=1)
        for name, left in allowed.items():
            inside = np.flatnonzero(np.isin(stamps, left, assume_unique=True))
            for at in range(len(queries)):
                near = scores[at, inside]
                top = np.argpartition(-near, _K)[: _K + 1] if len(near) > _K else range(len(near))
                found = [(float(near[i]), int(stamps[inside[i]])) for i in top]
                best[name][at] = sorted(best[name][at] + [item for item in found if item[1] != own[at]], reverse=True)[:_K]
    return {name: [[stamp for _, stamp in near] for near in lists] for name, lists in best.items()}
