"""Decision thresholds, chosen by a rule on validation images only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.evaluation.curves import Steps

RULES = ("youden", "sensitivity", "specificity")
UNDECIDED = 0.5
"""The threshold where validation images cannot tell."""


@dataclass(frozen=True)
class Rule:
    """Rule by which a threshold is chosen."""

    kind: str = "youden"
    """``youden``: greatest sensitivity + specificity; ``sensitivity`` or ``specificity``: at least `at` of it, and then as much
    as possible of the other."""
    at: float = 0.9

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule of a text: ``youden``, ``sensitivity=0.95`` or ``specificity=0.9``.

        Raises
        ------
        LearningError
            Another text, or a share that is not above 0 and at most 1.
        """
        kind, _, at = text.partition("=")
        try:
            rule = cls(kind, float(at)) if at else cls(kind)
        except ValueError:
            rule = cls("")
        if rule.kind not in RULES or not 0 < rule.at <= 1 or (rule.kind == "youden") != (not at):
            raise LearningError(f"threshold: expected youden, sensitivity=SHARE or specificity=SHARE, got {text[:60]!r}.")
        return rule

    def __str__(self) -> str:
        return self.kind if self.kind == "youden" else f"{self.kind}={self.at:g}"


def choose_threshold(targets: np.ndarray, scores: np.ndarray, rule: Rule | None = None) -> float | None:
    """Return the threshold of one label by a rule.

    Parameters
    ----------
    targets : ndarray, shape (n,), float64
        1 positive, 0 negative, anything else unknown; of validation images.
    scores : ndarray, shape (n,), float64
    rule : Rule, optional
        Youden's when not given.

    Returns
    -------
    float or None
        Halfway between the lowest score called positive and the next one below, so that it does not hang on one image;
        None without a positive or without a negative.
    """
    rule = rule or Rule()
    steps = Steps.of(np.asarray(targets, dtype=np.float64), np.asarray(scores, dtype=np.float64))
    if not steps.positive.any() or not steps.negative.any():
        return None
    false_alarm, sensitivity = (shares[1:] for shares in steps.roc())  # when everything from scores[i] up is called positive
    if rule.kind == "sensitivity":
        best = int(np.argmax(sensitivity >= rule.at - 1e-9))  # the highest threshold that finds enough
    elif rule.kind == "specificity":
        best = int((1 - false_alarm >= rule.at - 1e-9).sum()) - 1  # the lowest threshold with few enough false alarms
    else:
        benefit = (sensitivity - false_alarm)[::-1]  # of several that are best, the lowest threshold: more is found
        best = len(benefit) - 1 - int(np.argmax(np.round(benefit, 12)))
    if best < 0:  # the highest score belongs to negative images: only a threshold above it keeps the specificity
        return float(np.nextafter(steps.scores[0], np.inf))
    lowest = float(steps.scores[best])
    return lowest if best + 1 == len(steps.scores) else (lowest + float(steps.scores[best + 1])) / 2


def choose_thresholds(
    targets: np.ndarray, scores: np.ndarray, labels: Sequence[str], rule: Rule | None = None
) -> dict[str, float]:
    """Return a threshold for each label by `choose_threshold`, `UNDECIDED` where validation images cannot tell.

    Parameters
    ----------
    targets, scores : ndarray, shape (n, labels), float64
        Of validation images; figures of the images that chose a threshold are optimistic.
    labels : sequence of str
    rule : Rule, optional
    """
    chosen = {}
    for column, label in enumerate(labels):
        threshold = choose_threshold(targets[:, column], scores[:, column], rule)
        chosen[label] = UNDECIDED if threshold is None else threshold
    return chosen
