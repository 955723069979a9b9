"""Where the words of a query stand in a report, each with its sentence."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.radiology_reports.sentences import split_sentences
from dicom_workflow.search.store.text_query import find_highlights

MAX_EXCERPTS = 50


@dataclass(frozen=True)
class Excerpt:
    """Words of a report and the sentence around them; offsets in code points of the report's whole text."""

    begin: int
    end: int
    text: str
    sentence: str
    sentence_begin: int
    sentence_end: int


def excerpts(report: ReportDocument, parts: list[list[str]]) -> list[Excerpt]:
    """Return where words and phrases, as `parse_text` returns them, stand in a report, in the order of the text."""
    text = report.text
    places = find_highlights(text, parts)[:MAX_EXCERPTS] if parts else []
    sentences = list(split_sentences(text)) if places else []
    found = []
    for begin, end in places:
        first, last = next(((a, b) for a, b in sentences if a <= begin < b), (begin, end))
        found.append(Excerpt(begin, end, text[begin:end], text[first:last], first, last))
    return found
