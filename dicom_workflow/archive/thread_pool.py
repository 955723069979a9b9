"""A thread pool for batches of files, with a progress bar."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

_POLL_SECONDS = 0.05


def map_threads(
    one: Callable[[int], None], count: int, stopped: threading.Event, *, workers: int, label: str, progress: bool
) -> None:
    """Call a function with 0 … count - 1 on several threads, until all are done or the batch is stopped.

    On Ctrl-C the items in flight are finished. The first exception of a thread is raised again here.

    Parameters
    ----------
    one : callable
        Takes the number of an item.
    count : int
        How many items there are.
    stopped : threading.Event
        Set it to start no further item.
    workers : int
        Threads at most.
    label : str
        Name of the batch: on the progress bar, and of the threads.
    progress : bool
        Show a progress bar.
    """
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
