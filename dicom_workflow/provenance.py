"""What made an artifact: inputs, parameters, package versions, commit and time."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import dicom_workflow


def model_provenance(*, manifests: Mapping[str, str], parameters: Mapping[str, Any], commit: str = "") -> dict[str, Any]:
    """Return what made a model bundle: inputs with their SHA-256, parameters, versions, commit and time.

    Parameters
    ----------
    manifests : mapping of str to str
        File name → SHA-256.
    parameters : mapping
        All settings of the run.
    commit : str
        Commit of the code where it is known; `git_commit` otherwise, and left out when git does not know it.
    """
    commit = commit or git_commit()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "manifests_sha256": dict(manifests),
        "parameters": dict(parameters),
        "versions": {
            "dicom_workflow": dicom_workflow.__version__,
            **{name: metadata.version(name) for name in ("torch", "monai", "numpy")},
        },
        **({"commit": commit} if commit else {}),
    }


@cache
def git_commit() -> str:
    """Return the commit of this package's checkout, with ``-dirty`` when files were changed; empty outside a checkout.

    It is asked of git once per process: two records of one run name the same commit.
    """
    folder = Path(dicom_workflow.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
