"""Figures of one set of images: AUROC, average precision, sensitivity, specificity, Brier score, calibration error.

Unknown targets (NaN) take no part. A label without a positive or without a negative has no AUROC; it is named among the skipped
ones and is not in the macro average. Intervals are percentiles over resampled *patients*: images of one patient are not
independent. Where all resamples give one figure, as with a handful of images that are all called right, its spread is unknown:
a share then has Wilson's interval over its patients, any other figure of a label has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.evaluation.bootstrap import interval, mean, number, patient_weights, rounded, spread
from dicom_workflow.learning.evaluation.curves import Steps
from dicom_workflow.learning.evaluation.report import Figures, Interval, LabelFigures, ReliabilityBin
from dicom_workflow.learning.evaluation.thresholds import UNDECIDED

RESAMPLES = 1000


SPECIFICITY = 0.9
"""Where `sensitivity_at_specificity` is read off the ROC curve."""


MEASURES = ("auroc", "average_precision", "sensitivity", "specificity", "sensitivity_at_specificity", "brier")
"""What has a value and an interval for each label."""


_SHARES = {"sensitivity": 1, "specificity": 0}
"""Shares of the images that are positive or negative, called at a threshold."""


_MACRO = ("auroc", "average_precision", "brier", "ece", "brier_uncalibrated", "ece_uncalibrated")
BINS = 10
IMAGES_PER_BIN = 10
"""Fewer images than this in a bin say nothing of a share: small sets get fewer bins."""
_Z95 = 1.959963984540054


def brier(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean squared distance of probabilities from what was true (0 best, 1 worst), NaN without a known target.

    Parameters
    ----------
    targets : ndarray, shape (n,), float64
        1 positive, 0 negative, anything else unknown.
    scores : ndarray, shape (n,), float64 in [0, 1]
    """
    known = (targets == 0) | (targets == 1)
    return float(np.mean((scores[known] - targets[known]) ** 2)) if known.any() else float("nan")


