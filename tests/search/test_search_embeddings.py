"""Embeddings of files: the features of the bundle, the same each time, one bad file no matter; and vectors of others."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.learning import LABELS, tiny_bundle
from support.search_ingest import IndexFolder, reasons, write_bundle, write_image, write_images

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import RecordError, SearchError
from dicom_workflow.pipeline import search_steps, search_whitening
from dicom_workflow.pipeline.search_steps import NO_MODEL
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.ingest.external_vectors import read_vectors
from dicom_workflow.search.whitening import FEWEST_IMAGES, Whitening


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(tiny_bundle(LABELS, mode="multi-label"))


def test_an_embedding_is_that_of_the_bundle_for_the_one_model_input(tmp_path: Path, embedder: Embedder) -> None:
    write_images(tmp_path, 11)
    paths = sorted(tmp_path.glob("*.dcm"))
    found = list(embedder.of_files(paths, workers=2))
    assert [each.problem for each in found] == [""] * 11
    bundle = embedder.bundle
    inputs = [pixels.to_model_input(read_dataset(path), size_px=bundle.size_px) for path in paths]
    np.testing.assert_array_equal(np.stack([each.vector for each in found]), bundle.embed(np.stack(inputs).astype(np.float16)))
    assert embedder.space.space_id == bundle.embedding_space
    assert embedder.space.dimensions == found[0].vector.shape[0] == 1024


def test_it_is_the_same_bit_by_bit_alone_in_a_batch_and_as_a_query(tmp_path: Path, embedder: Embedder) -> None:
    write_images(tmp_path, 9)
    paths = sorted(tmp_path.glob("*.dcm"))
    batch = [each.vector for each in embedder.of_files(paths)]
    [alone] = embedder.of_files(paths[4:5])
    np.testing.assert_array_equal(alone.vector, batch[4])
    query = embedder.of_image(paths[4].read_bytes())
    np.testing.assert_array_equal(query, Embeddings.of(embedder.space, ["x"], batch[4][None]).vectors[0])
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-6)


def test_a_bad_file_has_a_reason_and_the_others_their_embedding(tmp_path: Path, embedder: Embedder) -> None:
    write_images(tmp_path, 3)
    paths = sorted(tmp_path.glob("*.dcm"))
    paths[1].write_bytes(b"no image")
    found = list(embedder.of_files([*paths, tmp_path / "gone.dcm"]))
    assert [each.vector is not None for each in found] == [True, False, True, False]
    assert "not a DICOM file" in found[1].problem
    assert "gone.dcm" in found[3].problem
    assert list(embedder.of_files([])) == []


def test_decoded_images_that_do_not_fit_are_said(tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, 1)
    usage = type("usage", (), {"free": 100})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(SearchError, match=r"are needed for decoded images, and 0 MB are free\. Free some space"):
        list(embedder.of_files([tmp_path / "000.dcm"]))


def test_a_network_for_color_is_refused() -> None:
    color = replace(tiny_bundle(LABELS, mode="multi-label"), architecture="densenet121-rgb")
    with pytest.raises(SearchError, match="expected a network for gray images, got densenet121-rgb"):
        Embedder(color)


def test_an_embedding_without_direction_is_no_query(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.dcm", 1)
    monkeypatch.setattr(Embedder, "of_images", lambda *_: np.zeros((1, 1024), np.float32))
    with pytest.raises(RecordError, match="its embedding is zero"):
        embedder.of_image(tmp_path / "a.dcm")


def write_vectors(path: Path, ids: list[str], rows: list[list[float]]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, ids=np.array(ids), vectors=np.array(rows))
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"sop_instance_uid": ids, "vector": rows}), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            lines = csv.writer(stream)
            lines.writerow(["image_id", "v0", "v1", "v2"])
            lines.writerows([each, *row] for each, row in zip(ids, rows, strict=True))
    return path


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv"])
def test_bad_vectors_of_a_file_are_refused_by_row(suffix: str, tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d", "a", "f"]
    rows = [[1.0, 2, 2], [0, 0, 0], [1, float("nan"), 0], [1, float("inf"), 0], [3, 4, 5], [1e39, 0, 0]]
    refused: dict[str, str] = {}
    found = read_vectors(write_vectors(tmp_path / f"v{suffix}", ids, rows), refused.__setitem__)
    assert found.image_ids == ("a",)
    np.testing.assert_array_equal(found.vectors, [[1, 2, 2]])
    assert found.space.dimensions == 3
    assert "all its numbers are zero" in refused["row 2 (b)"]
    assert "number 2 is not finite" in refused["row 3 (c)"]
    assert "an earlier row" in refused["row 5 (a)"]
    assert set(refused) == {"row 2 (b)", "row 3 (c)", "row 4 (d)", "row 5 (a)", "row 6 (f)"}


def test_a_vector_of_another_length_is_refused(tmp_path: Path) -> None:
    refused: dict[str, str] = {}
    rows = [[1.0, 2, 3], [1.0, 2], [3.0, 2, 1]]
    found = read_vectors(write_vectors(tmp_path / "v.csv", ["a", "b", "c"], rows), refused.__setitem__)
    assert found.image_ids == ("a", "c")
    assert "expected 3 numbers, as most rows have, got 2" in refused["row 2 (b)"]
    with (tmp_path / "v.csv").open("a", encoding="utf-8") as stream:
        stream.write("d,1,?,2\n")
    assert read_vectors(tmp_path / "v.csv", refused.__setitem__).image_ids == ("a", "c")
    assert "number 2 is not finite" in refused["row 4 (d)"]


def test_files_of_another_form_are_messages(tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(SearchError) as raised:
            read_vectors(path, lambda *_: None)
        return str(raised.value)

    assert "expected vectors as .npz, .parquet, .csv" in said(tmp_path / "v.txt")
    assert "cannot be read" in said(tmp_path / "nowhere.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    assert "expected the arrays 'ids' and 'vectors'" in said(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", ids=np.array(["a"]), vectors=np.array([[object(), 1]], dtype=object))
    assert "expected the arrays" in said(tmp_path / "pickle.npz"), "no pickle is read"
    for name in ("broken.npz", "broken.parquet"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no archive")
        assert "not a" in said(tmp_path / name) or "expected" in said(tmp_path / name)
    (tmp_path / "text.csv").write_text("image_id,v,w\na,word,1\n", encoding="utf-8")
    assert "none of 1 vectors can be used; the first: number 1 is not finite" in said(tmp_path / "text.csv")
    (tmp_path / "no id.csv").write_text("v0,v1\n1,2\n", encoding="utf-8")
    assert "expected the first column image_id" in said(tmp_path / "no id.csv")
    write_vectors(tmp_path / "zero.csv", ["a"], [[0, 0, 0]])
    assert "none of 1 vectors can be used; the first: all its numbers are zero" in said(tmp_path / "zero.csv")


def test_vectors_of_another_network_fill_a_space_of_their_own(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    uids = write_images(tmp_path / "images", 3)
    own = target.index(tmp_path / "images").serving
    some = write_vectors(tmp_path / "some.npz", [*uids[:2], "1.2.3"], [[1, 0, 0], [0, 2, 0], [0, 0, 3]])
    found = target.index(vectors=str(some))
    [(space, missing)] = found.spaces.items()
    assert (missing, found.serving) == (1, own)
    assert found.report.to_json() == {"vector": {"indexed": 2, "skipped": 1}}
    assert "no image of the index has this id" in reasons(found)["1.2.3"]
    with target.store() as store:
        np.testing.assert_allclose(store.vectors(uids[:2], space), [[1, 0, 0], [0, 1, 0]])
    whole = write_vectors(tmp_path / "whole.npz", uids, [[1, 0, 0], [0, 2, 0], [0, 0, 3]])
    found = target.index(vectors=str(whole))
    assert found.serving in found.spaces
    assert found.serving not in (space, own)


def test_vectors_serve_an_index_without_a_network(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    uids = write_images(tmp_path / "images", 2)
    vectors = write_vectors(tmp_path / "v.npz", uids, [[1, 0, 0], [0, 2, 0]])
    found = target.index(tmp_path / "images", vectors=str(vectors), model=NO_MODEL)
    assert found.report.ok
    assert found.spaces == {found.serving: 0}


def test_the_models_are_kept_by_space(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    write_images(tmp_path / "images", 1)
    first: Any = target.index(tmp_path / "images").serving
    target.index(tmp_path / "images", model=str(write_bundle(tmp_path / "other", input_mean=0.4)))
    kept = sorted((target.settings.workspace / "search" / "models").iterdir())
    assert {Embedder.load(folder).space.space_id for folder in kept} >= {first}
    assert len(kept) == 2


def test_whitened_embeddings_serve_and_new_images_and_queries_are_whitened_too(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    uids = write_images(tmp_path / "images", FEWEST_IMAGES)
    raw = target.index(tmp_path / "images").serving
    with target.store() as store:
        before = store.vectors(uids, raw)
    found = search_whitening.whiten(target.url, target.settings)
    assert found.serving.startswith(f"{raw}/whitened-")
    with target.store() as store:
        after = store.vectors(uids)
        spaces = store.spaces()
    off_diagonal = ~np.eye(len(uids), dtype=bool)
    assert (before @ before.T)[off_diagonal].mean() > 0.9
    assert abs((after @ after.T)[off_diagonal].mean()) < 0.1
    assert spaces[0].dimensions == after.shape[1] == FEWEST_IMAGES // 2
    new = write_images(tmp_path / "images", 1, first=900)
    again = target.index(tmp_path / "images", model="")
    assert again.report.to_json() == {"image": {"indexed": 1, "unchanged": FEWEST_IMAGES}}
    assert again.serving == found.serving
    embedder = Embedder.load(search_steps.model_folder(found.serving, target.settings))
    with target.store() as store:
        np.testing.assert_allclose(embedder.of_image(tmp_path / "images" / "900.dcm"), store.vectors(new)[0], atol=2e-3)
        np.testing.assert_allclose(embedder.of_image(tmp_path / "images" / "003.dcm"), after[3], atol=0.02)
    with pytest.raises(SearchError, match="expected a space without whitening that serves"):
        search_whitening.whiten(target.url, target.settings)


def test_a_whitening_needs_images_that_differ_and_a_file_that_is_whole(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="expected 50 embeddings or more to estimate a whitening from, got 3"):
        Whitening.fit(np.ones((3, 8), np.float32))
    with pytest.raises(SearchError, match="all alike"):
        Whitening.fit(np.ones((60, 8), np.float32))
    assert Whitening.load(tmp_path) is None
    path = Whitening.fit(np.random.default_rng(0).random((60, 8), np.float32)).save(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(SearchError, match="the whitening cannot be read"):
        Whitening.load(tmp_path)


def test_whitening_within_labels_brings_images_of_one_label_together() -> None:
    generator = np.random.default_rng(5)
    kinds = np.arange(200) % 2
    apart, loud = generator.normal(0, 1, 32), generator.normal(0, 1, (3, 32))
    vectors = 10 + kinds[:, None] * apart + generator.normal(0, 8, (200, 3)) @ loud + generator.normal(0, 0.1, (200, 32))
    labels = np.stack([kinds, 1 - kinds, np.full(200, np.nan)], axis=1).astype(np.float64)
    labels[::10] = np.nan
    learned = np.arange(200) < 100

    def hits(embedded: np.ndarray) -> float:
        unit = (embedded / np.linalg.norm(embedded, axis=1, keepdims=True))[~learned]
        alike = unit @ unit.T - 2 * np.eye(len(unit))
        return float((kinds[~learned][alike.argmax(axis=1)] == kinds[~learned]).mean())

    features = vectors.astype(np.float32)
    within = Whitening.fit(features[learned], labels[learned])
    assert hits(features) < 0.7
    assert hits(within.apply(features)) > 0.9
    other = Whitening.fit(features[learned])
    raw = EmbeddingSpace("raw", 32)
    assert within.space(raw).space_id != other.space(raw).space_id
    nothing_known = Whitening.fit(features[learned], np.full((100, 2), np.nan))
    assert np.isfinite(nothing_known.matrix).all()


def test_an_index_is_whitened_within_the_labels_of_a_table(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    uids = write_images(tmp_path / "images", FEWEST_IMAGES + 5)
    raw = target.index(tmp_path / "images").serving
    lines = [f"{uid},{'odd' if number % 2 else 'even'}" for number, uid in enumerate(uids[:FEWEST_IMAGES])]
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(["sop_instance_uid,label", *lines, "9.9,odd"]) + "\n", encoding="utf-8")
    found = search_whitening.whiten(target.url, target.settings, truth=str(truth))
    assert found.spaces == {found.serving: 0}
    assert found.serving.startswith(f"{raw}/whitened-")
    few = tmp_path / "few.csv"
    few.write_text("\n".join(["sop_instance_uid,label", *lines[:9]]) + "\n", encoding="utf-8")
    other = IndexFolder(tmp_path / "other")
    other.index(tmp_path / "images")
    with pytest.raises(SearchError, match="expected 50 embeddings or more to estimate a whitening from, got 9"):
        search_whitening.whiten(other.url, other.settings, truth=str(few))
