"""The training manifest has what training and evaluation read, and nothing of a reader, of the page or of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.labeled import METADATA, ONE, TWO, answer, consolidated, write_lines

from dicom_workflow.errors import LabelingError, ManifestError
from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.labeling import output, training_manifest
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.radiograph.task import Radiograph
from dicom_workflow.storage import to_uri


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


def test_the_page_keys_of_the_label_s_own_task_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slide(Radiograph):
        name: ClassVar[str] = "slide"
        page_keys: ClassVar[tuple[str, ...]] = ("overview",)

    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    registry.register(Slide())

    def line(source: str, task: Mapping[str, str]) -> dict[str, Any]:
        made = consolidated(source, "positive")
        label = {**made["findings"], **task}
        return {**made, "patient_id": "p", "overview": "o", "instructions": "i", "findings": label}

    lines = [line(ONE, {"task": "slide"}), line(TWO, {})]
    of_slide, of_radiograph = training_manifest.augmented_lines(
        list(output.read_output(write_lines(tmp_path / "output.manifest", *lines)))
    )
    assert ("overview" in of_slide, "instructions" in of_slide) == (False, True)
    assert ("overview" in of_radiograph, "instructions" in of_radiograph) == (True, False)
