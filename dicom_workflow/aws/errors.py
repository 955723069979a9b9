"""What AWS would refuse minutes later, said at once: the rules that training jobs, endpoints and batch transforms share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any

from dicom_workflow.errors import DeployError

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,39}")  # SageMaker allows 63; a time stamp is added
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
_INSTANCE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9-]+")
_IMAGE = re.compile(r"[^\s:@]+\.[^\s:@]+/[^\s:@]+(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})")


def folder(what: str, uri: str) -> list[str]:
    """Return what is wrong with an s3:// folder."""
    if re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/.*)?", uri):
        return []
    return [f"{what}: expected an s3:// folder, got {uri!r}; SageMaker reads and writes S3 only"]


def name(what: str, value: str) -> list[str]:
    """Return what is wrong with a name to which a time stamp is added."""
    return [] if _NAME.fullmatch(value) else [f"{what}: expected at most 40 letters, digits and inner hyphens, got {value!r}"]


def role(value: str) -> list[str]:
    """Return what is wrong with the ARN of an execution role."""
    return [] if _ROLE.fullmatch(value) else [f"role: expected an ARN like arn:aws:iam::111122223333:role/NAME, got {value!r}"]


def instance(kind: str, count: int) -> list[str]:
    """Return what is wrong with machines."""
    problems = [] if _INSTANCE.fullmatch(kind) else [f"instance_type: expected one like ml.g5.xlarge, got {kind!r}"]
    return problems + at_least("instance_count", count, 1)


def at_least(what: str, value: int, lowest: int) -> list[str]:
    """Return what is wrong with a number that has a lowest value."""
    return [] if value >= lowest else [f"{what}: expected at least {lowest}, got {value}"]


def image(value: str) -> list[str]:
    """Return what is wrong with a container image: SageMaker takes images from a registry, and a moving tag is no image."""
    if not _IMAGE.fullmatch(value):
        return [
            f"image: expected REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:…, got {value!r}; docs/deploy.md says how to make one"
        ]
    if value.endswith(":latest"):
        return [f"image: expected a tag that does not move, got {value!r}"]
    return []


def network(subnets: Sequence[str], security_group_ids: Sequence[str]) -> list[str]:
    """Return what is wrong with the subnets and security groups of a VPC: both or neither."""
    problems = []
    if bool(subnets) != bool(security_group_ids):
        problems.append("subnets and security_group_ids: expected both or neither")
    for what, prefix, values in (("subnets", "subnet-", subnets), ("security_group_ids", "sg-", security_group_ids)):
        wrong = [value for value in values if not value.startswith(prefix)]
        if wrong:
            problems.append(f"{what}: expected identifiers like {prefix}0123abcd, got {', '.join(map(repr, wrong))}")
    return problems


def tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as AWS wants them, sorted."""
    return [{"Key": key, "Value": value} for key, value in sorted(values.items())]


def arguments_of(request: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a JSON object or of a command line as the arguments of a request's class.

    Raises
    ------
    DeployError
        A name is no field of it, or a field that has no default is missing or empty.
    """
    known = fields(request)
    unknown = sorted(values.keys() - {item.name for item in known})
    if unknown:
        names = ", ".join(sorted(item.name for item in known))
        raise DeployError(f"expected fields of {request.__name__} ({names}), got {', '.join(map(repr, unknown))}.")
    required = [item.name for item in known if item.default is MISSING and item.default_factory is MISSING]
    missing = [name for name in required if not values.get(name)]
    if missing:
        raise DeployError(f"{request.__name__}: expected a value for {', '.join(missing)}, got none.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def raise_all(what: str, problems: Sequence[str]) -> None:
    """Raise one error that lists everything that is wrong.

    Raises
    ------
    DeployError
        There is something.
    """
    if problems:
        raise DeployError(f"{what}: " + "; ".join(problems) + ".")


@contextmanager
def answers_of_aws(what: str) -> Iterator[None]:
    """Turn what AWS and its SDKs refuse into an error that says what was asked for."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        detail = error.response.get("Error", {})
        raise DeployError(f"{what}: AWS answered {detail.get('Code')}: {detail.get('Message')}") from error
    except BotoCoreError as error:
        raise DeployError(f"{what}: {error}") from error
    except ResponseParserError as error:
        # A proxy on the way answers with a page of its own.
        raise DeployError(f"{what}: expected an answer of AWS, got another, perhaps of a proxy: {str(error)[:200]}") from error
