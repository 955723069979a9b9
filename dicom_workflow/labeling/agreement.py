"""Agreement between readers, and the accuracy of each reader and of the consolidated labels.

A *cell* is one label of one image. A cell is right only when the state is ``positive`` or ``negative`` and is the true one:
``uncertain``, ``unknown``, a label in review and a missing answer are not right.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.errors import LabelingError
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.formats.instances import Instance, instances_by_source
from dicom_workflow.formats.json_schema import number
from dicom_workflow.labeling.consolidation import VOTING_STATES, count_votes
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.labeling.reference_standard import ReferenceStandard

TrueStates = Mapping[str, Mapping[str, LabelState]]
"""True states, ``positive`` or ``negative``, by an object's source and by label. A cell that is not there is not judged."""


@dataclass(frozen=True)
class LabelAgreement:
    """How far the workers agree on one label."""

    kappa: float
    """Fleiss' kappa; NaN when it is not defined (no object with two votes, or one state only)."""
    percent_agreement: float
    """Share of agreeing pairs of workers, 0 to 1, averaged over objects; NaN without an object with two votes."""
    objects: int
    """Objects with at least two votes."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; an undefined number is null."""
        return {"kappa": number(self.kappa), "percent_agreement": number(self.percent_agreement), "objects": self.objects}


@dataclass(frozen=True)
class WorkerPerformance:
    """How one worker did against the truth, or against the other workers."""

    sensitivity: float
    """Share of truly positive cells called positive; NaN without one."""
    specificity: float
    """Share of truly negative cells called negative; NaN without one."""
    accuracy: float
    """Share of cells that are right; NaN without a judged cell."""
    cells: int
    objects: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; an undefined number is null."""
        return {name: number(value) if isinstance(value, float) else value for name, value in vars(self).items()}


def truth_by_source(truth: ReferenceStandard, instances: Iterable[Instance]) -> dict[str, dict[str, LabelState]]:
    """Return the true states of each instance the table has, under every text that a manifest line may name it with."""
    found = instances_by_source(instances).items()
    known = ((source, truth.states_of(instance.sop_instance_uid)) for source, instance in found)
    return {source: states for source, states in known if states is not None}


def fleiss_kappa(counts: Iterable[Sequence[int]]) -> float:
    """Return Fleiss' kappa of a table of votes.

    Parameters
    ----------
    counts : Iterable[Sequence[int]]
        One row per subject, one column per category: how many raters chose it. Rows may have different totals; a row with
        fewer than two votes says nothing of agreement and is left out.

    Returns
    -------
    float
        1 for perfect agreement, 0 for that of chance, below 0 for less; NaN when chance alone would always agree, because
        every vote went to one category, or when no row has two votes.

    References
    ----------
    Fleiss, Psychological Bulletin 76 (1971) 378-382. With unequal totals, the category shares are those of the pooled votes
    and every row weighs the same, which is Fleiss' formula where the totals are equal.
    """
    rows = [row for row in counts if sum(row) >= 2]
    if not rows:
        return math.nan
    observed = _pairwise_agreement(rows)
    total = sum(map(sum, rows))
    expected = sum((sum(column) / total) ** 2 for column in zip(*rows, strict=True))
    return math.nan if expected >= 1 else (observed - expected) / (1 - expected)


def _pairwise_agreement(rows: Sequence[Sequence[int]]) -> float:
    shares = [sum(n * (n - 1) for n in row) / (sum(row) * (sum(row) - 1)) for row in rows]
    return math.fsum(shares) / len(shares)


def vote_table(objects: Iterable[LabeledObject], labels: Iterable[str]) -> list[list[int]]:
    """Return one row of votes (positive, negative, uncertain) per cell, from the workers' own answers."""
    wanted = list(labels)
    table = []
    for labeled in objects:
        for label in wanted:
            vote = count_votes(answer.labels.get(label, LabelState.UNKNOWN) for answer in _usable(labeled).values())
            table.append([vote.votes[str(state)] for state in VOTING_STATES])
    return table


def label_agreement(objects: Sequence[LabeledObject], labels: Sequence[str]) -> dict[str, LabelAgreement]:
    """Return the agreement of the workers on each label."""
    return {label: _agreement(vote_table(objects, [label])) for label in labels}


def overall_agreement(objects: Sequence[LabeledObject], labels: Sequence[str]) -> LabelAgreement:
    """Return the agreement over all cells: each label of each object is one subject of the vote table."""
    return _agreement(vote_table(objects, labels))


def _agreement(table: Sequence[Sequence[int]]) -> LabelAgreement:
    rows = [row for row in table if sum(row) >= 2]
    return LabelAgreement(fleiss_kappa(rows), _pairwise_agreement(rows) if rows else math.nan, len(rows))


def worker_performance(
    objects: Sequence[LabeledObject], labels: Sequence[str], truth: TrueStates | None = None
) -> dict[str, WorkerPerformance]:
    """Return how each worker did, by worker id.

    Parameters
    ----------
    truth : optional
        When not given, a worker is judged against the majority of the *other* workers on the same object; a cell on which
        they have no majority for positive or negative is not judged.
    """
    workers = sorted({worker for labeled in objects for worker in labeled.answers})
    return {worker: _performance(worker, objects, labels, truth) for worker in workers}


