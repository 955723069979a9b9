"""Several answers become one label: majority with its share, ties to review, nothing thrown away."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_workflow.formats.answers import Answer, LabelState, Region
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.labeling.consolidation import WorkerAnswer, consolidate, count_votes

P, N, U, X = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN, LabelState.UNKNOWN


def said(worker: str, regions: tuple[Region, ...] = (), unusable: str = "", **labels: LabelState) -> WorkerAnswer:
    named = {name.replace("_", " "): state for name, state in labels.items()}
    return WorkerAnswer(worker, Answer(named, regions, "", unusable), content=f"text of {worker}")


def states(label: dict[str, Any]) -> dict[str, str]:
    return {name: vote["state"] for name, vote in label["labels"].items()}


@pytest.mark.parametrize(
    ("votes", "state", "confidence", "tied"),
    [
        ([P, P, P], P, 1.0, False),
        ([P, P, N], P, 0.67, False),
        ([P, N, N, N, N], N, 0.8, False),
        ([U, U, P], U, 0.67, False),
        ([P, P, N, U, U, P], P, 0.5, False),
        ([P, N], U, 0.5, True),
        ([P, N, U], U, 0.33, True),
        ([P, U], U, 0.5, True),
        ([P, X, X], P, 1.0, False),
        ([X], X, 0.0, False),
        ([], X, 0.0, False),
    ],
)
def test_votes_are_counted(votes: list[LabelState], state: LabelState, confidence: float, tied: bool) -> None:
    vote = count_votes(votes)
    assert (vote.state, vote.confidence, vote.tied) == (state, confidence, tied)


def test_a_tie_goes_to_review_and_a_majority_does_not() -> None:
    label = consolidate([said("a", Edema=P, Fracture=N), said("b", Edema=N, Fracture=N)])
    assert states(label) == {"Edema": "uncertain", "Fracture": "negative"}
    assert label["review"] == ["Edema"]


def test_a_label_nobody_spoke_of_is_unknown_and_goes_to_review() -> None:
    label = consolidate([said("a", Edema=P)], labels=["Edema", "Fracture"])
    assert states(label) == {"Edema": "positive", "Fracture": "unknown"}
    assert label["labels"]["Fracture"] == {
        "state": "unknown",
        "confidence": 0.0,
        "votes": {"positive": 0, "negative": 0, "uncertain": 0},
    }
    assert label["review"] == ["Fracture"]


def test_fewer_votes_than_the_minimum_go_to_review() -> None:
    answers = [said("a", Edema=P, Fracture=N), said("b", Edema=P)]
    assert consolidate(answers, minimum_answers=2)["review"] == ["Fracture"]


def test_no_finding_beside_a_condition_is_a_conflict_and_devices_are_not() -> None:
    label = consolidate([said("a", No_Finding=P, Edema=P, Support_Devices=P, Fracture=N)], rules=default_label_set())
    assert label["conflicts"] == ["Edema"]
    assert label["review"] == ["Edema", "No Finding"]


def test_the_result_does_not_depend_on_the_order_of_the_answers() -> None:
    answers = [said("c", Edema=N), said("a", Edema=P), said("b", Edema=P)]
    assert consolidate(answers) == consolidate(answers[::-1])
    assert [entry["workerId"] for entry in consolidate(answers)["annotationsFromAllWorkers"]] == ["a", "b", "c"]
    assert consolidate(answers)["annotationsFromAllWorkers"][0]["annotationData"] == {"content": "text of a"}


def test_labels_come_in_the_order_of_the_label_set_then_by_name() -> None:
    label = consolidate([said("a", Zebra=P, No_Finding=N, Apple=P, Edema=P)], rules=default_label_set())
    assert list(states(label)) == ["Edema", "No Finding", "Apple", "Zebra"]


def test_regions_keep_their_worker() -> None:
    box = Region("Edema", "rectangle", ((1.0, 2.0), (3.0, 4.5)))
    label = consolidate([said("b", (box,), Edema=P), said("a", (box,), Edema=P)])
    assert label["regions"] == [
        {"label": "Edema", "shape": "rectangle", "points_px": [[1.0, 2.0], [3.0, 4.5]], "workerId": worker} for worker in "ab"
    ]


def test_a_worker_who_cannot_read_the_image_does_not_vote() -> None:
    label = consolidate([said("a", Edema=P), said("b", unusable="poor-quality"), said("c", Edema=P)], labels=["Edema"])
    assert label["labels"]["Edema"]["votes"]["positive"] == 2
    assert label["unusable"] == {"poor-quality": ["b"]}
    assert label["review"] == []


def test_when_most_workers_cannot_read_the_image_everything_goes_to_review() -> None:
    answers = [said("a", Edema=P), said("b", unusable="poor-quality"), said("c", unusable="poor-quality")]
    label = consolidate(answers, labels=["Edema"])
    assert label["review"] == ["Edema"]
    assert label["unusable"] == {"poor-quality": ["b", "c"]}


def test_refused_answers_stay_in_the_record() -> None:
    refused = [{"workerId": "z", "reason": "expected the answer as JSON"}]
    assert consolidate([], labels=["Edema"], refused=refused)["refused"] == refused
