"""What every store writes and reads alike: columns of documents, cursors, and the checks of a query."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import KINDS, STATES, Embeddings, EmbeddingSpace, Finding, ImageDocument, ReportDocument
from dicom_workflow.search.query import And, AnyOf, FieldType, Not, Or, Range, Where

IMAGE_LISTS = ("labels_positive", "labels_negative", "labels_uncertain", "codes_positive")
"""The fields of an image that hold several values."""
_PLURAL = {"sign": "signs", "diagnosis": "diagnoses", "symptom": "symptoms"}

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


def checked_embeddings(embeddings: Embeddings, space: EmbeddingSpace) -> None:
    """Refuse embeddings that are not of this space's length, or have no direction.

    Raises
    ------
    RecordError
        The message names the image.
    """
    if embeddings.vectors.shape != (len(embeddings.image_ids), space.dimensions):
        raise RecordError(
            f"expected {len(embeddings.image_ids)} vectors of {space.dimensions} numbers for the embedding space "
            f"{space.space_id}, got an array of shape {embeddings.vectors.shape}. Compute them with the model of this space."
        )
    length = np.linalg.norm(embeddings.vectors.astype(np.float64), axis=1)
    for at in np.flatnonzero(~(np.isfinite(length) & (length > 0)))[:1]:
        raise RecordError(
            f"image {shown(embeddings.image_ids[at])}: its embedding is zero or not finite, so it has no direction to compare. "
            "Compute it again, or leave the image out."
        )


def check_droppable(space: EmbeddingSpace, serving: EmbeddingSpace) -> None:
    """Refuse to drop the space that serves.

    Raises
    ------
    RecordError
        They are the same.
    """
    if space.space_id == serving.space_id:
        raise RecordError(f"The embedding space {shown(space.space_id)} serves queries. Let another serve first, then drop it.")
