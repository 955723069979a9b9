"""Case 18: the workspace is a file, or cannot be written: one line that names it and the setting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_workflow import cli
from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Settings

COMMANDS = (["up"], ["manifest"], ["run", "02_create_manifest"], ["lab"], ["label", "input.manifest"])


@pytest.fixture
def file_as_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "work"
    path.write_text("a file")
    monkeypatch.setenv("DICOM_WORKFLOW_WORKSPACE", str(path))
    return path


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_file_in_the_place_of_the_workspace_is_named(
    arguments: list[str], file_as_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"The workspace {file_as_workspace} cannot be used: it is not a folder" in line
    assert "Set DICOM_WORKFLOW_WORKSPACE" in line


def test_a_workspace_below_a_file_is_named(file_as_workspace: Path) -> None:
    with pytest.raises(SettingsError, match=r"work/inside cannot be used: Not a directory\. Set DICOM_WORKFLOW_WORKSPACE"):
        Settings(file_as_workspace / "inside").make_workspace()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match=r"cannot be used: .*\. Set DICOM_WORKFLOW_WORKSPACE"):
        Settings(tmp_path / "work").make_workspace()
    with pytest.raises(SettingsError, match="this user may not write there"):
        Settings(tmp_path).make_workspace()


def test_a_folder_without_rights_is_named_for_root_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SettingsError, match=r"work cannot be used: Permission denied\. Set DICOM_WORKFLOW_WORKSPACE"):
        Settings(tmp_path / "work").make_workspace()


def test_a_new_workspace_is_this_users_alone(tmp_path: Path) -> None:
    assert Settings(tmp_path / "a" / "work").make_workspace().stat().st_mode & 0o077 == 0
