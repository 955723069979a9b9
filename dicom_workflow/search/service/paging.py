"""Pages of reports with a cursor behind each one, over stores that have a cursor at the end of a page only."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from dicom_workflow.errors import RecordError
from dicom_workflow.search.query import MAX_FIRST, ReportHit, ReportQuery
from dicom_workflow.search.store.protocol import SearchStore


@dataclass(frozen=True)
class Page:
    """Hits with a cursor each, and whether there are more behind the last one."""

    hits: tuple[tuple[ReportHit, str], ...]
    total: int
    has_next: bool


def page_of(store: SearchStore, query: ReportQuery, first: int, after: str) -> Page:
    """Return a page behind a cursor.

    A cursor of this module is the store's cursor at the beginning of a page and a number of reports to skip from there, so
    that a client can go on behind any report.

    Parameters
    ----------
    store : SearchStore
    query : ReportQuery
    first : int
        At most `MAX_FIRST`.
    after : str
        A cursor of this module, or empty.

    Raises
    ------
    RecordError
        Another text as cursor.
    """
    start, skip = _decoded(after)
    if skip and skip + first > MAX_FIRST:
        start, skip = store.search_reports(query, first=skip, cursor=start).cursor, 0
        if not start:
            return Page((), store.search_reports(query, first=1).total, False)
    found = store.search_reports(query, first=first + skip, cursor=start)
    last = skip + first - 1
    hits = [
        (hit, _encoded(found.cursor, 0) if number == last and found.cursor else _encoded(start, number + 1))
        for number, hit in enumerate(found.hits)
    ]
    return Page(tuple(hits[skip:]), found.total, bool(found.cursor))


def _encoded(cursor: str, skip: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([cursor, skip]).encode()).decode()


def _decoded(after: str) -> tuple[str, int]:
    if not after:
        return "", 0
    try:
        cursor, skip = json.loads(base64.urlsafe_b64decode(after.encode("ascii")))
        if isinstance(cursor, str) and type(skip) is int and 0 <= skip <= MAX_FIRST:
            return cursor, skip
    except (ValueError, TypeError, RecursionError):
        pass
    raise RecordError("`after` is no cursor of this service. Take it from `cursor` or `endCursor` of the page before.")
