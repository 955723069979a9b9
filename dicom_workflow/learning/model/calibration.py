"""Calibration of probabilities: a scale and an offset per label, fitted on validation images only.

A network trained with class weights says too much of rare findings, and a network trained long is too sure. Platt's scaling,
``logit → scale · logit + offset``, repairs both; temperature scaling has no offset. The scale is above zero, so the order of
images, and with it the AUROC, stays as it is. Answers of a softmax get one temperature for all labels.

Tiny validation sets: the fit is pulled towards leaving the logits as they are, as strongly as one image's worth, which makes
it unique and finite where a label is separated perfectly; a label with fewer than `FEWEST` positive or negative images is left
as it is, and that is said.

References
----------
Platt 1999, "Probabilistic outputs for support vector machines"; Guo et al. 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError, RecordError

METHODS = ("none", "temperature", "platt")
FEWEST = 5
"""Positive and negative validation images that a label needs to be calibrated."""
SMALLEST_SCALE = 0.05
"""A label that is told worse than by chance would want a scale below zero: its probabilities become nearly one number."""
_PULL = 1.0
_ITERATIONS = 200


@dataclass(frozen=True)
class Calibration:
    """Scale and offset of each label's logits; an empty one changes nothing."""

    method: str = "none"
    scales: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Label → why it was left as it is."""
    images: int = 0
    """Validation images it was fitted on."""

    def apply(self, logits: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return calibrated logits, shape (n, labels), float64, of logits of that shape."""
        scales = np.array([self.scales.get(label, 1.0) for label in labels])
        offsets = np.array([self.offsets.get(label, 0.0) for label in labels])
        return np.asarray(logits, dtype=np.float64).reshape(-1, len(labels)) * scales + offsets

    def probabilities(self, logits: np.ndarray, labels: Sequence[str], mode: str) -> np.ndarray:
        """Return calibrated probabilities: a sigmoid each, or a softmax over labels for single-label.

        Parameters
        ----------
        logits : ndarray, shape (n, labels), float32 or float64
        labels : sequence of str
            Columns, in order.
        mode : {'multi-label', 'single-label'}

        Returns
        -------
        ndarray, shape (n, labels), float64 in [0, 1]
        """
        adjusted = self.apply(logits, labels)
        if mode == "single-label":
            raised = np.exp(adjusted - adjusted.max(axis=1, keepdims=True, initial=-np.inf))
            shares: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
            return shares
        return _sigmoid(adjusted)

    @classmethod
    def parse(cls, value: object, labels: Sequence[str]) -> Calibration:
        """Return the calibration of one JSON object; null is an empty calibration.

        Raises
        ------
        RecordError
            Another method, a label that the bundle does not have, or a scale or offset that is not a usable number.
        """
        if value is None:
            return cls()
        if not isinstance(value, Mapping) or value.get("method") not in METHODS:
            raise RecordError(f"expected 'calibration' with a method of {', '.join(METHODS)}, got {str(value)[:80]}.")
        given = value.get("labels") or {}
        skipped = value.get("skipped") or {}
        if not isinstance(given, Mapping) or not isinstance(skipped, Mapping) or not {*given, *skipped} <= set(labels):
            raise RecordError("expected 'calibration.labels' and 'calibration.skipped' as objects of the bundle's labels.")
        try:
            scales = {label: float(numbers["scale"]) for label, numbers in given.items()}
            offsets = {label: float(numbers["offset"]) for label, numbers in given.items()}
            images = int(value.get("images", 0))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise RecordError("expected 'calibration.labels' with a scale and an offset for each label.") from None
        if not all(np.isfinite([*scales.values(), *offsets.values()])) or not all(scale > 0 for scale in scales.values()):
            raise RecordError(f"expected finite offsets and scales above 0, got {given}"[:200])
        return cls(str(value["method"]), scales, offsets, {label: str(why) for label, why in skipped.items()}, images)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads."""
        labels = {label: {"scale": scale, "offset": self.offsets.get(label, 0.0)} for label, scale in self.scales.items()}
        return {"method": self.method, "labels": labels, "skipped": dict(self.skipped), "images": self.images}


def fit(
    targets: np.ndarray, logits: np.ndarray, labels: Sequence[str], *, mode: str = "multi-label", method: str = "platt"
) -> Calibration:
    """Return the calibration that maximizes the likelihood of validation images.

    Parameters
    ----------
    targets : ndarray, shape (n, labels), float64
        1 positive, 0 negative, anything else unknown.
    logits : ndarray, shape (n, labels), float32 or float64
        Output of the network, before any sigmoid.
    labels : sequence of str
    mode : {'multi-label', 'single-label'}
        For single-label, any method is one temperature, fitted on the images with exactly one finding.
    method : {'platt', 'temperature', 'none'}

    Raises
    ------
    LearningError
        Another method, or a logit that is not a number.
    """
    targets, logits = np.asarray(targets, dtype=np.float64), np.asarray(logits, dtype=np.float64).reshape(-1, len(labels))
    if method not in METHODS:
        raise LearningError(f"calibration: expected one of {', '.join(METHODS)}, got {method[:40]!r}.")
    if not np.isfinite(logits).all():
        raise LearningError("calibration: the logits are not finite: the weights are damaged.")
    if method == "none":
        return Calibration()
    if mode == "single-label":
        return _fit_softmax(targets, logits, labels)
    scales, offsets, skipped = {}, {}, {}
    for column, label in enumerate(labels):
        known = (targets[:, column] == 0) | (targets[:, column] == 1)
        truth = targets[known, column]
        positives, negatives = int(truth.sum()), int((1 - truth).sum())
        if min(positives, negatives) < FEWEST:
            skipped[label] = f"{positives} positive and {negatives} negative validation images, {FEWEST} of each are needed"
            continue
        scales[label], offsets[label] = _fit_label(truth, logits[known, column], has_offset=method == "platt")
    return Calibration(method, scales, offsets, skipped, len(targets))


def _fit_label(truth: np.ndarray, logits: np.ndarray, *, has_offset: bool) -> tuple[float, float]:
    """Return scale and offset by Newton's method: with the prior the loss is strictly convex, so the minimum is unique."""
    design = np.stack([logits, np.ones_like(logits)])  # (2, n)
    spread = max(1.0, float(np.abs(logits).max()))  # logits of thousands would leave the Hessian without digits
    design[0] /= spread
    start = np.array([spread, 0.0])

    def loss(values: np.ndarray) -> float:
        answers = values @ design
        pull = (values[0] / spread - 1) ** 2 + values[1] ** 2
        return float((np.logaddexp(0, answers) - truth * answers).sum() + _PULL * pull / 2)

    def minimize(values: np.ndarray, free: np.ndarray) -> np.ndarray:
        for _ in range(_ITERATIONS):
            chance = _sigmoid(values @ design)
            gradient = design @ (chance - truth) + _PULL * np.array([(values[0] / spread - 1) / spread, values[1]])
            hessian = (design * (chance * (1 - chance))) @ design.T + _PULL * np.diag([1 / spread**2, 1.0])
            step = np.zeros(2)
            step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
            decrease, length, here = float(gradient @ step), 1.0, loss(values)
            if decrease < 1e-12:
                break
            while length > 1e-10 and loss(values - length * step) > here - 1e-4 * length * decrease:
                length /= 2
            values = values - length * step
        return values

    free = np.array([True, has_offset])
    best = minimize(start, free)
    if best[0] / spread < SMALLEST_SCALE:  # convex: with the scale at its limit the best offset is the best there is
        best = minimize(np.array([SMALLEST_SCALE * spread, 0.0]), np.array([False, has_offset]))
    return float(best[0] / spread), float(best[1])


def _fit_softmax(targets: np.ndarray, logits: np.ndarray, labels: Sequence[str]) -> Calibration:
    usable = (targets == 1).sum(axis=1) == 1
    answers, truth = logits[usable], (targets[usable] == 1).argmax(axis=1)
    if len(truth) < 2 * FEWEST:
        why = f"{len(truth)} validation images with one finding, {2 * FEWEST} are needed"
        return Calibration("temperature", skipped=dict.fromkeys(labels, why), images=len(targets))

    def slope(scale: float) -> float:
        """Return the derivative of the loss, which rises with the scale: the loss is convex."""
        shares = Calibration("temperature", dict.fromkeys(labels, scale)).probabilities(answers, labels, "single-label")
        said, true = (shares * answers).sum(), answers[np.arange(len(truth)), truth].sum()
        return float(said - true + _PULL * (scale - 1))

    low, high = SMALLEST_SCALE, 1.0
    while slope(high) < 0 and high < 1e6:
        high *= 2
    for _ in range(_ITERATIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return Calibration("temperature", dict.fromkeys(labels, high), dict.fromkeys(labels, 0.0), images=len(targets))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-values)) without overflow."""
    fading = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, fading) / (1 + fading)
