"""JSON as it stands in files and bodies: strict reading, and numbers that JSON can hold.

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

import json
import math
from typing import NoReturn


def parse_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        The text is not JSON: also ``NaN`` and ``Infinity``, which Python would take, and nesting too deep to read. A
        `json.JSONDecodeError` where the place is known.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep to read") from None


def number(value: float, digits: int = 4) -> float | None:
    """Return a number as reports keep it: rounded, and None where it is not finite, which JSON cannot say.

    Parameters
    ----------
    value : float
    digits : int
        Decimals that stay.
    """
    return round(float(value), digits) if math.isfinite(value) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
