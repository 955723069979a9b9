"""A model's word reaches the page through the manifest, and what it did to the readers can be counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow.errors import LabelingError, ManifestError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.labeling import lambda_handlers, suggestions
from dicom_workflow.labeling.agreement import Effort, summarize
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.labeling.suggestions import read_predictions, with_suggestions
from dicom_workflow.storage import to_uri

ONE, TWO = ("-".join([group] * 5) for group in ("0123abcd", "4567ef01"))
P, N, U = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN


def write_predictions(path: Path, *lines: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to_uri(path)


def test_predictions_reach_the_page_of_their_image_and_nothing_else_of_them_does(tmp_path: Path) -> None:
    entries = [{"source": source, "labels": ["Edema", "Fracture"]} for source in (ONE, TWO)]
    given = manifests.write(to_uri(tmp_path / "input.manifest"), entries)
    line = {"source": ONE, "probabilities": {"Edema": 0.123456, "Gout": 0.9}, "patient_id": "MRN-7"}
    predictions = write_predictions(tmp_path / "predictions.jsonl", line)
    target = to_uri(tmp_path / "suggested.manifest")
    assert suggestions.suggest(to_uri(tmp_path / "input.manifest"), predictions, target, model="densenet 0a1b") == target
    first, second = (line.data for line in manifests.read(target))
    expected = {"mode": "after-first-read", "model": "densenet 0a1b", "probabilities": {"Edema": 0.1235}}
    assert (first["suggestions"], "suggestions" in second, given) == (expected, False, 2)
    task = lambda_handlers.pre_annotation({"dataObject": first}, images_s3_prefix="")["taskInput"]
    assert task["suggestions"] == {**expected, "regions": []}
    assert "MRN" not in json.dumps(first)


def test_without_predictions_the_manifest_stays_what_it_is() -> None:
    assert suggestions.suggest("file:///a.manifest", "", "file:///b.manifest") == "file:///a.manifest"


def test_predictions_of_other_images_are_said_to_be_so() -> None:
    entries = [{"source": ONE, "labels": ["Edema"]}]
    with pytest.raises(LabelingError, match="No image of the manifest has a prediction"):
        list(with_suggestions(entries, {TWO: {"Edema": 0.5}}))
    with pytest.raises(LabelingError, match="one of off, after-first-read, shown, got 'always'"):
        list(with_suggestions(entries, {ONE: {"Edema": 0.5}}, mode="always"))


@pytest.mark.parametrize(
    "line",
    [
        {"source": ONE},
        {"probabilities": {}},
        {"source": ONE, "probabilities": {"Edema": 1.5}},
        {"source": ONE, "probabilities": {"Edema": True}},
        {"source": ONE, "probabilities": 1},
    ],
)
def test_a_line_that_is_no_prediction_is_named(tmp_path: Path, line: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match="line 1: expected "):
        read_predictions(write_predictions(tmp_path / "p.jsonl", line))


def test_the_effort_of_a_reader_is_the_median_of_the_answers_that_say_it() -> None:
    timed = [
        Answer({"Edema": P}, timings={"active_seconds": seconds}, actions={"clicks": clicks, "changes": 2})
        for seconds, clicks in ((4.0, 2), (10, 3), (60.5, 40))
    ]
    answers = [{"timed": answer, "old": Answer({"Edema": P})} for answer in timed]
    answers.append({"timed": Answer({"Edema": P})})
    found = summarize([LabeledObject(n, str(n), {}, answers=given) for n, given in enumerate(answers)], ["Edema"])
    assert found.effort == {"timed": Effort(active_seconds=10.0, clicks=3.0, keys=None, changes=2.0)}
    rows = {row["reader"]: row for row in found.rows()}
    assert (rows["timed"]["active_seconds"], "clicks" in rows["old"]) == (10.0, False)
