"""Queries of the schema's own part over HTTP: pages, facets, highlights, similar images, other studies, fused searches."""

from __future__ import annotations

import base64
import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.search_corpus import Corpus, buckets_of
from support.search_service import Service, filled_store, running

from dicom_workflow.errors import SearchStoreError
from dicom_workflow.search.query import MAX_K
from dicom_workflow.search.service import schema
from dicom_workflow.search.service.evidence import excerpts
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.similarity import SimilarityMap
from dicom_workflow.search.store.text_query import parse_text

PAGE = """query($text: String!, $where: Where, $first: Int!, $after: String) {
  reports(text: $text, where: $where, first: $first, after: $after) {
    totalCount pageInfo { endCursor hasNextPage } edges { cursor score node { id } }
  }
}"""


def _ids(page: Any) -> list[str]:
    return [edge["node"]["id"] for edge in page["edges"]]


def _pages(service: Service, first: int) -> list[str]:
    ids: list[str] = []
    after = None
    while True:
        page = service.data(PAGE, text="", first=first, after=after)["reports"]
        ids += _ids(page)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return ids


def test_pages_follow_one_another_without_gap_or_repetition(search_service: Service) -> None:
    whole = _ids(search_service.data(PAGE, text="", first=200)["reports"])
    assert sorted(whole) == sorted(search_service.corpus.report_by_id)
    assert _pages(search_service, 7) == whole
    assert _pages(search_service, 60) == whole


def test_a_search_goes_on_behind_any_report_of_a_page(search_service: Service) -> None:
    page = search_service.data(PAGE, text="", first=20)["reports"]
    whole = _ids(search_service.data(PAGE, text="", first=200)["reports"])
    for number in (0, 6, 19):
        behind = search_service.data(PAGE, text="", first=5, after=page["edges"][number]["cursor"])["reports"]
        assert _ids(behind) == whole[number + 1 : number + 6]
    far = search_service.data(PAGE, text="", first=200, after=page["edges"][6]["cursor"])["reports"]
    assert _ids(far) == whole[7:]


@pytest.mark.parametrize("cursor", ["x", "WyIiLC0xXQ==", "WzEsMl0=", "é", "[]"])
def test_a_cursor_of_something_else_is_refused(search_service: Service, cursor: str) -> None:
    assert "no cursor of this service" in search_service.message(PAGE, text="", first=5, after=cursor)


def test_totals_and_facets_count_all_that_match(search_service: Service) -> None:
    query = """query($where: Where) { reports(where: $where, first: 1) {
        totalCount edges { node { id } } facets(fields: ["negative_diagnoses", "positive_codes"]) {
          field exact values { value text count } } } }"""
    found = search_service.data(query, where={"positive_diagnoses": ["pneumothorax"]})["reports"]
    matching = [r for r in search_service.corpus.reports if "pneumothorax" in r.concepts("positive", "diagnosis")]
    assert found["totalCount"] == len(matching) > 1
    assert len(found["edges"]) == 1
    for facet in found["facets"]:
        expected = buckets_of(matching, facet["field"], 10)
        assert [(each["value"], each["count"]) for each in facet["values"]] == expected
        assert facet["exact"]
    codes = {each["value"]: each["text"] for each in found["facets"][1]["values"]}
    assert codes["J93.9"] == "Pneumothorax, unspecified"


def test_highlights_are_places_in_the_text_with_their_sentence(search_service: Service) -> None:
    query = """query($text: String!) { reports(text: $text, first: 50) { edges { node { id text } highlights {
        begin end text sentence sentenceBegin sentenceEnd } } } }"""
    edges = search_service.data(query, text='"no pneumothorax"')["reports"]["edges"]
    assert edges
    for edge in edges:
        text = edge["node"]["text"]
        assert edge["highlights"], text
        for found in edge["highlights"]:
            assert text[found["begin"] : found["end"]] == found["text"]
            assert text[found["sentenceBegin"] : found["sentenceEnd"]] == found["sentence"]
            assert found["text"] in found["sentence"]
    phrase = {found["text"].lower() for edge in edges for found in edge["highlights"]}
    assert "no pneumothorax" in phrase


