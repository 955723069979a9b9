"""A labeling job that an interrupted run left is waited for; another one is created only when the service does not know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dicom_workflow.errors import LabelingError, ServiceError
from dicom_workflow.pipeline import pending_job
from dicom_workflow.pipeline.pending_job import PendingJob
from dicom_workflow.settings import Settings

LINE = b'{"source": "a"}\n'
KEY = pending_job.key(LINE, "s3://bucket/out", "radiograph")
JOB = PendingJob("radiograph-1", "findings", KEY)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(tmp_path)
    pending_job.keep(found, JOB)
    return found


@pytest.fixture
def client() -> Any:
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "S"}
    return boto3.client("sagemaker", region_name="us-east-1", endpoint_url="http://127.0.0.1:9", **keys)


@pytest.fixture
def stub(client: Any) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber


def say(stub: Stubber, status: str) -> None:
    counters = {"TotalLabeled": 0, "HumanLabeled": 0, "MachineLabeled": 0, "FailedNonRetryableError": 0, "Unlabeled": 1}
    arn = "arn:aws:sagemaker:us-east-1:111122223333:labeling-job/radiograph-1"
    response = {
        "LabelingJobStatus": status,
        "LabelCounters": counters,
        "CreationTime": 0,
        "LastModifiedTime": 0,
        "JobReferenceCode": "1",
        "LabelingJobName": JOB.job,
        "LabelingJobArn": arn,
        "InputConfig": {"DataSource": {}},
        "OutputConfig": {"S3OutputPath": "s3://bucket/out"},
        "RoleArn": "arn:aws:iam::111122223333:role/labeling",
        "HumanTaskConfig": {
            "WorkteamArn": "arn:aws:sagemaker:us-east-1:111122223333:workteam/private-crowd/readers",
            "UiConfig": {},
            "TaskTitle": "t",
            "TaskDescription": "d",
            "NumberOfHumanWorkersPerDataObject": 1,
            "TaskTimeLimitInSeconds": 60,
        },
    }
    stub.add_response("describe_labeling_job", response, {"LabelingJobName": JOB.job})


def test_a_job_that_goes_on_is_found_and_a_finished_one_is_not(settings: Settings, client: Any, stub: Stubber) -> None:
    say(stub, "InProgress")
    assert pending_job.find(settings, KEY, client) == JOB
    say(stub, "Completed")
    assert pending_job.find(settings, KEY, client) is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (pending_job.key(b"", "s3://bucket/out", "radiograph"), ""),
        (pending_job.key(LINE, "s3://bucket/other", "radiograph"), ""),
        (pending_job.key(LINE, "s3://bucket/out", "lesion"), ""),
        (KEY, "another"),
    ],
)
def test_another_manifest_folder_task_or_name_is_another_job(settings: Settings, client: Any, key: str, name: str) -> None:
    assert pending_job.find(settings, key, client, job_name=name) is None


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [("InternalFailure", 500, ServiceError), ("AccessDeniedException", 400, LabelingError)],
)
def test_a_service_that_does_not_say_is_no_reason_for_a_second_job(
    settings: Settings, client: Any, stub: Stubber, code: str, status: int, error: type[Exception]
) -> None:
    stub.add_client_error("describe_labeling_job", code, "because", status)
    with pytest.raises(error):
        pending_job.find(settings, KEY, client)


def test_a_job_that_the_service_does_not_know_is_gone(settings: Settings, client: Any, stub: Stubber) -> None:
    stub.add_client_error("describe_labeling_job", "ResourceNotFound", "none", 400)
    assert pending_job.find(settings, KEY, client) is None


def test_a_finished_job_is_forgotten(settings: Settings, client: Any) -> None:
    pending_job.forget(settings)
    assert pending_job.find(settings, KEY, client) is None
    assert pending_job.find(settings.with_(workspace=settings.workspace / "new"), KEY, client) is None
