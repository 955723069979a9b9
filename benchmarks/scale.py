"""Duration of ingest and labeling beyond one machine: a discrete-event simulation, calibrated and validated here.

    python benchmarks/scale.py
    python benchmarks/scale.py --quick

Three measurements come first, on this machine: real uploads to a real Orthanc with every byte read back; the real labeling
service with readers who need time; the real engine and job database on the clock of the simulation. The models are calibrated
on some of the measurements and must predict the others: `ingest_error` and `labeling_error` are the largest relative
differences, and `engine_difference_seconds` is the largest difference in time between an answer of the engine and of the
model. The processor time of other work on the machine is measured and subtracted; `load` is the load average. Then the models
run at sizes that cannot be measured here: many uploaders and tasks, shifts of readers, expiring leases, lost responses.

A billion objects are not simulated one by one. `decades` shows that time is proportional to the number of objects over three
decades, so that `capacity.model` may extrapolate.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from capacity import ingest_model, labeling_model, measured_database, measured_ingest, measured_labeling, model
from capacity.ingest_model import Ingest
from capacity.labeling_model import Job, Reader, adjudication_of

TOLERANCE = {"ingest_error": 0.25, "labeling_error": 0.15, "engine_difference_seconds": 1e-6, "decade_error": 0.05}
"""Largest accepted errors."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer files, rounds and objects; figures mean little")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    quick, seed = options.quick, options.seed
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = reported("engine", measured_labeling.measure_engine(folder / "engine", 40 if quick else 400, seed))
        objects, think_seconds = (6, 0.05) if quick else (60, 0.2)
        portal = reported("portal", measured_labeling.measure_portal(folder / "portal", objects, think_seconds, seed))
        database = reported("postgresql", None if quick else measured_database.measure_postgres(folder / "database", 400))
        ingest = reported("ingest", measured_ingest.measure_ingest(folder / "ingest", 20 if quick else 120, 0 if quick else 3))
    simulated = {
        "ingest": reported("simulated ingest", ingest_sweep(10_000 if not quick else 2_000, seed)),
        "labeling": reported("simulated labeling", labeling_sweep(10_000 if not quick else 400, seed)),
        "decades": reported("decades", decades((1_000, 10_000, 100_000) if not quick else (300, 1_000, 3_000), seed)),
    }
    figures = {
        "ingest_error": ingest["error"],
        "labeling_error": portal["error"],
        "engine_difference_seconds": engine["greatest_difference_seconds"],
        "decade_error": simulated["decades"]["error"],
    }
    holds = {name: figures[name] <= most for name, most in TOLERANCE.items()}
    efficiency = simulated["labeling"]["usual"]["efficiency"]
    print(
        json.dumps(
            {
                "benchmark": "scale",
                **figures,
                "tolerance": TOLERANCE,
                "holds": holds,
                "labeling_efficiency": efficiency,
                "labeling_efficiency_assumed": model.ASSUMPTIONS["labeling_efficiency"].value,
                "measured": {"ingest": ingest, "portal": portal, "engine": engine, "postgresql": database},
                "simulated": simulated,
                "processors": os.cpu_count(),
                "load": [round(value, 1) for value in os.getloadavg()],
                "seed": seed,
            }
        )
    )
    return 0


