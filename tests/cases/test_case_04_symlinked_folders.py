"""Case 04: a subset of a data set, made of links to files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.archive import write_files

from dicom_workflow.archive.folder import FolderArchive
from dicom_workflow.archive.upload import upload
from dicom_workflow.archive.upload_report import Outcome
from dicom_workflow.errors import StorageError


def test_links_to_files_and_folders_are_followed_and_dangling_ones_are_named(tmp_path: Path) -> None:
    store, subset = tmp_path / "store", tmp_path / "subset"
    files = write_files(store / "a", 3)
    more = write_files(store / "b", 5)[3:]
    subset.mkdir()
    (subset / "folder").symlink_to(store / "a")
    for path in more:
        (subset / path.name).symlink_to(path)
    (subset / "gone.dcm").symlink_to(store / "nowhere.dcm")
    (subset / "gone").symlink_to(store / "no-folder")

    report = upload(subset, FolderArchive(tmp_path / "archive"), progress=False)

    assert report.counts == {"stored": len(files) + len(more), "refused": 2}
    named = {Path(item.path).name: item.reason for item in report.outcomes if item.outcome is Outcome.REFUSED}
    assert named == {
        "gone": f"a link to {store / 'no-folder'}, which does not exist",
        "gone.dcm": f"a link to {store / 'nowhere.dcm'}, which does not exist",
    }
    assert not report.ok


def test_a_loop_of_links_ends_and_no_file_comes_twice(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_files(folder / "a" / "b", 2)
    (folder / "a" / "b" / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "a")
    (folder / "self").symlink_to(folder / "self")
    report = upload(folder, FolderArchive(tmp_path / "archive"), progress=False)
    assert report.counts == {"stored": 2, "refused": 1}
    assert [Path(item.path).name for item in report.problems().itertuples()] == ["self"]


def test_pipes_sockets_devices_and_loops_are_named_and_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_files(folder, 2)
    os.mkfifo(folder / "pipe.dcm")
    (folder / "endless.dcm").symlink_to("/dev/zero")
    (folder / "one.dcm").symlink_to(folder / "other.dcm")
    (folder / "other.dcm").symlink_to(folder / "one.dcm")
    (folder / "long.dcm").symlink_to("x" * 300)

    report = upload(folder, FolderArchive(tmp_path / "archive"), progress=False)

    assert report.counts == {"stored": 2, "refused": 5}
    named = {Path(item.path).name: item.reason for item in report.outcomes if item.outcome is Outcome.REFUSED}
    assert named == {
        "pipe.dcm": "not a regular file but a pipe, socket or device. Write it to a file first.",
        "endless.dcm": "not a regular file but a pipe, socket or device. Write it to a file first.",
        "one.dcm": "cannot be read: Too many levels of symbolic links",
        "other.dcm": "cannot be read: Too many levels of symbolic links",
        "long.dcm": "cannot be read: File name too long",
    }


def test_the_folder_itself_may_be_a_link_and_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    write_files(tmp_path / "data", 2)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert upload(tmp_path / "link", FolderArchive(tmp_path / "archive"), progress=False).counts == {"stored": 2}
    for path in (tmp_path / "nowhere", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match=r"there is no such folder|cannot be read: File name too long"):
            upload(path, FolderArchive(tmp_path / "archive"), progress=False)
