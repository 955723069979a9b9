"""Side, site and acuity of a finding: the words around it in its own clause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dicom_workflow.search.radiology_reports.lexicon import Mention
from dicom_workflow.search.radiology_reports.phrases import Token, word_set

ModifierType = Literal["DIRECTION", "SYSTEM_ORGAN_SITE", "ACUITY"]

_SIDES = word_set(
    "left leftward lingula lingular right rightward bilateral bilaterally both bibasilar bibasal"
    " bibasally biapical biapically bihilar bilat l r lt rt lll lul rll rul rml"
)
_SITES = word_set(
    "lobe lobes base bases apex apices apical basilar basal bibasilar bibasal biapical lingula lingular hilum hila hilar"
    " perihilar retrocardiac lung lungs midlung zone zones upper lower middle mid rib ribs clavicle humerus sternum spine"
    " thoracic lumbar cervical costophrenic fissure hemidiaphragm chest pleural mediastinum paratracheal subpleural"
    " peripheral central"
)
_ACUITIES = word_set(
    "acute subacute chronic old remote healed healing stable unchanged new increased increasing decreased decreasing worsening"
    " worsened improving improved progressive recurrent residual persistent resolving mild moderate severe small large minimal"
    " trace massive extensive borderline early subtle focal"
)
DESCRIBING = _SIDES | _SITES | _ACUITIES
"""Words of side, site, extent and time: they stand between a finding and what is said of it."""
_COMPARED = word_set("> greater larger more bigger worse and than &")
_STOPS = frozenset((";", ":", "but", "however", "although", "which", "without", "except", "."))
_BEFORE, _AFTER = 6, 8


@dataclass(frozen=True)
class Modifier:
    """A word that says where or since when, with its offsets in the sentence."""

    kind: ModifierType
    word: str
    begin: int
    end: int


def modifiers_of(mention: Mention, mentions: Sequence[Mention], tokens: Sequence[Token]) -> list[Modifier]:
    """Return the words of its own clause that say where a finding is and since when it is there, in order of the text.

    The clause ends at a conjunction, and at the next finding that the sentence names.

    Parameters
    ----------
    mention : Mention
        The finding.
    mentions : sequence of Mention
        All findings of the sentence.
    tokens : sequence of Token
        Of the sentence.
    """
    others = {at for other in mentions if other is not mention for at in _phrase(other, tokens)} - set(mention.positions)
    begin = mention.first
    while begin > max(0, mention.first - _BEFORE) and _continues(tokens, begin - 1, others):
        begin -= 1
    end = mention.last
    while end < min(len(tokens) - 1, mention.last + _AFTER) and _continues(tokens, end + 1, others, (",",)):
        end += 1
    if end + 2 < len(tokens) and tokens[end + 1].word == "," and _compares_sides(tokens, end + 2):
        end += 4
    return [
        Modifier(kind, token.word, token.begin, token.end)
        for token in tokens[begin : end + 1]
        for kind, words in _WORDS
        if token.word in words
    ]


def _phrase(mention: Mention, tokens: Sequence[Token]) -> range:
    """Return the positions of a mention with the words right before it that say where or since when it is."""
    first = mention.first
    while first and tokens[first - 1].word in DESCRIBING:
        first -= 1
    return range(first, mention.last + 1)


def _compares_sides(tokens: Sequence[Token], at: int) -> bool:
    """Whether "left greater than right" begins here."""
    words = [token.word for token in tokens[at : at + 4]]
    return len(words) > 2 and words[0] in _SIDES and words[1] in _COMPARED and not _SIDES.isdisjoint(words[2:])


_WORDS: tuple[tuple[ModifierType, frozenset[str]], ...] = (
    ("DIRECTION", _SIDES),
    ("SYSTEM_ORGAN_SITE", _SITES),
    ("ACUITY", _ACUITIES),
)


def _continues(tokens: Sequence[Token], at: int, others: set[int], stops: tuple[str, ...] = ()) -> bool:
    return at not in others and tokens[at].word not in _STOPS and tokens[at].word not in stops
