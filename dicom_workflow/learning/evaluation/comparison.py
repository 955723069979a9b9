"""Comparison of two models on the same images: DeLong's test and a paired bootstrap over patients.

Two answers stand side by side. DeLong's test is plain arithmetic on ranks, but takes images as independent; the paired
bootstrap resamples patients, since images of one patient are not. Where the two disagree, believe the bootstrap.

References
----------
DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837; Sun, Xu 2014, IEEE Signal Processing Letters 21:1389 (by midranks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.evaluation.bootstrap import interval, mean, number, patient_weights
from dicom_workflow.learning.evaluation.curves import Steps
from dicom_workflow.learning.evaluation.metrics import RESAMPLES, check_shapes
from dicom_workflow.learning.evaluation.predictions import read_predictions

COMPARISON_SCHEMA = "dicom-workflow/comparison/1"


@dataclass(frozen=True)
class Comparison:
    """DeLong's test of one label: two AUROCs, and the variance of their difference."""

    first: float
    second: float
    variance_first: float
    variance_second: float
    covariance: float
    p: float
    """Two-sided; 1 where nothing differs, NaN where the difference has no variance to be measured by."""

    @property
    def difference(self) -> float:
        """The second AUROC less the first."""
        return self.second - self.first

    @property
    def variance(self) -> float:
        """Of the difference."""
        return max(0.0, self.variance_first + self.variance_second - 2 * self.covariance)


