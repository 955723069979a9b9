"""What the models of `scale.py` are calibrated on and judged by: the real upload and the real labeling service, timed here.

Calibration takes the processor time of each step and three rates; the others are predicted and compared.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import requests
from ingest_model import Ingest, simulate
from labeling_model import Job, Reader, lognormal
from labeling_model import simulate as simulate_labeling
from labeling_replay import LABELS, REGION, job_request, replay
from link import link
from upload import make_images, processor_seconds

from dicom_workflow import manifest
from dicom_workflow.archive.orthanc import OrthancArchive
from dicom_workflow.archive.server import OrthancServer, free_port
from dicom_workflow.archive.transfer import upload
from dicom_workflow.groundtruth.accounts import put_workers
from dicom_workflow.groundtruth.readers import SimulatedReader, read_all
from dicom_workflow.labeling.templates import publish_template
from dicom_workflow.records import Answer
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.storage import Storage, to_uri

PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins", "/usr/lib/orthanc")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


STORE_SHARE = 0.9
"""Of Orthanc's processor time for one file: the rest is reading it back."""

# Ingest


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
    # Calibrated on the first two; the next are predicted and judged. On loopback nothing ever waits, and Python's lock and the
    # machine's other work decide, which are not modeled: shown, and not judged.
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
    predicted = {}
    for name, (workers, round_trip_ms) in points.items():
        # What a step costs depends on what else the machine does at the moment, so processor times, other work and what the
        # stand-in for a network took are those of the same run. Rates never are.
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
            processors=os.cpu_count() or 1,
            others=min(0.95, run.others / (os.cpu_count() or 1)),
            shared=True,
        )
        predicted[name] = simulate(plan).files_per_second
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


# The index in PostgreSQL


def measure_postgres(folder: Path, files: int) -> dict[str, Any] | None:
    """Count what one instance asks of a PostgreSQL index; None without PostgreSQL or Orthanc's plugin for it."""
    plugins = [path for place in PLUGIN_FOLDERS for path in sorted(Path(place).glob("libOrthancPostgreSQLIndex.so*"))]
    plugins += [Path(name) for name in [os.environ.get("ORTHANC_POSTGRESQL_INDEX", "")] if name]
    if not plugins or not POSTGRES:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    images = make_images(folder / "images", files)
    with postgres(folder / "postgres") as (port, log, query):
        options = {
            "Plugins": [str(plugins[-1])],
            "PostgreSQL": {
                "EnableIndex": True,
                "EnableStorage": False,
                "Host": "127.0.0.1",
                "Port": port,
                "Database": "orthanc",
                "Username": "orthanc",
                "Password": "none",
                "Lock": False,
            },
        }
        with OrthancServer(folder / "orthanc", options) as server:
            archive = OrthancArchive(server.url, user=server.user, password=server.password)
            before, begin = int(query("SELECT pg_database_size('orthanc')")), log.stat().st_size
            report = upload(images, archive, progress=False)
            assert report.ok
            archive.close()
            said = log.read_bytes()[begin:]
            size = int(query("SELECT pg_database_size('orthanc')")) - before
            seconds = offset_seconds(query)
    statements = said.count(b"LOG:  statement") + said.count(b"LOG:  execute")
    return {
        "statements_per_instance": round(statements / files, 1),
        "bytes_per_instance": round(size / files),
        "offset_rows_per_second": round(1 / seconds),
        "files": files,
    }


