"""Labeling as a model: readers with shifts, leases that run out, and batches that wait for their last object.

The rules are those of `dicom_workflow.groundtruth`: an object has as many places as it wants readers; a reader gets the first
object in manifest order with a free place; a place is taken by an answer or by a lease that has not run out; the next batch
opens when nothing of the last one is open. `labeling_replay` drives the real engine and its job database through the same hours
on a clock of its own, with the same readers, and both must agree to the last object.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

DAY = 86_400.0


@dataclass(frozen=True)
class Reader:
    """How a person reads. Seconds; a day begins at 0."""

    mean_seconds: float = 30.0
    spread: float = 0.6
    """Standard deviation of the time for one image over its mean (lognormal)."""
    begins: float = 0.0
    """Of the day's work."""
    hours: float = 24.0
    """Length of the day's work."""
    leaves: float = 0.0
    """Chance that an image is left without an answer, until its lease has run out."""
    away_seconds: float = 3600.0
    """How long a reader who left stays away."""
    looks_again_seconds: float = 60.0
    """How often one looks who found nothing to do."""


@dataclass(frozen=True)
class Job:
    objects: int = 1000
    places: int = 3
    """Readers per object."""
    batch: int = 1000
    """MaxConcurrentTaskCount."""
    lease_seconds: float = 1800.0
    adjudicated: float = 0.0
    """Share of objects that one more reader decides, in a job after this one."""


@dataclass(frozen=True)
class Labeled:
    """What came of a job."""

    seconds: float
    answers: int
    answers_per_hour: float
    wait_p50: float
    """Seconds from the opening of its batch until an object had all its answers."""
    wait_p90: float
    wait_p99: float
    idle_share: float
    """Of the time that readers were there: without an image."""
    lost_share: float
    """Of the time that readers were there: spent on an image that was then left, or whose place was gone."""
    expired: int
    batches: int
    completed: tuple[float, ...]
    """When each object had all its answers, in manifest order."""


class Desk(Protocol):
    """What hands out objects: the model, or the real engine."""

    def lease(self, reader: int, now: float) -> int | None: ...

    def answer(self, reader: int, number: int, now: float) -> tuple[str, int | None]: ...

    def over(self) -> bool: ...


