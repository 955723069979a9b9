"""What the tests of the worker page share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.browser_reader import Reader
from support.worker_page import PageHost, hosting


@pytest.fixture(scope="module")
def host() -> Iterator[PageHost]:
    with hosting() as started:
        yield started


@pytest.fixture
def make_reader(browser: Any, host: PageHost) -> Iterator[Callable[..., Reader]]:
    """Make readers, each with a browser profile of its own; none of their pages may have thrown or broken its policy."""
    with contextlib.ExitStack() as stack:
        readers = []

        def make(**options: Any) -> Reader:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 720}, **options})
            context.set_default_timeout(15_000)
            stack.callback(context.close)
            reader = Reader(context.new_page(), host)
            readers.append(reader)
            return reader

        yield make
    for reader in readers:
        assert reader.errors == []
        assert reader.violations == []


@pytest.fixture
def reader(make_reader: Callable[..., Reader]) -> Reader:
    return make_reader()
