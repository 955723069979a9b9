"""A second kind of labeling task, defined here alone, goes from manifest to training manifest through the real service.

A photograph of the skin, a tree of diagnoses on two levels, one region for each label, answers and a page of its own. Not a
line of the package knows of it: what the foundation needs is the `Task` below, registered in the process that serves.
"""

from __future__ import annotations

import io
import json
import re
import runpy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLPhotographicImageStorage, generate_uid
from support.groundtruth import TEAM, Service, Visitor

from dicom_workflow import cli
from dicom_workflow.errors import AnswerError, RecordError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer, LabelState, Region, decoded
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.json_schema import Schema
from dicom_workflow.formats.labels import LabelSet
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.labeling.consolidation import WorkerAnswer, consolidate
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.protocol import Frame, Task, TaskInput
from dicom_workflow.pipeline import labeling_step, steps
from dicom_workflow.pipeline.labeling_step import Readers
from dicom_workflow.storage import to_uri

DIAGNOSES = LabelSet(
    labels=("Benign", "Nevus", "Keratosis", "Malignant", "Melanoma"),
    parents={"Nevus": "Benign", "Keratosis": "Benign", "Melanoma": "Malignant"},
    exclusions={"Benign": ("Malignant",)},
)
SCHEMA = Schema(
    {
        "type": "object",
        "required": ["diagnosis", "outline"],
        "properties": {
            "diagnosis": {"type": "string", "minLength": 1},
            "outline": {"type": "array", "minItems": 3, "items": {"type": "array", "minItems": 2, "maxItems": 2}},
        },
        "additionalProperties": False,
    }
)
TEMPLATE = """
<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<crowd-form>
  <img src="{{ task.input.photograph }}" alt="The lesion">
  {% for label in task.input.diagnoses %}<label>{{ label }}</label>{% endfor %}
  <input type="hidden" name="lesion">
</crowd-form>
"""


class Lesion(Task):
    """One photograph, one diagnosis of the tree, one outline."""

    name: ClassVar[str] = "lesion"
    title: ClassVar[str] = "Name the lesion"
    template_file: ClassVar[str] = "lesion.liquid.html"

    def template(self) -> str:
        return TEMPLATE

    def answer_schema(self) -> Schema:
        return SCHEMA

    def task_input(self, line: Mapping[str, Any], *, images_s3_prefix: str = "") -> TaskInput:
        labels = LabelSet.of_line(line)
        if not labels.labels:
            raise RecordError("the line has no diagnoses to choose from.")
        leaves = [label for label in labels.labels if not labels.descendants(label)]
        return TaskInput({"diagnoses": leaves, "image": ObjectReference.from_line(line).to_uri()})

    def parse(self, content: object) -> Answer:
        given = decoded(content)
        said = decoded(given.get("lesion")) if isinstance(given, Mapping) else None
        if problem := SCHEMA.problem(said):
            raise AnswerError(problem)
        assert isinstance(said, Mapping)
        outline = Region(said["diagnosis"], "polygon", tuple((float(x), float(y)) for x, y in said["outline"]))
        return Answer(labels={said["diagnosis"]: LabelState.POSITIVE}, regions=(outline,))

    def consolidate(
        self,
        answers: Iterable[WorkerAnswer],
        *,
        labels: Sequence[str] = (),
        rules: LabelSet | None = None,
        refused: Sequence[Mapping[str, str]] = (),
        minimum_answers: int = 1,
    ) -> dict[str, Any]:
        """A diagnosis brings its broader one along and denies the rest; of the outlines of a label one is kept."""
        tree = rules or DIAGNOSES
        whole = []
        for given in answers:
            named = {ancestor for label in given.answer.labels for ancestor in (label, *tree.ancestors(label))}
            states = {label: LabelState.POSITIVE if label in named else LabelState.NEGATIVE for label in labels or tree.labels}
            whole.append(WorkerAnswer(given.worker_id, Answer(states, given.answer.regions), given.content))
        label = consolidate(whole, labels=labels, rules=tree, refused=refused, minimum_answers=minimum_answers)
        return {**label, "regions": list({region["label"]: region for region in label["regions"]}.values())}

    def frames(self, line: Mapping[str, Any], task_input: Mapping[str, Any] | None) -> tuple[Frame, ...]:
        uri = ObjectReference.from_line(line).to_uri()
        return (Frame("photograph.png", uri, rendered=True, color=True, input_key="photograph"),)


