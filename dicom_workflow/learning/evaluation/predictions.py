"""``predictions.jsonl`` read back as arrays, and the images in it where a model was most confident, right and wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.learning.evaluation.thresholds import UNDECIDED
from dicom_workflow.storage import to_uri

_TARGETS = {str(LabelState.POSITIVE): 1.0, str(LabelState.NEGATIVE): 0.0}


@dataclass(frozen=True)
class Predictions:
    """A model's predictions of some images, and the targets of these images."""

    labels: tuple[str, ...]
    identifiers: tuple[str, ...]
    patients: tuple[str, ...]
    scores: np.ndarray
    """Probabilities, shape (n, labels)."""
    states: np.ndarray
    """The consolidated answers: 1, 0 or NaN, shape (n, labels)."""
    truth: np.ndarray
    """What is known from elsewhere; NaN where nothing is."""

    @property
    def has_truth(self) -> bool:
        """Whether the reference standard is known for any label."""
        return not bool(np.isnan(self.truth).all())

    def targets(self, against: str = "") -> np.ndarray:
        """Return ``states`` or ``truth``, ndarray of shape (n, labels), float64; when not said, the truth if there is one."""
        return self.truth if (against or ("truth" if self.has_truth else "states")) == "truth" else self.states


def read_predictions(path: str | Path) -> Predictions:
    """Return the predictions that a run or `predict.predict_channel` wrote.

    Raises
    ------
    LearningError
        A line lacks a probability or disagrees on the labels, or an image stands there twice.
    """
    lines = [line.data for line in manifests.read(to_uri(path), check=manifests.any_object, limits=False)]
    first = lines[0].get("probabilities")
    labels = tuple(first) if isinstance(first, dict) else ()
    identifiers = [str(line.get("source") or line.get("image") or "") for line in lines]
    for number, (line, identifier) in enumerate(zip(lines, identifiers, strict=True), start=1):
        given = line.get("probabilities")
        if not labels or not identifier or not isinstance(given, dict) or set(given) != set(labels):
            of = f" of {', '.join(labels)[:200]}" if labels else ": a predictions.jsonl that a training run left"
            raise LearningError(f"{path}, line {number}: expected 'source' and 'probabilities'{of}.")
        strange = [value for value in given.values() if isinstance(value, bool) or not isinstance(value, int | float)]
        if strange or not all(0 <= value <= 1 for value in given.values()):
            raise LearningError(
                f"{path}, line {number}: expected probabilities from 0 to 1, got {list(given.values())!r:.200}."
            )
    if len(set(identifiers)) < len(identifiers):
        raise LearningError(f"{path}: {len(identifiers) - len(set(identifiers))} images come more than once.")
    return Predictions(
        labels=labels,
        identifiers=tuple(identifiers),
        patients=tuple(str(line.get("patient_id") or identifier) for line, identifier in zip(lines, identifiers, strict=True)),
        scores=np.array([[float(line["probabilities"][label]) for label in labels] for line in lines]),
        states=_targets(lines, "states", labels),
        truth=_targets(lines, "truth", labels),
    )


def _targets(lines: list[dict[str, Any]], key: str, labels: tuple[str, ...]) -> np.ndarray:
    return np.array([[_TARGETS.get(str(_object(line, key).get(label)), np.nan) for label in labels] for line in lines])


def _object(line: dict[str, Any], key: str) -> dict[str, Any]:
    value = line.get(key)
    return value if isinstance(value, dict) else {}


OUTCOMES = ("true positive", "false positive", "false negative", "true negative")


@dataclass(frozen=True)
class Case:
    """One label of one image: the prediction and the target."""

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
    """Return the most confident cases of each outcome.

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
