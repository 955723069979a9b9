"""The real labeling service, its engine and its job database, on a clock that the model's readers turn.

Nothing is simulated here but people and time: the same `work` that drives the model hands its readers to `Leases`, and the
engine closes and opens batches, consolidates and writes its files as it always does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capacity.labeling_model import Job, Reader, work

from dicom_workflow.formats import manifests
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import worker_id_of
from dicom_workflow.groundtruth.api.labeling_jobs import LabelingJobOperations
from dicom_workflow.groundtruth.api.workteams import WorkteamOperations
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.leases import Leases
from dicom_workflow.groundtruth.store.sqlite import SqliteDatabase
from dicom_workflow.labeling.templates import publish_template
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.storage import Storage, to_uri

NAME, REGION, LABELS = "replay", "us-east-1", ["Edema", "Pneumonia", "No Finding"]
START = 1_600_000_000.0
ARN = f"arn:aws:lambda:{REGION}:000000000000:function:SageMaker-dicom-workflow-"
CONTENT = json.dumps({"annotation": json.dumps({"version": 1, "labels": dict.fromkeys(LABELS, "negative")})})


class EngineDesk:
    """The service's own leases and engine behind the words of the model's desk."""

    def __init__(self, workspace: Path, job: Job, readers: int) -> None:
        self.now = START
        settings = Settings(
            workspace=workspace,
            archive="folder",
            region=REGION,
            groundtruth_access_key="replay",
            groundtruth_secret_key=Secret("not a secret: nothing listens"),
        )
        numbers = itertools.count(1)
        path = workspace / "groundtruth/job-database.sqlite"
        self._store = JobStore(SqliteDatabase(path), clock=lambda: self.now, new_id=lambda: f"{next(numbers):032x}")
        self._leases = Leases(self._store)
        access = Access(settings)
        self._engine = Engine(self._store, access)
        self._workers = [worker_id_of(f"reader-{number}", REGION) for number in range(readers)]
        self._team()
        uris = [to_uri(workspace / f"images/{number}.dcm") for number in range(job.objects)]
        source = to_uri(workspace / "input.manifest")
        manifests.write(source, ({"source-ref": uri, "labels": LABELS} for uri in uris))
        publish_template(to_uri(workspace / "page.liquid.html"), Storage())
        LabelingJobOperations(self._store, access, REGION, lambda: None).create(job_request(workspace, source, job), "")
        self._engine.run_due()
        self._tasks: dict[tuple[int, int], str] = {}

    def _team(self) -> None:
        members = [{"OidcMemberDefinition": {"Groups": ["readers"]}}]
        team = {"WorkteamName": "readers", "Description": "d", "MemberDefinitions": members}
        WorkteamOperations(self._store, REGION).create(team, "")
        with self._store.write() as db:
            for worker in self._workers:  # without passwords, which take a tenth of a second each
                db.execute("INSERT INTO members VALUES ('readers', ?)", (worker,))

    def lease(self, reader: int, now: float) -> int | None:
        self.now = START + now
        return self._known(reader, self._leases.lease(self._job(), self._workers[reader]))

    def answer(self, reader: int, number: int, now: float) -> tuple[str, int | None]:
        self.now = START + now
        task = self._leases.task(self._tasks[reader, number])
        assert task is not None
        outcome, following = self._leases.accept(task, self._job(), CONTENT)
        self._engine.run_due()
        return outcome, self._known(reader, following)

    def over(self) -> bool:
        return self._job().status not in ("Initializing", "InProgress")

    def status(self) -> str:
        return self._job().status

    def close(self) -> None:
        self._store.close()

    def _job(self):  # type: ignore[no-untyped-def]
        return self._store.job(NAME)

    def _known(self, reader: int, task: object) -> int | None:
        if task is None:
            return None
        self._tasks[reader, task.number] = task.task  # type: ignore[attr-defined]
        return int(task.number)  # type: ignore[attr-defined]


def job_request(workspace: Path, source: str, job: Job) -> dict[str, Any]:
    """Return what CreateLabelingJob is asked for."""
    return {
        "LabelingJobName": NAME,
        "LabelAttributeName": "finding",
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": source}}},
        "OutputConfig": {"S3OutputPath": to_uri(workspace / "out") + "/"},
        "RoleArn": "arn:aws:iam::000000000000:role/labeling",
        "HumanTaskConfig": {
            "WorkteamArn": f"arn:aws:sagemaker:{REGION}:000000000000:workteam/private-crowd/readers",
            "UiConfig": {"UiTemplateS3Uri": to_uri(workspace / "page.liquid.html")},
            "PreHumanTaskLambdaArn": f"{ARN}pre",
            "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": f"{ARN}post"},
            "TaskTitle": "Chest radiographs",
            "TaskDescription": "Say what each image shows.",
            "NumberOfHumanWorkersPerDataObject": job.places,
            "TaskTimeLimitInSeconds": int(job.lease_seconds),
            "MaxConcurrentTaskCount": job.batch,
        },
    }


def replay(workspace: Path, job: Job, readers: Sequence[Reader], seed: int = 0) -> tuple[list[tuple[float, int, int]], str]:
    """Return each accepted answer of the real service as time, reader and object, and the job's last status."""
    desk = EngineDesk(workspace, job, len(readers))
    try:
        return work(readers, desk, seed)[2], desk.status()
    finally:
        desk.close()
