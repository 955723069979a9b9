"""Fixtures that several test files use, and fences: no test reaches an account or keeps a changed environment."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = [
    "support.browser",
    "support.cloudformation",
    "support.stack_foundation",
    "support.deployments",
    "support.postgres",
    "support.search_service",
    "support.search_stores",
    "support.training_script",
    "support.templates",
]

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported, and MONAI imports it

FENCES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "MPLBACKEND": "Agg",
}
SETTINGS = ("ARCHIVE", "ORTHANC_URL", "ORTHANC_USER", "ORTHANC_PASSWORD", "GROUNDTRUTH_URL", "S3_URL")


FIGURES = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "run the long browser tests too, and end with their figures as one JSON line"
    parser.addoption("--e2e", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long = [item for item in items if item.get_closest_marker("e2e")]
    if long and not config.getoption("--e2e"):
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_unconfigure(config: pytest.Config) -> None:
    """After everything else that is printed."""
    if config.getoption("--e2e"):
        print(json.dumps(dict(sorted(config.stash[FIGURES].items()))))


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What tests measured, by name; the last line of `make e2e`."""
    return request.config.stash[FIGURES]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = _environment()
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in FENCES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DICOM_WORKFLOW_WORKSPACE", str(tmp_path / "workspace"))
    yield
    monkeypatch.undo()
    assert _environment() == before, "a test left the environment changed"


def _environment() -> dict[str, str]:
    # torch, scikit-learn and GDCM set their own variables when they are imported.
    others = ("PYTEST_CURRENT_TEST", "KMP_", "CUBLAS_", "TORCH", "GDCM_")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)}


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts() -> Iterator[None]:
    """A shell that starts the tests in the background tells them to ignore Ctrl-C; the tests of interruption need it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def sample_data() -> Path:
    """Folder of real images; the test is skipped where there is none."""
    folder = os.environ.get("DICOM_WORKFLOW_SAMPLE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DICOM_WORKFLOW_SAMPLE_DATA names no folder of real images")
    return Path(folder)
