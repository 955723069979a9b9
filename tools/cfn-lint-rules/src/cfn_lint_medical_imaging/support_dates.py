"""End-of-support dates of Lambda runtimes and RDS engines. The dates and their sources are in `support_dates.json`."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any


@cache
def support_dates() -> dict[str, Any]:
    """Return the content of `support_dates.json`.

    `runtimes` and each entry of `engines` name their `source` and the last day of standard support by version.
    """
    dates: dict[str, Any] = json.loads(Path(__file__).with_name("support_dates.json").read_text("utf-8"))
    return dates


def runtime_end_of_support(runtime: str) -> date | None:
    """Return the last day of support of a Lambda runtime, or None for an unknown one."""
    text = support_dates()["runtimes"]["end_of_support"].get(runtime)
    return date.fromisoformat(text) if text else None


def engine_end_of_support(engine: str, version: str) -> date | None:
    """Return the last day of standard support of a database engine, or None for an unknown engine or version.

    A version older than every listed one returns `date.min`.
    """
    dates = support_dates()["engines"].get(engine, {}).get("end_of_support", {})
    # "8.0.mysql_aurora.3.05.2" and "15.4" both begin with their major version; the longest match wins.
    majors = [major for major in dates if version == major or version.startswith(f"{major}.")]
    if majors:
        return date.fromisoformat(dates[max(majors, key=len)])
    number = version.split(".")[0]
    if dates and number.isdigit() and int(number) < min(int(major.split(".")[0]) for major in dates):
        return date.min
    return None
