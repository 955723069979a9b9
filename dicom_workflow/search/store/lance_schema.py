"""The columns of the Lance tables, and documents as their rows.

Each row has a random `stamp` of 63 bits that is new with every write. Whoever derives something from a table compares stamps
to learn which rows are new or gone, whatever process wrote them and in whatever order.

A document stands whole, as JSON, in one column: a hit costs one read instead of one for each field. The other columns are what
filters, facets and words need.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dicom_workflow.search.documents import SECTIONS, EmbeddingSpace, Finding, ImageDocument, ReportDocument
from dicom_workflow.search.query import IMAGE_FILTERS, FieldType

LAYOUT_VERSION = 2
"""Of the tables of this module. A store of another one is refused; whoever changes a column gives the layout a new number."""
STAMP_BITS = 63
_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Writers of the same new key would double it without (lance-format/lance #4585)."""
_ARROW: Mapping[FieldType, pa.DataType] = {
    "keyword": pa.string(),
    "keywords": pa.list_(pa.string()),
    "date": pa.string(),
    "integer": pa.int32(),
}
_SURROGATE = re.compile("[\ud800-\udfff]")

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False, metadata=_KEY),
        *(pa.field(name, _ARROW[kind]) for name, kind in IMAGE_FILTERS.items() if name != "image_id"),
        pa.field("document", pa.string()),
        pa.field("stamp", pa.int64()),
    ]
)
REPORT_SCHEMA = pa.schema(
    [
        pa.field("report_id", pa.string(), nullable=False, metadata=_KEY),
        *(pa.field(name, pa.string()) for name in ("text", "document")),
        pa.field("stamp", pa.int64()),
    ]
)
"""`document` is what `text` leaves out."""
ENTRY_SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False, metadata=_KEY), pa.field("value", pa.string())])
"""What the store says of itself: its version, its spaces, and the one that serves."""

IMAGE_COLUMNS = ("document",)
REPORT_COLUMNS = ("document", "text")
"""What `image_of` and `report_of` need."""


def vector_column(space_id: str) -> str:
    """Return the name of the column that holds the embeddings of a space."""
    return f"vec_{hashlib.sha256(space_id.encode()).hexdigest()[:16]}"


def vector_field(space: EmbeddingSpace) -> pa.Field:
    """Return the column of a space: a list of float16 of its length, null where an image has no embedding."""
    return pa.field(vector_column(space.space_id), pa.list_(pa.float16(), space.dimensions))


def vector_array(vectors: NDArray[np.float32]) -> pa.Array:
    """Return vectors, shape (n, dimensions), float32, as a column."""
    flat = pa.array(np.ascontiguousarray(vectors, np.float16).ravel(), pa.float16())
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def vectors_of(column: pa.ChunkedArray, dimensions: int) -> NDArray[np.float32]:
    """Return a column without nulls as vectors, shape (n, dimensions), float32."""
    values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([*values, np.zeros(0, np.float16)]).astype(np.float32).reshape(-1, dimensions)


def image_rows(images: Iterable[ImageDocument]) -> pa.Table:
    """Return images as rows, without embeddings."""
    return _table([_image_row(image) for image in images], IMAGE_SCHEMA)


def _image_row(image: ImageDocument) -> dict[str, Any]:
    return {name: getattr(image, name) for name in IMAGE_FILTERS} | {"document": _json(astuple(image)), "stamp": _stamp()}


def image_of(row: Mapping[str, Any]) -> ImageDocument:
    """Return the image of a row."""
    values: list[Any] = [tuple(value) if isinstance(value, list) else value for value in json.loads(row["document"])]
    return ImageDocument(*values)


def report_rows(reports: Iterable[ReportDocument]) -> pa.Table:
    """Return reports as rows."""
    return _table([_report_row(report) for report in reports], REPORT_SCHEMA)


def _report_row(report: ReportDocument) -> dict[str, Any]:
    plain = [report.report_id, report.patient_key, report.study_instance_uid, report.study_date, report.language_model]
    sections = {name: _place(report.text, text) for name, text in report.sections.items()}
    findings = [astuple(found) for found in report.findings]
    return {
        "report_id": report.report_id,
        "text": report.text,
        "document": _json([*plain, sections, findings]),
        "stamp": _stamp(),
    }


def _table(rows: list[dict[str, Any]], columns: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=columns)
    except UnicodeEncodeError:
        return pa.Table.from_pylist([{name: storable(value) for name, value in row.items()} for row in rows], schema=columns)


def storable(value: Any) -> Any:
    """Return a value whose texts have U+FFFD for half of a surrogate pair, which no UTF-8 holds. Their lengths stay."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    return tuple(map(storable, value)) if isinstance(value, tuple) else value


def _place(text: str, part: str) -> list[int] | str:
    """Return where a section stands in the text, which is shorter than the section again; itself where it does not."""
    at = text.find(part)
    return part if at < 0 else [at, at + len(part)]


def report_of(row: Mapping[str, Any]) -> ReportDocument:
    """Return the report of a row."""
    text = row["text"]
    report_id, patient_key, study, date, language_model, places, findings = json.loads(row["document"])
    sections = {name: place if isinstance(place, str) else text[place[0] : place[1]] for name, place in places.items()}
    ordered = {name: sections[name] for name in (*SECTIONS, *sections) if name in sections}
    found = tuple(Finding(*values) for values in findings)
    return ReportDocument(report_id, text, patient_key, study, date, ordered, found, language_model)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _stamp() -> int:
    return secrets.randbits(STAMP_BITS)
