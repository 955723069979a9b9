"""Similar images in OpenSearch: the choice between an exact and an approximate search, and cosines of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opensearchpy import OpenSearch

from dicom_workflow.search.documents import EmbeddingSpace
from dicom_workflow.search.store.opensearch.queries import (
    Body,
    nearest_body,
    vector_field,
)

EXACT_ROWS = 10_000
"""Up to so many images that a filter leaves are all compared; above, the HNSW index is searched with the filter inside."""
_HIDDEN = {"excludes": ["embedded_*", "sample"]}


@dataclass(frozen=True)
class StoredSpace:
    """A space with the number of its fields."""

    number: int
    space: EmbeddingSpace


@dataclass(frozen=True)
class Near:
    """Stored images with their cosine similarity to the query, best first."""

    hits: tuple[tuple[Body, float], ...]
    exact: bool


def count(client: OpenSearch, index: str, query: Body) -> int:
    """Return how many documents match.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    index : str
        Of the documents.
    query : dict
        Which ones.
    """
    return int(client.count(index=index, body={"query": query})["count"])


def nearest(
    client: OpenSearch,
    index: str,
    stored: StoredSpace,
    vector: NDArray[np.float32],
    k: int,
    condition: Body,
    *,
    exact: bool = False,
) -> Near:
    """Return the nearest images, exactly where few fulfil the condition, else over the index.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    index : str
        Of the images.
    stored : StoredSpace
        To search in.
    vector : ndarray, shape (dimensions,), float32
        The query.
    k : int
        How many images.
    condition : dict
        `queries.image_condition`.
    exact : bool
        Compare everything, however much it is.
    """
    numbers = vector.astype(np.float64).tolist()
    if not exact and count(client, index, condition) > EXACT_ROWS:
        near = _search(client, index, stored, vector, nearest_body(stored.number, numbers, k, condition, exact=False))
        if len(near) == k:
            return Near(near, exact=False)
    return Near(
        _search(client, index, stored, vector, nearest_body(stored.number, numbers, k, condition, exact=True)), exact=True
    )


def _search(
    client: OpenSearch, index: str, stored: StoredSpace, vector: NDArray[np.float32], body: Body
) -> tuple[tuple[Body, float], ...]:
    """Return the hits with their cosines. What a score means differs between versions and engines, so it is not used."""
    answer = client.search(index=index, body={**body, "_source": _HIDDEN, "track_total_hits": False})
    sources: list[Any] = [hit["_source"] for hit in answer["hits"]["hits"]]
    if not sources:
        return ()
    vectors = np.array([source.pop(vector_field(stored.number)) for source in sources], np.float64)
    scores = vectors @ vector.astype(np.float64) / np.linalg.norm(vectors, axis=1)
    order = sorted(range(len(sources)), key=lambda at: (-scores[at], sources[at]["image_id"]))
    return tuple((sources[at], float(scores[at])) for at in order)
