"""The whole AWS story on this machine: the real templates deployed, and notebooks 01 to 06 run on what their outputs say.

Real are: templates and command line, Orthanc behind TLS and a password, the self-hosted labeling service, and the training
container's own start script. moto is S3, Secrets Manager and SageMaker; CloudFormation is the tests' own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from support.aws_home import load_balancer, make_certificates, training_machines
from support.cloudformation import REGION, CloudFormation
from support.sagemaker import INSTANCE

from dicom_workflow import cli
from dicom_workflow.archive.orthanc_process import OrthancServer, find_orthanc
from dicom_workflow.aws.stacks import deployment, templates
from dicom_workflow.pipeline import notebooks
from dicom_workflow.processes import free_port
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed"),
    pytest.mark.timeout(400),
]
CERTIFICATE = f"arn:aws:acm:{REGION}:123456789012:certificate/11111111-2222-3333-4444-555555555555"
VALUES = {
    "OrthancImage": f"docker.io/orthancteam/orthanc:26.4.0@sha256:{'a' * 64}",
    "ArchiveHostName": "pacs.example.org",
    "CertificateArn": CERTIFICATE,
    "LabelingBackend": "SelfHosted",
    "PortalHostName": "labeling.example.org",
    "SearchHostName": "search.example.org",
}
SMALL: dict[str, dict[str, Any]] = {
    "01_upload_to_orthanc": {"source_folder": "phantoms", "patients": 14, "image_size_px": 64},
    "03_run_labeling_job": {"simulated_readers": 3, "poll_seconds": 0.2, "job_name": "chest"},
    "06_train_densenet": {"image_size_px": 32, "epochs": 1, "batch_size": 8, "patience": 0, "instance_type": INSTANCE},
}


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "deployment.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    return path


@pytest.fixture(autouse=True)
def _templates_are_judged_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "lint", lambda *arguments: [])
    # Whether a registry has an image is asked over the internet.
    monkeypatch.setattr("dicom_workflow.aws.stacks.preflight._status_in_registry", lambda *arguments: 0)


@pytest.fixture
def labeling_service(tmp_path: Path, aws: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The self-hosted labeling service as its container starts it, with the pair of keys that the stack's secret will get."""
    port = free_port()
    environment = {
        **os.environ,
        "GROUNDTRUTH_ACCESS_KEY": "AKIALABELING",
        "GROUNDTRUTH_SECRET_KEY": "the secret key of the labeling service",
        "DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "labeling-service"),
        "S3_URL": aws,
        "ARCHIVE": "folder",
    }
    (tmp_path / "labeling-service").mkdir()
    command = [sys.executable, "-m", "dicom_workflow.groundtruth", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            requests.get(url, timeout=5)
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"nothing answers at {url}")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = cli.main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err[-4000:]
    found: dict[str, Any] = json.loads(captured.out.splitlines()[-1])
    return found