def reported(what: str, found: Any) -> Any:
    """Print a result to standard error and return it."""
    print(f"{what}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def cloud_ingest(uploaders: int, tasks: int, files: int) -> Ingest:
    """Return the plan of an ingest on AWS with the assumptions of `capacity.model`."""
    assumed = model.ASSUMPTIONS
    size_mb = model.image_bytes("jpeg_ls") / 1e6
    read = assumed["orthanc_read_ms_per_mb"].value * size_mb / 1000
    return Ingest(
        files=files,
        uploaders=uploaders,
        workers=int(assumed["upload_workers"].value),
        file_mb=size_mb,
        round_trip_seconds=assumed["round_trip_ms"].value / 1000,
        link_mb_per_second=assumed["uplink_mb_per_second"].value,
        client_seconds=(assumed["client_ms"].value + assumed["client_ms_per_mb"].value * size_mb) / 1000,
        tasks=tasks,
        processors=int(assumed["orthanc_vcpu"].value),
        store_seconds=model.orthanc_seconds("jpeg_ls") - read,
        read_seconds=read,
        index_seconds=assumed["index_serial_ms"].value / 1000,
        disk_seconds=assumed["index_statements"].value * assumed["index_round_trip_ms"].value / 1000,
        round_trips=assumed["upload_round_trips"].value,
    )


def ingest_sweep(files: int, seed: int) -> dict[str, Any]:
    """Files per second for each fleet, and with lost responses, next to the computed figures."""
    rows = {}
    for uploaders, tasks in model.FLEETS:
        found = ingest_model.simulate(cloud_ingest(uploaders, tasks, files), seed)
        bound = model.ingest(1_000_000, uploaders, tasks)
        rows[f"{of(uploaders, 'uploader')}, {of(tasks, 'task')}"] = {
            "images_per_second": round(found.files_per_second, 1),
            "arithmetic": round(bound.images_per_second, 1),
            "p50_seconds": round(found.p50_seconds, 2),
            "p99_seconds": round(found.p99_seconds, 2),
            "server_share": round(found.server_share, 2),
            "index_share": round(found.index_share, 2),
        }
    plan = cloud_ingest(4, 2, files)
    lossy = ingest_model.simulate(replace(plan, lost=0.01), seed)
    rows["4 uploaders, 2 tasks, 1 response in 100 lost"] = {
        "images_per_second": round(lossy.files_per_second, 1),
        "p99_seconds": round(lossy.p99_seconds, 2),
        "retries": lossy.retries,
        "read_back": lossy.verified,
    }
    return rows


def of(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def usual_readers(count: int) -> list[Reader]:
    """Readers with the assumed times, whose days begin at different hours."""
    assumed = model.ASSUMPTIONS
    return [
        Reader(
            mean_seconds=assumed["seconds_per_image"].value * (0.8 + 0.4 * (number % 5) / 4),
            spread=0.6,
            begins=8 * 3600.0 + 1800.0 * (number % 5),
            hours=assumed["reader_hours_per_day"].value,
            leaves=0.001,
            away_seconds=900.0,
        )
        for number in range(count)
    ]


def labeling_sweep(objects: int, seed: int) -> dict[str, Any]:
    """A typical job, and variants that differ in one parameter."""
    assumed = model.ASSUMPTIONS
    job = Job(objects=objects, places=int(assumed["readers_per_image"].value), adjudicated=assumed["adjudicated"].value)
    readers = usual_readers(20)
    cases: dict[str, tuple[Job, list[Reader]]] = {
        "usual": (job, readers),
        "batches of 100": (replace(job, batch=100), readers),
        "batches of 5000": (replace(job, batch=5000), readers),
        "leases of 5 minutes": (replace(job, lease_seconds=300), readers),
        "leases of 8 hours": (replace(job, lease_seconds=28_800), readers),
        "as many readers as readings per image": (job, usual_readers(job.places)),
        "one reader for each image": (replace(job, places=1), readers),
        "no abandoned images": (job, [replace(person, leaves=0.0) for person in readers]),
    }
    return {name: labeled(*case, seed) for name, case in cases.items()}


def labeled(job: Job, readers: list[Reader], seed: int) -> dict[str, Any]:
    found = labeling_model.simulate(job, readers, seed)
    second = adjudication_of(job)
    first = min(person.begins for person in readers)
    days = (found.seconds - first) / 86_400
    more = (labeling_model.simulate(second, readers, seed).seconds - first) / 86_400 if second else 0.0
    return {
        "batch": job.batch,
        "days": round(days, 2),
        "days_with_adjudication": round(days + more, 2),
        "efficiency": round(1 - found.idle_share - found.lost_share, 3),
        "idle_share": round(found.idle_share, 3),
        "lost_share": round(found.lost_share, 3),
        "expired": found.expired,
        "object_wait_hours": [round(value / 3600, 2) for value in (found.wait_p50, found.wait_p90, found.wait_p99)],
    }


def decades(sizes: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Time per object over three decades of sizes."""
    rows = []
    for size in sizes:
        began = time.perf_counter()
        uploaded = ingest_model.simulate(cloud_ingest(4, 2, size), seed)
        read = labeling_model.simulate(Job(objects=size, batch=1000), [Reader() for _ in range(20)], seed)
        rows.append(
            {
                "objects": size,
                "ingest_ms_per_object": round(1000 * uploaded.seconds / size, 3),
                "labeling_seconds_per_object": round(read.seconds / size, 3),
                "simulated_in_seconds": round(time.perf_counter() - began, 2),
            }
        )
    last, before = rows[-1], rows[-2]
    keys = ("ingest_ms_per_object", "labeling_seconds_per_object")
    return {"rows": rows, "error": round(max(abs(last[key] / before[key] - 1) for key in keys), 3)}


if __name__ == "__main__":
    sys.exit(main())
