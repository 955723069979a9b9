"""Maintenance of a Lance store: duplicates, compaction, indexes and old versions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow.compute as pc

from dicom_workflow.search.documents import EmbeddingSpace
from dicom_workflow.search.store.derived_index import DerivedIndex
from dicom_workflow.search.store.lance_recall import sample_recall
from dicom_workflow.search.store.lance_schema import vector_column
from dicom_workflow.search.store.lance_similar import VectorTable
from dicom_workflow.search.store.lance_tables import LanceTables
from dicom_workflow.search.store.planner import INDEX_FROM_ROWS, partitions_for
from dicom_workflow.search.store.protocol import Maintenance

_IMAGE_INDEXES = {
    "BTree": ("image_id", "report_id", "patient_key", "study_instance_uid"),
    "Bitmap": ("study_date", "rows", "columns", "modality", "view_position", "body_part", "laterality", "sex", "split"),
    "LabelList": ("labels_positive", "labels_negative", "labels_uncertain", "codes_positive"),
}
_REPORT_INDEXES: dict[str, tuple[str, ...]] = {"BTree": ("report_id",)}
_BITS = 2
"""Of each number of an embedding in its index. With one, ten times k rows have to be read and compared for the same recall as
three times k with two; three bits need twice k, but with them the store is more than 1.5 times as large as its embeddings."""
_KEPT_IN_BUCKET = timedelta(minutes=10)
"""Somebody may still be writing on top of a version of a bucket that is younger; in a folder there is one writer at a time."""
_KEPT_IN_FOLDER = timedelta(milliseconds=1)


def maintain(
    tables: LanceTables,
    images: Any,
    reports: Any,
    vectors: VectorTable,
    derived: Iterable[DerivedIndex],
    spaces: list[EmbeddingSpace],
) -> Maintenance:
    """Remove duplicates, compact, index, delete old versions, and measure.

    Parameters
    ----------
    tables : LanceTables
    images, reports : lancedb.table.Table
    vectors : VectorTable
        The images once more.
    derived : iterable of DerivedIndex
        Brought up to date too.
    spaces : list of EmbeddingSpace
        The one that serves is the first; recall is sampled there.

    Raises
    ------
    SearchStoreError
        The store cannot be read or written.
    """
    before = size_bytes(tables, images, reports)
    with tables.writing():
        duplicates = _remove_duplicates(tables, images, "image_id"), _remove_duplicates(tables, reports, "report_id")
        for table, indexes in ((images, _IMAGE_INDEXES), (reports, _REPORT_INDEXES)):
            _optimize(tables, table)
            _index_columns(tables, table, indexes)
        for space in spaces:
            _index_space(tables, images, vectors, space)
        for table in (images, reports, images, reports):  # the first pass replaces files, the second deletes the replaced ones
            _optimize(tables, table)
    for index in derived:
        index.searcher()
    embeddings = {space.space_id: _embeddings(tables, images, space) for space in spaces}
    return Maintenance(
        images=tables.read(images.count_rows),
        reports=tables.read(reports.count_rows),
        embeddings=embeddings,
        duplicate_images=duplicates[0],
        duplicate_reports=duplicates[1],
        recall=sample_recall(tables, images, vectors, spaces[0]) if spaces and embeddings[spaces[0].space_id] else {},
        bytes_before=before,
        bytes_after=size_bytes(tables, images, reports),
    )


def size_bytes(tables: LanceTables, images: Any, reports: Any) -> int:
    """Return the size of the folder; of a bucket, that of the newest versions of the tables."""
    if tables.folder is not None:
        return sum(path.stat().st_size for path in tables.folder.rglob("*") if path.is_file())
    return sum(int(tables.read(table.stats)["total_bytes"]) for table in (images, reports))


def _embeddings(tables: LanceTables, images: Any, space: EmbeddingSpace) -> int:
    column = vector_column(space.space_id)
    return int(tables.read(lambda: images.count_rows(f"{column} IS NOT NULL")))


def _remove_duplicates(tables: LanceTables, table: Any, key: str) -> int:
    """Delete all but one row of each key, and return how many were deleted. There are none unless someone wrote past us."""
    rows = tables.read(lambda: table.search().select([key, "stamp"]).limit(None).to_arrow())
    surplus = rows.num_rows - pc.count_distinct(rows[key]).as_py()
    if surplus:
        kept = set(rows.group_by(key).aggregate([("stamp", "min")])["stamp_min"].to_pylist())
        gone = [stamp for stamp in rows["stamp"].to_pylist() if stamp not in kept]
        tables.change(lambda: table.delete(f"stamp IN ({', '.join(map(str, gone))})"))
    return int(surplus)


def _optimize(tables: LanceTables, table: Any) -> None:
    # What a killed writer left is deleted in a folder, where nobody else can be writing now; in a bucket somebody may.
    alone = tables.folder is not None
    kept = _KEPT_IN_FOLDER if alone else _KEPT_IN_BUCKET
    tables.change(lambda: table.optimize(cleanup_older_than=kept, delete_unverified=alone))


def _index_columns(tables: LanceTables, table: Any, indexes: dict[str, tuple[str, ...]]) -> None:
    import lancedb.index

    if not tables.read(table.count_rows):
        return
    indexed = {name for index in tables.read(table.list_indices) for name in index.columns}
    for kind, names in indexes.items():
        for name in (name for name in names if name not in indexed):
            tables.change(partial(table.create_index, name, config=getattr(lancedb.index, kind)()))


def _index_space(tables: LanceTables, images: Any, vectors: VectorTable, space: EmbeddingSpace) -> None:
    """Build the vector index of a space; again when it has grown to twice the size it was built for."""
    from lancedb.index import IvfRq

    column, rows = vector_column(space.space_id), _embeddings(tables, images, space)
    wanted = partitions_for(rows)
    if rows < INDEX_FROM_ROWS or wanted < 2 * vectors.size(column)[1]:
        return
    config = IvfRq(distance_type="cosine", num_partitions=wanted, num_bits=_BITS)
    tables.change(lambda: images.create_index(column, config=config, replace=True))