class ModelDesk:
    """Batches and leases in memory."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._answered: dict[int, set[int]] = {}
        self._held: dict[int, dict[int, float]] = {}  # object → reader → when the lease runs out
        self._mine: dict[int, int] = {}  # reader → object in hand
        self._from: dict[int, int] = {}  # reader → where to look next
        self._leases: list[tuple[float, int]] = []
        self._opened = self._closed = 0
        self.completed: dict[int, float] = {}
        self.opened_at: dict[int, float] = {}
        self.batches = self.expired = 0
        self._open(0.0)

    def over(self) -> bool:
        return len(self.completed) == self._job.objects

    def lease(self, reader: int, now: float) -> int | None:
        self._run_out(now)
        mine = self._mine.get(reader)
        if mine is not None and self._held.get(mine, {}).get(reader, -1.0) > now:
            return mine
        for number in range(max(self._from.get(reader, 0), self._closed), self._opened):
            if number not in self.completed and self._is_free(number, reader):
                self._held.setdefault(number, {})[reader] = now + self._job.lease_seconds
                heapq.heappush(self._leases, (now + self._job.lease_seconds, number))
                self._mine[reader] = number
                self._from[reader] = number
                return number
        self._from[reader] = self._opened
        return None

    def answer(self, reader: int, number: int, now: float) -> tuple[str, int | None]:
        self._run_out(now)
        outcome = self._accept(reader, number, now)
        following = self.lease(reader, now)
        self._close(now)
        return outcome, following

    def _accept(self, reader: int, number: int, now: float) -> str:
        given = self._answered.setdefault(number, set())
        if number in self.completed:
            return "closed"
        in_hand = self._held.get(number, {}).get(reader, -1.0) > now
        if not in_hand and len(given) + len(self._held.get(number, {})) >= self._job.places:
            return "taken"
        given.add(reader)
        self._held.get(number, {}).pop(reader, None)
        self._from[reader] = min(self._from.get(reader, 0), number)
        if len(given) >= self._job.places:
            self.completed[number] = now
        return "accepted"

    def _is_free(self, number: int, reader: int) -> bool:
        given, held = self._answered.get(number, set()), self._held.get(number, {})
        return reader not in given and len(given) + len(held) < self._job.places

    def _run_out(self, now: float) -> None:
        while self._leases and self._leases[0][0] <= now:
            _, number = heapq.heappop(self._leases)
            for reader, until in list(self._held.get(number, {}).items()):
                if until <= now:
                    del self._held[number][reader]
                    self.expired += 1
                    # Whoever looked past this object must look at it again.
                    for other, place in self._from.items():
                        self._from[other] = min(place, number)

    def _close(self, now: float) -> None:
        if len(self.completed) == self._opened and self._opened < self._job.objects:
            for number in range(self._closed, self._opened):
                self._answered.pop(number, None)
                self._held.pop(number, None)
            self._open(now)

    def _open(self, now: float) -> None:
        self._closed, self._opened = self._opened, min(self._job.objects, self._opened + self._job.batch)
        for number in range(self._closed, self._opened):
            self.opened_at[number] = now
        self.batches += 1


def work(readers: Sequence[Reader], desk: Desk, seed: int = 0) -> tuple[float, dict[str, float], list[tuple[float, int, int]]]:
    """Let readers work at a desk until it has nothing left.

    Returns
    -------
    float, dict, list
        When the last answer was accepted; seconds that readers were there, by kind; each accepted answer as time, reader,
        object.
    """
    spent = {"reading": 0.0, "idle": 0.0, "lost": 0.0}
    answers: list[tuple[float, int, int]] = []
    draws = [random.Random(f"{seed} {number}") for number in range(len(readers))]
    order = itertools.count()
    due: list[tuple[float, int, int, Callable[[float], None]]] = []
    ended = 0.0

    def later(when: float, reader: int, call: Callable[[float], None]) -> None:
        heapq.heappush(due, (when, next(order), reader, call))

    def look(reader: int) -> Callable[[float], None]:
        def call(now: float) -> None:
            person = readers[reader]
            start = at_work(person, now)
            if start > now:
                later(start, reader, look(reader))
                return
            number = desk.lease(reader, now)
            if number is None:
                if not desk.over():
                    spent["idle"] += person.looks_again_seconds
                    later(now + person.looks_again_seconds, reader, look(reader))
                return
            take(reader, number, now)

        return call

    def take(reader: int, number: int, now: float) -> None:
        person, draw = readers[reader], draws[reader]
        seconds = lognormal(draw, person.mean_seconds, person.spread)
        if draw.random() < person.leaves:
            spent["lost"] += seconds
            later(now + seconds + person.away_seconds, reader, look(reader))
        else:
            later(now + seconds, reader, finish(reader, number, seconds))

    def finish(reader: int, number: int, seconds: float) -> Callable[[float], None]:
        def call(now: float) -> None:
            nonlocal ended
            outcome, following = desk.answer(reader, number, now)
            spent["reading" if outcome == "accepted" else "lost"] += seconds
            if outcome == "accepted":
                answers.append((now, reader, number))
                ended = now
            if following is None or at_work(readers[reader], now) > now:
                # A lease in hand at the end of the day stays until it runs out, or until its reader is back.
                later(now, reader, look(reader))
            else:
                take(reader, following, now)

        return call

    for number, person in enumerate(readers):
        later(person.begins, number, look(number))
    while due:
        now, _, _, call = heapq.heappop(due)
        call(now)
    return ended, spent, answers


def simulate(job: Job, readers: Sequence[Reader], seed: int = 0) -> Labeled:
    """Return what becomes of a job. Its adjudication, when it has one, is `adjudication_of` it."""
    if len(readers) < job.places:
        raise ValueError(f"expected at least {job.places} readers, as many as places of an object, got {len(readers)}.")
    desk = ModelDesk(job)
    ended, spent, answers = work(readers, desk, seed)
    waits = sorted(desk.completed[number] - desk.opened_at[number] for number in range(job.objects))
    there = sum(spent.values()) or 1.0

    def percentile(share: float) -> float:
        return waits[int(share * (len(waits) - 1))]

    return Labeled(
        seconds=ended,
        answers=len(answers),
        answers_per_hour=len(answers) / (ended / 3600),
        wait_p50=percentile(0.5),
        wait_p90=percentile(0.9),
        wait_p99=percentile(0.99),
        idle_share=spent["idle"] / there,
        lost_share=spent["lost"] / there,
        expired=desk.expired,
        batches=desk.batches,
        completed=tuple(desk.completed[number] for number in range(job.objects)),
    )


def adjudication_of(job: Job) -> Job | None:
    """Return the job in which one more reader decides what the first ones did not agree on."""
    objects = round(job.objects * job.adjudicated)
    return replace(job, objects=objects, places=1, adjudicated=0.0) if objects else None


def at_work(person: Reader, now: float) -> float:
    """Return the next moment, now or later, at which a person is there."""
    if person.hours >= 24:
        return now
    since = (now - person.begins) % DAY
    return now if since < person.hours * 3600 else now + DAY - since


def lognormal(draw: random.Random, mean: float, spread: float) -> float:
    """A positive time around a mean."""
    if spread <= 0:
        return mean
    variance = math.log(1 + spread**2)
    return draw.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))