def _performance(
    worker: str, objects: Sequence[LabeledObject], labels: Sequence[str], truth: TrueStates | None
) -> WorkerPerformance:
    right = {LabelState.POSITIVE: 0, LabelState.NEGATIVE: 0}
    asked = {LabelState.POSITIVE: 0, LabelState.NEGATIVE: 0}
    seen = 0
    for labeled in objects:
        answer = labeled.answers.get(worker)
        if answer is None:
            continue
        judge = _others(labeled, worker) if truth is None else _known(truth, labeled.source)
        judged = [(label, state) for label in labels if (state := judge(label)) in asked]
        seen += bool(judged)
        for label, state in judged:
            asked[state] += 1
            right[state] += answer.labels.get(label) == state
    positive, negative = LabelState.POSITIVE, LabelState.NEGATIVE
    return WorkerPerformance(
        sensitivity=_share(right[positive], asked[positive]),
        specificity=_share(right[negative], asked[negative]),
        accuracy=_share(sum(right.values()), sum(asked.values())),
        cells=sum(asked.values()),
        objects=seen,
    )


def consolidated_accuracy(objects: Sequence[LabeledObject], labels: Sequence[str], truth: TrueStates) -> float:
    """Return the share of true cells that the consolidated labels have right, 0 to 1.

    An object that the job failed on counts with all its cells as not right; a label in review is not right either.

    Parameters
    ----------
    objects : sequence of LabeledObject
    labels : sequence of str
        Labels that count.
    truth : mapping
        True states by source and label.

    Raises
    ------
    LabelingError
        `truth` knows no cell of the objects and labels.
    """
    cells = right = 0
    for labeled in objects:
        for label, state in truth.get(labeled.source, {}).items():
            if label in labels:
                cells += 1
                right += label not in labeled.review and labeled.states.get(label) == state
    if not cells:
        raise LabelingError("the reference standard has no label of any object. Compare sources and label names.")
    return right / cells


def best_single_reader_accuracy(objects: Sequence[LabeledObject], labels: Sequence[str], truth: TrueStates) -> float:
    """Return the accuracy of the best worker, 0 to 1, over the objects that worker answered.

    Only workers who answered at least half as many objects as the busiest one are compared: over few objects, luck would
    win. NaN when no worker answered an object of `truth`.

    Parameters
    ----------
    objects : sequence of LabeledObject
    labels : sequence of str
        Labels that count.
    truth : mapping
        True states by source and label.
    """
    performances = [p for p in worker_performance(objects, labels, truth).values() if p.cells]
    busiest = max((p.objects for p in performances), default=0)
    return max((p.accuracy for p in performances if p.objects * 2 >= busiest), default=math.nan)


def _usable(labeled: LabeledObject) -> dict[str, Answer]:
    return {worker: answer for worker, answer in labeled.answers.items() if not answer.unusable}


def _others(labeled: LabeledObject, worker: str) -> Callable[[str], LabelState | None]:
    others = [answer for name, answer in _usable(labeled).items() if name != worker]
    return lambda label: count_votes(answer.labels.get(label, LabelState.UNKNOWN) for answer in others).state


def _known(truth: TrueStates, source: str) -> Callable[[str], LabelState | None]:
    states = truth.get(source, {})
    return lambda label: LabelState(states[label]) if label in states else None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


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
    performance: Mapping[str, WorkerPerformance]
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


def summarize(objects: Sequence[LabeledObject], labels: Sequence[str] = (), *, truth: TrueStates | None = None) -> Summary:
    """Return the summary of a job's objects.

    Parameters
    ----------
    objects : sequence of LabeledObject
        All of them: one that failed counts as not right where the truth is known.
    labels : sequence of str
        The label list; those that the objects carry when not given.
    truth : mapping, optional
        True states by source and label, as `truth_by_source` makes them; an empty one is like none.
    """
    wanted = tuple(labels) or tuple(dict.fromkeys(label for item in objects for label in item.states))
    per_label = label_agreement(objects, wanted)
    answers: dict[str, int] = {}
    for item in objects:
        for reader in item.answers:
            answers[reader] = answers.get(reader, 0) + 1
    known = truth or None
    given = {reader: [item.answers[reader] for item in objects if reader in item.answers] for reader in sorted(answers)}
    efforts = {reader: _effort(said) for reader, said in given.items()}
    return Summary(
        labels=wanted,
        kappa={label: number(found.kappa) for label, found in per_label.items()},
        percent_agreement={label: number(found.percent_agreement) for label, found in per_label.items()},
        overall_kappa=number(overall_agreement(objects, wanted).kappa),
        answers=dict(sorted(answers.items())),
        performance=worker_performance(objects, wanted, known),
        consolidated_accuracy=number(consolidated_accuracy(objects, wanted, known)) if known else None,
        best_single_reader_accuracy=number(best_single_reader_accuracy(objects, wanted, known)) if known else None,
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
