"""Consolidation: the answers of several workers become one label of the object by a vote per label.

Pure functions over the standard library, because this module ships inside the post-annotation Lambda.

The rule, per label: every worker who gave a state has one vote. The state with the most votes wins and its share of the votes
is the confidence. When two states share the first place there is no majority: the state is ``uncertain`` and the label goes to
review. A label without any state is ``unknown`` with confidence 0, and goes to review too. A worker who called the image
unusable does not vote; when more than half of the workers did, every label goes to review.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.formats.ground_truth import ANSWERS_KEY
from dicom_workflow.formats.labels import LabelSet

VOTING_STATES = (LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN)


@dataclass(frozen=True)
class WorkerAnswer:
    """One worker's answer, with the text it was parsed from."""

    worker_id: str
    answer: Answer
    content: str = ""


@dataclass(frozen=True)
class Vote:
    """The workers' vote on one label."""

    state: LabelState
    confidence: float
    """Share of the leading state among the votes, 0 to 1, two decimals; 0 when nobody voted."""
    votes: Mapping[str, int]
    """Votes per state, always with all three of `VOTING_STATES`."""
    tied: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the value that stands under the label in an output manifest."""
        return {"state": str(self.state), "confidence": self.confidence, "votes": dict(self.votes)}


def count_votes(states: Iterable[LabelState]) -> Vote:
    """Return the vote over the states that several workers gave one label; ``unknown`` is no vote."""
    votes = dict.fromkeys(map(str, VOTING_STATES), 0)
    for state in states:
        if state != LabelState.UNKNOWN:
            votes[str(state)] += 1
    total = sum(votes.values())
    if total == 0:
        return Vote(LabelState.UNKNOWN, 0.0, votes)
    most = max(votes.values())
    leaders = [state for state, count in votes.items() if count == most]
    tied = len(leaders) > 1
    return Vote(LabelState.UNCERTAIN if tied else LabelState(leaders[0]), round(most / total, 2), votes, tied)


def labels_answered(answers: Iterable[WorkerAnswer], label_set: LabelSet) -> tuple[str, ...]:
    """Return the labels with a state in any answer: those of the set in its order, then any others by name."""
    return label_set.ordered(label for given in answers for label in given.answer.labels)


def consolidate(
    answers: Iterable[WorkerAnswer],
    *,
    labels: Sequence[str] = (),
    rules: LabelSet | None = None,
    refused: Sequence[Mapping[str, str]] = (),
    minimum_answers: int = 1,
) -> dict[str, Any]:
    """Return the consolidated label of one image.

    Parameters
    ----------
    answers : Iterable[WorkerAnswer]
        At most one per worker. The order does not matter: the result is sorted by worker id.
    labels : Sequence[str], optional
        The task's label list; when not given, the labels with a state in any answer (`labels_answered`).
    rules : LabelSet, optional
        Which labels exclude each other, whatever their number; without it no two do.
    refused : Sequence[Mapping[str, str]], optional
        ``{"workerId": …, "reason": …}`` of each answer that could not be read, kept as they are.
    minimum_answers : int
        A label with fewer votes than this goes to review, whatever its state.

    Returns
    -------
    dict
        JSON object with ``labels`` (label to `Vote.to_json`), ``review`` (labels a person must look at, in label order),
        ``conflicts`` (positive labels that another positive label excludes; both are in ``review`` too), ``regions`` (each
        with its ``workerId``), ``unusable`` (reason to worker ids), ``refused`` and ``annotationsFromAllWorkers``.
    """
    given = sorted(answers, key=lambda answer: answer.worker_id)
    order = tuple(labels) or labels_answered(given, rules or LabelSet())
    label_set = (rules or LabelSet()).over(order)
    readers = [answer for answer in given if not answer.answer.unusable]
    votes = {label: count_votes(r.answer.labels.get(label, LabelState.UNKNOWN) for r in readers) for label in order}
    positive = [label for label, vote in votes.items() if vote.state == LabelState.POSITIVE]
    doubted = label_set.doubted(positive)
    mostly_unusable = len(given) - len(readers) > len(given) / 2
    unusable: dict[str, list[str]] = {}
    for answer in given:
        if answer.answer.unusable:
            unusable.setdefault(answer.answer.unusable, []).append(answer.worker_id)
    return {
        "labels": {label: vote.to_json() for label, vote in votes.items()},
        "review": [
            label
            for label, vote in votes.items()
            if mostly_unusable or vote.tied or label in doubted or sum(vote.votes.values()) < max(1, minimum_answers)
        ],
        "conflicts": label_set.conflicts(positive),
        "regions": [
            {**region.to_json(), "workerId": answer.worker_id} for answer in readers for region in answer.answer.regions
        ],
        "unusable": unusable,
        "refused": [dict(entry) for entry in refused],
        ANSWERS_KEY: [{"workerId": answer.worker_id, "annotationData": {"content": answer.content}} for answer in given],
    }
