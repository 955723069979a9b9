"""Where the words of a query stand in a report, each with its sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dicom_workflow.search.documents import ReportDocument

MAX_EXCERPTS = 50
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n|\n(?=[A-Z ]{4,}:)")


@dataclass(frozen=True)
class Excerpt:
    """Words of a report and the sentence around them; offsets in code points of the report's whole text."""

    begin: int
    end: int
    text: str
    sentence: str
    sentence_begin: int
    sentence_end: int


def excerpts(report: ReportDocument, query: str) -> list[Excerpt]:
    """Return where the words and phrases of a text query stand in a report, in the order of the text."""
    text = report.text
    sentences = _sentences(text)
    found: list[Excerpt] = []
    for match in _pattern(query).finditer(text) if query.strip() else ():
        if not match[0]:
            continue
        begin, end = next(((a, b) for a, b in sentences if a <= match.start() < b), match.span())
        found.append(Excerpt(match.start(), match.end(), match[0], text[begin:end], begin, end))
        if len(found) == MAX_EXCERPTS:
            break
    return found


def _pattern(query: str) -> re.Pattern[str]:
    phrases = re.findall(r'"([^"]+)"', query)
    words = re.findall(r"\w+", re.sub(r'"[^"]*"', " ", query))
    parts = [r"\W+".join(map(re.escape, re.findall(r"\w+", phrase))) for phrase in phrases]
    parts += [re.escape(word) + (r"\w{0,3}" if len(word) > 3 else "") for word in words]
    parts = [part for part in parts if part][:50]
    return re.compile(rf"\b(?:{'|'.join(parts)})\b" if parts else r"(?!)", re.IGNORECASE)


def _sentences(text: str) -> list[tuple[int, int]]:
    """Return begin and end of each sentence."""
    spans, begin = [], 0
    for match in _SENTENCE_END.finditer(text):
        spans.append((begin, match.start()))
        begin = match.end()
    return [*spans, (begin, len(text))]
