"""Case 10: output manifests where nobody answered, every answer was refused, of a built-in job, or with a broken line."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow import cli
from dicom_workflow.labeling.output import read_output
from dicom_workflow.storage import to_uri

METADATA = {"type": "groundtruth/custom", "job-name": "labeling-job/chest", "human-annotated": "yes", "creation-date": "2026"}


def answer(worker: str, **labels: str) -> dict[str, Any]:
    own = {"schema": "dicom-workflow/answer/2", "pixel_origin": "corner", "labels": labels, "regions": []}
    return {"workerId": worker, "annotationData": {"content": json.dumps({"annotation": json.dumps(own)})}}


def foreign(worker: str) -> dict[str, Any]:
    return {"workerId": worker, "annotationData": {"content": json.dumps({"crowd-image-classifier": {"label": "Edema"}})}}


def line(source: str, *answers: dict[str, Any], **label: Any) -> dict[str, Any]:
    value = {**label, "annotationsFromAllWorkers": list(answers)}
    return {"source": source, "labels": ["Edema"], "patient_id": source, "chest": value, "chest-metadata": METADATA}


def classified(source: str, name: str) -> dict[str, Any]:
    metadata = {**METADATA, "type": "groundtruth/image-classification", "class-name": name, "confidence": 0.9}
    return {"source-ref": f"s3://b/{source}", "patient_id": source, "chest": 0, "chest-metadata": metadata}


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in lines))
    return path


def parse(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setenv("DICOM_WORKFLOW_WORKSPACE", str(path.parent / "workspace"))
    code = cli.main(["parse", str(path)])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_nobody_answered_and_every_answer_refused_is_not_labeled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = {"labels": {"Edema": {"state": "unknown", "confidence": 0.0, "votes": {}}}}
    refused = {"refused": [{"workerId": "w7", "reason": "not JSON"}]}
    path = written(tmp_path / "o.manifest", line("a"), line("b", foreign("w1")), line("c", **unknown, **refused))
    found = list(read_output(to_uri(path)))
    assert [item.states for item in found] == [{}, {}, {}]
    assert [item.failure_reason.partition(". ")[0] for item in found] == [
        "no worker answered.", "every answer was refused", "every answer was refused",
    ]  # fmt: skip
    code, printed = parse(path, monkeypatch, capsys)
    assert code == 1
    assert "no object has a label" in printed
    assert "line 2: every answer was refused. w1: expected an answer with 'labels' or 'unusable'" in printed
    assert "line 3: every answer was refused. w7: not JSON" in printed
    assert not (tmp_path / "workspace" / "training" / "training.manifest").exists()


def test_a_built_in_classification_is_read_as_such_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "o.manifest", classified("a", "Edema"), classified("b", "Fracture"), classified("c", "Edema"))
    found = list(read_output(to_uri(path)))
    assert [item.states for item in found] == [
        {"Edema": "positive", "Fracture": "negative"},
        {"Edema": "negative", "Fracture": "positive"},
        {"Edema": "positive", "Fracture": "negative"},
    ]
    assert found[0].confidences == {"Edema": 0.9}
    code, printed = parse(path, monkeypatch, capsys)
    assert code == 0
    assert "built-in image classification, read as positive for the classes of the line" in printed


def test_a_built_in_multi_label_classification_is_read(tmp_path: Path) -> None:
    metadata = {
        "type": "groundtruth/image-classification-multilabel",
        "class-map": {"0": "Edema", "3": "Fracture"},
        "confidence-map": {"0": 0.6, "3": 0.8},
    }
    path = written(
        tmp_path / "o.manifest",
        {"source-ref": "s3://b/1", "m": [0, 3], "m-metadata": metadata},
        {"source-ref": "s3://b/2", "m": [], "m-metadata": {**metadata, "class-map": {}}},
    )
    first, second = read_output(to_uri(path))
    assert (first.states, first.confidences) == ({"Edema": "positive", "Fracture": "positive"}, {"Edema": 0.6, "Fracture": 0.8})
    assert second.states == {"Edema": "negative", "Fracture": "negative"}


def test_another_built_in_type_is_named_as_not_read(tmp_path: Path) -> None:
    metadata = {"type": "groundtruth/object-detection", "job-name": "labeling-job/boxes"}
    (item,) = read_output(
        to_uri(written(tmp_path / "o.manifest", {"source-ref": "s3://b/1", "x": [1], "x-metadata": metadata}))
    )
    assert item.failure_reason == "the label is of the built-in type object-detection, which is not read."


def test_a_broken_line_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [line(name, answer("w", Edema="positive")) for name in "ab"]
    path = written(tmp_path / "o.manifest", good[0], '{"source": "x", "labels": [', good[1])
    code, printed = parse(path, monkeypatch, capsys)
    assert code == 1
    assert "line 2: expected one whole JSON object" in printed
    assert "2 of 3 objects have a label" in printed
    training = tmp_path / "workspace" / "training" / "training.manifest"
    assert [json.loads(text)["source"] for text in training.read_text().splitlines()] == ["a", "b"]


def label_of(value: object, kind: str = "custom", **metadata: object) -> dict[str, Any]:
    own = {**METADATA, "type": f"groundtruth/{kind}", **metadata}
    return {"source": "a", "labels": ["Edema"], "patient_id": "a", "chest": value, "chest-metadata": own}


POSITIVE = {"labels": {"Edema": {"state": "positive", "confidence": 1.0}}}
MULTI_LABEL, SINGLE_LABEL = "image-classification-multilabel", "image-classification"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (label_of([0], MULTI_LABEL, **{"class-map": ["Edema"]}), r"expected 'class-map' of the metadata as a JSON object"),
        (label_of([0], MULTI_LABEL, **{"class-map": None}), r"expected the name of class 0 in 'class-map'"),
        (label_of("0", MULTI_LABEL), r"expected a list of class numbers, got '0'"),
        (label_of(3, SINGLE_LABEL), r"expected 'class-name' with the name of class 3"),
        (label_of({"annotations": [], "image_size": []}, "object-detection"), r"of the built-in type object-detection, which"),
        (label_of({"labels": ["Edema"]}), r"expected its 'labels' as a JSON object, got \['Edema'\]"),
        (label_of({"labels": {"Edema": "positive"}}), r"expected label 'Edema' as a JSON object with its 'state'"),
        (label_of({"labels": {"Edema": {"state": "maybe"}}}), r"expected a label state as one of positive, .*got 'maybe'"),
        (label_of({"annotationsFromAllWorkers": "none"}), r"every answer was refused. unnamed worker: expected 'annotations'"),
        (label_of({"annotationsFromAllWorkers": [1]}), r"every answer was refused. unnamed worker: expected an annotation"),
        (label_of(None, **{"failure-reason": "ClientError: no image"}), r"ClientError: no image"),
    ],
)
def test_a_label_of_another_form_is_named_and_the_others_are_kept(
    tmp_path: Path, broken: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "o.manifest", line("g", answer("w", Edema="positive")), broken)
    code, printed = parse(path, monkeypatch, capsys)
    assert code == 1
    assert "1 of 2 objects have a label" in printed
    assert re.search(f"line 2: .*{reason}|line 2: {reason}", printed), printed


@pytest.mark.parametrize("refused", ["w1: not JSON", ["w1: not JSON"], [{"workerId": "", "reason": "w1: not JSON"}]])
def test_refused_answers_in_another_form_are_named_too(
    tmp_path: Path, refused: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "o.manifest", label_of({**POSITIVE, "refused": refused}))
    code, printed = parse(path, monkeypatch, capsys)
    assert code == 0
    assert "line 1: answer of a worker without id refused: " in printed
    assert "w1: not JSON" in printed
    assert "1 of 1 objects have a label, 1 answers refused" in printed


def test_a_batch_file_with_a_byte_order_mark_is_read_entry_by_entry(tmp_path: Path) -> None:
    request = {"dataObject": {"content": "a"}, "annotations": [answer("w", Edema="positive")]}
    batch = [{"datasetObjectId": "0", **request}, 5, {**request}, {"datasetObjectId": "3", **request, "annotations": "x"}]
    path = tmp_path / "batch.json"
    path.write_bytes(codecs.BOM_UTF8 + json.dumps(batch).encode())
    first, *broken = read_output(to_uri(path))
    assert first.states == {"Edema": "positive"}
    assert [item.failure_reason.partition(":")[0] for item in broken] == [
        "entry 2 cannot be read", "entry 3 cannot be read", "no worker answered.",
    ]  # fmt: skip
