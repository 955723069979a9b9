"""The step that measures retrieval in a search index, against the same images embedded without what was learned."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError, WorkflowError
from dicom_workflow.pipeline.search_steps import model_folder
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.evaluation import Retrieval, Truth, own_report_rank, similarities
from dicom_workflow.search.evaluation import evaluate as figures_of
from dicom_workflow.search.ingest.sources import image_at
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.search.whitening import FEWEST_IMAGES, Whitening
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri

if TYPE_CHECKING:
    from dicom_workflow.learning.model.bundle import Bundle

OURS, UNTRAINED, WEIGHTS = "index", "untrained network", "weights of the file"


def evaluate(
    truth: str,
    store_url: str,
    settings: Settings,
    *,
    space_id: str = "",
    weights: str = "",
    resamples: int = 1000,
    seed: int = 0,
    output: Path | None = None,
) -> Retrieval:
    """Return how good the retrieval of an index is on the images of a truth table, beside its baselines.

    Parameters
    ----------
    truth : str
        Table as `truth_table.read_truth` reads it. A patient that it does not name is the one of the index.
    store_url : str
    settings : Settings
    space_id : str
        Empty: the space that serves.
    weights : str
        File of weights of a DenseNet121, for one more baseline.
    resamples, seed : int
        As for `evaluation.evaluate`.
    output : Path, optional
        Gets the figures as JSON.

    Raises
    ------
    SearchError
        No image of the table is in the index with an embedding.
    NothingRelevantError
        No query has a relevant image of another patient.
    """
    storage = Storage(settings)
    given = read_truth(truth, storage)
    with contextlib.closing(open_store(store_url)) as store:
        known, images, vectors = _in_index(given, store, space_id)
        space_id = space_id or store.spaces()[0].space_id
    embedded, own_report = {OURS: vectors}, {}
    if (folder := model_folder(space_id, settings)).is_dir():  # external vectors have no network, and so no baselines
        embedder = Embedder.load(folder)
        with tempfile.TemporaryDirectory(prefix="evaluate-") as part:
            paths = _fetched(images, Path(part), settings)
            embedded |= _baselines(embedder, paths, weights, seed)
            own_report = _own_report(embedder.bundle, images, paths, known.patients, resamples, seed)
    scores = {name: similarities(each) for name, each in embedded.items()}
    found = replace(figures_of(scores, known, resamples=resamples, seed=seed), own_report=own_report)
    if output:
        storage.write_text(to_uri(output), json.dumps({"space": space_id, **found.to_json()}, indent=2, ensure_ascii=False))
    return found


def _in_index(truth: Truth, store: SearchStore, space_id: str) -> tuple[Truth, list[ImageDocument], NDArray[np.float32]]:
    """Return the part of a truth that is in the index with an embedding, with its documents and vectors."""
    if not store.spaces():
        raise SearchError(f"{store.url} has no embeddings. Index the images with a model: dicom-workflow search index SOURCE.")
    documents = store.images(truth.image_ids)
    vectors = store.vectors(truth.image_ids, space_id)
    rows = [row for row, each in enumerate(documents) if each is not None and np.isfinite(vectors[row]).all()]
    if not rows:
        raise SearchError(f"None of the {len(documents)} images of the truth is in {store.url} with an embedding. Index them.")
    images = [each for row in rows if (each := documents[row]) is not None]

    def picked(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values[row] for row in rows) if values else ()

    patients = [
        given or image.patient_key or image.image_id for given, image in zip(picked(truth.patients), images, strict=True)
    ]
    known = Truth(
        image_ids=picked(truth.image_ids),
        labels=tuple(truth.labels[row] for row in rows),
        patients=tuple(patients),
        views=picked(truth.views) or tuple(image.view_position for image in images),
        sources=picked(truth.sources),
    )
    return known, images, vectors[rows]


def _fetched(images: Sequence[ImageDocument], folder: Path, settings: Settings) -> list[Path]:
    try:
        return [image_at(image.source, settings).fetch(folder) for image in images]
    except WorkflowError as error:
        raise SearchError(f"The baselines need every image of the truth: {error}") from None


def _baselines(embedder: Embedder, paths: Sequence[Path], weights: str, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return the embeddings of the same images by the same network untrained, and with the weights of a file.

    Where the index is whitened, they are there once more with a whitening of their own.
    """
    from dicom_workflow.learning.model.initial_weights import initialize
    from dicom_workflow.learning.model.network import build

    trained = embedder.bundle
    network = build(trained.labels, architecture=trained.architecture, seed=seed)
    bundles = {UNTRAINED: replace(trained, network=network, weights_sha256="")}
    if weights:
        network = build(trained.labels, architecture=trained.architecture, seed=seed)
        origin = initialize(network, weights)
        mean, std = origin.normalization or (trained.input_mean, trained.input_std)
        bundles[WEIGHTS] = replace(trained, network=network, weights_sha256=origin.sha256, input_mean=mean, input_std=std)
    found: dict[str, NDArray[np.float32]] = {}
    for name, bundle in bundles.items():
        embedded = list(Embedder(bundle).of_files(paths))
        if problem := next((each.problem for each in embedded if each.vector is None), ""):
            raise SearchError(f"The baselines need every image of the truth: {problem}")
        found[name] = np.stack([each.vector for each in embedded if each.vector is not None])
        if embedder.whitening and len(paths) >= FEWEST_IMAGES:
            found[f"{name}, whitened"] = Whitening.fit(found[name]).apply(found[name])
    return found


def _own_report(
    bundle: Bundle,
    images: Sequence[ImageDocument],
    paths: Sequence[Path],
    patients: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return how well image and own report find each other through the labels that both the network and the reports know."""
    from dicom_workflow.learning.data.images import decode
    from dicom_workflow.learning.inference.predict import predict_images

    rows = [row for row, image in enumerate(images) if image.report_id and (image.labels_positive or image.labels_negative)]
    said = {label for row in rows for label in (*images[row].labels_positive, *images[row].labels_negative)}
    labels = [label for label in bundle.labels if label in said]
    if not labels or len({patients[row] for row in rows}) < 2:
        return {}
    decoded = np.stack([decode(paths[row], bundle.size_px, bundle.preprocessing_version) for row in rows])
    probabilities = predict_images(bundle, decoded)[:, [bundle.labels.index(label) for label in labels]].astype(np.float64)
    first = {images[row].report_id: images[row] for row in reversed(rows)}  # the images of a report share its labels
    stated = [[_stated(image, label) for label in labels] for image in first.values()]
    own = np.array([list(first).index(images[row].report_id) for row in rows])
    whose = [patients[row] for row in rows]
    return {
        name: own_report_rank(
            probabilities, np.array(stated), own, whose, from_report=from_report, resamples=resamples, seed=seed
        )
        for name, from_report in (("image to report", False), ("report to image", True))
    }


def _stated(image: ImageDocument, label: str) -> float:
    if label in image.labels_positive:
        return 1.0
    return 0.0 if label in image.labels_negative else np.nan
