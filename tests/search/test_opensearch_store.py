"""The search store in OpenSearch, beyond what every store does: addresses, signing, refusals, and the shape of its requests."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from opensearch.protobufs.schemas import common_pb2
from osmem_server import OsmemServer
from support.search_corpus import DIMENSIONS, SPACE, Corpus, fill, has_phrase, make_report
from support.search_opensearch import OpenSearchProxy

from dicom_workflow.errors import RecordError, SearchStoreError, SettingsError
from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.query import And, AnyOf, ImageQuery, Not, Or, Range, ReportQuery
from dicom_workflow.search.store import open_store
from dicom_workflow.search.store.opensearch import documents, vectors
from dicom_workflow.search.store.opensearch.client import address_of
from dicom_workflow.search.store.opensearch.store import OpenSearchStore


@pytest.fixture
def proxy(search_osmem: OsmemServer) -> Iterator[OpenSearchProxy]:
    with contextlib.closing(OpenSearchProxy(search_osmem)) as opened:
        yield opened


@pytest.fixture
def store(proxy: OpenSearchProxy) -> Iterator[OpenSearchStore]:
    with contextlib.closing(OpenSearchStore.open(f"{proxy.url}/archive", create=True)) as opened:
        yield opened


def error(status: int, kind: str, reason: str = "a text of a report") -> tuple[int, dict[str, Any]]:
    return status, {"error": {"type": kind, "reason": reason, "root_cause": []}, "status": status}


def item(status: int, kind: str = "") -> dict[str, Any]:
    more = {"error": {"type": kind, "reason": "a text of a report"}} if kind else {}
    return {"index": {"_index": "archive-reports", "_id": "r", "status": status, **more}}


@pytest.mark.parametrize(
    ("url", "signing"),
    [
        ("https://search-x-abc.eu-central-1.es.amazonaws.com", ("eu-central-1", "es")),
        ("https://abc123.us-east-1.aoss.amazonaws.com/chest-2026", ("us-east-1", "aoss")),
        ("https://search-x.cn-north-1.es.amazonaws.com.cn", ("cn-north-1", "es")),
        ("https://search.example.org/?region=eu-west-1&service=aoss", ("eu-west-1", "aoss")),
        ("https://user:secret@search-x-abc.eu-central-1.es.amazonaws.com", ("", "es")),
        ("https://search.example.org:9200/chest", ("", "es")),
    ],
)
def test_hosts_of_aws_are_signed_in_to_with_aws_credentials(url: str, signing: tuple[str, str]) -> None:
    address = address_of(url)
    assert (address.region, address.service) == signing and address.use_tls
    assert "secret" not in address.url and "secret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://search.example.org:9200/x", "in clear"),
        ("https://u:hunter2@host:port/x", "cannot be read"),
        ("https://u:hunter2@host/x?verify=false", "cannot be read"),
        ("https://u:hunter2@host/*", "prefix"),
        ("https://u:hunter2@host/../_all", "prefix"),
        ("https://u:hunter2@host/Upper", "prefix"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        open_store(url)
    assert "hunter2" not in str(refused.value)


def test_requests_are_signed_or_carry_the_user(proxy: OpenSearchProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(OpenSearchStore.open(f"{proxy.url}/archive?region=eu-west-1", create=True)):
        signed = proxy.requests[-1].headers
    assert (
        signed["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=testing/")
        and "/eu-west-1/es/" in signed["Authorization"]
    )
    with contextlib.closing(open_store(proxy.url.replace("://", "://user:p%40ss@") + "/archive")) as named:
        assert proxy.requests[-1].headers["authorization"] == "Basic dXNlcjpwQHNz"  # user:p@ss
        assert "p%40ss" not in named.url and "p@ss" not in named.url
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match="there are none"):
        open_store(f"{proxy.url}/archive?region=eu-west-1")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(401, "security_exception"), "refuses this user"),
        (error(403, "security_exception"), "refuses this user"),
        (error(403, "cluster_block_exception"), "read-only, as OpenSearch makes them when a disk is nearly full"),
        (error(413, "content_too_long"), "larger than the server takes"),
        (error(500, "search_phase_execution_exception"), "answers 500"),
        (error(404, "index_not_found_exception"), "no search store in .*dicom-workflow search index"),
        (error(400, "mapper_parsing_exception"), "refuses a value"),
    ],
)
def test_what_the_cluster_answers_becomes_a_message_without_its_texts(
    proxy: OpenSearchProxy, store: OpenSearchStore, answer: tuple[int, dict[str, Any]], message: str
) -> None:
    proxy.answers.append(answer)
    with pytest.raises((SearchStoreError, RecordError), match=message) as refused:
        store.search_reports(ReportQuery("pneumothorax"))
    assert "a text of a report" not in str(refused.value)
    assert refused.type is SearchStoreError or proxy.url not in str(refused.value), "who searches reads it"


def test_a_busy_cluster_is_asked_again(proxy: OpenSearchProxy, store: OpenSearchStore) -> None:
    proxy.answers += [error(503, "unavailable"), error(429, "rejected")]
    assert store.search_reports(ReportQuery()).total == 0
    proxy.answers += [error(503, "unavailable")] * 4
    with pytest.raises(SearchStoreError, match="too busy"):
        store.search_reports(ReportQuery())


def test_a_cluster_that_is_gone_is_named_without_the_password(proxy: OpenSearchProxy, store: OpenSearchStore) -> None:
    url = proxy.url.replace("://", "://u:hunter2@")
    store.upsert_images([ImageDocument("1")])
    proxy.close()
    for ask in (
        lambda: open_store(url + "/archive"),
        lambda: store.images(["1"]),
        lambda: store.upsert_images([ImageDocument("2")]),
    ):
        with pytest.raises(SearchStoreError, match="does not answer") as refused:
            ask()
        assert "hunter2" not in str(refused.value)


def test_documents_that_are_refused_are_named_and_the_others_are_written(
    proxy: OpenSearchProxy, store: OpenSearchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_RETRY_SECONDS", 0.001)
    given = [ReportDocument(f"r{number}", "Pneumothorax.") for number in range(3)]
    proxy.answers.append((200, {"errors": True, "items": [item(201), item(400, "mapper_parsing_exception"), item(201)]}))
    with pytest.raises(RecordError, match=r"'r' not written: .*refuses a value.*other documents are written") as refused:
        store.upsert_reports(given)
    assert "a text of a report" not in str(refused.value)
    proxy.answers.append((200, {"errors": True, "items": [item(201), item(429, "rejected"), item(409, "conflict")]}))
    assert store.upsert_reports(given) == 3, "the two are sent again"
    assert [report.report_id for report in store.scan_reports()] == ["r1", "r2"]
    proxy.answers += [(200, {"errors": True, "items": [item(429, "rejected")]})] * documents.ATTEMPTS
    with pytest.raises(SearchStoreError, match="too busy"):
        store.upsert_reports(given[:1])
    proxy.answers.append((200, {"errors": True, "items": [item(403, "cluster_block_exception")]}))
    with pytest.raises(SearchStoreError, match="read-only"):
        store.upsert_reports(given[:1])


def test_requests_are_of_bounded_size(
    proxy: OpenSearchProxy, store: OpenSearchStore, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "REQUEST_BYTES", 20_000)
    fill(store, corpus)
    sizes = [len(request.body) for request in proxy.requests if request.path.startswith("/_bulk")]
    assert len(sizes) > 5 and max(sizes) < 40_000
    assert list(store.scan_images()) == corpus.images


@pytest.mark.parametrize(("version", "message"), [(0, "again under another prefix"), (99, "pip install --upgrade")])
def test_a_store_of_another_version_is_refused_with_the_command_that_helps(
    proxy: OpenSearchProxy, store: OpenSearchStore, version: int, message: str
) -> None:
    answer = (200, {"_id": "store", "_source": {"version": version, "spaces": {"next": 1, "all": []}}})
    proxy.answers.append(answer)
    with pytest.raises(SearchStoreError, match=message):
        open_store(f"{proxy.url}/archive")


def test_any_text_comes_back_as_it_was(store: OpenSearchStore) -> None:
    odd = "Nul \0 half a pair \ud800 emoji \U0001fa7b tab\t quote ' \" \\ end"
    report = ReportDocument("odd", odd, sections={"findings": odd})
    long = ReportDocument("long", "Pneumothorax. " + " ".join(f"w{number:x}" for number in range(700_000)))
    assert len(long.text) > 4_500_000
    store.upsert_reports([report, long])
    kept = odd.replace("\ud800", "?")
    assert store.reports(["long", "odd"]) == [long, ReportDocument("odd", kept, sections={"findings": kept})]
    assert [hit.report.report_id for hit in store.search_reports(ReportQuery("emoji end")).hits] == ["odd"]
    assert [hit.report.report_id for hit in store.search_reports(ReportQuery("pneumothorax w1")).hits] == ["long"]


def test_phrases_inflections_and_no(store: OpenSearchStore, corpus: Corpus) -> None:
    fill(store, corpus)

    def found(text: str) -> set[str]:
        return {hit.report.report_id for hit in store.search_reports(ReportQuery(text), first=200).hits}

    for phrase in ("no pneumothorax", "there is no rib fracture", "left lower lobe"):
        wanted = {report.report_id for report in corpus.reports if has_phrase(report.text, phrase)}
        assert wanted and found(f'"{phrase}"') == wanted
    assert found("pneumothoraxes") == found("pneumothorax")


def test_two_stores_in_one_cluster_do_not_see_each_other(proxy: OpenSearchProxy, store: OpenSearchStore) -> None:
    with contextlib.closing(OpenSearchStore.open(f"{proxy.url}/archive-2", create=True)) as other:
        store.upsert_images([ImageDocument("1")])
        store.add_space(SPACE)
        assert other.images(["1"]) == [None] and other.spaces() == []


def test_pages_by_rank_end_where_the_cluster_ends(store: OpenSearchStore, corpus: Corpus) -> None:
    from dicom_workflow.search.store.records import encoded_cursor

    fill(store, corpus)
    with pytest.raises(RecordError, match="ranks 10000 reports"):
        store.search_reports(ReportQuery("there"), cursor=encoded_cursor([9_995]))


def test_counts_that_are_not_exact_are_asked_for_again(proxy: OpenSearchProxy, store: OpenSearchStore) -> None:
    def answer(bound: int, count: int) -> tuple[int, dict[str, Any]]:
        facet = {"buckets": [{"key": "J90", "doc_count": count}], "doc_count_error_upper_bound": bound}
        return 200, {"aggregations": {"positive_codes": facet}}

    proxy.answers += [answer(3, 5), answer(0, 7)]
    facet = store.facets(ReportQuery(), ["positive_codes"])["positive_codes"]
    assert facet.exact and facet.buckets[0].count == 7
    sizes = [search["aggs"]["positive_codes"]["terms"]["shard_size"] for search in proxy.searches()]
    assert sizes == [500, 65_000]
    proxy.answers += [answer(3, 5), answer(1, 7)]
    assert not store.facets(ReportQuery(), ["positive_codes"])["positive_codes"].exact


def test_few_images_are_compared_exactly_and_many_over_the_index(
    proxy: OpenSearchProxy, store: OpenSearchStore, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, corpus)
    query = ImageQuery(vector=corpus.embeddings.vectors[3], k=5)
    exact = store.similar_images(query)
    assert exact.exact and "script_score" in proxy.searches()[-1]["query"]
    monkeypatch.setattr(vectors, "EXACT_ROWS", 50)
    found = store.similar_images(query)
    assert not found.exact and found.hits == exact.hits and "knn" in proxy.searches()[-1]["query"]
    few = store.similar_images(ImageQuery(vector=query.vector, k=5, where=AnyOf("report_id", ("report-003", "report-004"))))
    assert few.exact
    proxy_searches = len(proxy.searches())
    most = store.similar_images(ImageQuery(vector=query.vector, k=151))
    assert most.exact and len(most.hits) == 150, "fewer than k over the index: everything is compared"
    assert len(proxy.searches()) == proxy_searches + 2


def test_no_text_is_logged(proxy: OpenSearchProxy, store: OpenSearchStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store.upsert_reports([make_report("secret", [("pneumothorax", "positive")])])
    store.search_reports(ReportQuery("pneumothorax"))
    proxy.answers.append(error(500, "search_phase_execution_exception"))
    with pytest.raises(SearchStoreError):
        store.search_reports(ReportQuery("pneumothorax"))
    assert "pneumothorax" not in caplog.text.lower()


# The shapes of requests, against the messages that OpenSearch publishes of its own API.

_CLAUSES = {field.name for field in common_pb2.QueryContainer.DESCRIPTOR.fields} | {"more_like_this", "script_score"}
_BODY = {field.name for field in common_pb2.SearchRequestBody.DESCRIPTOR.fields} | {"_source", "aggs"}
_OF_CLAUSE = {"bool": common_pb2.BoolQuery, "match": common_pb2.MatchQuery, "match_phrase": common_pb2.MatchPhraseQuery}


def check_query(query: dict[str, Any]) -> int:
    """Check a query and those inside it, and return how many there were."""
    ((clause, body),) = query.items()
    assert clause in _CLAUSES, clause
    checked = 1
    if clause == "bool":
        assert set(body) <= {field.name for field in common_pb2.BoolQuery.DESCRIPTOR.fields}
        for name in ("filter", "must", "must_not", "should"):
            checked += sum(check_query(part) for part in body.get(name, []))
    elif clause in ("match", "match_phrase"):
        ((field, options),) = body.items()
        assert set(options) <= {field.name for field in _OF_CLAUSE[clause].DESCRIPTOR.fields} - {"field"} and field
    elif clause == "range":
        ((_, limits),) = body.items()
        assert set(limits) <= {field.name for field in common_pb2.NumberRangeQuery.DESCRIPTOR.fields}
    elif clause == "ids":
        json_format.ParseDict(body, common_pb2.IdsQuery())
    elif clause == "knn":
        ((field, near),) = body.items()
        checked += check_query(near["filter"])
        plain = {name: value for name, value in near.items() if name not in ("filter", "method_parameters")}
        parsed = json_format.ParseDict({"field": field, **plain}, common_pb2.KnnQuery())
        assert parsed.k == near["k"] and len(parsed.vector) == DIMENSIONS
        assert set(near) <= {field.name for field in common_pb2.KnnQuery.DESCRIPTOR.fields}
    elif clause == "script_score":
        checked += check_query(body["query"])
    return checked


def test_requests_have_the_shape_that_opensearch_publishes(
    proxy: OpenSearchProxy, store: OpenSearchStore, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "EXACT_ROWS", 20)
    fill(store, corpus)
    where = Or((And((AnyOf("view_position", ("PA",)), Not(Range("rows", 530, None)))), Range("study_date", None, "20200101")))
    store.similar_images(ImageQuery(image_id="2.25.0001", where=where))
    store.similar_images(ImageQuery(vector=np.ones(DIMENSIONS, np.float32), where=AnyOf("sex", ("nobody",))))
    store.search_reports(ReportQuery('"no pneumothorax" there', like="report-003", report_ids=("report-001",)))
    store.search_reports(ReportQuery(where=Not(AnyOf("positive_signs", ("cardiomegaly",)))))
    store.facets(ReportQuery("there"), ["positive_codes"])
    store.maintain()
    assert list(store.scan_reports()) and store.images_of_reports(["report-001"])
    searches = proxy.searches()
    for search in searches:
        assert set(search) <= _BODY
    checked = sum(check_query(search["query"]) for search in searches if "query" in search)
    assert checked > 500
    kinds = {next(iter(search["query"])) for search in searches if "query" in search}
    assert kinds >= {"knn", "script_score", "bool"}


def test_vectors_are_written_in_half_precision_and_cosines_are_our_own(store: OpenSearchStore, corpus: Corpus) -> None:
    fill(store, corpus)
    vector = corpus.embeddings.vectors[9]
    hits = store.similar_images(ImageQuery(vector=vector, k=20)).hits
    for hit in hits:
        other = corpus.embeddings.vectors[corpus.image_ids.index(hit.image.image_id)]
        assert hit.score == pytest.approx(float(other @ vector), abs=1e-5)
    assert json.dumps(documents.vector_source(1, vector)).count(",") == DIMENSIONS