def test_findings_come_with_the_sentence_that_states_them(search_service: Service) -> None:
    query = """query($id: ID!) { report(id: $id) { text sections { name text begin } labels { label state }
        findings { concept state kind code text begin end sentence sentenceBegin sentenceEnd } concepts(state: negative) } }"""
    for report in search_service.corpus.reports[:10]:
        found = search_service.data(query, id=report.report_id)["report"]
        assert [each["concept"] for each in found["findings"]] == [each.concept for each in report.findings]
        for each in found["findings"]:
            assert found["text"][each["begin"] : each["end"]] == each["text"] == each["concept"]
            assert each["text"] in each["sentence"] == found["text"][each["sentenceBegin"] : each["sentenceEnd"]]
        for section in found["sections"]:
            assert found["text"][section["begin"] :].startswith(section["text"])
        assert {each["label"]: each["state"] for each in found["labels"]} == report.label_states()
        assert found["concepts"] == report.concepts("negative")


def test_a_report_or_image_that_is_not_there_is_null(search_service: Service) -> None:
    assert search_service.data('{ report(id: "x") { id } image(id: "y") { id } }') == {"report": None, "image": None}


SIMILAR = """query($id: ID!, $k: Int!, $where: Where, $exclude: Boolean!, $least: Float) { image(id: $id) {
  patientKey similar(k: $k, where: $where, excludePatient: $exclude, minScore: $least) {
    exact spaceId hits { score image { id patientKey viewPosition reportId } }
    reportFacets(fields: ["positive_diagnoses"]) { values { value count } }
    imageFacets(fields: ["view_position"]) { values { value count } } } } }"""


def _similar(service: Service, **more: Any) -> Any:
    asked = {"id": service.corpus.images[3].image_id, "k": 20, "exclude": True, **more}
    return service.data(SIMILAR, **asked)["image"]


def test_similar_images_are_ranked_and_of_other_patients(search_service: Service) -> None:
    image = _similar(search_service)
    hits = image["similar"]["hits"]
    scores = [hit["score"] for hit in hits]
    assert len(hits) == 20
    assert scores == sorted(scores, reverse=True)
    assert image["patientKey"] not in {hit["image"]["patientKey"] for hit in hits}
    everybody = _similar(search_service, exclude=False, k=149)["similar"]["hits"]
    assert image["patientKey"] in {hit["image"]["patientKey"] for hit in everybody}


def test_similar_images_within_a_filter_with_facets_over_them(search_service: Service) -> None:
    found = _similar(search_service, where={"view_position": ["PA", "AP"]})["similar"]
    views = [hit["image"]["viewPosition"] for hit in found["hits"]]
    assert set(views) <= {"PA", "AP"}
    assert {each["value"]: each["count"] for each in found["imageFacets"][0]["values"]} == {
        v: views.count(v) for v in set(views)
    }
    reports = [search_service.corpus.report_by_id[each] for each in {hit["image"]["reportId"] for hit in found["hits"]}]
    expected = buckets_of(reports, "positive_diagnoses", 10)
    assert [(each["value"], each["count"]) for each in found["reportFacets"][0]["values"]] == expected


def test_nothing_is_similar_enough(search_service: Service) -> None:
    found = _similar(search_service, least=0.9999)["similar"]
    assert found["hits"] == []
    assert found["imageFacets"] == []
    assert [facet["values"] for facet in found["reportFacets"]] == [[]]


