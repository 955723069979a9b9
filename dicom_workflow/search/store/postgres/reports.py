"""Reports in PostgreSQL: writing them with their words, and searching them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.query import REPORT_FILTERS, ReportHit, ReportPage, ReportQuery
from dicom_workflow.search.store.postgres.connections import storable
from dicom_workflow.search.store.postgres.schema import REPORT_COLUMNS, report_list_columns
from dicom_workflow.search.store.postgres.statements import (
    FALSE,
    LIKE_TERMS,
    Condition,
    Statistics,
    Term,
    as_tsquery,
    as_tsvector,
    condition_of,
    inverse_frequency,
    quoted,
    scored,
    upsert_statement,
)
from dicom_workflow.search.store.records import (
    check_where,
    decoded_cursor,
    encoded_cursor,
    report_from,
    report_json,
    report_lists,
)
from dicom_workflow.search.store.text_query import parse_text, stems_of

MAX_INDEXED_CHARACTERS = 200_000
"""Of a report, from its beginning: a tsvector holds 1 MB of words and positions."""
COUNTED = 20_000
"""Most reports that are counted for a word whose number of reports is not known from the last maintenance."""


def write_reports(connection: psycopg.Connection[Any], reports: Sequence[ReportDocument]) -> None:
    """Insert or replace reports, in one statement.

    Parameters
    ----------
    connection : psycopg Connection
        In a transaction or with autocommit.
    reports : sequence of ReportDocument
        Each report id once.
    """
    rows = [
        {
            **{name: storable(str(getattr(report, name))) for name in REPORT_COLUMNS if hasattr(report, name)},
            **{name: list(map(storable, values)) for name, values in report_lists(report).items()},
            # As ASCII, with escapes: the text comes back as it was, whatever characters it has.
            "document": json.dumps(report_json(report)),
            "words": as_tsvector(stems := stems_of(report.text[:MAX_INDEXED_CHARACTERS])),
            "word_count": len(stems),
        }
        for report in reports
    ]
    lists = report_list_columns()
    types = {name: "text[]" if name in lists else "text" for name in REPORT_COLUMNS}
    types |= {"document": "text", "words": "text", "word_count": "integer"}
    given = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in types.items())
    columns = (*REPORT_COLUMNS, "document", "words", "word_count")
    source = sql.SQL(
        "(SELECT {}, document::json AS document, words::tsvector AS words, word_count "
        "FROM json_to_recordset(%s) AS given ({})) source"
    ).format(sql.SQL(", ").join(map(sql.Identifier, REPORT_COLUMNS)), given)
    # JSON has no equality in PostgreSQL, its text has.
    statement = upsert_statement("search_reports", "report_id", columns, source, {"document": "text", "words": ""})
    connection.execute(statement, (json.dumps(rows),))


def _statistics(connection: psycopg.Connection[Any]) -> Statistics:
    """Return the number of reports and their length: from the last maintenance, or counted while there was none."""
    row = connection.execute("SELECT reports, average_words FROM search_store WHERE reports > 0").fetchone()
    if row is None:
        row = connection.execute(
            "SELECT count(*), avg(word_count)::float8 FROM (SELECT word_count FROM search_reports LIMIT %s) counted", (COUNTED,)
        ).fetchone()
    return Statistics(int(row[0]), float(row[1] or 1)) if row else Statistics(0, 1.0)


def _terms(connection: psycopg.Connection[Any], lexemes: Sequence[str]) -> list[Term]:
    """Return the words with the number of reports that have them: from the last maintenance, else counted up to a limit."""
    known = connection.execute("SELECT lexeme, documents FROM search_terms WHERE lexeme = ANY(%s)", (list(lexemes),)).fetchall()
    counts = {str(lexeme): int(documents) for lexeme, documents in known}
    counted = "SELECT count(*) FROM (SELECT 1 FROM search_reports WHERE words @@ %s::tsquery LIMIT %s) counted"
    for lexeme in set(lexemes) - counts.keys():
        row = connection.execute(counted, (quoted(lexeme), COUNTED)).fetchone()
        counts[lexeme] = int(row[0]) if row else 0
    return [Term(lexeme, counts[lexeme]) for lexeme in dict.fromkeys(lexemes)]


def _like(connection: psycopg.Connection[Any], report_id: str, statistics: Statistics) -> tuple[Condition, list[Term]]:
    """Return the condition that a report has one of the telling words of another, and these words."""
    row = connection.execute(
        "SELECT array_agg(lexeme), array_agg(cardinality(positions)) FROM search_reports, unnest(words) WHERE report_id = %s"
        " GROUP BY report_id",
        (report_id,),
    ).fetchone()
    if row is None:
        known = connection.execute("SELECT 1 FROM search_reports WHERE report_id = %s", (report_id,)).fetchone()
        if known is None:
            raise RecordError(f"There is no report {shown(report_id)} in the store, so nothing can be like it.")
        return Condition(FALSE), []
    counts = dict(zip(row[0], row[1], strict=True))
    terms = [term for term in _terms(connection, list(counts)) if term.documents > 1]  # what no other report has, finds none
    terms.sort(key=lambda term: (-counts[term.lexeme] * inverse_frequency(term, statistics), term.lexeme))
    chosen = terms[:LIKE_TERMS]
    if not chosen:
        return Condition(FALSE), []
    query = as_tsquery([[term.lexeme] for term in chosen], " | ")
    return Condition(sql.SQL("words @@ %s::tsquery AND report_id <> %s"), (query, report_id)), chosen


def reports_condition(
    connection: psycopg.Connection[Any], query: ReportQuery, statistics: Statistics | None = None
) -> tuple[Condition, list[Term]]:
    """Return the condition that a report matches a query, and the words that rank it.

    Parameters
    ----------
    connection : psycopg Connection
        To stem words and count them.
    query : ReportQuery
        All its parts have to match.
    statistics : Statistics or None
        Of all reports; None where no rank is needed.

    Raises
    ------
    RecordError
        An unknown field, or there is no report to be like.
    """
    condition = condition_of(check_where(query.where, REPORT_FILTERS), REPORT_FILTERS)
    terms: list[Term] = []
    if query.report_ids is not None:
        condition &= Condition(sql.SQL("report_id = ANY(%s)"), (list(query.report_ids),))
    if query.text.strip():
        parts = parse_text(query.text)
        condition &= Condition(sql.SQL("words @@ %s::tsquery"), (as_tsquery(parts),)) if parts else Condition(FALSE)
        terms += _terms(connection, [stem for part in parts for stem in part]) if statistics else []
    if query.like:
        matching, telling = _like(connection, query.like, statistics or _statistics(connection))
        condition &= matching
        terms += telling
    return condition, terms


def page_of_reports(connection: psycopg.Connection[Any], query: ReportQuery, *, first: int, cursor: str) -> ReportPage:
    """Return one page of the reports of a query: best first, or the newest study first when there are no words.

    Parameters
    ----------
    connection : psycopg Connection
        Any.
    query : ReportQuery
        All its parts have to match.
    first : int
        Length of the page.
    cursor : str
        Of the page before, or empty.

    Raises
    ------
    RecordError
        An unknown field, a text that is no cursor, or there is no report to be like.
    """
    ranked = bool(query.text.strip() or query.like)
    after = decoded_cursor(cursor, ((float if ranked else str), str)) if cursor else None
    statistics = _statistics(connection) if ranked else None
    condition, terms = reports_condition(connection, query, statistics)
    if statistics is not None:
        source = scored(condition, terms, statistics)
        key, later = "score", "(score < %s OR (score = %s AND report_id > %s))"
    else:
        text = sql.SQL("SELECT number, report_id, study_date, 0::float8 AS score FROM search_reports WHERE {}")
        source = Condition(text.format(condition.text), condition.values)
        key, later = "study_date", "(study_date < %s OR (study_date = %s AND report_id > %s))"
    statement = sql.SQL(
        "WITH matched AS {materialized} ({source}), total AS (SELECT count(*) AS total FROM matched), "
        "page AS (SELECT * FROM matched WHERE {later} ORDER BY {key} DESC, report_id LIMIT {limit}) "
        "SELECT total, page.score, page.{key}, document FROM total LEFT JOIN page ON true "
        "LEFT JOIN search_reports USING (number) ORDER BY page.{key} DESC, page.report_id"
    ).format(
        # Ranks are computed once; without words, the index on the date gives the page.
        materialized=sql.SQL("MATERIALIZED" if ranked else "NOT MATERIALIZED"),
        source=source.text,
        later=sql.SQL(later if after else "true"),
        key=sql.Identifier(key),
        limit=sql.Literal(first + 1),
    )
    follow = (after[0], after[0], after[1]) if after else ()
    rows = connection.execute(statement, (*source.values, *follow)).fetchall()
    hits = [ReportHit(report_from(row[3]), float(row[1])) for row in rows if row[3] is not None]
    following = encoded_cursor([rows[first - 1][2], hits[first - 1].report.report_id]) if len(hits) > first else ""
    return ReportPage(tuple(hits[:first]), int(rows[0][0]), following)
