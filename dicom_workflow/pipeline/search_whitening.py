"""The step that whitens the embeddings of a search index, without labels or within those of a table."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError
from dicom_workflow.pipeline.search_steps import Indexed, find_model, keep_model
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.evaluation import Truth
from dicom_workflow.search.ingest import backfill
from dicom_workflow.search.ingest.ingest_report import IngestReport
from dicom_workflow.search.store import open_store
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.search.whitening import Whitening
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

MOST_TO_WHITEN = 20_000
"""Embeddings that a whitening is estimated from; more change nothing."""


def whiten(store_url: str, settings: Settings, *, truth: str = "") -> Indexed:
    """Whiten the embeddings of an index, and let the whitened ones serve; see `search.whitening`.

    Parameters
    ----------
    store_url : str
    settings : Settings
        Its workspace has the model of the space that serves, and gets it once more with the whitening.
    truth : str
        Table of labels as `truth_table.read_truth` reads it: the whitening is estimated from its images, within their labels.
        Retrieval is then to be measured on other patients' images. Empty: from all images, without labels.

    Raises
    ------
    SearchError
        The space that serves is whitened already, its model is not here, it has too few embeddings, or the table cannot be
        used.
    StorageError
        The table cannot be read.
    SearchStoreError
        The store cannot be opened or written.
    """
    given = read_truth(truth, Storage(settings)) if truth else None
    with contextlib.closing(open_store(store_url)) as store:
        folder = find_model(store, settings)
        embedder = Embedder.load(folder)
        if embedder.whitening or not store.spaces() or store.spaces()[0].space_id != embedder.space.space_id:
            raise SearchError(f"{store_url}: expected a space without whitening that serves. Index with --model first.")
        of = embedder.space.space_id
        if given:
            ids, labels = list(given.image_ids[:MOST_TO_WHITEN]), _targets(given)[:MOST_TO_WHITEN]
        else:
            ids, labels = [image.image_id for image in itertools.islice(store.scan_images(), MOST_TO_WHITEN)], None
        vectors = store.vectors(ids, of)
        known = np.isfinite(vectors).all(axis=1)
        whitening = Whitening.fit(vectors[known], labels if labels is None else labels[known])
        space = whitening.space(embedder.space)
        whitening.save(keep_model(folder, space.space_id, settings))
        backfill.fill_whitened(store, whitening, space, of)
        missing = backfill.serve_when_whole(store, space.space_id)
        return Indexed(IngestReport(), {space.space_id: missing}, store.spaces()[0].space_id)


def _targets(truth: Truth) -> NDArray[np.float64]:
    """Return 1 where an image has a label and 0 where not, shape (n, labels); NaN for an image without any label."""
    names = sorted(frozenset().union(*truth.labels))
    rows = [[float(name in labels) if labels else np.nan for name in names] for labels in truth.labels]
    return np.array(rows, np.float64).reshape(len(truth.labels), len(names))
