"""Whitening: a linear change of embeddings after which no direction that all images share outweighs the others.

The features of a network are never negative and vary together: two images of any kind are alike by 0.9, and a few directions,
such as exposure, decide who is nearest. Whitening subtracts the mean and divides each principal direction by its deviation.
Where labels are given, it divides by the deviation that the labels do not explain, so that images of one label come together.
It is estimated from the embeddings of an index, kept in a file beside the model, and part of the name of its embedding space:
embeddings with and without it are never compared.

References
----------
Jégou, Chum 2012, ECCV, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening"; Fisher
1936, Annals of Eugenics 7:179 (deviation within classes).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError
from dicom_workflow.search.documents import EmbeddingSpace

WHITENING_NAME = "whitening.npz"
FEWEST_IMAGES = 50
"""With fewer the directions are those of single images."""
SHRINKAGE = 3.0
"""Added to each variance, in means of the kept variances: directions that hardly vary are noise, and are not blown up."""
MOST_DIRECTIONS = 256
WITHIN_SHRINKAGE, WITHIN_DIRECTIONS = 0.1, 64
"""The same two where labels are given."""


@dataclass(frozen=True)
class Whitening:
    """``(unit vector - mean) @ matrix``: mean of shape (dimensions,), matrix of shape (dimensions, kept), float32."""

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.float32], labels: NDArray[np.float64] | None = None) -> Whitening:
        """Return the whitening of some embeddings.

        Parameters
        ----------
        vectors : ndarray, shape (n, dimensions), float32
            Of any length but zero.
        labels : ndarray, shape (n, labels), float64, optional
            1 positive, 0 negative, NaN unknown; what they explain of the embeddings is not whitened away.

        Raises
        ------
        SearchError
            Fewer than `FEWEST_IMAGES`, or embeddings that are all alike.
        """
        if len(vectors) < FEWEST_IMAGES:
            raise SearchError(f"expected {FEWEST_IMAGES} embeddings or more to estimate a whitening from, got {len(vectors)}.")
        unit = _unit(vectors)
        mean = unit.mean(axis=0)
        _, deviations, directions = np.linalg.svd(unit - mean, full_matrices=False)
        variances = deviations**2 / (len(unit) - 1)
        kept = min(MOST_DIRECTIONS, len(unit) // 2, int((variances > 1e-9 * variances[0]).sum()))
        if not variances[0] > 0 or kept < 2:
            raise SearchError("The embeddings are all alike: there is nothing to whiten. Train the model further.")
        if labels is None:
            scale = 1 / np.sqrt(variances[:kept] + SHRINKAGE * variances[:kept].mean())
            matrix = directions[:kept].T * scale
        else:
            basis = directions[: min(kept, WITHIN_DIRECTIONS)].T
            matrix = basis @ _within_labels((unit - mean) @ basis, np.asarray(labels, np.float64))
        return cls(mean.astype(np.float32), matrix.astype(np.float32))

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whitened embeddings, shape (n, kept), float32, of those of shape (n, dimensions), float32."""
        return np.asarray((_unit(vectors) - self.mean) @ self.matrix, np.float32)

    def space(self, of: EmbeddingSpace) -> EmbeddingSpace:
        """Return the space of whitened embeddings of a space."""
        digest = hashlib.sha256(self.mean.tobytes() + self.matrix.tobytes()).hexdigest()
        return EmbeddingSpace(
            f"{of.space_id}/whitened-{digest[:16]}", self.matrix.shape[1], f"whitened: {of.description}"[:300]
        )

    def save(self, folder: Path) -> Path:
        """Write the whitening beside a model, and return its file."""
        path = folder / WHITENING_NAME
        np.savez(path, mean=self.mean, matrix=self.matrix)
        return path

    @classmethod
    def load(cls, folder: Path) -> Whitening | None:
        """Return the whitening beside a model; None where there is none.

        Raises
        ------
        SearchError
            The file is damaged.
        """
        path = folder / WHITENING_NAME
        if not path.is_file():
            return None
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
                mean, matrix = found["mean"], found["matrix"]
        except Exception as error:  # noqa: BLE001  numpy's readers raise what they like
            raise SearchError(f"{path}: the whitening cannot be read: {str(error)[:100]}. Make it again.") from None
        if mean.dtype != np.float32 or matrix.dtype != np.float32 or matrix.ndim != 2 or mean.shape != matrix.shape[:1]:
            raise SearchError(f"{path}: expected a mean and a matrix of 32 bits, got {mean.shape} and {matrix.shape}.")
        if not (np.isfinite(mean).all() and np.isfinite(matrix).all()):
            raise SearchError(f"{path}: expected finite numbers. Make the whitening again.")
        return cls(mean, matrix)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = np.asarray(vectors, np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.where(length > 0, length, 1), np.float64)


def _within_labels(coordinates: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what whitens the part of the coordinates, shape (n, kept), that a linear fit on the labels leaves over."""
    known = np.isfinite(labels)
    means = np.where(known, labels, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    given = np.where(known, labels, means)
    given -= given.mean(axis=0)
    # A penalty of one image for each label: a label of few images explains little.
    slopes = np.linalg.solve(given.T @ given + np.eye(given.shape[1]), given.T @ coordinates)
    rest = coordinates - given @ slopes
    covariance = rest.T @ rest / len(rest)
    size = len(covariance)
    values, vectors = np.linalg.eigh(covariance + WITHIN_SHRINKAGE * np.trace(covariance) / size * np.eye(size))
    return np.asarray(vectors / np.sqrt(values), np.float64)
