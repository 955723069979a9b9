"""One deployment: its name, its templates, and how its person is told and asked."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dicom_workflow.aws.stacks.catalog import DEFAULT_NAME, DEPLOYMENT_TAG, STACKS, checked_name, stack_name, templates_folder
from dicom_workflow.aws.stacks.cloudformation import Cloud
from dicom_workflow.aws.stacks.stack_state import StackState
from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError


@dataclass
class Deployment:
    """The stacks of one name in one account and region.

    Parameters
    ----------
    name : str
    cloud : Cloud
    say : callable
        Takes lines for a person.
    ask : callable
        Takes a question and returns whether the answer is yes.
    folder : Path, optional
        Of the templates; the project's own when not given.

    Raises
    ------
    DeployError
        The name cannot be used.
    """

    name: str
    cloud: Cloud
    say: Callable[[str], None]
    ask: Callable[[str], bool] = lambda question: False
    folder: Path = field(default_factory=templates_folder)
    flags: tuple[str, ...] = ()
    """Words that every further command line for it needs, such as ``--region``."""

    def __post_init__(self) -> None:
        checked_name(self.name)

    @cached_property
    def templates(self) -> Mapping[str, Template]:
        """The template of each stack, in the order of deployment; a folder of one's own may have fewer."""
        found = {stack: Template.read(stack, self.folder) for stack in STACKS if (self.folder / f"{stack}.yaml").is_file()}
        if not found:
            raise DeployError(f"expected templates such as {self.folder / 'foundation.yaml'}, found none. Run from a checkout.")
        return found

    @property
    def tags(self) -> dict[str, str]:
        """What marks everything that belongs to this deployment, on bills too."""
        return {DEPLOYMENT_TAG: self.name}

    def stack_name(self, stack: str) -> str:
        return stack_name(self.name, stack)

    def find(self, stack: str) -> StackState | None:
        """Return the state of a stack, or None where there is none.

        Raises
        ------
        DeployError
            A stack of that name is somebody else's.
        """
        state = self.cloud.find(self.stack_name(stack))
        if state and state.tags.get(DEPLOYMENT_TAG) != self.name and state.exists:
            raise DeployError(
                f"stack {state.name}: expected one of deployment {self.name} (tag {DEPLOYMENT_TAG}), found another's. "
                "Take another --name."
            )
        return state

    def states(self) -> dict[str, StackState | None]:
        """Return the state of every stack there could be, in the order of deployment."""
        return {stack: self.find(stack) for stack in STACKS}

    def outputs(self) -> dict[str, str]:
        """Return the outputs of all stacks that stand."""
        return {
            name: value for state in self.states().values() if state and state.exists for name, value in state.outputs.items()
        }

    def command(self, word: str, *further: str) -> str:
        """Return a command line for this deployment."""
        name = () if self.name == DEFAULT_NAME else ("--name", self.name)
        return shlex.join(("dicom-workflow", word, *further, *name, *self.flags))
