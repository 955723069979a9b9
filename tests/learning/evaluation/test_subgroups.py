"""For whom a model works, and beside whom: groups from lines and headers, single readers, and the No Finding rule."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from support.learning import dicom_file

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.learning import evaluation
from dicom_workflow.learning.evaluation import no_finding

NOTHING = dict.fromkeys(evaluation.subgroups.FIELDS, "unknown")


def header(path, **values):
    dataset = pydicom.dcmread(dicom_file(path, np.zeros((8, 8))))
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)
    return path


def test_groups_come_from_the_header_and_nothing_else_of_the_patient_does(tmp_path):
    path = header(
        tmp_path / "a.dcm", ViewPosition="PA", PatientSex="F", PatientAge="061Y", Manufacturer="Acme", InstitutionName="North",
        PatientName="Doe^Jane", PatientID="secret", PatientBirthDate="19590101",
    )  # fmt: skip
    assert evaluation.read_groups({}, path) == {
        "view_position": "PA",
        "sex": "female",
        "age_band": "60-79",
        "site": "North",
        "manufacturer": "Acme",
        "photometric_interpretation": "MONOCHROME2",
    }
    line = {"view_position": "ap", "sex": "male", "age": 17, "site": "South\nwing"}
    said = evaluation.read_groups(line, path)
    assert [said[name] for name in ("view_position", "sex", "age_band", "site")] == ["AP", "male", "0-17", "South wing"]


def test_what_is_missing_or_strange_is_in_a_group_of_its_own(tmp_path):
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    assert evaluation.read_groups({}, tmp_path / "broken.dcm") == NOTHING
    assert evaluation.read_groups({}, tmp_path / "missing.dcm") == NOTHING
    assert evaluation.read_groups({"view_position": "Doe^Jane", "sex": "?"})["view_position"] == "other"


@pytest.mark.parametrize(
    ("values", "band"),
    [
        ({"PatientAge": "006M"}, "0-17"),
        ({"PatientAge": "039Y"}, "18-39"),
        ({"PatientAge": "040Y"}, "40-59"),
        ({"PatientAge": "089Y"}, "80 and over"),
        ({"PatientAge": "", "PatientBirthDate": "19800615", "StudyDate": "20200614"}, "18-39"),
        ({"PatientAge": "", "PatientBirthDate": "19800615", "StudyDate": "20200615"}, "40-59"),
        ({"PatientAge": "999Y"}, "unknown"),
        ({"PatientBirthDate": "20210101", "StudyDate": "20200101"}, "unknown"),
    ],
)
def test_ages_are_bands(tmp_path, values, band):
    assert evaluation.read_groups({}, header(tmp_path / "a.dcm", **values))["age_band"] == band


def test_each_group_is_measured_with_sklearns_auroc_and_too_few_are_not():
    generator = np.random.default_rng(0)
    targets = (generator.random((120, 2)) < 0.4).astype(float)
    targets[:, 1] = 0
    targets[:3, 1] = 1
    scores = generator.random((120, 2))
    groups = [{"sex": "female" if row < 70 else "male", "view_position": "PA", "site": f"site {row}"} for row in range(120)]
    found = evaluation.by_subgroup(targets, scores, groups, labels=("a", "rare"), patients=list(range(120)), resamples=50)
    assert set(found) == {"sex"}, "one view is no group, and sites of one patient each are pooled"
    women = found["sex"]["female"]
    assert (women["images"], women["patients"], women["labels_measured"]) == (70, 70, 1)
    assert women["labels"]["a"]["auroc"] == pytest.approx(roc_auc_score(targets[:70, 0], scores[:70, 0]), abs=1e-6)
    assert women["labels"]["a"]["auroc_interval"] == women["macro_auroc_interval"]
    assert women["labels"]["rare"] == {"auroc": None, "auroc_interval": None, "positives": 3, "negatives": 67}
    json.dumps(found, allow_nan=False)


def test_a_site_of_few_patients_is_not_named():
    groups = [{"site": "North"}] * 6 + [{"site": "Doe, Jane"}] * 6 + [{"site": "unknown"}]
    patients = [*range(6), *["one"] * 6, "two"]
    found = evaluation.by_subgroup(np.zeros((13, 1)), np.zeros((13, 1)), groups, labels=("a",), patients=patients)
    assert {name: group["images"] for name, group in found["site"].items()} == {"North": 6, "other": 6, "unknown": 1}
    assert found["site"]["North"]["macro_auroc"] is None


def annotation(worker, labels, **more):
    answer = {"schema": "dicom-workflow/answer/2", "pixel_origin": "corner", "labels": labels, "regions": [], **more}
    return {"workerId": worker, "annotationData": {"content": json.dumps(answer)}}


def test_single_readers_are_read_from_the_line_of_a_job():
    shown = {"mode": "shown", "model": "m"}
    first = {"mode": "after-first-read", "model": "m", "first": {"labels": {"a": "negative"}, "regions": []}}
    given = [
        annotation("w1", {"a": "positive"}),
        annotation("w2", {"a": "positive"}, assistance=first),
        annotation("w3", {"a": "positive"}, assistance=shown),
        annotation("w4", {}, unusable="other"),
        {"workerId": "w5", "annotationData": {"content": "no JSON"}},
        {"workerId": "w6", "annotationData": {"s3Uri": "s3://bucket/answer.json"}},
    ]
    found, unreadable = evaluation.read_readers({"source": "x", "findings": {"annotationsFromAllWorkers": given}, "n": 3})
    assert found == {"w1": {"a": LabelState.POSITIVE}, "w2": {"a": LabelState.NEGATIVE}}
    assert unreadable == 2


def test_the_confusion_with_a_reader_by_hand_and_its_kappa_as_sklearn_has_it():
    said = ["positive", "positive", "negative", "negative", "negative", "uncertain"]
    called = np.array([True, False, True, False, False, True])[:, None]
    answers = [{"w": {"a": LabelState(state)}} for state in said] + [{}]
    truth = np.array([1.0, 0, 0, 0, 1, 1, 1])[:, None]
    [found] = evaluation.against_readers(np.vstack([called, [[True]]]), answers, labels=("a",), targets=truth)
    assert (found["reader"], found["worker_id"], found["images"]) == (1, "w", 5)
    counts = {"both_positive": 1, "model_only": 1, "reader_only": 1, "both_negative": 2}
    kappa = cohen_kappa_score([1, 1, 0, 0, 0], [1, 0, 1, 0, 0])
    own = {"sensitivity": 0.5, "specificity": pytest.approx(2 / 3, abs=1e-6)}
    assert found["labels"]["a"] == {**counts, "kappa": pytest.approx(kappa, abs=1e-6), **own}
    [alone] = evaluation.against_readers(called[:1], answers[:1], labels=("a",))
    assert alone["labels"]["a"]["kappa"] is None
    assert "sensitivity" not in alone["labels"]["a"]
    assert evaluation.against_readers(called, [{}] * 6, labels=("a",)) == []


def test_no_finding_is_withdrawn_beside_a_finding_and_counted():
    assert no_finding.consistent(["Edema", "No Finding"]) == ["Edema"]
    assert no_finding.consistent(["Support Devices", "No Finding"]) == ["Support Devices", "No Finding"]
    assert no_finding.consistent(["Edema"]) == ["Edema"]
    labels = ("Edema", "Support Devices", "No Finding")
    called = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], dtype=bool)
    assert no_finding.report(called, labels) == {
        "rule": no_finding.RULE,
        "images": 4,
        "no_finding": 2,
        "contradicted": 1,
        "with": {"Edema": 1},
        "nothing_called": 1,
    }
    assert no_finding.report(called[:, :1], ("Edema",)) == {}
