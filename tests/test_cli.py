"""The command line: the same functions, exit codes, JSON on request, and messages that say what to do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow import cli, notebook, services
from dicom_workflow.archive import synthetic
from dicom_workflow.settings import Settings


@pytest.fixture
def folder_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose archive is a folder; returns a folder of phantoms with their truth."""
    monkeypatch.setenv("ARCHIVE", "folder")
    synthetic.make_dataset(tmp_path / "phantoms", patients=5, seed=3, size_px=64, progress=False)
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
    code, predicted, _ = run(capsys, "predict", trained["model"], image, folder_archive / "truth.csv")
    assert code == 1, "one of the two files is no image"
    assert len(predicted["predictions"][0]["probabilities"]) == 14
    assert "DICM" in predicted["refused"][str(folder_archive / "truth.csv")]
    services.detach(Settings.from_env())


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
    services.detach(Settings.from_env())


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
    assert "02_create_manifest.ipynb: expected some of its parameters" in capsys.readouterr().err


COMMANDS = ("upload", "manifest", "label", "parse", "train", "predict", "run", "demo", "up", "down", "lab")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert "--json" in capsys.readouterr().out
    readme = (notebook.folder().parent / "README.md").read_text(encoding="utf-8")
    assert f"dicom-workflow {command}" in readme or f"make {command}" in readme


def test_wrong_command_line_ends_with_2() -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["uplaod"])
    assert stopped.value.code == 2
