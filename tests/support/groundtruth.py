"""The labeling service for tests: a workspace with tiny radiographs, the real process on a free port, and jobs."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import requests
from botocore.config import Config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_workflow.formats import manifests
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import worker_id_of
from dicom_workflow.groundtruth.api.labeling_jobs import LabelingJobOperations
from dicom_workflow.groundtruth.api.workteams import WorkteamOperations
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.store.database import Database
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.leases import Leases
from dicom_workflow.groundtruth.store.sqlite import SqliteDatabase
from dicom_workflow.groundtruth.store.tables import Assignment
from dicom_workflow.labeling.client import put_workers
from dicom_workflow.labeling.templates import publish_template
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.simulation.portal_client import ReaderSummary
from dicom_workflow.simulation.readers import SimulatedReader, read_all
from dicom_workflow.storage import Storage, to_uri

KEY, SECRET = "AKIATESTKEY", "the secret of the tests"
REGION = "us-east-1"
LABELS = ["Edema", "Pneumonia", "No Finding"]
FUNCTION = f"arn:aws:lambda:{REGION}:000000000000:function:SageMaker-dicom-workflow-"
ROLE = "arn:aws:iam::000000000000:role/labeling"
TEAM = f"arn:aws:sagemaker:{REGION}:000000000000:workteam/private-crowd/readers"
NOW = 1_600_000_000.25
WORKERS = [worker_id_of(name, REGION) for name in ("a", "b", "c")]
PASSWORDS = {f"reader-{n}": Secret(f"password of reader {n}") for n in (1, 2, 3)}


def settings_for(workspace: Path, url: str = "") -> Settings:
    return Settings(
        workspace=workspace,
        archive="folder",
        groundtruth_url=url,
        groundtruth_access_key=KEY,
        groundtruth_secret_key=Secret(SECRET),
        region=REGION,
        timeout_seconds=20,
    )


def radiograph(number: int, side: int = 16) -> tuple[str, bytes]:
    """A valid DX instance of a seeded pattern; its SOP Instance UID follows from the number."""
    uid = generate_uid(entropy_srcs=["groundtruth test", str(number)])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid
    dataset.PatientID, dataset.Modality = f"P{number}", "DX"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["study", str(number)])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = np.random.default_rng(number).integers(0, 256, (side, side), np.uint8).tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return uid, buffer.getvalue()


@dataclass
class Images:
    """Radiographs in a workspace, the truth about them, and a manifest of them."""

    uris: list[str] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)
    truth: dict[str, dict[str, bool]] = field(default_factory=dict)
    manifest_uri: str = ""


def make_images(workspace: Path, count: int, **extra: Any) -> Images:
    images = Images()
    folder = workspace / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        uid, data = radiograph(number)
        (folder / f"{number}.dcm").write_bytes(data)
        images.uris.append(to_uri(folder / f"{number}.dcm"))
        images.uids.append(uid)
        images.truth[uid] = {"Edema": number % 3 == 0, "Pneumonia": number % 4 == 0}
    images.manifest_uri = to_uri(workspace / "input.manifest")
    entries = ({"source-ref": uri, "labels": LABELS, "case": n, **extra} for n, uri in enumerate(images.uris))
    manifests.write(images.manifest_uri, entries)
    publish_template(to_uri(workspace / "radiograph.liquid.html"), Storage())
    return images


def job_request(workspace: Path, name: str = "reading", *, workers: int = 3, **human: Any) -> dict[str, Any]:
    """What create_labeling_job takes; a keyword of None leaves a parameter of HumanTaskConfig out."""
    config = {
        "WorkteamArn": TEAM,
        "UiConfig": {"UiTemplateS3Uri": to_uri(workspace / "radiograph.liquid.html")},
        "PreHumanTaskLambdaArn": f"{FUNCTION}pre",
        "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": f"{FUNCTION}post"},
        "TaskTitle": "Chest radiographs",
        "TaskDescription": "Say what each image shows.",
        "NumberOfHumanWorkersPerDataObject": workers,
        "TaskTimeLimitInSeconds": 600,
        **human,
    }
    return {
        "LabelingJobName": name,
        "LabelAttributeName": "finding",
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": to_uri(workspace / "input.manifest")}}},
        "OutputConfig": {"S3OutputPath": to_uri(workspace / "out") + "/"},
        "RoleArn": ROLE,
        "HumanTaskConfig": {key: value for key, value in config.items() if value is not None},
    }


class Bench:
    """A service without processes: job database, engine and interface on one clock."""

    def __init__(self, workspace: Path, storage: Storage | None = None, *, database: Database | None = None) -> None:
        self.workspace, self.now = workspace, NOW
        settings = settings_for(workspace)
        numbers = itertools.count(1)
        database = database or SqliteDatabase(workspace / "groundtruth/job-database.sqlite")
        self.store = JobStore(database, clock=lambda: self.now, new_id=lambda: f"{next(numbers):032x}")
        self.leases = Leases(self.store)
        self.access = Access(settings, storage)
        self.engine = Engine(self.store, self.access)
        self.jobs = LabelingJobOperations(self.store, self.access, REGION, lambda: None)

    def make_team(self, names: str = "abc") -> None:
        members = [{"OidcMemberDefinition": {"Groups": ["readers"]}}]
        team = {"WorkteamName": "readers", "Description": "d", "MemberDefinitions": members}
        WorkteamOperations(self.store, REGION).create(team, "")
        for name in names:
            self.add_worker(name)

    def add_worker(self, name: str) -> None:
        """Without a password, which would take a tenth of a second each."""
        with self.store.write() as db:
            db.execute("INSERT INTO members VALUES ('readers', ?)", (worker_id_of(name, REGION),))

    def create(self, name: str = "reading", *, request: dict[str, Any] | None = None, **human: Any) -> None:
        self.jobs.create(request or job_request(self.workspace, name, **human), "")
        self.engine.run_due()

    def describe(self, name: str = "reading") -> dict[str, Any]:
        return self.jobs.describe({"LabelingJobName": name}, "")

    @property
    def status(self) -> str:
        return str(self.describe()["LabelingJobStatus"])

    def lease(self, worker: str, name: str = "reading") -> Assignment | None:
        job = self.store.job(name)
        assert job is not None
        return self.leases.lease(job, worker)

    def answer(self, task: Assignment, states: dict[str, str] | None = None) -> str:
        job = self.store.job(task.job)
        assert job is not None
        content = json.dumps(said(states or {"Edema": "positive"}))
        outcome, following = self.leases.accept(task, job, content)
        if following is not None:
            self.leases.release(following, declined=False)
        return outcome

    def answer_all(self, *workers: str, states: Callable[[str, int], dict[str, str]] | None = None) -> int:
        count = 0
        for worker in workers or WORKERS:
            while (task := self.lease(worker)) is not None:
                assert self.answer(task, states(worker, task.number) if states else None) == "accepted"
                count += 1
        self.engine.run_due()
        return count


class Service:
    """The service process of a workspace; it may be killed and started again on the same port."""

    def __init__(self, workspace: Path, **environment: str) -> None:
        self.workspace = workspace
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings_for(workspace, self.url)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = workspace.parent / f"{workspace.name}-service.log"
        self.environment = environment
        self.module = ["-m", "dicom_workflow.groundtruth"]
        self.arguments: list[str] = []

    def start(self) -> Service:
        environment = {
            **os.environ,
            "DICOM_WORKFLOW_WORKSPACE": str(self.workspace),
            "ARCHIVE": "folder",
            "GROUNDTRUTH_ACCESS_KEY": KEY,
            "GROUNDTRUTH_SECRET_KEY": SECRET,
            "AWS_REGION": REGION,
            **self.environment,
        }
        with self.log.open("ab") as log:
            command = [sys.executable, *self.module, "--port", str(self.port), *self.arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/health", timeout=2).ok:
                    return self
            time.sleep(0.05)
        raise AssertionError(f"the service did not start: {self.log.read_text()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    close = stop

    def client(self, *, key: str = KEY, secret: str = SECRET, region: str = REGION) -> Any:
        return boto3.client(
            "sagemaker",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def make_team(self, workers: Mapping[str, Secret] = PASSWORDS) -> dict[str, str]:
        members = [{"OidcMemberDefinition": {"Groups": ["readers"]}}]
        arn = self.client().create_workteam(WorkteamName="readers", Description="Readers", MemberDefinitions=members)[
            "WorkteamArn"
        ]
        assert arn == TEAM
        return put_workers(self.settings, workers, "readers")

    def wait_for(self, name: str, *statuses: str, seconds: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.client().describe_labeling_job(LabelingJobName=name)
            if job["LabelingJobStatus"] in statuses:
                return job
            time.sleep(0.1)
        raise AssertionError(f"job {name} is still {job['LabelingJobStatus']}: {job}")


@contextlib.contextmanager
def running(workspace: Path, **environment: str) -> Iterator[Service]:
    service = Service(workspace, **environment)
    try:
        yield service.start()
    finally:
        service.stop()


class Visitor:
    """A worker's browser, without the browser."""

    def __init__(self, url: str, name: str = "", password: Secret | None = None) -> None:
        self.url = url
        self.session = requests.Session()
        if name:
            response = self.sign_in(name, (password or PASSWORDS[name]).reveal())
            assert response.status_code == 303, response.text

    def sign_in(self, name: str, password: str, **options: Any) -> requests.Response:
        return self.post("/sign-in", data={"name": name, "password": password}, **options)

    def get(self, path: str, *, accept: str = "text/html", **options: Any) -> requests.Response:
        options.setdefault("allow_redirects", False)
        return self.session.get(self.url + path, headers={"Accept": accept}, timeout=20, **options)

    def post(self, path: str, *, accept: str = "text/html", headers: Mapping[str, str] | None = None, **options: Any) -> Any:
        options.setdefault("allow_redirects", False)
        return self.session.post(self.url + path, headers={"Accept": accept, **(headers or {})}, timeout=20, **options)

    def csrf(self) -> str:
        return self.get("/").text.split('name="csrf" value="')[1].split('"')[0]

    def next_task(self, job: str = "reading") -> str:
        """Path of the next task, empty when there is none."""
        location = self.post(f"/jobs/{job}/next", data={"csrf": self.csrf()}).headers["location"]
        return location if location.startswith("/tasks/") else ""

    def answer(self, task: str, content: object, **options: Any) -> requests.Response:
        headers = {"X-CSRF-Token": self.csrf()}
        return self.post(
            f"{task}/answer", json={"answerContent": content}, headers=headers, accept="application/json", **options
        )


