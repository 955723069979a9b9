"""Until when runtimes and database engines are supported; the dates and their sources are in `lifetimes.json`."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any


@cache
def table() -> dict[str, Any]:
    """`runtimes` and `engines`, each with the page the dates come from and the last day of standard support by version."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("lifetimes.json").read_text("utf-8"))
    return found


def runtime_ends(runtime: str) -> date | None:
    """The last day of support of a Lambda runtime; None where the table does not know it."""
    text = table()["runtimes"]["ends"].get(runtime)
    return date.fromisoformat(text) if text else None


def engine_ends(engine: str, version: str) -> date | None:
    """The last day of standard support of a database engine, by its major version; None where the table does not know it."""
    ends = table()["engines"].get(engine, {}).get("ends", {})
    # "8.0.mysql_aurora.3.05.2" and "15.4" both begin with their major version; the longest that fits is it.
    fitting = [major for major in ends if version == major or version.startswith(f"{major}.")]
    if (
        not fitting
        and version.split(".")[0].isdigit()
        and ends
        and int(version.split(".")[0]) < min(int(m.split(".")[0]) for m in ends)
    ):
        return date.min  # older than all the table lists
    return date.fromisoformat(ends[max(fitting, key=len)]) if fitting else None


def ended(end: date, day: date) -> bool:
    """Whether support is over on a day."""
    return end < day


def today(config: dict[str, Any]) -> date:
    """The day a rule asks about: today, unless it was configured otherwise."""
    asked = config.get("today")
    return date.fromisoformat(asked) if asked else datetime.now(UTC).date()
