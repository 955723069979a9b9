"""Search stores with several processes: unique keys, nothing lost by a kill, fresh answers, and recall under filters."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.search_corpus import Corpus, buckets_of, clustered, fill, make_report, nearest
from support.search_stores import STORES

from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument
from dicom_workflow.search.query import AnyOf, ImageQuery, ReportQuery
from dicom_workflow.search.store import SearchStore, open_store

TESTS = Path(__file__).parents[1]


@contextlib.contextmanager
def writer(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start tests/support/search_writer.py; it does not outlive the block."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(TESTS / "support/search_writer.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def all_once(store: SearchStore, keys: set[str]) -> None:
    """Every one of the keys is an image and a report of the store, once."""
    for documents in (store.scan_images(), store.scan_reports()):
        counts = Counter(getattr(document, "image_id", None) or getattr(document, "report_id", "") for document in documents)
        assert not keys - counts.keys(), "lost"
        assert {key: count for key, count in counts.items() if count > 1} == {}, "more than once"


def test_three_processes_that_write_the_same_new_keys_write_each_once(
    store: SearchStore, store_url: str, corpus: Corpus
) -> None:
    fill(store, corpus)
    store.maintain()  # indexes the ids: an index on the key is what made Lance forget that it is one
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(writer("same-keys", store_url, "0")) for _ in range(3)]
        for process in writers:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in writers:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in writers:
            assert process.wait(timeout=240) == 0
    new = {f"2.25.{number}.{at}" for number in range(12) for at in range(20)}
    all_once(store, new)
    assert len(list(store.scan_images())) == 240 + len(corpus.images)
    assert store.image_facets(AnyOf("image_id", tuple(new)), ["view_position"])["view_position"].buckets[0].count == 240
    done = store.maintain()
    assert (done.duplicate_images, done.duplicate_reports, done.images) == (0, 0, 240 + len(corpus.images))


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.e2e)])
def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(
    store: SearchStore, store_url: str, corpus: Corpus, kills: int
) -> None:
    store.add_space(corpus_space := _space(corpus))
    acknowledged: set[str] = set()
    for number in range(kills):
        with writer("until-killed", store_url, f"2.25.{number}") as process:
            assert process.stdout is not None
            for _ in range(3 + number % 3):
                acknowledged.add(process.stdout.readline().strip())
            process.kill()
            acknowledged |= {line.strip() for line in process.stdout if line.endswith("\n")}
    keys = {f"{batch}.{at}" for batch in acknowledged for at in range(10)}
    assert len(keys) >= kills * 30
    all_once(store, keys)
    assert not np.isnan(store.vectors(sorted(keys))).any()
    page = store.search_reports(ReportQuery("pneumothorax"))
    assert page.total == len(list(store.scan_reports())) >= len(keys)
    done = store.maintain()
    assert done.duplicate_images == done.duplicate_reports == 0 and done.embeddings[corpus_space.space_id] == done.images
    all_once(store, keys)


def _space(corpus: Corpus) -> EmbeddingSpace:
    return EmbeddingSpace(corpus.embeddings.space_id, corpus.embeddings.vectors.shape[1])


def test_what_another_process_writes_is_found_at_once(store: SearchStore, store_url: str, corpus: Corpus) -> None:
    fill(store, corpus)
    assert store.search_reports(ReportQuery("sarcoidosis")).total == 0
    with contextlib.closing(open_store(store_url)) as other:
        fresh = make_report("fresh", [("cough", "positive")], fillers=["Sarcoidosis."])
        image = ImageDocument("2.25.9", report_id="fresh", view_position="LL")
        other.upsert_reports([fresh])
        other.upsert_images([image], Embeddings.of(_space(corpus), ["2.25.9"], corpus.embeddings.vectors[:1]))
        other.delete(image_ids=["2.25.0003"], report_ids=["report-003"])
    assert [hit.report for hit in store.search_reports(ReportQuery("sarcoidosis")).hits] == [fresh]
    left = [report for report in corpus.reports if report.report_id != "report-003"] + [fresh]
    facet = store.facets(ReportQuery(), ["positive_symptoms"])["positive_symptoms"]
    assert [(bucket.value, bucket.count) for bucket in facet.buckets] == buckets_of(left, "positive_symptoms", 10)
    assert store.similar_images(ImageQuery(vector=corpus.embeddings.vectors[0], k=2)).hits[0].image in (image, corpus.images[0])
    views = {bucket.value: bucket.count for bucket in store.image_facets(None, ["view_position"])["view_position"].buckets}
    assert views["LL"] == 1 and store.images(["2.25.0003"]) == [None]


@pytest.mark.parametrize(
    "store_kind",
    # S3 is the same code as a folder, and OpenSearch here is a stand-in that compares every vector.
    [pytest.param(kind, id=kind.name, marks=[pytest.mark.e2e] * (kind.name in ("s3", "opensearch"))) for kind in STORES],
    indirect=True,
)
def test_narrow_filters_and_filters_along_the_clusters_lose_no_hit(store: SearchStore) -> None:
    rows, k = 12_000, 10
    space = EmbeddingSpace("clustered", 64)
    vectors, cluster = clustered(rows + 30, space.dimensions)
    rng = np.random.default_rng(3)
    share = rng.random(rows)
    ids = [f"2.25.{at:05d}" for at in range(rows)]
    tags = [
        tuple(
            name
            for name, yes in (("30 %", s < 0.3), ("1 %", s < 0.01), ("0.1 %", s < 0.001), ("clusters", c in (3, 17)))
            if yes
        )
        for s, c in zip(share, cluster, strict=False)
    ]
    store.add_space(space)
    store.upsert_images(
        (ImageDocument(image_id, labels_positive=tag) for image_id, tag in zip(ids, tags, strict=True)),
        Embeddings(space.space_id, tuple(ids), vectors[:rows]),
    )
    done = store.maintain()
    assert done.embeddings == {space.space_id: rows}
    assert set(done.recall) >= {"none", "30 %", "1 %", "one cluster"} and min(done.recall.values()) >= 0.97, done.recall
    for name in ("", "30 %", "1 %", "0.1 %", "clusters"):
        allowed = [image_id for image_id, tag in zip(ids, tags, strict=True) if not name or name in tag]
        found = 0
        for query in vectors[rows:]:
            where = AnyOf("labels_positive", (name,)) if name else None
            hits = store.similar_images(ImageQuery(vector=query, k=k, where=where)).hits
            wanted = nearest(vectors[:rows], ids, query, k, allowed)
            found += len({hit.image.image_id for hit in hits} & {image_id for image_id, _ in wanted})
        assert found / (30 * min(k, len(allowed))) >= 0.97, name