def said(states: Mapping[str, str]) -> dict[str, str]:
    """The answerContent of the radiograph page."""
    return {"annotation": json.dumps({"labels": dict(states), "regions": []})}


def output_lines(workspace: Path, job: str = "reading") -> list[dict[str, Any]]:
    text = (workspace / "out" / job / "manifests" / "output" / "output.manifest").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def without_times(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Output lines without the two things that differ between equal runs: when, and the file name made of when."""
    compared = []
    for line in lines:
        metadata = {
            k: v for k, v in line.get("finding-metadata", {}).items() if k not in ("creation-date", "worker-response-ref")
        }
        compared.append({**line, "finding-metadata": metadata})
    return compared


def label(service: Service, objects: int, *, at_once: int, disturbance: threading.Thread | None = None) -> list[ReaderSummary]:
    """Have a job of so many images labeled by simulated readers to its end, whatever disturbs them; return what they read."""
    images = make_images(service.workspace, objects)
    service.make_team()
    service.client().create_labeling_job(**job_request(service.workspace, MaxConcurrentTaskCount=at_once))
    readers = [(SimulatedReader(name, 0.8, 0.9, 0.1, seed=5), password) for name, password in PASSWORDS.items()]
    if disturbance:
        disturbance.start()
    readings = read_all(service.url, readers, images.truth, progress=False)
    if disturbance:
        disturbance.join()
    assert service.wait_for("reading", "Completed")["LabelCounters"]["HumanLabeled"] == objects
    return readings
