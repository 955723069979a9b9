"""Queries as data: filters, what they may name, and the answers of a store.

A filter is a small tree of typed nodes. No store ever receives a text that it would parse: each builds its own expression,
or parameters of a statement, from these nodes, so a value cannot change what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import ImageDocument, ReportDocument

MAX_K = 200
"""Most similar images of one query."""
MAX_FIRST = 200
"""Most reports on one page."""
MAX_DEPTH = 8
MAX_VALUES = 1000
MAX_INTEGER = 2**31 - 1
"""Every store can compare numbers up to this one with its own, in size; Rows and Columns of DICOM end at 65,535."""

FieldType = Literal["keyword", "keywords", "date", "integer"]

IMAGE_FILTERS: Mapping[str, FieldType] = {
    **dict.fromkeys(("image_id", "study_instance_uid", "report_id", "patient_key", "modality", "view_position"), "keyword"),
    **dict.fromkeys(("body_part", "laterality", "sex", "split"), "keyword"),
    **dict.fromkeys(("labels_positive", "labels_negative", "labels_uncertain", "codes_positive"), "keywords"),
    "study_date": "date",
    "rows": "integer",
    "columns": "integer",
}
REPORT_FILTERS: Mapping[str, FieldType] = {
    **dict.fromkeys(("report_id", "patient_key", "study_instance_uid"), "keyword"),
    "study_date": "date",
    **{
        f"{state}_{what}": "keywords"
        for state in ("positive", "negative", "uncertain")
        for what in ("signs", "diagnoses", "symptoms", "codes", "labels")
    },
}
"""Each may be filtered by; those of type ``keyword`` and ``keywords`` are facets too. ``codes`` are those of ICD-10-CM."""


@dataclass(frozen=True)
class AnyOf:
    """The field holds one of the values; of a field with several values, at least one."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """``low <= field <= high``; None is no limit. Dates are ``YYYYMMDD``."""

    field: str
    low: str | int | None = None
    high: str | int | None = None


@dataclass(frozen=True)
class And:
    """All of them."""

    parts: tuple[Where, ...]


@dataclass(frozen=True)
class Or:
    """At least one of them."""

    parts: tuple[Where, ...]


@dataclass(frozen=True)
class Not:
    """What does not match, which includes what has no value in that field."""

    part: Where


Where = AnyOf | Range | And | Or | Not


def parse_where(value: object, filters: Mapping[str, FieldType], *, depth: int = 0) -> Where | None:
    """Return the filter of a JSON value; None and an empty object are no filter.

    ``{"view_position": ["PA", "AP"], "study_date": {"from": "20200101"}, "not": {…}, "or": [{…}, {…}]}``: the keys of one
    object all have to match.

    Parameters
    ----------
    value : object
        As it came from a request, a notebook or the command line.
    filters : mapping
        `IMAGE_FILTERS` or `REPORT_FILTERS`.
    depth : int
        Of the surrounding objects.

    Raises
    ------
    RecordError
        Another form, an unknown field, a value of another type, or more than the limits.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RecordError(f"expected a filter as a JSON object, field → values, got {shown(value)}.")
    if depth > MAX_DEPTH:
        raise RecordError(f"A filter may be nested {MAX_DEPTH} deep. Write it flatter.")
    parts: list[Where] = []
    for name, given in value.items():
        if name == "not":
            inner = parse_where(given, filters, depth=depth + 1)
            parts += [Not(inner)] if inner else []
        elif name in ("and", "or"):
            if not isinstance(given, Sequence) or isinstance(given, str):
                raise RecordError(f"expected a list of filters under {name!r}, got {shown(given)}.")
            inner_parts = tuple(part for item in given if (part := parse_where(item, filters, depth=depth + 1)))
            if inner_parts:
                parts.append((And if name == "and" else Or)(inner_parts))
        else:
            parts.append(_field(name, given, filters))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _field(name: object, given: object, filters: Mapping[str, FieldType]) -> Where:
    if not isinstance(name, str) or name not in filters:
        raise RecordError(f"There is no field {shown(name)} to filter by. The fields are {', '.join(sorted(filters))}.")
    kind = filters[name]
    if isinstance(given, Mapping):
        wanted = int if kind == "integer" else str
        limits = [given.get("from"), given.get("to")]
        typed = all(type(at) in (wanted, type(None)) for at in limits)
        if kind not in ("date", "integer") or set(given) - {"from", "to"} or not typed:
            raise RecordError(f"expected {name!r} as {_EXPECTED[kind]}, got {shown(given)}.")
        if kind == "date" and any(at is not None and not (at.isascii() and at.isdigit() and len(at) == 8) for at in limits):
            raise RecordError(f"expected dates of {name!r} as YYYYMMDD, got {shown(given)}.")
        return Range(name, *(_bounded(name, at) for at in limits))
    if kind == "integer" and type(given) is int:
        return Range(name, _bounded(name, given), given)
    values = [given] if isinstance(given, str) else given
    usable = isinstance(values, Sequence) and all(isinstance(item, str) for item in values) and kind != "integer"
    if not usable or not 1 <= len(values) <= MAX_VALUES:  # type: ignore[arg-type]
        raise RecordError(f"expected {name!r} as {_EXPECTED[kind]}, got {shown(given)}.")
    return AnyOf(name, tuple(values))  # type: ignore[arg-type]


