"""The figures agree with scikit-learn, and what is undefined is said to be."""

from __future__ import annotations

import json
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.evaluation import bootstrap, curves, metrics, thresholds
from dicom_workflow.learning.evaluation.curves import Steps
from dicom_workflow.learning.evaluation.report import EVALUATION_SCHEMA, Evaluation, ReaderComparison, ReaderLabel, to_plain


def noisy(generator, images, labels, prevalence=0.3):
    targets = (generator.random((images, labels)) < prevalence).astype(float)
    scores = 1 / (1 + np.exp(-(generator.normal(0, 1, (images, labels)) + 1.2 * targets)))
    return targets, scores


@pytest.mark.parametrize("digits", [8, 1])
def test_auroc_and_average_precision_agree_with_sklearn_also_with_ties(digits):
    targets, scores = noisy(np.random.default_rng(3), 200, 5)
    scores = scores.round(digits)
    for column in range(5):
        assert curves.auroc(targets[:, column], scores[:, column]) == pytest.approx(
            roc_auc_score(targets[:, column], scores[:, column])
        )
        assert curves.average_precision(targets[:, column], scores[:, column]) == pytest.approx(
            average_precision_score(targets[:, column], scores[:, column])
        )


def test_auroc_of_four_images_by_hand():
    assert curves.auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert curves.auroc(np.array([0, 1]), np.array([0.5, 0.5])) == 0.5
    assert np.isnan(curves.auroc(np.array([1, 1, np.nan]), np.array([0.1, 0.2, 0.3])))


def test_unknown_targets_take_no_part():
    targets, scores = noisy(np.random.default_rng(4), 100, 1)
    hidden = targets.copy()
    hidden[::3] = np.nan
    known = ~np.isnan(hidden[:, 0])
    assert curves.auroc(hidden[:, 0], scores[:, 0]) == pytest.approx(roc_auc_score(targets[known, 0], scores[known, 0]))


def test_macro_is_over_defined_labels_and_the_others_are_named():
    targets = np.array([[0, 1, 0], [1, 1, np.nan], [0, 1, np.nan], [1, 1, np.nan]], dtype=float)
    scores = np.array([[0.2, 0.5, 0.5], [0.9, 0.5, 0.5], [0.3, 0.5, 0.5], [0.1, 0.5, 0.5]])
    report = metrics.evaluate(targets, scores, labels=("a", "b", "c"), patients=list("wxyz"), resamples=50)
    assert report.labels["a"].auroc == report.macro_auroc == 0.5
    assert report.skipped == {"b": "no negative image", "c": "no positive image"}
    c = report.labels["c"]
    assert (c.auroc, c.unknown, c.positives, c.negatives) == (None, 3, 0, 1)
    json.dumps(to_plain(report), allow_nan=False)


def test_intervals_resample_patients_as_sklearn_would_on_the_drawn_images():
    generator = np.random.default_rng(5)
    targets, scores = noisy(generator, 60, 1)
    targets, scores = targets[:, 0], scores[:, 0]
    patients = [f"P{number // 3}" for number in range(60)]
    [weights] = bootstrap.patient_weights(patients, 30, 9)
    found = metrics._measure(targets, scores, weights, 0.6, 0.8)
    names = sorted(set(patients))
    draws = np.random.default_rng(9).integers(0, len(names), size=(30, len(names)))
    for row, drawn in enumerate(draws):
        images = [image for patient in drawn for image in range(60) if patients[image] == names[patient]]
        truth, score = targets[images], scores[images]
        assert found["auroc"][row] == pytest.approx(roc_auc_score(truth, score))
        assert found["average_precision"][row] == pytest.approx(average_precision_score(truth, score))
        assert found["brier"][row] == pytest.approx(brier_score_loss(truth, score))
        assert found["sensitivity"][row] == pytest.approx(recall_score(truth, score >= 0.6))
        assert found["specificity"][row] == pytest.approx(recall_score(truth, score >= 0.6, pos_label=0))
        false_alarm, sensitivity, _ = roc_curve(truth, score, drop_intermediate=False)
        assert found["sensitivity_at_specificity"][row] == pytest.approx(sensitivity[1 - false_alarm >= 0.8 - 1e-9].max())


