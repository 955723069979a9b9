"""The stacks of `cfn/`: where they are, how cfn-lint and our rule pack read them, and how a test changes one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint.config import ConfigMixIn
from cfnlint.decode import cfn_yaml
from cfnlint.decode.decode import decode_str
from cfnlint.match import Match
from cfnlint.rules._rules import Rules
from cfnlint.rules.errors import RuleError
from cfnlint.runner import run_template_by_data

ROOT = Path(__file__).resolve().parents[2]
CFN = ROOT / "cfn"
RULES = CFN / "rules"
# The order in which they are deployed: an output of one is the parameter of the same name in those after it.
STACKS = ("foundation", "network", "archive", "labeling", "training", "notebook")
REGION = "us-east-1"
DEPLOYMENT = "dicom-workflow"
DIGEST = "0123456789abcdef" * 4

# What the command line uploads or a person types; every other parameter has a default or comes from an earlier stack.
GIVEN = {
    "AlarmEmail": "on-call@example.org",
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
    "LabelingServiceContextKey": "labeling-service/context-0123456789abcdef.zip",
    "LabelingServiceImage": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/labeling-service@sha256:{DIGEST}",
    "WheelsPrefix": "wheels/0123456789abcdef/",
    "WorkerOrigin": f"https://reading.labeling.{REGION}.sagemaker.aws",
}
# What an earlier stack puts out only when it is asked for something else than its defaults.
SOMETIMES = {
    "GroundTruthSecretArn": f"arn:aws:secretsmanager:{REGION}:123456789012:secret:labeling-service-AbCdEf",
    "HealthImagingDatastoreId": DIGEST[:32],
}


@cache
def pack() -> Rules:
    """The rules of `cfn/rules`, as `cfn-lint --append-rules cfn/rules` loads them."""
    return Rules.create_from_directory(str(RULES))


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


# The rules about support are asked about this day, so that a test says the same next year.
DAY = "2026-11-01"


def lint(body: str | dict[str, Any], day: str = DAY, only: str | None = None) -> list[Match]:
    """What our pack, or one rule of it, says of a template, sorted by line."""
    found, broken = decode_str(body if isinstance(body, str) else json.dumps(body, indent=1))
    assert found is not None and not broken, f"not a template: {broken}"
    config = ConfigMixIn(regions=[REGION], configure_rules={rule: {"today": day} for rule in ("E9504", "E9701")})
    # Without RuleError among the rules, cfn-lint drops what it says of a rule that raised.
    asked = Rules({name: rule for name, rule in pack().items() if only in (None, name)})
    asked.register(RuleError())
    return sorted(run_template_by_data(found, config, asked), key=lambda match: (match.linenumber, match.rule.id))


def said(matches: list[Match]) -> list[str]:
    """Matches as a failing test prints them."""
    return [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in matches]


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    """The name of each stack in turn."""
    name: str = request.param
    return name
