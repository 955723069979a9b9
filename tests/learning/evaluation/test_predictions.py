"""The cases worth a look are the surest ones, right and wrong."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_workflow.learning.evaluation.predictions import OUTCOMES, Predictions, choose_cases

NAN = np.nan


def predictions(scores: list[list[float]], targets: list[list[float]], labels: tuple[str, ...] = ("a", "b")) -> Predictions:
    names = tuple(f"image-{row}" for row in range(len(scores)))
    nothing = np.full((len(scores), len(labels)), NAN)
    return Predictions(labels, names, names, np.array(scores), np.array(targets, dtype=float), nothing)


def chosen(cases) -> dict[str, list[tuple[str, str]]]:
    return {outcome: [(case.identifier, case.label) for case in found] for outcome, found in cases.items()}


def test_of_one_label_the_surest_come_first_in_each_outcome():
    scores = [[0.9, 0], [0.8, 0], [0.95, 0], [0.7, 0], [0.1, 0], [0.3, 0], [0.05, 0], [0.2, 0]]
    targets = [[1, 0], [1, 0], [0, 0], [0, 0], [1, 0], [1, 0], [0, 0], [0, 0]]
    found = choose_cases(predictions(scores, targets), {"a": 0.5, "b": 0.5}, label="a", count=2)
    assert tuple(found) == OUTCOMES
    assert chosen(found) == {
        "true positive": [("image-0", "a"), ("image-1", "a")],
        "false positive": [("image-2", "a"), ("image-3", "a")],
        "false negative": [("image-4", "a"), ("image-5", "a")],
        "true negative": [("image-6", "a"), ("image-7", "a")],
    }
    assert len(choose_cases(predictions(scores, targets), {}, label="a", count=1)["true negative"]) == 1


def test_the_threshold_decides_what_is_called_and_how_sure_that_is():
    found = choose_cases(predictions([[0.3, 0.3]], [[1, 1]]), {"a": 0.2, "b": 0.6})
    [case] = found["true positive"]
    assert (case.label, case.threshold, case.confidence) == ("a", 0.2, pytest.approx(0.1 / 0.8))
    [case] = found["false negative"]
    assert (case.label, case.threshold, case.confidence) == ("b", 0.6, 0.5)
    [case] = choose_cases(predictions([[0.2, 0]], [[1, NAN]]), {"a": 0.2})["true positive"]
    assert case.confidence == 0, "at the threshold a label is called"


def test_over_labels_another_label_and_another_image_go_first():
    scores = [[0.99, 0.6], [0.98, 0.55], [0.97, 0.1]]
    found = choose_cases(predictions(scores, [[1, 1]] * 3), {"a": 0.5, "b": 0.5}, count=2)
    assert chosen(found)["true positive"] == [("image-0", "a"), ("image-1", "b")]
    more = choose_cases(predictions(scores, [[1, 1]] * 3), {"a": 0.5, "b": 0.5}, count=3)
    assert chosen(more)["true positive"] == [("image-0", "a"), ("image-1", "a"), ("image-1", "b")]


def test_what_is_not_known_is_no_case():
    found = choose_cases(predictions([[0.9, 0.9], [0.9, 0.1]], [[NAN, 0.5], [NAN, NAN]]), {})
    assert not any(found.values())


def test_of_labels_that_exclude_each_other_the_likeliest_is_called():
    found = choose_cases(predictions([[0.4, 0.35, 0.25]], [[1, 0, 0]], ("a", "b", "c")), {}, mode="single-label", count=3)
    assert chosen(found) == {
        "true positive": [("image-0", "a")],
        "false positive": [],
        "false negative": [],
        "true negative": [("image-0", "c"), ("image-0", "b")],
    }
    assert found["true positive"][0].threshold == 0.35
