"""Where the words of a query stand in a report: offsets that slice back to what matched."""

from __future__ import annotations

import pytest
from support.search_corpus import Corpus

from dicom_workflow.errors import RecordError
from dicom_workflow.search.store.text_query import find_highlights, parse_text

TEXT = "FINDINGS: No pneumothorax; small effusions (left). Médiastin normal 😀 — no  effusion, NO pneumothorax."


def sliced(query: str, text: str = TEXT) -> list[str]:
    return [text[begin:end] for begin, end in find_highlights(text, parse_text(query))]


@pytest.mark.parametrize(
    ("query", "matched"),
    [
        ("effusion", ["effusions", "effusion"]),
        ("médiastin", ["Médiastin"]),
        ('"no pneumothorax"', ["No pneumothorax", "NO pneumothorax"]),
        ('"no effusion" left', ["left", "no  effusion"]),
        ('no "no pneumothorax"', ["No pneumothorax", "no", "NO pneumothorax"]),
        ("absent", []),
        ("!!!", []),
        ("", []),
    ],
)
def test_words_and_phrases_slice_back(query: str, matched: list[str]) -> None:
    assert sliced(query) == matched


def test_every_word_of_a_query_is_marked_in_what_it_found(corpus: Corpus) -> None:
    for report in corpus.reports:
        for word in ("pneumothorax", "no", "cough"):
            marked = sliced(word, report.text)
            assert all(piece.lower() == word for piece in marked)
            assert len(marked) == report.text.lower().replace(".", " ").replace(",", " ").split().count(word)


def test_a_text_is_words_and_phrases_and_nothing_else() -> None:
    assert parse_text('left "no pneumothoraces" left') == [["left"], ["no", "pneumothorac"]]
    assert parse_text('"open quote') == [["open"], ["quot"]]
    assert parse_text("a AND (b)") == [["a"], ["and"], ["b"]]
    with pytest.raises(RecordError, match="at most 100 words"):
        parse_text(" ".join(map(str, range(101))))


class _Counted(str):
    """A stem that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return str.__eq__(self, other)


def test_only_places_of_the_first_word_are_tried() -> None:
    text = "clear lungs " * 2000 + "small effusion"
    parts = [[_Counted(f"absent{number}"), _Counted("word")] for number in range(99)] + [[_Counted("small"), _Counted("effus")]]
    assert [text[begin:end] for begin, end in find_highlights(text, parts)] == ["small effusion"]
    assert _Counted.compared < 500
