"""Case 14, the files: color and multi-frame images among radiographs are named, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.archive import dicom, to_bytes
from support.cases import case_folder
from support.pixels import dataset_of, file_bytes

from dicom_workflow.archive import download, upload
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.decoding import read_frame
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import UnsupportedPixelsError
from dicom_workflow.learning.data.images import decode

COLOR = np.arange(2 * 2 * 3).reshape(2, 6)


def color() -> bytes:
    made = dataset_of(COLOR, bits=8, photometric="RGB", SamplesPerPixel=3, PlanarConfiguration=0, Rows=2, Columns=2)
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID, made.Modality = "1.2.4", "1.2.5", "P9", "XC"
    return to_bytes(made)


def two_frames(signed: bool = False) -> bytes:
    made = dataset_of([[1, 2], [3, 4], [5, 6], [7, 8]], Rows=2, NumberOfFrames=2, signed=signed)
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID, made.Modality = "1.2.4", "1.2.6", "P9", "XA"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.2"
    return to_bytes(made)


def test_a_radiograph_names_what_it_cannot_take() -> None:
    for read in (lambda data: decode(data, 8), lambda data: pixels.to_png(read_dataset(data))):
        with pytest.raises(UnsupportedPixelsError, match=r"expected MONOCHROME1 or MONOCHROME2 .* got RGB with 3"):
            read(color())
        with pytest.raises(UnsupportedPixelsError, match="expected one frame, got 2"):
            read(two_frames())


def test_the_batch_and_the_thumbnails_go_on(tmp_path: Path) -> None:
    for number, data in enumerate((color(), two_frames(), dicom(2), dicom(3))):
        (tmp_path / f"{number}.dcm").write_bytes(data)
    archive = FolderArchive(tmp_path / "archive")
    report = upload.upload(sorted(tmp_path.glob("*.dcm")), archive, progress=False)
    assert report.counts == {"stored": 4}
    assert len(download.thumbnails(archive, report.instances)) == 2


def test_any_frame_of_any_image_can_be_read_as_it_is_stored(tmp_path: Path) -> None:
    """What slides and colored pictures need; the radiograph's own path takes neither."""
    (tmp_path / "color.dcm").write_bytes(color())
    frame = read_frame(tmp_path / "color.dcm")
    assert frame.photometric_interpretation == "RGB"
    np.testing.assert_array_equal(frame.values, COLOR.reshape(2, 2, 3))
    (tmp_path / "two.dcm").write_bytes(two_frames())
    assert read_frame(tmp_path / "two.dcm", 1).values.tolist() == [[5, 6], [7, 8]]
    for index in (2, -1):
        with pytest.raises(UnsupportedPixelsError, match=f"two.dcm: expected a frame index from 0 to 1, got {index}"):
            read_frame(tmp_path / "two.dcm", index)
    (tmp_path / "gray.dcm").write_bytes(file_bytes(dataset_of([[0xF123, 0x7FFF]])))
    assert read_frame(tmp_path / "gray.dcm").values.tolist() == [[0x123, 0xFFF]]


def test_the_collected_files() -> None:
    files = sorted((case_folder("14-mixed-folder") / "in").glob("*.dcm"))
    refused = {}
    for path in files:
        try:
            assert decode(path, 64).mean() > 0.3
        except UnsupportedPixelsError as error:
            refused[path.stem] = str(error)
    assert list(refused) == ["10", "31"]
    assert "RGB" in refused["10"]
    assert "expected one frame, got 2" in refused["31"]
    assert read_frame(files[3 - 1].parent / "10.dcm").values.shape == (64, 48, 3)
    assert read_frame(files[0].parent / "31.dcm", 1).values.shape == (64, 48)
