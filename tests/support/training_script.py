"""The training script as a module, imported from its file as nobody else imports it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from dicom_workflow.learning.training import script_run


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """`source/monai_dicom.py`, for tests that call its functions."""
    specification = importlib.util.spec_from_file_location("monai_dicom", script_run.SCRIPT)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules[specification.name]
