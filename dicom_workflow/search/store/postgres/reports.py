"""Reports in PostgreSQL: writing and deleting them, and the pages and facets of a query over their index."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.query import Facet, ReportHit, ReportPage, ReportQuery
from dicom_workflow.search.store.postgres.connections import storable
from dicom_workflow.search.store.postgres.report_index import ReportIndex
from dicom_workflow.search.store.postgres.statements import upsert_statement
from dicom_workflow.search.store.records import report_json
from dicom_workflow.search.store.report_search import build_query, search_page

Read = Callable[[Sequence[str]], list[ReportDocument | None]]

# JSON has no equality in PostgreSQL, its text has.
_UPSERT = upsert_statement(
    "search_reports",
    "report_id",
    ("report_id", "document", "written"),
    sql.SQL(
        "(SELECT report_id, document::json AS document, pg_current_xact_id() AS written "
        "FROM json_to_recordset(%s) AS given (report_id text, document text)) source"
    ),
    {"document": "text"},
)


def write_reports(connection: psycopg.Connection[Any], reports: Sequence[ReportDocument]) -> None:
    """Insert or replace reports, in one statement.

    Parameters
    ----------
    connection : psycopg Connection
        In a transaction or with autocommit.
    reports : sequence of ReportDocument
        Each report id once.
    """
    # As ASCII, with escapes: the text comes back as it was, whatever characters it has.
    rows = [{"report_id": storable(report.report_id), "document": json.dumps(report_json(report))} for report in reports]
    connection.execute(_UPSERT, (json.dumps(rows),))


def delete_reports(connection: psycopg.Connection[Any], report_ids: Sequence[str]) -> int:
    """Delete reports, and leave their numbers for the indexes of other processes; return how many there were."""
    done = connection.execute(
        "WITH gone AS (DELETE FROM search_reports WHERE report_id = ANY(%s) RETURNING number) "
        "INSERT INTO search_deleted_reports SELECT number, pg_current_xact_id() FROM gone",
        (list(report_ids),),
    )
    return done.rowcount


def page_of_reports(index: ReportIndex, read: Read, query: ReportQuery, *, first: int, cursor: str) -> ReportPage:
    """Return one page of the reports of a query: best first, or the newest study first when there are no words.

    Parameters
    ----------
    index : ReportIndex
        Of all reports.
    read : callable
        Ids → reports.
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
    page = search_page(index, query, build_query(index, query, _like_text(read, query)), first=first, cursor=cursor)
    hits = zip(read([report_id for report_id, _ in page.hits]), page.hits, strict=True)
    found = tuple(ReportHit(report, score) for report, (_, score) in hits if report is not None)
    return ReportPage(found, page.total, page.cursor)


def facets_of_reports(index: ReportIndex, read: Read, query: ReportQuery, names: Sequence[str], size: int) -> dict[str, Facet]:
    """Return the most frequent values over all reports of a query.

    Parameters
    ----------
    index : ReportIndex
        Of all reports.
    read : callable
        Ids → reports.
    query : ReportQuery
        All its parts have to match.
    names : sequence of str
        The fields.
    size : int
        Most values of a field.
    """
    built, _ = build_query(index, query, _like_text(read, query))
    return index.facets(built, names, size)


def _like_text(read: Read, query: ReportQuery) -> str:
    report = read([query.like])[0] if query.like else None
    if query.like and report is None:
        raise RecordError(f"There is no report {shown(query.like)} in the store, so nothing can be like it.")
    return report.text if report else ""
