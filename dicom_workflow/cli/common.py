"""What the command modules share: the types of a command, values from the command line, and output for people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dicom_workflow.errors import printable
from dicom_workflow.settings import Settings

Run = Callable[[Settings, argparse.Namespace], dict[str, Any]]
"""Runs a command; the result has ``ok`` and is printed with --json."""


class Command(Protocol):
    """Adds a command and returns its parser, for its own arguments."""

    def __call__(self, name: str, run: Run, text: str, *, after_interrupt: str) -> argparse.ArgumentParser:
        """Add a command.

        Parameters
        ----------
        name : str
        run : callable
        text : str
            One line of help.
        after_interrupt : str
            What running the command again does, for the message after Ctrl-C.
        """
        ...


def values_of(pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return ``NAME VALUE`` pairs of the command line: numbers, ``false``, lists and objects in YAML, else the text."""
    return {name: _value_of(text) for name, text in pairs}


def _value_of(text: str) -> Any:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float | list | dict) else text


def say(text: str) -> None:
    """Write text for a person to standard error, so that standard output holds the JSON alone.

    A file name that is not text in the terminal's encoding, or holds control characters, is written with escapes.
    """
    encoding = sys.stderr.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)
