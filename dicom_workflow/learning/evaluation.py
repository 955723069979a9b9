"""How good probabilities are: AUROC and average precision per label with intervals over patients, and thresholds.

Unknown targets (NaN) take no part. A label without a positive or without a negative has no AUROC; it is named among the skipped
ones and is not in the macro average. Intervals are percentiles over resampled *patients*: images of one patient are not
independent. Everything is JSON: an undefined number is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError

EVALUATION_SCHEMA = "dicom-workflow/evaluation/1"
RESAMPLES = 1000
_CHUNK_VALUES = 4_000_000
"""Weights held at once while resampling: 16 MB."""


def auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve of one label; ties count half.

    Parameters
    ----------
    targets : ndarray, shape (n,)
        1 positive, 0 negative, anything else (NaN, a soft target) unknown.
    scores : ndarray, shape (n,)
        Higher means more likely positive.

    Returns
    -------
    float
        NaN without a positive or without a negative.
    """
    return float(_areas(targets, scores, np.ones((1, len(scores)), dtype=np.float32))[0][0])


def average_precision(targets: np.ndarray, scores: np.ndarray) -> float:
    """Return the average precision of one label (step-wise area under the precision-recall curve), NaN without a positive."""
    return float(_areas(targets, scores, np.ones((1, len(scores)), dtype=np.float32))[1][0])


def macro_auroc(targets: np.ndarray, scores: np.ndarray) -> tuple[float, list[float]]:
    """Return the mean AUROC over the labels that have one, and the AUROC of each label.

    Parameters
    ----------
    targets, scores : ndarray, shape (n, labels)

    Returns
    -------
    float
        NaN when no label has an AUROC.
    list of float
        NaN for a label without a positive or without a negative.
    """
    each = [auroc(targets[:, column], scores[:, column]) for column in range(targets.shape[1])]
    return _mean(np.array(each)), each


