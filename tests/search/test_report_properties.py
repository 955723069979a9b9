"""Properties of reading that hold for any report: offsets, negation, any characters, long texts."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_workflow.errors import ReportError
from dicom_workflow.search.radiology_reports import read_report
from dicom_workflow.search.radiology_reports.comprehend_medical import parts_of
from dicom_workflow.search.radiology_reports.sections import split_sections
from dicom_workflow.search.radiology_reports.sentences import MAX_SENTENCE_CHARACTERS, split_sentences

PHRASES = (
    "pleural effusion", "pneumothorax", "atelectasis", "consolidation", "pulmonary edema", "cardiomegaly", "pneumonia",
    "lung mass", "pulmonary nodule", "rib fracture", "pleural thickening", "emphysema", "scoliosis", "hiatal hernia",
    "infiltrate",
)  # fmt: skip
findings = st.lists(st.sampled_from(PHRASES), min_size=1, max_size=4, unique=True)
pieces = st.sampled_from(
    ["FINDINGS:", "Impression:", "HISTORY", "\n\n", "1. ", " Dr. ", "No ", "effusion", " 1.4 cm ", ".", ", ", "opacity",
     " may be ", "left ", "?", "<br>", "é", "🫁", ":", ";", " or ", "normal heart", "\t", "-"]
)  # fmt: skip
texts = st.lists(pieces | st.text(max_size=8), max_size=40).map("".join)
relaxed = settings(deadline=None, max_examples=150)


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]


@relaxed
@given(findings)
def test_negating_a_sentence_flips_its_findings(names: list[str]) -> None:
    stated = read_report(f"There is {listed(names)}.", report_id="a").findings
    for opening in ("There is no", "No evidence of", "Negative for", "The lungs are without"):
        denied = read_report(f"{opening} {listed(names)}.", report_id="a").findings
        assert [(found.concept, "negative") for found in stated] == [(found.concept, found.state) for found in denied]
    assert {found.state for found in stated} == {"positive"}


@relaxed
@given(findings)
def test_doubting_a_sentence_makes_its_findings_uncertain(names: list[str]) -> None:
    for sentence in (f"Possible {listed(names)}.", f"This may represent {listed(names)}.", f"Cannot exclude {listed(names)}."):
        assert {found.state for found in read_report(sentence, report_id="a").findings} == {"uncertain"}


@relaxed
@given(texts)
def test_offsets_lie_inside_their_sentence_for_any_text(text: str) -> None:
    try:
        report = read_report(text, report_id="a")
    except ReportError:
        assert not any(character.isalnum() for character in text)
        return
    assert len(report.text) == len(text)
    for found in report.findings:
        assert 0 <= found.sentence_begin <= found.begin < found.end <= found.sentence_end <= len(text)
        assert report.text[found.begin : found.end].strip()


@relaxed
@given(texts)
def test_sections_and_sentences_are_in_order_and_do_not_overlap(text: str) -> None:
    sections = split_sections(text)
    assert all(first.end <= second.begin for first, second in pairwise(sections))
    ends = 0
    for begin, end in split_sentences(text):
        assert ends <= begin < end
        assert end - begin <= MAX_SENTENCE_CHARACTERS
        ends = end


@relaxed
@given(texts, st.integers(min_value=20, max_value=200))
def test_parts_for_the_service_hold_every_sentence_and_keep_the_limit(text: str, limit: int) -> None:
    parts = list(parts_of(text, limit))
    assert all(0 < end - begin <= limit for begin, end in parts)
    for begin, end in split_sentences(text):
        if end - begin <= limit:
            assert any(first <= begin and end <= last for first, last in parts)


@relaxed
@given(st.sampled_from([" ", "\n", ".", "? ", "1. ", "\t", "* ", "no ", "a:", "FINDINGS ", "\r\n"]))
def test_long_runs_of_anything_are_read(run: str) -> None:
    report = read_report("effusion" + run * 20_000 + " pneumothorax", report_id="a")
    assert [found.concept for found in report.findings] == ["pleural effusion", "pneumothorax"]
