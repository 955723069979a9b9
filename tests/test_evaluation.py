"""The figures agree with scikit-learn, and what is undefined is said to be."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from dicom_workflow.errors import LearningError
from dicom_workflow.learning import evaluation


def noisy(generator, images, labels, prevalence=0.3):
    targets = (generator.random((images, labels)) < prevalence).astype(float)
    scores = 1 / (1 + np.exp(-(generator.normal(0, 1, (images, labels)) + 1.2 * targets)))
    return targets, scores


@pytest.mark.parametrize("digits", [8, 1])
def test_auroc_and_average_precision_agree_with_sklearn_also_with_ties(digits):
    targets, scores = noisy(np.random.default_rng(3), 200, 5)
    scores = scores.round(digits)
    for column in range(5):
        assert evaluation.auroc(targets[:, column], scores[:, column]) == pytest.approx(
            roc_auc_score(targets[:, column], scores[:, column])
        )
        assert evaluation.average_precision(targets[:, column], scores[:, column]) == pytest.approx(
            average_precision_score(targets[:, column], scores[:, column])
        )


def test_auroc_of_four_images_by_hand():
    assert evaluation.auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert evaluation.auroc(np.array([0, 1]), np.array([0.5, 0.5])) == 0.5
    assert np.isnan(evaluation.auroc(np.array([1, 1, np.nan]), np.array([0.1, 0.2, 0.3])))


def test_unknown_targets_take_no_part():
    targets, scores = noisy(np.random.default_rng(4), 100, 1)
    hidden = targets.copy()
    hidden[::3] = np.nan
    known = ~np.isnan(hidden[:, 0])
    assert evaluation.auroc(hidden[:, 0], scores[:, 0]) == pytest.approx(roc_auc_score(targets[known, 0], scores[known, 0]))


def test_macro_is_over_defined_labels_and_the_others_are_named():
    targets = np.array([[0, 1, 0], [1, 1, np.nan], [0, 1, np.nan], [1, 1, np.nan]], dtype=float)
    scores = np.array([[0.2, 0.5, 0.5], [0.9, 0.5, 0.5], [0.3, 0.5, 0.5], [0.1, 0.5, 0.5]])
    report = evaluation.evaluate(targets, scores, labels=("a", "b", "c"), patients=list("wxyz"), resamples=50)
    assert report["labels"]["a"]["auroc"] == report["macro_auroc"] == 0.5
    assert report["skipped"] == {"b": "no negative image", "c": "no positive image"}
    assert report["labels"]["c"] | {"auroc": None, "unknown": 3, "positives": 0, "negatives": 1} == report["labels"]["c"]
    json.dumps(report, allow_nan=False)


def test_intervals_resample_patients_as_sklearn_would_on_the_drawn_images():
    generator = np.random.default_rng(5)
    targets, scores = noisy(generator, 60, 2)
    patients = [f"P{number // 3}" for number in range(60)]
    each, precision = evaluation._resampled(targets, scores, patients, resamples=30, seed=9)
    names = sorted(set(patients))
    draws = np.random.default_rng(9).integers(0, len(names), size=(30, len(names)))
    for row, drawn in enumerate(draws):
        images = [image for patient in drawn for image in range(60) if patients[image] == names[patient]]
        for column in range(2):
            assert each[row, column] == pytest.approx(roc_auc_score(targets[images, column], scores[images, column]))
            assert precision[row, column] == pytest.approx(
                average_precision_score(targets[images, column], scores[images, column])
            )


def test_intervals_are_seeded_hold_the_value_and_are_quick():
    targets, scores = noisy(np.random.default_rng(6), 1000, 14)
    patients = [f"P{number // 2}" for number in range(1000)]
    labels = [f"label {number}" for number in range(14)]
    started = time.process_time()
    report = evaluation.evaluate(targets, scores, labels=labels, patients=patients)
    assert time.process_time() - started < 10
    low, high = report["macro_auroc_interval"]
    assert low < report["macro_auroc"] < high
    assert high - low < 0.05
    assert report == evaluation.evaluate(targets, scores, labels=labels, patients=patients)
    assert evaluation.evaluate(targets, scores, labels=labels, patients=patients, resamples=0)["macro_auroc_interval"] is None


def test_thresholds_are_where_sensitivity_and_specificity_are_best():
    targets = np.array([[0], [0], [1], [1]])
    scores = np.array([[0.1], [0.2], [0.6], [0.9]])
    assert evaluation.youden_threshold(targets[:, 0], scores[:, 0]) == pytest.approx(0.4)
    assert evaluation.choose_thresholds(targets, scores, ["a"]) == {"a": 0.4}
    assert evaluation.choose_thresholds(np.ones((4, 1)), scores, ["a"]) == {"a": 0.5}
    report = evaluation.evaluate(targets, scores, labels=["a"], patients=list("wxyz"), thresholds={"a": 0.7}, resamples=0)
    assert (report["labels"]["a"]["sensitivity"], report["labels"]["a"]["specificity"]) == (0.5, 1.0)


def test_single_label_reports_accuracy_and_confusion_of_images_with_one_finding():
    targets = np.array([[1, 0], [0, 1], [0, 1], [1, 1]], dtype=float)
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    report = evaluation.evaluate(targets, scores, labels=("a", "b"), patients=list("wxyz"), mode="single-label", resamples=0)
    assert report["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert report["confusion"] == {"a": {"a": 1, "b": 0}, "b": {"a": 1, "b": 1}}


def test_the_summary_is_measured_against_the_truth_when_it_is_known():
    targets, scores = noisy(np.random.default_rng(8), 40, 2)
    reports = {
        name: evaluation.evaluate(values, scores, labels=("a", "b"), patients=[str(n) for n in range(40)], resamples=0)
        for name, values in (("states", 1 - targets), ("truth", targets))
    }
    summary = evaluation.summarize(reports, split="test", mode="multi-label")
    assert summary["measured_against"] == "truth"
    assert summary["macro_auroc"] == reports["truth"]["macro_auroc"] != reports["states"]["macro_auroc"]
    assert evaluation.summarize({"states": reports["states"]}, split="test", mode="multi-label")["measured_against"] == "states"


def test_scores_that_are_no_numbers_or_of_another_shape_are_refused():
    with pytest.raises(LearningError, match=r"expected targets and scores of shape \(2, 1\), got \(2, 1\) and \(2, 2\)"):
        evaluation.evaluate(np.ones((2, 1)), np.ones((2, 2)), labels=["a"], patients=["x", "y"])
    with pytest.raises(LearningError, match="expected finite scores, 1 of 2 images have others"):
        evaluation.evaluate(np.ones((2, 1)), np.array([[0.5], [np.nan]]), labels=["a"], patients=["x", "y"])