def test_intervals_are_seeded_hold_the_value_and_are_quick():
    targets, scores = noisy(np.random.default_rng(6), 1000, 14)
    patients = [f"P{number // 2}" for number in range(1000)]
    labels = [f"label {number}" for number in range(14)]
    started = time.process_time()
    report = metrics.evaluate(targets, scores, labels=labels, patients=patients)
    assert time.process_time() - started < 10
    low, high = report.macro_auroc_interval
    assert low < report.macro_auroc < high
    assert high - low < 0.05
    assert report == metrics.evaluate(targets, scores, labels=labels, patients=patients)
    assert metrics.evaluate(targets, scores, labels=labels, patients=patients, resamples=0).macro_auroc_interval is None


def test_a_few_images_all_told_apart_are_no_certainty():
    targets, scores = np.array([[1.0], [1.0], [1.0], [0.0], [0.0]]), np.array([[0.9], [0.8], [0.9], [0.1], [0.2]])
    found = metrics.evaluate(targets, scores, labels=["a"], patients=["x", "x", "y", "v", "w"], resamples=200)
    label = found.labels["a"]
    assert label.auroc == label.sensitivity == label.specificity == 1.0
    assert label.auroc_interval is label.sensitivity_at_specificity_interval is None
    # Wilson, 2 of 2 as tabulated: the three positive images are of two patients.
    assert label.sensitivity_interval == label.specificity_interval == pytest.approx([0.342372, 1.0], abs=1e-5)
    lost = metrics.evaluate(targets, 1 - scores, labels=["a"], patients=list("vwxyz"), resamples=200).labels["a"]
    assert lost.sensitivity_interval == pytest.approx([0.0, 0.561497], abs=1e-5)  # 0 of 3
    alone = metrics.evaluate(targets, scores, labels=["a"], patients=list("vwxyz"), resamples=0).labels["a"]
    assert alone.sensitivity_interval is alone.auroc_interval is None


def test_thresholds_are_where_sensitivity_and_specificity_are_best():
    targets = np.array([[0], [0], [1], [1]])
    scores = np.array([[0.1], [0.2], [0.6], [0.9]])
    assert thresholds.choose_threshold(targets[:, 0], scores[:, 0]) == pytest.approx(0.4)
    assert thresholds.choose_thresholds(targets, scores, ["a"]) == {"a": 0.4}
    assert thresholds.choose_thresholds(np.ones((4, 1)), scores, ["a"]) == {"a": 0.5}
    report = metrics.evaluate(targets, scores, labels=["a"], patients=list("wxyz"), thresholds={"a": 0.7}, resamples=0)
    assert (report.labels["a"].sensitivity, report.labels["a"].specificity) == (0.5, 1.0)


def test_a_threshold_keeps_the_sensitivity_or_the_specificity_that_is_asked_for():
    targets = np.array([0, 0, 1, 0, 1, 1, np.nan])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.9, 0.35])
    assert thresholds.choose_threshold(targets, scores, thresholds.Rule("sensitivity", 1.0)) == pytest.approx(0.25)
    assert thresholds.choose_threshold(targets, scores, thresholds.Rule("sensitivity", 0.6)) == pytest.approx(0.5)
    assert thresholds.choose_threshold(targets, scores, thresholds.Rule("specificity", 1.0)) == pytest.approx(0.5)
    assert thresholds.choose_threshold(targets, scores, thresholds.Rule("specificity", 0.6)) == pytest.approx(0.25)
    upside_down = thresholds.choose_threshold(targets, 1 - scores, thresholds.Rule("specificity", 1.0))
    assert upside_down > 0.9, "nothing may be called: the highest score is a negative image's"
    assert thresholds.choose_threshold(np.ones(3), np.ones(3)) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=4, max_size=40),
    st.sampled_from(["sensitivity", "specificity"]),
    st.sampled_from([0.5, 0.8, 0.9, 1.0]),
)
def test_no_other_threshold_keeps_the_rule_and_gives_more(images, kind, at):
    targets, scores = np.array([float(known) for known, _ in images]), np.array([score / 12 for _, score in images])
    threshold = thresholds.choose_threshold(targets, scores, thresholds.Rule(kind, at))
    if threshold is None:
        assert len(set(targets)) == 1
        return

    def shares(limit):
        return {"sensitivity": (scores >= limit)[targets == 1].mean(), "specificity": (scores < limit)[targets == 0].mean()}

    other = {"sensitivity": "specificity", "specificity": "sensitivity"}[kind]
    every = [shares(limit) for limit in (*np.unique(scores), 2.0)]
    assert shares(threshold)[kind] >= at - 1e-9
    assert shares(threshold)[other] == max(each[other] for each in every if each[kind] >= at - 1e-9)


