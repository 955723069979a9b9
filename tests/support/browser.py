"""A real browser for tests; where there is none they skip, saying so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]


def chromium_path() -> str:
    """Return where Chromium is, or skip the test."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium")
    return path


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    """Playwright, for one file: while it runs, the thread counts as one inside of an event loop, which other tests start."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Any]:
    chromium = playwright.chromium.launch(executable_path=chromium_path(), args=ARGUMENTS)
    yield chromium
    chromium.close()


def shoot(tab: Any, name: str, **options: Any) -> None:
    """Keep a picture of the page where DICOM_WORKFLOW_SCREENSHOTS names a folder."""
    if folder := os.environ.get("DICOM_WORKFLOW_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=str(Path(folder) / f"{name}.png"), **options)