def offset_seconds(query: Any, rows: int = 400_000) -> float:
    """Return what passing over one row by OFFSET costs, as a listing by `since` and `limit` does."""
    numbers = f"generate_series(1, {rows:d}) n"
    query("CREATE TABLE listing AS SELECT n AS id, md5(n::text) AS name FROM " + numbers)  # noqa: S608  a number of ours
    query("CREATE INDEX ON listing (name)")
    query("VACUUM ANALYZE listing")
    began = time.perf_counter()
    query(f"SELECT name FROM listing ORDER BY name LIMIT 1 OFFSET {rows - 1:d}")  # noqa: S608  a number of ours
    taken = time.perf_counter() - began
    began = time.perf_counter()
    query("SELECT name FROM listing ORDER BY name LIMIT 1")
    return max(1e-9, (taken - (time.perf_counter() - began)) / rows)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[int, Path, Any]]:
    """A PostgreSQL server of its own, with every statement in its log."""
    folder.mkdir(parents=True)
    log, port = folder / "server.log", free_port()
    data = folder / "data"
    data.mkdir()
    # PostgreSQL refuses to run as root; nobody else needs to be somebody else.
    become: list[str] = []
    if os.geteuid() == 0:
        become = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        for place in [data, *data.parents]:
            if place == Path("/"):
                break
            place.chmod(place.stat().st_mode | 0o055)
        shutil.chown(data, "postgres", "postgres")
    data.chmod(0o700)
    tools = POSTGRES[0]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*become, tools / "initdb", "-D", data, "-A", "trust", "-U", "orthanc"], **quiet)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "log_statement=all", "-k", str(data)]

    def query(sql: str, database: str = "orthanc") -> str:
        command = [tools / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "orthanc", "-d", database, "-Atc", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    with log.open("wb") as stream:
        command = [*become, tools / "postgres", "-D", data, "-p", str(port), *options]
        server = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            for _ in range(100):
                with contextlib.suppress(subprocess.CalledProcessError):
                    query("CREATE DATABASE orthanc", "postgres")
                    break
                time.sleep(0.1)
            yield port, log, query
        finally:
            server.terminate()
            server.wait(30)


# Labeling


def measure_engine(folder: Path, objects: int, seed: int) -> dict[str, Any]:
    """Run the real engine on the model's clock and compare every answer: who, what, when."""
    job = Job(objects=objects, places=3, batch=max(10, objects // 5), lease_seconds=90)
    readers = [
        Reader(
            mean_seconds=20 + 6 * number,
            leaves=0.02,
            away_seconds=60 + 40 * number,
            looks_again_seconds=9,
            begins=30.0 * number,
            hours=0.5,
        )
        for number in range(6)
    ]
    began = time.perf_counter()
    answers, status = replay(folder, job, readers, seed)
    taken = time.perf_counter() - began
    model = simulate_labeling(job, readers, seed)
    done: dict[int, float] = {}
    for when, _, number in answers:
        done[number] = when
    differences = [abs(done[number] - when) for number, when in enumerate(model.completed)]
    return {
        "answers": len(answers),
        "model_answers": model.answers,
        "status": status,
        "expired": model.expired,
        "batches": model.batches,
        "greatest_difference_seconds": round(max(differences), 6),
        "clock_hours": round(model.seconds / 3600, 2),
        "engine_answers_per_second": round(len(answers) / taken),
    }


@dataclass(frozen=True)
class _Paced(SimulatedReader):
    """A simulated reader who takes time."""

    pace: Any = None

    def read(self, sop_instance_uid: str, labels: Sequence[str], truth: Any, regions: Any = None) -> Answer:
        if self.pace is not None:
            time.sleep(self.pace())
        return super().read(sop_instance_uid, labels, truth, regions)


def measure_portal(folder: Path, objects: int, think_seconds: float, seed: int) -> dict[str, Any]:
    """Let simulated readers label through the real portal; calibrate on one who does not think, predict three who do."""
    folder.mkdir(parents=True, exist_ok=True)
    images = make_images(folder / "images", objects)
    with _portal(folder / "workspace", images) as portal:
        single = _label(portal, "single", 1, objects, None, seed)
        crowd = _label(portal, "crowd", 3, objects, None, seed)
        thoughtful = _label(portal, "thoughtful", 3, objects, think_seconds, seed)
    overhead = single / objects
    job = Job(objects=objects, places=3, batch=max(5, objects // 3), lease_seconds=1800)
    readers = [Reader(think_seconds, 0.6, looks_again_seconds=0.25) for _ in range(3)]
    slower = [replace(person, mean_seconds=think_seconds + overhead) for person in readers]
    predicted = simulate_labeling(job, slower, seed).seconds
    return {
        "objects": objects,
        "portal_ms_per_answer": round(1000 * overhead, 1),
        "portal_answers_per_second": round(3 * objects / crowd, 1),
        "think_seconds": think_seconds,
        "measured_seconds": round(thoughtful, 2),
        "predicted_seconds": round(predicted, 2),
        "error": round(abs(predicted / thoughtful - 1), 3),
    }


@dataclass(frozen=True)
class _Portal:
    settings: Settings
    passwords: dict[str, Secret]
    images: list[Path]


@contextlib.contextmanager
def _portal(workspace: Path, images: list[Path]) -> Iterator[_Portal]:
    workspace.mkdir(parents=True)
    port, key, secret = free_port(), "AKIABENCHMARK", secrets.token_urlsafe(24)
    settings = Settings(
        workspace=workspace,
        archive="folder",
        groundtruth_url=f"http://127.0.0.1:{port}",
        groundtruth_access_key=key,
        groundtruth_secret_key=Secret(secret),
        region=REGION,
    )
    (workspace / "images").mkdir()
    placed = [Path(shutil.copy(path, workspace / "images" / path.name)) for path in images]
    publish_template(to_uri(workspace / "page.liquid.html"), Storage())
    manifest.write(to_uri(workspace / "input.manifest"), ({"source-ref": to_uri(path), "labels": LABELS} for path in placed))
    environment = {
        **os.environ,
        "DICOM_WORKFLOW_WORKSPACE": str(workspace),
        "ARCHIVE": "folder",
        "GROUNDTRUTH_ACCESS_KEY": key,
        "GROUNDTRUTH_SECRET_KEY": secret,
        "AWS_REGION": REGION,
    }
    with (workspace.parent / "portal.log").open("wb") as log:
        command = [sys.executable, "-m", "dicom_workflow.groundtruth", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _await(f"{settings.groundtruth_url}/health", process)
            members = [{"OidcMemberDefinition": {"Groups": ["readers"]}}]
            _client(settings).create_workteam(WorkteamName="readers", Description="d", MemberDefinitions=members)
            passwords = {f"reader-{number}": Secret(secrets.token_urlsafe(12)) for number in range(3)}
            put_workers(settings, passwords, "readers")
            yield _Portal(settings, passwords, placed)
        finally:
            process.terminate()
            process.wait(20)


def _client(settings: Settings) -> Any:
    return boto3.client(
        "sagemaker",
        endpoint_url=settings.groundtruth_url,
        region_name=settings.region,
        aws_access_key_id=settings.groundtruth_access_key,
        aws_secret_access_key=settings.groundtruth_secret_key.reveal(),
    )


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=2).ok:
                return
        time.sleep(0.05)
    raise RuntimeError("the labeling service did not start")


def _label(portal: _Portal, name: str, readers: int, objects: int, think_seconds: float | None, seed: int) -> float:
    """Seconds from the first to the last answer of a job."""
    workspace = portal.settings.workspace
    batch = max(5, objects // 3) if think_seconds else 1000
    request = job_request(workspace, to_uri(workspace / "input.manifest"), Job(objects, readers, batch))
    _client(portal.settings).create_labeling_job(**{**request, "LabelingJobName": name})

    def pace(number: int) -> Any:
        draw = random.Random(f"{seed} {number}")
        return (lambda: lognormal(draw, think_seconds, 0.6)) if think_seconds else None

    people = [(_Paced(f"reader-{n}", pace=pace(n)), portal.passwords[f"reader-{n}"]) for n in range(readers)]
    began = time.perf_counter()
    readings = read_all(portal.settings.groundtruth_url, people, {}, progress=False)
    assert sum(reading.answered for reading in readings) == readers * objects, readings
    return time.perf_counter() - began
