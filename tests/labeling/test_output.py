"""Reading what a labeling job left: no object disappears, no damaged answer takes the others along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.labeled import METADATA, ONE, TWO, answer, consolidated, write_lines

from dicom_workflow.errors import ManifestError
from dicom_workflow.labeling import output
from dicom_workflow.labeling.tasks.protocol import fraction_of
from dicom_workflow.storage import to_uri


def sample_answer(worker: str, *positive: str) -> dict[str, Any]:
    """An answer as the published AWS radiograph sample writes it."""
    disease = {label: label in positive for label in ("Edema", "Fracture")}
    labels = json.dumps({"label": list(positive), "imageurl": "https://example.org/instances/x/file"})
    return {"workerId": worker, "annotationData": {"content": json.dumps({"disease": disease, "labels": labels})}}


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


def test_an_answer_that_a_manifest_keeps_in_a_file_of_this_machine_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(answer("w2", Edema="negative")["annotationData"]["content"])
    elsewhere = {"workerId": "w2", "annotationData": {"s3Uri": to_uri(tmp_path / "secret")}}
    workers = [answer("w1", Edema="positive"), elsewhere]
    line = {"source": ONE, "job": {"annotationsFromAllWorkers": workers}, "job-metadata": METADATA}
    [item] = output.read_output(write_lines(tmp_path / "output.manifest", line))
    assert item.states == {"Edema": "positive"}
    [refused] = item.refused
    assert (refused["workerId"], refused["reason"][:42]) == ("w2", "expected the answer at an s3:// URI, got '")


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
