"""What every search store does with reports: words, phrases, filters, pages and facets; the same tests for each store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.search_corpus import Corpus, buckets_of, fill, has_phrase, make_report, matches, report_values, words_of

from dicom_workflow.errors import RecordError
from dicom_workflow.search.documents import ReportDocument
from dicom_workflow.search.query import REPORT_FILTERS, And, AnyOf, Not, Or, Range, ReportQuery, Where
from dicom_workflow.search.store import SearchStore

WHERES: list[Where] = [
    AnyOf("positive_diagnoses", ("pneumothorax",)),
    AnyOf("positive_labels", ("Pneumothorax", "Cardiomegaly")),
    AnyOf("negative_codes", ("J90",)),
    Range("study_date", "20170101", "20191231"),
    Not(AnyOf("positive_signs", ("lung opacity",))),
    And((AnyOf("positive_symptoms", ("cough",)), Not(AnyOf("negative_labels", ("Fracture",))))),
    Or((AnyOf("uncertain_labels", ("Fracture",)), AnyOf("patient_key", ("patient-03", "patient-04")))),
]

NOT_A_LANGUAGE = [
    '"unbalanced (pneumothorax', "field:value", "a AND (b OR", "* ? ~ ^2 [1 TO 2]", "'; DROP TABLE reports; --",
    "!!!", "\\", '""', "-no", "no*", "pneumothorax~2", "/no/",
]  # fmt: skip


def ids_of(store: SearchStore, query: ReportQuery, first: int = 200) -> list[str]:
    page = store.search_reports(query, first=first)
    assert page.total == len(page.hits) or first < 200
    return [hit.report.report_id for hit in page.hits]


def those(corpus: Corpus, query: ReportQuery, phrase: str = "") -> list[ReportDocument]:
    """The reports that match by the definition: all words, the phrase, the filter, the ids."""
    return [
        report
        for report in corpus.reports
        if set(words_of(query.text)) <= set(words_of(report.text))
        and (not phrase or has_phrase(report.text, phrase))
        and matches(query.where, report)
        and (query.report_ids is None or report.report_id in query.report_ids)
    ]


def test_reports_come_back_as_they_were_written(filled: SearchStore, corpus: Corpus) -> None:
    assert filled.reports(["report-007", "none", "report-002"]) == [corpus.reports[7], None, corpus.reports[2]]
    assert filled.reports([]) == []
    assert list(filled.scan_reports()) == corpus.reports


@pytest.mark.parametrize("text", NOT_A_LANGUAGE)
def test_a_text_is_words_and_never_a_query_language(filled: SearchStore, corpus: Corpus, text: str) -> None:
    found = set(ids_of(filled, ReportQuery(text)))
    words = words_of(text)
    assert found == ({report.report_id for report in those(corpus, ReportQuery(text))} if words else set())


def test_without_text_the_newest_study_comes_first(filled: SearchStore, corpus: Corpus) -> None:
    page = filled.search_reports(ReportQuery(), first=200)
    dates = [hit.report.study_date for hit in page.hits]
    assert dates == sorted(dates, reverse=True) and page.total == len(corpus.reports)
    assert filled.search_reports(ReportQuery("   "), first=1).total == len(corpus.reports), "spaces are no text"


@pytest.mark.parametrize(
    "query", [ReportQuery(), ReportQuery("is"), ReportQuery("there", where=WHERES[4])], ids=["all", "text", "both"]
)
def test_pages_follow_each_other_without_gap_or_repetition(filled: SearchStore, corpus: Corpus, query: ReportQuery) -> None:
    whole = ids_of(filled, query)
    walked: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        page = filled.search_reports(query, first=7, cursor=cursor)
        assert page.total == len(whole)
        walked += [hit.report.report_id for hit in page.hits]
        cursor, pages = page.cursor, pages + 1
    assert walked == whole and set(whole) == {report.report_id for report in those(corpus, query)}
    assert pages == -(-len(whole) // 7)


def test_a_cursor_or_page_size_that_cannot_be_is_refused(filled: SearchStore) -> None:
    for cursor in ("nonsense", "!!", "AAAA", "eyJ4IjogMX0="):
        with pytest.raises(RecordError, match="cursor"):
            filled.search_reports(ReportQuery(), cursor=cursor)
    for first in (0, -1, 1_000_000):
        with pytest.raises(RecordError, match="1 to 200"):
            filled.search_reports(ReportQuery(), first=first)


@pytest.mark.parametrize("where", WHERES, ids=str)
def test_filters_facets_and_totals_are_exact(filled: SearchStore, corpus: Corpus, where: Where) -> None:
    for text in ("", "there is"):
        query = ReportQuery(text, where=where)
        left = those(corpus, query)
        assert left
        assert set(ids_of(filled, query)) == {report.report_id for report in left}
        assert filled.search_reports(query, first=2).total == len(left)
        fields = [name for name, kind in REPORT_FILTERS.items() if kind == "keywords"]
        for field, facet in filled.facets(query, fields, size=3).items():
            assert facet.exact
            assert [(bucket.value, bucket.count) for bucket in facet.buckets] == buckets_of(left, field, 3), field


def test_every_field_of_reports_can_be_filtered_by(filled: SearchStore, corpus: Corpus) -> None:
    for field, kind in REPORT_FILTERS.items():
        value = next((value for report in corpus.reports for value in report_values(report, field)), "none")
        where: Where = Range(field, value, value) if kind == "date" else AnyOf(field, (value,))
        assert set(ids_of(filled, ReportQuery(where=where))) == {r.report_id for r in corpus.reports if matches(where, r)}, (
            field
        )


def test_facets_over_all_reports_and_over_given_ones(filled: SearchStore, corpus: Corpus) -> None:
    everything = filled.facets(ReportQuery(), ["positive_codes"])["positive_codes"]
    assert [(bucket.value, bucket.count) for bucket in everything.buckets] == buckets_of(corpus.reports, "positive_codes", 10)
    ids = ("report-003", "report-004", "report-011", "none")
    few = filled.facets(ReportQuery(report_ids=ids), ["negative_diagnoses"])["negative_diagnoses"]
    left = [report for report in corpus.reports if report.report_id in ids]
    assert [(bucket.value, bucket.count) for bucket in few.buckets] == buckets_of(left, "negative_diagnoses", 10)
    assert set(ids_of(filled, ReportQuery(report_ids=ids))) == set(ids) - {"none"}
    assert ids_of(filled, ReportQuery(report_ids=())) == []
    assert filled.facets(ReportQuery(report_ids=()), ["positive_codes"])["positive_codes"].buckets == ()


def test_unknown_facets_are_refused_by_name(filled: SearchStore) -> None:
    for field in ("nothing", "study_date", "text"):
        with pytest.raises(RecordError, match=f"no facet '{field}'"):
            filled.facets(ReportQuery(), [field])


def test_reports_like_one_share_its_words_and_leave_it_out(store: SearchStore) -> None:
    one = make_report("one", [("pneumothorax", "positive")], fillers=["Apical tension with tracheal deviation."])
    near = make_report("near", [("pneumothorax", "positive")], fillers=["Tracheal deviation, apical."])
    far = make_report("far", [("cardiomegaly", "positive")], fillers=["Sternotomy wires."])
    store.upsert_reports([far, one, near, *(make_report(f"r{n}", [("cough", "positive")]) for n in range(5))])
    found = ids_of(store, ReportQuery(like="one"))
    assert found[0] == "near" and "one" not in found
    assert ids_of(store, ReportQuery(like="one", where=AnyOf("positive_labels", ("Cardiomegaly",)))) in ([], ["far"])
    with pytest.raises(RecordError, match="'none'"):
        store.search_reports(ReportQuery(like="none"))


def test_a_report_written_again_is_found_by_its_new_words_only(store: SearchStore, corpus: Corpus) -> None:
    fill(store, corpus)
    assert store.upsert_reports(corpus.reports) == len(corpus.reports)
    assert list(store.scan_reports()) == corpus.reports
    changed = replace(corpus.reports[5], text="Sarcoidosis alone.", findings=(), study_date="20300101")
    store.upsert_reports([changed])
    assert ids_of(store, ReportQuery("sarcoidosis")) == ["report-005"]
    assert ids_of(store, ReportQuery())[0] == "report-005"
    left = [changed if report.report_id == "report-005" else report for report in corpus.reports]
    everything = store.facets(ReportQuery(), ["positive_codes"])["positive_codes"]
    assert [(bucket.value, bucket.count) for bucket in everything.buckets] == buckets_of(left, "positive_codes", 10)
    store.delete(report_ids=["report-005"])
    assert ids_of(store, ReportQuery("sarcoidosis")) == []
    assert store.search_reports(ReportQuery()).total == len(corpus.reports) - 1
