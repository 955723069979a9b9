"""One label's ROC and precision-recall curve, the areas under them, and their bands over resampled patients.

Unknown targets (NaN, a soft target) take no part. Images with equal scores are one step of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_workflow.learning.evaluation.bootstrap import mean, patient_weights

BAND_POINTS = 101
_ROUNDING = 1e-9
"""Shares are sums of weights divided by sums: 0.9 may come as 0.8999999999."""


@dataclass(frozen=True)
class Steps:
    """The steps of one label's curves, from the highest score down, for each row of weights."""

    scores: np.ndarray
    """Distinct scores, shape (k,), falling."""
    positive: np.ndarray
    """Weight of positive images at each score, shape (resamples, k)."""
    negative: np.ndarray

    @classmethod
    def of(cls, targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> Steps:
        """Return the steps of known targets.

        Parameters
        ----------
        targets : ndarray, shape (n,), float64
            1 positive, 0 negative, anything else unknown.
        scores : ndarray, shape (n,), float64
            Higher means more likely positive.
        weights : ndarray, shape (resamples, n), float32, optional
            How often each image counts; once when not given.
        """
        weights = np.ones((1, len(scores)), dtype=np.float32) if weights is None else weights
        known = np.flatnonzero((targets == 0) | (targets == 1))
        if not len(known):
            nothing = np.zeros((len(weights), 0))
            return cls(np.zeros(0), nothing, nothing)
        order = known[np.argsort(-scores[known], kind="stable")]  # one sort serves all rows of weights
        ordered = scores[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        is_positive = targets[order] == 1
        weighted = weights[:, order].astype(np.float64)
        positive, negative = (np.add.reduceat(weighted * which, starts, axis=1) for which in (is_positive, ~is_positive))
        return cls(ordered[starts], positive, negative)

    def auroc(self) -> np.ndarray:
        """Return the area under each ROC curve, shape (resamples,), float64, ties half; NaN where one class is missing."""
        true_positives = self.positive.cumsum(axis=1)
        positives, negatives = self.positive.sum(axis=1), self.negative.sum(axis=1)
        below = (positives[:, None] - true_positives + self.positive / 2) * self.negative  # pairs in the wrong order
        with np.errstate(invalid="ignore", divide="ignore"):
            area: np.ndarray = 1 - below.sum(axis=1) / (positives * negatives)
        area[(positives == 0) | (negatives == 0)] = np.nan
        return area

    def average_precision(self) -> np.ndarray:
        """Return the step-wise area under each precision-recall curve, shape (resamples,), float64; NaN without a positive."""
        true_positives, false_positives = self.positive.cumsum(axis=1), self.negative.cumsum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(true_positives / (true_positives + false_positives))
            average: np.ndarray = (precision * self.positive).sum(axis=1) / self.positive.sum(axis=1)
        return average

    def sensitivity_at(self, specificity: float) -> np.ndarray:
        """Return the greatest sensitivity of any threshold with at least this specificity, shape (resamples,), float64.

        NaN without a positive or without a negative.
        """
        positives, negatives = self.positive.sum(axis=1), self.negative.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            allowed = self.negative.cumsum(axis=1) / negatives[:, None] <= 1 - specificity + _ROUNDING
            share: np.ndarray = (self.positive * allowed).sum(axis=1) / positives
        share[(positives == 0) | (negatives == 0)] = np.nan
        return share

    def roc(self, row: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return 1 - specificity and sensitivity of every threshold, each of shape (k + 1,), float64, from (0, 0) to (1, 1)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = [np.r_[0.0, part[row].cumsum()] / part[row].sum() for part in (self.negative, self.positive)]
        return shares[0], shares[1]

    def precision_recall(self, row: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return recall and precision of every threshold, each of shape (k,), float64, from the highest score down."""
        true, false = self.positive[row].cumsum(), self.negative[row].cumsum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return true / self.positive[row].sum(), true / (true + false)


@dataclass(frozen=True)
class Band:
    """A curve with its 95 % band over resampled patients, and the area under it with its interval."""

    x: np.ndarray
    y: np.ndarray
    grid: np.ndarray
    """Where the band is known, shape (`BAND_POINTS`,)."""
    low: np.ndarray
    high: np.ndarray
    """NaN without resamples."""
    area: float
    areas: np.ndarray
    """The area in each resample that has one."""
    positives: int
    negatives: int


def auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve of one label; ties count half.

    Parameters
    ----------
    targets : ndarray, shape (n,), float64
        1 positive, 0 negative, anything else (NaN, a soft target) unknown.
    scores : ndarray, shape (n,)
        Higher means more likely positive.

    Returns
    -------
    float
        NaN without a positive or without a negative.
    """
    return float(Steps.of(targets, scores).auroc()[0])


def average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the average precision of one label (step-wise area under the precision-recall curve), NaN without a positive.

    Parameters
    ----------
    targets, scores : ndarray, shape (n,), float64
        As for `auroc`.
    """
    return float(Steps.of(targets, scores).average_precision()[0])


def macro_auroc(targets: np.ndarray, scores: np.ndarray) -> tuple[float, list[float]]:
    """Return the mean AUROC over the labels that have one, and the AUROC of each label.

    Parameters
    ----------
    targets, scores : ndarray, shape (n, labels), float64

    Returns
    -------
    float
        NaN when no label has an AUROC.
    list of float
        NaN for a label without a positive or without a negative.
    """
    each = [auroc(targets[:, column], scores[:, column]) for column in range(targets.shape[1])]
    return mean(np.array(each)), each


def roc_band(
    targets: np.ndarray, scores: np.ndarray, patients: Sequence[str], *, resamples: int = 500, seed: int = 0
) -> Band | None:
    """Return one label's ROC curve (x: 1 - specificity, y: sensitivity), None without a positive or without a negative.

    Parameters
    ----------
    targets, scores : ndarray, shape (n,), float64
    patients : sequence of str
        The band resamples patients.
    resamples : int
        0 for no band.
    seed : int
    """
    return _band(targets, scores, patients, resamples, seed, is_roc=True)


def precision_recall_band(
    targets: np.ndarray, scores: np.ndarray, patients: Sequence[str], *, resamples: int = 500, seed: int = 0
) -> Band | None:
    """Return one label's precision-recall curve (x: recall, y: precision), None without a positive or without a negative.

    Between two thresholds the curve keeps the precision of the lower one, as the average precision does.

    Parameters
    ----------
    targets, scores : ndarray, shape (n,), float64
        As for `auroc`.
    patients : sequence of str
        The band resamples patients.
    resamples : int
        0 for no band.
    seed : int
    """
    return _band(targets, scores, patients, resamples, seed, is_roc=False)


def _band(
    targets: np.ndarray, scores: np.ndarray, patients: Sequence[str], resamples: int, seed: int, *, is_roc: bool
) -> Band | None:
    targets, scores = np.asarray(targets, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    whole = Steps.of(targets, scores)
    positives, negatives = int(whole.positive.sum()), int(whole.negative.sum())
    if not positives or not negatives:
        return None
    grid = np.linspace(0, 1, BAND_POINTS)
    curves, areas = [], []
    for weights in patient_weights(patients, resamples, seed):
        steps = Steps.of(targets, scores, weights)
        for row, area in enumerate(steps.auroc() if is_roc else steps.average_precision()):
            if np.isfinite(area) and steps.negative[row].any():
                areas.append(area)
                curves.append(_on_grid(steps, row, grid, is_roc))
    enough = len(curves) >= max(20, resamples / 2)
    low, high = np.percentile(curves, [2.5, 97.5], axis=0) if enough else np.full((2, len(grid)), np.nan)
    x, y = whole.roc() if is_roc else whole.precision_recall()
    area = float((whole.auroc() if is_roc else whole.average_precision())[0])
    return Band(x, y, grid, low, high, area, np.array(areas), positives, negatives)


def _on_grid(steps: Steps, row: int, grid: np.ndarray, is_roc: bool) -> np.ndarray:
    if is_roc:
        x, y = steps.roc(row)
        return np.interp(grid, x, y)
    recall, precision = steps.precision_recall(row)
    present = steps.positive[row] > 0  # a score without a positive image in this resample ends no step
    return precision[present][np.minimum(np.searchsorted(recall[present], grid - _ROUNDING), present.sum() - 1)]
