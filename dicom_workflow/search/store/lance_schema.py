"""The columns of the Lance tables, and documents as their rows.

Each row has a random `stamp` of 63 bits that is new with every write. Whoever derives something from a table compares stamps
to learn which rows are new or gone, whatever process wrote them and in whatever order.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dicom_workflow.search.documents import SECTIONS, EmbeddingSpace, Finding, ImageDocument, ReportDocument
from dicom_workflow.search.store.records import report_lists

STAMP_BITS = 63
_KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Writers of the same new key would double it without (lance-format/lance #4585)."""
_ARROW: Mapping[str, pa.DataType] = {"str": pa.string(), "int": pa.int32(), "tuple[str, ...]": pa.list_(pa.string())}

_PLAIN = ("patient_key", "study_instance_uid", "study_date", "text", "language_model")

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False, metadata=_KEY),
        *(pa.field(item.name, _ARROW[str(item.type)]) for item in fields(ImageDocument)[1:]),
        pa.field("stamp", pa.int64()),
    ]
)
REPORT_SCHEMA = pa.schema(
    [
        pa.field("report_id", pa.string(), nullable=False, metadata=_KEY),
        *(pa.field(name, pa.string()) for name in (*_PLAIN, "sections", "findings", "terms")),
        pa.field("stamp", pa.int64()),
    ]
)
"""`sections`, `findings` and `terms` are JSON; `terms` is filter field → values, so that no finding is parsed to count."""
ENTRY_SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False, metadata=_KEY), pa.field("value", pa.string())])
"""What the store says of itself: its version, its spaces, and the one that serves."""

IMAGE_COLUMNS = IMAGE_SCHEMA.names[:-1]
REPORT_COLUMNS = ("report_id", *_PLAIN, "sections", "findings")


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
    rows = [{name: getattr(image, name) for name in IMAGE_COLUMNS} | {"stamp": _stamp()} for image in images]
    return pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA)


def image_of(row: Mapping[str, Any]) -> ImageDocument:
    """Return the image of a row."""
    values: dict[str, Any] = {name: tuple(row[name]) if isinstance(row[name], list) else row[name] for name in IMAGE_COLUMNS}
    return ImageDocument(**values)


def report_rows(reports: Iterable[ReportDocument]) -> pa.Table:
    """Return reports as rows."""
    return pa.Table.from_pylist([_report_row(report) for report in reports], schema=REPORT_SCHEMA)


def _report_row(report: ReportDocument) -> dict[str, Any]:
    return {name: getattr(report, name) for name in ("report_id", *_PLAIN)} | {
        "sections": _json({name: _place(report.text, text) for name, text in report.sections.items()}),
        "findings": _json([astuple(found) for found in report.findings]),
        "terms": _json({name: values for name, values in report_lists(report).items() if values}),
        "stamp": _stamp(),
    }


def _place(text: str, part: str) -> list[int] | str:
    """Return where a section stands in the text, which is shorter than the section again; itself where it does not."""
    at = text.find(part)
    return part if at < 0 else [at, at + len(part)]


def report_of(row: Mapping[str, Any]) -> ReportDocument:
    """Return the report of a row."""
    text = row["text"]
    places = json.loads(row["sections"])
    sections = {name: place if isinstance(place, str) else text[place[0] : place[1]] for name, place in places.items()}
    ordered = {name: sections[name] for name in (*SECTIONS, *sections) if name in sections}
    plain = {name: row[name] for name in ("report_id", *_PLAIN)}
    findings = tuple(Finding(*values) for values in json.loads(row["findings"]))
    return ReportDocument(sections=ordered, findings=findings, **plain)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _stamp() -> int:
    return secrets.randbits(STAMP_BITS)
