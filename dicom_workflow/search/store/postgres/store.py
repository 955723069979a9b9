"""The search store in PostgreSQL with pgvector: several writers, several readers, nothing beside the server to keep.

Vectors are half precision, a table for each embedding space, with an HNSW index once `maintain` finds enough of them. Words are
ranked by BM25, over an index that each process derives. Reports and images are rows with a unique key, so that processes which
write the same ones write each once.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg.halfvec import register_halfvec_info
from psycopg import sql
from psycopg.types import TypeInfo

from dicom_workflow.errors import SearchStoreError
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument, ReportDocument
from dicom_workflow.search.query import (
    IMAGE_FILTERS,
    REPORT_FILTERS,
    Bucket,
    Facet,
    ImageHit,
    ImageHits,
    ImageQuery,
    ReportPage,
    ReportQuery,
)
from dicom_workflow.search.store.postgres import connections, schema, spaces
from dicom_workflow.search.store.postgres.connections import storable
from dicom_workflow.search.store.postgres.maintenance import maintain
from dicom_workflow.search.store.postgres.report_index import ReportIndex
from dicom_workflow.search.store.postgres.reports import delete_reports, facets_of_reports, page_of_reports, write_reports
from dicom_workflow.search.store.postgres.statements import (
    TRUE,
    Condition,
    Statement,
    condition_of,
    facets_statement,
    upsert_statement,
)
from dicom_workflow.search.store.postgres.vectors import (
    nearest,
    read_vectors,
    write_vectors,
)
from dicom_workflow.search.store.protocol import Maintenance
from dicom_workflow.search.store.query_vectors import checked_facets, checked_first, query_vector
from dicom_workflow.search.store.records import (
    IMAGE_LISTS,
    batches,
    check_where,
    checked_embeddings,
    image_from,
    report_from,
)

BATCH = 500
"""Documents of one transaction."""
SCAN = 1_000
_IMAGES = sql.SQL(", ").join(map(sql.Identifier, schema.IMAGE_COLUMNS))


class PostgresStore:
    """A search store in one database, in the schema that the user's search path names first.

    Parameters
    ----------
    url : str
        ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``; parts left out come from libpq's variables and files.
    create : bool
        Make the tables where there are none.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        parameters = connections.parameters_of(url)
        self.url = connections.shown_url(parameters)
        with connections.store_errors(self.url), connections.connect(parameters) as connection:
            if create and schema.version_of(connection) is None:
                schema.create(connection)
            schema.check_version(connection, self.url)
            halfvec = TypeInfo.fetch(connection, "halfvec")
        if halfvec is None:
            raise SearchStoreError(f"{self.url} has lost pgvector. Let an administrator run CREATE EXTENSION vector there.")
        self._parameters, self._halfvec = parameters, halfvec
        self._pool = connections.pool(parameters, halfvec)
        self._index = ReportIndex(self._connection)

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> PostgresStore:
        """Return the store at a URL.

        Raises
        ------
        SearchStoreError
            There is none, it is of another version, or the server does not answer.
        SettingsError
            The URL cannot be read, or turns the verification of the server off.
        """
        return cls(url, create=create)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with connections.store_errors(self.url), self._pool.connection() as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with self._connection() as connection, connection.transaction():
            yield connection

    # Writing

    def upsert_images(self, images: Iterable[ImageDocument], embeddings: Embeddings | None = None) -> int:
        """Insert or replace images with their embeddings, some hundreds in a transaction.

        Raises
        ------
        RecordError
            The embeddings are of an unknown space, of another length, or without direction.
        """
        stored = self._checked(embeddings) if embeddings is not None else None
        at = {image_id: row for row, image_id in enumerate(embeddings.image_ids)} if embeddings is not None else {}
        written = 0
        for batch in batches(images, BATCH):
            last = {image.image_id: image for image in batch}
            with self._transaction() as connection:
                rows = json.dumps([_row(image) for image in last.values()])
                connection.execute(_UPSERT_IMAGES, (rows,))
                ids = [image_id for image_id in last if image_id in at]
                if stored is not None and embeddings is not None and ids:
                    write_vectors(connection, stored, ids, embeddings.vectors[[at.pop(image_id) for image_id in ids]])
            written += len(last)
        if at and embeddings is not None:
            ids = list(at)
            self.upsert_embeddings(Embeddings(embeddings.space_id, tuple(ids), embeddings.vectors[[at[name] for name in ids]]))
        return written

    def upsert_embeddings(self, embeddings: Embeddings) -> int:
        """Set the embeddings of images that are in the store.

        Raises
        ------
        RecordError
            They are of an unknown space, of another length, or without direction.
        """
        stored = self._checked(embeddings)
        written = 0
        for batch in batches(dict(zip(embeddings.image_ids, range(len(embeddings.image_ids)), strict=True)).items(), BATCH):
            with self._transaction() as connection:
                rows = [row for _, row in batch]
                written += write_vectors(connection, stored, [image_id for image_id, _ in batch], embeddings.vectors[rows])
        return written

    def _checked(self, embeddings: Embeddings) -> spaces.StoredSpace:
        with self._connection() as connection:
            stored = spaces.stored_space(connection, embeddings.space_id)
        checked_embeddings(embeddings, stored.space)
        return stored

    def upsert_reports(self, reports: Iterable[ReportDocument]) -> int:
        """Insert or replace reports, some hundreds in a transaction."""
        written = 0
        for batch in batches(reports, BATCH):
            last = {report.report_id: report for report in batch}
            with self._transaction() as connection:
                write_reports(connection, list(last.values()))
            written += len(last)
        return written

    def delete(self, *, image_ids: Sequence[str] = (), report_ids: Sequence[str] = ()) -> int:
        """Delete images with their embeddings, and reports."""
        with self._transaction() as connection:
            images = connection.execute("DELETE FROM search_images WHERE image_id = ANY(%s)", (list(image_ids),))
            return images.rowcount + delete_reports(connection, report_ids)

    # Embedding spaces

    def spaces(self) -> list[EmbeddingSpace]:
        """Return all embedding spaces, the one that serves first."""
        with self._connection() as connection:
            return spaces.all_spaces(connection)

    def add_space(self, space: EmbeddingSpace) -> None:
        """Make a table for the vectors of a space."""
        with self._transaction() as connection:
            spaces.add(connection, space)

    def serve_space(self, space_id: str) -> None:
        """Let queries that name no space use this one."""
        with self._transaction() as connection:
            spaces.serve(connection, space_id)

    def drop_space(self, space_id: str) -> None:
        """Delete the embeddings of a space."""
        with self._transaction() as connection:
            spaces.drop(connection, space_id)

    # Reading by id

    def images(self, image_ids: Sequence[str]) -> list[ImageDocument | None]:
        """Return the images in the order of the ids; None where there is none."""
        found = {image.image_id: image for image in self._images("image_id = ANY(%s)", (list(image_ids),))}
        return [found.get(storable(image_id)) for image_id in image_ids]

    def images_of_reports(self, report_ids: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return report id → its images, by image id."""
        groups: dict[str, list[ImageDocument]] = {report_id: [] for report_id in report_ids if report_id}
        for image in self._images("report_id = ANY(%s) ORDER BY image_id", (list(groups),)):
            groups[image.report_id].append(image)
        return groups

    def images_of_patients(self, patient_keys: Sequence[str]) -> dict[str, list[ImageDocument]]:
        """Return patient key → all images of the patient, by study date."""
        groups: dict[str, list[ImageDocument]] = {key: [] for key in patient_keys if key}
        for image in self._images("patient_key = ANY(%s) ORDER BY study_date, image_id", (list(groups),)):
            groups[image.patient_key].append(image)
        return groups

    def _images(self, condition: LiteralString, values: tuple[Any, ...]) -> list[ImageDocument]:
        statement = sql.SQL("SELECT {} FROM search_images WHERE {}").format(_IMAGES, sql.SQL(condition))
        with self._connection() as connection:
            return [_image(row) for row in connection.execute(statement, values)]

    def reports(self, report_ids: Sequence[str]) -> list[ReportDocument | None]:
        """Return the reports in the order of the ids; None where there is none."""
        statement = "SELECT report_id, document FROM search_reports WHERE report_id = ANY(%s)"
        with self._connection() as connection:
            found = {row[0]: report_from(row[1]) for row in connection.execute(statement, (list(report_ids),))}
        return [found.get(storable(report_id)) for report_id in report_ids]

    def scan_images(self, *, without_space: str = "") -> Iterator[ImageDocument]:
        """Return all images by id; with `without_space`, those that have no embedding in that space."""
        condition: Statement = sql.SQL("true")
        if without_space:
            with self._connection() as connection:
                table = schema.vectors_table(spaces.stored_space(connection, without_space).number)
            condition = sql.SQL("NOT EXISTS (SELECT FROM {} v WHERE v.number = search_images.number)").format(table)
        for row in self._scan("search_images", "image_id", _IMAGES, condition):
            yield _image(row)

    def scan_reports(self) -> Iterator[ReportDocument]:
        """Return all reports by id."""
        for row in self._scan("search_reports", "report_id", sql.SQL("report_id, document"), sql.SQL("true")):
            yield report_from(row[1])

    def _scan(self, table: str, key: str, columns: Statement, condition: Statement) -> Iterator[tuple[Any, ...]]:
        """Return rows page by page, so that no transaction stays open between two of them. The key is the first column."""
        statement = sql.SQL("SELECT {} FROM {} WHERE {} > %s AND {} ORDER BY {} LIMIT {}").format(
            columns, sql.Identifier(table), sql.Identifier(key), condition, sql.Identifier(key), sql.Literal(SCAN)
        )
        last = ""
        while True:
            with self._connection() as connection:
                rows = connection.execute(statement, (last,)).fetchall()
            yield from rows
            if len(rows) < SCAN:
                return
            last = rows[-1][0]

    def vectors(self, image_ids: Sequence[str], space_id: str = "") -> NDArray[np.float32]:
        """Return the embeddings, shape (len(image_ids), dimensions), float32; rows of NaN where an image has none."""
        with self._connection() as connection:
            return read_vectors(connection, spaces.stored_space(connection, space_id), image_ids)

    # Searching

    def search_reports(self, query: ReportQuery, *, first: int = 20, cursor: str = "") -> ReportPage:
        """Return one page of the reports of a query, ranked by BM25."""
        check_where(query.where, REPORT_FILTERS)
        return page_of_reports(self._index, self.reports, query, first=checked_first(first), cursor=cursor)

    def facets(self, query: ReportQuery, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return exact facets over all reports of a query."""
        check_where(query.where, REPORT_FILTERS)
        return facets_of_reports(self._index, self.reports, query, checked_facets(fields, REPORT_FILTERS), size)

    def image_facets(self, where: object, fields: Sequence[str], *, size: int = 10) -> dict[str, Facet]:
        """Return exact facets over all images that a filter leaves."""
        names = checked_facets(fields, IMAGE_FILTERS)
        condition = condition_of(check_where(where, IMAGE_FILTERS), IMAGE_FILTERS)
        buckets: dict[str, list[Bucket]] = {name: [] for name in names}
        if names:
            statement = facets_statement("search_images", condition, names, IMAGE_LISTS, size)
            with self._connection() as connection:
                for name, value, count in connection.execute(statement.text, statement.values):
                    buckets[name].append(Bucket(value, count))
        return {name: Facet(name, tuple(found)) for name, found in buckets.items()}

    def similar_images(self, query: ImageQuery) -> ImageHits:
        """Return the most similar images; over the index where it loses none of them, else by comparing all."""
        direction = query_vector(self, query)
        wanted = condition_of(check_where(query.where, IMAGE_FILTERS), IMAGE_FILTERS)
        left_out = Condition(TRUE)
        if direction.image_ids:
            left_out &= Condition(sql.SQL("image_id <> ALL(%s)"), (list(direction.image_ids),))
        if direction.patient_keys:
            left_out &= Condition(sql.SQL("patient_key <> ALL(%s)"), (list(direction.patient_keys),))
        with self._connection() as connection:
            stored = spaces.stored_space(connection, direction.space.space_id)
            near = nearest(connection, stored, direction.vector, query.k, wanted, left_out)
            statement = sql.SQL("SELECT {}, number FROM search_images WHERE number = ANY(%s)").format(_IMAGES)
            numbers = [number for number, _ in near.rows]
            images = {row[-1]: _image(row) for row in connection.execute(statement, (numbers,))}
        hits = (ImageHit(images[number], 1.0 - distance) for number, distance in near.rows if number in images)
        return ImageHits(tuple(hits), direction.space.space_id, near.exact)

    def maintain(self) -> Maintenance:
        """Vacuum, build the indexes of spaces that have grown; measure recall and duplicates on the live data."""
        with connections.store_errors(self.url), connections.connect(self._parameters) as connection:
            register_halfvec_info(connection, self._halfvec)
            return maintain(connection)


def _row(image: ImageDocument) -> dict[str, Any]:
    values = {name: getattr(image, name) for name in schema.IMAGE_COLUMNS}
    return {
        name: storable(value)
        if isinstance(value, str)
        else [storable(part) for part in value]
        if name in IMAGE_LISTS
        else value
        for name, value in values.items()
    }


def _image(row: Sequence[Any]) -> ImageDocument:
    return image_from(dict(zip(schema.IMAGE_COLUMNS, row, strict=False)))


_UPSERT_IMAGES = upsert_statement(
    "search_images",
    "image_id",
    schema.IMAGE_COLUMNS,
    sql.SQL("json_populate_recordset(NULL::search_images, %s)"),
    dict.fromkeys(schema.IMAGE_COLUMNS, ""),
)
