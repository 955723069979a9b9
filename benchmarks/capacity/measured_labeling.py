"""The real labeling service, timed, and what the model of labeling says of it.

Calibration takes one reader who does not think; three who take time are predicted and compared. The engine and its job database
on the model's clock must agree with the model answer by answer.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import requests
from capacity.labeling_model import Job, Reader, lognormal
from capacity.labeling_model import simulate as simulate_labeling
from capacity.labeling_replay import LABELS, REGION, job_request, replay
from upload import make_images

from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer
from dicom_workflow.labeling.client import put_workers
from dicom_workflow.labeling.templates import publish_template
from dicom_workflow.processes import free_port
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.simulation.readers import SimulatedReader, read_all
from dicom_workflow.storage import Storage, to_uri


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
class _ThoughtfulReader(SimulatedReader):
    """A simulated reader with thinking time."""

    think: Any = None

    def read(self, *arguments: Any, **options: Any) -> Answer:
        if self.think is not None:
            time.sleep(self.think())
        return super().read(*arguments, **options)


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
    manifests.write(to_uri(workspace / "input.manifest"), ({"source-ref": to_uri(path), "labels": LABELS} for path in placed))
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

    def thinking(number: int) -> Any:
        draw = random.Random(f"{seed} {number}")
        return (lambda: lognormal(draw, think_seconds, 0.6)) if think_seconds else None

    people = [(_ThoughtfulReader(f"reader-{n}", think=thinking(n)), portal.passwords[f"reader-{n}"]) for n in range(readers)]
    began = time.perf_counter()
    readings = read_all(portal.settings.groundtruth_url, people, {}, progress=False)
    assert sum(reading.answered for reading in readings) == readers * objects, readings
    return time.perf_counter() - began
