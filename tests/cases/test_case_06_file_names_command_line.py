"""Case 06, the command line: file names that are not UTF-8 are written with escapes; the batch goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.archive import dicom

from dicom_workflow.cli import _json_line
from dicom_workflow.cli.common import say
from dicom_workflow.settings import Settings

LATIN_1 = b"R\xf6ntgen M\xfcller.dcm"


def test_json_holds_every_name_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(LATIN_1)
    text = _json_line({"ok": False, "refused": {name: "no image", "Müller.dcm": "no image"}})
    assert text.encode("ascii")
    assert json.loads(text)["refused"] == {name: "no image", "Müller.dcm": "no image"}
    assert _json_line({"name": "Müller"}) == '{"name": "Müller"}'


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_upload_goes_on(tmp_path: Path, locale: str) -> None:
    folder = tmp_path / "cd"
    folder.mkdir()
    (folder / "0.dcm").write_bytes(dicom(0))
    Path(os.fsdecode(os.fsencode(folder) + b"/" + LATIN_1)).write_bytes(b"not an image")
    environment = {**os.environ, "ARCHIVE": "folder", "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    program = "import sys; from dicom_workflow.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "upload", str(folder), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stdout, done.stderr.decode()[-1500:]
    result = json.loads(done.stdout)
    assert (result["instances_verified"], result["files_refused"]) == (1, 1)
    assert b"ntgen M" in done.stderr
    assert b"Traceback" not in done.stderr
    assert Settings.from_env().workspace.is_dir()


def test_what_is_said_holds_no_control_characters_but_line_ends(capsys: pytest.CaptureFixture[str]) -> None:
    say("/cd/\x1b[31mred\b.dcm: refused\n" + os.fsdecode(LATIN_1))
    assert capsys.readouterr().err == "/cd/\\x1b[31mred\\x08.dcm: refused\nR\\xf6ntgen M\\xfcller.dcm\n"