def _bounded(name: str, at: str | int | None) -> str | int | None:
    if isinstance(at, int) and abs(at) > MAX_INTEGER:
        raise RecordError(f"expected {name!r} from {-MAX_INTEGER} to {MAX_INTEGER}, got {shown(at)}. Leave out the limit.")
    return at


_EXPECTED: Mapping[FieldType, str] = {
    "keyword": f"a text or a list of 1 to {MAX_VALUES} texts",
    "keywords": f"a text or a list of 1 to {MAX_VALUES} texts",
    "date": 'a date YYYYMMDD, a list of dates, or {"from": …, "to": …}',
    "integer": 'a whole number or {"from": …, "to": …}',
}


@dataclass(frozen=True)
class ReportQuery:
    """Which reports: all parts that are given have to match. Without any, all reports, the newest study first."""

    text: str = ""
    """Words that all have to be in the report, in any order and inflection, ranked by BM25 or what comes nearest in the store;
    ``"in quotes"`` is a phrase. There are no stop words: "no" is a word. A text of punctuation alone matches nothing."""
    where: Where | None = None
    report_ids: tuple[str, ...] | None = None
    like: str = ""
    """A report id: reports with the same words, this one left out."""


@dataclass(frozen=True)
class ImageQuery:
    """Which images are similar to one image of the index, or to a vector.

    `vector` has shape (dimensions,), dtype float32. With `like` and `unlike`, image ids, the query moves to these and
    away from those (Rocchio's relevance feedback).
    """

    image_id: str = ""
    vector: NDArray[np.float32] | None = None
    space_id: str = ""
    """Empty: the space that serves."""
    k: int = 30
    where: Where | None = None
    exclude_patient: bool = True
    """Leave out the images of the same patient, as a clinician who looks for other cases wants it."""
    exclude_patient_key: str = ""
    """The patient of an image that is not in the index."""
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageHit:
    """An image and its cosine similarity to the query, in [-1, 1]."""

    image: ImageDocument
    score: float


@dataclass(frozen=True)
class ImageHits:
    """The hits, best first; `exact` where every image that the filter leaves was compared."""

    hits: tuple[ImageHit, ...]
    space_id: str
    exact: bool


@dataclass(frozen=True)
class ReportHit:
    """A report and its score in this query; scores of two stores or two queries are not comparable."""

    report: ReportDocument
    score: float


@dataclass(frozen=True)
class ReportPage:
    """One page of reports. `cursor` continues after it, empty at the end; `total` counts all that match, exactly."""

    hits: tuple[ReportHit, ...]
    total: int
    cursor: str = ""


@dataclass(frozen=True)
class Bucket:
    """A value of a facet and the number of matching documents that have it."""

    value: str
    count: int


@dataclass(frozen=True)
class Facet:
    """The most frequent values of one field over all that match; `exact` unless the store had to estimate."""

    field: str
    buckets: tuple[Bucket, ...]
    exact: bool = True
