"""A deployment: its name, its stacks in order, their templates and their states.

A *deployment* has a name; its stacks are ``NAME-foundation``, ``NAME-network`` and so on (`STACKS`), each made from the
template of that name in ``cfn/``. An output of one stack is the value of the parameter of the same name in later stacks. No
state is kept on this machine: CloudFormation is asked each time.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dicom_workflow.aws.deployment_settings import DEFAULT_NAME
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.stack_state import GOOD, READY, StackState, plain
from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError

STACKS = ("foundation", "network", "archive", "labeling", "training", "search", "notebook")
"""In order of deployment; each may take the outputs of those before it. They are deleted in reverse order."""

HOLDS_DATA = ("foundation", "archive", "labeling", "training", "search")
"""Stacks under termination protection: CloudFormation refuses to delete them until `destroy` lifts it."""

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
        "AWS::OpenSearchService::Domain",
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
"""Resource types that hold data: replacing or deleting one loses images, answers, models or keys."""

STATUS_HEADINGS = ("stack", "state", "since", "drift", "protected")

_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){0,30}")
_RESERVED = ("amazon", "aws", "cognito")
"""Words that Cognito refuses in the domain of a user pool, which begins with the deployment's name."""


def templates_folder() -> Path:
    """Return the folder of the project's own templates, ``cfn/`` of the checkout."""
    return Path(__file__).resolve().parents[3] / "cfn"


def checked_name(name: str) -> str:
    """Return the name of a deployment.

    Raises
    ------
    DeployError
        The name cannot be the prefix of stack, bucket and function names.
    """
    if not _NAME.fullmatch(name):
        raise DeployError(
            f"--name: expected 1 to 31 lower-case letters, digits and single hyphens, beginning with a letter and not ending "
            f"with a hyphen, got {name!r}."
        )
    if reserved := [word for word in _RESERVED if word in name]:
        raise DeployError(f"--name: expected a name without {', '.join(reserved)}, which Cognito refuses, got {name!r}.")
    return name


def in_order(stacks: list[str]) -> tuple[str, ...]:
    """Return stacks in order of deployment; all of them when none is named.

    Raises
    ------
    DeployError
        A name is not in `STACKS`.
    """
    unknown = [name for name in stacks if name not in STACKS]
    if unknown:
        near = [match for name in unknown for match in difflib.get_close_matches(name, STACKS, n=1)]
        meant = f" Did you mean {', '.join(near)}?" if near else ""
        raise DeployError(f"expected stacks among {', '.join(STACKS)}, got {', '.join(map(repr, unknown))}.{meant}")
    return tuple(name for name in STACKS if name in stacks or not stacks)


