"""What all stores check and compute alike before they search: limits, the query's direction, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import EmbeddingSpace
from dicom_workflow.search.query import MAX_FIRST, MAX_K, FieldType, ImageQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_workflow.search.store.protocol import SearchStore

LIKE_WEIGHT, UNLIKE_WEIGHT = 0.75, 0.25
"""Weights of the means of the liked and the unliked images; the query has 1 (Rocchio, as in Manning et al. 2008, 9.1.1)."""


@dataclass(frozen=True)
class QueryVector:
    """`vector`: shape (dimensions,), float32, unit length. `image_ids` and `patient_keys` may not be among the hits."""

    space: EmbeddingSpace
    vector: NDArray[np.float32]
    image_ids: tuple[str, ...]
    patient_keys: tuple[str, ...]


def query_vector(store: SearchStore, query: ImageQuery) -> QueryVector:
    """Return the direction that a query searches in, and what it leaves out.

    Raises
    ------
    RecordError
        `k` is not from 1 to `MAX_K`; the space or an image is unknown; an image has no embedding in the space; the vector has
        another length, or no direction; or the query names neither an image nor a vector.
    """
    if not 1 <= query.k <= MAX_K:
        raise RecordError(f"expected k from 1 to {MAX_K} similar images, got {query.k}.")
    space = known_space(store.spaces(), query.space_id)
    ids = [*([query.image_id] if query.image_id else []), *query.like, *query.unlike]
    if not ids and query.vector is None:
        raise RecordError("A search for similar images needs an image id, a vector, or images to be like.")
    found = _vectors(store, ids, space)
    total = np.zeros(space.dimensions, np.float64)
    if query.vector is not None:
        total += _unit(query.vector, space)
    elif query.image_id:
        total += found[0]
    rest = found[1:] if query.image_id else found
    if query.like:
        total += LIKE_WEIGHT * rest[: len(query.like)].mean(0)
    if query.unlike:
        total -= UNLIKE_WEIGHT * rest[len(query.like) :].mean(0)
    keys = {query.exclude_patient_key} if query.exclude_patient_key else set()
    if query.image_id and query.exclude_patient:
        document = store.images([query.image_id])[0]
        keys |= {document.patient_key} if document and document.patient_key else set()
    return QueryVector(space, _unit(total, space).astype(np.float32), tuple(dict.fromkeys(ids)), tuple(sorted(keys)))


def known_space(spaces: Sequence[EmbeddingSpace], space_id: str) -> EmbeddingSpace:
    """Return the space of this id; the one that serves when the id is empty.

    Raises
    ------
    RecordError
        There is no such space in the store.
    """
    if not spaces:
        raise RecordError(
            "The store has no embedding space yet. Index images first: dicom-workflow search index SOURCE --store URL."
        )
    if not space_id:
        return spaces[0]
    for space in spaces:
        if space.space_id == space_id:
            return space
    known = ", ".join(space.space_id for space in spaces)
    raise RecordError(
        f"The store has no embeddings of the space {shown(space_id)}; it has {known}. Embeddings of two networks cannot be "
        "compared: search with the network of one of these, or index the images with this one (dicom-workflow search index)."
    )


def checked_first(first: int) -> int:
    """Return the size of a page.

    Raises
    ------
    RecordError
        It is not from 1 to `MAX_FIRST`.
    """
    if not 1 <= first <= MAX_FIRST:
        raise RecordError(f"expected a page of 1 to {MAX_FIRST} reports, got {first}.")
    return first


def checked_facets(fields: Sequence[str], filters: Mapping[str, FieldType]) -> list[str]:
    """Return the fields, without repetition.

    Raises
    ------
    RecordError
        One of them is no facet: unknown, a date or a number.
    """
    facets = sorted(name for name, kind in filters.items() if kind in ("keyword", "keywords"))
    for name in fields:
        if name not in facets:
            raise RecordError(f"There is no facet {shown(name)}. The facets are {', '.join(facets)}.")
    return list(dict.fromkeys(fields))


def _vectors(store: SearchStore, ids: Sequence[str], space: EmbeddingSpace) -> NDArray[np.float64]:
    if not ids:
        return np.zeros((0, space.dimensions))
    vectors = store.vectors(ids, space.space_id).astype(np.float64)
    for image_id, vector in zip(ids, vectors, strict=True):
        if np.isnan(vector).any():
            raise RecordError(
                f"The image {shown(image_id)} is not in the store, or has no embedding in the space {space.space_id}. "
                "Index it first: dicom-workflow search index SOURCE --store URL."
            )
    return vectors


def _unit(vector: NDArray[np.floating], space: EmbeddingSpace) -> NDArray[np.float64]:
    given = np.asarray(vector, np.float64)
    if given.shape != (space.dimensions,):
        raise RecordError(
            f"expected a vector of {space.dimensions} numbers, as the embedding space {space.space_id} has, "
            f"got an array of shape {given.shape}. Compute it with the network of this space."
        )
    length = float(np.linalg.norm(given))
    if not (np.isfinite(length) and length > 0):
        raise RecordError(
            f"The query's vector is {'zero' if length == 0 else 'not finite'}, so it has no direction to compare."
        )
    return given / length