def youden_threshold(targets: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the threshold with the greatest sensitivity + specificity, to be chosen on validation images.

    It lies halfway between the lowest score called positive and the next one below. None without a positive or a negative.
    """
    known = (targets == 0) | (targets == 1)
    targets, scores = targets[known], scores[known]
    positives, negatives = (targets == 1).sum(), (targets == 0).sum()
    if not positives or not negatives:
        return None
    values = np.unique(scores)
    # True positive minus false positive rate when everything from values[i] up is called positive.
    at_least = [np.searchsorted(np.sort(scores[targets == state]), values, side="left") for state in (1, 0)]
    benefit = (positives - at_least[0]) / positives - (negatives - at_least[1]) / negatives
    best = int(np.argmax(benefit))
    return float(values[best] if best == 0 else (values[best - 1] + values[best]) / 2)


def choose_thresholds(targets: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """Return a threshold for each label by `youden_threshold`, 0.5 where validation images cannot tell."""
    chosen = {}
    for column, label in enumerate(labels):
        threshold = youden_threshold(targets[:, column], scores[:, column])
        chosen[label] = 0.5 if threshold is None else round(threshold, 6)
    return chosen


def evaluate(
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    labels: Sequence[str],
    patients: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
    mode: str = "multi-label",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the report of one set of images against one set of targets.

    Parameters
    ----------
    targets : ndarray, shape (n, labels)
        1, 0 or NaN.
    scores : ndarray, shape (n, labels), in [0, 1]
    labels : sequence of str
        Columns, in order.
    patients : sequence of str
        The patient of each row; intervals resample patients.
    thresholds : mapping of str to float, optional
        Probability from which a label is called positive, chosen on other images than these; 0.5 where not given.
    mode : {'multi-label', 'single-label'}
        For single-label, accuracy and the confusion of the most probable label are added.
    resamples : int
        How many times patients are drawn; 0 for no intervals.
    seed : int
        The same seed, the same intervals.

    Returns
    -------
    dict
        `images`, `patients`, `macro_auroc`, `macro_auroc_interval` (95 %), `macro_average_precision`, `labels` (per label:
        `auroc`, `auroc_interval`, `average_precision`, `average_precision_interval`, `positives`, `negatives`, `unknown`,
        `prevalence`, `brier`, `threshold`, `sensitivity`, `specificity`) and `skipped` (label → why it has no AUROC).

    Raises
    ------
    LearningError
        The shapes do not fit together, or a score is not a number.
    """
    targets, scores = np.asarray(targets, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if targets.shape != scores.shape or targets.shape != (len(patients), len(labels)):
        raise LearningError(
            f"expected targets and scores of shape ({len(patients)}, {len(labels)}), got {targets.shape} and {scores.shape}."
        )
    if not np.isfinite(scores).all():
        rows = int((~np.isfinite(scores)).any(axis=1).sum())
        raise LearningError(f"expected finite scores, {rows} of {len(scores)} images have others: the weights are damaged.")
    each_auroc, each_precision = _resampled(targets, scores, patients, resamples, seed)
    per_label, skipped = {}, {}
    for column, label in enumerate(labels):
        threshold = (thresholds or {}).get(label, 0.5)
        per_label[label] = _label_report(targets[:, column], scores[:, column], threshold)
        per_label[label]["auroc_interval"] = _interval(each_auroc[:, column])
        per_label[label]["average_precision_interval"] = _interval(each_precision[:, column])
        if per_label[label]["auroc"] is None:
            missing = [name for name in ("positives", "negatives") if not per_label[label][name]]
            skipped[label] = f"no {' and no '.join(name.removesuffix('s') for name in missing)} image"
    defined = [label for label in labels if label not in skipped]
    columns = [column for column, label in enumerate(labels) if label not in skipped]
    macros = np.array([_mean(row[columns]) for row in each_auroc]) if columns else np.array([])
    report = {
        "images": len(targets),
        "patients": len(set(patients)),
        "macro_auroc": _number(np.mean([per_label[label]["auroc"] for label in defined])) if defined else None,
        "macro_auroc_interval": _interval(macros),
        "macro_average_precision": (
            _number(np.mean([per_label[label]["average_precision"] for label in defined])) if defined else None
        ),
        "labels": per_label,
        "skipped": skipped,
        "interval": f"95 %, percentiles over {resamples} resamples of patients, seed {seed}",
    }
    return {**report, **_single_label_report(targets, scores, labels)} if mode == "single-label" else report


def summarize(reports: Mapping[str, dict[str, Any]], *, split: str, mode: str) -> dict[str, Any]:
    """Return the object of ``evaluation.json``: the reports against each set of targets, and the headline figures.

    Parameters
    ----------
    reports : mapping of str to dict
        ``states`` (the consolidated answers) and, when it is known, ``truth``, each from `evaluate`.
    split : str
        Which images were looked at.
    mode : str

    Returns
    -------
    dict
        `measured_against` names what the headline figures `macro_auroc`, `macro_auroc_interval`, `auroc` (label → AUROC) and
        `skipped` are measured against: the truth where it is known, else the answers; both reports stand in `against`.
    """
    name = "truth" if "truth" in reports else "states"
    chosen = reports[name]
    return {
        "schema": EVALUATION_SCHEMA,
        "split": split,
        "mode": mode,
        "images": chosen["images"],
        "patients": chosen["patients"],
        "measured_against": name,
        "macro_auroc": chosen["macro_auroc"],
        "macro_auroc_interval": chosen["macro_auroc_interval"],
        "auroc": {label: values["auroc"] for label, values in chosen["labels"].items()},
        "skipped": chosen["skipped"],
        "against": dict(reports),
        "uncertain": "uncertain and unknown labels take no part in evaluation",
    }


def _label_report(targets: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, Any]:
    positive, negative = targets == 1, targets == 0
    positives, negatives = int(positive.sum()), int(negative.sum())
    known = positives + negatives
    called = scores >= threshold
    return {
        "auroc": _number(auroc(targets, scores)),
        "average_precision": _number(average_precision(targets, scores)),
        "positives": positives,
        "negatives": negatives,
        "unknown": len(targets) - known,
        "prevalence": _number(positives / known) if known else None,
        "brier": _number(np.mean((scores - targets)[positive | negative] ** 2)) if known else None,
        "threshold": _number(threshold),
        "sensitivity": _number(called[positive].mean()) if positives else None,
        "specificity": _number((~called[negative]).mean()) if negatives else None,
    }


def _single_label_report(targets: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    usable = (targets == 1).sum(axis=1) == 1
    expected, said = targets[usable] == 1, scores[usable]
    truth, answer = expected.argmax(axis=1), said.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    return {
        "accuracy": _number((truth == answer).mean()) if len(truth) else None,
        "confusion": {
            label: dict(zip(labels, row.tolist(), strict=True)) for label, row in zip(labels, confusion, strict=True)
        },
    }


def _resampled(
    targets: np.ndarray, scores: np.ndarray, patients: Sequence[str], resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and average precision, each (resamples, labels), with patients drawn with replacement."""
    rows, columns = targets.shape
    each = np.full((2, resamples, columns), np.nan)
    if not rows or not resamples:
        return each[0], each[1]
    names, patient_of_row = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // rows)
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        draws = generator.integers(0, len(names), size=(count, len(names)))
        offsets = np.arange(count)[:, None] * len(names)
        counts = np.bincount((draws + offsets).ravel(), minlength=count * len(names)).reshape(count, len(names))
        weights = counts[:, patient_of_row].astype(np.float32)  # (count, n): how often each image is in the resample
        for column in range(columns):
            areas = _areas(targets[:, column], scores[:, column], weights)
            each[0, start : start + count, column], each[1, start : start + count, column] = areas
    return each[0], each[1]


def _areas(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and average precision for each row of weights (resamples, n): one sort serves all of them."""
    known = np.flatnonzero((targets == 0) | (targets == 1))
    if not len(known):
        undefined = np.full(len(weights), np.nan)
        return undefined, undefined
    order = known[np.argsort(-scores[known], kind="stable")]  # from the most to the least certain
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # equal scores are one step of the curve
    is_positive = targets[order] == 1
    weighted = weights[:, order].astype(np.float64)
    positive = np.add.reduceat(weighted * is_positive, starts, axis=1)
    negative = np.add.reduceat(weighted * ~is_positive, starts, axis=1)
    true_positives, false_positives = positive.cumsum(axis=1), negative.cumsum(axis=1)
    positives, negatives = true_positives[:, -1], false_positives[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        below = (positives[:, None] - true_positives + positive / 2) * negative  # pairs in the wrong order, ties half
        area = 1 - below.sum(axis=1) / (positives * negatives)
        precision = np.nan_to_num(true_positives / (true_positives + false_positives))
        average = (precision * positive).sum(axis=1) / positives
    area[(positives == 0) | (negatives == 0)] = np.nan
    return area, average


def _interval(values: np.ndarray) -> list[float] | None:
    defined = values[np.isfinite(values)]
    # With a finding in two or three patients many resamples have none of it; what is left says little.
    if len(defined) < max(20, len(values) / 2):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return [round(float(low), 6), round(float(high), 6)]


def _mean(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _number(value: float | np.floating[Any]) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
