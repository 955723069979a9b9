"""A small discrete-event simulation: processes are generators that wait for a time or for a server.

A process yields a number of seconds to wait, or a `Place` to occupy; it continues when the time has passed or a server is
free. Simultaneous events run in the order in which they were scheduled, so a seed determines the result. Not simpy, whose
resources keep no statistics: utilization, and the queue and wait that the tests compare with queueing theory, would have to
be added to it, and the rest is forty lines.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

Process = Generator[Any, None, None]


class Loop:
    """The clock and the scheduled events."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Schedule a call at a time that is not past."""
        assert when >= self.now, f"expected a time from {self.now} on, got {when}"
        heapq.heappush(self._due, (when, next(self._numbers), call))

    def start(self, process: Process) -> None:
        """Start a process now."""
        self.at(self.now, lambda: self._step(process))

    def run(self, until: float = float("inf")) -> float:
        """Run until no event is left or a time is reached, and return the time."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heapq.heappop(self._due)
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
    """A number of servers with one first-come, first-served queue: `yield place` to occupy one, then `leave`."""

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
        """Schedule a call for when a server is free."""
        self._count()
        if self._held < self.servers:
            self._held += 1
            self.waits += 1
            self._loop.at(self._loop.now, call)
        else:
            self._queue.append((self._loop.now, call))

    def leave(self) -> None:
        """Release the server to the first in the queue."""
        self._count()
        if self._queue:
            since, call = self._queue.popleft()
            self.waits += 1
            self.waited += self._loop.now - since
            self._loop.at(self._loop.now, call)
        else:
            self._held -= 1

    def hold(self, seconds: float) -> Process:
        """Wait for a server, occupy it for some seconds, and release it: ``yield from place.hold(2.0)``."""
        yield self
        yield seconds
        self.leave()

    def _count(self) -> None:
        passed, self._last = self._loop.now - self._last, self._loop.now
        self._busy += passed * self._held
        self._queued += passed * len(self._queue)

    @property
    def utilization(self) -> float:
        """Utilization of the servers until now."""
        self._count()
        return self._busy / (self.servers * self._last) if self._last else 0.0

    @property
    def mean_queue(self) -> float:
        """Mean length of the queue."""
        self._count()
        return self._queued / self._last if self._last else 0.0

    @property
    def mean_wait(self) -> float:
        """Mean seconds in the queue."""
        return self.waited / self.waits if self.waits else 0.0
