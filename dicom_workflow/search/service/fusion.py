"""Text and image in one search: the ranks of both lists are fused, so that scores of different kinds need no common scale.

References
----------
Cormack, Clarke, Büttcher 2009, SIGIR, "Reciprocal rank fusion".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.query import MAX_FIRST, MAX_K, And, AnyOf, ImageHit, ImageQuery, ReportQuery, Where
from dicom_workflow.search.store.protocol import SearchStore

RANK_CONSTANT = 60
"""Of reciprocal rank fusion, as published: how little the first ranks count above the later ones."""


@dataclass
class Case:
    """A report with its similar images, or an image without a report."""

    score: float = 0.0
    report: ReportDocument | None = None
    images: list[ImageHit] = field(default_factory=list)
    """Best first."""
    text_rank: int | None = None
    """From 1."""
    image_rank: int | None = None
    """From 1."""


@dataclass(frozen=True)
class Fused:
    """The cases, best first, and how images were compared."""

    cases: tuple[Case, ...]
    space_id: str
    exact: bool


def fused(store: SearchStore, text: ReportQuery, image: ImageQuery, first: int) -> Fused:
    """Return the best cases of a text query and an image query: those that either list has.

    Parameters
    ----------
    store : SearchStore
    text : ReportQuery
        Its filter holds for every case, whichever list it comes from.
    image : ImageQuery
        So does its filter: a report that it leaves no image of is no case. Its `k` is not used.
    first : int
        How many cases.
    """
    found = store.similar_images(replace(image, k=MAX_K))
    reports = [hit.report for hit in store.search_reports(text, first=MAX_FIRST).hits]
    if own := _patient(store, image):
        reports = [report for report in reports if report.patient_key != own]
    images = _by_case(found.hits)
    if image.where is not None:
        asked = tuple(report.report_id for report in reports if report.report_id not in images)
        more = _by_case(_of_reports(store, image, asked)) if asked else {}
        reports = [report for report in reports if report.report_id in images or report.report_id in more]
    else:
        more = {}
    by_id = {report.report_id: report for report in reports}
    by_id |= _reports_of(
        store, text.where, [key for key, hits in images.items() if hits[0].image.report_id and key not in by_id]
    )
    kept = [key for key, hits in images.items() if key in by_id or (text.where is None and not hits[0].image.report_id)]
    cases = {key: Case(report=by_id.get(key), images=[*images.get(key, ()), *more.get(key, ())]) for key in [*by_id, *kept]}
    for rank, report in enumerate(reports, 1):
        cases[report.report_id].text_rank = rank
    for rank, key in enumerate(kept, 1):
        cases[key].image_rank = rank
    for case in cases.values():
        case.score = sum(1.0 / (RANK_CONSTANT + rank) for rank in (case.text_rank, case.image_rank) if rank)
    best = sorted(cases.values(), key=lambda case: -case.score)[:first]
    return Fused(tuple(best), found.space_id, found.exact)


def _by_case(hits: Sequence[ImageHit]) -> dict[str, list[ImageHit]]:
    """Return report id, or image id where there is no report → hits; the keys in the order of their best hit."""
    cases: dict[str, list[ImageHit]] = {}
    for hit in hits:
        cases.setdefault(hit.image.report_id or hit.image.image_id, []).append(hit)
    return cases


def _of_reports(store: SearchStore, image: ImageQuery, report_ids: tuple[str, ...]) -> tuple[ImageHit, ...]:
    """Return the images of some reports that the filter leaves, with their similarity."""
    parts = (AnyOf("report_id", report_ids), *((image.where,) if image.where is not None else ()))
    return store.similar_images(replace(image, k=MAX_K, where=And(parts))).hits


def _reports_of(store: SearchStore, where: Where | None, report_ids: list[str]) -> dict[str, ReportDocument]:
    """Return the reports of some ids that a filter leaves."""
    if not report_ids:
        return {}
    if where is None:
        found = [report for report in store.reports(report_ids) if report is not None]
    else:
        query = ReportQuery(where=where, report_ids=tuple(report_ids))
        found = [hit.report for hit in store.search_reports(query, first=MAX_FIRST).hits]
    by_id = {report.report_id: report for report in found}
    return {report_id: by_id[report_id] for report_id in report_ids if report_id in by_id}


def _patient(store: SearchStore, image: ImageQuery) -> str:
    """Return the patient whose reports are left out, or an empty text."""
    if not image.exclude_patient:
        return ""
    found = store.images([image.image_id])[0] if image.image_id else None
    return found.patient_key if found else image.exclude_patient_key
