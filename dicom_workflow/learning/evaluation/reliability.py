"""Are the probabilities true: of the images given 0.8, do eight in ten have the finding?"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from dicom_workflow.learning.evaluation.bootstrap import number

BINS = 10
IMAGES_PER_BIN = 10
"""Fewer images than this in a bin say nothing of a share: small sets get fewer bins."""
_Z95 = 1.959963984540054


def brier(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean squared distance of probabilities from what was true (0 best, 1 worst), NaN without a known target.

    Parameters
    ----------
    targets : ndarray, shape (n,)
        1 positive, 0 negative, anything else unknown.
    scores : ndarray, shape (n,), in [0, 1]
    """
    known = (targets == 0) | (targets == 1)
    return float(np.mean((scores[known] - targets[known]) ** 2)) if known.any() else float("nan")


def reliability_bins(targets: np.ndarray, scores: np.ndarray, *, bins: int = BINS) -> list[dict[str, Any]]:
    """Return how often a finding was there, over bins of rising probability that hold about as many images each.

    Parameters
    ----------
    targets, scores : ndarray, shape (n,)
        As for `brier`.
    bins : int
        At most; a bin has `IMAGES_PER_BIN` images where there are so many. Equal scores are never parted, so that the order of
        images does not matter.

    Returns
    -------
    list of dict
        `count`, `low` and `high` (scores), `predicted` (mean score), `observed` (share of positives) and `observed_interval`
        (Wilson, 95 %, images taken as independent); none without a known target.
    """
    known = (targets == 0) | (targets == 1)
    order = np.argsort(scores[known], kind="stable")
    ordered, truth = scores[known][order], targets[known][order]
    total = len(ordered)
    if not total:
        return []
    wanted = max(1, min(bins, total // IMAGES_PER_BIN))
    cuts = np.round(np.arange(1, wanted) * total / wanted).astype(int)
    edges = np.unique(np.r_[0, np.searchsorted(ordered, ordered[cuts], side="left"), total])
    found = []
    for start, end in itertools.pairwise(edges):
        observed = float(truth[start:end].mean())
        found.append(
            {
                "count": int(end - start),
                "low": number(ordered[start]),
                "high": number(ordered[end - 1]),
                "predicted": number(ordered[start:end].mean()),
                "observed": number(observed),
                "observed_interval": wilson(observed, int(end - start)),
            }
        )
    return found


def expected_calibration_error(targets: np.ndarray, scores: np.ndarray, *, bins: int = BINS) -> float:
    """Return the mean distance of predicted from observed shares over `reliability_bins`, each with its images' weight.

    In [0, 1]; NaN without a known target. On few images it is above zero even where every probability is true.
    """
    found = reliability_bins(targets, scores, bins=bins)
    total = sum(each["count"] for each in found)
    if not total:
        return float("nan")
    return float(sum(each["count"] * abs(each["predicted"] - each["observed"]) for each in found) / total)


def wilson(share: float, count: int) -> list[float]:
    """Return Wilson's 95 % interval of a share of so many."""
    square = _Z95**2 / count
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return [round(max(0.0, float(middle - half)), 6), round(min(1.0, float(middle + half)), 6)]