def test_other_studies_of_a_similar_patient_and_what_was_reported_then(search_service: Service) -> None:
    query = """query($id: ID!) { image(id: $id) { similar(k: 40) { hits { image { id studyDate patientKey
        earlier { studyDate days images { id patientKey } report { id findings { concept } } }
        later { studyDate days report { id } } } } } } }"""
    hits = search_service.data(query, id=search_service.corpus.images[3].image_id)["image"]["similar"]["hits"]
    seen = 0
    for hit in (each["image"] for each in hits):
        corpus = search_service.corpus
        others = {
            report.report_id
            for report in corpus.reports
            if report.patient_key == hit["patientKey"] and report.study_date and hit["studyDate"]
        } - {corpus.image_by_id[hit["id"]].report_id}
        told = [*hit["earlier"], *hit["later"]]
        assert {study["report"]["id"] for study in told} == {
            each for each in others if corpus.report_by_id[each].study_date != hit["studyDate"]
        }
        dates = [study["studyDate"] for study in hit["earlier"]]
        assert dates == sorted(dates, reverse=True)
        assert all(study["days"] < 0 for study in hit["earlier"])
        assert all(study["days"] > 0 for study in hit["later"])
        seen += len(told)
    assert seen > 10


CASES = """query($text: String!, $image: ID!, $where: Where, $reportWhere: Where, $first: Int!) {
  cases(text: $text, imageId: $image, where: $where, reportWhere: $reportWhere, first: $first) {
    exact hits { score textRank imageRank report { id } images { score image { id viewPosition } } highlights { text } }
    facets(fields: ["positive_diagnoses"]) { values { value count } } } }"""


def _cases(service: Service, text: str = '"pleural effusion"', **more: Any) -> Any:
    asked = {"text": text, "image": service.corpus.images[3].image_id, "first": 30, **more}
    return service.data(CASES, **asked)["cases"]["hits"]


def test_cases_found_by_text_and_image_come_before_those_found_by_one(search_service: Service) -> None:
    hits = _cases(search_service)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert hits[0]["textRank"] and hits[0]["imageRank"]
    for hit in hits:
        ranks = [rank for rank in (hit["textRank"], hit["imageRank"]) if rank]
        assert hit["score"] == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
        assert bool(hit["highlights"]) == ("effusion" in search_service.corpus.report_by_id[hit["report"]["id"]].text)
    own = search_service.corpus.images[3].patient_key
    assert own not in {search_service.corpus.report_by_id[hit["report"]["id"]].patient_key for hit in hits}


def test_filters_of_images_and_of_reports_hold_for_every_case(search_service: Service) -> None:
    hits = _cases(
        search_service, where={"view_position": ["PA"]}, reportWhere={"positive_diagnoses": ["pleural effusion"]}, first=200
    )
    assert hits
    for hit in hits:
        assert {each["image"]["viewPosition"] for each in hit["images"]} == {"PA"}
        report = search_service.corpus.report_by_id[hit["report"]["id"]]
        assert "pleural effusion" in report.concepts("positive", "diagnosis")


def test_the_index_says_what_can_be_asked(search_service: Service) -> None:
    query = "{ index { spaces { id dimensions serves } imageFields { name type } reportFields { name } acceptsUploads } }"
    index = search_service.data(query)["index"]
    assert index["spaces"] == [{"id": "densenet121-a", "dimensions": 32, "serves": True}]
    assert {"name": "study_date", "type": "date"} in index["imageFields"]
    assert "positive_codes" in {each["name"] for each in index["reportFields"]}
    assert index["acceptsUploads"]


BAD = {
    "k = 0": ('{ image(id: "2.25.0001") { similar(k: 0) { exact } } }', f"k from 1 to {MAX_K}, got 0"),
    "k = 10^6": ('{ image(id: "2.25.0001") { similar(k: 1000000) { exact } } }', f"k from 1 to {MAX_K}, got 1000000"),
    "published k": ('{ getSimilarImages(ImageId: "2.25.0001", k: 201) { ImageId } }', f"k from 1 to {MAX_K}, got 201"),
    "first = 0": ("{ reports(first: 0) { totalCount } }", "first from 1 to 200"),
    "unknown field": ('{ reports(where: {colour: ["x"]}) { totalCount } }', "There is no field 'colour' to filter by"),
    "filter of another form": ('{ reports(where: "x") { totalCount } }', "expected a filter as a JSON object"),
    "date": ('{ reports(where: {study_date: {from: "May"}}) { totalCount } }', "YYYYMMDD"),
    "upload that is gone": ('{ image(id: "upload-1") { id } }', "Upload it again"),
    "no such field": ("{ reports { total } }", "Cannot query field 'total'"),
    "syntax": ("{ reports ", "Syntax Error"),
    "facet size": ('{ imageFacets(fields: ["modality"], size: 5000) { field } }', "size from 1 to 100"),
    "file that is none": ('mutation { searchByImage(image: "x") { id } }', "expected a file in a GraphQL multipart request"),
}  # fmt: skip