def delong(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> Comparison | None:
    """Return DeLong's test of two models' scores for one label on the same images.

    Parameters
    ----------
    targets : ndarray, shape (n,), float64
        1 positive, 0 negative, anything else unknown.
    first, second : ndarray, shape (n,), float64
        Scores; only their order matters.

    Returns
    -------
    Comparison or None
        None with fewer than two positive or two negative images: their variance is unknown.
    """
    positive, negative = targets == 1, targets == 0
    if positive.sum() < 2 or negative.sum() < 2:
        return None
    placements = [_placements(np.asarray(scores, dtype=np.float64), positive, negative) for scores in (first, second)]
    of_positive, of_negative = (np.stack(part) for part in zip(*placements, strict=True))  # (2, m) and (2, n)
    covariance = np.cov(of_positive) / positive.sum() + np.cov(of_negative) / negative.sum()
    areas = of_positive.mean(axis=1)
    one, other, both = float(covariance[0, 0]), float(covariance[1, 1]), float(covariance[0, 1])
    p = _two_sided(float(areas[1] - areas[0]), one + other - 2 * both)
    return Comparison(float(areas[0]), float(areas[1]), one, other, both, p)


def compare(
    targets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    labels: Sequence[str],
    patients: Sequence[str],
    names: Sequence[str] = ("first", "second"),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the differences of two models on the same images.

    Parameters
    ----------
    targets, first, second : ndarray, shape (n, labels)
        What was true, and the two models' scores.
    labels : sequence of str
    patients : sequence of str
        The patient of each image; both models are judged on the same resamples of patients.
    names : two of str
        Of the models.
    resamples, seed : int

    Returns
    -------
    dict
        `labels`, per label that both models have an AUROC for: `first`, `second`, `difference` (second less first),
        `difference_interval` and `p_bootstrap` (patients), `p_delong` (images), `p_delong_holm` (corrected for the number of
        labels); `macro` likewise over these labels; `skipped`.

    Raises
    ------
    LearningError
        The shapes do not fit together, or a score is not a number.
    """
    targets, first, second = (np.asarray(values, dtype=np.float64) for values in (targets, first, second))
    for scores in (first, second):
        check_shapes(targets, scores, labels, patients)
    tests = {
        column: test
        for column in range(len(labels))
        if (test := delong(targets[:, column], first[:, column], second[:, column])) is not None
    }
    columns = list(tests)
    drawn = [
        [[Steps.of(targets[:, c], scores[:, c], weights).auroc() for c in columns] for scores in (first, second)]
        for weights in patient_weights(patients, resamples, seed)
    ]
    areas = np.concatenate([np.array(part) for part in drawn], axis=2) if drawn and columns else np.empty((2, len(columns), 0))
    differences = areas[1] - areas[0]  # (labels, resamples)
    corrected = _holm([test.p for test in tests.values()])
    found: dict[str, Any] = {}
    for row, (column, test) in enumerate(tests.items()):
        found[labels[column]] = {
            **_difference(test.first, test.second, differences[row]),
            "p_delong": number(test.p),
            "p_delong_holm": number(corrected[row]),
            "images": int(((targets[:, column] == 0) | (targets[:, column] == 1)).sum()),
        }
    one, other = np.mean([(test.first, test.second) for test in tests.values()] or [(np.nan, np.nan)], axis=0)
    return {
        "schema": COMPARISON_SCHEMA,
        "first": names[0],
        "second": names[1],
        "images": len(targets),
        "patients": len(set(patients)),
        "macro": _difference(float(one), float(other), np.array([mean(each) for each in differences.T])) if found else None,
        "labels": found,
        "skipped": {label: "fewer than two positive or two negative images" for label in labels if label not in found},
        "interval": f"95 %, percentiles over {resamples} paired resamples of patients, seed {seed}",
    }


def compare_predictions(
    first: str | Path, second: str | Path, *, against: str = "", resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Return `compare` of two ``predictions.jsonl``, on the images and labels that both have.

    Parameters
    ----------
    first, second : str or Path
    against : {'truth', 'states', ''}
        What counts as true; the truth where both files have it, else the consolidated answers.
    resamples, seed : int

    Raises
    ------
    LearningError
        The files share no image or no label, or do not agree on what was true of an image.
    """
    one, other = read_predictions(first), read_predictions(second)
    labels = [label for label in one.labels if label in other.labels]
    rows = {identifier: row for row, identifier in enumerate(other.identifiers)}
    shared = [(row, rows[identifier]) for row, identifier in enumerate(one.identifiers) if identifier in rows]
    if not labels or not shared:
        raise LearningError(f"{first}, {second}: the two files have no image or no label in common.")
    left, right = ([pair[side] for pair in shared] for side in (0, 1))
    against = against or ("truth" if one.has_truth and other.has_truth else "states")
    columns, other_columns = ([file.labels.index(label) for label in labels] for file in (one, other))
    targets = one.targets(against)[np.ix_(left, columns)]
    if not np.array_equal(targets, other.targets(against)[np.ix_(right, other_columns)], equal_nan=True):
        raise LearningError(f"{first}, {second}: the two files disagree on the {against} of the same images.")
    return {
        **compare(
            targets,
            one.scores[np.ix_(left, columns)],
            other.scores[np.ix_(right, other_columns)],
            labels=labels,
            patients=[one.patients[row] for row in left],
            names=(str(first), str(second)),
            resamples=resamples,
            seed=seed,
        ),
        "measured_against": against,
    }


def _difference(first: float, second: float, drawn: np.ndarray) -> dict[str, Any]:
    defined = drawn[np.isfinite(drawn)]
    found = interval(drawn)
    # How often the sign turns; never 0, since more draws might have turned it.
    smaller = min((defined <= 0).sum(), (defined >= 0).sum()) if found else 0
    return {
        "first": number(first),
        "second": number(second),
        "difference": number(second - first),
        "difference_interval": list(found) if found else None,
        "p_bootstrap": number(min(1.0, 2 * (smaller + 1) / (len(defined) + 1))) if found else None,
    }


def _placements(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of negatives below each positive, and of positives above each negative; ties half."""
    ones, zeros = scores[positive], scores[negative]
    together = _midranks(np.r_[ones, zeros])
    of_ones = (together[: len(ones)] - _midranks(ones)) / len(zeros)
    of_zeros = 1 - (together[len(ones) :] - _midranks(zeros)) / len(ones)
    return of_ones, of_zeros


def _midranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1; equal values share the middle of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: np.ndarray = counts.cumsum() - (counts - 1) / 2
    return middle[which]


def _two_sided(difference: float, variance: float) -> float:
    if abs(difference) < 1e-12:
        return 1.0
    return math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance > 1e-15 else math.nan


def _holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm): the smallest times all, the next times one less, never falling."""
    corrected, so_far = [math.nan] * len(values), 0.0
    tested = sorted((value, at) for at, value in enumerate(values) if math.isfinite(value))
    for done, (value, at) in enumerate(tested):
        so_far = max(so_far, min(1.0, value * (len(tested) - done)))
        corrected[at] = so_far
    return corrected
