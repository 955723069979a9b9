"""Reading documents and embeddings from the Lance tables of a store, and what the store says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dicom_workflow.search.documents import EmbeddingSpace, ImageDocument, ReportDocument
from dicom_workflow.search.store import lance_schema as schema
from dicom_workflow.search.store.lance_filters import one_of
from dicom_workflow.search.store.lance_tables import LanceTables
from dicom_workflow.search.store.query_vectors import known_space
from dicom_workflow.search.store.records import batches

_BATCH = 1_000
TABLES = {"images": schema.IMAGE_SCHEMA, "reports": schema.REPORT_SCHEMA, "entries": schema.ENTRY_SCHEMA}
VERSION, SERVING, SPACE = "store_version", "serving", "space:"
"""Keys of the table of entries; the last one is followed by the id of a space."""


class LanceReader:
    """The part of `LanceStore` that reads by id."""

    def __init__(self, tables: LanceTables) -> None:
        self._tables, self.url = tables, tables.url
        self.image_table, self.report_table, self._entries = (tables.table(name) for name in TABLES)
        self._known_entries: tuple[int, dict[str, str]] = (-1, {})

    def spaces(self) -> list[EmbeddingSpace]:
        """Return all embedding spaces; the one that serves is the first."""
        values = self.values()
        spaces = [(name.removeprefix(SPACE), json.loads(value)) for name, value in values.items() if name.startswith(SPACE)]
        serving = values.get(SERVING, "")
        spaces.sort(key=lambda item: (item[0] != serving, item[1]["number"], item[0]))
        return [EmbeddingSpace(space_id, said["dimensions"], said["description"]) for space_id, said in spaces]

    def values(self) -> dict[str, str]:
        """Return what the store says of itself, read again when it has changed."""
        version = self._tables.read(lambda: self._entries.version)
        if version != self._known_entries[0]:
            rows = self._tables.read(lambda: self._entries.search().limit(None).to_arrow()).to_pylist()
            self._known_entries = version, {row["key"]: row["value"] for row in rows}
        return self._known_entries[1]

    def _rows(self, table: Any, columns: Sequence[str], key: str, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        for batch in unique_batches(ids, str):
            yield from self.select(table, columns, one_of(key, batch)).to_pylist()

    def select(self, table: Any, columns: Sequence[str], where: str = "") -> pa.Table:
        """Return columns of rows.

        Parameters
        ----------
        table
            One of the store's.
        columns : sequence of str
            What is needed of a row.
        where : str
            Expression that has to be true; empty for all rows.
        """
        query = table.search().select(list(columns)).limit(None)
        return self._tables.read(lambda: (query.where(where) if where else query).to_arrow())

    def images(self, image_ids: Sequence[str]) -> list[ImageDocument | None]:
        """Return the images in the order of the ids; None where there is none."""
        rows = self._rows(self.image_table, schema.IMAGE_COLUMNS, "image_id", image_ids)
        found = {image.image_id: image for image in map(schema.image_of, rows)}
        return [found.get(image_id) for image_id in image_ids]

    def images_of_reports(self, report_ids: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return report id → its images, by image id."""
        return self._grouped("report_id", report_ids, lambda image: (image.image_id,))

    def images_of_patients(self, patient_keys: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return patient key → all images of the patient, by study date."""
        return self._grouped("patient_key", patient_keys, lambda image: (image.study_date, image.image_id))

    def _grouped(self, field: str, values: Sequence[str], order: Any) -> dict[str, list[ImageDocument]]:
        groups: dict[str, list[ImageDocument]] = {value: [] for value in values}
        for row in self._rows(self.image_table, schema.IMAGE_COLUMNS, field, values):
            image = schema.image_of(row)
            groups[getattr(image, field)].append(image)
        return {value: sorted(images, key=order) for value, images in groups.items()}

    def reports(self, report_ids: Sequence[str]) -> list[ReportDocument | None]:
        """Return the reports in the order of the ids; None where there is none."""
        rows = self._rows(self.report_table, schema.REPORT_COLUMNS, "report_id", report_ids)
        found = {report.report_id: report for report in map(schema.report_of, rows)}
        return [found.get(report_id) for report_id in report_ids]

    def scan_images(self, *, without_space: str = "") -> Iterator[ImageDocument]:
        """Return all images by id; with `without_space`, those that have no embedding in that space."""
        where = ""
        if without_space:
            where = f"{schema.vector_column(known_space(self.spaces(), without_space).space_id)} IS NULL"
        ids = sorted(self.select(self.image_table, ["image_id"], where)["image_id"].to_pylist())
        for batch in unique_batches(ids, str):
            yield from (image for image in self.images(batch) if image is not None)

    def scan_reports(self) -> Iterator[ReportDocument]:
        """Return all reports by id."""
        ids = sorted(self.select(self.report_table, ["report_id"])["report_id"].to_pylist())
        for batch in unique_batches(ids, str):
            yield from (report for report in self.reports(batch) if report is not None)

    def vectors(self, image_ids: Sequence[str], space_id: str = "") -> NDArray[np.float32]:
        """Return the embeddings, shape (len(image_ids), dimensions), float32; rows of NaN where an image has none."""
        space = known_space(self.spaces(), space_id)
        column = schema.vector_column(space.space_id)
        answer = np.full((len(image_ids), space.dimensions), np.nan, np.float32)
        for batch in unique_batches(image_ids, str):
            found = self.select(self.image_table, ["image_id", column], f"{one_of('image_id', batch)} AND {column} IS NOT NULL")
            at = dict(zip(found["image_id"].to_pylist(), schema.vectors_of(found[column], space.dimensions), strict=True))
            for row, image_id in enumerate(image_ids):
                if image_id in at:
                    answer[row] = at[image_id]
        return answer


def unique_batches(items: Iterable[Any], key: Any) -> Iterator[list[Any]]:
    """Batches in which each key stands once, with its last item."""
    for batch in batches(items, _BATCH):
        yield list({key(item): item for item in batch}.values())