def test_a_dry_run_needs_no_account_and_shows_every_stack(
    parameters: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody is there: whoever asks AWS fails
    code = cli.main(["deploy", "--dry-run", "--parameters", str(parameters), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    made = json.loads(captured.out)
    assert (made["offline"], tuple(made["stacks"])) == (True, deployment.STACKS)
    assert {key.partition("/")[0].partition("-")[0] for key in made["artifacts"]} == {
        "labeling",
        "inference",
        "search",
        "wheels",
        "notebooks",
    }
    assert "no AWS credentials: AWS is not asked" in captured.err
    assert "USD a month" in captured.err


def test_the_notebooks_run_on_what_the_stacks_say(
    parameters: Path,
    labeling_service: tuple[str, subprocess.Popen[bytes]],
    cloudformation: CloudFormation,
    aws: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    acm = boto3.client("acm", region_name=REGION)
    authority, server = make_certificates(tmp_path)
    monkeypatch.setitem(cloudformation.makes, "AWS::ECR::Repository", lambda name, properties: name)
    leaf, _, key = server.read_bytes().partition(b"-----BEGIN PRIVATE KEY-----")
    arn = acm.import_certificate(Certificate=leaf, PrivateKey=b"-----BEGIN PRIVATE KEY-----" + key)["CertificateArn"]
    parameters.write_text(yaml.safe_dump({**VALUES, "CertificateArn": arn}))
    orthanc = OrthancServer(tmp_path / "orthanc")
    orthanc.start()
    try:
        with load_balancer(orthanc.url, server) as archive_url:
            made = deployed(parameters, cloudformation, capsys)
            assert made["stacks"] == dict.fromkeys(deployment.STACKS, "created")
            name_the_services(cloudformation, archive_url, labeling_service[0], orthanc)
            with training_machines(aws, Storage(Settings(tmp_path, s3_url=aws))) as (machines, jobs):
                for name, value in {
                    "AWS_ENDPOINT_URL_SAGEMAKER": machines,
                    "DICOM_WORKFLOW_DEPLOYMENT": "dicom-workflow",
                    "DICOM_WORKFLOW_CA_BUNDLE": str(authority),
                    "AWS_REGION": REGION,
                }.items():
                    monkeypatch.setenv(name, value)
                wait_for(f"{labeling_service[0]}/health")
                story(tmp_path, capsys)
                assert len(jobs) == 1
    finally:
        orthanc.stop()


def deployed(parameters: Path, cloudformation: CloudFormation, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Deploy the real templates; checks of what only AWS has (databases, endpoints) may fail, stacks may not."""
    code = cli.main(
        ["deploy", "--parameters", str(parameters), "--yes", "--no-images", "--poll-seconds", "0", "--json", "--region", REGION]
    )
    captured = capsys.readouterr()
    assert captured.out, f"{code}: {captured.err[-4000:]}"
    found: dict[str, Any] = json.loads(captured.out.splitlines()[-1])
    return found


def name_the_services(cloudformation: CloudFormation, archive_url: str, labeling_url: str, orthanc: OrthancServer) -> None:
    """Do what DNS and the generated secrets do on AWS: the names of the stacks lead to what runs here, with these passwords."""
    stacks = {stack.name: stack.outputs for stack in cloudformation.stacks.values()}
    stacks["dicom-workflow-archive"]["OrthancUrl"] = archive_url
    stacks["dicom-workflow-labeling"]["GroundTruthUrl"] = labeling_url
    secrets = boto3.client("secretsmanager", region_name=REGION)
    for arn, content in (
        (
            stacks["dicom-workflow-archive"]["OrthancSecretArn"],
            {"username": orthanc.user, "password": orthanc.password.reveal()},
        ),
        (
            stacks["dicom-workflow-labeling"]["GroundTruthSecretArn"],
            {"access_key": "AKIALABELING", "secret_key": "the secret key of the labeling service"},
        ),
    ):
        secrets.put_secret_value(SecretId=arn, SecretString=json.dumps(content))


def story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "aws.yaml"
    outputs = {
        name: value
        for stack in run(capsys, "status", "--write", path)["stacks"].values()
        for name, value in stack["outputs"].items()
    }
    values = yaml.safe_load(path.read_text())
    for step, small in SMALL.items():
        values[step] |= small
    for step in values:
        values[step] = {
            name: str(tmp_path / "run") if isinstance(value, str) and value.startswith("/home/ec2-user") else value
            for name, value in values[step].items()
        }
    path.write_text(yaml.safe_dump(values))
    records = run(capsys, "run", *notebooks.STEPS[:6], "--parameters", path)["records"]
    labeling, training = outputs["LabelingBucket"], outputs["TrainingBucket"]
    uploaded, labeled, trained = (records[step] for step in (notebooks.STEPS[0], notebooks.STEPS[2], notebooks.STEPS[5]))
    assert uploaded["metrics"]["instances_verified"] >= 14
    assert labeled["artifact_uri"].startswith(f"s3://{labeling}/jobs/labeling/chest/")
    assert (labeled["metrics"]["failed"], labeled["metrics"]["labeled"]) == (0, uploaded["metrics"]["instances_verified"])
    assert trained["artifact_uri"].startswith(f"s3://{training}/models/")
    assert trained["metrics"]["epochs"] == 1
    text = "\n".join(file.read_text(errors="replace") for file in (tmp_path / "workspace").rglob("*.ipynb"))
    assert "the secret key of the labeling service" not in text
