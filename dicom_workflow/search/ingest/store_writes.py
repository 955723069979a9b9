"""What everything that fills a search store shares: items in batches, and writes that are tried again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from dicom_workflow.errors import SearchStoreError

T = TypeVar("T")
P = ParamSpec("P")
_RETRY_SECONDS = (0.5, 2.0, 5.0)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def write_with_retry(write: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Call a write of a store, again when it fails. Writes are idempotent, so that a retry is safe.

    Parameters
    ----------
    write : callable
        A method of a `SearchStore`.
    arguments, keywords
        Of the write.

    Raises
    ------
    SearchStoreError
        The last of four attempts failed too.
    """
    for seconds in _RETRY_SECONDS:
        try:
            return write(*arguments, **keywords)
        except SearchStoreError:
            time.sleep(seconds)
    return write(*arguments, **keywords)
