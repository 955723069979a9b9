"""A model bundle behind a SageMaker endpoint: made, asked and taken away again.

The container is our own (docs/deploy.md says how to build it): AWS's PyTorch images no longer have a server in them.
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
    """An endpoint as it is wanted.

    Raises
    ------
    DeployError
        Lists everything that cannot be used.
    """

    image: str
    """Our inference container in a registry of the account."""
    model_uri: str
    """``model.tar.gz`` of a training job."""
    role: str
    """ARN of the execution role: reads the model and the image."""
    name: str = "dicom-workflow"
    """At most 40 characters; a time stamp is added."""
    instance_type: str = "ml.c6i.xlarge"
    instance_count: int = 1
    serverless_memory_mb: int = 0
    """One of `SERVERLESS_MEMORY_MB` for an endpoint that costs nothing while nobody asks; 0 for machines. A serverless request
    may have 4 MB: enough for compressed radiographs only. Serverless knows neither VPC nor network isolation."""
    serverless_concurrency: int = 4
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    volume_kms_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = model_problems(self.image, self.model_uri, self.role, self.name)
        problems += errors.network(self.subnets, self.security_group_ids)
        if not self.serverless_memory_mb:
            problems += errors.instance(self.instance_type, self.instance_count)
        elif self.serverless_memory_mb not in SERVERLESS_MEMORY_MB:
            sizes = ", ".join(map(str, SERVERLESS_MEMORY_MB))
            problems.append(f"serverless_memory_mb: expected 0 or one of {sizes}, got {self.serverless_memory_mb}")
        elif not 1 <= self.serverless_concurrency <= 200:
            problems.append(f"serverless_concurrency: expected 1 to 200, got {self.serverless_concurrency}")
        elif self.subnets or self.volume_kms_key:
            problems.append("a serverless endpoint: expected no subnets and no volume key, which it does not know")
        errors.raise_all("endpoint", problems)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> EndpointRequest:
        """Return the request of a JSON object or of a command line; a name that is no field is refused."""
        return cls(**errors.arguments_of(cls, values))


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that SageMaker is making; its configuration and its model have the same name."""

    name: str
    arn: str


def model_problems(image: str, model_uri: str, role: str, name: str) -> list[str]:
    """Return what is wrong with a model in a container."""
    problems = errors.image(image) + errors.role(role) + errors.name("name", name)
    if not (model_uri.startswith("s3://") and model_uri.endswith(".tar.gz")):
        problems.append(f"model_uri: expected s3://…/model.tar.gz, as a training job leaves it, got {model_uri!r}")
    return problems


def model_of(request: Any, name: str, *, isolated: bool) -> dict[str, Any]:
    """Return the CreateModel request of a container over a bundle.

    Parameters
    ----------
    request : EndpointRequest or BatchRequest
    name : str
    isolated : bool
        Whether the container has no network at all: SageMaker brings model and requests, so it needs none.
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


def client_of(settings: Settings, service: str) -> Any:
    """Return boto3's client of a service, with the settings' timeout."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=settings.timeout_seconds, read_timeout=max(65.0, settings.timeout_seconds))
    return boto3.client(service, region_name=settings.region, config=config)


def stamped(name: str) -> str:
    """Return a name that no other has: with the time, to the millisecond."""
    now = time.time()
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{int(now * 1000) % 1000:03d}"


def deploy_endpoint(
    settings: Settings, request: EndpointRequest, *, wait: bool = True, poll_seconds: float = 15.0, client: Any = None
) -> Endpoint:
    """Put a model behind an endpoint and return it, by default when it answers.

    What was made before something failed is taken away again, so that nothing is charged that nobody sees.

    Raises
    ------
    DeployError
        SageMaker refused it, or it did not become healthy: the message has SageMaker's reason.
    """
    client = client or client_of(settings, "sagemaker")
    name = stamped(request.name)
    if request.serverless_memory_mb:
        sized: dict[str, Any] = {
            "ServerlessConfig": {
                "MemorySizeInMB": request.serverless_memory_mb,
                "MaxConcurrency": request.serverless_concurrency,
            }
        }
    else:
        sized = {"InstanceType": request.instance_type, "InitialInstanceCount": request.instance_count}
    variant = {"VariantName": "all", "ModelName": name, **sized}
    tags = errors.tags(request.tags)
    key = {"KmsKeyId": request.volume_kms_key} if request.volume_kms_key else {}
    try:
        with errors.answers_of_aws(f"endpoint {name}"):
            client.create_model(**model_of(request, name, isolated=not request.serverless_memory_mb))
            client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=tags, **key)
            answer = client.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
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
    """Take away an endpoint, its configuration and its model, and return which of them there were.

    Raises
    ------
    DeployError
        AWS refused to delete one of them; the others are deleted all the same.
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
                problems.append(f"its {what} is still there: {detail.get('Code')}: {detail.get('Message')}")
    errors.raise_all(f"endpoint {name}", problems)
    return tuple(deleted)


def invoke_endpoint(settings: Settings, name: str, image: Path | bytes, *, client: Any = None) -> dict[str, Any]:
    """Return an endpoint's prediction of one DICOM file, as `learning.inference.predict_fn` gives it.

    Raises
    ------
    DeployError
        There is no such endpoint, or it refused the file: the message has its answer.
    """
    client = client or client_of(settings, "sagemaker-runtime")
    body = image if isinstance(image, bytes) else image.read_bytes()
    with errors.answers_of_aws(f"endpoint {name}"):
        answer = client.invoke_endpoint(
            EndpointName=name, Body=body, ContentType="application/dicom", Accept="application/json"
        )
    prediction: dict[str, Any] = json.loads(answer["Body"].read())["predictions"][0]
    return prediction
