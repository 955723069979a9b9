"""What made a model: inputs, parameters, versions, commit and time."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dicom_workflow


def provenance(*, manifests: Mapping[str, str], parameters: Mapping[str, Any], commit: str = "") -> dict[str, Any]:
    """Return what made a bundle: inputs with their SHA-256, parameters, versions, commit and time.

    Parameters
    ----------
    manifests : mapping of str to str
        File name → SHA-256.
    parameters : mapping
        All settings of the run.
    commit : str
        Of the code, when it is known; asked of git otherwise, and left out when git does not know.
    """
    import monai
    import numpy
    import torch

    commit = commit or git_commit()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "manifests_sha256": dict(manifests),
        "parameters": dict(parameters),
        "versions": {
            "dicom_workflow": dicom_workflow.__version__,
            "torch": torch.__version__,
            "monai": monai.__version__,
            "numpy": numpy.__version__,
        },
        **({"commit": commit} if commit else {}),
    }


def git_commit() -> str:
    """Return the commit this package's checkout is at, with ``-dirty`` when files were changed; empty outside a checkout."""
    folder = Path(dicom_workflow.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
