"""The index of words and fields of a Lance store: kept in files, shared by processes, rebuilt where it cannot be trusted."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.search_corpus import Corpus, buckets_of, fill

from dicom_workflow.errors import RecordError
from dicom_workflow.search.documents import ImageDocument, ReportDocument
from dicom_workflow.search.query import AnyOf, ImageQuery, ReportQuery
from dicom_workflow.search.service.server import warm
from dicom_workflow.search.store import derived_index, open_store
from dicom_workflow.search.store.derived_index import DerivedIndex
from dicom_workflow.search.store.index_files import IndexFiles


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of the rows that are indexed, in order."""
    ids: list[str] = []
    add = DerivedIndex._add

    def counted(self: DerivedIndex, writer: Any, row: Any) -> int:
        ids.append(str(self._values_of(row)[self._key][0]))
        return add(self, writer, row)

    monkeypatch.setattr(DerivedIndex, "_add", counted)
    yield ids


@pytest.fixture
def url(tmp_path: Path, corpus: Corpus) -> str:
    """A filled store in a folder, whose indexes are built."""
    store = open_store(str(tmp_path / "index"), create=True)
    fill(store, corpus)
    store.maintain()
    return store.url


def check(url: str, corpus: Corpus) -> None:
    """The store answers as the corpus says."""
    store = open_store(url)
    facet = store.facets(ReportQuery(), ["positive_codes"])["positive_codes"]
    assert [(bucket.value, bucket.count) for bucket in facet.buckets] == buckets_of(corpus.reports, "positive_codes", 10)
    assert store.search_reports(ReportQuery("pneumothorax")).total > 0
    views = store.image_facets(None, ["view_position"])["view_position"].buckets
    assert sum(bucket.count for bucket in views) == sum(bool(image.view_position) for image in corpus.images)


def files_of(url: str) -> Path:
    return Path(url) / "derived-index" / "reports"


def generation_of(place: Path) -> Path:
    return place / json.loads((place / "index.json").read_text())["generation"]


def test_another_process_finds_it_built_and_adds_what_is_new_alone(url: str, corpus: Corpus, added: list[str]) -> None:
    check(url, corpus)
    assert added == []
    fresh = replace(corpus.reports[3], report_id="fresh")
    open_store(url).upsert_reports([fresh])
    assert open_store(url).search_reports(ReportQuery(report_ids=("fresh",))).total == 1
    assert open_store(url).search_reports(ReportQuery(report_ids=("fresh",))).total == 1
    assert added == ["fresh"]
    open_store(url).delete(report_ids=["fresh"])
    check(url, corpus)
    assert added == ["fresh"]


def test_a_service_that_starts_builds_it_unless_it_is_ended(tmp_path: Path, corpus: Corpus, added: list[str]) -> None:
    store, ended = open_store(str(tmp_path / "index"), create=True), threading.Event()
    fill(store, corpus)
    ended.set()
    warm(store, ended)
    assert added == []
    ended.clear()
    warm(store, ended)
    assert len(added) == len(corpus.reports) + len(corpus.images)
    check(store.url, corpus)
    assert len(added) == len(corpus.reports) + len(corpus.images)


