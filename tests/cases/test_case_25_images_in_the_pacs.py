"""Case 25: images are in the archive already: the manifest is made of them, never of phantoms, and non-images are left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import BasicTextSRStorage
from support.archive import dataset, dicom, open_orthanc, to_bytes

from dicom_workflow import cli
from dicom_workflow.archive.orthanc_process import OrthancServer, find_orthanc
from dicom_workflow.errors import NotebookError
from dicom_workflow.formats import manifests
from dicom_workflow.pipeline import local_services, notebooks, records, steps
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def pacs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OrthancServer]:
    """An Orthanc that the environment names, as a hospital's archive."""
    with OrthancServer(tmp_path / "pacs") as server:
        monkeypatch.setenv("ORTHANC_URL", server.url)
        monkeypatch.setenv("ORTHANC_USER", server.user)
        monkeypatch.setenv("ORTHANC_PASSWORD", server.password.reveal())
        yield server
        local_services.detach(Settings.from_env())


def structured_report() -> bytes:
    made = dataset(50)
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"):
        delattr(made, name)
    made.SOPClassUID, made.Modality = BasicTextSRStorage, "SR"
    made.SeriesInstanceUID = f"{made.SeriesInstanceUID}.50"
    return to_bytes(made)


def count(server: OrthancServer) -> int:
    return sum(1 for _ in open_orthanc(server).search_for_instances())


def test_notebook_02_lists_the_archive_and_stores_nothing(pacs: OrthancServer) -> None:
    archive = open_orthanc(pacs)
    for data in (dicom(0), dicom(1), dicom(2), structured_report()):
        archive.store_instance(data)
    settings = Settings.from_env()
    found = notebooks.run_steps(settings, [records.MANIFEST], {})[records.MANIFEST]
    assert (found.metrics["lines"], found.metrics["left_out"]) == (3, {"SR": 1})
    assert count(pacs) == 4


def test_the_command_counts_what_it_leaves_out(pacs: OrthancServer, capsys: pytest.CaptureFixture[str]) -> None:
    archive = open_orthanc(pacs)
    for data in (dicom(0), structured_report()):
        archive.store_instance(data)
    assert cli.main(["manifest", "--json"]) == 0
    captured = capsys.readouterr()
    written = json.loads(captured.out.splitlines()[-1])
    assert (written["lines"], written["left_out"]) == (1, {"SR": 1})
    assert "1 SR objects are no images: left out" in captured.err


@pytest.mark.parametrize("step", [records.UPLOAD, records.MANIFEST])
def test_an_empty_archive_that_the_settings_name_gets_no_phantoms(step: str, pacs: OrthancServer) -> None:
    with pytest.raises(NotebookError, match=r"phantoms are stored only in an archive|The archive holds no instance"):
        notebooks.run_steps(Settings.from_env(), [step], {})
    assert count(pacs) == 0


def test_phantoms_that_are_asked_for_by_name_are_stored(pacs: OrthancServer) -> None:
    settings = local_services.attach(Settings.from_env())
    folder, known = records.source_images(records.PHANTOMS, settings, patients=1, size_px=64)
    steps.upload(folder, to_uri(settings.workspace / "instances.jsonl"), settings, known_uris=known)
    assert count(pacs) > 0


def test_phantoms_are_not_mixed_with_images_of_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE", "folder")
    settings = Settings.from_env()
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd" / "0.dcm").write_bytes(dicom(0))
    uri = to_uri(settings.workspace / "archive" / "instances.jsonl")
    steps.upload(tmp_path / "cd", uri, settings)
    with pytest.raises(NotebookError, match=r"this workspace holds images of .*Synthetic phantoms are not mixed with them"):
        records.source_images("", settings)
    assert len(manifests.read_instances(uri)) == 1


def test_phantoms_give_way_to_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE", "folder")
    settings = Settings.from_env()
    uri = to_uri(settings.workspace / "archive" / "instances.jsonl")
    folder, known = records.source_images("", settings, patients=1, size_px=64)
    steps.upload(folder, uri, settings, known_uris=known)
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd" / "0.dcm").write_bytes(dicom(0))
    uploaded = steps.upload(tmp_path / "cd", uri, settings)
    assert [instance.patient_id for instance in manifests.read_instances(uri)] == ["P1"]
    assert uploaded.record.uris == {}, "the truth of the phantoms says nothing of these images"
    # Phantoms that are asked for by name come beside them, and a third upload drops no image of a patient.
    folder, known = records.source_images(records.PHANTOMS, settings, patients=1, size_px=64)
    steps.upload(folder, uri, settings, known_uris=known)
    (tmp_path / "cd" / "1.dcm").write_bytes(dicom(1))
    steps.upload(tmp_path / "cd", uri, settings)
    assert [instance.sop_instance_uid[-2:] for instance in manifests.read_instances(uri)] == [".0", ".1"]
