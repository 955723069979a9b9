"""The templates of `cfn/`: loading them, changing them, and checking them with the rules of `tools/cfn-lint-rules`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfn_lint_medical_imaging import check_template
from cfnlint.decode import cfn_yaml
from cfnlint.match import Match

ROOT = Path(__file__).resolve().parents[2]
CFN = ROOT / "cfn"
# The order in which they are deployed: an output of one is the parameter of the same name in those after it.
STACKS = ("foundation", "network", "archive", "labeling", "training", "search", "notebook")
REGION = "us-east-1"
DEPLOYMENT = "dicom-workflow"
DIGEST = "0123456789abcdef" * 4

# What the command line uploads or a person types; every other parameter has a default or comes from an earlier stack.
GIVEN = {
    "AlarmEmail": "on-call@example.org",
    "ArchiveSchedule": "rate(1 hour)",
    "ArchiveHostName": "archive.example.org",
    "CertificateArn": f"arn:aws:acm:{REGION}:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef",
    "ClientCidr": "203.0.113.0/24",
    "DimseCidr": "203.0.113.0/24",
    "ExistingUserPoolClientId": "0123456789abcdefghijklmnop",
    "ExistingUserPoolId": f"{REGION}_AbCdEfGhI",
    "HostedZoneId": "Z0123456789ABCDEFGHIJ",
    "InferenceContextKey": "inference/context-0123456789abcdef.zip",
    "InferenceImage": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/inference@sha256:{DIGEST}",
    "ModelDataUri": "s3://radiographs/models/first/model.tar.gz",
    "NotebooksKey": "notebooks-0123456789abcdef.zip",
    "OrthancImage": f"docker.io/orthancteam/orthanc:26.5.0@sha256:{DIGEST}",
    "OtherBuckets": "arn:aws:s3:::open-images",
    "PortalHostName": "reading.example.org",
    "PostAnnotationKey": "lambda/post_annotation-0123456789abcdef.zip",
    "PreAnnotationKey": "lambda/pre_annotation-0123456789abcdef.zip",
    "SearchHostName": "search.example.org",
    "SearchModelUri": "s3://models/models/first/model.tar.gz",
    "SearchServiceContextKey": "search/context-0123456789abcdef.zip",
    "SearchServiceImage": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/search@sha256:{DIGEST}",
    "LabelingServiceContextKey": "labeling-service/context-0123456789abcdef.zip",
    "LabelingServiceImage": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/labeling-service@sha256:{DIGEST}",
    "WheelsPrefix": "wheels/0123456789abcdef/",
    "WorkerOrigin": f"https://reading.labeling.{REGION}.sagemaker.aws",
}
# What an earlier stack puts out only when it is asked for something else than its defaults.
SOMETIMES = {
    "GroundTruthSecretArn": f"arn:aws:secretsmanager:{REGION}:123456789012:secret:labeling-service-AbCdEf",
    "HealthImagingDatastoreId": DIGEST[:32],
    # A person gives these instead of the user pool that the stack makes otherwise.
    "OidcAudience": "search",
    "OidcIssuer": "https://login.hospital.example/oidc",
}


def text_of(stack: str) -> str:
    return (CFN / f"{stack}.yaml").read_text("utf-8")


@cache
def _loaded(stack: str) -> dict[str, Any]:
    # cfn-lint's loader turns !Sub into Fn::Sub; through JSON it becomes plain dictionaries that a test may change.
    return json.loads(json.dumps(cfn_yaml.loads(text_of(stack)), default=str))


def template(stack: str) -> dict[str, Any]:
    """A template as plain dictionaries with the long forms of every function; the caller's own copy."""
    return copy.deepcopy(_loaded(stack))


def fed(stack: str, of: Callable[[str], dict[str, Any]], **chosen: str) -> dict[str, str]:
    """The parameters of a stack: what a person gives, what earlier stacks put out, and what the test chose.

    `of` says what a stack puts out; it is asked for the earlier ones only.
    """
    wanted = _loaded(stack).get("Parameters", {})
    values = {name: value for name, value in GIVEN.items() if name in wanted}
    for earlier in STACKS[: STACKS.index(stack)]:
        if (CFN / f"{earlier}.yaml").is_file():
            values |= {name: str(value) for name, value in of(earlier).items() if name in wanted}
    return values | {"DeploymentName": DEPLOYMENT} | {name: value for name, value in chosen.items() if name in wanted}


def stacks_there() -> list[str]:
    """The stacks whose template exists, in the order of deployment; a test says that all of them do."""
    return [stack for stack in STACKS if (CFN / f"{stack}.yaml").is_file()]


# The end-of-support rules are evaluated for this day, so that the tests do not age.
DAY = "2026-11-01"


def lint(body: str | dict[str, Any], only: str | None = None) -> list[Match]:
    """Return what our cfn-lint rules, or one of them, report about a template, ordered by line."""
    return check_template(body, today=DAY, only=only, region=REGION)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    """The name of each stack in turn."""
    name: str = request.param
    return name
