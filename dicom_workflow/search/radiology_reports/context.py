"""ConText: whether a finding is affirmed, negated, uncertain, history, of the family or only asked for.

Chapman et al. 2007 (ConText), Harkema et al. 2009: trigger phrases before or behind a finding, each with a reach that ends at
a conjunction, at another clause or with the sentence. The phrases are in ``context.tsv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from dicom_workflow.search.documents import State
from dicom_workflow.search.radiology_reports.lexicon import Mention, table
from dicom_workflow.search.radiology_reports.modifiers import DESCRIBING
from dicom_workflow.search.radiology_reports.phrases import Found, PhraseIndex, Token, longest, tokens_of, word_set

Category = Literal["pseudo", "negation", "uncertainty", "probable", "history", "former", "family", "hypothetical", "end"]

_VERBS = word_set(
    "is are was were has have had remains remain shows show demonstrates demonstrate appears appear reveals contains"
)
_OPENERS = word_set(
    "the there heart stable unchanged mild mildly moderate moderately lungs mediastinum this these a an both"
    " cardiomediastinal aorta minimal normal increased decreased again persistent redemonstrated chronic"
)
_SEEN = word_set("identified seen noted demonstrated present evident appreciated visualized visible detected found")
_SHADOWS = frozenset(("silhouette", "size", "contour", "contours", "shadow"))
_SUBJECTS = frozenset(("the", "there", "heart", "lungs", "chest"))
_CONJUNCTIONS = frozenset(("or", "and", "nor"))
_SUBORDINATE = word_set("although though while whereas despite since because")
_BREAKS = word_set("; : - – — -- ---")
_TRANSIENT = frozenset(("pneumonia", "pneumothorax", "pleural effusion", "pulmonary edema", "heart failure", "lung infection"))
"""What a patient had and has no more, where it is called previous: a previous fracture or granuloma is still seen."""
_FORMER_REACH = 3


@dataclass(frozen=True)
class Trigger:
    """A phrase of the table in a sentence, with the positions it reaches from its own place."""

    category: Category
    first: int
    last: int
    forward_end: int
    """Position behind the last token that it reaches forwards; its own place where it reaches none."""
    backward_begin: int

    def reaches(self, mention: Mention) -> bool:
        """Say whether a mention lies within reach, or around the phrase ("heart is not enlarged")."""
        if self.last < mention.first:
            return mention.first < self.forward_end
        if self.first > mention.last:
            return mention.last >= self.backward_begin
        return self.first not in mention.positions and self.forward_end > self.last + 1


@cache
def _indexes() -> tuple[PhraseIndex[tuple[Category, str]], PhraseIndex[str]]:
    """Return the phrases with a reach, and those that tell what a whole sentence is about."""
    rows = [(part, row["category"], row["direction"]) for row in table("context.tsv") for part in row["phrases"].split(";")]
    reaching = [(part, (category, way)) for part, category, way in rows if way != "sentence"]
    subjects = [(part, category) for part, category, way in rows if way == "sentence"]
    return PhraseIndex(reaching, gap_words=4), PhraseIndex(subjects)  # type: ignore[arg-type]


@lru_cache(maxsize=65_536)
def subject_of(sentence: str) -> Literal["patient", "image", ""]:
    """Return what more words of a sentence tell of: the patient (complaints, laboratory, treatment), or the image."""
    about = [found.meaning for found in _indexes()[1].find(tokens_of(sentence))]
    patient, image = about.count("patient"), about.count("image")
    return "patient" if patient > image else "image" if image else ""


def find_triggers(tokens: Sequence[Token]) -> list[Trigger]:
    """Return the phrases that say how a finding is meant, with what they reach."""
    found = _indexes()[0].find(tokens)
    if not found:
        return []
    found = longest(found)  # "no change" is no "no"
    ends = _ends(tokens, found)
    ends_negation = ends | {item.positions[0] for item in found if item.meaning == ("end", "negation")}
    triggers = []
    for item in found:
        category, way = item.meaning
        if category in ("end", "pseudo"):
            continue
        first, last = item.positions[0], item.positions[-1]
        if category == "former":
            triggers.append(Trigger(category, first, last, _described(tokens, last), first))
            continue
        reach = ends_negation if category == "negation" else ends
        forward = _forward(tokens, last, category, reach) if way == "forward" else last + 1
        backward = _backward(tokens, first, reach) if way == "backward" else first
        triggers.append(Trigger(category, first, last, forward, backward))
    return triggers


def state_of(mention: Mention, triggers: Sequence[Trigger]) -> tuple[State, Trigger | None]:
    """Return what a sentence says of a finding that it mentions, and the phrase that says so."""
    said = {trigger.category: trigger for trigger in triggers if trigger.reaches(mention)}
    if "former" in said and mention.concept.name in _TRANSIENT and "negation" not in said:
        return "history", said["former"]
    for other in ("family", "hypothetical", "history"):
        if other in said and not (other == "history" and "negation" in said):
            return other, said[other]
    negation = said.get("negation")
    if mention.normal:
        inside = next((trigger for trigger in triggers if trigger.category == "negation" and _in_front(trigger, mention)), None)
        return ("positive" if inside else "negative"), inside
    if negation:
        return "negative", negation
    doubt = said.get("uncertainty")
    return ("uncertain" if doubt else "positive"), doubt


def _in_front(trigger: Trigger, mention: Mention) -> bool:
    """Whether a negation stands right before a later word of a normal statement: "heart size is not normal"."""
    return mention.first < trigger.first and trigger.last + 1 in mention.positions


def _ends(tokens: Sequence[Token], found: Sequence[Found[tuple[Category, str]]]) -> set[int]:
    ends = {item.positions[0] for item in found if item.meaning == ("end", "both")}
    return ends | {at for at, token in enumerate(tokens) if token.word in _BREAKS}


def _described(tokens: Sequence[Token], last: int) -> int:
    """Return the position behind the first noun after "previous": only words of side, site and extent stand between."""
    at = last + 1
    while at < len(tokens) and at - last <= _FORMER_REACH and tokens[at].word in DESCRIBING:
        at += 1
    return min(at + 1, len(tokens))


def _forward(tokens: Sequence[Token], last: int, category: Category, ends: set[int]) -> int:
    for at in range(last + 1, len(tokens)):
        if at in ends:
            return at
        word = tokens[at].word
        if category == "negation" and (_opens_clause(tokens, at) or (word == "with" and at > last + 1)):
            return at
        if category in ("uncertainty", "probable") and word == "," and _opens_clause(tokens, at):
            return at
        if word == "," and at + 1 < len(tokens) and tokens[at + 1].word in _SUBJECTS:
            return at
    return len(tokens)


def _backward(tokens: Sequence[Token], first: int, ends: set[int]) -> int:
    for at in range(first - 1, -1, -1):
        if at in ends:
            return at + 1
        if _opens_clause(tokens, at):
            return at + 1
    return 0


def _opens_clause(tokens: Sequence[Token], at: int) -> bool:
    """Whether another clause begins behind a comma or an "and": "no effusion, the heart is enlarged"."""
    word = tokens[at].word
    subordinate = tokens[0].word in _SUBORDINATE and not any(token.word == "," for token in tokens[:at])
    if word not in (",", "and") or at + 1 == len(tokens):
        return False
    following = tokens[at + 1].word
    if word == "," and following in _CONJUNCTIONS:
        return at + 2 < len(tokens) and following == "and" and tokens[at + 2].word in ("the", "there")
    if word == "and":
        return following in ("the", "there", "heart", "stable", "unchanged")
    if following in _OPENERS or (following == "cardiac" and at + 2 < len(tokens) and tokens[at + 2].word in _SHADOWS):
        return True
    for token, after in zip(tokens[at + 1 :], [*tokens[at + 2 :], None], strict=False):
        if token.word in (",", "and", "or"):
            return False
        if token.word in _VERBS:
            return subordinate or after is None or after.word not in _SEEN
    return False
