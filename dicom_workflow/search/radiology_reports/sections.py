"""The sections of a radiology report, whatever their order, case and headings; texts without any are one section.

Offsets are code points of the whole text, so that whatever is found in a section can be shown in the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dicom_workflow.search.radiology_reports.sentences import split_sentences

_HEADINGS = {
    "examination": "examination|exam|examination type|exam type|procedure|study|type of examination|examinations|views",
    "indication": "indication|indications|clinical indication|history|clinical history|clinical information|clinical data"
    "|clinical details|clinical|reason for exam|reason for examination|reason for study|reason for this examination|reason"
    "|presentation|past medical history|medical history|patient history|history of present illness|clinical presentation"
    "|clinical context|hx|pmh|symptoms|complaint|chief complaint|diagnosis on referral|clinical question|question",
    "technique": "technique|techniques|protocol|method|methods|radiographic technique",
    "comparison": "comparison|comparisons|compared to|prior studies|previous studies|comparison studies|prior study",
    "findings": "findings|finding|report|imaging findings|imaging notes|imaging note|radiographic findings|observations"
    "|description|result|results|body of report|chest findings|radiological findings|interpretation|findings/impression"
    "|findings and impression|image notes|radiology report|radiology|chest x-ray|chest x ray|cxr|chest radiograph",
    "impression": "impression|impressions|conclusion|conclusions|opinion|summary|assessment|diagnosis|final diagnosis"
    "|impression and recommendation|impression/recommendation|comment|comments|wet read|preliminary report|addendum"
    "|final impression|concl|imp",
    "discussion": "discussion|teaching points|teaching point|case discussion|learning points|background|follow-up course"
    "|recommendation|recommendations|notification|notifications|treatment|outcome|differential diagnosis|differential"
    "|laboratory|laboratory findings|lab|labs|laboratory data",
}
_SECTION_OF = {heading: name for name, headings in _HEADINGS.items() for heading in headings.split("|")}
_NAMES = "|".join(re.escape(heading).replace(r"\ ", r"[ \t]+") for heading in sorted(_SECTION_OF, key=len, reverse=True))
_CAPITALS = "FINDINGS|IMPRESSION|INDICATION|TECHNIQUE|COMPARISON|HISTORY|CONCLUSION|EXAMINATION"
_HEADING = re.compile(
    # behind a line, a sentence or wide space, and with a colon or alone on its line; possessive, so that long runs cost little
    rf"(?:\A|(?<=[\n\r.!?;)])|(?<=\s\s))[\s*#_>=.-]{{0,12}}+(?:\d[.)]\s{{0,3}})?(?P<name>{_NAMES})[\s*_]{{0,4}}"
    r"(?:(?P<colon>:)(?!\d)[\s*_.]{0,12}|(?P<line>(?=[\r\n]|\Z)))"
    # or in capitals at the beginning of a line, with a dash or a space behind it
    rf"|^[ \t]{{0,20}}(?P<capitals>(?-i:(?:{_CAPITALS})S?))[ \t]{{0,4}}(?:-{{1,3}}|[ \t])(?=[ \t]{{0,20}}\S)",
    re.IGNORECASE | re.MULTILINE,
)
IMAGE_SECTIONS = frozenset({"findings", "impression"})
"""The sections that describe this image. What the others name is history, another image or teaching."""


@dataclass(frozen=True)
class Section:
    """One section: its name and where its body lies, without the heading."""

    name: str
    begin: int
    end: int
    headed: bool = True
    """Whether a heading names it; text without headings is ``findings``."""


def split_sections(text: str) -> list[Section]:
    """Return the sections of a report in the order of the text; their bodies do not overlap and have text in them.

    What stands before the first heading is ``findings`` where no other section is, and ``examination`` otherwise. A name may
    come several times.
    """
    headings = [(found.start(), found.end(), _name(found)) for found in _HEADING.finditer(text) if _counts(found)]
    bodies: list[Section] = []
    has_findings = any(name == "findings" for *_, name in headings)
    first = headings[0][0] if headings else len(text)
    bodies += _body(text, "examination" if has_findings else "findings", 0, first, headed=False)
    for number, (_, begin, name) in enumerate(headings):
        end = headings[number + 1][0] if number + 1 < len(headings) else len(text)
        bodies += _body(text, name, begin, end, headed=True)
    return bodies


@lru_cache(maxsize=4)
def outline(text: str) -> tuple[tuple[Section, int, int], ...]:
    """Return section, begin and end of every sentence, in order; the engine asks, then who reads its answer."""
    return tuple(
        (section, begin, end)
        for section in split_sections(text)
        for begin, end in split_sentences(text, section.begin, section.end)
    )


def _name(found: re.Match[str]) -> str:
    given = found["name"] or found["capitals"]
    normal = re.sub(r"\s+", " ", given.lower())
    return _SECTION_OF.get(normal) or _SECTION_OF[normal.removesuffix("s")]


def _counts(found: re.Match[str]) -> bool:
    """Whether a word that may be a heading is one: alone on its line it has to be capitalized."""
    return found["line"] is None or found["name"][0].isupper()


def _body(text: str, name: str, begin: int, end: int, *, headed: bool) -> Iterator[Section]:
    body = text[begin:end]
    if body.strip():
        begin += len(body) - len(body.lstrip())
        yield Section(name, begin, begin + len(body.strip()), headed)
