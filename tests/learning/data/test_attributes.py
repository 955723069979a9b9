"""View, sex, age, device and readers' shares go all the way: upload, list, labels, channel, evaluation and targets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom

from dicom_workflow.archive import upload
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.labeling import training_manifest
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.learning import evaluation
from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.evaluation import run
from dicom_workflow.learning.model.calibration import Calibration
from dicom_workflow.pipeline import training_channel
from dicom_workflow.storage import to_uri
from dicom_workflow.synthetic import dataset as synthetic

LABELS = ("Cardiomegaly", "No Finding")


def test_what_the_files_say_reaches_the_table_of_subgroups(tmp_path: Path) -> None:
    made = synthetic.make_dataset(tmp_path / "phantoms", patients=10, seed=3, size_px=64, labels=LABELS, progress=False)
    archive = FolderArchive(tmp_path / "archive")
    report = upload.upload(tmp_path / "phantoms", archive, progress=False)
    listed = to_uri(tmp_path / "instances.jsonl")
    manifests.write(listed, (instance.to_json() for instance in report.instances), check=False)
    instances = manifests.read_instances(listed)

    headers = {str(header.SOPInstanceUID): header for header in map(pydicom.dcmread, made.paths)}
    for instance in instances:
        header = headers[instance.sop_instance_uid]
        said = (header.ViewPosition, header.PatientSex, header.PatientAge, header.Manufacturer)
        assert (instance.view_position, instance.sex, instance.age, instance.manufacturer) == said

    labeled = [
        LabeledObject(
            number=number,
            source=instance.reference.to_source(),
            data={"source": instance.reference.to_source(), "labels": list(LABELS)},
            states=dict(zip(LABELS, map(LabelState, ("positive", "negative")[:: 1 - 2 * (number % 2)]), strict=True)),
            fractions={"Cardiomegaly": 0.6667} if number == 0 else {},
        )
        for number, instance in enumerate(instances)
    ]
    lines = list(training_manifest.augmented_lines(labeled, instances, fractions=(0.0, 0.0, 1.0)))
    assert all(set(line["attributes"]) == {*training_manifest.ATTRIBUTES, "age"} for line in lines)
    manifests.write(to_uri(tmp_path / "training.manifest"), lines, limits=False)
    training_uri = to_uri(tmp_path / "training.manifest")
    staged = training_channel.stage(training_uri, instances, archive, tmp_path / "channel", progress=False)

    for line in lines:  # the line alone says what the header says
        image = staged.folder / line["image"]
        own, both = evaluation.read_groups(line), evaluation.read_groups({}, image)
        assert own == both
        assert own["age_band"] != "unknown"

    read = dataset.read_channel(staged.folder)
    assert dataset.to_targets(read.samples[:2], LABELS, soft=True).tolist() == [[np.float32(0.6667), 0], [0, 1]]
    assert dataset.to_targets(read.samples[:2], LABELS).tolist() == [[1, 0], [0, 1]]
    found = run.assess(
        read,
        read.samples,
        np.zeros((len(read.samples), len(LABELS))),
        split="test",
        mode="multi-label",
        calibration=Calibration(),
        thresholds=dict.fromkeys(LABELS, 0.5),
        resamples=0,
        seed=0,
    )
    for name in ("view_position", "sex", "age_band"):
        images = {group: values["images"] for group, values in found["subgroups"][name].items()}
        assert sum(images.values()) == len(instances), name
        assert len(images) > 1, name
    assert not {header.PatientName for header in headers.values()} & set(json.dumps(lines).split('"'))
    assert "PatientBirthDate" not in json.dumps(lines)


def test_what_a_line_says_goes_before_its_attributes_and_these_before_the_header() -> None:
    line = {"attributes": {"view_position": "AP", "sex": "F", "age": 0}, "sex": "M"}
    found = evaluation.read_groups(line)
    assert (found["view_position"], found["sex"], found["age_band"]) == ("AP", "male", "0-17")
    assert evaluation.read_groups({"attributes": "AP"})["view_position"] == "unknown"
