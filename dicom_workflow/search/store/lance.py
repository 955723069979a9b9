"""Search store in a folder or on S3: LanceDB tables, and indexes derived from them for words, facets and counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from dicom_workflow.errors import RecordError, SearchStoreError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument, ReportDocument
from dicom_workflow.search.query import (
    IMAGE_FILTERS,
    REPORT_FILTERS,
    Facet,
    ImageHits,
    ImageQuery,
    ReportHit,
    ReportPage,
    ReportQuery,
    Where,
)
from dicom_workflow.search.store import lance_schema as schema
from dicom_workflow.search.store.derived_index import DerivedIndex
from dicom_workflow.search.store.lance_filters import one_of, to_expression
from dicom_workflow.search.store.lance_maintenance import maintain
from dicom_workflow.search.store.lance_reader import SERVING, SPACE, TABLES, VERSION, LanceReader, unique_batches
from dicom_workflow.search.store.lance_similar import VectorTable, find_similar
from dicom_workflow.search.store.lance_tables import LanceTables, missing
from dicom_workflow.search.store.protocol import Maintenance
from dicom_workflow.search.store.query_vectors import checked_facets, checked_first, known_space, query_vector
from dicom_workflow.search.store.records import check_droppable, check_space, checked_embeddings, report_lists
from dicom_workflow.search.store.report_search import build_query, search_page
from dicom_workflow.settings import Settings

_BATCH = 1_000
MOST_DIMENSIONS = 1 << 16


class LanceStore(LanceReader):
    """The store of one URL; see `SearchStore` for what each method does. Several threads and processes may use it at once."""

    @classmethod
    def open(cls, url: str, *, create: bool = False, settings: Settings | None = None) -> LanceStore:
        """Return the store at a URL.

        Parameters
        ----------
        url : str
            A path, ``file://`` or ``s3://bucket/prefix``.
        create : bool
            Create an empty store where there is none.
        settings : Settings, optional
            Endpoint, region and timeout of S3; those of the environment when not given.

        Raises
        ------
        SearchStoreError
            There is no store, it is of another version, or it cannot be read or created.
        """
        tables = LanceTables(url, settings or Settings.from_env(), create=create)
        if not set(TABLES) <= tables.names():
            if not create:
                raise missing(url)
            cls._create(tables)
        store = cls(tables)
        found, known = store.values().get(VERSION, "none"), str(schema.LAYOUT_VERSION)
        if found != known:
            raise SearchStoreError(
                f"The search store {url} is of version {shown(found)}, and this program reads and writes {known}. "
                "Build a new one: dicom-workflow search index SOURCE --store ANOTHER-URL"
            )
        return store

    @staticmethod
    def _create(tables: LanceTables) -> None:
        with tables.writing():
            for name, columns in TABLES.items():
                tables.create(name, columns)
            _write_entry(tables, tables.table("entries"), VERSION, str(schema.LAYOUT_VERSION), replace=False)

    # Of the two, the index of images is the one that is built soon, and with both in its folder the store would be more than
    # one and a half times as large as its embeddings.
    @cached_property
    def _image_index(self) -> DerivedIndex:
        fields, (place, copy_of) = list(IMAGE_FILTERS), self._tables.derived("images", inside=False)
        return DerivedIndex(
            self._tables, self.image_table, IMAGE_FILTERS, "image_id", fields, _image_values, place=place, copy_of=copy_of
        )

    @cached_property
    def _report_index(self) -> DerivedIndex:
        columns = schema.REPORT_COLUMNS
        place, copy_of = self._tables.derived("reports", inside=True)
        return DerivedIndex(
            self._tables, self.report_table, REPORT_FILTERS, "report_id", columns, _report_values, place=place, copy_of=copy_of
        )

    @cached_property
    def _vectors(self) -> VectorTable:
        return VectorTable(self._tables, "images")

    # ---- writing --------------------------------------------------------------------------------------------------------

    def upsert_images(self, images: Iterable[ImageDocument], embeddings: Embeddings | None = None) -> int:
        """Insert or replace images, in batches that are each written whole, and return how many."""
        at = self._positions(embeddings)
        written = 0
        for batch in unique_batches(images, lambda image: image.image_id):
            groups = ([image for image in batch if (image.image_id in at) is has] for has in (True, False))
            for has, group in zip((True, False), groups, strict=True):
                rows = schema.image_rows(group)
                if has and group and embeddings is not None:
                    vectors = embeddings.vectors[[at[image.image_id] for image in group]]
                    rows = rows.append_column(schema.vector_column(embeddings.space_id), schema.vector_array(vectors))
                if group:
                    with self._tables.writing():
                        written += self._tables.merge(self.image_table, "image_id", rows, insert=True)
        return written

    def upsert_embeddings(self, embeddings: Embeddings) -> int:
        """Set the embeddings of images that are in the store, and return how many were."""
        at, written = self._positions(embeddings), 0
        for ids in unique_batches(at, str):
            columns = [pa.array(ids, pa.string()), schema.vector_array(embeddings.vectors[[at[image_id] for image_id in ids]])]
            fields = [
                schema.IMAGE_SCHEMA.field("image_id"),
                pa.field(schema.vector_column(embeddings.space_id), columns[1].type),
            ]
            with self._tables.writing():
                rows = pa.Table.from_arrays(columns, schema=pa.schema(fields))
                written += self._tables.merge(self.image_table, "image_id", rows, insert=False)
        return written

    def _positions(self, embeddings: Embeddings | None) -> dict[str, int]:
        if embeddings is None:
            return {}
        checked_embeddings(embeddings, known_space(self.spaces(), embeddings.space_id))
        return {image_id: at for at, image_id in enumerate(embeddings.image_ids)}

    def upsert_reports(self, reports: Iterable[ReportDocument]) -> int:
        """Insert or replace reports, in batches that are each written whole, and return how many."""
        written = 0
        for batch in unique_batches(reports, lambda report: report.report_id):
            rows = schema.report_rows(batch)
            with self._tables.writing():
                written += self._tables.merge(self.report_table, "report_id", rows, insert=True)
        return written

    def delete(self, *, image_ids: Sequence[str] = (), report_ids: Sequence[str] = ()) -> int:
        """Delete images with their embeddings, and reports; return how many there were."""
        gone = 0
        for table, key, ids in ((self.image_table, "image_id", image_ids), (self.report_table, "report_id", report_ids)):
            for batch in unique_batches(ids, str):
                with self._tables.writing():
                    before = table.count_rows()
                    self._tables.change(partial(table.delete, one_of(key, batch)))
                    gone += before - table.count_rows()
        return gone

    # ---- spaces ---------------------------------------------------------------------------------------------------------

    def add_space(self, space: EmbeddingSpace) -> None:
        """Add the column of a space; the first one serves at once.

        Raises
        ------
        RecordError
            The space is known with another number of dimensions, or has none.
        """
        with self._tables.writing():
            known = self.spaces()
            if not check_space(space, known, most_dimensions=MOST_DIMENSIONS):
                return
            field = schema.vector_field(space)
            self._tables.change(lambda: None if field.name in self._columns() else self.image_table.add_columns(field))
            said = {"dimensions": space.dimensions, "description": space.description, "number": len(known)}
            _write_entry(self._tables, self._entries, SPACE + space.space_id, json.dumps(said))
            if not known:
                _write_entry(self._tables, self._entries, SERVING, space.space_id, replace=False)

    def _columns(self) -> list[str]:
        return list(self.image_table.schema.names)

    def serve_space(self, space_id: str) -> None:
        """Let queries that name no space use this one."""
        with self._tables.writing():
            _write_entry(self._tables, self._entries, SERVING, known_space(self.spaces(), space_id).space_id)

    def drop_space(self, space_id: str) -> None:
        """Delete the embeddings of a space that does not serve.

        Raises
        ------
        RecordError
            It serves, or there is no such space.
        """
        with self._tables.writing():
            spaces = self.spaces()
            check_droppable(known_space(spaces, space_id), spaces[0])
            column = schema.vector_column(space_id)
            self._tables.change(lambda: self._entries.delete(one_of("key", [SPACE + space_id])))
            self._tables.change(lambda: self.image_table.drop_columns([column]) if column in self._columns() else None)

    # ---- searching ------------------------------------------------------------------------------------------------------

    def search_reports(self, query: ReportQuery, *, first: int = 20, cursor: str = "") -> ReportPage:
        """Return one page of the reports of a query.

        Parameters
        ----------
        query : ReportQuery
            Words, filter, ids, likeness: all that are given have to match.
        first : int
            Most reports of the page, 1 to `MAX_FIRST`.
        cursor : str
            Of the page before; empty for the first one.

        Raises
        ------
        RecordError
            Another size of the page, a cursor of another query, an unknown field, or no report to be like.
        SearchStoreError
            The store cannot be read.
        """
        built = build_query(self._report_index, query, self._like_text(query))
        page = search_page(self._report_index, query, built, first=checked_first(first), cursor=cursor)
        scores = dict(page.hits)
        found = self.reports(list(scores))
        hits = tuple(ReportHit(report, scores[report.report_id]) for report in found if report is not None)
        return ReportPage(hits, page.total, page.cursor)

    def _like_text(self, query: ReportQuery) -> str:
        if not query.like:
            return ""
        report = self.reports([query.like])[0]
        if report is None:
            raise RecordError(f"There is no report {shown(query.like)} in the store, so none can be like it.")
        return report.text

    def facets(self, query: ReportQuery, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return the facets over all reports of a query.

        Parameters
        ----------
        query : ReportQuery
            Which reports are counted.
        fields : sequence of str
            Of `REPORT_FILTERS`, those with texts.
        size : int
            Most values of a facet.

        Raises
        ------
        RecordError
            A field that is no facet or cannot be filtered by.
        """
        names = checked_facets(fields, REPORT_FILTERS)
        built, _ = build_query(self._report_index, query, self._like_text(query))
        return self._report_index.facets(built, names, size)

    def image_facets(self, where: Any, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return the facets over all images that a filter leaves.

        Parameters
        ----------
        where : Where or None
            Which images are counted.
        fields : sequence of str
            Of `IMAGE_FILTERS`, those with texts.
        size : int
            Most values of a facet.

        Raises
        ------
        RecordError
            A field that is no facet or cannot be filtered by.
        """
        names = checked_facets(fields, IMAGE_FILTERS)
        return self._image_index.facets(self._image_index.where(where), names, size)

    def similar_images(self, query: ImageQuery) -> ImageHits:
        """Return the most similar images, the query itself left out."""
        return find_similar(self._vectors, query, query_vector(self, query), self._count)

    def _count(self, where: Where) -> int:
        """How many images match: from the derived index once there is one; it is not built for this alone."""
        if "_image_index" in vars(self):
            return self._image_index.count(where)
        return int(self._tables.read(partial(self.image_table.count_rows, to_expression(where))))

    def maintain(self) -> Maintenance:
        """Compact, bring indexes up to date, and measure recall and duplicates on the live data."""
        derived = (self._image_index, self._report_index)
        return maintain(self._tables, self.image_table, self.report_table, self._vectors, derived, self.spaces())

    def close(self) -> None:
        """Release connections and files."""


def _write_entry(tables: LanceTables, entries: Any, key: str, value: str, *, replace: bool = True) -> None:
    rows = pa.Table.from_pylist([{"key": key, "value": value}], schema=schema.ENTRY_SCHEMA)
    if replace or not entries.count_rows(one_of("key", [key])):
        tables.merge(entries, "key", rows, insert=True)


def _image_values(row: Mapping[str, Any]) -> dict[str, Sequence[str | int]]:
    return {name: row[name] if isinstance(row[name], list) else [row[name]] for name in IMAGE_FILTERS}


def _report_values(row: Mapping[str, Any]) -> dict[str, Sequence[str | int]]:
    report = schema.report_of(row)
    plain = {name: [getattr(report, name)] for name, kind in REPORT_FILTERS.items() if kind != "keywords"}
    return {**plain, **report_lists(report)}
