"""Two models on the same images: DeLong's arithmetic by hand, and the bootstrap that agrees with it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_workflow.errors import LearningError, WorkflowError
from dicom_workflow.learning.evaluation import bootstrap, comparison, predictions
from dicom_workflow.learning.evaluation.curves import Steps


def two_models(images=400, *, better=0.6, seed=0):
    generator = np.random.default_rng(seed)
    targets = (generator.random(images) < 0.3).astype(float)
    shared = generator.normal(0, 1, images)
    first, second = (shared + generator.normal(0, 0.7, images) + gain * targets for gain in (1.0, 1.0 + better))
    return targets, first, second


def test_delong_of_four_images_by_hand():
    """Two positives, two negatives; the placements are halves and ones, their variance 1/8, each divided by two."""
    targets = np.array([1.0, 1, 0, 0])
    first, swapped, perfect = (np.array(scores) for scores in ([3.0, 5, 1, 4], [5.0, 3, 4, 1], [5.0, 6, 1, 2]))
    same = comparison.delong(targets, first, swapped)
    assert (same.first, same.second, same.variance_first, same.variance_second) == (0.75, 0.75, 0.125, 0.125)
    assert same.covariance == -0.125
    assert (same.difference, same.variance, same.p) == (0.0, 0.5, 1.0)
    found = comparison.delong(targets, first, perfect)
    assert (found.second, found.variance_second, found.covariance, found.variance) == (1.0, 0.0, 0.0, 0.125)
    assert found.p == pytest.approx(math.erfc(0.5), abs=1e-12)  # z = 0.25 / sqrt(0.125) = sqrt(2) / 2
    assert found.p == pytest.approx(0.4795, abs=1e-4)
    assert math.isnan(comparison.delong(targets, -perfect, perfect).p), "a difference without variance has no test"
    assert comparison.delong(np.array([1.0, 0, 0]), first[:3], first[:3]) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=25))
def test_midranks_are_the_count_of_pairs_ties_half(images):
    targets, first, second = (np.array(column, dtype=float) for column in zip(*images, strict=True))
    found = comparison.delong(targets, first, second)
    positive, negative = targets == 1, targets == 0
    if found is None:
        assert min(positive.sum(), negative.sum()) < 2
        return
    pairs = [
        (scores[positive][:, None] > scores[negative]) + 0.5 * (scores[positive][:, None] == scores[negative])
        for scores in (first, second)
    ]
    areas = [table.mean() for table in pairs]
    covariance = np.cov([table.mean(axis=1) for table in pairs]) / positive.sum()
    covariance += np.cov([table.mean(axis=0) for table in pairs]) / negative.sum()
    assert [found.first, found.second] == pytest.approx(areas)
    assert [found.variance_first, found.covariance, found.variance_second] == pytest.approx(covariance[[0, 0, 1], [0, 1, 1]])


def test_delongs_variance_is_the_bootstraps_where_every_patient_has_one_image():
    targets, first, second = two_models()
    found = comparison.delong(targets, first, second)
    [weights] = bootstrap.patient_weights(range(400), 3000, 0)
    drawn = [Steps.of(targets, scores, weights).auroc() for scores in (first, second)]
    assert np.var(drawn[1] - drawn[0]) == pytest.approx(found.variance, rel=0.1)
    assert np.var(drawn[0]) == pytest.approx(found.variance_first, rel=0.1)


def test_a_better_model_is_found_better_by_both_and_an_equal_one_by_neither():
    targets, first, second = two_models()
    columns = np.stack([first, second], axis=1), np.stack([second, second], axis=1)
    found = comparison.compare(
        np.stack([targets, targets], axis=1), *columns, labels=("a", "b"), patients=list(range(400)), resamples=300
    )
    a, b = found["labels"]["a"], found["labels"]["b"]
    assert a["difference"] == pytest.approx(a["second"] - a["first"], abs=2e-6)
    assert a["difference_interval"][0] > 0
    assert a["p_bootstrap"] == pytest.approx(2 / 301, abs=1e-6)
    assert a["p_delong_holm"] == pytest.approx(2 * a["p_delong"], abs=2e-6)
    assert a["p_delong_holm"] < 0.001
    assert (b["difference"], b["difference_interval"], b["p_delong"], b["p_bootstrap"]) == (0.0, [0.0, 0.0], 1.0, 1.0)
    assert found["macro"]["difference"] == pytest.approx(a["difference"] / 2, abs=2e-6)
    json.dumps(found, allow_nan=False)


def test_many_images_of_one_patient_are_no_proof():
    targets, first, second = (np.repeat(values, 10) for values in two_models(40, better=0.9, seed=3))
    arguments = {"labels": ("a",), "resamples": 400}
    columns = [values[:, None] for values in (targets, first, second)]
    apart = comparison.compare(*columns, patients=list(range(400)), **arguments)["labels"]["a"]
    together = comparison.compare(*columns, patients=[n // 10 for n in range(400)], **arguments)["labels"]["a"]
    width = [found["difference_interval"][1] - found["difference_interval"][0] for found in (apart, together)]
    assert width[1] > 2 * width[0]
    assert apart["p_delong"] == together["p_delong"]


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert comparison._holm([0.04, 0.01, 0.03, math.nan])[:3] == pytest.approx([0.06, 0.03, 0.06])
    assert comparison._holm([0.9, 0.8]) == [1.0, 1.0]


def write(path, identifiers, scores, *, truth=True, flip=False):
    states = [{"a": "positive" if (number % 3 == 0) != flip else "negative"} for number in identifiers]
    lines = [
        {
            "source": f"i{number}",
            "patient_id": f"P{number // 2}",
            "probabilities": {"a": score},
            "states": state,
            **({"truth": state} if truth else {}),
        }
        for number, score, state in zip(identifiers, scores, states, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_two_files_of_predictions_meet_at_their_common_images(tmp_path):
    generator = np.random.default_rng(0)
    first = write(tmp_path / "first.jsonl", range(40), generator.random(40))
    second = write(tmp_path / "second.jsonl", range(50, 9, -1), generator.random(41), truth=False)
    found = comparison.compare_predictions(first, second, resamples=50)
    assert (found["images"], found["patients"], found["measured_against"]) == (30, 15, "states")
    assert comparison.compare_predictions(first, first, resamples=50)["labels"]["a"]["difference"] == 0.0
    assert comparison.compare_predictions(first, first, resamples=0)["measured_against"] == "truth"


def test_files_that_cannot_be_compared_say_why(tmp_path):
    first = write(tmp_path / "first.jsonl", range(4), [0.5] * 4)
    with pytest.raises(LearningError, match="no image or no label in common"):
        comparison.compare_predictions(first, write(tmp_path / "other.jsonl", range(4, 8), [0.5] * 4))
    with pytest.raises(LearningError, match="the two files disagree on the truth of the same images"):
        comparison.compare_predictions(first, write(tmp_path / "other.jsonl", range(4), [0.5] * 4, flip=True))
    with pytest.raises(LearningError, match="1 images come more than once"):
        predictions.read_predictions(write(tmp_path / "twice.jsonl", [1, 1], [0.5] * 2))
    (tmp_path / "bad.jsonl").write_text('{"source": "a", "probabilities": {"a": 1}}\n{"source": "b", "probabilities": {}}\n')
    with pytest.raises(LearningError, match="line 2: expected 'source' and 'probabilities' of a"):
        predictions.read_predictions(tmp_path / "bad.jsonl")


@pytest.mark.parametrize("value", [None, "0.5", True, 5, -0.1, float("nan"), [1]])
def test_a_probability_that_is_none_is_named(tmp_path, value):
    line = {"source": "a", "probabilities": {"Edema": value}, "states": []}
    (tmp_path / "odd.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(WorkflowError, match=r"odd\.jsonl, line 1: expected"):
        predictions.read_predictions(tmp_path / "odd.jsonl")