@pytest.mark.parametrize("text", ["youden", "sensitivity=0.95", "specificity=0.9"])
def test_a_rule_is_a_short_text(text):
    assert str(thresholds.Rule.parse(text)) == text


@pytest.mark.parametrize("text", ["", "best", "youden=0.9", "sensitivity", "sensitivity=0", "specificity=1.1", "specificity=x"])
def test_a_rule_that_is_none_is_refused(text):
    with pytest.raises(LearningError, match="expected youden, sensitivity=SHARE or specificity=SHARE"):
        thresholds.Rule.parse(text)


def test_sensitivity_at_a_specificity_by_hand_and_with_its_interval():
    targets = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0], dtype=float)
    scores = np.linspace(1, 0.1, 10)
    steps = Steps.of(targets, scores)
    assert [float(steps.sensitivity_at(share)[0]) for share in (1.0, 0.8, 0.5)] == [0.5, 0.75, 1.0]
    often = [np.tile(values[:, None], (8, 1)) for values in (targets, scores)]
    found = metrics.evaluate(*often, labels=["a"], patients=list(range(80)), resamples=200).labels["a"]
    low, high = found.sensitivity_at_specificity_interval
    assert found.sensitivity_at_specificity == 0.5
    assert low < 0.5 <= high


def test_reliability_bins_hold_as_many_images_each_and_never_part_equal_scores():
    scores = np.arange(100) / 100
    targets = (np.arange(100) % 10 < np.arange(100) // 10).astype(float)  # in bin k, k of ten are positive
    bins = metrics.reliability_bins(targets, scores)
    assert [found.count for found in bins] == [10] * 10
    assert [found.observed for found in bins] == pytest.approx([k / 10 for k in range(10)])
    assert [found.predicted for found in bins] == pytest.approx([k / 10 + 0.045 for k in range(10)])
    assert metrics.expected_calibration_error(targets, scores) == pytest.approx(0.045)
    assert metrics.expected_calibration_error(np.r_[np.ones(30), np.zeros(30)], np.full(60, 0.5)) == 0.0
    ties = metrics.reliability_bins(np.r_[np.zeros(50), np.ones(50)], np.r_[np.full(70, 0.2), np.linspace(0.5, 1, 30)])
    assert [found.count for found in ties] == [70, 10, 10, 10]
    assert len(metrics.reliability_bins(np.zeros(25), np.linspace(0, 1, 25))) == 2, "small sets get fewer bins"
    assert metrics.reliability_bins(np.array([np.nan]), np.array([0.5])) == ()
    assert np.isnan(metrics.expected_calibration_error(np.array([np.nan]), np.array([0.5])))


def test_the_interval_of_a_bin_is_wilsons():
    [found] = metrics.reliability_bins(np.r_[np.ones(3), np.zeros(7)], np.full(10, 0.4))
    assert found.observed_interval == pytest.approx([0.107789, 0.603222], abs=1e-5)  # 3 of 10, as tabulated


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.floats(0, 1)), min_size=1, max_size=60))
def test_the_calibration_error_is_a_share_and_the_order_of_images_does_not_matter(images):
    targets, scores = (np.array(column) for column in zip(*images, strict=True))
    error = metrics.expected_calibration_error(targets, scores)
    if np.isnan(targets).all():
        assert np.isnan(error)
        return
    assert 0 <= error <= 1
    assert metrics.expected_calibration_error(targets[::-1], scores[::-1]) == pytest.approx(error, abs=2e-6)
    known = ~np.isnan(targets)
    assert metrics.brier(targets, scores) == pytest.approx(np.mean((scores - targets)[known] ** 2))


