"""Ingest: images and reports go into a search store, each once.

An image is known by its SOP Instance UID and the SHA-256 of its file: the same file again is not decoded, another file under
the same UID replaces it. A report is known by its id and its text. Each batch is in the store before the next one is begun, so
a run that was killed goes on where it was when it is started again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dicom_workflow.errors import WorkflowError
from dicom_workflow.search.documents import Embeddings, ImageDocument
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.image_documents import ExaminedImage, examine
from dicom_workflow.search.ingest.ingest_report import Outcome
from dicom_workflow.search.ingest.reports import ReportIngest, kept
from dicom_workflow.search.ingest.sources import SourceImage
from dicom_workflow.search.ingest.store_writes import chunks, write_with_retry
from dicom_workflow.search.store.protocol import SearchStore

CHUNK = 256
"""Images looked up in the store at a time; those of another machine lie on this disk together."""
BATCH = 64
"""Images written to the store at a time."""
FETCHERS = 8
"""Files of another machine that are fetched at a time."""

_Examined = tuple[SourceImage, Path, ExaminedImage]


@dataclass
class Ingest:
    """One run that fills a store. Reports go in before the images that they belong to, or later; either is linked.

    Parameters
    ----------
    store : SearchStore
    reports : ReportIngest
        Its reports, keys and report of what becomes of each item are those of this run.
    embedder : Embedder, optional
        Without one, images are indexed without embeddings.
    workers : int
        Images decoded at a time; 0: as many as there are CPUs.
    progress : bool
        Show a progress bar.
    """

    store: SearchStore
    reports: ReportIngest
    embedder: Embedder | None = None
    workers: int = 0
    progress: bool = True
    _first: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add_images(self, images: Iterable[SourceImage], *, total: int | None = None) -> None:
        """Index images, and link them to the reports that are known.

        Parameters
        ----------
        images : iterable of SourceImage
        total : int, optional
            For the progress bar.

        Raises
        ------
        SearchStoreError
            The store does not answer, or refuses to be written; what was written until then is in it.
        """
        from tqdm import tqdm

        if self.embedder:
            write_with_retry(self.store.add_space, self.embedder.space)
        with tqdm(total=total, desc="index", unit="image", disable=not self.progress) as bar:
            for chunk in chunks(images, CHUNK):
                with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
                    self._add_chunk(chunk, Path(folder), bar.update)

    def _add_chunk(self, chunk: Sequence[SourceImage], folder: Path, done: Callable[[int], object]) -> None:
        wanted = self._not_known(chunk)
        done(len(chunk) - len(wanted))
        examined = self._examined(wanted, folder)
        done(len(wanted) - len(examined))
        examined = [each for each in examined if self._is_first(each)]
        documents = self.reports.link([found for *_, found in examined], [image.name for image, *_ in examined])
        known = self.store.images([document.image_id for document in documents])
        have = self._with_embedding([each.image_id for each in known if each])
        to_embed: list[tuple[SourceImage, Path, ImageDocument, Outcome]] = []
        to_write: list[ImageDocument] = []
        for (image, path, _), document, before in zip(examined, documents, known, strict=True):
            if before is None or before.sha256 != document.sha256:
                to_embed.append((image, path, document, Outcome.CHANGED if before else Outcome.INDEXED))
                continue
            document = kept(document, before)
            if document.image_id not in have:
                to_embed.append((image, path, document, Outcome.INDEXED))
            elif document != before:
                to_write.append(document)
                self.reports.report.add("image", image.name, Outcome.LINKED)
            else:
                self.reports.report.add("image", image.name, Outcome.UNCHANGED)
        if to_write:
            write_with_retry(self.store.upsert_images, to_write)
        done(len(examined) - len(to_embed))
        self._embed(to_embed, done)

    def _not_known(self, chunk: Sequence[SourceImage]) -> list[SourceImage]:
        """Return the images that have to be read: all but those of an archive that are in the index whole."""
        ids = [image.image_id for image in chunk if image.image_id]
        if not ids:
            return list(chunk)
        known = {each.image_id for each in self.store.images(ids) if each}
        have = self._with_embedding(sorted(known))
        for image in chunk:
            if image.image_id in have:
                self.reports.report.add("image", image.name, Outcome.UNCHANGED)
        return [image for image in chunk if image.image_id not in have]

    def _examined(self, wanted: Sequence[SourceImage], folder: Path) -> list[_Examined]:
        """Fetch and examine files side by side; one that cannot be used is skipped."""

        def one(image: SourceImage) -> tuple[Path, ExaminedImage] | str:
            try:
                path = image.fetch(folder)
                return path, examine(path, image.source, self.reports.keys)
            except WorkflowError as error:
                return str(error)
            except OSError as error:
                return f"it cannot be read: {error.strerror or error}."

        found = []
        with ThreadPoolExecutor(FETCHERS) as pool:
            for image, each in zip(wanted, pool.map(one, wanted), strict=True):
                if isinstance(each, str):
                    self.reports.report.add("image", image.name, Outcome.SKIPPED, _reason(each))
                else:
                    found.append((image, *each))
        return found

    def _is_first(self, each: _Examined) -> bool:
        """Of several files of one SOP Instance UID the first of a run counts, or each run would replace it twice."""
        image, _, found = each
        image_id, sha256 = found.document.image_id, found.document.sha256
        source, before = self._first.setdefault(image_id, (image.source, sha256))
        if source == image.source:
            self._first[image_id] = source, sha256
            return True
        if before == sha256:
            self.reports.report.add("image", image.name, Outcome.UNCHANGED)
        else:
            reason = f"another file of this run has the same SOP Instance UID {image_id} and other content"
            self.reports.report.add("image", image.name, Outcome.SKIPPED, f"{reason}. Give one of them a UID of its own.")
        return False

    def _with_embedding(self, image_ids: Sequence[str]) -> set[str]:
        if not self.embedder:
            return set(image_ids)
        vectors = self.store.vectors(image_ids, self.embedder.space.space_id)
        return {image_id for image_id, vector in zip(image_ids, vectors, strict=True) if np.isfinite(vector).all()}

    def _embed(self, wanted: Sequence[tuple[SourceImage, Path, ImageDocument, Outcome]], done: Callable[[int], object]) -> None:
        if not self.embedder:
            for batch in chunks(wanted, BATCH):
                self._store_batch([(image, document, outcome, None) for image, _, document, outcome in batch])
                done(len(batch))
            return
        embedded = self.embedder.of_files([path for _, path, _, _ in wanted], workers=self.workers)
        waiting: list[tuple[SourceImage, ImageDocument, Outcome, np.ndarray | None]] = []
        for (image, path, document, outcome), result in zip(wanted, embedded, strict=True):
            problem = result.problem
            if result.vector is not None and not np.any(result.vector):
                problem = "its embedding is zero: the image is black, or the network saw nothing in it"
            if problem:
                self.reports.report.add("image", image.name, Outcome.SKIPPED, _reason(problem, path))
                done(1)
                continue
            waiting.append((image, document, outcome, result.vector))
            if len(waiting) == BATCH:
                self._store_batch(waiting)
                done(len(waiting))
                waiting = []
        self._store_batch(waiting)
        done(len(waiting))

    def _store_batch(self, batch: Sequence[tuple[SourceImage, ImageDocument, Outcome, np.ndarray | None]]) -> None:
        if not batch:
            return
        embeddings = None
        if self.embedder:
            vectors = np.stack([vector for *_, vector in batch if vector is not None])
            embeddings = Embeddings.of(self.embedder.space, [document.image_id for _, document, _, _ in batch], vectors)
        # The embedding of the old content must not stay in another space.
        if changed := [document.image_id for _, document, outcome, _ in batch if outcome == Outcome.CHANGED]:
            write_with_retry(self.store.delete, image_ids=changed)
        write_with_retry(self.store.upsert_images, [document for _, document, _, _ in batch], embeddings)
        for image, _, outcome, _ in batch:
            self.reports.report.add("image", image.name, outcome)


def _reason(said: str, path: Path | None = None) -> str:
    """The reason without the path in front of it, which the entry names already, and with a next step where it has none."""
    head, separator, rest = said.partition(": ")
    reason = (rest if separator and (head == str(path) or head.startswith("/")) else said).rstrip(".")
    return f"{reason}." if ". " in reason else f"{reason}. Correct the file, or leave it out."
