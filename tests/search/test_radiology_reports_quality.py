"""Real reports: against people's MeSH coding, in halves that were and were not in view when rules were written; mixed texts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import radiology_reports as benchmark

from dicom_workflow.labeling.service_model import problems
from dicom_workflow.search.radiology_reports import LocalNLP, read_report

SAMPLE_DATA = os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", "")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not SAMPLE_DATA, reason="DICOM_WORKFLOW_SAMPLE_DATA names no folder"),
]


@pytest.fixture(scope="module")
def reads() -> list[benchmark.Read]:
    return benchmark.read_all(Path(SAMPLE_DATA, "reports", "indiana_reports.jsonl"))[0]


@pytest.mark.parametrize("part", ["all", "even", "odd"])
def test_findings_agree_with_the_coding_of_people(reads: list[benchmark.Read], part: str) -> None:
    chosen = reads if part == "all" else benchmark.half(reads, int(part == "odd"))
    counts = benchmark.score(chosen)
    assert len(counts) == 21
    assert benchmark.micro_f1(counts) >= 0.93, counts
    assert benchmark.macro_f1(counts) >= 0.87, counts


def test_all_real_reports_keep_offsets_and_contract(reads: list[benchmark.Read]) -> None:
    for _, report, _ in reads:
        for found in report.findings:
            assert found.sentence_begin <= found.begin < found.end <= found.sentence_end
        answer = LocalNLP().infer_icd10_cm(Text=report.text)
        assert not problems("InferICD10CM", answer, service="comprehendmedical", side="output")


def test_the_symptoms_of_the_indication_are_never_findings(reads: list[benchmark.Read]) -> None:
    outside = [f for _, report, _ in reads for f in report.findings if f.section not in ("findings", "impression")]
    assert len(outside) > 800
    assert {found.state for found in outside} <= {"history", "negative", "hypothetical", "family"}
    assert not any(found.label for found in outside)


def test_texts_without_sections_are_read_for_what_the_image_shows() -> None:
    lines = [json.loads(line) for line in Path(SAMPLE_DATA, "pairs", "reports.jsonl").read_text(encoding="utf-8").splitlines()]
    reports = [read_report(line["text"], report_id=line["report_id"]) for line in lines]
    assert len(reports) == 95
    assert sum(bool(report.label_states()) for report in reports) >= 0.9 * len(reports)
    symptoms = [found for report in reports for found in report.findings if found.kind == "symptom"]
    assert len(symptoms) > 50
    assert sum(found.state in ("history", "negative") for found in symptoms) >= 0.9 * len(symptoms)
