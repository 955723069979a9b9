"""``predictions.jsonl`` read back as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.errors import LearningError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.storage import to_uri

_TARGETS = {str(LabelState.POSITIVE): 1.0, str(LabelState.NEGATIVE): 0.0}


@dataclass(frozen=True)
class Predictions:
    """What a model said of some images, and what is known of them."""

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
        """Whether anything is known from elsewhere."""
        return not bool(np.isnan(self.truth).all())

    def targets(self, against: str = "") -> np.ndarray:
        """Return ``states`` or ``truth``; when not said, the truth if there is one."""
        return self.truth if (against or ("truth" if self.has_truth else "states")) == "truth" else self.states


def read_predictions(path: str | Path) -> Predictions:
    """Return the predictions that a run or `inference.predict_channel` wrote.

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
        raise LearningError(f"{path}: expected each image once, {len(identifiers) - len(set(identifiers))} come again.")
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
