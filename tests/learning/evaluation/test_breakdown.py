"""Figures by subgroup, beside single readers, and where labels exclude each other."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import LabelSet, default_label_set
from dicom_workflow.learning.evaluation import breakdown
from dicom_workflow.learning.evaluation.report import ExclusionCounts, SubgroupLabel

NOTHING = dict.fromkeys(breakdown.FIELDS, "unknown")


def test_groups_come_from_the_attributes_of_the_line():
    attributes = {
        "view_position": "ap", "sex": "F", "age": 61, "site": "South\nwing", "manufacturer": "Acme",
        "photometric_interpretation": "MONOCHROME2", "patient_name": "Doe^Jane",
    }  # fmt: skip
    assert breakdown.groups_of(attributes) == {
        "view_position": "AP",
        "sex": "female",
        "age_band": "60-79",
        "site": "South wing",
        "manufacturer": "Acme",
        "photometric_interpretation": "MONOCHROME2",
    }


def test_what_is_missing_or_strange_is_in_a_group_of_its_own():
    assert breakdown.groups_of({}) == NOTHING
    assert breakdown.groups_of({"view_position": "Doe^Jane", "sex": "?"})["view_position"] == "other"


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "0-17"), (17, "0-17"), (39, "18-39"), (40, "40-59"), (59.9, "40-59"), (90, "80 and over"), (999, "unknown"),
     (-1, "unknown"), (float("nan"), "unknown"), (True, "unknown"), ("061Y", "unknown"), (None, "unknown")],
)  # fmt: skip
def test_ages_are_bands(age, band):
    assert breakdown.groups_of({"age": age})["age_band"] == band


def test_each_group_is_measured_with_sklearns_auroc_and_too_few_are_not():
    generator = np.random.default_rng(0)
    targets = (generator.random((120, 2)) < 0.4).astype(float)
    targets[:, 1] = 0
    targets[:3, 1] = 1
    scores = generator.random((120, 2))
    groups = [{"sex": "female" if row < 70 else "male", "view_position": "PA", "site": f"site {row}"} for row in range(120)]
    found = breakdown.by_subgroup(targets, scores, groups, labels=("a", "rare"), patients=list(range(120)), resamples=50)
    assert set(found) == {"sex"}, "one view is no group, and sites of one patient each are pooled"
    women = found["sex"]["female"]
    assert (women.images, women.patients, women.labels_measured) == (70, 70, 1)
    assert women.labels["a"].auroc == pytest.approx(roc_auc_score(targets[:70, 0], scores[:70, 0]), abs=1e-6)
    assert women.labels["a"].auroc_interval == women.macro_auroc_interval
    assert women.labels["rare"] == SubgroupLabel(positives=3, negatives=67)


def test_a_site_of_few_patients_is_not_named():
    groups = [{"site": "North"}] * 6 + [{"site": "Doe, Jane"}] * 6 + [{"site": "unknown"}]
    patients = [*range(6), *["one"] * 6, "two"]
    found = breakdown.by_subgroup(np.zeros((13, 1)), np.zeros((13, 1)), groups, labels=("a",), patients=patients)
    assert {name: group.images for name, group in found["site"].items()} == {"North": 6, "other": 6, "unknown": 1}
    assert found["site"]["North"].macro_auroc is None


def test_the_confusion_with_a_reader_by_hand_and_its_kappa_as_sklearn_has_it():
    said = ["positive", "positive", "negative", "negative", "negative", "uncertain"]
    called = np.array([True, False, True, False, False, True])[:, None]
    answers = [{"w": {"a": LabelState(state)}} for state in said] + [{}]
    truth = np.array([1.0, 0, 0, 0, 1, 1, 1])[:, None]
    [found] = breakdown.against_readers(np.vstack([called, [[True]]]), answers, labels=("a",), targets=truth)
    assert (found.reader, found.pseudonym, found.images) == (1, "w", 5)
    beside = found.labels["a"]
    assert (beside.both_positive, beside.model_only, beside.reader_only, beside.both_negative) == (1, 1, 1, 2)
    assert beside.kappa == pytest.approx(cohen_kappa_score([1, 1, 0, 0, 0], [1, 0, 1, 0, 0]), abs=1e-6)
    assert (beside.sensitivity, beside.specificity) == (0.5, pytest.approx(2 / 3, abs=1e-6))
    [alone] = breakdown.against_readers(called[:1], answers[:1], labels=("a",))
    assert alone.labels["a"].kappa is None
    assert alone.labels["a"].sensitivity is None
    assert breakdown.against_readers(called, [{}] * 6, labels=("a",)) == ()


def test_a_label_that_excludes_others_is_counted_where_it_is_called_beside_them():
    labels = ("Edema", "Support Devices", "No Finding")
    called = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=bool)
    found = breakdown.exclusion_counts(called, labels, default_label_set(labels))
    assert found == {"No Finding": ExclusionCounts(called=2, contradicted=1, by={"Edema": 1})}
    assert breakdown.exclusion_counts(called[:, :1], ("Edema",), default_label_set(labels)) == {}
    mine = LabelSet(("a", "b"), exclusions={"a": ("b",)})
    both = np.array([[1, 1], [1, 0]], dtype=bool)
    assert breakdown.exclusion_counts(both, ("a", "b"), mine) == {"a": ExclusionCounts(called=2, contradicted=1, by={"b": 1})}
