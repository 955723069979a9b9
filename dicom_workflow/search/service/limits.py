"""Limits of the search service: what a request may ask for, and what an upload may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_workflow.errors import RecordError
from dicom_workflow.search.query import MAX_FIRST, MAX_K

MAX_FACET_FIELDS = 30
MAX_FACET_VALUES = 100


@dataclass(frozen=True)
class Limits:
    """What one request may cost. A request beyond a limit is refused before any of it is done."""

    depth: int = 12
    """Nested selections of a query."""
    aliases: int = 30
    """The page's largest query has 12."""
    tokens: int = 2000
    body_bytes: int = 256 * 1024
    """Of a query; a thousand values of a filter are about 70 kB."""
    upload_bytes: int = 128 * 2**20
    """Of a DICOM file: a 24 megapixel mammogram has 48 MB uncompressed."""
    upload_pixels: int = 50_000_000
    """The largest detectors have 24 megapixels."""
    uploads: int = 64
    """Kept at a time; the oldest goes first."""
    upload_seconds: float = 1800.0
    """How long an upload can be searched with."""
    body_seconds: float = 60.0
    """For a body to arrive."""
    answer_seconds: float = 30.0
    """For the answer to a query."""
    drain_seconds: float = 25.0
    """For requests under way after SIGTERM; a container is killed after 30 seconds."""
    concurrency: int = 200
    """Connections at a time."""


def checked_k(k: int) -> int:
    """Return a number of images.

    Raises
    ------
    RecordError
        Below 1 or above `MAX_K`.
    """
    return _within("k", k, MAX_K, "Ask for fewer, or narrow the search with a filter.")


def checked_first(first: int) -> int:
    """Return a number of reports.

    Raises
    ------
    RecordError
        Below 1 or above `MAX_FIRST`.
    """
    return _within("first", first, MAX_FIRST, "Ask for the next page with `after`.")


def checked_size(size: int) -> int:
    """Return a number of values of a facet.

    Raises
    ------
    RecordError
        Below 1 or above `MAX_FACET_VALUES`.
    """
    return _within("size", size, MAX_FACET_VALUES, "Narrow the search to see others.")


def checked_fields(fields: Sequence[str]) -> list[str]:
    """Return the fields of facets, each once.

    Raises
    ------
    RecordError
        More than `MAX_FACET_FIELDS`.
    """
    if len(fields) > MAX_FACET_FIELDS:
        raise RecordError(f"expected at most {MAX_FACET_FIELDS} fields of facets, got {len(fields)}. Ask for fewer.")
    return list(dict.fromkeys(fields))


def _within(name: str, value: int, most: int, step: str) -> int:
    if not 1 <= value <= most:
        raise RecordError(f"expected {name} from 1 to {most}, got {value}. {step}")
    return value
