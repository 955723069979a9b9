"""The lexicon: radiology concepts with the wordings that state them, their ICD-10-CM code, kind and label.

``lexicon.tsv`` is meant to be read and extended by people who know reports. Column ``patterns`` has wordings of the finding,
``normal`` wordings that say that it is absent ("heart size is normal"), both in the language of `phrases`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from dicom_workflow.search.documents import Kind
from dicom_workflow.search.radiology_reports.phrases import Found, PhraseIndex, Token, longest, tokens_of

LEXICON_VERSION = "2"
NOTHING = "-"
"""In place of a concept: wordings that are none, and whose words must not be taken for one ("catheter fracture")."""


@dataclass(frozen=True)
class Concept:
    """A finding that reports name."""

    name: str
    code: str
    """Leaf of ICD-10-CM."""
    code_text: str
    kind: Kind
    label: str = ""
    """The label of the chest label set that it is evidence for."""


@dataclass(frozen=True)
class Mention:
    """A concept in a sentence: the positions of its words among the sentence's tokens."""

    concept: Concept
    normal: bool
    """The words say that all is well: "the heart is normal in size"."""
    positions: tuple[int, ...]

    @property
    def first(self) -> int:
        """Position of the first word."""
        return self.positions[0]

    @property
    def last(self) -> int:
        """Position of the last word."""
        return self.positions[-1]


def table(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table that ships with this package; lines that begin with # are comments."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


@cache
def concepts() -> dict[str, Concept]:
    """Return name → concept, in the order of the table."""
    rows = table("lexicon.tsv")
    return {row["concept"]: Concept(row["concept"], row["code"], row["code_text"], row["kind"], row["label"]) for row in rows}  # type: ignore[arg-type]


@cache
def _indexes() -> tuple[PhraseIndex[tuple[Concept, bool]], PhraseIndex[tuple[Concept, bool]]]:
    known = concepts()
    stated, normal = [], []
    for row in table("lexicon.tsv"):
        concept = known[row["concept"]]
        stated += [(part, (concept, False)) for part in row["patterns"].split(";") if part.strip()]
        normal += [(part, (concept, True)) for part in (row["normal"] or "").split(";") if part.strip()]
    return PhraseIndex(stated, gap_words=5), PhraseIndex(normal, gap_words=9, gap_commas=True)


def find_mentions(tokens: list[Token]) -> list[Mention]:
    """Return the concepts that a sentence names, in order; what lies wholly inside a longer mention is part of that one."""
    stated, normal = _indexes()
    well = _one_each(normal.find(tokens))
    ends = {(item.meaning[0].name, at): item.positions[-1] for item in well for at in item.positions}
    found = [item for item in _one_each(longest(stated.find(tokens))) if not _denied(item, ends)]
    mentions = [Mention(*item.meaning, item.positions) for item in found + well if item.meaning[0].name != NOTHING]
    return sorted(mentions, key=lambda mention: (mention.first, mention.last, mention.concept.name))


def _denied(item: Found[tuple[Concept, bool]], ends: Mapping[tuple[str, int], int]) -> bool:
    """Whether words are part of a normal statement of the same concept, which does not end before them."""
    return any(ends.get((item.meaning[0].name, at), -1) >= item.positions[-1] for at in item.positions)


def _one_each(found: list[Found[tuple[Concept, bool]]]) -> list[Found[tuple[Concept, bool]]]:
    """Keep one of the wordings of a concept that overlap, the shortest stretch of text first."""
    chosen: list[Found[tuple[Concept, bool]]] = []
    for item in sorted(found, key=lambda item: (item.positions[-1] - item.positions[0], item.positions)):
        words = set(item.positions)
        if not any(other.meaning == item.meaning and words & set(other.positions) for other in chosen):
            chosen.append(item)
    return chosen


@lru_cache(maxsize=65_536)
def concepts_of(words: str, code: str = "") -> tuple[Concept, ...]:
    """Return the concepts that a short text names, those with that code and the longest first; none that it does not know."""
    found = find_mentions(tokens_of(words))
    ranked = sorted(found, key=lambda mention: (mention.concept.code != code, mention.first - mention.last))
    return tuple(mention.concept for mention in ranked)
