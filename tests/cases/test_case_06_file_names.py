"""Case 06: file names that are not UTF-8, as on a CD that was burned under another code page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.archive import dicom

from dicom_workflow.archive import upload
from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import DicomError, WorkflowError, printable
from dicom_workflow.learning.data.decoder_pool import described

NAMES = [b"R\xf6ntgen M\xfcller", "胸部".encode("shift_jis"), "снимок".encode("koi8_r"), b"\xff\xfe"]


def written(folder: Path, name: bytes, data: bytes) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name + b".dcm"))
    path.write_bytes(data)
    return path


def test_a_name_is_escaped_byte_by_byte() -> None:
    assert printable(os.fsdecode(b"R\xf6ntgen")) == r"R\xf6ntgen"
    assert printable("Röntgen 胸部") == "Röntgen 胸部"
    assert printable("\ud800") == r"\ud800"


@pytest.mark.parametrize("name", NAMES)
def test_every_error_can_be_printed(tmp_path: Path, name: bytes) -> None:
    path = written(tmp_path, name, b"no DICOM")
    with pytest.raises(DicomError, match="not a DICOM file") as refusal:
        read_dataset(path)
    str(refusal.value).encode("utf-8")
    described(path, DicomError("broken")).encode("utf-8")
    described(path, OSError(5, "Input/output error")).encode("utf-8")
    assert isinstance(refusal.value, WorkflowError)


def test_the_batch_goes_on_and_its_report_can_be_shown_and_kept(tmp_path: Path) -> None:
    source = tmp_path / "cd"
    source.mkdir()
    for number, name in enumerate(NAMES):
        written(source, name, dicom(number))
    written(source, b"no \xe9 image", b"text")
    report = upload.upload(source, FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"stored": 4, "refused": 1}
    json.dumps([outcome.to_json() for outcome in report.outcomes], ensure_ascii=False).encode("utf-8")
    table = report.to_frame()
    str(table.to_string()).encode("utf-8")
    assert any(path.endswith(r"R\xf6ntgen M\xfcller.dcm") for path in table["path"])
    assert list(report.problems()["path"]) == [printable(source / os.fsdecode(b"no \xe9 image.dcm"))]


def test_control_characters_of_a_name_reach_no_terminal(tmp_path: Path) -> None:
    source = tmp_path / "cd"
    source.mkdir()
    for name in ("\x1b[31mred.dcm", "two\nlines.dcm", "tab\t.dcm", "back\b.dcm"):
        (source / name).write_bytes(b"no DICOM")
    report = upload.upload(source, FolderArchive(tmp_path / "archive"), progress=False)
    names = sorted(Path(path).name for path in report.problems()["path"])
    assert names == sorted([r"\x1b[31mred.dcm", r"two\x0alines.dcm", r"tab\x09.dcm", r"back\x08.dcm"])
    with pytest.raises(DicomError) as refusal:
        read_dataset(source / "\x1b[31mred.dcm")
    assert "\x1b" not in str(refusal.value)


def test_a_folder_and_a_resume_log_of_such_a_name(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/D\xe9p\xf4t"))
    folder.mkdir()
    written(folder, NAMES[0], dicom(1))
    log = folder.parent / os.fsdecode(b"l\xf6g.jsonl")
    archive = FolderArchive(tmp_path / "archive")
    for outcome in ("stored", "already there"):
        report = upload.upload(folder, archive, resume_log_path=log, progress=False)
        assert report.counts in ({outcome: 1}, {"stored": 1})
        assert len(report.instances) == 1
