"""Where the words and phrases of a query stand in a text."""

from __future__ import annotations

from functools import lru_cache

from dicom_workflow.search.store.text_query import WORD, parse_text, stems_of


def find_highlights(text: str, query: str) -> list[tuple[int, int]]:
    """Return the places that a query matched, first to last, without overlap.

    Parameters
    ----------
    text : str
        A report, or a part of it.
    query : str
        As `ReportQuery.text`.

    Returns
    -------
    list of (int, int)
        Offsets in code points: ``text[begin:end]`` is a word, or the words of a phrase with what stands between them.

    Raises
    ------
    RecordError
        More than `text_query.MAX_WORDS` words in the query.
    """
    words = [(match.start(), match.end(), _stem(match.group())) for match in WORD.finditer(text)]
    found: list[tuple[int, int]] = []
    for part in parse_text(query):
        for at in range(len(words) - len(part) + 1):
            if all(words[at + step][2] == stem for step, stem in enumerate(part)):
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
