"""The object of ``evaluation.json``: figures per label with intervals over patients, and the mean over labels.

Unknown targets (NaN) take no part. A label without a positive or without a negative has no AUROC; it is named among the skipped
ones and is not in the macro average. Intervals are percentiles over resampled *patients*: images of one patient are not
independent. Where all resamples give one figure they know nothing of its spread: a handful of images, all called right, would
be certain. A share then has Wilson's interval over its patients, another figure of a label has none. Everything is JSON: an
undefined number is null.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.evaluation.bootstrap import interval, mean, number, patient_weights, spread
from dicom_workflow.learning.evaluation.curves import Steps
from dicom_workflow.learning.evaluation.reliability import brier, expected_calibration_error, reliability_bins, wilson
from dicom_workflow.learning.evaluation.thresholds import UNDECIDED

EVALUATION_SCHEMA = "dicom-workflow/evaluation/1"
RESAMPLES = 1000
SPECIFICITY = 0.9
"""Where `sensitivity_at_specificity` is read off the ROC curve."""
MEASURES = ("auroc", "average_precision", "sensitivity", "specificity", "sensitivity_at_specificity", "brier")
"""What has a value and an interval for each label."""
_SHARES = {"sensitivity": 1, "specificity": 0}
"""Shares of the images that are positive or negative, called at a threshold."""
_MACRO = ("auroc", "average_precision", "brier", "ece", "brier_uncalibrated", "ece_uncalibrated")


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
    dict
        `images`, `patients`, `macro_auroc`, `macro_auroc_interval` (95 %) and the mean over labels of average precision, Brier
        score and expected calibration error (`macro_…`, each over the labels that have one); `labels`, per label: each of
        `MEASURES` with its `…_interval`, `positives`, `negatives`, `unknown`, `prevalence`, `threshold`, `ece`, `reliability`,
        and `brier_…`, `ece_…` and `reliability_uncalibrated` where that is known; `skipped` (label → why it has no AUROC).
        `sensitivity` and `specificity` are those of the threshold; `sensitivity_at_specificity` is read off this ROC curve, at
        `at_specificity`: what the label could do, not what the threshold does.

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
    per_label, skipped = {}, {}
    for column, label in enumerate(labels):
        before = None if uncalibrated is None else np.asarray(uncalibrated, dtype=np.float64)[:, column]
        report = _report_of_label(targets[:, column], scores[:, column], before, limits[column], specificity)
        reach = {name: spread(drawn[name][:, column]) for name in MEASURES}
        for name, which in _SHARES.items():
            if reach[name] is None and interval(drawn[name][:, column]) and report[name] is not None:
                reach[name] = wilson(report[name], len(set(itertools.compress(patients, targets[:, column] == which))))
        per_label[label] = {**report, **{f"{name}_interval": found for name, found in reach.items()}}
        if report["auroc"] is None:
            missing = [name for name in ("positives", "negatives") if not report[name]]
            skipped[label] = f"no {' and no '.join(name.removesuffix('s') for name in missing)} image"
    columns = [column for column, label in enumerate(labels) if label not in skipped]
    macros = np.array([mean(row[columns]) for row in drawn["auroc"]]) if columns else np.array([])
    whole = {
        "images": len(targets),
        "patients": len(set(patients)),
        **_means(per_label, skipped),
        "macro_auroc_interval": spread(macros),
        "at_specificity": specificity,
        "labels": per_label,
        "skipped": skipped,
        "interval": f"95 %, percentiles over {resamples} resamples of patients, seed {seed}",
    }
    return {**whole, **_single_label_report(targets, scores, labels)} if mode == "single-label" else whole


def check_shapes(targets: np.ndarray, scores: np.ndarray, labels: Sequence[str], patients: Sequence[str]) -> None:
    """Raise LearningError unless targets and scores have a row per patient and a column per label, and scores are numbers."""
    if targets.shape != scores.shape or targets.shape != (len(patients), len(labels)):
        raise LearningError(
            f"expected targets and scores of shape ({len(patients)}, {len(labels)}), got {targets.shape} and {scores.shape}."
        )
    if not np.isfinite(scores).all():
        rows = int((~np.isfinite(scores)).any(axis=1).sum())
        raise LearningError(f"expected finite scores, {rows} of {len(scores)} images have others: the weights are damaged.")


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


def _report_of_label(
    targets: np.ndarray, scores: np.ndarray, uncalibrated: np.ndarray | None, threshold: float, specificity: float
) -> dict[str, Any]:
    positives, negatives = int((targets == 1).sum()), int((targets == 0).sum())
    known = positives + negatives
    once = np.ones((1, len(scores)), dtype=np.float32)
    measured = {name: number(values[0]) for name, values in _measure(targets, scores, once, threshold, specificity).items()}
    report = {
        "positives": positives,
        "negatives": negatives,
        "unknown": len(targets) - known,
        "prevalence": number(positives / known) if known else None,
        "threshold": float(threshold),
        **measured,
        "ece": number(expected_calibration_error(targets, scores)),
        "reliability": reliability_bins(targets, scores),
    }
    if uncalibrated is not None:
        report["brier_uncalibrated"] = number(brier(targets, uncalibrated))
        report["ece_uncalibrated"] = number(expected_calibration_error(targets, uncalibrated))
        report["reliability_uncalibrated"] = reliability_bins(targets, uncalibrated)
    return report


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


def _means(per_label: Mapping[str, Mapping[str, Any]], skipped: Mapping[str, str]) -> dict[str, float | None]:
    """Return the means over labels; a label without an AUROC has no part in that of the average precision either."""
    ranked = [values for label, values in per_label.items() if label not in skipped]
    means: dict[str, float | None] = {}
    for name in _MACRO:
        among = ranked if name in ("auroc", "average_precision") else list(per_label.values())
        values = [each[name] for each in among if each.get(name) is not None]
        if values or not name.endswith("uncalibrated"):
            means[f"macro_{name}"] = number(np.mean(values)) if values else None
    return means


def _single_label_report(targets: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    usable = (targets == 1).sum(axis=1) == 1
    expected, said = targets[usable] == 1, scores[usable]
    truth, answer = expected.argmax(axis=1), said.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    return {
        "accuracy": number((truth == answer).mean()) if len(truth) else None,
        "confusion": {
            label: dict(zip(labels, row.tolist(), strict=True)) for label, row in zip(labels, confusion, strict=True)
        },
    }
