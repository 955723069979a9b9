"""A discrete-event loop as small as it can be: processes are generators that wait for a time or for a place.

A process yields a number of seconds to wait, or a `Place` to hold; it goes on when the time has passed or the place is its own.
What happens at the same time happens in the order it was asked for, so a seed fixes everything.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

Process = Generator[Any, None, None]


class Loop:
    """Time, and what happens in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Have something called at a time, which must not be past."""
        assert when >= self.now, f"expected a time from {self.now} on, got {when}"
        heapq.heappush(self._due, (when, next(self._numbers), call))

    def start(self, process: Process) -> None:
        """Let a process begin now."""
        self.at(self.now, lambda: self._step(process))

    def run(self, until: float = float("inf")) -> float:
        """Let things happen until nothing is left or a time has come; return the time."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heapq.heappop(self._due)
            self.happened += 1
            call()
        return self.now

    def _step(self, process: Process) -> None:
        try:
            wanted = next(process)
        except StopIteration:
            return
        if isinstance(wanted, Place):
            wanted.take(lambda: self._step(process))
        else:
            self.at(self.now + wanted, lambda: self._step(process))


class Place:
    """So many servers and one queue, first come first served: `yield place` to hold one, then `leave`."""

    def __init__(self, loop: Loop, servers: int) -> None:
        assert servers >= 1, f"expected at least one server, got {servers}"
        self._loop = loop
        self.servers = servers
        self._held = 0
        self._queue: deque[tuple[float, Callable[[], None]]] = deque()
        self._last = 0.0
        self._busy = self._queued = 0.0  # integrals over time
        self.waits = 0
        self.waited = 0.0

    def take(self, call: Callable[[], None]) -> None:
        """Call when a server is free."""
        self._count()
        if self._held < self.servers:
            self._held += 1
            self.waits += 1
            self._loop.at(self._loop.now, call)
        else:
            self._queue.append((self._loop.now, call))

    def leave(self) -> None:
        """Give the server back; who waits longest has it next."""
        self._count()
        if self._queue:
            since, call = self._queue.popleft()
            self.waits += 1
            self.waited += self._loop.now - since
            self._loop.at(self._loop.now, call)
        else:
            self._held -= 1

    def hold(self, seconds: float) -> Process:
        """Wait for a server, keep it so long, and give it back: ``yield from place.hold(2.0)``."""
        yield self
        yield seconds
        self.leave()

    def _count(self) -> None:
        passed, self._last = self._loop.now - self._last, self._loop.now
        self._busy += passed * self._held
        self._queued += passed * len(self._queue)

    @property
    def utilization(self) -> float:
        """Share of the servers' time that was used, until now."""
        self._count()
        return self._busy / (self.servers * self._last) if self._last else 0.0

    @property
    def mean_queue(self) -> float:
        """How many waited, averaged over time."""
        self._count()
        return self._queued / self._last if self._last else 0.0

    @property
    def mean_wait(self) -> float:
        """Seconds from asking for a server to having it."""
        return self.waited / self.waits if self.waits else 0.0