@dataclass
class Deployment:
    """The stacks of one name in one account and region.

    Parameters
    ----------
    name : str
    cloud : CloudFormationClient
    report : callable
        Prints a message.
    confirm : callable
        Asks a yes/no question and returns whether the answer is yes.
    folder : Path, optional
        Templates; the project's own when not given.
    flags : tuple of str
        Options that every further command for this deployment needs, such as ``--region``.

    Raises
    ------
    DeployError
        The name cannot be used.
    """

    name: str
    cloud: CloudFormationClient
    report: Callable[[str], None]
    confirm: Callable[[str], bool] = lambda question: False
    folder: Path = field(default_factory=templates_folder)
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_name(self.name)

    @cached_property
    def templates(self) -> Mapping[str, Template]:
        """The template of each stack, in order of deployment; a folder of your own may have fewer than `STACKS`.

        Raises
        ------
        DeployError
            The folder has no template.
        """
        found = {stack: Template.read(stack, self.folder) for stack in STACKS if (self.folder / f"{stack}.yaml").is_file()}
        if not found:
            raise DeployError(
                f"{self.folder} has no template such as foundation.yaml. Run from a checkout or give --templates."
            )
        return found

    @property
    def tags(self) -> dict[str, str]:
        """Tags of every resource of this deployment, also usable for cost allocation."""
        return {DEPLOYMENT_TAG: self.name}

    def stack_name(self, stack: str) -> str:
        """Return the name that a stack has in CloudFormation."""
        return f"{self.name}-{stack}"

    def find(self, stack: str) -> StackState | None:
        """Return the state of a stack, or None when it does not exist.

        Raises
        ------
        DeployError
            A stack of that name does not belong to this deployment.
        """
        state = self.cloud.find(self.stack_name(stack))
        if state and state.tags.get(DEPLOYMENT_TAG) != self.name and state.exists:
            raise DeployError(
                f"stack {state.name} does not belong to deployment {self.name} (its tag {DEPLOYMENT_TAG} says otherwise). "
                "Choose another --name."
            )
        return state

    def states(self) -> dict[str, StackState | None]:
        """Return the state of every stack of `STACKS`, in order of deployment."""
        return {stack: self.find(stack) for stack in STACKS}

    def outputs(self) -> dict[str, str]:
        """Return the outputs of all existing stacks."""
        return {
            name: value for state in self.states().values() if state and state.exists for name, value in state.outputs.items()
        }

    def status(self) -> DeploymentStatus:
        """Return the status of every stack."""
        return DeploymentStatus(self.states())

    def drift(self) -> dict[str, list[tuple[str, ...]]]:
        """Run CloudFormation's drift detection and return the differences.

        Returns
        -------
        dict
            Stack → rows of (resource, type, kind of drift, property paths). Values are left out: CloudFormation masks some
            secrets, but not all.
        """
        found: dict[str, list[tuple[str, ...]]] = {}
        for stack, state in self.states().items():
            if state and state.status in READY:
                rows: list[tuple[str, ...]] = []
                for item in self.cloud.drift(state.name):
                    paths = [plain(change["PropertyPath"]) for change in item.get("PropertyDifferences", ())]
                    rows.append(
                        (item["LogicalResourceId"], item["ResourceType"], item["StackResourceDriftStatus"], ", ".join(paths))
                    )
                found[stack] = rows
        return found

    def command(self, name: str, *further: str) -> str:
        """Return a ``dicom-workflow`` command line for this deployment."""
        chosen = () if self.name == DEFAULT_NAME else ("--name", self.name)
        return shlex.join(("dicom-workflow", name, *further, *chosen, *self.flags))


@dataclass(frozen=True)
class DeploymentStatus:
    """The status of the stacks of a deployment."""

    states: Mapping[str, StackState | None]

    @property
    def half_deployed(self) -> list[str]:
        """One message for each stack that is neither complete nor absent; a stack after a successful rollback is complete."""
        found = []
        for state in self.states.values():
            if state and state.status not in (*READY, "DELETE_COMPLETE"):
                message = f"{state.name} is in {state.status}" + (f": {state.reason}" if state.reason else "")
                found.append(message + (" (an operation is in progress)" if state.is_busy else ""))
        return found

    @property
    def cautions(self) -> list[str]:
        """One message for each stack whose last update was rolled back."""
        return [
            f"{state.name}: its last update failed and was rolled back ({state.status})"
            for state in self.states.values()
            if state and state.status in READY and state.status not in GOOD
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """Return one row for each stack, with the columns of `STATUS_HEADINGS`."""
        return [self._row(stack, state) for stack, state in self.states.items()]

    def _row(self, stack: str, state: StackState | None) -> tuple[str, ...]:
        if state is None:
            return (stack, "not deployed", "", "", "")
        since = f"{state.since:%Y-%m-%d %H:%M}" if state.since else ""
        return (stack, state.status, since, state.drift.lower().replace("_", " "), "yes" if state.protected else "no")

    def to_json(self) -> dict[str, Any]:
        """Return the state and outputs of each stack."""
        return {
            stack: state and {"name": state.name, "status": state.status, "outputs": dict(state.outputs), "drift": state.drift}
            for stack, state in self.states.items()
        }
