"""A model behind an endpoint, in a batch transform and on this machine: asked for exactly, answered truly, taken away again."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import torch
from botocore.response import StreamingBody
from botocore.stub import Stubber
from support.learning import LABELS, dicom_file, picture, tiny_bundle
from support.stack_foundation import ROLE

from dicom_workflow import cli, processes
from dicom_workflow.aws.batch_transforms import BatchRequest, batch_transform, file_list, read_batch
from dicom_workflow.aws.endpoints import EndpointRequest, delete_endpoint, deploy_endpoint, invoke_endpoint
from dicom_workflow.aws.packaging import stage_image
from dicom_workflow.errors import BundleError, DeployError, ServiceError
from dicom_workflow.formats import manifests
from dicom_workflow.learning.inference import local_server, predict
from dicom_workflow.learning.model import bundle, bundle_archive
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

torch.set_num_threads(1)

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/dicom-workflow:1"
MODEL = "s3://sagemaker-runs/models/chest-1/output/model.tar.gz"
ASKED = {"image": IMAGE, "model_uri": MODEL, "role": ROLE, "name": "chest"}
BATCH = {**ASKED, "input_uri": "s3://sagemaker-runs/images", "output_uri": "s3://sagemaker-runs/answers"}
Asked = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, region="us-east-1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.save(tiny_bundle(LABELS, mode="multi-label"), tmp_path_factory.mktemp("bundle") / "model")


@pytest.fixture(scope="module")
def archive(model: Path) -> Path:
    """``model.tar.gz`` as a training job leaves it: the files of /opt/ml/model at its top."""
    path = model.parent / "model.tar.gz"
    with tarfile.open(path, "w:gz") as stream:
        stream.add(model, ".")
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dicom_file(tmp_path / "image.dcm", picture(["Edema"], np.random.default_rng(0)))


def sent(asked: Asked, operation: str) -> dict[str, Any]:
    [parameters] = [parameters for name, parameters in asked if name == operation]
    return parameters


# ---- Endpoints --------------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_a_model_without_network_a_configuration_and_itself(
    aws_bucket: Any, asked: Asked, settings: Settings
) -> None:
    made = deploy_endpoint(
        settings, EndpointRequest(**ASKED, instance_type="ml.m5.xlarge", tags={"project": "chest"}), poll_seconds=0.01
    )
    name, tags = made.name, [{"Key": "project", "Value": "chest"}]
    assert re.fullmatch(r"chest-\d{8}-\d{6}-\d{3}", name)
    assert sent(asked, "CreateModel") == {
        "ModelName": name,
        "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": MODEL},
        "ExecutionRoleArn": ROLE,
        "EnableNetworkIsolation": True,
        "Tags": tags,
    }
    assert sent(asked, "CreateEndpointConfig") == {
        "EndpointConfigName": name,
        "ProductionVariants": [
            {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
        ],
        "Tags": tags,
    }
    assert sent(asked, "CreateEndpoint") == {"EndpointName": name, "EndpointConfigName": name, "Tags": tags}
    assert made.arn.endswith(f"endpoint/{name}")
    assert delete_endpoint(settings, name) == ("endpoint", "configuration", "model")
    assert delete_endpoint(settings, name) == (), "and again, there is nothing left"


def test_a_serverless_endpoint_has_memory_instead_of_machines(aws_bucket: Any, asked: Asked, settings: Settings) -> None:
    deploy_endpoint(settings, EndpointRequest(**ASKED, serverless_memory_mb=4096), wait=False)
    [variant] = sent(asked, "CreateEndpointConfig")["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 4096, "MaxConcurrency": 4}
    assert "InstanceType" not in variant
    assert sent(asked, "CreateModel")["EnableNetworkIsolation"] is False, "serverless does not know it"


def test_an_endpoint_that_does_not_become_healthy_is_taken_away_and_says_why(settings: Settings) -> None:
    client = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
    state = {"EndpointName": "e", "EndpointArn": arn, "CreationTime": 0, "LastModifiedTime": 0}
    with Stubber(client) as stub:
        stub.add_response("create_model", {"ModelArn": arn.replace("endpoint/", "model/")})
        stub.add_response("create_endpoint_config", {"EndpointConfigArn": arn.replace("endpoint/", "endpoint-config/")})
        stub.add_response("create_endpoint", {"EndpointArn": arn})
        stub.add_response("describe_endpoint", {**state, "EndpointStatus": "Creating"})
        stub.add_response("describe_endpoint", {**state, "EndpointStatus": "Failed", "FailureReason": "did not pass the ping"})
        for operation in ("delete_endpoint", "delete_endpoint_config", "delete_model"):
            stub.add_response(operation, {})
        with pytest.raises(DeployError, match=r"endpoint chest-[\d-]+ failed: did not pass the ping"):
            deploy_endpoint(settings, EndpointRequest(**ASKED), poll_seconds=0, client=client)
        stub.assert_no_pending_responses()


def test_what_aws_refuses_is_said_and_what_was_made_is_taken_away(settings: Settings) -> None:
    client = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    missing = {"service_error_code": "ValidationException", "service_message": "Could not find it"}
    with Stubber(client) as stub:
        stub.add_response("create_model", {"ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m"})
        stub.add_client_error("create_endpoint_config", "ResourceLimitExceeded", "none left")
        stub.add_client_error("delete_endpoint", **missing)
        stub.add_client_error("delete_endpoint_config", **missing)
        stub.add_response("delete_model", {})
        with pytest.raises(DeployError, match="AWS answered ResourceLimitExceeded: none left"):
            deploy_endpoint(settings, EndpointRequest(**ASKED), client=client)
        stub.assert_no_pending_responses()
        stub.add_client_error("delete_endpoint", "AccessDeniedException", "not allowed")
        stub.add_response("delete_endpoint_config", {})
        stub.add_response("delete_model", {})
        with pytest.raises(DeployError, match="its endpoint could not be deleted: AccessDeniedException: not allowed"):
            delete_endpoint(settings, "e", client=client)


def test_an_endpoint_is_asked_with_the_bytes_of_a_file(settings: Settings, image: Path) -> None:
    client = boto3.client("sagemaker-runtime", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    answer = json.dumps({"predictions": [{"probabilities": {"Edema": 0.5}}]}).encode()
    expected = {
        "EndpointName": "e",
        "Body": image.read_bytes(),
        "ContentType": "application/dicom",
        "Accept": "application/json",
    }
    with Stubber(client) as stub:
        stub.add_response("invoke_endpoint", {"Body": StreamingBody(io.BytesIO(answer), len(answer))}, expected)
        assert invoke_endpoint(settings, "e", image, client=client) == {"probabilities": {"Edema": 0.5}}
        stub.add_client_error("invoke_endpoint", "ModelError", "Received client error (400)")
        with pytest.raises(DeployError, match=r"endpoint e: AWS answered ModelError: Received client error \(400\)"):
            invoke_endpoint(settings, "e", image, client=client)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "dicom-workflow:1"}, "image: expected REGISTRY/NAME:TAG .* docs/deploy.md"),
        ({"image": IMAGE.replace(":1", ":latest")}, "image: expected a fixed tag"),
        ({"model_uri": "model"}, r"model_uri: expected s3://…/model.tar.gz"),
        ({"role": "training"}, "role: expected an ARN"),
        ({"name": "a b"}, "name: expected letters, digits and inner hyphens, at most 63"),
        ({"instance_count": 0}, "instance_count: expected at least 1"),
        ({"serverless_memory_mb": 4000}, "serverless_memory_mb: expected 0 or one of 1024, .*, 6144, got 4000"),
        ({"serverless_memory_mb": 1024, "serverless_concurrency": 0}, "serverless_concurrency: expected at least 1, got 0"),
        (
            {"serverless_memory_mb": 1024, "subnets": ("subnet-1",), "security_group_ids": ("sg-1",)},
            "a serverless endpoint: expected no subnets",
        ),
    ],
)
def test_an_endpoint_that_could_not_be_is_not_asked_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeployError, match=message):
        EndpointRequest(**{**ASKED, **changes})


# ---- Batch transforms -------------------------------------------------------------------------------------------------------


def test_a_batch_transform_sends_every_file_of_a_folder_as_one_record(
    aws_bucket: Any, asked: Asked, settings: Settings
) -> None:
    job = batch_transform(settings, BatchRequest(**BATCH))
    assert sent(asked, "CreateTransformJob") == {
        "TransformJobName": job.name,
        "ModelName": job.name,
        "MaxConcurrentTransforms": 2,
        "MaxPayloadInMB": 25,
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 3},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://sagemaker-runs/images/"}},
            "ContentType": "application/dicom",
            "SplitType": "None",
            "CompressionType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": "s3://sagemaker-runs/answers",
            "Accept": "application/jsonlines",
            "AssembleWith": "None",
        },
        "TransformResources": {"InstanceType": "ml.c6i.xlarge", "InstanceCount": 1},
        "Tags": [],
    }
    assert sent(asked, "CreateModel")["EnableNetworkIsolation"] is True


def test_a_manifest_of_ours_becomes_the_file_list_that_sagemaker_reads(
    aws_bucket: Any, asked: Asked, settings: Settings
) -> None:
    storage, uri = Storage(settings, client=aws_bucket), "s3://sagemaker-runs/input.manifest"
    lines = [
        {"source-ref": f"s3://sagemaker-runs/images/{name}", "labels": "Edema,Fracture"} for name in ("a/1.dcm", "b/2.dcm")
    ]
    manifests.write(uri, lines, storage=storage)
    batch_transform(settings, BatchRequest(**{**BATCH, "input_uri": uri}), storage=storage)
    source = sent(asked, "CreateTransformJob")["TransformInput"]["DataSource"]["S3DataSource"]
    assert source["S3DataType"] == "ManifestFile"
    assert json.loads(storage.read_bytes(source["S3Uri"])) == [{"prefix": "s3://sagemaker-runs/images/"}, "a/1.dcm", "b/2.dcm"]
    manifests.write(uri, [{"source": "-".join(["0123abcd"] * 5), "labels": "Edema,Fracture"}], storage=storage)
    with pytest.raises(DeployError, match="expected lines with an s3:// 'source-ref', got 1 lines such as '0123abcd"):
        batch_transform(settings, BatchRequest(**{**BATCH, "input_uri": uri}), storage=storage)


def test_a_file_list_has_one_bucket_and_whole_folders() -> None:
    assert json.loads(file_list(["s3://b/abc/1.dcm", "s3://b/abd/1.dcm"])) == [{"prefix": "s3://b/"}, "abc/1.dcm", "abd/1.dcm"]
    assert json.loads(file_list(["s3://b/a/1.dcm"])) == [{"prefix": "s3://b/a/"}, "1.dcm"]
    with pytest.raises(DeployError, match="the files are in several buckets"):
        file_list(["s3://b/1.dcm", "s3://c/1.dcm"])


def test_answers_are_read_by_file_and_those_without_are_named(tmp_path: Path) -> None:
    folder = tmp_path.as_uri()
    (tmp_path / "answers" / "a").mkdir(parents=True)
    (tmp_path / "answers" / "a" / "1.dcm.out").write_text('{"probabilities": {"Edema": 0.5}}\n')
    files = [f"{folder}/images/a/1.dcm", f"{folder}/images/2.dcm"]
    found, missing = read_batch(files, f"{folder}/answers", prefix=f"{folder}/images", storage=Storage())
    assert found == {files[0]: {"probabilities": {"Edema": 0.5}}}
    assert missing == (files[1],)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_uri": "images"}, "input_uri: expected an s3:// folder"),
        ({"concurrency": 8}, "concurrency × max_payload_mb: expected at most 100, got 8 × 25"),
        ({"concurrency": 0}, "concurrency: expected at least 1, got 0"),
    ],
)
def test_a_batch_transform_that_could_not_run_is_not_asked_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeployError, match=message):
        BatchRequest(**{**BATCH, **changes})


# ---- This machine, and the container ----------------------------------------------------------------------------------------


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read() or b"null")
    connection.close()
    return found


def test_a_packed_model_answers_on_this_machine_as_it_does_in_a_notebook(archive: Path, model: Path, image: Path) -> None:
    with local_server.serve_local(archive) as server:
        assert ask(server.url, "GET", "/ping")[0] == 200
        status, answer = ask(server.url, "POST", "/invocations", image.read_bytes(), Content_Type="application/dicom")
        assert status == 200
        assert answer["predictions"][0]["probabilities"] == predict.predict(bundle.load(model), [image])[0]
        assert sorted(path.name for path in server.model_dir.iterdir()) == sorted(path.name for path in model.iterdir())
    assert server.wait() is not None
    with pytest.raises(ConnectionRefusedError):
        ask(server.url, "GET", "/ping")
    assert not server.model_dir.exists()


def test_a_model_that_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"ended with exit code 1[^$]*bundle\.json"), local_server.serve_local(tmp_path):
        pass


def test_a_port_where_another_server_answers_is_not_taken_for_this_model(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = pytest.raises(DeployError, match=rf"Port {port} of this machine is taken")
        with taken, local_server.serve_local(model, port=port):
            pass


def test_a_server_that_ends_by_itself_is_not_waited_for(model: Path, monkeypatch, capsys) -> None:
    def ended(*_: Any, **__: Any) -> Any:
        return contextlib.nullcontext(local_server.LocalServer("http://127.0.0.1:8080", model, lambda: -9))

    monkeypatch.setattr(local_server, "serve_local", ended)
    assert cli.main(["serve", "local", str(model)]) == 1
    assert "ended by itself with exit code -9" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../outside", "/absolute", "link"])
def test_an_archive_writes_nothing_but_its_two_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as stream:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        stream.addfile(member, io.BytesIO())
    with pytest.raises(BundleError, match=r"model\.safetensors and bundle\.json missing at the root of the archive"):
        bundle_archive.unpack_model(path, tmp_path / "model")
    assert {found.name for found in tmp_path.rglob("*")} == {"model.tar.gz", "model"}
    path.write_bytes(b"no archive")
    with pytest.raises(BundleError, match=r"not a \.tar\.gz of a training job"):
        bundle_archive.unpack_model(path, tmp_path / "other")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, with their lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE)).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def test_the_container_is_pinned_runs_as_nobody_special_and_brings_no_secret(tmp_path: Path) -> None:
    steps = instructions((stage_image(tmp_path / "image") / "Dockerfile").read_text())
    arguments = dict(value.split("=", 1) for name, value in steps if name == "ARG")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", arguments["BASE"])
    assert arguments["TORCH"] == torch.__version__.partition("+")[0]
    assert [value for name, value in steps if name == "USER"] == ["10001:10001"]
    assert not any(re.search("secret|password|token|AWS_", value, re.IGNORECASE) for _, value in steps)


def test_the_image_serves_with_nothing_but_what_is_copied_into_it(archive: Path, image: Path, tmp_path: Path) -> None:
    """As `docker run IMAGE serve` in SageMaker: the files that COPY names, the ENTRYPOINT, the model's folder unpacked."""
    context = stage_image(tmp_path / "context")
    steps = instructions((context / "Dockerfile").read_text())
    program = tmp_path / "program"
    program.mkdir()
    for name, value in steps:
        if name == "COPY" and " /opt/program/" in value and "--from" not in value:
            source, target = value.split()
            copy = shutil.copytree if (context / source).is_dir() else shutil.copy
            copy(context / source, program / Path(target).name)  # type: ignore[operator]
    [entry] = [json.loads(value) for name, value in steps if name == "ENTRYPOINT"]
    [default] = [json.loads(value) for name, value in steps if name == "CMD"]
    assert default == ["serve"]
    port = processes.free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "SM_MODEL_DIR": str(bundle_archive.unpack_model(archive, tmp_path / "model")),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "50",
    }
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([sys.executable, *entry[1:], "serve"], cwd=program, env=environment, stderr=log) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            ready = {"name": "container", "log_path": tmp_path / "log", "timeout_seconds": 120}
            processes.wait_until(lambda: processes.answers(f"{url}/ping"), process, **ready)
            assert ask(url, "GET", "/execution-parameters")[1]["MaxPayloadInMB"] == 50
            status, answer = ask(url, "POST", "/invocations", image.read_bytes(), Content_Type="application/dicom")
            assert (status, set(answer["predictions"][0]["probabilities"])) == (200, set(LABELS))
        finally:
            process.terminate()
    assert process.returncode == 0