def test_curves_agree_with_sklearn_and_their_band_holds_them():
    targets, scores = noisy(np.random.default_rng(11), 120, 1)
    targets, scores, patients = targets[:, 0], scores[:, 0].round(2), [number // 2 for number in range(120)]
    roc = curves.roc_band(targets, scores, patients, resamples=100)
    x, y, _ = roc_curve(targets, scores, drop_intermediate=False)
    assert roc.x == pytest.approx(x)
    assert roc.y == pytest.approx(y)
    assert roc.area == pytest.approx(roc_auc_score(targets, scores))
    middle = np.interp(roc.grid, x, y)
    assert (roc.low <= middle + 0.02).all()
    assert (middle - 0.02 <= roc.high).all()
    curve = curves.precision_recall_band(targets, scores, patients, resamples=100)
    precision, recall, _ = precision_recall_curve(targets, scores)
    assert curve.x[::-1] == pytest.approx(recall[:-1])
    assert curve.y[::-1] == pytest.approx(precision[:-1])
    assert curve.low.shape == curve.grid.shape
    assert ((curve.low >= 0) & (curve.low <= curve.high) & (curve.high <= 1)).all()
    assert np.isnan(curves.roc_band(targets, scores, patients, resamples=0).low).all()
    assert curves.roc_band(np.ones(3), np.ones(3), [1, 2, 3]) is None


def test_probabilities_before_calibration_are_reported_beside():
    targets, scores = noisy(np.random.default_rng(12), 200, 2)
    patients = list(range(200))
    found = metrics.evaluate(targets, scores, labels=("a", "b"), patients=patients, uncalibrated=scores**2, resamples=0)
    expected = brier_score_loss(targets[:, 0], scores[:, 0] ** 2)
    assert found.labels["a"].brier_uncalibrated == pytest.approx(expected, abs=1e-6)
    assert None not in (found.macro_brier, found.macro_ece, found.macro_brier_uncalibrated, found.macro_ece_uncalibrated)
    without = metrics.evaluate(targets, scores, labels=("a", "b"), patients=patients, resamples=0)
    assert without.macro_ece_uncalibrated is None


def test_single_label_reports_accuracy_and_confusion_of_images_with_one_finding():
    targets = np.array([[1, 0], [0, 1], [0, 1], [1, 1]], dtype=float)
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    report = metrics.evaluate(targets, scores, labels=("a", "b"), patients=list("wxyz"), mode="single-label", resamples=0)
    assert report.accuracy == pytest.approx(2 / 3, abs=1e-6)
    assert report.confusion == {"a": {"a": 1, "b": 0}, "b": {"a": 1, "b": 1}}


@pytest.fixture
def evaluation():
    targets, scores = noisy(np.random.default_rng(8), 40, 2)
    against = {
        name: metrics.evaluate(values, scores, labels=("a", "b"), patients=[str(n) for n in range(40)], resamples=30)
        for name, values in (("states", 1 - targets), ("truth", targets))
    }
    readers = (ReaderComparison(1, "reader-1", 40, {"a": ReaderLabel(1, 2, 3, 4, kappa=0.5)}),)
    return Evaluation("test", "multi-label", "truth", against, readers=readers, untaught={"c": "no positive training image"})


def test_headline_figures_are_those_of_what_the_evaluation_is_measured_against(evaluation):
    written = evaluation.to_json()
    assert written["macro_auroc"] == evaluation.against["truth"].macro_auroc != evaluation.against["states"].macro_auroc
    assert written["auroc"] == {label: values.auroc for label, values in evaluation.figures.labels.items()}
    assert (written["schema"], written["images"], written["patients"]) == (EVALUATION_SCHEMA, 40, 40)


def test_an_evaluation_is_read_back_as_it_was_written(evaluation):
    text = json.dumps(evaluation.to_json(), allow_nan=False)
    assert Evaluation.parse(json.loads(text)) == evaluation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "dicom-workflow/evaluation/1"}, "got 'dicom-workflow/evaluation/1'. Train again, or evaluate the model"),
        ({"against": {}}, "'against' has no figures for 'truth'"),
        ({"against": {"truth": {"images": 3}}}, "against, truth: patients, labels missing"),
        ({"left_out": "two"}, "left_out: expected int, got 'two'"),
        ({"split": 3}, "split: expected str, got '3'"),
    ],
)
def test_another_evaluation_is_refused_by_name(evaluation, change, message):
    with pytest.raises(LearningError, match=re.escape(message)):
        Evaluation.parse({**evaluation.to_json(), **change}, "evaluation.json")


def test_scores_that_are_no_numbers_or_of_another_shape_are_refused():
    with pytest.raises(LearningError, match=r"expected targets and scores of shape \(2, 1\), got \(2, 1\) and \(2, 2\)"):
        metrics.evaluate(np.ones((2, 1)), np.ones((2, 2)), labels=["a"], patients=["x", "y"])
    with pytest.raises(LearningError, match="the scores of 1 of 2 images are not finite"):
        metrics.evaluate(np.ones((2, 1)), np.array([[0.5], [np.nan]]), labels=["a"], patients=["x", "y"])
