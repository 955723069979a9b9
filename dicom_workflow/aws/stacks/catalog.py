"""Which stacks a deployment has, in which order they stand, and what in them holds data."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from dicom_workflow.errors import DeployError

STACKS = ("foundation", "network", "archive", "labeling", "training", "notebook")
"""In the order they are deployed; each may take the outputs of those before it. Removal goes the other way."""

HOLDS_DATA = ("foundation", "archive", "labeling", "training")
"""Stacks under termination protection: CloudFormation itself refuses to delete them until `destroy` lifts it."""

DEFAULT_NAME = "dicom-workflow"
DEPLOYMENT_TAG = "dicom-workflow:deployment"

DATA_TYPES = frozenset(
    {
        "AWS::CodeCommit::Repository",
        "AWS::Cognito::UserPool",
        "AWS::DynamoDB::Table",
        "AWS::ECR::Repository",
        "AWS::EFS::FileSystem",
        "AWS::HealthImaging::Datastore",
        "AWS::KMS::Key",
        "AWS::Logs::LogGroup",
        "AWS::RDS::DBCluster",
        "AWS::RDS::DBInstance",
        "AWS::S3::Bucket",
        "AWS::SageMaker::Domain",
        "AWS::SageMaker::NotebookInstance",
        "AWS::SageMaker::Space",
        "AWS::SageMaker::UserProfile",
        "AWS::SecretsManager::Secret",
    }
)
"""Types that hold what nobody can make again: a replaced or deleted one takes images, answers, models or keys with it."""

_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){0,30}")
_TAKEN = ("amazon", "aws", "cognito")
"""Words that Cognito wants in no address where people sign in; that of the workers begins with the deployment's name."""


def templates_folder() -> Path:
    """Return the folder of the project's own templates, ``cfn/`` of the checkout."""
    return Path(__file__).resolve().parents[3] / "cfn"


def checked_name(name: str) -> str:
    """Return the name of a deployment.

    Raises
    ------
    DeployError
        It cannot begin the names of stacks, buckets and functions.
    """
    if not _NAME.fullmatch(name):
        raise DeployError(
            f"--name: expected 1 to 31 lower-case letters, digits and single hyphens, beginning with a letter and not ending "
            f"with a hyphen, got {name!r}."
        )
    if taken := [word for word in _TAKEN if word in name]:
        raise DeployError(f"--name: expected a name without {', '.join(taken)}, which Cognito refuses, got {name!r}.")
    return name


def stack_name(deployment: str, stack: str) -> str:
    """Return the name that a stack of a deployment has in CloudFormation."""
    return f"{deployment}-{stack}"


def in_order(stacks: list[str]) -> tuple[str, ...]:
    """Return stacks in the order of deployment, all of them when none is named.

    Raises
    ------
    DeployError
        A name is none of `STACKS`.
    """
    unknown = [name for name in stacks if name not in STACKS]
    if unknown:
        near = [match for name in unknown for match in difflib.get_close_matches(name, STACKS, n=1)]
        meant = f" Did you mean {', '.join(near)}?" if near else ""
        raise DeployError(f"expected stacks among {', '.join(STACKS)}, got {', '.join(map(repr, unknown))}.{meant}")
    return tuple(name for name in STACKS if name in stacks or not stacks)
