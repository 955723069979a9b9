"""Errors of training jobs, endpoints and batch transforms: invalid requests found before they are sent, and errors from AWS.

Limits of single values come from botocore's service model. What is checked here besides them is stricter than AWS, or concerns
several values together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any

from dicom_workflow.errors import DeployError
from dicom_workflow.labeling import service_model
from dicom_workflow.labeling.service_model import Problem

_IMAGE = re.compile(r"[^\s:@]+\.[^\s:@]+/[^\s:@]+(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})")
_NAME = "letters, digits and inner hyphens, at most 63 with the timestamp"
_ROLE = "an ARN like arn:aws:iam::111122223333:role/NAME"
_EXPECTED = {
    "endpointConfigName": _NAME,
    "executionRoleArn": _ROLE,
    "instanceType": "an instance type like ml.g5.xlarge that the installed botocore knows",
    "modelName": _NAME,
    "roleArn": _ROLE,
    "trainingJobName": _NAME,
    "transformJobName": _NAME,
}
"""Clearer than the pattern of the service model, by member."""


def limit_problems(operation: str, request: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Return an error for each value of a SageMaker request that exceeds a limit of botocore's service model.

    Parameters
    ----------
    operation : str
        Such as ``CreateModel``.
    request : mapping
    names : mapping
        Last part of a member's path → name that the user gave the value by.
    """
    found = []
    for problem in service_model.problems(operation, request):
        if problem.limits.get("pattern") == ".*" and "pattern" in problem.constraint:
            continue  # line breaks, which Python's `.` does not match, are allowed
        path = problem.member.split(".")
        key = f" {path[-2]}" if path[-1] == "member" else ""
        member = path[-3] if key else path[-1]
        got = len(problem.value) if isinstance(problem.value, dict | list) else problem.value
        found.append(f"{names.get(member, member)}{key}: expected {_EXPECTED.get(member) or _limit(problem)}, got {got!r:.100}")
    return list(dict.fromkeys(found))


def _limit(problem: Problem) -> str:
    """A constraint of the service model as part of a sentence."""
    text = problem.constraint.removeprefix("Member must ")
    for words, ours in (
        (r"have length less than or equal to (\d+)", r"at most \1"),
        (r"have length greater than or equal to (\d+)", r"at least \1"),
        (r"have value less than or equal to (\d+)", r"at most \1"),
        (r"have value greater than or equal to (\d+)", r"at least \1"),
        (r"satisfy enum value set: \[(.*)\]", r"one of \1"),
        (r"satisfy regular expression pattern: (.*)", r"a string that matches \1"),
    ):
        if match := re.fullmatch(words, text):
            return match.expand(ours)
    return text


def folder(what: str, uri: str) -> list[str]:
    """Return an error when a URI is not an s3:// folder."""
    if re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/.*)?", uri):
        return []
    return [f"{what}: expected an s3:// folder, got {uri!r}; SageMaker reads and writes S3 only"]


def at_least(what: str, value: int, lowest: int) -> list[str]:
    """Return an error when a number is below its minimum.

    Parameters
    ----------
    what : str
        Name of the value.
    value : int
    lowest : int
    """
    return [] if value >= lowest else [f"{what}: expected at least {lowest}, got {value}"]


def image(value: str) -> list[str]:
    """Return an error when a container image is not in a registry, or its tag changes from build to build."""
    if not _IMAGE.fullmatch(value):
        return [
            f"image: expected REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:…, got {value!r}; docs/deploy.md says how to build one"
        ]
    if value.endswith(":latest"):
        return [f"image: expected a fixed tag, got {value!r}"]
    return []


def network(subnets: Sequence[str], security_group_ids: Sequence[str]) -> list[str]:
    """Return errors in the subnets and security groups of a VPC: both are needed, or neither."""
    problems = []
    if bool(subnets) != bool(security_group_ids):
        problems.append("subnets and security_group_ids: expected both or neither")
    for what, prefix, values in (("subnets", "subnet-", subnets), ("security_group_ids", "sg-", security_group_ids)):
        wrong = [value for value in values if not value.startswith(prefix)]
        if wrong:
            problems.append(f"{what}: expected identifiers like {prefix}0123abcd, got {', '.join(map(repr, wrong))}")
    return problems


def tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags in the format of AWS requests, sorted."""
    return [{"Key": key, "Value": value} for key, value in sorted(values.items())]


def arguments_of(request: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a JSON object or of command-line options as arguments of a request class.

    Raises
    ------
    DeployError
        A name is not a field of the class, or a field without a default is missing or empty.
    """
    known = fields(request)
    unknown = sorted(values.keys() - {item.name for item in known})
    if unknown:
        names = ", ".join(sorted(item.name for item in known))
        raise DeployError(f"{request.__name__} has no field {', '.join(map(repr, unknown))}. Its fields are {names}.")
    required = [item.name for item in known if item.default is MISSING and item.default_factory is MISSING]
    missing = [name for name in required if not values.get(name)]
    if missing:
        raise DeployError(f"{request.__name__}: no value for {', '.join(missing)}, which is required.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def raise_all(what: str, problems: Sequence[str]) -> None:
    """Raise one error that lists all problems.

    Raises
    ------
    DeployError
        There is at least one problem.
    """
    if problems:
        raise DeployError(f"{what}: " + "; ".join(problems) + ".")


@contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """Turn errors from AWS and its SDKs into `DeployError`, with what the call was about.

    Raises
    ------
    DeployError
        AWS refused a request, or could not be reached.
    """
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
        raise DeployError(f"{what}: the response is not from AWS, perhaps from a proxy: {str(error)[:200]}") from error


_THROTTLED = ("Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException")


def is_temporary(error: BaseException | None) -> bool:
    """Return whether a request that raised this may succeed later: it was throttled, failed inside AWS, or got no answer."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or error.response.get("Error", {}).get("Code") in _THROTTLED
    return isinstance(error, ConnectionError | HTTPClientError)
