"""The command line: the same functions, exit codes, JSON on request, and messages that say what to do."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow import cli
from dicom_workflow.cli import training
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.pipeline import local_services, notebooks
from dicom_workflow.settings import Settings
from dicom_workflow.synthetic import dataset


@pytest.fixture
def folder_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose archive is a folder; returns a folder of phantoms with their truth."""
    monkeypatch.setenv("ARCHIVE", "folder")
    dataset.make_dataset(tmp_path / "phantoms", patients=5, seed=3, size_px=64, progress=False)
    return tmp_path / "phantoms"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    code = cli.main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out.splitlines()[-1]) if captured.out else {}, captured.err


def test_upload_manifest_label_parse_train_predict(folder_archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, uploaded, _ = run(capsys, "upload", folder_archive / "images")
    assert (code, uploaded["instances_verified"]) == (0, uploaded["files"])
    code, written, _ = run(capsys, "manifest", "--instances", uploaded["instances_uri"])
    assert (code, written["lines"]) == (0, uploaded["files"])
    code, labeled, errors = run(
        capsys, "label", written["manifest_uri"], "--truth", folder_archive / "truth.csv", "--simulated-readers", 3
    )
    assert (code, labeled["labeled"]) == (0, uploaded["files"]), errors
    code, parsed, _ = run(
        capsys, "parse", labeled["output_manifest_uri"], "--instances", uploaded["instances_uri"],
        "--truth", folder_archive / "truth.csv",
    )  # fmt: skip
    assert (code, parsed["labeled"]) == (0, uploaded["files"])
    assert parsed["consolidated_accuracy"] > parsed["best_single_reader_accuracy"]
    code, trained, errors = run(
        capsys, "train", parsed["training_manifest_uri"], "--epochs", 1, "--image-size-px", 32, "--batch-size", 2
    )
    assert code == 0, errors
    image = next((folder_archive / "images").rglob("*.dcm"))
    code, predicted, said = run(capsys, "predict", trained["model"], image, folder_archive / "truth.csv")
    assert code == 1, "one of the two files is no image"
    # Labels that no training image teaches are not predicted, and evaluation and prediction say which.
    untaught = trained["evaluation"]["untaught"]
    assert predicted["untaught"] == untaught
    assert all(f"not predicted: {label}: " in said for label in untaught)
    assert set(predicted["predictions"][0]["probabilities"]) == set(default_label_set().labels) - set(untaught)
    assert "DICM" in predicted["refused"][str(folder_archive / "truth.csv")]
    local_services.detach(Settings.from_env())


def test_upload_names_every_file_that_did_not_go_through(folder_archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folder_archive / "images"
    first = next(images.rglob("*.dcm"))
    (images / "notes.txt").write_text("not an image")
    (images / "cut.dcm").write_bytes(first.read_bytes()[:-200])
    shutil.copy(first, images / "copy.dcm")
    code, uploaded, errors = run(capsys, "upload", images)
    assert code == 1
    assert (uploaded["files_refused"], uploaded["files_duplicate"]) == (2, 1)
    assert uploaded["instances_verified"] == uploaded["files"] - 3
    assert re.search(r"notes\.txt: refused: .*DICM", errors)
    assert re.search(r"cut\.dcm: refused: ", errors)
    local_services.detach(Settings.from_env())


def test_manifest_is_validated_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input.manifest"
    path.write_text('{"source": "a", "labels": "Edema,Fracture"}\n{"image": "b"}\n{"source": "c"\n')
    code, found, errors = run(capsys, "manifest", "--validate", path)
    assert (code, found["lines"], found["refused"]) == (1, 3, 2)
    assert "line 2: expected 'source-ref' or 'source', got keys ['image']" in errors
    assert "line 3: expected one whole JSON object" in errors


def test_orthanc_that_does_not_answer_is_named_with_the_next_step(
    folder_archive: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARCHIVE", "orthanc")
    monkeypatch.setenv("ORTHANC_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GROUNDTRUTH_URL", "aws")
    assert cli.main(["upload", str(folder_archive / "images")]) == 1
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_unknown_parameter_of_a_notebook_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "02_create_manifest", "-p", "lables", "[Edema]"]) == 1
    assert "02_create_manifest has no parameter lables. Its parameters are by" in capsys.readouterr().err


def test_every_flag_of_the_training_script_is_one_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    script = training._script()
    assert script is not None
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    said = capsys.readouterr().out
    for field in fields(script.Config):
        assert bool(re.search(rf"--{field.name}\s", said)) is (field.name not in training._OURS), field.name


def test_what_the_training_script_would_not_take_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_services, "attach", lambda settings: pytest.fail("an archive was asked"))
    for wrong, message in (("--epochs=0", "expected at least 1, got 0"), ("--resume=perhaps", "true or false, got 'perhaps'")):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", str(tmp_path / "training.manifest"), wrong])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_serve_fills_the_folder_of_the_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made, said = run(capsys, "serve", "image", tmp_path / "image")
    assert (code, made) == (0, {"ok": True, "folder": str(tmp_path / "image")})
    assert (tmp_path / "image" / "Dockerfile").is_file()
    assert f"docker build --platform linux/amd64 --tag dicom-workflow:1 {tmp_path / 'image'}" in said


def test_serve_refuses_what_sagemaker_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["serve", "endpoint", "model.tar.gz", "--image", "i:1", "--role-arn", "r", "--set", "instance_count", "0"]
    assert cli.main(asked) == 1
    said = capsys.readouterr().err
    for what in ("image: expected", "role: expected", "model_uri: expected", "instance_count: expected at least 1, got 0"):
        assert what in said
    assert cli.main([*asked, "--set", "colour", "red"]) == 1
    assert "EndpointRequest has no field 'colour'. Its fields are" in capsys.readouterr().err


COMMANDS = (
    *("upload", "manifest", "label", "parse", "adjudicate", "train", "predict", "serve", "run", "demo", "up", "down", "lab"),
    *("deploy", "status", "destroy"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_is_documented(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert "--json" in capsys.readouterr().out
    checkout = notebooks.folder().parent
    pages = [checkout / "README.md", *sorted((checkout / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert f"dicom-workflow {command}" in text or f"make {command}" in text


def test_wrong_command_line_ends_with_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["uplaod"])
    assert stopped.value.code == 2
