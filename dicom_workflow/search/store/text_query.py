"""What a text asks for, and where that stands in a report: words and phrases, cut and stemmed as the index of texts does.

No stop words: "no" is a word.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from dicom_workflow.errors import RecordError

MAX_WORDS = 100
"""Of one query. A whole report is searched for by `ReportQuery.like`."""
LONGEST_WORD = 40
WORD = re.compile(r"[^\W_]+")


@cache
def analyzer() -> Any:
    """Return the analyzer of texts: words, lower case, English stems (Snowball)."""
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(LONGEST_WORD))
    return builder.filter(Filter.lowercase()).filter(Filter.stemmer("English")).build()


def stems_of(text: str) -> list[str]:
    """Return the words of a text as stems, in their order; half a surrogate pair is no part of a word."""
    stems: list[str] = analyzer().analyze(text.encode("utf-8", "replace").decode())
    return stems


def parse_text(text: str) -> list[list[str]]:
    """Return what has to be in a report, as stems: a list of one for a word, of more for a phrase in quotes.

    A quotation mark without its partner is no more than a space. Nothing else is an operator.

    Raises
    ------
    RecordError
        More than `MAX_WORDS` words.
    """
    pieces = text.split('"')
    if len(pieces) % 2 == 0:
        pieces[-2:] = [" ".join(pieces[-2:])]
    parts: list[list[str]] = []
    for at, piece in enumerate(pieces):
        stems = stems_of(piece)
        parts += [stems] if at % 2 and stems else [[stem] for stem in stems]
    unique = [list(part) for part in dict.fromkeys(tuple(part) for part in parts)]
    if sum(map(len, unique)) > MAX_WORDS:
        raise RecordError(
            f"expected a text of at most {MAX_WORDS} words, got more. Search for reports like a report by its id."
        )
    return unique


def find_highlights(text: str, parts: list[list[str]]) -> list[tuple[int, int]]:
    """Return the places that a query matched, first to last, without overlap.

    Parameters
    ----------
    text : str
        A report, or a part of it.
    parts : list of list of str
        Of a query, as `parse_text` returns them.

    Returns
    -------
    list of (int, int)
        Offsets in code points: ``text[begin:end]`` is a word, or the words of a phrase with what stands between them.
    """
    words = [(match.start(), match.end(), _stem(match.group())) for match in WORD.finditer(text)]
    found: list[tuple[int, int]] = []
    places: dict[str, list[int]] = {}
    for at, (_, _, stem) in enumerate(words):
        places.setdefault(stem, []).append(at)
    for part in parts:
        for at in places.get(part[0], ()):
            if [stem for _, _, stem in words[at : at + len(part)]] == part:
                found.append((words[at][0], words[at + len(part) - 1][1]))
    return _without_overlap(found)


def _without_overlap(found: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest of those that begin at one place; of overlapping ones the first."""
    kept: list[tuple[int, int]] = []
    for begin, end in sorted(found, key=lambda place: (place[0], -place[1])):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    return " ".join(stems_of(word))
