"""The search store in OpenSearch, for archives that outgrow one server.

Three indexes with a common prefix: images with a vector field for each embedding space, reports, and one document that
describes the store. The id of a document is its key, so that the same one is never there twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument, ReportDocument
from dicom_workflow.search.query import (
    IMAGE_FILTERS,
    REPORT_FILTERS,
    Facet,
    ImageHit,
    ImageHits,
    ImageQuery,
    ReportHit,
    ReportPage,
    ReportQuery,
)
from dicom_workflow.search.store import records
from dicom_workflow.search.store.opensearch import documents, queries
from dicom_workflow.search.store.opensearch.client import address_of, client_of, store_errors
from dicom_workflow.search.store.opensearch.description import Description, create_index
from dicom_workflow.search.store.opensearch.maintenance import maintain
from dicom_workflow.search.store.opensearch.vectors import StoredSpace, nearest
from dicom_workflow.search.store.protocol import Maintenance
from dicom_workflow.search.store.query_vectors import checked_facets, checked_first, known_space, query_vector

_NO_VECTORS = {"excludes": ["vector_*", "embedded_*", "sample"]}


class OpenSearchStore:
    """A search store in one cluster; several with different prefixes may share it.

    Parameters
    ----------
    url : str
        ``https://USER:PASSWORD@HOST:PORT/PREFIX`` (`address_of`).
    create : bool
        Make the indexes where there are none.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        address = address_of(url)
        self.url = address.url
        self._client = client_of(address)
        self._images, self._reports = (f"{address.prefix}-{what}" for what in ("images", "reports"))
        self._about = Description(self._client, self.url, f"{address.prefix}-store")
        with store_errors(self.url):
            if create and not self._about.exists():
                self._create()
            self._about.check_version()

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> OpenSearchStore:
        """Return the store at a URL.

        Raises
        ------
        SearchStoreError
            There is none, it is of another version, or the cluster does not answer.
        SettingsError
            The URL cannot be read.
        """
        return cls(url, create=create)

    def _create(self) -> None:
        indexes = {self._images: (queries.image_mapping(), True), self._reports: (queries.report_mapping(), False)}
        for index, (mapping, vectors) in indexes.items():
            create_index(self._client, index, {"settings": queries.index_settings(vectors=vectors), "mappings": mapping})
        self._about.create()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # Writing

    def upsert_images(self, images: Iterable[ImageDocument], embeddings: Embeddings | None = None) -> int:
        """Insert or replace images with their embeddings.

        Raises
        ------
        RecordError
            The embeddings are of an unknown space, of another length, or without direction; or the cluster refused a document.
        """
        rest: dict[str, dict[str, Any]] = {}
        if embeddings is not None:
            rest = self._vector_sources(embeddings)
        known = iter(images)

        def operations() -> Iterator[documents.Operation]:
            for image in known:
                source = documents.image_source(image) | rest.pop(image.image_id, {})
                yield documents.upsert(self._images, image.image_id, source)

        with self._writing(self._images):
            written = documents.write(self._client, self.url, operations())
            documents.write(self._client, self.url, self._updates(rest), missing=True)
        return written

    def upsert_embeddings(self, embeddings: Embeddings) -> int:
        """Set the embeddings of images that are in the store.

        Raises
        ------
        RecordError
            They are of an unknown space, of another length, or without direction.
        """
        sources = self._vector_sources(embeddings)
        with self._writing(self._images):
            return documents.write(self._client, self.url, self._updates(sources), missing=True)

    def _vector_sources(self, embeddings: Embeddings) -> dict[str, dict[str, Any]]:
        stored = self._stored(embeddings.space_id)
        records.checked_embeddings(embeddings, stored.space)
        return {
            image_id: documents.vector_source(stored.number, vector)
            for image_id, vector in zip(embeddings.image_ids, embeddings.vectors, strict=True)
        }

    def _updates(self, sources: dict[str, dict[str, Any]]) -> Iterator[documents.Operation]:
        for image_id, source in sources.items():
            header, body = documents.upsert(self._images, image_id, source)
            yield header, {"doc": body["doc"]} if body else None

    def upsert_reports(self, reports: Iterable[ReportDocument]) -> int:
        """Insert or replace reports.

        Raises
        ------
        RecordError
            The cluster refused a report; the others are written.
        """
        operations = (
            ({"index": {"_index": self._reports, "_id": report.report_id}}, documents.report_source(report))
            for report in reports
        )
        with self._writing(self._reports):
            return documents.write(self._client, self.url, operations)

    def delete(self, *, image_ids: Sequence[str] = (), report_ids: Sequence[str] = ()) -> int:
        """Delete images with their embeddings, and reports."""
        keys = [(self._images, key) for key in dict.fromkeys(image_ids)]
        keys += [(self._reports, key) for key in dict.fromkeys(report_ids)]
        operations: list[documents.Operation] = [({"delete": {"_index": index, "_id": key}}, None) for index, key in keys]
        with self._writing(f"{self._images},{self._reports}"):
            return documents.write(self._client, self.url, operations, missing=True)

    @contextlib.contextmanager
    def _writing(self, index: str) -> Iterator[None]:
        """Let what was written be found by everybody, also when one document was refused."""
        with store_errors(self.url):
            try:
                yield
            finally:
                self._client.indices.refresh(index=index)

    # Embedding spaces

    def spaces(self) -> list[EmbeddingSpace]:
        """Return all embedding spaces, the one that serves first."""
        return [stored.space for stored in self._stored_spaces()]

    def _stored_spaces(self) -> list[StoredSpace]:
        with store_errors(self.url):
            return self._about.spaces()

    def _stored(self, space_id: str) -> StoredSpace:
        spaces = self._stored_spaces()
        found = known_space([stored.space for stored in spaces], space_id)
        return next(stored for stored in spaces if stored.space == found)

    def add_space(self, space: EmbeddingSpace) -> None:
        """Prepare for the embeddings of a space.

        Raises
        ------
        RecordError
            The space is known with another length, or has more dimensions than OpenSearch stores.
        """
        with store_errors(self.url):
            self._about.add_space(space)
        stored = self._stored(space.space_id)
        with store_errors(self.url):
            mapping = queries.vector_mapping(stored.number, space.dimensions)
            self._client.indices.put_mapping(index=self._images, body=mapping)

    def serve_space(self, space_id: str) -> None:
        """Let queries that name no space use this one.

        Raises
        ------
        RecordError
            There is no such space.
        """
        stored = self._stored(space_id)
        with store_errors(self.url):
            self._about.serve_space(stored.number)

    def drop_space(self, space_id: str) -> None:
        """Delete the embeddings of a space.

        Raises
        ------
        RecordError
            There is no such space, or it serves.
        """
        stored = self._stored(space_id)
        records.check_droppable(stored.space, self._stored("").space)

        with store_errors(self.url):
            self._about.drop_space(stored.number)
        vector, embedded = queries.vector_field(stored.number), queries.embedded_field(stored.number)
        query = {"term": {embedded: {"value": True}}}
        with self._writing(self._images):
            found = documents.scan(self._client, self._images, "image_id", query, ["image_id"])
            nothing: dict[str, Any] = {vector: None, embedded: None}
            documents.write(self._client, self.url, self._updates({item["image_id"]: nothing for item in found}), missing=True)

    # Reading by id

    def images(self, image_ids: Sequence[str]) -> list[ImageDocument | None]:
        """Return the images in the order of the ids; None where there is none."""
        with store_errors(self.url):
            found = documents.read(self._client, self._images, image_ids, _NO_VECTORS)
        return [records.image_from(found[image_id]) if image_id in found else None for image_id in image_ids]

    def images_of_reports(self, report_ids: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return report id → its images, by image id."""
        return self._grouped("report_id", report_ids)

    def images_of_patients(self, patient_keys: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return patient key → all images of the patient, by study date."""
        groups = self._grouped("patient_key", patient_keys)
        return {key: sorted(images, key=lambda image: image.study_date) for key, images in groups.items()}

    def _grouped(self, field: str, values: Sequence[str]) -> dict[str, list[ImageDocument]]:
        groups: dict[str, list[ImageDocument]] = {value: [] for value in values if value}
        if groups:
            for image in self._scan_images({"terms": {field: list(groups)}}):
                groups[getattr(image, field)].append(image)
        return groups

    def _scan_images(self, query: dict[str, Any]) -> Iterator[ImageDocument]:
        with store_errors(self.url):
            for source in documents.scan(self._client, self._images, "image_id", query, _NO_VECTORS):
                yield records.image_from(source)

    def reports(self, report_ids: Sequence[str]) -> list[ReportDocument | None]:
        """Return the reports in the order of the ids; None where there is none."""
        with store_errors(self.url):
            found = documents.read(self._client, self._reports, report_ids, ["document"])
        return [records.report_from(found[report_id]["document"]) if report_id in found else None for report_id in report_ids]

    def scan_images(self, *, without_space: str = "") -> Iterator[ImageDocument]:
        """Return all images by id; with `without_space`, those that have no embedding in that space."""
        query: dict[str, Any] = {"match_all": {}}
        if without_space:
            embedded = queries.embedded_field(self._stored(without_space).number)
            query = {"bool": {"must_not": [{"term": {embedded: {"value": True}}}]}}
        return self._scan_images(query)

    def scan_reports(self) -> Iterator[ReportDocument]:
        """Return all reports by id."""
        with store_errors(self.url):
            for source in documents.scan(self._client, self._reports, "report_id", {"match_all": {}}, ["document"]):
                yield records.report_from(source["document"])

    def vectors(self, image_ids: Sequence[str], space_id: str = "") -> NDArray[np.float32]:
        """Return the embeddings, shape (len(image_ids), dimensions), float32; rows of NaN where an image has none."""
        stored = self._stored(space_id)
        name = queries.vector_field(stored.number)
        with store_errors(self.url):
            found = documents.read(self._client, self._images, image_ids, [name])
        vectors = np.full((len(image_ids), stored.space.dimensions), np.nan, np.float32)
        for at, image_id in enumerate(image_ids):
            if (vector := found.get(image_id, {}).get(name)) is not None:
                vectors[at] = vector
        return vectors

    # Searching

    def search_reports(self, query: ReportQuery, *, first: int = 20, cursor: str = "") -> ReportPage:
        """Return one page of the reports of a query, ranked by BM25.

        Raises
        ------
        RecordError
            An unknown field, a text that is no cursor, or there is no report to be like.
        """
        ranked = bool(query.text.strip() or query.like)
        body: dict[str, Any] = {"query": self._report_query(query), "_source": ["document"], "track_total_hits": True}
        body |= queries.page_body(checked_first(first), cursor, ranked=ranked)
        # Frequencies of words over all shards: the order does not depend on where a report lies.
        parameters = {"search_type": "dfs_query_then_fetch"} if ranked else {}
        with store_errors(self.url):
            found = self._client.search(index=self._reports, body=body, params=parameters)["hits"]
        hits = [ReportHit(records.report_from(hit["_source"]["document"]), float(hit["_score"] or 0)) for hit in found["hits"]]
        following = ""
        if len(hits) > first:
            following = records.encoded_cursor([body.get("from", 0) + first] if ranked else found["hits"][first - 1]["sort"])
        return ReportPage(tuple(hits[:first]), int(found["total"]["value"]), following)

    def _report_query(self, query: ReportQuery) -> dict[str, Any]:
        if query.like and self.reports([query.like])[0] is None:
            raise RecordError(f"There is no report {shown(query.like)} in the store, so nothing can be like it.")
        return queries.report_query(query, self._reports)

    def facets(self, query: ReportQuery, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return the facets over all reports of a query."""
        names = checked_facets(fields, REPORT_FILTERS)
        with store_errors(self.url):
            return documents.facets(self._client, self._reports, self._report_query(query), names, size)

    def image_facets(self, where: object, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return the facets over all images that a filter leaves."""
        query = queries.filter_query(records.check_where(where, IMAGE_FILTERS), IMAGE_FILTERS)
        names = checked_facets(fields, IMAGE_FILTERS)
        with store_errors(self.url):
            return documents.facets(self._client, self._images, query, names, size)

    def similar_images(self, query: ImageQuery) -> ImageHits:
        """Return the most similar images; over the index where it loses none of them, else by comparing all."""
        direction = query_vector(self, query)
        where = records.check_where(query.where, IMAGE_FILTERS)
        stored = self._stored(direction.space.space_id)
        condition = queries.image_condition(where, stored.number, direction.image_ids, direction.patient_keys)
        with store_errors(self.url):
            near = nearest(self._client, self._images, stored, direction.vector, query.k, condition)
        hits = tuple(ImageHit(records.image_from(source), score) for source, score in near.hits)
        return ImageHits(hits, direction.space.space_id, near.exact)

    def maintain(self) -> Maintenance:
        """Merge away deleted documents; measure recall and duplicates on the live data."""
        spaces = self._stored_spaces()
        with store_errors(self.url):
            return maintain(self._client, self._images, self._reports, spaces)
