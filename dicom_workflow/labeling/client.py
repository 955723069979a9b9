"""Clients of a labeling service: boto3's SageMaker client with this package's errors, and the accounts of a self-hosted one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from dicom_workflow.errors import JobParametersError, LabelingError, NotFoundError, ServiceError, SettingsError
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.settings import Secret, Settings

SELF_HOSTED_ACCOUNT_ID = "000000000000"
"""AWS account in the ARNs of a self-hosted labeling service."""

_CREDENTIAL_CODES = ("AccessDenied", "UnrecognizedClient", "InvalidClientToken", "InvalidSignature", "SignatureDoes")


def client(settings: Settings) -> Any:
    """Return a boto3 SageMaker client for the labeling service of the settings.

    ``groundtruth_url`` ``aws`` is SageMaker itself with boto3's own credentials; any other URL is the self-hosted service with
    the settings' access key.

    Raises
    ------
    SettingsError
        No `groundtruth_url`, or no access key for a self-hosted service.
    """
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=10, read_timeout=settings.timeout_seconds, retries={"mode": "standard", "max_attempts": 5})
    if settings.groundtruth_url == "aws":
        return boto3.client("sagemaker", region_name=settings.region, config=config)
    if not settings.groundtruth_url:
        raise SettingsError("GROUNDTRUTH_URL is not set. Set it to 'aws' or a service's URL, or attach local services.")
    if not settings.groundtruth_access_key or not settings.groundtruth_secret_key:
        raise SettingsError("A self-hosted labeling service needs GROUNDTRUTH_ACCESS_KEY and GROUNDTRUTH_SECRET_KEY. Set both.")
    return boto3.client(
        "sagemaker",
        region_name=settings.region,
        endpoint_url=settings.groundtruth_url,
        aws_access_key_id=settings.groundtruth_access_key,
        aws_secret_access_key=settings.groundtruth_secret_key.reveal(),
        verify=settings.ca_bundle or None,
        config=config,
    )


def is_aws(sagemaker: Any) -> bool:
    """Return whether a client calls AWS itself."""
    return bool(re.search(r"\.amazonaws\.com(\.cn)?(:\d+)?(/|$)", str(sagemaker.meta.endpoint_url)))


@contextlib.contextmanager
def service_errors(sagemaker: Any, what: str) -> Iterator[None]:
    """Turn botocore's errors into this package's, with the next step.

    Raises
    ------
    JobParametersError
        The service refused a parameter, or the name is taken.
    NotFoundError
        The service has no job or team of that name.
    LabelingError
        Any other refusal, of a bad access key for example.
    ServiceError
        The service does not answer or failed.
    """
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, ParamValidationError

    try:
        yield
    except ParamValidationError as error:
        raise JobParametersError(f"{what}: {error}") from None
    except ClientError as error:
        detail = error.response.get("Error", {})
        code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
        if code in ("ResourceInUse", "ResourceInUseException"):
            raise JobParametersError(f"{what} already exists. Choose another name. ({message})") from None
        if code in ("ValidationException", "SerializationException"):
            raise JobParametersError(f"{what} was refused: {message}") from None
        if code in ("ResourceNotFound", "ResourceNotFoundException"):
            raise NotFoundError(f"{what} does not exist at {sagemaker.meta.endpoint_url}.") from None
        if code.startswith(_CREDENTIAL_CODES):
            raise LabelingError(f"{what}: the access key was refused ({code}). Check the key and its rights.") from None
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            raise ServiceError(f"{what}: {sagemaker.meta.endpoint_url} answered {code}. Try again later.") from error
        raise LabelingError(f"{what}: {code}: {message}") from error
    except (ConnectionError, HTTPClientError) as error:
        raise ServiceError(f"{what}: {sagemaker.meta.endpoint_url} does not answer. Is the service running?") from error
    except BotoCoreError as error:
        raise LabelingError(f"{what}: {error}") from error


class JobArns(TypedDict):
    """The role and functions of a labeling job, by the names of `jobs.LabelingJob`."""

    role_arn: str
    pre_annotation_arn: str
    post_annotation_arn: str


def job_arns(
    settings: Settings,
    *,
    task: str = registry.DEFAULT_TASK,
    role: str = "",
    pre_annotation: str = "",
    post_annotation: str = "",
) -> JobArns:
    """Return the role and the two functions of a labeling job, as keyword arguments of `jobs.LabelingJob`.

    Parameters
    ----------
    settings : Settings
        `groundtruth_url` says which service is meant.
    task : str
        Name of the labeling task, whose functions a self-hosted service uses.
    role, pre_annotation, post_annotation : str
        ARNs. On AWS all three are needed. A self-hosted service needs no role and has the two functions of this package, so
        each may be empty.
    """
    if settings.groundtruth_url == "aws":
        return {"role_arn": role, "pre_annotation_arn": pre_annotation, "post_annotation_arn": post_annotation}
    functions = f"arn:aws:lambda:{settings.region}:{SELF_HOSTED_ACCOUNT_ID}:function"
    return {
        "role_arn": role or f"arn:aws:iam::{SELF_HOSTED_ACCOUNT_ID}:role/dicom-workflow",
        "pre_annotation_arn": pre_annotation or f"{functions}:{registry.function_name(task, registry.PRE_ANNOTATION)}",
        "post_annotation_arn": post_annotation or f"{functions}:{registry.function_name(task, registry.POST_ANNOTATION)}",
    }


def put_workers(settings: Settings, passwords: Mapping[str, Secret], workteam: str) -> dict[str, str]:
    """Create workers of a self-hosted service or change their passwords, and add them to a work team.

    Parameters
    ----------
    settings : Settings
        Its `groundtruth_url` and key pair are used.
    passwords : mapping of str to Secret
        Worker name → password, at least eight characters.
    workteam : str
        Name of an existing team.

    Returns
    -------
    dict of str to str
        Worker name → worker id.

    Raises
    ------
    ServiceError
        The service does not answer or refuses; the message holds no password.
    """
    worker_ids = {}
    for name, secret in passwords.items():
        request = {"WorkerName": name, "Password": secret.reveal(), "WorkteamName": workteam}
        worker_ids[name] = _call(settings, "PutWorker", request)["WorkerId"]
    return worker_ids


def remove_worker(settings: Settings, name: str) -> None:
    """Remove a worker of a self-hosted service from every team and end the sessions; given answers stay.

    Raises
    ------
    ServiceError
        The worker does not exist, or the service does not answer.
    """
    _call(settings, "DeleteWorker", {"WorkerName": name})


def _call(settings: Settings, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Call one of the self-hosted service's own operations, signed like those of SageMaker, and return its JSON response."""
    import requests
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url, key, secret = settings.groundtruth_url, settings.groundtruth_access_key, settings.groundtruth_secret_key
    if not url.startswith(("http://", "https://")) or not key or not secret:
        raise SettingsError(
            "Set GROUNDTRUTH_URL, GROUNDTRUTH_ACCESS_KEY and GROUNDTRUTH_SECRET_KEY of a self-hosted labeling service. "
            "On AWS, create workers in Cognito."
        )
    request = AWSRequest(
        "POST",
        f"{url.rstrip('/')}/",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"DicomWorkflow.{operation}"},
    )
    SigV4Auth(Credentials(key, secret.reveal()), "sagemaker", settings.region).add_auth(request)
    try:
        response = requests.post(
            request.url,
            data=request.body,
            headers=dict(request.headers),
            timeout=settings.timeout_seconds,
            verify=settings.ca_bundle or True,
            allow_redirects=False,
        )
        answer = response.json()
    except requests.RequestException as error:
        raise ServiceError(f"{url}: the labeling service does not answer: {type(error).__name__}.") from None
    if not response.ok:
        raise ServiceError(f"{url}: {operation} was refused ({answer.get('__type')}): {answer.get('message')}")
    return answer