def reliability_bins(targets: np.ndarray, scores: np.ndarray, *, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Return the observed share of positives over bins of rising probability with about as many images each.

    Parameters
    ----------
    targets, scores : ndarray, shape (n,), float64
        As for `brier`.
    bins : int
        At most; a bin has `IMAGES_PER_BIN` images where there are so many. Equal scores are never parted, so that the order of
        images does not matter.

    Returns
    -------
    tuple of ReliabilityBin
        Empty without a known target.
    """
    known = (targets == 0) | (targets == 1)
    order = np.argsort(scores[known], kind="stable")
    ordered, truth = scores[known][order], targets[known][order]
    total = len(ordered)
    if not total:
        return ()
    wanted = max(1, min(bins, total // IMAGES_PER_BIN))
    cuts = np.round(np.arange(1, wanted) * total / wanted).astype(int)
    edges = np.unique(np.r_[0, np.searchsorted(ordered, ordered[cuts], side="left"), total])
    found = []
    for start, end in itertools.pairwise(edges):
        observed = float(truth[start:end].mean())
        found.append(
            ReliabilityBin(
                count=int(end - start),
                low=rounded(ordered[start]),
                high=rounded(ordered[end - 1]),
                predicted=rounded(ordered[start:end].mean()),
                observed=rounded(observed),
                observed_interval=wilson(observed, int(end - start)),
            )
        )
    return tuple(found)


def expected_calibration_error(targets: np.ndarray, scores: np.ndarray, *, bins: int = BINS) -> float:
    """Return the mean distance of predicted from observed shares over `reliability_bins`, each weighted by its images.

    Parameters
    ----------
    targets, scores : ndarray, shape (n,), float64
        As for `brier`.
    bins : int
        As for `reliability_bins`.

    Returns
    -------
    float
        In [0, 1]; NaN without a known target. On few images it is above zero even where every probability is true.
    """
    found = reliability_bins(targets, scores, bins=bins)
    total = sum(each.count for each in found)
    if not total:
        return float("nan")
    return float(sum(each.count * abs(each.predicted - each.observed) for each in found) / total)


def wilson(share: float, count: int) -> Interval:
    """Return Wilson's 95 % interval of a share in [0, 1] of `count` independent items."""
    square = _Z95**2 / count
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return round(max(0.0, float(middle - half)), 6), round(min(1.0, float(middle + half)), 6)


def evaluate(
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    labels: Sequence[str],
    patients: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    uncalibrated: np.ndarray | None = None,
    specificity: float = SPECIFICITY,
    mode: str = "multi-label",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figures:
    """Return the figures of one set of images against one set of targets.

    Parameters
    ----------
    targets : ndarray, shape (n, labels), float64
        1, 0 or NaN.
    scores : ndarray, shape (n, labels), float64 in [0, 1]
    labels : sequence of str
        Columns, in order.
    patients : sequence of str
        The patient of each row; intervals resample patients.
    thresholds : mapping of str to float, optional
        Probability from which a label is called positive, chosen on other images than these; 0.5 where not given.
    uncalibrated : ndarray, shape (n, labels), optional
        The probabilities before calibration, to be reported beside.
    specificity : float
        At which `sensitivity_at_specificity` is measured.
    mode : {'multi-label', 'single-label'}
        For single-label, accuracy and the confusion of the most probable label are added.
    resamples : int
        How many times patients are drawn; 0 for no intervals.
    seed : int
        The same seed, the same intervals.

    Returns
    -------
    Figures
        With accuracy and confusion of the most probable label in mode ``single-label``.

    Raises
    ------
    LearningError
        The shapes do not fit together, or a score is not a number.
    """
    targets, scores = np.asarray(targets, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    check_shapes(targets, scores, labels, patients)
    limits = [(thresholds or {}).get(label, UNDECIDED) for label in labels]
    drawn = {name: np.full((resamples, len(labels)), np.nan) for name in MEASURES}
    done = 0
    for weights in patient_weights(patients, resamples, seed):
        for column, limit in enumerate(limits):
            found = _measure(targets[:, column], scores[:, column], weights, limit, specificity)
            for name, values in found.items():
                drawn[name][done : done + len(weights), column] = values
        done += len(weights)
    per_label: dict[str, LabelFigures] = {}
    skipped: dict[str, str] = {}
    for column, label in enumerate(labels):
        before = None if uncalibrated is None else np.asarray(uncalibrated, dtype=np.float64)[:, column]
        found_here = _label_figures(targets[:, column], scores[:, column], before, limits[column], specificity)
        reach = {name: spread(drawn[name][:, column]) for name in MEASURES}
        for name, which in _SHARES.items():
            share = getattr(found_here, name)
            if reach[name] is None and interval(drawn[name][:, column]) and share is not None:
                reach[name] = wilson(share, len(set(itertools.compress(patients, targets[:, column] == which))))
        intervals: dict[str, Any] = {f"{name}_interval": each for name, each in reach.items()}
        per_label[label] = replace(found_here, **intervals)
        if found_here.auroc is None:
            missing = [name for name in ("positive", "negative") if not getattr(found_here, f"{name}s")]
            skipped[label] = f"no {' and no '.join(missing)} image"
    columns = [column for column, label in enumerate(labels) if label not in skipped]
    macros = np.array([mean(row[columns]) for row in drawn["auroc"]]) if columns else np.array([])
    figures = Figures(
        images=len(targets),
        patients=len(set(patients)),
        labels=per_label,
        skipped=skipped,
        macro_auroc_interval=spread(macros),
        at_specificity=specificity,
        interval=f"95 %, percentiles over {resamples} resamples of patients, seed {seed}",
        **_means(per_label, skipped),
    )
    return _with_confusion(figures, targets, scores, labels) if mode == "single-label" else figures


def check_shapes(targets: np.ndarray, scores: np.ndarray, labels: Sequence[str], patients: Sequence[str]) -> None:
    """Check that targets and scores have a row per patient and a column per label, and that scores are numbers.

    Parameters
    ----------
    targets, scores : ndarray, shape (n, labels), float64
    labels, patients : sequence of str

    Raises
    ------
    LearningError
        They do not fit together, or a score is not finite.
    """
    if targets.shape != scores.shape or targets.shape != (len(patients), len(labels)):
        raise LearningError(
            f"expected targets and scores of shape ({len(patients)}, {len(labels)}), got {targets.shape} and {scores.shape}."
        )
    if not np.isfinite(scores).all():
        rows = int((~np.isfinite(scores)).any(axis=1).sum())
        raise LearningError(f"the scores of {rows} of {len(scores)} images are not finite: the weights are damaged.")


def _label_figures(
    targets: np.ndarray, scores: np.ndarray, uncalibrated: np.ndarray | None, threshold: float, specificity: float
) -> LabelFigures:
    positives, negatives = int((targets == 1).sum()), int((targets == 0).sum())
    known = positives + negatives
    once = np.ones((1, len(scores)), dtype=np.float32)
    measured: dict[str, Any] = {
        name: number(values[0]) for name, values in _measure(targets, scores, once, threshold, specificity).items()
    }
    found = LabelFigures(
        positives=positives,
        negatives=negatives,
        unknown=len(targets) - known,
        prevalence=number(positives / known) if known else None,
        threshold=float(threshold),
        ece=number(expected_calibration_error(targets, scores)),
        reliability=reliability_bins(targets, scores),
        **measured,
    )
    if uncalibrated is None:
        return found
    return replace(
        found,
        brier_uncalibrated=number(brier(targets, uncalibrated)),
        ece_uncalibrated=number(expected_calibration_error(targets, uncalibrated)),
        reliability_uncalibrated=reliability_bins(targets, uncalibrated),
    )


def _measure(
    targets: np.ndarray, scores: np.ndarray, weights: np.ndarray, threshold: float, specificity: float
) -> dict[str, np.ndarray]:
    """Return each of `MEASURES` of one label, for every row of weights (resamples, n)."""
    steps = Steps.of(targets, scores, weights)
    positive, negative, called = targets == 1, targets == 0, scores >= threshold
    squared = np.where(positive | negative, (scores - np.nan_to_num(targets)) ** 2, 0.0)
    counted = np.stack([positive, positive & called, negative, negative & ~called, squared], axis=1)  # (n, 5)
    positives, found, negatives, rejected, distance = (weights @ counted).T.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "auroc": steps.auroc(),
            "average_precision": steps.average_precision(),
            "sensitivity": found / positives,
            "specificity": rejected / negatives,
            "sensitivity_at_specificity": steps.sensitivity_at(specificity),
            "brier": distance / (positives + negatives),
        }


def _means(per_label: Mapping[str, LabelFigures], skipped: Mapping[str, str]) -> dict[str, Any]:
    """Return the means over labels; a label without an AUROC has no part in that of the average precision either."""
    ranked = [values for label, values in per_label.items() if label not in skipped]
    means: dict[str, Any] = {}
    for name in _MACRO:
        among = ranked if name in ("auroc", "average_precision") else list(per_label.values())
        values = [value for each in among if (value := getattr(each, name)) is not None]
        means[f"macro_{name}"] = number(np.mean(values)) if values else None
    return means


def _with_confusion(figures: Figures, targets: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> Figures:
    usable = (targets == 1).sum(axis=1) == 1
    expected, said = targets[usable] == 1, scores[usable]
    truth, answer = expected.argmax(axis=1), said.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    return replace(
        figures,
        accuracy=number((truth == answer).mean()) if len(truth) else None,
        confusion={label: dict(zip(labels, row.tolist(), strict=True)) for label, row in zip(labels, confusion, strict=True)},
    )
