"""A decoder with two faults, in a module that another process imports at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np


def crashing(path: Path, size_px: int, version: str) -> np.ndarray:
    """Return zeros; be ended by a signal for ``crash.dcm``, raise what no file is to blame for at ``mistake.dcm``."""
    if path.name == "crash.dcm":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "mistake.dcm":
        raise ZeroDivisionError
    return np.zeros((1, size_px, size_px), np.float16)
