"""Hyperparameters on their way through SageMaker: all are texts, and the SDK's start scripts re-read them as JSON and as shell.

SDK 3 writes each into a shell file between apostrophes, reads texts as JSON wherever they are JSON, and hands them over as two
arguments, ``--name value``. So an apostrophe ends the job, a commit like ``7e10`` arrives as ``70000000000.0``, and a value
that begins with a hyphen is taken for a flag. What would not arrive as it was meant is refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")  # what argparse takes for a value and not for a flag


def checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are given, without those that are None, and what is wrong with them."""
    problems = []
    parameters = {name: value for name, value in given.items() if value is not None}
    if len(parameters) > 100:
        problems.append(f"hyperparameters: expected at most 100, got {len(parameters)}")
    for name, value in parameters.items():
        if not _NAME.fullmatch(name):
            problems.append(f"hyperparameter {name!r}: expected a name of letters, digits and underscores")
        else:
            problems += [f"hyperparameter {name}: {problem}" for problem in _problem(value)]
    return parameters, problems


def _problem(value: Any) -> list[str]:
    if not isinstance(value, str | int | float | bool):
        return [f"expected a text, number or boolean, got {type(value).__name__}"]
    if "'" in str(value):
        return [f"expected no apostrophe, which SageMaker's start script cannot carry, got {value!r}"]
    if len(as_sent(value)) > 2500:
        return ["expected at most 2500 characters"]
    arrives = as_it_arrives(value)
    if isinstance(value, str) and arrives != value:
        return [f"expected a text that SageMaker's start script leaves alone, got {value!r}, which arrives as {arrives!r}"]
    if arrives.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(arrives):
        return [f"expected no hyphen at the beginning, where it would be read as a flag, got {arrives!r}"]
    return []


def as_sent(value: Any) -> str:
    """Return a hyperparameter as the SDK sends it: texts as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def as_it_arrives(value: Any) -> str:
    """Return a hyperparameter as the training script gets it: twice on the way a text that is JSON is read as JSON."""
    return as_sent(_read(_read(as_sent(value))))


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
