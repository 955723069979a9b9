"""Ingest as a model: uploaders that send files and read them back, a network, Orthanc tasks, one database.

Each of an uploader's workers takes the next file, looks through it, sends it, and reads it back; an attempt whose answer is
lost is made again, and Orthanc, which has the file already, answers sooner. The times of the steps are what was measured of the
real upload; what is modeled is who has to wait for whom.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from capacity.events import Loop, Place, Process


@dataclass(frozen=True)
class Ingest:
    """What is there, and what one file costs. Seconds and megabytes."""

    files: int = 1000
    uploaders: int = 1
    workers: int = 16
    file_mb: float = 0.6
    round_trip_seconds: float = 0.0
    link_mb_per_second: float = math.inf
    """Of one uploader, each way."""
    client_seconds: float = 0.002
    """Processor time of looking through a file, sending and comparing it."""
    client_processors: int = 1
    """That one uploader's process can use: one, because it is Python."""
    tasks: int = 1
    processors: int = 2
    """Of one Orthanc task."""
    store_seconds: float = 0.002
    read_seconds: float = 0.001
    index_seconds: float = 0.0
    """In which one transaction keeps all others of the same database waiting."""
    disk_seconds: float = 0.0
    """Waiting for the disk or the bucket, where nobody else has to wait."""
    round_trips: float = 2.0
    """Of one file: one to send it, one to read it back, and what the connection adds."""
    relay_seconds: float = 0.0
    """Processor time of what stands in for the network, where there is such a thing; it is one process."""
    shared: bool = False
    """Uploader and Orthanc on the same processors, as when both run on one machine."""
    lost: float = 0.0
    """Share of attempts whose answer never comes."""
    timeout_seconds: float = 5.0
    spread: float = 0.3
    """Standard deviation of a processor time over its mean."""


@dataclass(frozen=True)
class Ingested:
    """What came of it."""

    files_per_second: float
    seconds: float
    p50_seconds: float
    """Of one file, from being taken to being read back."""
    p99_seconds: float
    server_share: float
    """Of the time of Orthanc's processors."""
    index_share: float
    """Of the time of the database's writer."""
    retries: int
    verified: int


def simulate(plan: Ingest, seed: int = 0) -> Ingested:
    """Return what becomes of a batch of files."""
    return _Batch(plan, seed).run()


class _Batch:
    def __init__(self, plan: Ingest, seed: int) -> None:
        self.plan, self.random, self.loop = plan, random.Random(seed), Loop()
        self.tasks = [Place(self.loop, plan.processors) for _ in range(plan.tasks)]
        self.index = Place(self.loop, 1)
        self.relay = Place(self.loop, 1)
        self.left, self.retries, self.done, self.verified = plan.files, 0, 0, 0
        self.seconds: list[float] = []
        self.ended = 0.0

    def run(self) -> Ingested:
        plan = self.plan
        for _ in range(plan.uploaders):
            client = Place(self.loop, plan.client_processors)
            up, down = Place(self.loop, 1), Place(self.loop, 1)
            for _ in range(plan.workers):
                self.loop.start(self.worker(client, up, down))
        self.loop.run()
        assert self.verified == plan.files, f"expected {plan.files} files read back, got {self.verified}"
        found, end = sorted(self.seconds), max(self.ended, 1e-12)
        return Ingested(
            files_per_second=plan.files / end,
            seconds=end,
            p50_seconds=found[len(found) // 2],
            p99_seconds=found[int(0.99 * (len(found) - 1))],
            server_share=sum(task.utilization for task in self.tasks) / plan.tasks,
            index_share=self.index.utilization,
            retries=self.retries,
            verified=self.verified,
        )

    def worker(self, client: Place, up: Place, down: Place) -> Process:
        plan = self.plan
        transfer = plan.file_mb / plan.link_mb_per_second
        while self.left:
            self.left -= 1
            began = self.loop.now
            task = self.random.choice(self.tasks)
            yield from self.compute(client, task, plan.client_seconds / 2)
            stored = False
            while True:
                yield plan.round_trip_seconds * plan.round_trips / 2
                if plan.relay_seconds:
                    yield from self.compute(self.relay, task, plan.relay_seconds / 2)
                if transfer:
                    yield from up.hold(transfer)
                yield from self.serve(task, stored)
                stored = True
                if self.random.random() >= plan.lost:
                    break
                self.retries += 1
                yield plan.timeout_seconds
            yield plan.round_trip_seconds * plan.round_trips / 2
            yield from task.hold(self.drawn(plan.read_seconds))
            if plan.relay_seconds:
                yield from self.compute(self.relay, task, plan.relay_seconds / 2)
            if transfer:
                yield from down.hold(transfer)
            yield from self.compute(client, task, plan.client_seconds / 2)
            self.verified += 1
            self.ended = self.loop.now
            self.seconds.append(self.loop.now - began)

    def serve(self, task: Place, stored: bool) -> Process:
        plan = self.plan
        yield from task.hold(self.drawn(plan.read_seconds if stored else plan.store_seconds))
        if not stored:
            if plan.disk_seconds:
                yield self.drawn(plan.disk_seconds)
            if plan.index_seconds:
                yield from self.index.hold(self.drawn(plan.index_seconds))

    def compute(self, process: Place, task: Place, seconds: float) -> Process:
        yield process
        if self.plan.shared:
            yield from task.hold(self.drawn(seconds))
        else:
            yield self.drawn(seconds)
        process.leave()

    def drawn(self, mean: float) -> float:
        """A time around a mean: a gamma variate, so never below 0."""
        if mean <= 0 or self.plan.spread <= 0:
            return max(mean, 0.0)
        shape = self.plan.spread**-2
        return self.random.gammavariate(shape, mean / shape)
