"""Case 05: a subfolder that this user may not read is named; nothing is left out silently."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.archive import write_files

from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.archive.upload import upload
from dicom_workflow.archive.upload_report import Outcome


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that cannot be searched, also where the tests run as root, to whom permissions do not apply."""
    folder = tmp_path / "data" / "closed"
    write_files(folder, 1)
    folder.chmod(0)
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(os.fsdecode(path)) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    yield folder
    folder.chmod(0o700)


def test_the_folder_is_named_and_the_others_are_uploaded(tmp_path: Path, closed: Path) -> None:
    write_files(tmp_path / "data" / "open", 3)
    report = upload(tmp_path / "data", FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"stored": 3, "refused": 1}
    (problem,) = (item for item in report.outcomes if item.outcome is Outcome.REFUSED)
    assert (problem.path, problem.reason) == (str(closed), "the folder cannot be searched: Permission denied")
    assert not report.ok, "the command ends with exit code 1"


def test_a_folder_of_nothing_else_is_named_too(tmp_path: Path, closed: Path) -> None:
    report = upload(tmp_path / "data", FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"refused": 1}


def test_a_folder_that_can_be_listed_but_not_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readable, not executable: the names of its files are known, and nothing else of them."""
    write_files(tmp_path / "data" / "open", 2)
    listed = tmp_path / "data" / "listed"
    write_files(listed, 1)
    stat, is_file = Path.stat, Path.is_file

    def refused(path: Path) -> None:
        if path.parent == listed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    monkeypatch.setattr(Path, "stat", lambda path, **options: (refused(path), stat(path, **options))[1])
    monkeypatch.setattr(Path, "is_file", lambda path: (refused(path), is_file(path))[1])
    report = upload(tmp_path / "data", FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"stored": 2, "refused": 1}
    assert [(item.path, item.reason) for item in report.outcomes if item.outcome is Outcome.REFUSED] == [
        (str(listed / "000.dcm"), "cannot be read: Permission denied")
    ]


def test_a_folder_that_is_removed_during_the_search_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "data" / "open", 2)
    (tmp_path / "data" / "removed").mkdir()
    stat = Path.stat

    def gone(path: Path, **options: Any) -> os.stat_result:
        if path.name == "removed":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", gone)
    report = upload(tmp_path / "data", FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"stored": 2, "refused": 1}
    assert report.problems()["reason"].tolist() == ["the folder cannot be searched: No such file or directory"]
