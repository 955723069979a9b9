"""SageMaker endpoints of a model bundle: create, invoke, delete.

The container is built from this project (docs/deploy.md), because AWS's PyTorch images no longer contain an inference server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_workflow.aws import errors
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings

SERVERLESS_MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)


@dataclass(frozen=True)
class EndpointRequest:
    """The configuration of an endpoint.

    Raises
    ------
    DeployError
        Lists all invalid values.
    """

    image: str
    """This project's inference container in a registry."""
    model_uri: str
    """``model.tar.gz`` of a training job."""
    role: str
    """ARN of the execution role: reads the model and the image."""
    name: str = "dicom-workflow"
    """At most 40 characters; a timestamp is appended."""
    instance_type: str = "ml.c6i.xlarge"
    instance_count: int = 1
    serverless_memory_mb: int = 0
    """One of `SERVERLESS_MEMORY_MB` for a serverless endpoint, which is free while idle; 0 for instances. A serverless request
    is limited to 4 MB: enough for compressed radiographs only. It supports neither VPC nor network isolation."""
    serverless_concurrency: int = 4
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    volume_kms_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = model_problems(self)
        names = {"initialInstanceCount": "instance_count", "instanceType": "instance_type", "kmsKeyId": "volume_kms_key"}
        names["maxConcurrency"] = "serverless_concurrency"
        if self.serverless_memory_mb not in (0, *SERVERLESS_MEMORY_MB):
            sizes = ", ".join(map(str, SERVERLESS_MEMORY_MB))
            problems.append(f"serverless_memory_mb: expected 0 or one of {sizes}, got {self.serverless_memory_mb}")
        else:
            configuration = _configuration(self, stamped(self.name))
            problems += errors.limit_problems("CreateEndpointConfig", configuration, {**names, "endpointConfigName": "name"})
        if self.serverless_memory_mb and (self.subnets or self.volume_kms_key):
            problems.append("a serverless endpoint: expected no subnets and no volume key, which it does not support")
        errors.raise_all("endpoint", problems)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> EndpointRequest:
        """Return the request of a JSON object or of command-line options.

        Raises
        ------
        DeployError
            A name is unknown, or a value is missing or invalid.
        """
        return cls(**errors.arguments_of(cls, values))


@dataclass(frozen=True)
class Endpoint:
    """An endpoint; its configuration and its model have the same name."""

    name: str
    arn: str


def model_problems(request: Any) -> list[str]:
    """Return the errors in the model of an endpoint or batch transform: image, bundle, role, name and VPC.

    Parameters
    ----------
    request : EndpointRequest or BatchRequest
    """
    problems = errors.image(request.image) + errors.network(request.subnets, request.security_group_ids)
    if not (request.model_uri.startswith("s3://") and request.model_uri.endswith(".tar.gz")):
        problems.append(f"model_uri: expected s3://…/model.tar.gz, the output of a training job, got {request.model_uri!r}")
    model = model_of(request, stamped(request.name), isolated=True)
    names = {"executionRoleArn": "role", "modelName": "name", "modelDataUrl": "model_uri"}
    return problems + errors.limit_problems("CreateModel", model, names)


def model_of(request: Any, name: str, *, isolated: bool) -> dict[str, Any]:
    """Return the CreateModel request of a container with a bundle.

    Parameters
    ----------
    request : EndpointRequest or BatchRequest
    name : str
    isolated : bool
        Network isolation: the container needs no network, because SageMaker provides model and requests.
    """
    network = {"Subnets": list(request.subnets), "SecurityGroupIds": list(request.security_group_ids)}
    return {
        "ModelName": name,
        "PrimaryContainer": {"Image": request.image, "ModelDataUrl": request.model_uri},
        "ExecutionRoleArn": request.role,
        "EnableNetworkIsolation": isolated,
        **({"VpcConfig": network} if request.subnets else {}),
        "Tags": errors.tags(request.tags),
    }


def _configuration(request: EndpointRequest, name: str) -> dict[str, Any]:
    """The CreateEndpointConfig request; the model has the same name."""
    sized: dict[str, Any] = {"InstanceType": request.instance_type, "InitialInstanceCount": request.instance_count}
    if request.serverless_memory_mb:
        memory, concurrency = request.serverless_memory_mb, request.serverless_concurrency
        sized = {"ServerlessConfig": {"MemorySizeInMB": memory, "MaxConcurrency": concurrency}}
    return {
        "EndpointConfigName": name,
        "ProductionVariants": [{"VariantName": "all", "ModelName": name, **sized}],
        "Tags": errors.tags(request.tags),
        **({"KmsKeyId": request.volume_kms_key} if request.volume_kms_key else {}),
    }


