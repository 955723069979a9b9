"""Reading what a labeling job left: no object disappears, no damaged answer takes the others along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow.errors import LabelingError, ManifestError
from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.labeling import output, training_manifest
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.labeling.tasks.protocol import fraction_of
from dicom_workflow.storage import to_uri

ONE = "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce"
TWO = "af163634-5f8009c8-a941f2a2-4d108bea-119181b5"
METADATA = {
    "type": "groundtruth/custom",
    "job-name": "chest",
    "human-annotated": "yes",
    "creation-date": "2026-11-21T17:42:26.177000",
}


def answer(worker: str, **states: str) -> dict[str, Any]:
    content = json.dumps({"annotation": json.dumps({"labels": states})})
    return {"workerId": worker, "annotationData": {"content": content}}


def sample_answer(worker: str, *positive: str) -> dict[str, Any]:
    """An answer as the published AWS radiograph sample writes it."""
    disease = {label: label in positive for label in ("Edema", "Fracture")}
    labels = json.dumps({"label": list(positive), "imageurl": "https://example.org/instances/x/file"})
    return {"workerId": worker, "annotationData": {"content": json.dumps({"disease": disease, "labels": labels})}}


def write_lines(path: Path, *lines: object) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to_uri(path)


def test_failed_line_and_missing_label_are_objects_with_a_reason(tmp_path: Path) -> None:
    failed = {"retry-count": 1, "failure-reason": "ClientError: Annotation tasks expired.", "human-annotated": "true"}
    uri = write_lines(
        tmp_path / "output.manifest",
        {"source": ONE, "findings-metadata": failed},
        {"source": TWO, "labels": ["Edema"]},
        {"source": "third", "findings": {}, "findings-metadata": METADATA},
    )
    found = list(output.read_output(uri, attribute="findings"))
    assert [item.source for item in found] == [ONE, TWO, "third"]
    assert found[0].failure_reason == "ClientError: Annotation tasks expired."
    assert "no label: expected 'findings'" in found[1].failure_reason
    assert found[2].failure_reason == "the label 'findings' is empty."


def test_sample_output_manifest_is_voted_on_here(tmp_path: Path) -> None:
    workers = [sample_answer("w1", "Edema"), sample_answer("w2", "Edema", "Fracture"), sample_answer("w3")]
    line = {"source": ONE, "labels": "Edema,Fracture", "job": {"annotationsFromAllWorkers": workers}, "job-metadata": METADATA}
    [item] = output.read_output(write_lines(tmp_path / "output.manifest", line))
    assert item.states == {"Edema": "positive", "Fracture": "negative"}
    assert item.confidences == {"Edema": 0.67, "Fracture": 0.67}
    assert set(item.answers) == {"w1", "w2", "w3"}
    assert (item.job_name, item.created) == ("chest", "2026-11-21T17:42:26.177000")


def test_answer_content_may_be_an_object_instead_of_text(tmp_path: Path) -> None:
    worker = {"workerId": "w1", "annotationData": {"content": {"labels": {"label": ["Edema"]}}}}
    line = {"source": ONE, "job": {"annotationsFromAllWorkers": [worker]}, "job-metadata": METADATA}
    [item] = output.read_output(write_lines(tmp_path / "output.manifest", line))
    assert item.states == {"Edema": "positive"}


def test_batch_file_of_consolidation_requests_is_read(tmp_path: Path) -> None:
    batch = [
        {"datasetObjectId": "0", "dataObject": {"content": ONE}, "annotations": [sample_answer("w1", "Edema")]},
        {"datasetObjectId": "1", "dataObject": {"s3Uri": "s3://b/k.dcm"}, "annotations": []},
        {"annotations": []},
    ]
    path = tmp_path / "2026-11-21_08:00:00.json"
    path.write_text(json.dumps(batch))
    found = list(output.read_output(to_uri(path)))
    assert found[0].states == {"Edema": "positive", "Fracture": "negative"}
    assert (found[1].source, found[1].failure_reason) == ("s3://b/k.dcm", "no worker answered.")
    assert "entry 3 cannot be read" in found[2].failure_reason


def test_damaged_answer_is_refused_by_name_and_the_others_count(tmp_path: Path) -> None:
    broken = {"workerId": "w2", "annotationData": {"content": "not JSON"}}
    workers = [answer("w1", Edema="positive"), broken, answer("w3", Edema="positive")]
    line = {"source": ONE, "job": {"annotationsFromAllWorkers": workers}, "job-metadata": METADATA}
    [item] = output.read_output(write_lines(tmp_path / "output.manifest", line))
    assert item.states == {"Edema": "positive"}
    assert [entry["workerId"] for entry in item.refused] == ["w2"]
    assert "expected the answer as JSON" in item.refused[0]["reason"]


def test_underscores_in_metadata_are_read_like_hyphens(tmp_path: Path) -> None:
    documented = {"type": "groundTruth/custom", "job_name": "chest", "creation_date": "2026", "human_annotated": "yes"}
    line = {"source": ONE, "job": {"annotationsFromAllWorkers": [answer("w", Edema="negative")]}, "job-metadata": documented}
    [item] = output.read_output(write_lines(tmp_path / "output.manifest", line))
    assert (item.job_name, item.created) == ("chest", "2026")


def test_several_label_attributes_need_one_named(tmp_path: Path) -> None:
    value = {"annotationsFromAllWorkers": [answer("w", Edema="positive")]}
    line = {"source": ONE, "first": value, "first-metadata": METADATA, "second": value, "second-metadata": METADATA}
    uri = write_lines(tmp_path / "output.manifest", line)
    with pytest.raises(ManifestError, match=r"line 1: the line has the label attributes first, second\. Choose one"):
        list(output.read_output(uri))
    assert len(list(output.read_output(uri, attribute="second"))) == 1


def test_broken_line_is_named_by_its_number_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "output.manifest"
    path.write_text('{"source": "a"}\n{"source": "b"\n' + json.dumps(consolidated("c", "positive")) + '\n{"source": "d"')
    found = list(output.read_output(to_uri(path)))
    assert [(item.number, item.source) for item in found] == [(1, "a"), (2, ""), (3, "c"), (4, "")]
    assert found[1].failure_reason.startswith("expected one whole JSON object")
    assert found[2].states == {"Edema": "positive"}


def consolidated(source: str, state: str) -> dict[str, Any]:
    vote = {"state": state, "confidence": 1.0, "votes": {"positive": 3, "negative": 0, "uncertain": 0}}
    value = {"labels": {"Edema": vote}, "annotationsFromAllWorkers": [answer("w", Edema=state)]}
    return {"source": source, "findings": value, "findings-metadata": METADATA}


def test_augmented_line_adds_patient_split_and_truth_and_keeps_no_answer(tmp_path: Path) -> None:
    lines = [consolidated(ONE, "positive"), consolidated(TWO, "negative")]
    objects = list(output.read_output(write_lines(tmp_path / "output.manifest", *lines)))
    instances = [
        Instance("1.1", patient_id="p1", orthanc_instance_id=ONE),
        Instance("1.2", patient_id="p2", orthanc_instance_id=TWO),
    ]
    truth = ReferenceStandard.parse("sop_instance_uid,patient_id,Edema\n1.1,p1,1\n1.2,p2,0\n")
    augmented = list(training_manifest.augmented_lines(objects, instances, truth=truth))
    assert (augmented[0]["source"], augmented[0]["findings-metadata"]) == (ONE, METADATA)
    assert augmented[0]["findings"] == {"labels": lines[0]["findings"]["labels"], "regions": []}
    assert augmented[0]["readers"] == {"reader-1": {"Edema": "positive"}}
    assert augmented[0]["label_rules"] == {}
    assert augmented[0]["states"] == {"Edema": "positive"}
    assert augmented[0]["patient_id"] == "p1"
    assert augmented[0]["split"] in SPLITS
    assert augmented[0]["image"] == "images/1.1.dcm"
    assert [line["truth"] for line in augmented] == [{"Edema": "positive"}, {"Edema": "negative"}]


def test_a_training_manifest_holds_no_worker_and_nothing_of_the_page(tmp_path: Path) -> None:
    first = {"labels": {"Edema": "negative"}, "regions": []}
    told = {"mode": "after-first-read", "model": "m", "probabilities": {"Edema": 0.9}, "first": first}
    own = {"schema": "dicom-workflow/answer/2", "pixel_origin": "corner", "labels": {"Edema": "positive"}, "regions": []}
    more = {"actions": {"clicks": 77}, "viewport": {"zoom": 3.25}, "comment": "ask Jane Doe"}

    def said(worker: str, **extra: Any) -> dict[str, Any]:
        content = json.dumps({"annotation": json.dumps({**own, **more, **extra})})
        return {"workerId": worker, "annotationData": {"content": content}}

    box = {"label": "Edema", "shape": "point", "points_px": [[1, 2]], "comment": "left", "workerId": "private.w.anna"}
    shown = {**told, "mode": "shown"}
    workers = [said("private.w.anna", assistance=told), said("private.w.bert"), said("private.w.carl", assistance=shown)]
    label = {
        "labels": {"Edema": {"state": "positive", "confidence": 1.0, "votes": {"positive": 3, "negative": 0, "uncertain": 0}}},
        "regions": [box],
        "refused": [{"workerId": "private.w.dora", "reason": "not JSON"}],
        "annotationsFromAllWorkers": workers,
    }
    line = {
        "source": ONE,
        "labels": ["Edema", "No Finding"],
        "patient_id": "p",
        "suggestions": told,
        "earlier_answers": [{"reader": "A", "answer": own}],
        "case": 7,
        "findings": label,
        "findings-metadata": {**METADATA, "worker-response-ref": "s3://b/worker-response/1.json"},
        "older": label,
        "older-metadata": METADATA,
    }
    (item,) = output.read_output(write_lines(tmp_path / "output.manifest", line), attribute="findings")
    (made,) = training_manifest.augmented_lines([item])
    text = json.dumps(made)
    for word in ("private.w", "clicks", "viewport", "Jane", "0.9", "worker-response", "earlier", "older", "left", "workerId"):
        assert word not in text, word
    assert made["case"] == 7
    assert sorted(tuple(states.items()) for states in made["readers"].values()) == [
        (("Edema", "negative"),),  # before the model was shown
        (("Edema", "positive"),),
    ]
    assert {region["reader"] for region in made["findings"]["regions"]} <= {"reader-1", "reader-2", "reader-3"}
    (again,) = output.read_output(write_lines(tmp_path / "training.manifest", made))
    assert (again.states, again.failure_reason, len(again.regions)) == ({"Edema": "positive"}, "", 1)
    assert {reader: dict(answer.labels) for reader, answer in again.answers.items()} == made["readers"]


def test_object_without_a_patient_is_an_error(tmp_path: Path) -> None:
    objects = list(output.read_output(write_lines(tmp_path / "output.manifest", consolidated(ONE, "positive"))))
    with pytest.raises(LabelingError, match=r"line 1: the patient of source .* is unknown"):
        list(training_manifest.augmented_lines(objects))


def test_failed_objects_are_left_out_of_training(tmp_path: Path) -> None:
    lines = [consolidated(ONE, "positive"), {"source": TWO, "findings-metadata": {"failure-reason": "expired"}}]
    objects = list(output.read_output(write_lines(tmp_path / "output.manifest", *lines)))
    instances = [
        Instance("1.1", patient_id="p1", orthanc_instance_id=ONE),
        Instance("1.2", patient_id="p2", orthanc_instance_id=TWO),
    ]
    assert [line["source"] for line in training_manifest.augmented_lines(objects, instances)] == [ONE]


def test_truth_is_read_in_both_forms() -> None:
    columns = ReferenceStandard.parse("sop_instance_uid,patient_id,Edema,No Finding\n1.1,p,1,0\n1.2,p,0,1\n")
    assert columns.labels == ("Edema", "No Finding")
    assert columns.states_of("1.1") == {"Edema": "positive", "No Finding": "negative"}
    single = ReferenceStandard.parse("file,patient_id,label,sop_instance_uid\na.dcm,p,No Finding,1.1\nb.dcm,q,COVID-19,1.2\n")
    assert single.labels == ("COVID-19", "No Finding")
    assert single.states_of("1.2") == {"COVID-19": "positive", "No Finding": "negative"}
    assert single.states_of("1.3") is None


def test_truth_names_the_line_of_a_strange_value() -> None:
    with pytest.raises(ManifestError, match="truth, line 3: expected 1 or 0 under 'Edema', got 'yes'"):
        ReferenceStandard.parse("sop_instance_uid,Edema\n1.1,1\n1.2,yes\n")


def test_a_line_full_of_outlines_is_read_and_goes_on_to_training(tmp_path: Path) -> None:
    """A job's input has limits for its lines; what nine readers drew has none, and must come back all the same."""
    outline = {"label": "Edema", "shape": "polygon", "points_px": [[n + 0.25, n * 1.5] for n in range(2000)]}
    regions = [{**outline, "workerId": f"w{n}"} for n in range(9)]
    labels = {"Edema": {"state": "positive", "confidence": 1.0, "votes": {"positive": 9, "negative": 0, "uncertain": 0}}}
    label = {"labels": labels, "regions": regions, "annotationsFromAllWorkers": [answer("w1", Edema="positive")]}
    uri = write_lines(tmp_path / "output.manifest", {"source": ONE, "a": label, "a-metadata": METADATA, "patient_id": "p"})
    objects = list(output.read_output(uri))
    assert (len(objects[0].regions), len(objects[0].regions[8].points_px)) == (9, 2000)
    training = to_uri(tmp_path / "training.manifest")
    assert manifests.write(training, training_manifest.augmented_lines(objects), limits=False) == 1
    with pytest.raises(ManifestError, match="at most 100,000 characters"):
        manifests.write(training, training_manifest.augmented_lines(objects))
    assert manifest_validation.validate(uri).refused == 1  # as the input of another job it is too long