if __name__ == "__main__":  # the service process of the test below: the same program, with one task more
    registry.register(Lesion())
    runpy.run_module("dicom_workflow.groundtruth", run_name="__main__")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is known to this process for one test."""
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    registry.register(Lesion())


def photograph(number: int, color: tuple[int, int, int]) -> tuple[Instance, bytes]:
    uid = generate_uid(entropy_srcs=["lesion", str(number)])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = VLPhotographicImageStorage, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid
    study = generate_uid(entropy_srcs=["lesion study", str(number)])
    series = generate_uid(entropy_srcs=["lesion series", str(number)])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.Modality = f"P{number}", "XC"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = 12, 16
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = np.full((12, 16, 3), color, np.uint8).tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    instance = Instance(
        uid, series_instance_uid=series, study_instance_uid=study, patient_id=f"P{number}", modality=dataset.Modality
    )
    return instance, buffer.getvalue()


COLORS = [(200, 40, 30), (30, 160, 60), (60, 50, 190)]
OUTLINE = [[1, 1], [9, 1.5], [9, 8], [1, 8]]
READINGS = {  # what each of the three readers calls the three lesions
    "reader-1": ["Nevus", "Melanoma", "Nevus"],
    "reader-2": ["Nevus", "Melanoma", "Keratosis"],
    "reader-3": ["Keratosis", "Nevus", "Melanoma"],
}


@pytest.mark.usefixtures("known")
def test_a_task_that_the_package_does_not_know_goes_from_manifest_to_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "workspace"
    folder = workspace / "images"
    folder.mkdir(parents=True)
    instances = []
    for number, color in enumerate(COLORS):
        instance, data = photograph(number, color)
        path = folder / f"{number}.dcm"
        path.write_bytes(data)
        instances.append(replace(instance, uri=to_uri(path)))
    instances_uri = to_uri(workspace / "instances.jsonl")
    manifests.write(instances_uri, (item.to_json() for item in instances), check=False)

    service = Service(workspace)
    service.module = [str(Path(__file__).resolve())]
    try:
        service.start()
        service.make_team()
        settings = service.settings
        written = steps.create_manifest(
            instances_uri, to_uri(workspace / "input.manifest"), settings, labels=DIAGNOSES, by="source-ref"
        )
        assert written.validation.label_set.rules == DIAGNOSES.rules
        readers = Readers(workteam_arn=TEAM)
        started = labeling_step.start(written.uri, to_uri(workspace / "out"), settings, readers=readers, task=Lesion.name)
        assert re.fullmatch(r"lesion-\d{8}-\d{6}", started.job_name)
        assert (workspace / "out" / "lesion.liquid.html").read_text() == TEMPLATE
        assert not (workspace / "out" / "worker-ui").exists()  # the script and style of the radiograph page
        service.wait_for(started.job_name, "InProgress")
        for name, diagnoses in READINGS.items():
            reader = Visitor(service.url, name)
            assert Lesion.title in reader.get("/").text
            label_as(reader, started.job_name, diagnoses)
        labeled = labeling_step.finish(started, settings, poll_seconds=0.1)
        assert (labeled.state.labeled, labeled.state.failed) == (3, 0)
    finally:
        service.stop()

    output = labeled.state.output_manifest_uri
    first, second, third = (line.data["findings"] for line in manifests.read(output, limits=False))
    assert first["task"] == "lesion"
    assert states_of(first) == {"Benign": "positive", "Nevus": "positive"}
    assert states_of(second) == {"Malignant": "positive", "Melanoma": "positive"}
    assert states_of(third) == {"Benign": "positive"}  # the readers differ on the kind, two of three agree on the branch
    assert (first["conflicts"], Counter(region["label"] for region in first["regions"])) == ([], {"Nevus": 1, "Keratosis": 1})

    second = labeling_step.adjudicate(output, to_uri(workspace / "second.manifest"), settings)
    entries = [line.data for line in manifests.read(second.uri)]
    assert (len(entries), entries[0].keys()) == (3, {"source-ref", "labels", "label_rules", "earlier_answers"})

    monkeypatch.setenv("DICOM_WORKFLOW_WORKSPACE", str(workspace))
    training = workspace / "training.manifest"
    arguments = ["--instances", str(workspace / "instances.jsonl"), "--output", str(training)]
    assert cli.main(["parse", output, *arguments]) == 0
    lines = [json.loads(text) for text in training.read_text().splitlines()]
    assert [line["states"]["Melanoma"] for line in lines] == ["negative", "positive", "negative"]
    assert [line["patient_id"] for line in lines] == ["P0", "P1", "P2"]
    assert all(LabelSet.of_line(line).rules == DIAGNOSES.rules for line in lines)
    assert sorted(list(states) for states in lines[0]["readers"].values()) == [["Keratosis"], ["Nevus"], ["Nevus"]]
    assert lines[0]["findings"]["regions"][0]["points_px"] == OUTLINE
    assert "workerId" not in training.read_text()


def states_of(label: Mapping[str, Any]) -> dict[str, str]:
    return {name: vote["state"] for name, vote in label["labels"].items() if vote["state"] != "negative"}


def label_as(reader: Visitor, job_name: str, diagnoses: Sequence[str]) -> None:
    """Open every task of the job, look at the photograph, and answer in the form of the page."""
    while task := reader.next_task(job_name):
        page = reader.get(task).text
        assert "<label>Melanoma</label>" in page
        assert "<label>Benign</label>" not in page  # only diagnoses are asked, their branch follows
        address = page.split('<img src="')[1].split('"')[0]
        assert address == f"{task}/photograph.png"
        shown = reader.get(address, accept="image/*")
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
        color = Image.open(io.BytesIO(shown.content)).convert("RGB").getpixel((3, 3))
        number = COLORS.index(color)  # type: ignore[arg-type]
        assert reader.get(f"{task}/image").status_code == 404  # a route of the radiograph, not of this task
        answer = {"diagnosis": diagnoses[number], "outline": OUTLINE}
        assert reader.answer(task, {"lesion": json.dumps(answer)}).status_code == 200


@pytest.mark.parametrize("content", [{"lesion": '{"diagnosis": "Nevus"}'}, {"annotation": "{}"}, "[]"])
def test_an_answer_of_another_form_is_refused_by_the_schema_of_the_task(content: object) -> None:
    with pytest.raises(AnswerError):
        Lesion().parse(content)
