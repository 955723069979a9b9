"""A Tantivy index of one Lance table: words, filters, exact counts and facets.

It is derived, and brought up to date before each answer: a version of the table that is not known yet has its stamps compared
with those of the index, and rows that are new or gone are indexed or removed. So it is right whatever other processes wrote.
It is kept in files that all processes share (`index_files`); where they cannot be written, in memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import Document, Index, Occur, Query, SchemaBuilder, Searcher
from tantivy import FieldType as TantivyType

from dicom_workflow.errors import RecordError
from dicom_workflow.search.query import And, AnyOf, Bucket, Facet, FieldType, Not, Or, Range, Where
from dicom_workflow.search.store.index_files import IndexFiles
from dicom_workflow.search.store.lance_filters import known_field
from dicom_workflow.search.store.lance_schema import storable
from dicom_workflow.search.store.lance_tables import LanceTables

TEXT, STAMP, ORDER = "text", "stamp", "order"
_LAYOUT = 1
"""Of the documents that `_add` makes; an index in files of another layout is built anew."""
_MOST_VALUES = 65_000
"""Values of one facet that Tantivy counts; a field with more is answered as an estimate."""
_HEAP_BYTES = 50_000_000
_CHUNK = 1_000

log = logging.getLogger(__name__)


class DerivedIndex:
    """Words, filters and facets over the rows of one table.

    Parameters
    ----------
    tables, table
        Where the rows are.
    filters : mapping
        Field → type: what can be filtered by; `key` is one of them.
    key : str
        Column with the id.
    columns : sequence of str
        What `values_of` needs of a row.
    values_of : callable
        Row → field → its values.
    place : Path, optional
        Folder for its files; without one it is kept in memory.
    copy_of : Path, optional
        Folder with the files of the same index that may only be read.
    """

    def __init__(
        self,
        tables: LanceTables,
        table: Any,
        filters: Mapping[str, FieldType],
        key: str,
        columns: Sequence[str],
        values_of: Callable[[Mapping[str, Any]], Mapping[str, Sequence[str | int]]],
        *,
        place: Path | None = None,
        copy_of: Path | None = None,
    ) -> None:
        self._tables, self._table, self._filters, self._key = tables, table, filters, key
        self._columns, self._values_of = [*columns, STAMP], values_of
        self.schema = self._schema(filters, key)
        layout = json.dumps([_LAYOUT, tantivy.__version__, key, dict(filters)])  # type: ignore[attr-defined]
        self._files = None if place is None else IndexFiles(place, layout, copy_of=copy_of)
        self._folder: Path | None = None
        self._index = Index(self.schema)
        self._stamps: NDArray[np.int64] = np.zeros(0, np.int64)
        self._version = -1
        self._updating = threading.Lock()

    @staticmethod
    def _schema(filters: Mapping[str, FieldType], key: str) -> Any:
        builder = SchemaBuilder()
        builder.add_integer_field(STAMP, indexed=True, fast=True)
        builder.add_integer_field(ORDER, fast=True)
        builder.add_text_field(TEXT, tokenizer_name="en_stem", index_option="position")
        for name, kind in filters.items():
            if kind != "integer":
                builder.add_text_field(name, stored=name == key, fast=True, tokenizer_name="raw", index_option="basic")
            if kind in ("date", "integer"):
                builder.add_integer_field(_number(name), indexed=True, fast=True)
        return builder.build()

    def searcher(self) -> Searcher:
        """Return a view of all rows that are in the table now."""
        now = self._tables.read(lambda: self._table.version)
        with self._updating:
            if now != self._version:
                self._update()
                self._version = now
            return self._index.searcher()

    def _update(self) -> None:
        if self._files is not None:
            try:
                with self._files.lock():
                    self._update_files(self._files)
                return
            except (OSError, ValueError) as error:  # no right to write, no space left, or files that Tantivy cannot read
                log.warning("The index of words is kept in memory, since its files cannot be used: %s.", type(error).__name__)
                self._files, self._index, self._stamps = None, Index(self.schema), np.zeros(0, np.int64)
        fresh, gone = self._changes(self._stamps)
        self._stamps = self._write(self._index, self._stamps, fresh, gone)

    def _update_files(self, files: IndexFiles) -> None:
        present = files.present()
        if present is None:
            self._index, self._stamps = Index(self.schema), np.zeros(0, np.int64)
        elif present != self._folder:
            self._index = _opened(present)
            self._stamps = _stamps_of(self._index.searcher())
        self._folder = present
        fresh, gone = self._changes(self._stamps)
        if len(fresh) or len(gone):
            folder = files.draft(present)
            try:
                index = Index(self.schema, path=str(folder)) if present is None else _opened(folder)
                stamps = self._write(index, self._stamps, fresh, gone)
                files.publish(folder)
            except BaseException:
                files.discard(folder)
                raise
            self._index, self._stamps, self._folder = index, stamps, folder

    def _changes(self, known: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the stamps of the rows that are new in the table, and of those that are gone."""
        read = self._tables.read
        now = read(lambda: self._table.search().select([STAMP]).limit(None).to_arrow()[STAMP].to_numpy())
        return np.setdiff1d(now, known), np.setdiff1d(known, now)

    def _write(
        self, index: Index, known: NDArray[np.int64], fresh: NDArray[np.int64], gone: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Add rows to an index and remove others, and return the stamps that it then has."""
        if not len(fresh) and not len(gone):
            return known
        writer = index.writer(_HEAP_BYTES, 2 if len(fresh) > 5 * _CHUNK else 1)
        for stamp in gone.tolist():
            writer.delete_documents_by_term(STAMP, stamp)
        added = [self._add(writer, row) for row in self._rows(fresh, everything=len(known) == 0)]
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        return np.union1d(np.setdiff1d(known, gone), np.asarray(added, np.int64))

    def _rows(self, fresh: NDArray[np.int64], *, everything: bool) -> Iterator[dict[str, Any]]:
        # Many rows are read in one pass; a few by their stamps.
        wheres = [""] if everything or len(fresh) > 20 * _CHUNK else _stamp_filters(fresh)
        wanted = set(fresh.tolist())
        for where in wheres:
            query = self._table.search().select(self._columns).limit(None)
            for batch in self._tables.read((query.where(where) if where else query).to_arrow).to_batches(_CHUNK):
                yield from (row for row in batch.to_pylist() if row[STAMP] in wanted)

    def _add(self, writer: Any, row: Mapping[str, Any]) -> int:
        document, known = Document(), self._values_of(row)
        document.add_integer(STAMP, row[STAMP])
        document.add_integer(ORDER, newest_first(str(known["study_date"][0] or ""), str(known[self._key][0])))
        document.add_text(TEXT, row.get(TEXT) or "")
        for name, values in known.items():
            kind = self._filters[name]
            for value in values:
                if kind in ("date", "integer") and str(value).isdigit():
                    document.add_integer(_number(name), int(value))
                if kind != "integer":
                    document.add_text(name, str(value))
        writer.add_document(document)
        return int(row[STAMP])

    def where(self, where: Where | None) -> Query:
        """Return a filter as a query that gives no score.

        Raises
        ------
        RecordError
            A field that cannot be filtered by, or a range of texts.
        """
        return Query.const_score_query(self._where(where) if where is not None else Query.all_query(), 0.0)

    def _where(self, where: Where) -> Query:
        match where:
            case AnyOf(field, values):
                known_field(field, self._filters)
                return self.one_of(field, values)
            case Range(field, low, high):
                return self._range(field, low, high)
            case And(parts):
                return Query.boolean_query([(Occur.Must, self._where(part)) for part in parts]) if parts else Query.all_query()
            case Or(parts):
                return (
                    Query.boolean_query([(Occur.Should, self._where(part)) for part in parts]) if parts else Query.empty_query()
                )
            case Not(part):
                return Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, self._where(part))])

    def one_of(self, field: str, values: Sequence[str]) -> Query:
        """Return the query for documents that hold one of the values."""
        terms = [storable(value) for value in values]
        return Query.term_set_query(self.schema, field, terms) if terms else Query.empty_query()

    def _range(self, field: str, low: str | int | None, high: str | int | None) -> Query:
        if known_field(field, self._filters) not in ("date", "integer"):
            raise RecordError(f"{field} holds texts, so it has no range. Give the values to look for.")
        least = None if low is None else int(low)
        most = None if high is None else int(high)
        if least is None and most is None:
            least = 0
        return Query.range_query(self.schema, _number(field), TantivyType.Integer, least, most)

    def ids(self, searcher: Searcher, hits: Sequence[tuple[Any, Any]]) -> list[str]:
        """Return the ids of hits."""
        return [searcher.doc(address).get_first(self._key) or "" for _, address in hits]

    def count(self, where: Where) -> int:
        """Return how many rows match a filter."""
        return count_of(self.searcher().search(self.where(where), 1))

    def facets(self, query: Query, fields: Sequence[str], size: int) -> dict[str, Facet]:
        """Return the most frequent values over all rows that match; equal counts by value.

        Parameters
        ----------
        query : Query
            Which rows are counted.
        fields : sequence of str
            Fields with texts.
        size : int
            Most values of a field.
        """
        if not fields:
            return {}
        terms = {name: {"terms": {"field": name, "size": _MOST_VALUES, "segment_size": _MOST_VALUES}} for name in fields}
        found = self.searcher().aggregate(query, terms)
        return {name: _facet(name, found[name], size) for name in fields}


def _opened(folder: Path) -> Index:
    index = Index.open(str(folder))
    index.config_reader("manual")  # else a thread would look for changes, of which a generation has none
    return index


def _stamps_of(searcher: Searcher) -> NDArray[np.int64]:
    found = searcher.search(Query.all_query(), max(searcher.num_docs, 1), order_by_field=STAMP)
    return np.sort(np.fromiter((stamp for stamp, _ in found.hits), np.int64))


def count_of(result: Any) -> int:
    """Return how many documents a search matched."""
    return int(result.count or 0)


def _facet(name: str, found: Mapping[str, Any], size: int) -> Facet:
    buckets = sorted((-int(b["doc_count"]), str(b["key"])) for b in found["buckets"] if b["key"] != "")[: max(size, 0)]
    exact = not found.get("sum_other_doc_count") and not found.get("doc_count_error_upper_bound")
    return Facet(name, tuple(Bucket(value, -count) for count, value in buckets), exact)


def newest_first(study_date: str, key: str) -> int:
    """Return a number of 63 bits that orders documents: the newest study first, those without a date last, then by a hash."""
    date = int(study_date) if study_date.isdigit() and len(study_date) == 8 else 0
    spread = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 28
    return ((99_999_999 - date) << 36) | spread


def _stamp_filters(stamps: NDArray[np.int64]) -> list[str]:
    chunks = [stamps[at : at + _CHUNK] for at in range(0, len(stamps), _CHUNK)]
    return [f"{STAMP} IN ({', '.join(map(str, chunk.tolist()))})" for chunk in chunks]


def _number(field: str) -> str:
    return f"{field}_number"