@pytest.mark.parametrize(("query", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_asked(search_service: Service, query: str, message: str) -> None:
    assert message in search_service.message(query)


DEEP = "{ report(id: 1) { images { " + "report { images { " * 8 + "id" + " } } " * 8 + "} } }"
LIMITS = {
    "depth": (DEEP, "exceeds maximum operation depth"),
    "depth by fragments": (
        "{ report(id: 1) { ...a } } fragment a on RadiologyReport { images { ...b } } fragment b on IndexedImage { report { "
        + "images { report { " * 6 + "id" + " } } " * 6 + "} }",
        "exceeds maximum operation depth",
    ),
    "aliases": ("{" + " ".join(f"a{n}: report(id: 1) {{ id }}" for n in range(40)) + "}", "aliases found"),
    "fragments that double": (
        "{ ...f0 } "
        + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(100))
        + " fragment f100 on Query { index { images } }",
        "fragments found",
    ),
    "fragments of the schema that double": (
        "{ __schema { ...f0 } } "
        + " ".join(f"fragment f{n} on __Schema {{ ...f{n + 1} ...f{n + 1} }}" for n in range(100))
        + " fragment f100 on __Schema { types { name } }",
        "fragments found",
    ),
    "tokens": ("{ report(id: 1) { " + "id " * 3000 + "} }", "token"),
    "fragments in a circle": (
        "{ report(id: 1) { ...a } } fragment a on RadiologyReport { images { report { ...a } } }",
        "Cannot spread fragment 'a' within itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("query", "message"), LIMITS.values(), ids=LIMITS)
def test_limits_on_a_query(search_service: Service, query: str, message: str) -> None:
    assert message in search_service.message(query)


def test_the_deepest_question_of_the_page_is_within_the_limits(search_service: Service) -> None:
    query = """query($id: ID!) { image(id: $id) { similar(k: 2) { hits { image { earlier { report { findings { concept }
        images { id } } } } } } } }"""
    assert search_service.data(query, id=search_service.corpus.images[3].image_id)["image"]


def test_a_store_that_is_away_is_said_without_its_insides(search_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise SearchStoreError("postgresql://index:secret@db.internal/search: connection refused.")

    for name in ("search_reports", "images"):
        monkeypatch.setattr(search_service.store, name, away)
    message = search_service.message("{ reports { totalCount } }")
    assert message.startswith("The search store does not answer. Try again")
    assert search_service.ask("GET", "/thumb/2.25.0001.png").status_code == 503
    answer = search_service.graphql('{ reports { totalCount } getReport(ReportId: "report-001") { ReportId } }')
    assert "secret" not in str(answer)


def test_what_was_not_expected_is_not_told(
    search_service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("the text of a report")

    monkeypatch.setattr(search_service.store, "search_reports", broken)
    assert "failed inside the service" in search_service.message("{ reports { totalCount } }")
    assert "ZeroDivisionError" in caplog.text
    assert "the text of a report" not in caplog.text


def test_an_answer_takes_no_longer_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    store, released = filled_store(tmp_path / "index", Corpus(2, 2)), threading.Event()
    monkeypatch.setattr(store, "search_reports", lambda *_, **__: released.wait(20))
    limits = dataclasses.replace(Limits(), answer_seconds=0.3)
    with running(store, tmp_path, limits=limits) as service:
        try:
            assert "No answer within 0.3 seconds" in service.message("{ reports { totalCount } }")
        finally:
            released.set()


def test_numbers_and_dates_that_no_store_can_compare_are_named(search_service: Service) -> None:
    query = "query($where: Where) { reports(where: $where) { totalCount } index { spaces { id } } }"
    images = 'query($where: Where) { imageFacets(where: $where, fields: ["modality"]) { field } }'
    for value in (2**63, -(2**63) - 1, 2**31):
        for given in (value, {"from": value}, {"to": value}):
            message = search_service.message(images, where={"rows": given})
            assert str(value) in message
            assert str(2**31 - 1) in message
    assert "YYYYMMDD" in search_service.message(query, where={"study_date": {"from": "²" * 8}})
    assert search_service.data(images, where={"rows": {"to": 2**31 - 1}})["imageFacets"][0]["field"] == "modality"
    nested = base64.urlsafe_b64encode(("[" * 4000 + "]" * 4000).encode()).decode()
    assert "no cursor" in search_service.message("query($a: String) { reports(after: $a) { totalCount } }", a=nested)


def test_nested_searches_are_counted_together(search_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    similar = search_service.store.similar_images
    monkeypatch.setattr(search_service.store, "similar_images", lambda query: asked.append(query) or similar(query))
    nested = '{ image(id: "2.25.0001") { similar(k: 200) { hits { image { similar(k: 2) { hits { image { id } } } } } } } }'
    assert "at most 64 similar images, cases and facets in one request" in search_service.message(nested)
    assert len(asked) <= 64
    allowed = '{ image(id: "2.25.0001") { similar(k: 60) { hits { image { similar(k: 2) { hits { image { id } } } } } } } }'
    assert len(search_service.data(allowed)["image"]["similar"]["hits"]) == 60


def test_images_of_nested_lists_are_counted_together(tmp_path: Path) -> None:
    query = """query($k: Int!) { image(id: "2.25.0001") {
        similar(k: $k) { hits { image { similar(k: 10) { hits { image { id } } } } } } } }"""
    limits = dataclasses.replace(Limits(), images=110)
    with running(filled_store(tmp_path / "index", Corpus()), tmp_path, limits=limits) as service:
        assert len(service.data(query, k=10)["image"]["similar"]["hits"]) == 10, "10 and 10 times 10 images"
        assert "at most 110 images in one request" in service.message(query, k=11)


def test_more_maps_than_one_request_may_ask_for(tmp_path: Path) -> None:
    made: list[str] = []

    def explain(image_id: str, to: str, subject: str) -> SimilarityMap:
        made.append(to)
        return SimilarityMap(np.ones((1, 1), np.float32))

    def query(count: int) -> str:
        maps = " ".join(f'm{number}: similarityMap(to: "{number}") {{ rows }}' for number in range(count))
        return f'{{ image(id: "2.25.0001") {{ {maps} }} }}'

    with running(filled_store(tmp_path / "index", Corpus(3, 3)), tmp_path, explain=explain) as service:
        assert len(service.data(query(4))["image"]) == 4
        made.clear()
        assert "at most 4 similarity maps in one request" in service.message(query(5))
        assert len(made) <= 4


def test_highlights_are_found_in_a_thread_and_a_query_is_parsed_once(
    search_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, parsed = set(), []
    monkeypatch.setattr(schema, "excerpts", lambda *given: threads.add(threading.current_thread().name) or excerpts(*given))
    monkeypatch.setattr(schema, "parse_text", lambda text: parsed.append(text) or parse_text(text))
    query = '{ reports(text: "effusion", first: 50) { edges { highlights { text } } } }'
    edges = search_service.data(query)["reports"]["edges"]
    assert len(edges) > 1
    assert all(edge["highlights"] for edge in edges)
    assert parsed == ["effusion"]
    assert all("worker thread" in name for name in threads), threads
    parsed.clear()
    cases = '{ cases(text: "effusion", imageId: "2.25.0001") { hits { highlights { text } } } }'
    assert len(search_service.data(cases)["cases"]["hits"]) > 1
    assert parsed == ["effusion"]
    assert all("worker thread" in name for name in threads), threads
