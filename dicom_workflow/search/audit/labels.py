"""Labels at odds with what similar images are labeled, or with what the report of the image states.

For each image and label, two predictions are made without the image's own patient: the share of positive images among its
nearest neighbors, and a linear regression on the embeddings, fitted on the other patients. Their mean, against the given label,
is the score: 0 is as expected, 1 is the opposite of what everything similar says. Both are fitted on the labels as given; wrong
ones among them are outvoted as long as they are few (Northcutt et al. 2021, JAIR 70:1373).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import SearchError

Evidence = Literal["neighbors", "report"]

NEIGHBORS = 15
FOLDS = 5
_CONTRAST = 5.0
"""How much more a nearer neighbor counts: weights are exp(5 × cosine similarity), of vectors around their mean."""
_SHRINKAGE = 0.2
"""Ridge penalty, as a share of the mean variance of a feature times the number of images."""
_ROWS = 1024


@dataclass(frozen=True)
class LabelDoubt:
    """A label that neighbors or the report contradict."""

    image_id: str
    label: str
    given: str
    """``positive`` or ``negative``."""
    expected: float
    """Probability that the label is positive, from what contradicts it."""
    score: float
    """Distance of the given label from it, in [0, 1]."""
    evidence: Evidence
    neighbors: tuple[str, ...] = ()
    """The most similar images of other patients."""
    sentence: str = ""
    """What the report states."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)


def expected_labels(
    vectors: NDArray[np.float32], given: NDArray[np.float32], patients: Sequence[str], *, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the probability of each label of each image, from images of other patients, and the nearest of them.

    Parameters
    ----------
    vectors : ndarray, shape (n, dimensions), float32
        Embeddings of one space.
    given : ndarray, shape (n, labels), float32
        1 positive, 0 negative, NaN not known.
    patients : sequence of str
        Of each image; an empty one is a patient of its own.
    seed : int
        Of the folds.

    Returns
    -------
    ndarray of shape (n, labels), float32 in [0, 1]; ndarray of shape (n, NEIGHBORS), int64
        NaN where no image of another patient has the label known. Neighbors are rows, -1 where there are fewer.

    Raises
    ------
    SearchError
        Fewer than two patients.
    """
    names = np.array([patient or f"\0{row}" for row, patient in enumerate(patients)])
    unique, patient_of = np.unique(names, return_inverse=True)
    if len(unique) < 2:
        raise SearchError(f"expected labeled images of two patients or more, got {len(unique)}. Index and label more images.")
    centered = vectors - vectors.mean(0)
    centered /= np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-9)
    voted, neighbors = _voted(centered, given, patient_of)
    fold_of = np.random.default_rng(seed).permutation(len(unique))[patient_of] % min(FOLDS, len(unique))
    fitted = _fitted(centered, given, fold_of)
    both = np.stack([voted, fitted])
    known = np.isfinite(both)
    mean = np.where(known, both, 0).sum(0) / np.maximum(known.sum(0), 1)
    return np.where(known.any(0), mean, np.nan).astype(np.float32), neighbors


def _voted(
    vectors: NDArray[np.float32], given: NDArray[np.float32], patient_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    count = min(NEIGHBORS, len(vectors) - 1)
    voted = np.full(given.shape, np.nan)
    neighbors = np.full((len(vectors), NEIGHBORS), -1)
    for start in range(0, len(vectors), _ROWS):
        rows = slice(start, min(start + _ROWS, len(vectors)))
        scores = vectors[rows] @ vectors.T
        scores[patient_of[rows, None] == patient_of] = -np.inf
        nearest = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(scores, nearest, 1)
        order = np.argsort(-near, axis=1)
        nearest, near = np.take_along_axis(nearest, order, 1), np.take_along_axis(near, order, 1)
        neighbors[rows, :count] = np.where(np.isfinite(near), nearest, -1)
        weights = np.exp(_CONTRAST * (near - near[:, :1]))[..., None]
        states = given[nearest]
        weights = np.where(np.isfinite(states), weights, 0.0)
        total = weights.sum(1)
        voted[rows] = np.where(total > 0, (weights * np.nan_to_num(states)).sum(1) / np.maximum(total, 1e-12), np.nan)
    return voted, neighbors


def _fitted(vectors: NDArray[np.float32], given: NDArray[np.float32], fold_of: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ridge regression of each label, each fold predicted from the others."""
    features = np.hstack([vectors, np.ones((len(vectors), 1), np.float32)]).astype(np.float64)
    fitted = np.full(given.shape, np.nan)
    known = np.isfinite(given)
    for fold in range(int(fold_of.max()) + 1):
        for label in range(given.shape[1]):
            rows = (fold_of != fold) & known[:, label]
            if not rows.any():
                continue
            design, target = features[rows], given[rows, label].astype(np.float64)
            normal = design.T @ design
            normal[np.diag_indices(len(normal))] += _SHRINKAGE * np.trace(normal[:-1, :-1]) / vectors.shape[1] + 1e-6
            weights = np.linalg.solve(normal, design.T @ target)
            fitted[fold_of == fold, label] = np.clip(features[fold_of == fold] @ weights, 0.0, 1.0)
    return fitted
