"""What a labeling job came to: agreement per label, answers per reader, and accuracy where the truth is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.formats.answers import Answer
from dicom_workflow.labeling import agreement
from dicom_workflow.labeling.output import LabeledObject


@dataclass(frozen=True)
class Effort:
    """What an image took one reader, as medians over the answers that say so; None where none does."""

    active_seconds: float | None = None
    """With the page visible and somebody at it."""
    clicks: float | None = None
    keys: float | None = None
    changes: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return a JSON object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Summary:
    """Agreement and accuracy of the readers of one job. What is not defined or not known is None."""

    labels: tuple[str, ...]
    kappa: Mapping[str, float | None]
    """Label → Fleiss' kappa."""
    percent_agreement: Mapping[str, float | None]
    overall_kappa: float | None
    answers: Mapping[str, int]
    """Reader → images answered."""
    performance: Mapping[str, agreement.WorkerPerformance]
    """Reader → how often it was right; against the truth where it is known, else against the other readers."""
    consolidated_accuracy: float | None = None
    best_single_reader_accuracy: float | None = None
    effort: Mapping[str, Effort] = field(default_factory=dict)
    """Reader → what an image took; only readers whose answers say so."""

    def metrics(self) -> dict[str, float | None]:
        """Return the headline figures for a record."""
        return {
            "agreement": self.overall_kappa,
            "consolidated_accuracy": self.consolidated_accuracy,
            "best_single_reader_accuracy": self.best_single_reader_accuracy,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per reader, and one for the consolidated labels where the truth is known; for a table."""
        rows: list[dict[str, Any]] = [
            {
                "reader": reader,
                "images": self.answers[reader],
                **_without_counts(performance.to_json()),
                **(self.effort[reader].to_json() if reader in self.effort else {}),
            }
            for reader, performance in self.performance.items()
        ]
        if self.consolidated_accuracy is not None:
            images = max(self.answers.values(), default=0)
            rows.append({"reader": "consolidated", "images": images, "accuracy": self.consolidated_accuracy})
        return rows


def summarize(
    objects: Sequence[LabeledObject], labels: Sequence[str] = (), *, truth: agreement.TrueStates | None = None
) -> Summary:
    """Return the summary of a job's objects.

    Parameters
    ----------
    objects : sequence of LabeledObject
        All of them: one that failed counts as not right where the truth is known.
    labels : sequence of str
        The label list; those that the objects carry when not given.
    truth : mapping, optional
        True states by source and label, as `agreement.truth_by_source` makes them; an empty one is like none.
    """
    wanted = tuple(labels) or tuple(dict.fromkeys(label for item in objects for label in item.states))
    per_label = agreement.label_agreement(objects, wanted)
    answers: dict[str, int] = {}
    for item in objects:
        for reader in item.answers:
            answers[reader] = answers.get(reader, 0) + 1
    known = truth or None
    given = {reader: [item.answers[reader] for item in objects if reader in item.answers] for reader in sorted(answers)}
    efforts = {reader: _effort(said) for reader, said in given.items()}
    return Summary(
        labels=wanted,
        kappa={label: _number(found.kappa) for label, found in per_label.items()},
        percent_agreement={label: _number(found.percent_agreement) for label, found in per_label.items()},
        overall_kappa=_number(agreement.overall_agreement(objects, wanted).kappa),
        answers=dict(sorted(answers.items())),
        performance=agreement.worker_performance(objects, wanted, known),
        consolidated_accuracy=_number(agreement.consolidated_accuracy(objects, wanted, known)) if known else None,
        best_single_reader_accuracy=_number(agreement.best_single_reader_accuracy(objects, wanted, known)) if known else None,
        effort={reader: effort for reader, effort in efforts.items() if effort != Effort()},
    )


def _effort(answers: Sequence[Answer]) -> Effort:
    def middle(*values: float | None) -> float | None:
        known = [float(value) for value in values if value is not None]
        return round(statistics.median(known), 1) if known else None

    return Effort(
        active_seconds=middle(*(answer.timings.get("active_seconds") for answer in answers)),
        clicks=middle(*(answer.actions.get("clicks") for answer in answers)),
        keys=middle(*(answer.actions.get("keys") for answer in answers)),
        changes=middle(*(answer.actions.get("changes") for answer in answers)),
    )


def _without_counts(performance: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in performance.items() if name not in ("cells", "objects")}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
