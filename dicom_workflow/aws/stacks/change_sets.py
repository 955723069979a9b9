"""Deploy one stack with a change set: it is shown, confirmed, executed and waited for.

A deployment can be interrupted at any point. The state it leaves (a stack in review, an operation in progress, a rollback) is
read from CloudFormation, not from a local file, and the same command continues from there.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dicom_workflow.aws.errors import aws_errors
from dicom_workflow.aws.stacks import wait
from dicom_workflow.aws.stacks.deployment import DATA_TYPES, HOLDS_DATA, Deployment
from dicom_workflow.aws.stacks.parameters import Value
from dicom_workflow.aws.stacks.stack_state import (
    CHANGE_HEADINGS,
    GOOD,
    NEVER_CREATED,
    READY,
    Change,
    ChangeSet,
    Event,
    StackState,
)
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError


class DeclinedError(DeployError):
    """The user declined: the step in question changed nothing."""


def data_loss(change: Change, template: Template) -> str:
    """Return a warning when a change removes or replaces a resource that holds data; empty otherwise.

    A resource that is retained outside the stack counts too, because its replacement is empty.
    """
    if change.type not in DATA_TYPES and not template.holds_data(change.logical_id):
        return ""
    what = f"{change.logical_id} ({change.type}{f', {change.physical_id}' if change.physical_id else ''})"
    kept = "the old one is kept outside the stack" if "Retain" in change.policy else "THE OLD ONE IS DELETED"
    if "Snapshot" in change.policy:
        kept = "a snapshot of the old one is kept"
    if change.action == "Remove":
        return f"REMOVES DATA: {what} leaves the stack; {kept}"
    if change.replacement in ("True", "Conditional"):
        word = "REPLACES" if change.replacement == "True" else "MAY REPLACE"
        return f"{word} DATA: {what} by a new, empty one; {kept}"
    return ""


@dataclass
class StackDeployer:
    """Deploys stacks, like ``aws cloudformation deploy``, with a confirmation and a guard against data loss.

    Parameters
    ----------
    deployment : Deployment
    allowed_replacements : collection of str
        Logical ids of resources that hold data and may be replaced or removed.
    resume_command : str
        Command that continues after a failure.
    """

    deployment: Deployment
    allowed_replacements: Collection[str] = ()
    resume_command: str = "dicom-workflow deploy"
    done: dict[str, str] = field(default_factory=dict)
    """The outcome for each stack: ``created``, ``updated`` or ``unchanged``."""

    def deploy(
        self, stack: str, state: StackState | None, values: Mapping[str, Value], *, template_url: str = ""
    ) -> StackState:
        """Create or update one stack and return its state.

        Parameters
        ----------
        stack : str
        state : StackState or None
            The return value of `recover`.
        values : mapping
            Value of each parameter.
        template_url : str, optional
            Address of the template on S3, when it does not fit into a request.

        Raises
        ------
        DeclinedError
            The user declined the change.
        DeployError
            It failed; the message has the first causes, the state of the stack and how to continue.
        """
        deployment, template = self.deployment, self.deployment.templates[stack]
        name = deployment.stack_name(stack)
        change_set = self._create_change_set(name, template, values, is_new=state is None, url=template_url)
        if change_set is None:
            deployment.report(f"{name}: no changes")
            self.done[stack] = "unchanged"
            return self._protected(stack, state or deployment.cloud.expect(name))
        resources = self._confirm_changes(template, change_set, is_new=state is None)
        reviewed = deployment.cloud.expect(change_set.stack_name)
        ended = wait.run_operation(deployment, reviewed, lambda: deployment.cloud.execute(change_set), resources=resources)
        if ended.status not in GOOD:
            raise DeployError(self._failure(ended))
        self.done[stack] = "updated" if state else "created"
        deployment.report(f"{ended.name}: {ended.status}")
        return self._protected(stack, ended)

    def recover(self, stack: str) -> StackState | None:
        """Bring a stack into a state from which it can be deployed, and return that state; None when it has to be created.

        Raises
        ------
        DeclinedError
            The user declined a step.
        DeployError
            The stack cannot be recovered; the message has the first causes.
        """
        deployment = self.deployment
        while True:
            state = deployment.find(stack)
            if state is None or state.status == "DELETE_COMPLETE":
                return None
            if state.is_busy:
                state = wait.wait_for_operation(deployment, state)
                if state.status == "DELETE_COMPLETE":
                    continue
            if state.status == "REVIEW_IN_PROGRESS":
                if self._delete_change_sets(state):
                    deployment.report(f"{state.name}: replacing the change set of an earlier run, which was not executed")
                return None
            if state.status in READY:
                return state
            self._repair(stack, state)

    def _repair(self, stack: str, state: StackState) -> None:
        """One step out of a state in which CloudFormation accepts no change set."""
        deployment = self.deployment
        causes = wait.failure_causes(deployment.cloud, state)
        if state.status in NEVER_CREATED:
            deployment.report(f"{state.name}: {state.status}: its creation failed.\n{causes}")
            self._confirm(f"Delete the failed stack {state.name} and create it again?")
            self._delete_failed(state)
        elif state.status in ("UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED"):
            deployment.report(f"{state.name}: {state.status}: an update failed and its rollback did not finish.\n{causes}")
            self._confirm(f"Continue the rollback of the last update of {state.name}?")
            ended = wait.run_operation(deployment, state, lambda: self._continue_rollback(state))
            if ended.status not in READY:
                raise DeployError(self._failure(ended))
        else:
            raise DeployError(
                f"stack {state.name} cannot be deployed in {state.status} ({state.reason or 'no reason'}). "
                f"If its deletion was interrupted, finish it with `{deployment.command('destroy')}`."
            )

    def _continue_rollback(self, state: StackState) -> None:
        client = self.deployment.cloud.client("cloudformation")
        with aws_errors(f"stack {state.name}"):
            if state.status == "UPDATE_FAILED":
                client.rollback_stack(StackName=state.name)
            else:
                client.continue_update_rollback(StackName=state.name)

    def _delete_failed(self, state: StackState) -> None:
        cloud = self.deployment.cloud
        kept: list[Event] = []

        def note(event: Event) -> None:
            if event.status == "DELETE_SKIPPED":
                kept.append(event)

        if state.protected:
            cloud.protect(state.name, False)
        ended = wait.run_operation(self.deployment, state, lambda: cloud.delete(state), on_event=note)
        if ended.status != "DELETE_COMPLETE":
            raise DeployError(self._failure(ended))
        for event in kept:
            self.deployment.report(
                f"  kept outside any stack: {event.logical_id} ({event.type}) {event.physical_id}; delete it if unneeded"
            )

    def _create_change_set(
        self, name: str, template: Template, values: Mapping[str, Value], *, is_new: bool, url: str
    ) -> ChangeSet | None:
        """The change set, or None when it has no changes."""
        deployment = self.deployment
        requests = [request for value in values.values() if (request := value.request())]
        change_set = deployment.cloud.create_change_set(template, name, requests, deployment.tags, is_new=is_new, url=url)
        if change_set.is_empty:
            deployment.cloud.delete_change_set(change_set)
            return None
        if change_set.status != "CREATE_COMPLETE":
            self._discard(change_set)
            raise DeployError(
                f"stack {name}: CloudFormation cannot create the change set: {change_set.reason}. Nothing was changed."
            )
        return change_set

    def _confirm_changes(self, template: Template, change_set: ChangeSet, *, is_new: bool) -> int:
        """Show a change set, ask for confirmation, and return the number of resources it changes."""
        deployment, changes = self.deployment, change_set.changes
        word = "create" if is_new else "update"
        deployment.report(f"\n{change_set.stack_name}: {len(changes)} resources to {'create' if is_new else 'change'}")
        if changes:
            deployment.report(table(CHANGE_HEADINGS, (change.row() for change in changes)))
        warnings = {change.logical_id: text for change in changes if (text := data_loss(change, template))}
        for text in warnings.values():
            deployment.report(f"!! {text}")
        refused = [name for name in warnings if name not in self.allowed_replacements]
        if refused:
            self._discard(change_set)
            flags = " ".join(f"--allow-replacement {shlex.quote(name)}" for name in refused)
            raise DeployError(
                f"stack {change_set.stack_name}: data would be lost or left behind, so nothing was changed. "
                f"If that is intended, back the data up and run: {self.resume_command} {flags}"
            )
        try:
            self._confirm(f"{word.capitalize()} stack {change_set.stack_name}?")
        except (DeployError, KeyboardInterrupt):  # declined, no terminal, or interrupted at the question
            self._discard(change_set)
            raise
        return len(changes)

    def _discard(self, change_set: ChangeSet) -> None:
        """Delete a change set and the empty stack that it created."""
        cloud = self.deployment.cloud
        cloud.delete_change_set(change_set)
        state = cloud.find(change_set.stack_name)
        if state and state.status == "REVIEW_IN_PROGRESS":
            cloud.delete(state)

    def _delete_change_sets(self, state: StackState) -> int:
        """Delete the change sets of earlier runs and return their number."""
        deleted = 0
        client = self.deployment.cloud.client("cloudformation")
        with aws_errors(f"stack {state.name}"):
            for page in client.get_paginator("list_change_sets").paginate(StackName=state.name):
                for item in page.get("Summaries", ()):
                    if item["StackName"] == state.name and item["ChangeSetName"].startswith("dicom-workflow-"):
                        client.delete_change_set(ChangeSetName=item["ChangeSetId"], StackName=state.name)
                        deleted += 1
        return deleted

    def _confirm(self, question: str) -> None:
        if not self.deployment.confirm(question):
            raise DeclinedError(f"Declined: {question} This step changed nothing. To continue: {self.resume_command}")

    def _protected(self, stack: str, state: StackState) -> StackState:
        if stack in HOLDS_DATA and not state.protected:
            self.deployment.cloud.protect(state.name, True)
        return state

    def _failure(self, state: StackState) -> str:
        meaning = {
            "UPDATE_ROLLBACK_COMPLETE": "the stack is as it was before",
            "ROLLBACK_COMPLETE": "its resources were deleted; the next deployment creates it again",
            "ROLLBACK_FAILED": "some resources may be left; the next deployment deletes them and creates it again",
            "UPDATE_ROLLBACK_FAILED": "it is half updated; the next deployment continues the rollback",
            "DELETE_FAILED": "it is half deleted",
        }.get(state.status, "inspect it with `" + self.deployment.command("status") + "`")
        return (
            f"stack {state.name} failed. First causes:\n{wait.failure_causes(self.deployment.cloud, state)}\n"
            f"It is in {state.status}: {meaning}. When the cause is fixed, continue with: {self.resume_command}"
        )
