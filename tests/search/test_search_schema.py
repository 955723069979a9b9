"""The schema: every published field and type is there, published clients run unchanged, the page's copy is in step."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, find_breaking_changes
from support import published_search as published
from support.search_corpus import Corpus
from support.search_service import Service

from dicom_workflow.search.service.schema import make_schema

PAGE_COPY = Path(__file__).resolve().parents[2] / "worker_ui" / "search" / "schema.graphql"
TEXT_OF_CODE = {"J93.9": "Pneumothorax, unspecified", "J90": "Pleural effusion, not elsewhere classified"}


def test_no_published_field_or_type_is_missing_or_changed() -> None:
    ours = build_schema(make_schema().as_str())
    assert find_breaking_changes(build_schema(published.schema_text()), ours) == []


def test_a_field_that_is_missing_would_be_noticed() -> None:
    text = make_schema().as_str().replace("getReport(", "getAReport(")
    changes = find_breaking_changes(build_schema(published.schema_text()), build_schema(text))
    assert [change.description for change in changes] == ["Query.getReport was removed."]


def test_the_published_interface_has_twenty_fields() -> None:
    assert len(published.FIELDS) == 20
    assert {*published.SEARCH_PAGE, *published.IMAGE_PAGE, *published.OTHERS} == set(published.FIELDS)


def test_the_copy_for_the_page_is_in_step() -> None:
    assert PAGE_COPY.read_text() == make_schema().as_str() + "\n", "write make_schema().as_str() and a line end to it"


def test_published_search_page(search_service: Service) -> None:
    answers = {name: search_service.data(query, searchQuery="effusion")[name] for name, query in published.SEARCH_PAGE.items()}
    assert len(answers["listReports"]) == len(search_service.corpus.reports)
    assert {len(report["Images"]) for report in answers["listReports"]} != {0}
    assert 0 < len(answers["searchReports"]) <= 20
    assert all("effusion" in report["Findings"] for report in answers["searchReports"])
    counts = Counter(code for report in search_service.corpus.reports for code in report.codes("positive"))
    top = answers["getAllPositiveICD10CMs"]
    assert [bucket["doc_count"] for bucket in top] == sorted(counts.values(), reverse=True)
    assert TEXT_OF_CODE["J93.9"] in {bucket["key"] for bucket in top}, "a description, as published, and not a code"
    negative = {bucket["key"]: bucket["doc_count"] for bucket in answers["getNegativeICD10CMs"]}
    mentioned = [report for report in search_service.corpus.reports if "effusion" in report.text]
    assert negative[TEXT_OF_CODE["J90"]] == sum("J90" in report.codes("negative") for report in mentioned)


def test_published_image_page(search_service: Service) -> None:
    image = search_service.corpus.images[0]
    asked = {name: published.IMAGE_PAGE[name] for name in ("getImage", "getReport", "getSimilarImages")}
    variables = {"imageid": image.image_id, "reportid": image.report_id}
    found = {name: search_service.data(query, **variables)[name] for name, query in asked.items()}
    assert found["getImage"]["ReportId"] == image.report_id
    assert found["getImage"]["Bucket"] is None, "a file on this machine is in no bucket"
    report = search_service.corpus.report_by_id[image.report_id]
    assert found["getReport"]["Findings"] == report.sections["findings"]
    assert found["getReport"]["PositiveDiagnoses"] == report.concepts("positive", "diagnosis")
    similar = found["getSimilarImages"]
    assert len(similar) == 30
    assert image.image_id not in {each["ImageId"] for each in similar}
    ids = json.dumps(sorted({each["ReportId"] for each in similar}))
    for name in published.LISTS:
        field = f"get{name}byReports"
        buckets = search_service.data(published.IMAGE_PAGE[field], reportids=ids)[field]
        assert buckets or not _stated(search_service.corpus, json.loads(ids), name), name


def _stated(corpus: Corpus, ids: list[str], name: str) -> list[str]:
    state = "positive" if name.startswith("Positive") else "negative"
    kinds = {"Signs": "sign", "Diagnoses": "diagnosis", "Symptoms": "symptom"}
    reports = [corpus.report_by_id[each] for each in ids]
    kind: Any = kinds.get(name[8:])
    return [each for report in reports for each in (report.concepts(state, kind) if kind else report.codes(state))]


def test_published_fields_that_no_page_sends(search_service: Service) -> None:
    image = search_service.corpus.images[0]
    images = search_service.data(published.OTHERS["getImages"], reportid=image.report_id)["getImages"]
    assert image.image_id in {each["ImageId"] for each in images}
    for state in published.STATES:
        field = f"get{state}ICD10CMsbySimilarReport"
        assert isinstance(search_service.data(published.OTHERS[field], reportid=image.report_id)[field], list)


INJECTIONS = [
    '["report-001"]}}, "query": {"match_all": {}}, "x": {"terms": {"a": ["b"]',
    '{"match_all": {}}',
    '["report-001", {"terms": {}}]',
    "report-001",
    '["report-001"',
    json.dumps([f"r{n}" for n in range(1001)]),
]


@pytest.mark.parametrize("text", INJECTIONS, ids=range(len(INJECTIONS)))
def test_text_through_input_that_is_no_list_of_ids_is_refused(search_service: Service, text: str) -> None:
    query = published.IMAGE_PAGE["getPositiveSignsbyReports"]
    answer = search_service.graphql(query, reportids=text)
    assert answer["data"] == {"getPositiveSignsbyReports": None}
    assert "JSON list of up to 1000 report ids" in answer["errors"][0]["message"]


@pytest.mark.parametrize("text", ['effusion"}}, "size": 10000, "x": {"y": "', "*:* OR 1=1", "'; DROP TABLE reports; --"])
def test_a_search_for_query_syntax_is_a_search_for_its_words(search_service: Service, text: str) -> None:
    found = search_service.data(published.SEARCH_PAGE["searchReports"], searchQuery=text)["searchReports"]
    assert len(found) <= 20
    assert search_service.data("{ reports(first: 1) { totalCount } }")["reports"]["totalCount"] == len(
        search_service.corpus.reports
    )


def test_list_reports_from_an_offset(search_service: Service) -> None:
    whole = search_service.data("{ listReports(from: 0, size: 60) { ReportId } }")["listReports"]
    part = search_service.data("{ listReports(from: 17, size: 5) { ReportId } }")["listReports"]
    assert part == whole[17:22]
    assert search_service.data("{ listReports(from: 100, size: 5) { ReportId } }")["listReports"] == []
    assert "`from` from 0 to" in search_service.message("{ listReports(from: -1, size: 5) { ReportId } }")


def test_images_of_many_reports_are_one_question_to_the_store(search_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = search_service.store, []
    read = store.images_of_reports
    monkeypatch.setattr(store, "images_of_reports", lambda ids: asked.append(len(ids)) or read(ids))
    assert len(search_service.data(published.SEARCH_PAGE["listReports"])["listReports"]) == 60
    assert asked == [60]
