"""Case 24: a ``.env`` file that is not UTF-8 text: one line that names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_workflow import cli
from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Settings

TEXT = "ORTHANC_USER=Müller\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_a_file_in_another_encoding_is_named(encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_bytes(TEXT.encode(encoding))
    assert cli.main(["down"]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"{Path('.env').resolve()}: the file of settings is not UTF-8 text. Save it as UTF-8." in line


def test_utf_8_is_read_with_and_without_its_mark() -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        Path(".env").write_bytes(TEXT.encode(encoding))
        assert Settings.from_env({}).orthanc_user == "Müller"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named() -> None:
    Path(".env").write_text(TEXT)
    Path(".env").chmod(0)
    with pytest.raises(SettingsError, match=r"\.env: the file of settings cannot be read"):
        Settings.from_env({})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ARCHIVE: folder\n", 1),
        ('{"ARCHIVE": "folder"}', 1),
        ("ARCHIVE=folder\nthis is no setting\n", 2),
        ('ARCHIVE=folder\nORTHANC_PASSWORD="s3cret\n', 2),
        ("ARCHIVE=folder\n=s3cret\n", 2),
    ],
)
def test_a_line_that_is_no_setting_is_named_and_not_shown(text: str, line: int, capfd: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text(text)
    assert cli.main(["down"]) == 1
    [printed] = capfd.readouterr().err.strip().splitlines()
    assert f"{Path('.env').resolve()}, line {line}: expected NAME=value" in printed
    assert "s3cret" not in printed


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_lines_may_end_as_on_any_system(ending: str) -> None:
    Path(".env").write_bytes(
        ending.join(["export ARCHIVE=folder", "# a comment", "", "ORTHANC_USER = reader", "NOT_GIVEN"]).encode()
    )
    settings = Settings.from_env({})
    assert (settings.archive, settings.orthanc_user) == ("folder", "reader")


def test_a_link_that_leads_nowhere_is_named() -> None:
    Path(".env").symlink_to("settings/none")
    with pytest.raises(SettingsError, match=r"\.env: the file of settings is a link to settings/none, which is no file"):
        Settings.from_env({})
    Path(".env").unlink()
    Path(".env").mkdir()  # a virtual environment may have that name
    assert Settings.from_env({}).archive == "orthanc"
