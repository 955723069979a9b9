"""What a radiologist reads in a sentence: negation, doubt, history, side, in many styles. The sentences are a table.

Half of the sentences were in view when rules were written for the kinds of fault that they showed; the other half was not, so
its share is the figure to expect of other reports.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.search.radiology_reports import read_report
from dicom_workflow.search.radiology_reports.lexicon import concepts

WEAKEST_FIRST = ("-", "hypothetical", "family", "history", "negative", "uncertain", "positive")
Sides = dict[str, set[tuple[str, str]]]


def rows() -> list[tuple[str, str, str]]:
    lines = Path(__file__).with_name("report_assertions.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.split("|") for line in lines if not line.startswith("#")]
    return [(style.strip(), text.strip().replace("\\n", "\n"), said.strip()) for style, text, said in parts]


def stated(text: str) -> Sides:
    """Return label or code → the pairs of state and side."""
    known = concepts()
    found: Sides = {}
    for each in read_report(text, report_id="R1").findings:
        label = each.label or (known[each.concept].label if each.concept in known else "")
        for key in {label, each.code} - {""}:
            found.setdefault(key, set()).add((each.state, each.laterality))
    return found


def faults(text: str, said: str) -> list[str]:
    """Return what is read otherwise than it is said."""
    found, wrong, expected = stated(text), [], set()
    for item in filter(None, (part.strip() for part in said.split(";"))):
        key, _, rest = item.partition("=")
        states, _, side = rest.partition("@")
        expected.add(key)
        have = found.get(key, set())
        state = max((each for each, _ in have), key=WEAKEST_FIRST.index, default="-")
        sides = {where for each, where in have if each == state}
        if state not in states.split("/"):
            wrong.append(f"{key}: expected {states}, got {state}")
        elif side and not (side in sides or (side == "bilateral" and {"left", "right"} <= sides)):
            wrong.append(f"{key}: expected {side}, got {sides}")
        elif side in ("left", "right") and not sides <= {side, ""}:
            wrong.append(f"{key}: expected {side} alone, got {sides}")
    others = set(default_label_set().labels) & set(found) - expected
    return wrong + [key for key in others if any(state in ("positive", "uncertain") for state, _ in found[key])]


@pytest.mark.parametrize(("half", "least"), [(0, 0.97), (1, 0.85)])
def test_sentences_are_read_as_a_radiologist_reads_them(half: int, least: float) -> None:
    chosen = rows()[half::2]
    assert len(chosen) >= 134
    wrong = {text: found for _, text, said in chosen if (found := faults(text, said))}
    assert len(wrong) <= (1 - least) * len(chosen), "\n".join(f"{text} {found}" for text, found in wrong.items())


@pytest.mark.parametrize("text", sorted({text for style, text, _ in rows() if style in ("pseudo", "double", "negation")})[::4])
def test_capitals_and_typographic_quotes_change_nothing(text: str) -> None:
    def states(words: str) -> list[tuple[str, str]]:
        return [(found.concept, found.state) for found in read_report(words, report_id="R1").findings]

    assert states(text.upper()) == states(text)
    assert states(text.replace("'", "’")) == states(text.replace("’", "'"))


@pytest.mark.parametrize("word", ["injection", "infusion", "perfusion", "capacity", "fraction", "conversation", "pleura"])
def test_a_known_word_is_no_misspelling_of_another(word: str) -> None:
    assert not [found for found in read_report(f"{word} was given.", report_id="R1").findings if found.label]
