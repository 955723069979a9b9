"""Case 14: RGB and two-frame images among radiographs: notebook 05 shows what can be shown and names the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.archive import dataset, dicom, to_bytes

from dicom_workflow.archive import download, open_archive
from dicom_workflow.errors import DicomError
from dicom_workflow.formats import manifests
from dicom_workflow.labeling import output
from dicom_workflow.pipeline import local_services, notebooks, steps
from dicom_workflow.pipeline.records import VISUALIZE
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

ANSWER = {"labels": {"Edema": {"state": "positive", "confidence": 1.0}}}


def rgb() -> bytes:
    made = dataset(1)
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.PixelData = bytes(range(256)) * 3
    return to_bytes(made)


def two_frames() -> bytes:
    made = dataset(2)
    made.NumberOfFrames = 2
    made.PixelData = bytes(2 * 16 * 16)
    return to_bytes(made)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ARCHIVE", "folder")
    return Settings.from_env()


def training_manifest(settings: Settings, *files: bytes) -> str:
    """Store files in the workspace's archive and label each of them."""
    archive = open_archive(settings)
    for data in files:
        archive.store_instance(data)
    uri = to_uri(settings.workspace / "training.manifest")
    entries = manifests.entries_for(archive.search_for_instances(), ["Edema"])
    metadata = {"findings-metadata": {"job-name": "labeling-job/a", "human-annotated": "yes"}}
    manifests.write(uri, ({**entry, "findings": ANSWER, **metadata} for entry in entries), limits=False)
    return uri


def test_images_that_cannot_be_shown_are_named_and_the_others_are_shown(settings: Settings) -> None:
    uri = training_manifest(settings, dicom(0), rgb(), two_frames(), dicom(3))
    samples = list(output.read_output(uri))
    shown = steps.load_samples(samples, download.loader(open_archive(settings)))
    assert [image.shape for image in shown.images] == [(16, 16), (16, 16)]
    assert len(shown.refused) == 2
    assert sorted(shown.refused) == sorted({item.source for item in samples} - {item.source for item in shown.samples})
    assert all(reason for reason in shown.refused.values())


def test_where_nothing_can_be_shown_the_message_has_the_reason(settings: Settings) -> None:
    samples = list(output.read_output(training_manifest(settings, rgb())))
    with pytest.raises(DicomError, match=r"None of 1 images can be shown: .*RGB"):
        steps.load_samples(samples, download.loader(open_archive(settings)))


@pytest.mark.timeout(120)
def test_notebook_05_goes_on(settings: Settings) -> None:
    uri = training_manifest(settings, rgb(), dicom(0), two_frames())
    try:
        local_services.attach(settings)
        output_path = settings.workspace / "05.ipynb"
        source = notebooks.folder() / f"{VISUALIZE}.ipynb"
        [record] = notebooks.run(source, output_path, {"training_manifest_uri": uri})
    finally:
        local_services.detach(settings)
    assert (record.metrics["samples_shown"], record.metrics["not_shown"]) == (1, 2)
    assert output_path.stat().st_mode & 0o077 == 0, "the executed notebook shows patients"
