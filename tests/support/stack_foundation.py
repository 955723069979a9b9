"""AWS and its S3 on a free port of this machine, for tests that read and write objects."""

from __future__ import annotations

import contextlib
import functools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import pytest
import requests
from botocore.client import BaseClient
from moto.server import ThreadedMotoServer

from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

BUCKET = "radiographs"
ROLE = "arn:aws:iam::123456789012:role/training"


@contextlib.contextmanager
def aws_server() -> Iterator[str]:
    """Yield the address of an empty AWS on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        yield url
    finally:
        # What is stored belongs to this process, not to the server: the next one would find it.
        requests.post(f"{url}/moto-api/reset", timeout=30).raise_for_status()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            server.stop()


@contextlib.contextmanager
def s3_storage(workspace: Path) -> Iterator[Storage]:
    """Yield a `Storage` over an S3 server of its own, with one empty bucket."""
    with aws_server() as url:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        with contextlib.closing(client):
            client.create_bucket(Bucket=BUCKET)
            yield Storage(Settings(workspace, s3_url=url), client=client)


@pytest.fixture(scope="session")
def aws_of_this_run() -> Iterator[str]:
    """One server for all tests: to start and to end it takes longer than most of them."""
    with aws_server() as url:
        yield url


@pytest.fixture
def aws(aws_of_this_run: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty AWS that every client of this process speaks to."""
    for name, value in {
        "AWS_ENDPOINT_URL": aws_of_this_run,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_VALIDATE_ROLE": "false",  # asks IAM what moto does not simulate
    }.items():
        monkeypatch.setenv(name, value)
    yield aws_of_this_run
    requests.post(f"{aws_of_this_run}/moto-api/reset", timeout=30).raise_for_status()


@pytest.fixture(scope="session", autouse=True)
def _descriptions_of_aws_are_read_once() -> Iterator[None]:
    """Every botocore session reads what it knows of each service from megabytes of JSON; here all of them share one reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", functools.cache(botocore.loaders.create_loader))
        yield


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every request to AWS of this process, as (operation, parameters), in order; they are carried out all the same."""
    found: list[tuple[str, dict[str, Any]]] = []
    call = BaseClient._make_api_call

    def recorded(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        found.append((operation, parameters))
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    return found


@pytest.fixture
def aws_bucket(aws: str) -> Any:
    """S3's client of that AWS, with a bucket ``sagemaker-runs`` that holds a channel, and a role that SageMaker may take."""
    pytest.importorskip("sagemaker.train")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="sagemaker-runs")
    s3.put_object(Bucket="sagemaker-runs", Key="channel/train.manifest", Body=b"{}")
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    boto3.client("iam", region_name="us-east-1").create_role(RoleName="training", AssumeRolePolicyDocument=policy)
    return s3