def client_of(settings: Settings, service: str) -> Any:
    """Return the boto3 client of a service, with the timeout of the settings."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=settings.timeout_seconds, read_timeout=max(65.0, settings.timeout_seconds))
    return boto3.client(service, region_name=settings.region, config=config)


def stamped(name: str) -> str:
    """Return a unique name: with a timestamp in milliseconds."""
    now = time.time()
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{int(now * 1000) % 1000:03d}"


def deploy_endpoint(
    settings: Settings, request: EndpointRequest, *, wait: bool = True, poll_seconds: float = 15.0, client: Any = None
) -> Endpoint:
    """Create an endpoint and return it, by default when it is in service.

    After an error, the resources created so far are deleted, so that no unused endpoint is charged.

    Parameters
    ----------
    settings : Settings
    request : EndpointRequest
    wait : bool
        Wait until the endpoint is in service.
    poll_seconds : float
        Interval between status polls.
    client : boto3 client, optional
        Of SageMaker.

    Raises
    ------
    DeployError
        SageMaker refused the request, or the endpoint failed; the message has SageMaker's reason.
    """
    client = client or client_of(settings, "sagemaker")
    name = stamped(request.name)
    try:
        with errors.aws_errors(f"endpoint {name}"):
            client.create_model(**model_of(request, name, isolated=not request.serverless_memory_mb))
            client.create_endpoint_config(**_configuration(request, name))
            answer = client.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=errors.tags(request.tags))
            if wait:
                _wait(client, name, poll_seconds)
    except BaseException:
        delete_endpoint(settings, name, client=client)
        raise
    return Endpoint(name, answer["EndpointArn"])


def _wait(client: Any, name: str, poll_seconds: float) -> None:
    while True:
        answer = client.describe_endpoint(EndpointName=name)
        if answer["EndpointStatus"] == "InService":
            return
        if answer["EndpointStatus"] == "Failed":
            raise DeployError(f"endpoint {name} failed: {answer.get('FailureReason', 'no reason given')}")
        time.sleep(poll_seconds)


def delete_endpoint(settings: Settings, name: str, *, client: Any = None) -> tuple[str, ...]:
    """Delete an endpoint, its configuration and its model, and return which of them existed.

    Parameters
    ----------
    settings : Settings
    name : str
    client : boto3 client, optional
        Of SageMaker.

    Raises
    ------
    DeployError
        AWS refused to delete one of them; the others are deleted.
    """
    from botocore.exceptions import ClientError

    client = client or client_of(settings, "sagemaker")
    steps = {
        "endpoint": lambda: client.delete_endpoint(EndpointName=name),
        "configuration": lambda: client.delete_endpoint_config(EndpointConfigName=name),
        "model": lambda: client.delete_model(ModelName=name),
    }
    deleted, problems = [], []
    for what, step in steps.items():
        try:
            step()
            deleted.append(what)
        except ClientError as error:
            detail = error.response.get("Error", {})
            is_missing = detail.get("Code") in ("ValidationException", "ResourceNotFound", "404")
            if not (is_missing and "not find" in str(detail.get("Message"))):
                problems.append(f"its {what} could not be deleted: {detail.get('Code')}: {detail.get('Message')}")
    errors.raise_all(f"endpoint {name}", problems)
    return tuple(deleted)


def invoke_endpoint(settings: Settings, name: str, image: Path | bytes, *, client: Any = None) -> dict[str, Any]:
    """Return an endpoint's prediction for one DICOM file, in the format of the inference server.

    Parameters
    ----------
    settings : Settings
    name : str
    image : Path or bytes
        DICOM file.
    client : boto3 client, optional
        Of the SageMaker runtime.

    Raises
    ------
    DeployError
        The endpoint does not exist, or refused the file; the message has its response.
    """
    client = client or client_of(settings, "sagemaker-runtime")
    body = image if isinstance(image, bytes) else image.read_bytes()
    with errors.aws_errors(f"endpoint {name}"):
        answer = client.invoke_endpoint(
            EndpointName=name, Body=body, ContentType="application/dicom", Accept="application/json"
        )
    prediction: dict[str, Any] = json.loads(answer["Body"].read())["predictions"][0]
    return prediction
