"""What everything that fills a search store shares: items in batches, and writes that are tried again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from dicom_workflow.errors import SearchStoreError

T = TypeVar("T")
_RETRY_SECONDS = (0.5, 2.0, 5.0)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def written(write: Callable[[], T]) -> T:
    """Return the answer of a write, which is tried again when the store does not answer: a second time, it changes nothing.

    Raises
    ------
    SearchStoreError
        The store did not answer within ten seconds either.
    """
    for seconds in _RETRY_SECONDS:
        try:
            return write()
        except SearchStoreError:
            time.sleep(seconds)
    return write()
