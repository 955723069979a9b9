"""Why two images are similar: the map adds up to the similarity, lies on the image, and tells nothing of the server."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.learning import LABELS, tiny_bundle
from support.search_corpus import Corpus
from support.search_service import Service, filled_store, picture, running

from dicom_workflow.learning.data.images import decode
from dicom_workflow.search.documents import Embeddings, ImageDocument
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.service.images import StoredImages
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.similarity import MAP_PX, SimilarityMaps, contributions
from dicom_workflow.search.service.uploads import UploadedImages
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.search.whitening import Whitening
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

QUERY = "query($id: ID!, $to: ID!) { image(id: $id) { similarityMap(to: $to) { rows columns values } } index { explains } }"
ROWS, COLUMNS = 120, 60


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(dataclasses.replace(tiny_bundle(LABELS, mode="multi-label"), size_px=160))


@pytest.fixture(scope="module")
def indexed(embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SearchStore, Path]]:
    """Three images with files and embeddings, and one without either."""
    folder = tmp_path_factory.mktemp("indexed")
    store = open_store(str(folder / "index"), create=True)
    store.add_space(embedder.space)
    images, vectors = [], []
    for number in range(3):
        path = folder / f"{number}.dcm"
        path.write_bytes(picture(number, rows=ROWS, columns=COLUMNS))
        images.append(ImageDocument(f"1.{number}", rows=ROWS, columns=COLUMNS, source=to_uri(path)))
        vectors.append(embedder.of_image(path))
    store.upsert_images(images, Embeddings.of(embedder.space, ["1.0", "1.1", "1.2"], np.stack(vectors)))
    store.upsert_images([ImageDocument("1.3", source="file:///private/gone.dcm")])
    yield store, folder
    store.close()


@pytest.fixture(scope="module")
def explained(indexed: tuple[SearchStore, Path], embedder: Embedder) -> Iterator[Service]:
    store, folder = indexed
    uploads = UploadedImages(Limits())
    loader = StoredImages(Settings(workspace=folder, archive="folder"))
    maps = SimilarityMaps(embedder, store, loader, uploads, Limits())
    with running(store, folder, embedder=embedder, explain=maps, uploads=uploads, close=False) as service:
        yield service


def test_what_the_places_add_is_the_similarity(embedder: Embedder, indexed: tuple[SearchStore, Path]) -> None:
    store, folder = indexed
    image = decode(folder / "0.dcm", embedder.bundle.size_px)
    other = store.vectors(["1.1"])[0]
    places = contributions(embedder.bundle, image, other)
    assert places.shape == (5, 5)
    similarity = float(embedder.of_image(folder / "0.dcm") @ other)
    assert float(places.mean()) == pytest.approx(similarity, abs=1e-3)


def test_whitened_embeddings_have_maps_without_the_mean_that_was_taken_off(
    embedder: Embedder, indexed: tuple[SearchStore, Path]
) -> None:
    folder = indexed[1]
    features = np.stack([embedder.of_image(folder / f"{number}.dcm") for number in range(3)])
    shortened = np.random.default_rng(0).normal(size=(features.shape[1], 8)).astype(np.float32)
    whitened = Embedder(embedder.bundle, Whitening(features.mean(axis=0), shortened))
    image, other = decode(folder / "0.dcm", embedder.bundle.size_px), whitened.of_image(folder / "1.dcm")
    direction = shortened @ other
    places = contributions(embedder.bundle, image, direction, float(whitened.whitening.mean @ direction))
    assert float(places.mean()) == pytest.approx(float(whitened.of_images(image[None])[0] @ other), abs=1e-3)


def test_a_map_has_the_proportions_of_the_image(explained: Service) -> None:
    data = explained.data(QUERY, id="1.0", to="1.1")
    found = data["image"]["similarityMap"]
    assert data["index"]["explains"]
    assert (found["rows"], found["columns"]) == (MAP_PX, MAP_PX * COLUMNS // ROWS)
    values = np.reshape(found["values"], (found["rows"], found["columns"]))
    assert values.min() >= 0
    assert values.max() == 1
    assert explained.data(QUERY, id="1.0", to="1.2")["image"]["similarityMap"]["values"] != found["values"]


def test_a_map_of_an_upload(explained: Service) -> None:
    answer = explained.ask(
        "POST", "/uploads", data=picture(0, rows=ROWS, columns=COLUMNS), headers={"content-type": "application/dicom"}
    )
    upload = answer.json()["id"]
    of_upload = explained.data(QUERY, id=upload, to="1.1")["image"]["similarityMap"]
    assert of_upload == explained.data(QUERY, id="1.0", to="1.1")["image"]["similarityMap"]
    assert explained.data(QUERY, id="1.1", to=upload)["image"]["similarityMap"]["rows"] == MAP_PX


MISSING = {
    "no embedding": ("1.0", "1.3", "The image '1.3' has no embedding of the model of this service"),
    "no such image": ("1.0", "1.9", "The image '1.9' has no embedding of the model of this service"),
    "no file": ("1.3", "1.0", "no longer where it was"),
    "an upload that is gone": ("1.0", "upload-1", "Upload it again"),
}


@pytest.mark.parametrize(("image_id", "to", "message"), MISSING.values(), ids=MISSING)
def test_maps_that_cannot_be_made(explained: Service, image_id: str, to: str, message: str) -> None:
    answer = explained.graphql(QUERY, id=image_id, to=to)
    assert message in answer["errors"][0]["message"]
    assert "private" not in str(answer), "a place on the server"


def test_there_is_no_map_without_a_model(search_service: Service) -> None:
    data: Any = search_service.data(QUERY, id="2.25.0000", to="2.25.0001")
    assert data == {"image": {"similarityMap": None}, "index": {"explains": False}}


def test_a_model_of_another_space_is_refused_at_the_start(embedder: Embedder, tmp_path: Path) -> None:
    from dicom_workflow.errors import SearchError
    from dicom_workflow.search.service.server import serve

    store = filled_store(tmp_path / "index", Corpus(2, 2))
    with pytest.raises(SearchError, match=r"no embeddings of this model.*search index"):
        serve(store, Settings(workspace=tmp_path, archive="folder"), embedder=embedder)
    store.close()
