"""Case 15: two uploads, then manifest, label and parse: all images of both, whoever lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.archive import dataset, dicom, to_bytes

from dicom_workflow import cli
from dicom_workflow.archive import open_archive
from dicom_workflow.archive.upload_report import NothingStoredError
from dicom_workflow.errors import ManifestError
from dicom_workflow.formats import manifests
from dicom_workflow.pipeline import local_services, records, steps
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_path, to_uri


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ARCHIVE", "folder")
    return Settings.from_env()


def folder_of(path: Path, *numbers: int) -> Path:
    path.mkdir(parents=True)
    for number in numbers:
        (path / f"{number}.dcm").write_bytes(dicom(number, patient_id=f"P{number}"))
    return path


def upload(folder: Path, settings: Settings, **options: Any) -> steps.Uploaded:
    return steps.upload(folder, to_uri(settings.workspace / "archive" / "instances.jsonl"), settings, **options)


def listed(settings: Settings) -> list[str]:
    uri = to_uri(settings.workspace / "archive" / "instances.jsonl")
    return [instance.sop_instance_uid.rpartition(".")[2] for instance in manifests.read_instances(uri)]


def test_a_second_upload_is_added_to_the_list_of_the_first(settings: Settings, tmp_path: Path) -> None:
    upload(folder_of(tmp_path / "cd1", 0, 1, 2), settings)
    second = upload(folder_of(tmp_path / "cd2", 5, 6), settings)
    assert listed(settings) == ["0", "1", "2", "5", "6"]
    assert second.record.metrics["listed"] == 5


def test_the_same_images_again_are_listed_once(settings: Settings, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "cd1", 0, 1)
    upload(folder, settings)
    upload(folder, settings)
    assert listed(settings) == ["0", "1"]


def test_an_upload_of_which_nothing_arrives_leaves_the_list_as_it_was(settings: Settings, tmp_path: Path) -> None:
    upload(folder_of(tmp_path / "cd1", 0), settings)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("not an image")
    with pytest.raises(NothingStoredError, match=r"None of 1 files is in the archive:\n- .*DICM"):
        upload(tmp_path / "notes", settings)
    assert listed(settings) == ["0"]


@pytest.mark.parametrize("damage", ["{broken\n", '{"sop_instance_uid": "abc"}\n', "[]\n"])
def test_a_list_that_cannot_be_read_is_named_before_anything_is_sent(settings: Settings, tmp_path: Path, damage: str) -> None:
    path = to_path(upload(folder_of(tmp_path / "cd1", 0, 1), settings).instances_uri)
    text = path.read_text()
    path.write_text(text + damage)
    second = folder_of(tmp_path / "cd2", 5)
    with pytest.raises(ManifestError, match="line 3: "):
        upload(second, settings)
    assert len(list(open_archive(settings).search_for_instances())) == 2
    path.write_text("\ufeff" + text)
    assert len(upload(second, settings).report.instances) == 1
    assert listed(settings) == ["0", "1", "5"]


def test_parse_asks_the_archive_for_what_the_list_lacks(settings: Settings, tmp_path: Path) -> None:
    first = upload(folder_of(tmp_path / "cd1", 0, 1, 2), settings)
    upload(folder_of(tmp_path / "cd2", 5, 6), settings)
    uri = labeled_manifest(settings, tmp_path)
    # The list of the first upload only, as an older version left it.
    only_first = tmp_path / "first.jsonl"
    manifests.write(to_uri(only_first), (i.to_json() for i in first.report.instances), check=False)
    try:
        parsed = steps.parse(uri, to_uri(tmp_path / "training.manifest"), settings, instances_uri=to_uri(only_first))
    finally:
        local_services.detach(settings)
    assert {line["patient_id"] for line in parsed.lines} == {"P0", "P1", "P2", "P5", "P6"}
    assert parsed.failed == ()


def test_an_image_without_a_patient_is_named_and_the_others_are_kept(settings: Settings, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "cd", 0, 1)
    nobody = dataset(9)
    del nobody.PatientID
    (folder / "nobody.dcm").write_bytes(to_bytes(nobody))
    uploaded = upload(folder, settings)
    uri = labeled_manifest(settings, tmp_path)
    try:
        target = to_uri(tmp_path / "training.manifest")
        parsed = steps.parse(uri, target, settings, instances_uri=uploaded.instances_uri)
    finally:
        local_services.detach(settings)
    assert {line["patient_id"] for line in parsed.lines} == {"P0", "P1"}
    [(_, reason)] = parsed.failed
    assert "patient is not known" in reason


@pytest.mark.timeout(180)
def test_upload_upload_manifest_label_parse(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> dict[str, Any]:
        assert cli.main([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    truth = tmp_path / "truth.csv"
    rows = [f"1.2.826.0.1.99.3.{number},{number % 2}" for number in (0, 1, 2, 5, 6)]
    truth.write_text("\n".join(["sop_instance_uid,Edema", *rows]))
    try:
        run("upload", folder_of(tmp_path / "cd1", 0, 1, 2))
        run("upload", folder_of(tmp_path / "cd2", 5, 6))
        written = run("manifest", "--labels", "Edema")
        assert written["lines"] == 5
        job = run("label", written["manifest_uri"], "--truth", truth, "--simulated-readers", 3)
        parsed = run("parse", job["output_manifest_uri"])
    finally:
        local_services.detach(settings)
    assert parsed["labeled"] == 5
    # Notebooks find what the commands made.
    for step, uri in ((records.MANIFEST, written["manifest_uri"]), (records.LABEL, job["output_manifest_uri"])):
        assert records.find_input(settings, step) == uri
    assert to_path(records.find_input(settings, records.PARSE)).name == "training.manifest"


def labeled_manifest(settings: Settings, folder: Path) -> str:
    uri = to_uri(folder / "output.manifest")
    label = {"labels": {"Edema": {"state": "positive", "confidence": 1.0}}}
    entries = manifests.entries_for(open_archive(settings).search_for_instances(), ["Edema"])
    metadata = {"findings-metadata": {"job-name": "labeling-job/a"}}
    manifests.write(uri, ({**entry, "findings": label, **metadata} for entry in entries), limits=False)
    return uri
