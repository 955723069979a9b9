"""`dicom-workflow predict`: files, manifests and reports from the command line, all with the same numbers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from support.learning import tiny_bundle

from dicom_workflow import cli
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle
from dicom_workflow.pipeline import records
from dicom_workflow.settings import Settings
from dicom_workflow.synthetic import dataset

torch.set_num_threads(1)
LABELS = ("Cardiomegaly", "Edema", "No Finding")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.save(tiny_bundle(LABELS, mode="multi-label"), tmp_path_factory.mktemp("predict") / "model")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Phantoms, and a workspace whose archive is a folder."""
    monkeypatch.setenv("ARCHIVE", "folder")
    dataset.make_dataset(tmp_path / "phantoms", patients=2, seed=3, size_px=64, labels=LABELS, progress=False)
    return sorted((tmp_path / "phantoms" / "images").rglob("*.dcm"))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    code = cli.main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out.splitlines()[-1]) if captured.out else {}, captured.err


def probabilities(result: dict[str, Any]) -> list[dict[str, float]]:
    return [found["probabilities"] for found in result["predictions"]]


def in_python(model: Path, images: list[Path]) -> list[dict[str, float]]:
    """In one batch, as the command: one image at a time, the last digit may differ."""
    return predict.predict(bundle.load(model), images)


def test_files_are_predicted_as_python_does(model, images, capsys):
    code, result, said = run(capsys, "predict", model, *images)
    assert code == 0
    assert probabilities(result) == in_python(model, images)
    assert [found["file"] for found in result["predictions"]] == [str(path) for path in images]
    assert str(images[0]) in said
    kept = Settings.from_env().workspace / "evaluation" / "predictions.jsonl"
    assert result["predictions_uri"] == kept.as_uri()
    assert [json.loads(line) for line in kept.read_text().splitlines()] == result["predictions"]
    record = records.latest(Settings.from_env(), records.EVALUATE)
    assert record is not None
    assert (record.artifact_uri, record.inputs) == (kept.as_uri(), {"model": model.as_uri()})
    assert record.metrics == {"images_predicted": len(images), "images_refused": 0, "reports_written": 0}
    for found in result["predictions"]:
        assert all(f"+ {label} {found['probabilities'][label]:.2f}" in said for label in found["consistent"])


def test_a_name_of_odd_bytes_is_predicted_and_leaves_json(model, images, tmp_path, capsys):
    odd = tmp_path / os.fsdecode(b"\xff.dcm")
    try:
        shutil.copy(images[0], odd)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    code, result, said = run(capsys, "predict", model, odd, tmp_path / "no.dcm", "--output", tmp_path / "new.jsonl")
    assert code == 1
    assert [found["file"] for found in result["predictions"]] == [str(odd)]
    assert list(result["refused"]) == [str(tmp_path / "no.dcm")]
    assert json.loads((tmp_path / "new.jsonl").read_bytes())["file"] == str(odd)
    assert "1 of 2 files predicted" in said


def test_a_manifest_of_the_archive_and_one_of_uris_give_the_same(model, images, tmp_path, capsys):
    _, uploaded, _ = run(capsys, "upload", tmp_path / "phantoms" / "images")
    _, by_id, _ = run(capsys, "manifest", "--instances", uploaded["instances_uri"], "--output", tmp_path / "by-id.manifest")
    by_uri = tmp_path / "by-uri.manifest"
    by_uri.write_text("".join(json.dumps({"source-ref": path.as_uri(), "labels": list(LABELS)}) + "\n" for path in images))
    code, from_archive, errors = run(capsys, "predict", model, "--manifest", by_id["manifest_uri"])
    assert code == 0, errors
    code, from_uris, errors = run(capsys, "predict", model, "--manifest", by_uri)
    assert code == 0, errors
    assert [found["file"] for found in from_uris["predictions"]] == [path.as_uri() for path in images]
    assert probabilities(from_uris) == in_python(model, images)
    in_any_order = [sorted(map(json.dumps, probabilities(result))) for result in (from_archive, from_uris)]
    assert in_any_order[0] == in_any_order[1]


def test_an_image_of_a_manifest_that_is_not_there_is_named_and_the_others_go_on(model, images, tmp_path, capsys):
    missing = (tmp_path / "missing.dcm").as_uri()
    lines = [{"source-ref": uri, "labels": list(LABELS)} for uri in (images[0].as_uri(), missing, images[1].as_uri())]
    (tmp_path / "some.manifest").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, result, said = run(capsys, "predict", model, "--manifest", tmp_path / "some.manifest")
    assert code == 1
    assert list(result["refused"]) == [missing]
    assert len(result["predictions"]) == 2
    assert f"{missing}: refused:" in said


def test_a_report_is_written_for_each_image_of_a_manifest(model, images, tmp_path, capsys):
    lines = [{"source-ref": path.as_uri(), "labels": list(LABELS)} for path in images]
    (tmp_path / "all.manifest").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, result, errors = run(capsys, "predict", model, "--manifest", tmp_path / "all.manifest", "--sr", tmp_path / "sr")
    assert code == 0, errors
    reports = [pydicom.dcmread(found["report"]) for found in result["predictions"]]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in images]
    assert [report.StudyInstanceUID for report in reports] == [header.StudyInstanceUID for header in headers]
    assert len({report.SOPInstanceUID for report in reports}) == len(images)
    assert {report.Modality for report in reports} == {"SR"}
    assert len(list((tmp_path / "sr").glob("*.dcm"))) == len(images)


def test_nothing_to_predict_and_a_folder_without_a_model_are_messages(model, tmp_path, capsys):
    code, _, said = run(capsys, "predict", model)
    assert code == 1
    assert "There is nothing to predict. Give DICOM files, --manifest or --onnx" in said
    code, _, said = run(capsys, "predict", tmp_path / "nothing", "image.dcm")
    assert code == 1
    assert "no model bundle is there" in said
