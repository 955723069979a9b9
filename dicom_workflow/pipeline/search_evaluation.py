"""The step that measures retrieval in a search index, against the same images embedded without what was learned."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError, WorkflowError
from dicom_workflow.pipeline.search_steps import model_folder
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.evaluation import Retrieval, Truth, similarities
from dicom_workflow.search.evaluation import evaluate as figures_of
from dicom_workflow.search.ingest.sources import image_at
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri

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
    scores = {OURS: similarities(vectors)}
    scores |= {name: similarities(each) for name, each in _baselines(images, space_id, settings, weights, seed).items()}
    found = figures_of(scores, known, resamples=resamples, seed=seed)
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


def _baselines(
    images: list[ImageDocument], space_id: str, settings: Settings, weights: str, seed: int
) -> Mapping[str, NDArray[np.float32]]:
    """Return the embeddings of the same images by the same network untrained, and with the weights of a file.

    Nothing where the model of the space, or an image, is not to be had: external vectors have no network.
    """
    folder = model_folder(space_id, settings)
    if not folder.is_dir():
        return {}
    from dicom_workflow.learning.model.initial_weights import initialize
    from dicom_workflow.learning.model.network import build

    embedder = Embedder.load(folder)
    network = build(embedder.bundle.labels, architecture=embedder.bundle.architecture, seed=seed)
    bundles = {UNTRAINED: replace(embedder.bundle, network=network, weights_sha256="")}
    if weights:
        network = build(embedder.bundle.labels, architecture=embedder.bundle.architecture, seed=seed)
        origin = initialize(network, weights)
        mean, std = origin.normalization or (embedder.bundle.input_mean, embedder.bundle.input_std)
        bundles[WEIGHTS] = replace(
            embedder.bundle, network=network, weights_sha256=origin.sha256, input_mean=mean, input_std=std
        )
    found = {}
    with tempfile.TemporaryDirectory(prefix="evaluate-") as part:
        try:
            paths = [image_at(image.source, settings).fetch(Path(part)) for image in images]
        except WorkflowError as error:
            raise SearchError(f"The baselines need every image of the truth: {error}") from None
        for name, bundle in bundles.items():
            embedded = [each.vector for each in Embedder(bundle).of_files(paths)]
            found[name] = np.stack([vector for vector in embedded if vector is not None])
    return found