def vote(positive: int, negative: int, uncertain: int, **more: Any) -> dict[str, Any]:
    return {"state": "positive", "votes": {"positive": positive, "negative": negative, "uncertain": uncertain}, **more}


@pytest.mark.parametrize(
    ("given", "share"),
    [
        (vote(2, 1, 0), 0.6667),
        (vote(1, 1, 0), 0.5),
        (vote(0, 2, 1), 0.1667),
        (vote(0, 0, 2), 0.5),
        (vote(3, 0, 0), 1.0),
        (vote(0, 9, 0), 0.0),
        (vote(1, 0, 0), None),
        (vote(0, 0, 0), None),
        (vote(2, 1, 0, adjudicated=True), None),
        ({"state": "positive"}, None),
        ({"state": "positive", "votes": {"positive": -1, "negative": 4}}, None),
        ({"state": "positive", "votes": {"positive": "2", "negative": 4}}, None),
    ],
)
def test_the_share_of_readers_counts_uncertain_half_and_silence_not_at_all(given: dict[str, Any], share: float | None) -> None:
    assert fraction_of(given) == share


def test_shares_of_several_readers_go_into_the_training_line(tmp_path: Path) -> None:
    both = {"Edema": "positive", "Fracture": "uncertain"}
    workers = [answer("w1", Edema="positive"), answer("w2", Edema="negative"), answer("w3", **both)]
    line = {"source": ONE, "patient_id": "p", "job": {"annotationsFromAllWorkers": workers}, "job-metadata": METADATA}
    alone = {**line, "source": TWO, "job": {"annotationsFromAllWorkers": workers[:1]}}
    objects = list(output.read_output(write_lines(tmp_path / "output.manifest", line, alone)))
    of_three, of_one = training_manifest.augmented_lines(objects)
    assert of_three["fractions"] == {"Edema": 0.6667}
    assert of_three["states"] == {"Edema": "positive", "Fracture": "uncertain"}
    assert "fractions" not in of_one


def test_attributes_are_those_of_the_record_and_a_great_age_is_not_told() -> None:
    known = Instance("1.1", patient_id="p1", view_position="AP", sex="F", age="061Y", manufacturer="Acme")
    assert training_manifest.attributes_of(known) == {"view_position": "AP", "sex": "F", "manufacturer": "Acme", "age": 61}
    ages = {"000D": 0, "011M": 0, "024M": 2, "060W": 1, "089Y": 89, "097Y": 90, "61": None, "": None}
    assert {text: training_manifest.attributes_of(Instance("1.1", age=text)).get("age") for text in ages} == ages
    assert training_manifest.attributes_of(Instance("1.2", patient_id="p1")) == {}
