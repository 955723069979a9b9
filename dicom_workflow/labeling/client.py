"""The one door to a labeling service: a boto3 SageMaker client, and its errors in this package's words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from dicom_workflow.errors import JobParametersError, LabelingError, ServiceError, SettingsError
from dicom_workflow.settings import Settings

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
        raise SettingsError("GROUNDTRUTH_URL: expected the labeling service's URL or 'aws'. Attach local services first.")
    if not settings.groundtruth_access_key or not settings.groundtruth_secret_key:
        raise SettingsError("GROUNDTRUTH_ACCESS_KEY and GROUNDTRUTH_SECRET_KEY: expected both for a self-hosted service.")
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
    """Say whether a client speaks to AWS itself."""
    return bool(re.search(r"\.amazonaws\.com(\.cn)?(:\d+)?(/|$)", str(sagemaker.meta.endpoint_url)))


@contextlib.contextmanager
def service_errors(sagemaker: Any, what: str) -> Iterator[None]:
    """Turn botocore's errors into this package's, with the next step."""
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
            raise LabelingError(f"{what} does not exist at {sagemaker.meta.endpoint_url}.") from None
        if code.startswith(_CREDENTIAL_CODES):
            raise LabelingError(f"{what}: the access key was refused ({code}). Check the key and its rights.") from None
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            raise ServiceError(f"{what}: {sagemaker.meta.endpoint_url} answered {code}. Try again later.") from error
        raise LabelingError(f"{what}: {code}: {message}") from error
    except (ConnectionError, HTTPClientError) as error:
        raise ServiceError(f"{what}: nothing answers at {sagemaker.meta.endpoint_url}. Is the service running?") from error
    except BotoCoreError as error:
        raise LabelingError(f"{what}: {error}") from error
