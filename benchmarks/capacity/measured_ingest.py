"""The real upload, timed, and what the model of ingest says of it.

Calibration takes the waiting of one worker alone and the round trips of a file; the other rates are predicted and compared.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from capacity.ingest_model import Ingest, simulate
from capacity.link import link
from upload import make_images, processor_seconds

from dicom_workflow.archive.orthanc import OrthancArchive
from dicom_workflow.archive.orthanc_process import OrthancServer
from dicom_workflow.archive.upload import upload

STORE_SHARE = 0.9
"""Of Orthanc's processor time for one file: the rest is reading it back."""


@dataclass(frozen=True)
class Upload:
    """One measured upload with read-back. Seconds are per file, of processor time."""

    files_per_second: float
    client_seconds: float
    server_seconds: float
    relay_seconds: float
    others: float
    """Processors that other work on the machine kept busy."""


def measure_upload(files: Sequence[Path], folder: Path, workers: int, round_trip_ms: float, options: dict[str, Any]) -> Upload:
    """Upload files to a fresh Orthanc."""
    with OrthancServer(folder, options) as server:
        relay = children_seconds()
        with contextlib.ExitStack() as stack:
            url = server.url
            if round_trip_ms:
                url = f"http://127.0.0.1:{stack.enter_context(link(int(url.rpartition(':')[2]), round_trip_ms))}"
            archive = OrthancArchive(url, user=server.user, password=server.password)
            stack.callback(archive.close)
            archive.check()
            before, own, began = processor_seconds(server.pid), time.process_time(), time.perf_counter()
            machine = machine_seconds()
            report = upload(list(files), archive, workers=workers, progress=False)
            taken = time.perf_counter() - began
            used = time.process_time() - own, processor_seconds(server.pid) - before
            machine = machine_seconds() - machine
        assert report.ok and len(report.instances) == len(files), report.counts
        per = 1 / len(files)
        relayed = max(0.0, children_seconds() - relay - relay_start_seconds()) if round_trip_ms else 0.0
        others = max(0.0, (machine - sum(used) - relayed) / taken)
        return Upload(len(files) / taken, used[0] * per, used[1] * per, relayed * per, others)


def machine_seconds() -> float:
    """Processor time that the whole machine has given to anybody, and that was taken from it (Linux)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Processor time of the processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@cache
def relay_start_seconds() -> float:
    """Processor time of a relay that has nothing to do: that of starting it."""
    before = children_seconds()
    with link(1, 20.0):
        pass
    return children_seconds() - before


def measure_ingest(folder: Path, files: int, rounds: int, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Time uploads, calibrate the model on some, and predict the others; the best of some rounds, 0 for a quick look."""
    folder.mkdir(parents=True, exist_ok=True)
    images = make_images(folder / "images", files)
    size_mb = statistics.mean(path.stat().st_size for path in images) / 1e6
    # Calibrated on the first two; the next are predicted and judged. On loopback nothing ever waits for a network, and Python's
    # lock decides, which is not modeled: shown, and not judged.
    calibrated = {"1 worker": (1, 0.0), "1 worker, 20 ms": (1, 20.0)}
    judged = {"4 workers, 20 ms": (4, 20.0), "12 workers, 20 ms": (12, 20.0), "16 workers, 50 ms": (16, 50.0)}
    shown = {"2 workers": (2, 0.0), "16 workers": (16, 0.0)}
    if not rounds:
        judged, shown = dict([next(iter(judged.items()))]), {}
    points = {**calibrated, **judged, **shown}
    measured: dict[str, list[Upload]] = {name: [] for name in points}
    for number in range(max(1, rounds)):
        for name, (workers, round_trip_ms) in points.items():
            place = folder / f"{number} {name}".replace(" ", "-")
            measured[name].append(measure_upload(images, place, workers, round_trip_ms, options or {}))
            shutil.rmtree(place)
    found = {name: max(runs, key=lambda run: run.files_per_second) for name, runs in measured.items()}
    alone = found["1 worker"]
    waiting = max(0.0, 1 / alone.files_per_second - alone.client_seconds - alone.server_seconds)
    far = max(0.0, 1 / found["1 worker, 20 ms"].files_per_second - 1 / alone.files_per_second)
    predicted, processors = {}, os.cpu_count() or 1
    for name, (workers, round_trip_ms) in points.items():
        # What a step costs depends on what else the machine does at the moment, so processor times, what the stand-in for a
        # network took, and what other work took, which is a ceiling, are those of the same run. Rates never are.
        run = found[name]
        plan = Ingest(
            files=4 * files,
            workers=workers,
            file_mb=size_mb,
            client_seconds=run.client_seconds,
            store_seconds=run.server_seconds * STORE_SHARE,
            read_seconds=run.server_seconds * (1 - STORE_SHARE),
            disk_seconds=waiting,
            relay_seconds=run.relay_seconds,
            round_trip_seconds=round_trip_ms / 1000,
            round_trips=far / 0.02,
            processors=processors,
            shared=True,
        )
        computing = run.client_seconds + run.server_seconds + run.relay_seconds
        predicted[name] = min(simulate(plan).files_per_second, (processors - run.others) / computing)
    return {
        "file_mb": round(size_mb, 2),
        "files": files,
        "client_ms": round(1000 * alone.client_seconds, 2),
        "server_ms": round(1000 * alone.server_seconds, 2),
        "waiting_ms": round(1000 * waiting, 2),
        "round_trips": round(far / 0.02, 2),
        "measured_per_second": {name: round(run.files_per_second, 1) for name, run in found.items()},
        "predicted_per_second": {name: round(rate, 1) for name, rate in predicted.items()},
        "others": {name: round(run.others, 2) for name, run in found.items()},
        "judged_on": list(judged),
        "error": round(max(abs(predicted[name] / found[name].files_per_second - 1) for name in judged), 3),
    }
