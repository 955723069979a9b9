"""What every search store does with images, embeddings and spaces; the same tests for a folder, S3, PostgreSQL, OpenSearch."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from support.search_corpus import (
    DIMENSIONS,
    NEXT_SPACE,
    SPACE,
    Corpus,
    buckets_of,
    clustered,
    fill,
    image_values,
    matches,
    nearest,
)
from support.search_stores import StoreKind

from dicom_workflow.errors import RecordError, SearchStoreError
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument
from dicom_workflow.search.query import IMAGE_FILTERS, And, AnyOf, ImageQuery, Not, Or, Range, Where
from dicom_workflow.search.store import SearchStore, open_store

WHERES: list[Where] = [
    AnyOf("view_position", ("PA",)),
    AnyOf("labels_positive", ("Pneumothorax", "Fracture")),
    AnyOf("image_id", ("2.25.0003", "2.25.0004", "9.9")),
    AnyOf("sex", ('it\'s "quoted" \\ -- ; %',)),
    Range("rows", 530, 560),
    Range("rows", None, 520),
    Range("study_date", "20170101", None),
    Range("study_date", None, "20180101"),
    Not(AnyOf("view_position", ("PA", "AP"))),
    Not(AnyOf("labels_negative", ("Pneumothorax",))),
    Not(Range("study_date", "20170101", "20191231")),
    And((AnyOf("view_position", ("PA",)), AnyOf("split", ("train",)), Not(AnyOf("codes_positive", ("J90",))))),
    Or((AnyOf("codes_positive", ("J93.9",)), And((AnyOf("sex", ("F",)), Range("rows", 600, None))))),
    Not(Or((AnyOf("view_position", ("PA",)), AnyOf("patient_key", ("patient-01",))))),
]


def ids_of(store: SearchStore, **query: object) -> list[str]:
    return [hit.image.image_id for hit in store.similar_images(ImageQuery(**query)).hits]  # type: ignore[arg-type]


def test_images_come_back_as_they_were_written(filled: SearchStore, corpus: Corpus) -> None:
    wanted = [corpus.images[4], corpus.images[0], corpus.images[9]]
    assert filled.images(["2.25.0004", "2.25.0000", "none", "2.25.0009"]) == [wanted[0], wanted[1], None, wanted[2]]
    assert filled.images([]) == []
    assert list(filled.scan_images()) == corpus.images


def test_images_are_found_by_report_and_by_patient(filled: SearchStore, corpus: Corpus) -> None:
    report, patient = corpus.images[0].report_id, corpus.images[0].patient_key
    of_report = filled.images_of_reports([report, "none"])
    assert of_report[report] == [image for image in corpus.images if image.report_id == report]
    assert not of_report.get("none")
    of_patient = filled.images_of_patients([patient])[patient]
    assert sorted(image.image_id for image in of_patient) == [i.image_id for i in corpus.images if i.patient_key == patient]
    assert [image.study_date for image in of_patient] == sorted(image.study_date for image in of_patient)


def test_embeddings_come_back_and_none_is_nan(filled: SearchStore, corpus: Corpus, store_kind: StoreKind) -> None:
    vectors = filled.vectors(["2.25.0007", "none", "2.25.0001"])
    assert vectors.shape == (3, DIMENSIONS) and vectors.dtype == np.float32
    assert np.isnan(vectors[1]).all()
    np.testing.assert_allclose(vectors[[0, 2]], corpus.embeddings.vectors[[7, 1]], atol=store_kind.vector_tolerance)


def test_the_most_similar_images_are_those_of_a_plain_scan(filled: SearchStore, corpus: Corpus) -> None:
    others = [image.image_id for image in corpus.images if image.patient_key != corpus.images[5].patient_key]
    found = filled.similar_images(ImageQuery(image_id="2.25.0005", k=12))
    wanted = nearest(corpus.embeddings.vectors, corpus.image_ids, corpus.embeddings.vectors[5], 12, others)
    assert [hit.image.image_id for hit in found.hits] == [image_id for image_id, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in found.hits], [score for _, score in wanted], atol=3e-3)
    assert found.hits[0].image == corpus.image_by_id[wanted[0][0]]
    assert found.space_id == SPACE.space_id


@pytest.mark.parametrize("where", WHERES, ids=str)
def test_a_filter_leaves_the_nearest_of_those_that_match(filled: SearchStore, corpus: Corpus, where: Where) -> None:
    vector = corpus.embeddings.vectors[11] + 0.01
    allowed = [image.image_id for image in corpus.images if matches(where, image)]
    wanted = nearest(corpus.embeddings.vectors, corpus.image_ids, vector, 9, allowed)
    assert ids_of(filled, vector=vector, k=9, where=where) == [image_id for image_id, _ in wanted]


def test_images_of_the_same_patient_are_left_out_unless_asked_for(filled: SearchStore, corpus: Corpus) -> None:
    image = corpus.images[20]
    same = {other.image_id for other in corpus.images if other.patient_key == image.patient_key}
    assert not same & set(ids_of(filled, image_id=image.image_id, k=150))
    everyone = ids_of(filled, image_id=image.image_id, k=150, exclude_patient=False)
    assert set(everyone) == set(corpus.image_ids) - {image.image_id}
    vector = corpus.embeddings.vectors[20]
    assert set(ids_of(filled, vector=vector, k=150, exclude_patient_key=image.patient_key)) == set(corpus.image_ids) - same


def test_like_and_unlike_move_the_query_and_are_no_hits(filled: SearchStore, corpus: Corpus) -> None:
    vectors = corpus.embeddings.vectors
    moved = vectors[3] + 0.75 * vectors[[40, 41]].mean(0) - 0.25 * vectors[50]
    left = set(corpus.image_ids) - {corpus.image_ids[at] for at in (3, 40, 41, 50)}
    wanted = [image_id for image_id, _ in nearest(vectors, corpus.image_ids, moved, 10, left)]
    steered = {"like": ("2.25.0040", "2.25.0041"), "unlike": ("2.25.0050",), "exclude_patient": False}
    assert ids_of(filled, image_id="2.25.0003", k=10, **steered) == wanted
    wanted = [
        image_id for image_id, _ in nearest(vectors, corpus.image_ids, vectors[40], 10, set(corpus.image_ids) - {"2.25.0040"})
    ]
    assert ids_of(filled, like=("2.25.0040",), k=10) == wanted


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (ImageQuery(image_id="2.25.0001", k=0), "from 1 to 200"),
        (ImageQuery(image_id="2.25.0001", k=1_000_000), "from 1 to 200"),
        (ImageQuery(), "needs an image id"),
        (ImageQuery(image_id="none"), "not in the store"),
        (ImageQuery(image_id="2.25.0001", like=("none",)), "not in the store"),
        (ImageQuery(vector=np.ones(7, np.float32)), f"{DIMENSIONS} numbers"),
        (ImageQuery(vector=np.zeros(DIMENSIONS, np.float32)), "zero"),
        (ImageQuery(vector=np.full(DIMENSIONS, np.nan, np.float32)), "not finite"),
        (ImageQuery(image_id="2.25.0001", space_id="another"), "no embeddings of the space"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused(filled: SearchStore, query: ImageQuery, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        filled.similar_images(query)


@pytest.mark.parametrize("where", [None, *WHERES], ids=str)
def test_facets_of_images_are_exact(filled: SearchStore, corpus: Corpus, where: Where | None) -> None:
    left = [image for image in corpus.images if matches(where, image)]
    fields = ["view_position", "labels_positive", "codes_positive", "patient_key"]
    facets = filled.image_facets(where, fields, size=4)
    assert list(facets) == fields
    for field, facet in facets.items():
        assert facet.field == field and facet.exact
        assert [(bucket.value, bucket.count) for bucket in facet.buckets] == buckets_of(left, field, 4)


def test_every_field_of_images_can_be_filtered_by(filled: SearchStore, corpus: Corpus) -> None:
    for field, kind in IMAGE_FILTERS.items():
        value = next(value for image in corpus.images for value in image_values(image, field)) if field != "laterality" else "L"
        where: Where = Range(field, value, value) if kind in ("integer", "date") else AnyOf(field, (value,))
        left = {image.image_id for image in corpus.images if matches(where, image)}
        assert set(ids_of(filled, vector=np.ones(DIMENSIONS, np.float32), k=150, where=where)) == left, field


def test_an_unknown_facet_is_refused_by_name(filled: SearchStore) -> None:
    for field in ("nothing", "study_date", "rows"):
        with pytest.raises(RecordError, match=f"no facet '{field}'"):
            filled.image_facets(None, [field])


def test_the_same_again_changes_nothing_and_changes_replace(store: SearchStore, corpus: Corpus) -> None:
    fill(store, corpus)
    fill(store, corpus)
    assert list(store.scan_images()) == corpus.images
    changed = replace(corpus.images[2], view_position="LL", labels_positive=("Fracture",))
    assert store.upsert_images([changed]) == 1
    assert store.images([changed.image_id]) == [changed]
    assert len(list(store.scan_images())) == len(corpus.images)
    assert not np.isnan(store.vectors([changed.image_id])).any(), "its embedding stays"
    assert (
        store.image_facets(AnyOf("view_position", ("LL",)), ["labels_positive"])["labels_positive"].buckets[0].value
        == "Fracture"
    )


def test_an_image_twice_in_one_call_is_stored_once(store: SearchStore, corpus: Corpus) -> None:
    store.upsert_images([corpus.images[0], replace(corpus.images[0], sex="O"), corpus.images[1]])
    assert [image.image_id for image in store.scan_images()] == ["2.25.0000", "2.25.0001"]
    assert store.images(["2.25.0000"]) == [replace(corpus.images[0], sex="O")], "the last one holds"


def test_embeddings_of_unknown_images_are_ignored(store: SearchStore, corpus: Corpus) -> None:
    store.add_space(SPACE)
    store.upsert_images(corpus.images[:3])
    assert [image.image_id for image in store.scan_images(without_space=SPACE.space_id)] == corpus.image_ids[:3]
    given = Embeddings(SPACE.space_id, ("2.25.0001", "none"), corpus.embeddings.vectors[1:3])
    assert store.upsert_embeddings(given) == 1
    assert [image.image_id for image in store.scan_images(without_space=SPACE.space_id)] == ["2.25.0000", "2.25.0002"]
    assert ids_of(store, vector=corpus.embeddings.vectors[0]) == ["2.25.0001"], "an image without embedding is no hit"


def test_a_new_space_fills_beside_the_old_one_which_serves(store: SearchStore, corpus: Corpus) -> None:
    fill(store, corpus)
    store.add_space(NEXT_SPACE)
    store.add_space(SPACE)
    assert store.spaces() == [SPACE, NEXT_SPACE]
    before = ids_of(store, image_id="2.25.0001", k=5)
    vectors, _ = clustered(len(corpus.images), NEXT_SPACE.dimensions)
    store.upsert_embeddings(Embeddings(NEXT_SPACE.space_id, tuple(corpus.image_ids), vectors))
    assert ids_of(store, image_id="2.25.0001", k=5) == before, "the old space serves"
    with pytest.raises(RecordError, match="16 numbers"):
        ids_of(store, vector=corpus.embeddings.vectors[0], space_id=NEXT_SPACE.space_id)
    store.serve_space(NEXT_SPACE.space_id)
    assert store.spaces() == [NEXT_SPACE, SPACE]
    wanted = nearest(vectors, corpus.image_ids, vectors[1], 5, set(corpus.image_ids) - {"2.25.0001"})
    assert ids_of(store, image_id="2.25.0001", k=5, exclude_patient=False) == [image_id for image_id, _ in wanted]
    with pytest.raises(RecordError, match="serves"):
        store.drop_space(NEXT_SPACE.space_id)
    store.drop_space(SPACE.space_id)
    assert store.spaces() == [NEXT_SPACE]
    assert len(list(store.scan_images())) == len(corpus.images)


def test_embeddings_of_another_space_or_length_are_refused(store: SearchStore, corpus: Corpus) -> None:
    store.add_space(SPACE)
    with pytest.raises(RecordError, match="no embeddings of the space 'another'"):
        store.upsert_images(corpus.images[:1], Embeddings("another", ("2.25.0000",), corpus.embeddings.vectors[:1]))
    with pytest.raises(RecordError, match=f"{DIMENSIONS} numbers"):
        store.upsert_embeddings(Embeddings(SPACE.space_id, ("2.25.0000",), np.ones((1, 5), np.float32)))
    with pytest.raises(RecordError, match="dimensions"):
        store.add_space(EmbeddingSpace(SPACE.space_id, 99))
    for act in (store.serve_space, store.drop_space):
        with pytest.raises(RecordError, match="no embeddings of the space 'another'"):
            act("another")


def test_what_was_deleted_is_not_found(store: SearchStore, corpus: Corpus) -> None:
    fill(store, corpus)
    gone = corpus.image_ids[10:14]
    assert store.delete(image_ids=[*gone, "none"], report_ids=["report-001", "none"]) == 5
    assert store.delete(image_ids=gone) == 0
    assert store.images(gone[:1]) == [None] and store.reports(["report-001"]) == [None]
    assert not set(gone) & set(ids_of(store, vector=corpus.embeddings.vectors[10], k=150))
    assert len(list(store.scan_images())) == len(corpus.images) - 4


def test_values_are_only_values(store: SearchStore) -> None:
    odd = ["it's", '"', "\\", "%_*?", "a OR 1=1", "'); DROP TABLE images; --", "línea\nnueva", "日本", "{}", "null"]
    images = [ImageDocument(f"2.25.{at}", view_position=value, labels_positive=(value,)) for at, value in enumerate(odd)]
    store.upsert_images(images)
    for image in images:
        for field in ("view_position", "labels_positive"):
            facet = store.image_facets(AnyOf(field, (image.view_position,)), ["image_id"])["image_id"]
            assert [bucket.value for bucket in facet.buckets] == [image.image_id]
    assert {bucket.value for bucket in store.image_facets(None, ["view_position"], size=50)["view_position"].buckets} == set(
        odd
    )


def test_a_store_that_is_not_there_is_refused_and_creating_it_twice_keeps_it(store_url: str, corpus: Corpus) -> None:
    with pytest.raises(SearchStoreError, match="dicom-workflow search index"):
        open_store(store_url)
    with contextlib.closing(open_store(store_url, create=True)) as first:
        assert first.spaces() == [] and list(first.scan_images()) == []
        with pytest.raises(RecordError, match="no embedding space"):
            first.similar_images(ImageQuery(vector=corpus.embeddings.vectors[0]))
        fill(first, corpus)
    with contextlib.closing(open_store(store_url, create=True)) as again:
        assert list(again.scan_images()) == corpus.images
        assert again.spaces() == [SPACE]


def test_maintenance_counts_and_changes_no_answer(store: SearchStore, corpus: Corpus) -> None:
    fill(store, corpus)
    store.upsert_images([replace(image, sex="O") for image in corpus.images[:50]])
    before = ids_of(store, image_id="2.25.0001", k=20)
    done = store.maintain()
    assert (done.images, done.reports, done.embeddings) == (150, 60, {SPACE.space_id: 150})
    assert (done.duplicate_images, done.duplicate_reports) == (0, 0)
    assert done.recall["none"] == 1 and min(done.recall.values()) == 1
    assert ids_of(store, image_id="2.25.0001", k=20) == before
