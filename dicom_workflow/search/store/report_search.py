"""Reports by words, filters and likeness, page by page, on the index that is derived of their table."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

from tantivy import FieldType as TantivyType
from tantivy import Occur, Order, Query

from dicom_workflow.errors import RecordError
from dicom_workflow.search.query import ReportQuery
from dicom_workflow.search.store.derived_index import ORDER, TEXT, DerivedIndex, count_of
from dicom_workflow.search.store.records import decoded_cursor, encoded_cursor
from dicom_workflow.search.store.text_query import parse_text, stems_of

LIKE_TERMS = 25
_LIKE_SHARE = 0.3
"""Share of the terms that a report has to have to be like another, as in Lucene's more-like-this."""


@dataclass(frozen=True)
class Page:
    """Ids with their scores, in order; how many match; and where the next page begins."""

    hits: tuple[tuple[str, float], ...]
    total: int
    cursor: str


def build_query(index: DerivedIndex, query: ReportQuery, like_text: str = "") -> tuple[Query, bool]:
    """Return the query of all parts, and whether it ranks its matches.

    Parameters
    ----------
    index : DerivedIndex
        Of the reports.
    query : ReportQuery
        What was asked.
    like_text : str
        The text of the report `query.like`.

    Raises
    ------
    RecordError
        An unknown field in the filter, or a text of too many words.
    """
    parts: list[tuple[Occur, Query]] = []
    if text := query.text.strip():
        words = [(Occur.Must, _words(index, part)) for part in parse_text(text)]
        parts.append((Occur.Must, Query.boolean_query(words) if words else Query.empty_query()))
    if query.like:
        parts += [(Occur.Must, _like(index, like_text)), (Occur.MustNot, index.one_of("report_id", [query.like]))]
    ranked = bool(parts)
    if query.report_ids is not None:
        parts.append((Occur.Must, Query.const_score_query(index.one_of("report_id", query.report_ids), 0.0)))
    if query.where is not None:
        parts.append((Occur.Must, index.where(query.where)))
    return (Query.boolean_query(parts) if parts else Query.all_query()), ranked


def _words(index: DerivedIndex, part: list[str]) -> Query:
    if len(part) == 1:
        return Query.term_query(index.schema, TEXT, part[0])
    return Query.phrase_query(index.schema, TEXT, part)  # type: ignore[arg-type]


def _like(index: DerivedIndex, text: str) -> Query:
    """The words that tell a report from the others: often in it, rare in them (tf x idf)."""
    searcher, counts = index.searcher(), Counter(stems_of(text))
    weights = {
        word: count * math.log(1 + searcher.num_docs / (1 + searcher.doc_freq(TEXT, word))) for word, count in counts.items()
    }
    words = sorted(weights, key=lambda word: (-weights[word], word))[:LIKE_TERMS]
    if not words:
        return Query.empty_query()
    terms = [(Occur.Should, Query.term_query(index.schema, TEXT, word)) for word in words]
    return Query.boolean_query(terms, minimum_number_should_match=max(1, int(len(words) * _LIKE_SHARE)))


def search_page(index: DerivedIndex, asked: ReportQuery, built: tuple[Query, bool], *, first: int, cursor: str) -> Page:
    """Return one page: by score where the query ranks, else the newest study first.

    Parameters
    ----------
    index : DerivedIndex
        Of the reports.
    asked : ReportQuery
        What was asked; a cursor belongs to it alone.
    built : tuple
        What `build_query` made of it.
    first : int
        Most hits of the page.
    cursor : str
        Of the page before; empty for the first.

    Raises
    ------
    RecordError
        The cursor is none, or of another query.
    """
    query, ranked = built
    mark = hashlib.sha256(repr(asked).encode()).hexdigest()[:12]
    after, skip = _read_cursor(cursor, mark) if cursor else (0, 0)
    searcher = index.searcher()
    if ranked:
        found = searcher.search(query, first + 1, offset=skip)
        total, hits = count_of(found), found.hits
        following = encoded_cursor([mark, 0, skip + first])
    else:
        total = count_of(searcher.search(query, 1))
        rest = _from(index, query, after) if cursor else query
        hits = searcher.search(rest, first + 1, order_by_field=ORDER, order=Order.Asc, offset=skip).hits
        keys = [int(key) for key, _ in hits[:first]]
        same = keys.count(keys[-1]) + (skip if keys[-1] == after else 0) if keys else 0
        following = encoded_cursor([mark, keys[-1] if keys else 0, same])
    ids = index.ids(searcher, hits[:first])
    scores = [float(key) if ranked else 0.0 for key, _ in hits[:first]]
    return Page(tuple(zip(ids, scores, strict=True)), total, following if len(hits) > first else "")


def _from(index: DerivedIndex, query: Query, after: int) -> Query:
    later = Query.range_query(index.schema, ORDER, TantivyType.Integer, after, None)
    return Query.boolean_query([(Occur.Must, query), (Occur.Must, later)])


def _read_cursor(cursor: str, mark: str) -> tuple[int, int]:
    """Return the place of a page: a number of `derived_index.newest_first`, and how many hits from there lie before it."""
    given, after, skip = decoded_cursor(cursor, (str, int, int))
    if given != mark or not (0 <= after < 1 << 63 and 0 <= skip < 1 << 40):
        raise RecordError("The cursor is not one of this query. Take `cursor` of the page before, or none for the first page.")
    return after, skip
