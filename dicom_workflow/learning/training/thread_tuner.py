"""How many CPU threads take the next training step: all, or one, whichever is faster just now.

Two threads of one step wait for each other a thousand times. On a quiet machine of two cores that is 1.5 times as fast as one
thread; beside another busy process, which takes one of the cores away in slices, it was seen five times slower than one.
So the speed of both is measured while training goes on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch

_FIRST_PROBE, _LAST_PROBE = 16, 256


class Pace:
    """Sets torch's number of threads before each step, from the speed of the steps before.

    Parameters
    ----------
    threads : int
        A fixed number of threads; 0 chooses between one and all CPUs as it goes. Only a fixed number gives the same weights
        bit by bit, because sums are split among threads.
    clock : callable
        Seconds, for tests.
    """

    def __init__(self, threads: int, *, cpus: int | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        # One thread goes first: on a busy machine the very first step, with all of them, took 24 seconds.
        self._choices = (threads,) if threads else tuple(sorted({1, cpus or os.cpu_count() or 1}))
        self._clock = clock
        self._speed: dict[int, float] = {}
        self._left_to_probe, self._probe_after = _FIRST_PROBE, _FIRST_PROBE
        self._warm = False
        self.threads = self._choices[0]
        torch.set_num_threads(self.threads)

    def begin(self) -> None:
        """Choose for the step that comes."""
        untried = [choice for choice in self._choices if choice not in self._speed]
        by_speed = sorted(self._speed, key=lambda choice: self._speed[choice])
        if untried:
            chosen = untried[0]
        elif self._left_to_probe <= 0 and len(by_speed) > 1:
            chosen = by_speed[0]
        else:
            chosen = by_speed[-1]
        if chosen != self.threads:
            torch.set_num_threads(chosen)
            self.threads = chosen
        self._started = self._clock()

    def end(self, images: int) -> None:
        """Take note of how long the step with so many images took."""
        speed = images / max(self._clock() - self._started, 1e-9)
        if not self._warm:  # the very first step also builds every convolution; it says nothing of the threads
            self._warm = True
            return
        before = max(self._speed, key=lambda choice: self._speed[choice], default=None)
        was_probe = self._left_to_probe <= 0 and self.threads != before
        # A probe counts in full: what is known of the slower choice is old.
        old = self._speed.get(self.threads)
        self._speed[self.threads] = speed if old is None or was_probe else 0.5 * old + 0.5 * speed
        after = max(self._speed, key=lambda choice: self._speed[choice])
        self._left_to_probe -= 1
        if after != before:
            self._probe_after = _FIRST_PROBE
        elif was_probe:
            # Still slower: a slow step costs much, so it is tried again half as often.
            self._probe_after = min(2 * self._probe_after, _LAST_PROBE)
        if was_probe or after != before:
            self._left_to_probe = self._probe_after
