"""What every store writes and reads alike: columns of documents, cursors, and the checks of a query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import KINDS, STATES, EmbeddingSpace, Finding, ImageDocument, ReportDocument
from dicom_workflow.search.query import MAX_FIRST, MAX_K, And, AnyOf, FieldType, ImageQuery, Not, Or, Range, Where

IMAGE_LISTS = ("labels_positive", "labels_negative", "labels_uncertain", "codes_positive")
"""The fields of an image that hold several values."""
_PLURAL = {"sign": "signs", "diagnosis": "diagnoses", "symptom": "symptoms"}
MAX_FACET_SIZE = 1000
QUERY_WEIGHT, LIKE_WEIGHT, UNLIKE_WEIGHT = 1.0, 0.75, 0.25
"""Of Rocchio's relevance feedback (Salton and Buckley 1990: 1, 0.75, 0.25)."""

Item = TypeVar("Item")


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Return the items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def report_lists(report: ReportDocument) -> dict[str, list[str]]:
    """Return the columns that filters and facets use: ``positive_signs``, ``negative_codes`` and so on."""
    labels = report.label_states()
    columns: dict[str, list[str]] = {}
    for state in STATES:
        columns |= {f"{state}_{_PLURAL[kind]}": report.concepts(state, kind) for kind in KINDS}
        columns[f"{state}_codes"] = report.codes(state)
        columns[f"{state}_labels"] = [label for label, stated in labels.items() if stated == state]
    return columns


def report_json(report: ReportDocument) -> dict[str, Any]:
    """Return what `report_from` reads back: JSON values only."""
    values = {item.name: getattr(report, item.name) for item in fields(report)}
    return {**values, "sections": dict(report.sections), "findings": [asdict(found) for found in report.findings]}


def report_from(value: Mapping[str, Any]) -> ReportDocument:
    """Return the report of `report_json`; keys that are no field of it are ignored."""
    known = {item.name: value[item.name] for item in fields(ReportDocument) if item.name in value}
    findings = tuple(Finding(**found) for found in known.pop("findings", ()))
    return ReportDocument(**known, findings=findings)


def image_from(value: Mapping[str, Any]) -> ImageDocument:
    """Return the image of a row or a JSON object; keys that are no field of it are ignored, None is the field's default."""
    names = [item.name for item in fields(ImageDocument) if value.get(item.name) is not None]
    known: dict[str, Any] = {name: tuple(value[name]) if name in IMAGE_LISTS else value[name] for name in names}
    return ImageDocument(**known)


def encoded_cursor(values: Sequence[object]) -> str:
    """Return an opaque text of JSON values."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def decoded_cursor(cursor: str, types: Sequence[type | tuple[type, ...]]) -> list[Any]:
    """Return the values of `encoded_cursor`.

    Raises
    ------
    RecordError
        The text is no cursor, or its values are not of these types.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != len(types) or not all(map(isinstance, values, types)):
        raise RecordError(f"expected the cursor of an earlier page, got {shown(cursor)}. Start again without a cursor.")
    return values


def check_first(first: int) -> int:
    """Return the length of a page.

    Raises
    ------
    RecordError
        It is not from 1 to `MAX_FIRST`.
    """
    return _between("first", first, MAX_FIRST)