def test_it_is_for_this_user_alone(url: str) -> None:
    for folder in (files_of(url), generation_of(files_of(url))):
        assert folder.stat().st_mode & 0o777 == 0o700


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".idx", ".term", ".fast", ".pos", ".store", "meta.json", "index.json"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_one_is_built_anew(url: str, corpus: Corpus, added: list[str], suffix: str, how: str) -> None:
    place = files_of(url)
    path = next(path for path in (*place.iterdir(), *generation_of(place).iterdir()) if path.name.endswith(suffix))
    if how == "changed":
        _flip(path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
    check(url, corpus)
    assert sorted(added) == sorted(report.report_id for report in corpus.reports)
    check(url, corpus)
    assert len(added) == len(corpus.reports), "built once"


@pytest.mark.parametrize("text", ["[]", "{}", '{"generation": "../..", "layout": 1, "files": []}', "null", "\x00"])
def test_an_index_that_says_nothing_of_itself_is_built_anew(url: str, corpus: Corpus, text: str) -> None:
    (files_of(url) / "index.json").write_text(text)
    check(url, corpus)


def test_one_of_another_layout_is_built_anew(
    url: str, corpus: Corpus, added: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived_index, "_LAYOUT", 99)
    check(url, corpus)
    assert len(added) == len(corpus.reports) + len(corpus.images)


def test_what_a_killed_process_left_is_deleted_and_changes_nothing(url: str, corpus: Corpus, added: list[str]) -> None:
    place = files_of(url)
    left = place / "0123456789abcdef"
    shutil.copytree(generation_of(place), left)
    (left / "meta.json").write_text("{}")
    check(url, corpus)
    assert added == []
    open_store(url).upsert_reports(corpus.reports[:1])
    check(url, corpus)
    assert added == [corpus.reports[0].report_id]
    assert not left.exists()
    assert [path for path in place.iterdir() if path.is_dir()] == [generation_of(place)]


def test_one_who_searches_goes_on_while_others_replace_it(url: str, corpus: Corpus) -> None:
    store: Any = open_store(url)
    searcher = store._report_index.searcher()
    for number in range(3):
        open_store(url).upsert_reports([replace(corpus.reports[number], text="Sarcoidosis.")])
        assert open_store(url).search_reports(ReportQuery("sarcoidosis")).total == number + 1
    assert searcher.num_docs == len(corpus.reports)
    assert store._report_index.facets(derived_index.Query.all_query(), ["positive_codes"], 3)
    assert store.search_reports(ReportQuery("sarcoidosis")).total == 3


def test_where_files_cannot_be_written_it_is_in_memory(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(str(tmp_path / "index"), create=True)
    fill(store, corpus)

    def refuse(self: IndexFiles, base: Path | None) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexFiles, "draft", refuse)
    assert store.search_reports(ReportQuery("pneumothorax")).total > 0
    assert "kept in memory" in caplog.text
    store.upsert_reports([replace(corpus.reports[0], text="Sarcoidosis.")])
    assert store.search_reports(ReportQuery("sarcoidosis")).total == 1


def test_of_a_bucket_it_is_in_the_workspace(
    search_s3: str, tmp_path: Path, corpus: Corpus, added: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("S3_URL", search_s3), ("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing")):
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=search_s3, region_name="us-east-1").create_bucket(Bucket="derived")
    store = open_store("s3://derived/index", create=True)
    fill(store, corpus)
    check(store.url, corpus)
    first = len(added)
    check(store.url, corpus)
    assert len(added) == first == len(corpus.reports) + len(corpus.images)
    assert len(list((tmp_path / "workspace/search/derived-index").glob("*/reports/index.json"))) == 1


def test_half_a_surrogate_pair_in_texts_and_queries(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "index"), create=True)
    texts = {"one": "Nodule \ud800 of the left lung.", "two": "Nodule of the left \udc00lung.", "\ud83d": "Nothing."}
    store.upsert_reports([ReportDocument(report_id, text) for report_id, text in texts.items()])
    store.upsert_images([ImageDocument("2.25.1", body_part="\ud83d")])
    assert store.search_reports(ReportQuery("nodule \ud800")).total == 2
    assert [hit.report.report_id for hit in store.search_reports(ReportQuery(like="one")).hits] == ["two"]
    assert store.search_reports(ReportQuery(report_ids=("\ud83d", "one"))).total == 2
    assert store.search_reports(ReportQuery(where=AnyOf("patient_key", ("\udfff",)))).total == 0
    assert store.image_facets(AnyOf("body_part", ("\ud83d",)), ["image_id"])["image_id"].buckets[0].value == "2.25.1"
    with pytest.raises(RecordError, match="cursor of an earlier page"):
        store.search_reports(ReportQuery("nodule"), cursor="\ud800")
    with pytest.raises(RecordError, match="no report"):
        store.search_reports(ReportQuery(like="\ud800"))


def test_similar_images_are_found_inside_a_running_event_loop(url: str) -> None:
    store = open_store(url)

    async def ask() -> int:
        return len(store.similar_images(ImageQuery(image_id="2.25.0001", k=5)).hits)

    assert asyncio.run(ask()) == 5


@pytest.mark.parametrize("mode", [0o755, 0o555])
def test_a_copy_of_one_that_others_may_read_is_for_this_user_alone(url: str, tmp_path: Path, mode: int) -> None:
    source, place = files_of(url), tmp_path / "copy"
    layout = json.loads((source / "index.json").read_text())["layout"]
    for path in [source, *source.rglob("*")]:
        path.chmod(mode if path.is_dir() else mode & 0o644)
    files = IndexFiles(place, layout, copy_of=source)
    with files.lock():
        assert files.present() is not None
    for path in [source, *source.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    modes = {path.stat().st_mode & 0o777 for path in [place, *place.rglob("*")] if path.is_dir()}
    assert modes == {0o700}
    assert {path.stat().st_mode & 0o777 for path in place.rglob("*") if path.is_file()} == {0o600}
