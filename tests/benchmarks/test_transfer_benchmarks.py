"""The benchmarks of manifests and of uploads run, small; their figures mean nothing here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dicom_workflow.archive.orthanc_process import find_orthanc

ROOT = Path(__file__).resolve().parents[2]


def last_line(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_every_line_of_the_manifest_is_written_validated_and_read() -> None:
    assert last_line("benchmarks/manifest.py", "--lines", "300")["lines"] == 300


@pytest.mark.orthanc
@pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here")
def test_both_ways_of_uploading_are_measured() -> None:
    found = last_line("benchmarks/upload.py", "--files", "4", "--rounds", "1", "--round-trips-ms", "0")
    assert (found["files"], found["naive_verification"], found["verification"]) == (4, "none", "read-back")
