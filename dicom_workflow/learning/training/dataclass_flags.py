"""Settings of a script as a frozen dataclass, and its fields as command-line flags.

Each field is ``name: Annotated[type, "its reason"] = default``; the flag has its name, ``--help`` its reason, and nothing has
to be said twice. SageMaker hands hyperparameters over as ``--name value``, so there is no flag without a value.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints


def parse(
    kind: type,
    arguments: Sequence[str] | None,
    *,
    description: str = "",
    defaults: Mapping[str, Any] | None = None,
    choices: Mapping[str, Sequence[str]] | None = None,
    lowest: Mapping[str, int] | None = None,
) -> Any:
    """Return the settings: a default, replaced by a flag (with - or _ in its name).

    Parameters
    ----------
    kind : type
        The dataclass; its fields are str, int, float, bool or Path.
    arguments : sequence of str, optional
        Those of the command line when None.
    description : str
        What ``--help`` shows first.
    defaults : mapping, optional
        Instead of those of the dataclass; a text is read as a flag would be.
    choices : mapping, optional
        Which values a field may have.
    lowest : mapping, optional
        The smallest number a field may have.

    Returns
    -------
    kind
        A flag that is not there, or of another type, ends the program as argparse does: with a message and code 2.
    """
    hints = get_type_hints(kind, include_extras=True)
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=layout, allow_abbrev=False)
    choices = choices or {}
    for field in fields(kind):
        type_, reason = get_args(hints[field.name])
        default = (defaults or {}).get(field.name, field.default)
        parser.add_argument(
            f"--{field.name}",
            *([f"--{field.name.replace('_', '-')}"] if "_" in field.name else []),
            type=to_bool if type_ is bool else type_,
            default=default,
            choices=choices.get(field.name),
            metavar=None if field.name in choices else type_.__name__.upper(),
            help=f"{reason.replace('%', '%%')} (default: {str(default) or 'none'})",
        )
    values = vars(parser.parse_args(arguments))
    for name, least in (lowest or {}).items():
        if values[name] < least:
            parser.error(f"--{name}: expected at least {least}, got {values[name]}")
    return kind(**values)


def to_bool(text: str) -> bool:
    """Return the boolean of a flag: the two SageMaker launchers write ``True`` and ``true``.

    Raises
    ------
    ArgumentTypeError
        The text is neither true nor false.
    """
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def to_json(settings: Any) -> dict[str, Any]:
    """Return settings as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}