def _between(name: str, value: object, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise RecordError(f"expected {name} from 1 to {most}, got {shown(value)}.")
    return value


def check_facets(names: Sequence[str], filters: Mapping[str, FieldType], size: int) -> list[str]:
    """Return the fields of facets without repetition.

    Parameters
    ----------
    names : sequence of str
        What was asked for.
    filters : mapping
        `IMAGE_FILTERS` or `REPORT_FILTERS`.
    size : int
        Most buckets of a facet.

    Raises
    ------
    RecordError
        A field that is unknown or no keyword, or a size beyond the limit.
    """
    _between("size", size, MAX_FACET_SIZE)
    usable = [name for name, kind in filters.items() if kind in ("keyword", "keywords")]
    for name in names:
        if name not in usable:
            raise RecordError(f"There is no facet {shown(name)}. The facets are {', '.join(sorted(usable))}.")
    return list(dict.fromkeys(names))


def check_where(where: object, filters: Mapping[str, FieldType]) -> Where | None:
    """Return a filter whose nodes all name fields of these filters.

    Raises
    ------
    RecordError
        It is no filter, or it names another field.
    """
    if where is None:
        return None
    if isinstance(where, AnyOf | Range):
        if where.field not in filters:
            raise RecordError(
                f"There is no field {shown(where.field)} to filter by. The fields are {', '.join(sorted(filters))}."
            )
        return where
    if isinstance(where, Not):
        check_where(where.part, filters)
        return where
    if not isinstance(where, And | Or):
        raise RecordError(f"expected a filter, got {shown(where)}. parse_where() makes one of JSON.")
    for part in where.parts:
        check_where(part, filters)
    return where


def check_space(space: EmbeddingSpace, known: Iterable[EmbeddingSpace], *, most_dimensions: int) -> bool:
    """Say whether a space is new.

    Parameters
    ----------
    space : EmbeddingSpace
        To add.
    known : iterable of EmbeddingSpace
        Those of the store.
    most_dimensions : int
        The longest vector that the store takes.

    Raises
    ------
    RecordError
        It is known with another length, or its vectors are longer than the store takes.
    """
    if not space.space_id or not 1 <= space.dimensions <= most_dimensions:
        raise RecordError(
            f"expected an embedding space with a name and 1 to {most_dimensions} dimensions, "
            f"got {shown(space.space_id)} with {space.dimensions}."
        )
    for other in known:
        if other.space_id == space.space_id:
            if other.dimensions != space.dimensions:
                raise RecordError(
                    f"The embedding space {shown(space.space_id)} has {other.dimensions} dimensions, not {space.dimensions}. "
                    "Give the new vectors a space of their own."
                )
            return False
    return True


def find_space(space_id: str, spaces: Sequence[EmbeddingSpace]) -> EmbeddingSpace:
    """Return the space of that id; of an empty id, the first, which serves.

    Raises
    ------
    RecordError
        There is none.
    """
    for space in spaces:
        if space_id in ("", space.space_id):
            return space
    if not spaces:
        raise RecordError("The store has no embedding space yet. Index images with a model: dicom-workflow search index.")
    raise RecordError(
        f"There is no embedding space {shown(space_id)} in this store. It has {', '.join(space.space_id for space in spaces)}."
    )


def query_vector(
    query: ImageQuery, space: EmbeddingSpace, vectors: Callable[[Sequence[str]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the vector of a query for similar images, moved to `like` and away from `unlike` (Rocchio).

    Parameters
    ----------
    query : ImageQuery
        With an image, a vector, or images that it should be like.
    space : EmbeddingSpace
        Of the vectors.
    vectors : function
        Image ids → their embeddings, shape (n, dimensions), float32; rows of NaN where there is none.

    Returns
    -------
    ndarray, shape (dimensions,), float32
        Of unit length.

    Raises
    ------
    RecordError
        k is beyond its limits, there is nothing to search with, an image has no embedding, or the vector has another shape or
        no direction.
    """
    _between("k", query.k, MAX_K)
    ids = [*([query.image_id] if query.image_id else []), *query.like, *query.unlike]
    found = dict(zip(ids, vectors(ids).astype(np.float64), strict=True)) if ids else {}
    for image_id, vector in found.items():
        if not np.isfinite(vector).all():
            raise RecordError(
                f"The image {shown(image_id)} has no embedding in the space {space.space_id}. "
                "Index it first, or search with another."
            )
    total = np.zeros(space.dimensions)
    if query.image_id:
        total += QUERY_WEIGHT * found[query.image_id]
    elif query.vector is not None:
        total += QUERY_WEIGHT * _unit(query.vector, space)
    elif not query.like:
        raise RecordError("expected an image, a vector, or images to be like. Give one of image_id, vector, like.")
    for names, weight in ((query.like, LIKE_WEIGHT), (query.unlike, -UNLIKE_WEIGHT)):
        if names:
            total += weight * np.mean([found[name] for name in names], axis=0)
    return _unit(total, space).astype(np.float32)


def _unit(vector: NDArray[Any], space: EmbeddingSpace) -> NDArray[np.float64]:
    given = np.asarray(vector, np.float64)
    if given.shape != (space.dimensions,):
        raise RecordError(
            f"expected a vector of {space.dimensions} numbers for the embedding space {space.space_id}, "
            f"got an array of shape {given.shape}. Compute it with the model of this space."
        )
    length = float(np.linalg.norm(given))
    if not (np.isfinite(length) and length > 0):
        raise RecordError(
            "The query vector is zero or not finite, so it has no direction to compare. Search with another image."
        )
    return given / length
