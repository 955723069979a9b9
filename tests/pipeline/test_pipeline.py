"""The whole chain, small: seven notebooks, each reading the record of the one before; and the same with the portal killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dicom_workflow.archive.orthanc_process import find_orthanc
from dicom_workflow.errors import SettingsError
from dicom_workflow.formats import manifests
from dicom_workflow.pipeline import records
from dicom_workflow.pipeline.demo import Demo, new_run_folder
from dicom_workflow.pipeline.records import STEPS
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_path

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed"),
    pytest.mark.timeout(600),
]
SMALL: dict[str, dict[str, Any]] = {
    "01_upload_to_orthanc": {"patients": 14, "image_size_px": 128},
    "06_train_densenet": {"image_size_px": 48, "epochs": 1, "batch_size": 8},
}
TIMES = ("creation-date",)


def demo(folder: Path, drill: str = "") -> Demo:
    settings = Settings.from_env({"DICOM_WORKFLOW_WORKSPACE": str(folder)})
    return Demo(settings, drill=drill, parameters={**SMALL, "03_run_labeling_job": {"job_name": "chest"}})


def output_lines(run: Demo) -> list[dict[str, Any]]:
    """The output manifest without what differs between any two runs: times."""
    found = records.latest(run.settings, "03_run_labeling_job")
    assert found
    lines = [line.data for line in manifests.read(found.artifact_uri)]
    for line in lines:
        for name in TIMES:
            line["findings-metadata"].pop(name)
    return lines


def test_seven_notebooks_chain_from_dicom_files_to_a_model_and_its_predictions(tmp_path: Path) -> None:
    run = demo(tmp_path / "run")
    summary = run.run()
    images = summary["instances_verified"]
    assert images >= 14
    assert summary["objects_labeled"] == summary["instances_uploaded"] == images
    assert summary["answers"] == 3 * images
    assert summary["consolidated_accuracy"] > summary["best_single_reader_accuracy"]
    assert set(summary["seconds"]) == {*STEPS, "total"}
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.count("<h2>") == 7
    assert report.count("data:image/png;base64,") >= 7
    for step in STEPS:
        assert nbformat.read(tmp_path / "run" / f"{step}.ipynb", as_version=4)
    # Each step read what the one before left, and says so.
    left = {step: records.latest(run.settings, step) for step in STEPS}
    inputs = {step: set(record.inputs.values()) for step, record in left.items() if record}
    for earlier, later in (("01", "02"), ("02", "03"), ("03", "04"), ("04", "05"), ("04", "06"), ("06", "07")):
        artifact = next(record.artifact_uri for step, record in left.items() if record and step.startswith(earlier))
        assert artifact in next(uris for step, uris in inputs.items() if step.startswith(later))
    bundle = left["06_train_densenet"]
    assert bundle
    assert (to_path(bundle.artifact_uri) / "model.safetensors").is_file()


def test_portal_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    undisturbed, killed = demo(tmp_path / "a"), demo(tmp_path / "b", drill="kill-portal")
    undisturbed.run_steps(STEPS[:3])
    killed.run_steps(STEPS[:3])
    assert killed.drilled["killed"] == "portal"
    assert killed.drilled["objects_labeled_then"] < len(output_lines(killed))
    assert output_lines(killed) == output_lines(undisturbed)


def test_runs_have_folders_of_their_own_and_latest_points_at_the_newest(tmp_path: Path) -> None:
    first, second = new_run_folder(tmp_path), new_run_folder(tmp_path)
    assert first != second
    assert (tmp_path / "latest").resolve() == second.resolve()


def test_own_data_need_a_truth_table(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DATA was given without TRUTH"):
        Demo(Settings.from_env({}), data=tmp_path)
    with pytest.raises(SettingsError, match=r"TRUTH: there is no .*none\.csv"):
        Demo(Settings.from_env({}), data=tmp_path, truth=tmp_path / "none.csv")
