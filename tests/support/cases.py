"""The files of the cases that were collected from real life, for tests/cases; they lie beside the sample data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def case_folder(name: str) -> Path:
    """Return the folder of a case, as "27-voi-lut"; the test is skipped where the files are not there."""
    folder = Path(os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", "/nowhere")).parent / "cases" / name
    if not folder.is_dir():
        pytest.skip("DICOM_WORKFLOW_SAMPLE_DATA names no folder with cases/ beside it")
    return folder
