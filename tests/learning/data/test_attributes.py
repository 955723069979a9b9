"""View, sex, age, device and readers' shares go all the way: upload, list, labels, channel, evaluation and targets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
from support.learning import write_channel, write_lines

from dicom_workflow.archive import upload
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.labeling import training_manifest
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.learning.data import channel, targets
from dicom_workflow.learning.evaluation import breakdown, run
from dicom_workflow.learning.model.calibration import Calibration
from dicom_workflow.pipeline import training
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
    staged = training.stage(training_uri, instances, archive, tmp_path / "channel", progress=False)

    read = channel.read_channel(staged.folder)
    assert all(breakdown.groups_of(sample.attributes)["age_band"] != "unknown" for sample in read.samples)
    assert targets.to_targets(read.samples[:2], LABELS, soft=True).tolist() == [[np.float32(0.6667), 0], [0, 1]]
    assert targets.to_targets(read.samples[:2], LABELS).tolist() == [[1, 0], [0, 1]]
    found = run.evaluate_model(
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
        images = {group: values.images for group, values in found.subgroups[name].items()}
        assert sum(images.values()) == len(instances), name
        assert len(images) > 1, name
    assert not {header.PatientName for header in headers.values()} & set(json.dumps(lines).split('"'))
    assert "PatientBirthDate" not in json.dumps(lines)


def test_attributes_and_readers_of_another_form_are_named(tmp_path: Path) -> None:
    lines = write_channel(tmp_path, images=8)
    for line, wrong in zip(
        lines, ({"attributes": "AP"}, {"readers": ["w"]}, {"readers": {"w": {"Edema": "maybe"}}}), strict=False
    ):
        line |= wrong
    write_lines(tmp_path / "train.manifest", lines)
    (tmp_path / "validation.manifest").unlink()
    (tmp_path / "test.manifest").unlink()
    problems = channel.read_channel(tmp_path).problems
    assert [part in problem for part, problem in zip(("'attributes'", "'readers'", "'readers.w'"), problems, strict=True)]
