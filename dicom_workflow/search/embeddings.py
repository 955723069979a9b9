"""Embeddings: the features that a model bundle computes its labels from, one vector an image.

An embedding is the same, bit by bit, whenever the same file is embedded by the same bundle on the same kind of device: the
image goes through `dicom.pixels.to_model_input`, nothing is cropped at random, and every batch has the same shape.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace
from dicom_workflow.search.whitening import Whitening

if TYPE_CHECKING:
    from dicom_workflow.learning.model.bundle import Bundle

_BATCH = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True)
class EmbeddedFile:
    """What became of one file: its embedding, shape (dimensions,), float32, or why there is none."""

    vector: NDArray[np.float32] | None
    problem: str = ""


class Embedder:
    """Computes embeddings with one model bundle.

    Parameters
    ----------
    bundle : Bundle
        Of a network for gray images.
    whitening : Whitening, optional
        Applied to the features of the network, and then part of the space.

    Raises
    ------
    SearchError
        A network for color images.
    """

    def __init__(self, bundle: Bundle, whitening: Whitening | None = None) -> None:
        if bundle.channels != 1:
            raise SearchError(
                f"expected a network for gray images, got {bundle.architecture}. Radiographs are indexed with a gray one."
            )
        self.bundle, self.whitening = bundle, whitening
        self._batch = _BATCH.get(next(bundle.network.parameters()).device.type, 64)
        dimensions = bundle.embed(np.ones((1, 1, bundle.size_px, bundle.size_px), np.float16), batch_size=1).shape[1]
        description = f"{bundle.architecture}, {bundle.size_px} px, {', '.join(bundle.labels)}"[:300]
        space = EmbeddingSpace(bundle.embedding_space, dimensions, description)
        self.space = whitening.space(space) if whitening else space

    def __repr__(self) -> str:
        return f"Embedder({self.space.space_id!r})"

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> Embedder:
        """Return the embedder of a bundle's folder, with the whitening that may lie beside the bundle.

        Raises
        ------
        BundleError
            As `bundle.load`.
        SearchError
            A network for color images, or a damaged whitening.
        """
        from dicom_workflow.learning.model import bundle  # torch takes seconds to import

        return cls(bundle.load(folder, device=device), Whitening.load(Path(folder)))

    def of_images(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the embeddings of model inputs.

        Parameters
        ----------
        images : ndarray, shape (n, 1, size_px, size_px), float16 or float32 in [0, 1]
            As `learning.data.images.decode` returns each.

        Returns
        -------
        ndarray, shape (n, dimensions), float32
            Of any length; `documents.Embeddings.of` gives them unit length.

        Raises
        ------
        LearningError
            Images of another shape, or values that are not finite.
        """
        features = self.bundle.embed(images, batch_size=self._batch)
        return self.whitening.apply(features) if self.whitening else features

    def of_image(self, source: Any) -> NDArray[np.float32]:
        """Return the embedding of one DICOM instance, for a query: shape (dimensions,), float32, unit length.

        Parameters
        ----------
        source : path, bytes or pydicom.Dataset

        Raises
        ------
        DicomError
            The file cannot be used.
        RecordError
            The embedding is zero: nothing can be compared with it.
        """
        from dicom_workflow.learning.data.images import decode

        image = decode(source, self.bundle.size_px, self.bundle.preprocessing_version)
        return Embeddings.of(self.space, ["query"], self.of_images(image[None])).vectors[0]

    def of_files(self, paths: Sequence[Path], *, workers: int = 0) -> Iterator[EmbeddedFile]:
        """Yield the embedding of each file, in order, while later ones are decoded in other processes.

        Parameters
        ----------
        paths : sequence of Path
        workers : int
            Files decoded at a time; 0: as many as there are CPUs.

        Raises
        ------
        SearchError
            The decoded images do not fit on the disk.
        LearningError
            A decoder process could not be started.
        """
        if not paths:
            return
        from dicom_workflow.learning.data.decoder_pool import Job, decode_all
        from dicom_workflow.learning.data.images import decode

        side = self.bundle.size_px
        image_bytes = 2 * side * side
        with tempfile.TemporaryDirectory(prefix="embed-") as folder:
            target = Path(folder) / "images"
            _reserve(target, image_bytes * len(paths))
            jobs = [Job(path, b"", target, number * image_bytes) for number, path in enumerate(paths)]
            images = np.memmap(target, np.float16, "r", shape=(len(paths), 1, side, side))
            outcomes = decode_all(jobs, side, self.bundle.preprocessing_version, decode, workers=workers or os.cpu_count() or 1)
            waiting: list[str] = []
            for number, outcome in enumerate(outcomes):
                waiting.append(outcome.problem)
                if len(waiting) == self._batch or number == len(paths) - 1:
                    yield from self._batch_of(images[number + 1 - len(waiting) : number + 1], waiting)
                    waiting = []

    def _batch_of(self, images: NDArray[np.float16], problems: Sequence[str]) -> Iterator[EmbeddedFile]:
        usable = [row for row, problem in enumerate(problems) if not problem]
        vectors = iter(self.of_images(np.array(images[usable])))
        for problem in problems:
            yield EmbeddedFile(None, problem) if problem else EmbeddedFile(next(vectors))


def _reserve(path: Path, size: int) -> None:
    """Make a file of zeros, after a look whether it fits: no decoder should find the disk full."""
    try:
        free = shutil.disk_usage(path.parent).free
        with path.open("wb") as stream:
            stream.truncate(size)
    except OSError as error:
        raise SearchError(f"{path}: the file for decoded images cannot be written: {error.strerror}. Set TMPDIR.") from error
    if free < size:
        raise SearchError(
            f"{path}: {size >> 20} MB are needed for decoded images, and {free >> 20} MB are free. Free some space, or set "
            "TMPDIR to another folder."
        )
