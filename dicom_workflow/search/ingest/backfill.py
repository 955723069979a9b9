"""A new embedding space fills beside the old one, which serves until the new one is whole."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dicom_workflow.errors import WorkflowError
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument
from dicom_workflow.search.image_documents import examine
from dicom_workflow.search.ingest.external_vectors import ExternalVectors
from dicom_workflow.search.ingest.images import CHUNK, FETCHERS, Ingest
from dicom_workflow.search.ingest.ingest_report import IngestReport, Outcome
from dicom_workflow.search.ingest.sources import SourceImage
from dicom_workflow.search.ingest.store_writes import chunks, write_with_retry
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.search.whitening import Whitening


def missing_in(store: SearchStore, space_id: str) -> int:
    """Return how many images of the index have no embedding in a space."""
    return sum(1 for _ in store.scan_images(without_space=space_id))


def serve_when_whole(store: SearchStore, space_id: str) -> int:
    """Let a space serve when every image of the index has an embedding in it; return how many have none."""
    missing = missing_in(store, space_id)
    if not missing and store.spaces()[0].space_id != space_id:
        write_with_retry(store.serve_space, space_id)
    return missing


def fill_space(ingest: Ingest, image_at: Callable[[str], SourceImage]) -> None:
    """Embed the images of the index that have no embedding in the ingest's space, each read again from where it came.

    Parameters
    ----------
    ingest : Ingest
        With an embedder.
    image_at : callable
        Source of an image → the image.
    """
    from tqdm import tqdm

    embedder = ingest.embedder
    if embedder is None:
        return
    images = list(ingest.store.scan_images(without_space=embedder.space.space_id))
    with tqdm(total=len(images), desc="fill the space", unit="image", disable=not ingest.progress or not images) as bar:
        for chunk in chunks(images, CHUNK):
            with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
                _fill_chunk(ingest, chunk, Path(folder), image_at)
            bar.update(len(chunk))


def _fill_chunk(ingest: Ingest, chunk: Sequence[ImageDocument], folder: Path, image_at: Callable[[str], SourceImage]) -> None:
    report, embedder = ingest.reports.report, ingest.embedder
    assert embedder is not None  # noqa: S101  fill_space has looked

    def fetched(image: ImageDocument) -> Path | None:
        try:
            path = image_at(image.source).fetch(folder)
            found = examine(path, image.source, ingest.reports.keys).document
        except (WorkflowError, OSError) as error:
            reason = str(error).rstrip(".")
        else:
            if (found.image_id, found.sha256) == (image.image_id, image.sha256):
                return path
            reason = "another image lies there now"
        report.add("image", image.image_id, Outcome.SKIPPED, f"{image.source} cannot be read again: {reason}.")
        return None

    with ThreadPoolExecutor(FETCHERS) as pool:
        usable = [(image, path) for image, path in zip(chunk, pool.map(fetched, chunk), strict=True) if path]
    vectors, ids = [], []
    embedded = embedder.of_files([path for _, path in usable], workers=ingest.workers)
    for (image, _), result in zip(usable, embedded, strict=True):
        if result.vector is None or not result.vector.any():
            report.add("image", image.image_id, Outcome.SKIPPED, result.problem or "its embedding is zero.")
        else:
            ids.append(image.image_id)
            vectors.append(result.vector)
    if ids:
        embeddings = Embeddings.of(embedder.space, ids, np.stack(vectors))
        write_with_retry(ingest.store.upsert_embeddings, embeddings)
        for image_id in ids:
            report.add("image", image_id, Outcome.INDEXED)


def fill_whitened(store: SearchStore, whitening: Whitening, whitened: EmbeddingSpace, of: str) -> None:
    """Fill a space with the whitened embeddings of another; no image is read again.

    Parameters
    ----------
    store : SearchStore
    whitening : Whitening
    whitened : EmbeddingSpace
        The space that is filled.
    of : str
        The space whose embeddings are whitened.
    """
    write_with_retry(store.add_space, whitened)
    for chunk in chunks([image.image_id for image in store.scan_images(without_space=whitened.space_id)], CHUNK):
        vectors = store.vectors(chunk, of)
        rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        if len(rows):
            embeddings = Embeddings.of(whitened, [chunk[row] for row in rows], whitening.apply(vectors[rows]))
            write_with_retry(store.upsert_embeddings, embeddings)


def add_vectors(store: SearchStore, found: ExternalVectors, report: IngestReport) -> None:
    """Put external vectors into the store; an id that the index does not have is skipped.

    Parameters
    ----------
    store : SearchStore
    found : ExternalVectors
    report : IngestReport
    """
    write_with_retry(store.add_space, found.space)
    rows = {image_id: row for row, image_id in enumerate(found.image_ids)}
    for ids in chunks(rows, CHUNK):
        known = [image.image_id for image in store.images(ids) if image]
        for image_id in ids:
            if image_id in known:
                report.add("vector", image_id, Outcome.INDEXED)
            else:
                report.add("vector", image_id, Outcome.SKIPPED, "no image of the index has this id. Index the image first.")
        if known:
            embeddings = Embeddings.of(found.space, known, found.vectors[[rows[image_id] for image_id in known]])
            write_with_retry(store.upsert_embeddings, embeddings)
