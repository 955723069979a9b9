"""What the rooms of the command line share: how a command is added, and where words for a person go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dicom_workflow.settings import Settings

Run = Callable[[Settings, argparse.Namespace], dict[str, Any]]
Command = Callable[[str, Run, str], argparse.ArgumentParser]
"""Adds a command by its name, the function that runs it and its help; returns its parser, for its own arguments."""


def values_of(pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return ``NAME VALUE`` pairs of the command line with the values read as YAML: ``2`` is a number, ``false`` a boolean."""
    import yaml

    return {name: yaml.safe_load(value) for name, value in pairs}


def say(text: str) -> None:
    """Write what a person reads to standard error, so that --json leaves standard output to programs."""
    print(text, file=sys.stderr, flush=True)
