"""Threads that work through a batch: a progress bar, an end on Ctrl-C that leaves nothing half done, no error lost."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

_POLL_SECONDS = 0.05


def run_all(
    count: int, one: Callable[[int], None], stopped: threading.Event, *, workers: int, label: str, progress: bool
) -> None:
    """Call `one` with 0 … count - 1 on some threads until all are done or `stopped`; what a thread raises is raised here."""
    from tqdm.auto import tqdm  # importing it looks for a notebook

    numbers, done, ended = itertools.count(), itertools.count(1), itertools.count(1)
    errors: list[BaseException] = []
    finished = 0
    # Not Thread.join: interrupted by Ctrl-C it takes a thread that still runs for one that has ended (CPython 3.11).
    all_ended = threading.Event()
    size = max(1, min(workers, count))

    def work() -> None:
        nonlocal finished
        try:
            while not stopped.is_set() and (number := next(numbers)) < count:
                one(number)
                finished = next(done)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)
            stopped.set()
        finally:
            if next(ended) == size:
                all_ended.set()

    with tqdm(total=count, desc=label, unit="file", disable=not progress) as bar:
        try:
            for index in range(size):
                threading.Thread(target=work, name=f"{label}-{index}").start()
            while not all_ended.wait(_POLL_SECONDS):
                bar.update(finished - bar.n)
            bar.update(finished - bar.n)
        except KeyboardInterrupt:
            stopped.set()
            all_ended.wait()  # the files in flight come to their outcome
            raise
    if errors:
        raise errors[0]
