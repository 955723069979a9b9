"""Calibration makes probabilities true, changes no order, and never falls over a small validation set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.linear_model import LogisticRegression

from dicom_workflow.errors import LearningError, RecordError
from dicom_workflow.learning.evaluation import curves, metrics
from dicom_workflow.learning.model import calibration
from dicom_workflow.learning.model.calibration import Calibration


def too_sure(images: int, *, scale: float = 3.0, offset: float = 1.5, seed: int = 0):
    """Logits three times too large and moved, as class weights and long training leave them."""
    generator = np.random.default_rng(seed)
    true = generator.normal(-1, 1.2, images)
    targets = (generator.random(images) < 1 / (1 + np.exp(-true))).astype(float)
    return targets[:, None], (scale * true + offset)[:, None]


def test_calibrated_probabilities_are_true_on_other_images():
    targets, logits = too_sure(2000)
    fitted = calibration.fit(targets, logits, ["a"])
    assert fitted.scales["a"] == pytest.approx(1 / 3, rel=0.15)
    assert fitted.offsets["a"] == pytest.approx(-0.5, abs=0.15)
    other, unseen = too_sure(2000, seed=1)
    before, after = (which.probabilities(unseen, ["a"], "multi-label")[:, 0] for which in (Calibration(), fitted))
    assert metrics.expected_calibration_error(other[:, 0], before) > 0.1
    assert metrics.expected_calibration_error(other[:, 0], after) < 0.04
    assert metrics.brier(other[:, 0], after) < metrics.brier(other[:, 0], before)


def test_the_fit_is_the_least_loss_as_scipy_finds_it():
    targets, logits = too_sure(60, seed=3)
    truth, logit = targets[:, 0], logits[:, 0]

    def loss(values, pull=1.0):
        answers = values[0] * logit + values[1]
        return (np.logaddexp(0, answers) - truth * answers).sum() + pull * ((values[0] - 1) ** 2 + values[1] ** 2) / 2

    fitted = calibration.fit(targets, logits, ["a"])
    expected = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9}).x
    assert [fitted.scales["a"], fitted.offsets["a"]] == pytest.approx(expected, abs=1e-5)
    cooled = calibration.fit(targets, logits, ["a"], method="temperature")
    assert cooled.offsets == {"a": 0.0}
    assert cooled.scales["a"] == pytest.approx(minimize_scalar(lambda scale: loss((scale, 0.0))).x, abs=1e-5)


def test_with_many_images_it_is_logistic_regression():
    targets, logits = too_sure(20_000, seed=4)
    plain = LogisticRegression(C=np.inf).fit(logits, targets[:, 0])
    fitted = calibration.fit(targets, logits, ["a"])
    assert fitted.scales["a"] == pytest.approx(plain.coef_[0, 0], rel=2e-3)
    assert fitted.offsets["a"] == pytest.approx(plain.intercept_[0], abs=2e-3)


IMAGES = st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(-200, 200)), min_size=1, max_size=50)


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.sampled_from(["platt", "temperature"]), st.sampled_from([0.001, 0.05, 1.0, 1e4]))
def test_whatever_the_validation_images_are_the_order_stays_and_numbers_stay_finite(images, method, size):
    targets, logits = (np.array(column)[:, None] for column in zip(*images, strict=True))
    fitted = calibration.fit(targets, logits * size, ["a"], method=method)
    adjusted = fitted.apply(logits * size, ["a"])[:, 0]
    assert np.isfinite(adjusted).all()
    assert fitted.scales.get("a", 1.0) > 0
    before, after = (curves.auroc(targets[:, 0], scores) for scores in (logits[:, 0], adjusted))
    assert before == after or (np.isnan(before) and np.isnan(after))
    probabilities = fitted.probabilities(logits * size, ["a"], "multi-label")
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_a_label_that_is_separated_perfectly_or_told_wrongly_gets_finite_numbers():
    targets = np.r_[np.zeros(6), np.ones(6)][:, None]
    logits = np.r_[np.linspace(-3, -1, 6), np.linspace(1, 3, 6)][:, None]
    sure = calibration.fit(targets, logits, ["a"])
    assert 1 < sure.scales["a"] < 3
    wrong = calibration.fit(targets, -logits, ["a"])
    assert wrong.scales["a"] == pytest.approx(calibration.SMALLEST_SCALE)
    assert curves.auroc(targets[:, 0], wrong.apply(-logits, ["a"])[:, 0]) == 0.0


def test_a_label_with_too_few_images_is_left_as_it_is_and_said():
    targets = np.c_[np.r_[np.ones(4), np.zeros(20)], np.r_[np.ones(12), np.zeros(12)]]
    logits = np.random.default_rng(0).normal(0, 2, (24, 2))
    fitted = calibration.fit(targets, logits, ["rare", "often"])
    assert set(fitted.scales) == {"often"}
    assert fitted.skipped == {"rare": "4 positive and 20 negative validation images, 5 of each are needed"}
    assert fitted.apply(logits, ["rare", "often"])[:, 0] == pytest.approx(logits[:, 0])
    assert calibration.fit(np.empty((0, 1)), np.empty((0, 1)), ["a"]).scales == {}
    assert calibration.fit(targets, logits, ["rare", "often"], method="none") == Calibration()


def test_a_softmax_gets_one_temperature_as_scipy_finds_it():
    generator = np.random.default_rng(5)
    true = generator.normal(0, 1.5, (300, 3))
    chances = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(3, p=row) for row in chances])
    logits, targets = 4 * true, np.eye(3)[truth]
    fitted = calibration.fit(targets, logits, ["a", "b", "c"], mode="single-label")
    assert fitted.method == "temperature"
    assert len(set(fitted.scales.values())) == 1

    def loss(scale):
        answers = scale * logits
        return (np.log(np.exp(answers).sum(axis=1)) - answers[np.arange(300), truth]).sum() + (scale - 1) ** 2 / 2

    assert fitted.scales["a"] == pytest.approx(minimize_scalar(loss, bounds=(0.01, 2), method="bounded").x, abs=1e-4)
    probabilities = fitted.probabilities(logits * 1000, ["a", "b", "c"], "single-label")
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(300))
    assert calibration.fit(targets[:5], logits[:5], ["a", "b", "c"], mode="single-label").scales == {}


def test_it_comes_back_from_json_and_no_calibration_is_what_older_bundles_have():
    fitted = calibration.fit(*too_sure(100), ["a"])
    text = json.dumps(fitted.to_json(), allow_nan=False)
    assert Calibration.parse(json.loads(text), ["a"]) == fitted
    assert Calibration.parse(None, ["a"]) == Calibration()
    assert Calibration.parse(Calibration().to_json(), ["a"]) == Calibration()
    logits = np.array([[0.0, 2.0]])
    expected = np.array([[0.5, 0.880797]])
    assert Calibration().probabilities(logits, ["a", "b"], "multi-label") == pytest.approx(expected, abs=1e-6)
    assert Calibration().probabilities(np.empty((0, 2)), ["a", "b"], "single-label").shape == (0, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected 'calibration' with a method"),
        ({"method": "magic"}, "expected 'calibration' with a method of none, temperature, platt"),
        ({"method": "platt", "labels": {"b": {"scale": 1, "offset": 0}}}, "objects of the bundle's labels"),
        ({"method": "platt", "labels": {"a": {"scale": 1}}}, "a scale and an offset for each label"),
        ({"method": "platt", "labels": {"a": {"scale": 0, "offset": 0}}}, "scales above 0"),
        ({"method": "platt", "labels": {"a": {"scale": 1, "offset": float("inf")}}}, "expected finite offsets"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_refused(value, message):
    with pytest.raises(RecordError, match=message):
        Calibration.parse(value, ["a"])


def test_another_method_and_damaged_logits_are_refused():
    with pytest.raises(LearningError, match="expected one of none, temperature, platt, got 'magic'"):
        calibration.fit(*too_sure(10), ["a"], method="magic")
    with pytest.raises(LearningError, match="the logits are not finite"):
        calibration.fit(np.ones((1, 1)), np.array([[np.inf]]), ["a"])
