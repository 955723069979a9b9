"""The search demo on a folder of one's own, small: a network trained on phantoms, the images in an archive of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_workflow.archive.orthanc_process import find_orthanc
from dicom_workflow.pipeline import records
from dicom_workflow.pipeline.demo import Demo
from dicom_workflow.search.store import open_store
from dicom_workflow.settings import Settings
from dicom_workflow.synthetic.dataset import make_dataset
from dicom_workflow.synthetic.reports import write_reports

SMALL = {
    records.UPLOAD: {"patients": 14, "image_size_px": 128},
    records.TRAIN: {"image_size_px": 48, "epochs": 1, "batch_size": 8},
}


@pytest.mark.e2e
@pytest.mark.orthanc
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed")
def test_images_of_a_folder_are_searched_without_the_phantoms_that_the_network_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = make_dataset(tmp_path / "mine", patients=8, seed=31, size_px=128, progress=False)
    write_reports(tmp_path / "mine", seed=31, progress=False)
    run = tmp_path / "run"
    settings = Settings.from_env({"DICOM_WORKFLOW_WORKSPACE": str(run)})
    found = Demo(settings, seed=5, parameters=SMALL).run_search(tmp_path / "mine")
    assert (found["images_in_index"], found["reports_in_index"]) == (len(mine.paths), len(mine.paths))
    store = open_store(str(run / "search" / "index"))
    assert {image.image_id for image in store.scan_images()} == set(mine.positive)
    assert all(image.report_id for image in store.scan_images())
    assert found["selected"] == found["suggested"] > 0
    assert found["answers"] == 0  # the simulated readers know the phantoms alone
    printed = capsys.readouterr().out
    assert "A network is trained on phantoms first." in printed
    assert "Next labeling job:" in printed
    assert (run / "report.html").read_text().count("<h2>") == 7
