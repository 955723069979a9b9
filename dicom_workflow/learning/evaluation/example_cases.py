"""Which images to look at: those where a model was surest, right and wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dicom_workflow.learning.evaluation.predictions import Predictions
from dicom_workflow.learning.evaluation.thresholds import UNDECIDED

OUTCOMES = ("true positive", "false positive", "false negative", "true negative")


@dataclass(frozen=True)
class Case:
    """One label of one image: what was said of it, and what was true."""

    identifier: str
    """Of the image, as in `Predictions`."""
    label: str
    outcome: str
    """One of `OUTCOMES`."""
    probability: float
    threshold: float
    """Probability from which the label is called positive."""
    confidence: float
    """How far the probability is from the threshold, as a share of how far it could be on that side: from 0 to 1."""


def choose_cases(
    predictions: Predictions,
    thresholds: Mapping[str, float],
    *,
    mode: str = "multi-label",
    label: str = "",
    count: int = 2,
    against: str = "",
) -> dict[str, list[Case]]:
    """Return the cases of each outcome in which the model was most confident.

    Parameters
    ----------
    predictions : Predictions
    thresholds : mapping of str to float
        As the model bundle has them; 0.5 where a label has none.
    mode : {'multi-label', 'single-label'}
        For single-label the most probable label is called, and the threshold is the probability of the strongest other one.
    label : str
        Only cases of this label. Without one, of all: then each outcome shows a label or an image again only when there is no
        other left, or one easy label would fill the picture.
    count : int
        Cases of each outcome, at most.
    against : {'truth', 'states', ''}
        What counts as true; the truth if there is one.

    Returns
    -------
    dict of str to list of Case
        Every one of `OUTCOMES`, most confident first; of equal ones that which comes first in the predictions. A label whose
        truth is not known is in none.
    """
    targets = predictions.targets(against)
    wanted = [column for column, name in enumerate(predictions.labels) if not label or name == label]
    found: dict[str, list[Case]] = {outcome: [] for outcome in OUTCOMES}
    for column in wanted:
        name = predictions.labels[column]
        for row in np.flatnonzero(np.isin(targets[:, column], (0, 1))):
            probability = float(predictions.scores[row, column])
            others = np.delete(predictions.scores[row], column) if mode == "single-label" else ()
            threshold = float(max(others) if len(others) else thresholds.get(name, UNDECIDED))
            outcome = OUTCOMES[_place(probability >= threshold, targets[row, column] == 1)]
            confidence = _confidence(probability, threshold)
            found[outcome].append(Case(predictions.identifiers[row], name, outcome, probability, threshold, confidence))
    return {outcome: _varied(sorted(cases, key=lambda case: -case.confidence), count) for outcome, cases in found.items()}


def _place(called: bool, is_there: bool) -> int:
    return (0 if is_there else 1) if called else (2 if is_there else 3)


def _confidence(probability: float, threshold: float) -> float:
    if probability >= threshold:
        return (probability - threshold) / (1 - threshold) if threshold < 1 else 0.0
    return min(1.0, (threshold - probability) / threshold)


def _varied(cases: list[Case], count: int) -> list[Case]:
    """Return the first `count` cases, those of a new label and image before others."""
    labels: set[str] = set()
    images: set[str] = set()
    fresh: list[Case] = []
    for case in cases:
        if case.label not in labels and case.identifier not in images:
            fresh.append(case)
            labels.add(case.label)
            images.add(case.identifier)
    chosen = (fresh + [case for case in cases if case not in fresh])[:count]
    return sorted(chosen, key=lambda case: -case.confidence)
