"""Stacks made and changed, one after the other: a change set is shown, agreed to, executed and watched.

It can be stopped anywhere. What a stopped run left (a stack in review, an operation under way, one that was rolled back) is
found in CloudFormation itself, not in a file, and the same command goes on from there.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.aws.errors import answers_of_aws
from dicom_workflow.aws.stacks import wait
from dicom_workflow.aws.stacks.catalog import DATA_TYPES, HOLDS_DATA
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import Value
from dicom_workflow.aws.stacks.stack_state import GOOD, NEVER_CREATED, READY, ChangeSet, Event, StackState, plain
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError


class DeclinedError(DeployError):
    """The person said no: nothing was changed by the step that was asked about."""


@dataclass
class Rollout:
    """How stacks are deployed.

    Parameters
    ----------
    deployment : Deployment
    allowed : collection of str
        Logical ids of data resources that may be replaced or removed.
    again : str
        The command that goes on after a failure.
    """

    deployment: Deployment
    allowed: Collection[str] = ()
    again: str = "dicom-workflow deploy"
    done: dict[str, str] = field(default_factory=dict)
    """What became of each stack: ``created``, ``updated`` or ``unchanged``."""

    def deploy(self, stack: str, values: Mapping[str, Value]) -> StackState:
        """Settle one stack and change it."""
        return self.change(stack, self.settle(stack), values)

    def change(
        self, stack: str, state: StackState | None, values: Mapping[str, Value], *, template_url: str = ""
    ) -> StackState:
        """Bring one stack to where its template and values say, and return its state.

        Parameters
        ----------
        stack : str
        state : StackState or None
            What `settle` returned.
        values : mapping
        template_url : str, optional
            Where the template is on S3, when it is too long for a request.

        Raises
        ------
        DeclinedError
            The person did not want that.
        DeployError
            It failed; the message has the first causes, what state the stack is in and how to go on.
        """
        deployment, template = self.deployment, self.deployment.templates[stack]
        name = deployment.stack_name(stack)
        change_set = self._work_out(name, template, values, is_new=state is None, url=template_url)
        if change_set is None:
            deployment.say(f"{name}: nothing to do")
            self.done[stack] = "unchanged"
            return self._protected(stack, state or deployment.cloud.expect(name))
        resources = self._agree(template, change_set, is_new=state is None)
        reviewed = deployment.cloud.expect(change_set.stack_name)
        ended = wait.carry_out(deployment, reviewed, lambda: deployment.cloud.execute(change_set), resources=resources)
        if ended.status not in GOOD:
            raise DeployError(self._failure(ended))
        self.done[stack] = "updated" if state else "created"
        deployment.say(f"{ended.name}: {ended.status}")
        return self._protected(stack, ended)

    def settle(self, stack: str) -> StackState | None:
        """Bring a stack into a state from which it can be deployed, and return it; None when it will be new."""
        deployment = self.deployment
        while True:
            state = deployment.find(stack)
            if state is None or state.status == "DELETE_COMPLETE":
                return None
            if state.is_busy:
                state = wait.follow(deployment, state)
                if state.status == "DELETE_COMPLETE":
                    continue
            if state.status == "REVIEW_IN_PROGRESS":
                if self._drop_change_sets(state):
                    deployment.say(f"{state.name}: an earlier run ended before its change set was executed; it is made anew")
                return None
            if state.status in READY:
                return state
            self._repair(stack, state)

    def _repair(self, stack: str, state: StackState) -> None:
        """One step out of a state in which CloudFormation takes no change set."""
        deployment = self.deployment
        if state.status in NEVER_CREATED:
            deployment.say(f"{state.name}: {state.status}: its creation failed.\n{wait.causes(deployment.cloud, state)}")
            self._must_agree(f"Delete what is left of stack {state.name} and make it anew?")
            self._remove_remains(state)
        elif state.status in ("UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED"):
            words = f"{state.name}: {state.status}: an update failed, and its undoing did not finish."
            deployment.say(f"{words}\n{wait.causes(deployment.cloud, state)}")
            self._must_agree(f"Have CloudFormation finish undoing the last update of {state.name}?")
            ended = wait.carry_out(deployment, state, lambda: self._finish_undoing(state))
            if ended.status not in READY:
                raise DeployError(self._failure(ended))
        else:
            raise DeployError(
                f"stack {state.name}: cannot be deployed in {state.status} ({state.reason or 'no reason'}). "
                f"If it was being removed, `{deployment.command('destroy')}` finishes that."
            )

    def _finish_undoing(self, state: StackState) -> None:
        client = self.deployment.cloud.client("cloudformation")
        with answers_of_aws(f"stack {state.name}"):
            if state.status == "UPDATE_FAILED":
                client.rollback_stack(StackName=state.name)
            else:
                client.continue_update_rollback(StackName=state.name)

    def _remove_remains(self, state: StackState) -> None:
        cloud = self.deployment.cloud
        kept: list[Event] = []

        def note(event: Event) -> None:
            if event.status == "DELETE_SKIPPED":
                kept.append(event)

        if state.protected:
            cloud.protect(state.name, False)
        ended = wait.carry_out(self.deployment, state, lambda: cloud.delete(state), on_event=note)
        if ended.status != "DELETE_COMPLETE":
            raise DeployError(self._failure(ended))
        for event in kept:
            self.deployment.say(
                f"  kept outside any stack: {event.logical_id} ({event.type}) {event.physical_id}; look whether you need it"
            )

    def _work_out(
        self, name: str, template: Template, values: Mapping[str, Value], *, is_new: bool, url: str
    ) -> ChangeSet | None:
        """The change set, or None when there is nothing to do."""
        deployment = self.deployment
        requests = [request for value in values.values() if (request := value.request())]
        change_set = deployment.cloud.create_change_set(template, name, requests, deployment.tags, is_new=is_new, url=url)
        if change_set.is_empty:
            deployment.cloud.drop_change_set(change_set)
            return None
        if change_set.status != "CREATE_COMPLETE":
            self._discard(change_set)
            raise DeployError(
                f"stack {name}: CloudFormation cannot work out the change: {change_set.reason}. Nothing was changed."
            )
        return change_set

    def _agree(self, template: Template, change_set: ChangeSet, *, is_new: bool) -> int:
        """Show a change set and ask about it; return how many resources it touches."""
        changes = [Change.parse(item) for item in change_set.changes]
        deployment = self.deployment
        word = "make" if is_new else "change"
        deployment.say(f"\n{change_set.stack_name}: {len(changes)} resources to {word}")
        if changes:
            deployment.say(table(HEADINGS, (change.row() for change in changes)))
        dangers = {change.logical_id: text for change in changes if (text := change.danger(template))}
        for text in dangers.values():
            deployment.say(f"!! {text}")
        refused = [name for name in dangers if name not in self.allowed]
        if refused:
            self._discard(change_set)
            flags = " ".join(f"--allow-replacement {shlex.quote(name)}" for name in refused)
            raise DeployError(
                f"stack {change_set.stack_name}: data would be lost or left behind, so nothing was changed. "
                f"If that is meant, back it up and say so: {self.again} {flags}"
            )
        try:
            self._must_agree(f"{word.capitalize()} stack {change_set.stack_name}?")
        except (DeployError, KeyboardInterrupt):  # no, nobody there to ask, or interrupted at the question
            self._discard(change_set)
            raise
        return len(changes)

    def _discard(self, change_set: ChangeSet) -> None:
        """Take back a change set, and the empty stack that it made."""
        cloud = self.deployment.cloud
        cloud.drop_change_set(change_set)
        state = cloud.find(change_set.stack_name)
        if state and state.status == "REVIEW_IN_PROGRESS":
            cloud.delete(state)

    def _drop_change_sets(self, state: StackState) -> int:
        """Delete the change sets that earlier runs left, and return how many there were."""
        dropped = 0
        client = self.deployment.cloud.client("cloudformation")
        with answers_of_aws(f"stack {state.name}"):
            for page in client.get_paginator("list_change_sets").paginate(StackName=state.name):
                for item in page.get("Summaries", ()):
                    if item["StackName"] == state.name and item["ChangeSetName"].startswith("dicom-workflow-"):
                        client.delete_change_set(ChangeSetName=item["ChangeSetId"], StackName=state.name)
                        dropped += 1
        return dropped

    def _must_agree(self, question: str) -> None:
        if not self.deployment.ask(question):
            raise DeclinedError(f"not done: {question} Nothing was changed by this step. To go on: {self.again}")

    def _protected(self, stack: str, state: StackState) -> StackState:
        if stack in HOLDS_DATA and not state.protected:
            self.deployment.cloud.protect(state.name, True)
        return state

    def _failure(self, state: StackState) -> str:
        meaning = {
            "UPDATE_ROLLBACK_COMPLETE": "the stack is as it was before",
            "ROLLBACK_COMPLETE": "nothing of it is left but its name; the next deployment makes it anew",
            "ROLLBACK_FAILED": "parts of it may be left; the next deployment removes them and makes it anew",
            "UPDATE_ROLLBACK_FAILED": "it is half updated; the next deployment finishes undoing that",
            "DELETE_FAILED": "it is half deleted",
        }.get(state.status, "look at it with `" + self.deployment.command("status") + "`")
        return (
            f"stack {state.name} failed. First causes:\n{wait.causes(self.deployment.cloud, state)}\n"
            f"It is in {state.status}: {meaning}. When the cause is dealt with, go on with: {self.again}"
        )


@dataclass(frozen=True)
class Change:
    """What happens to one resource."""

    action: str
    logical_id: str
    physical_id: str
    type: str
    replacement: str
    """`True`, `False`, `Conditional` (CloudFormation does not know yet), or empty where nothing is there to be replaced."""
    policy: str
    """What becomes of the old one: `Delete`, `Retain`, `ReplaceAndDelete` and the like; empty where nobody says."""
    targets: tuple[str, ...]

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Change:
        """Return one ResourceChange. Names of properties are kept, values are not: one of them may be a password."""
        targets = []
        for detail in said.get("Details", ()):
            target = detail.get("Target", {})
            name = plain(".".join(filter(None, (target.get("Attribute"), target.get("Name")))))
            if name and name not in targets:
                targets.append(name)
        return cls(
            action=str(said.get("Action", "")),
            logical_id=plain(said.get("LogicalResourceId")),
            physical_id=plain(said.get("PhysicalResourceId")),
            type=plain(said.get("ResourceType")),
            replacement=str(said.get("Replacement", "")) if said.get("Action") == "Modify" else "",
            policy=str(said.get("PolicyAction", "")),
            targets=tuple(targets),
        )

    def danger(self, template: Template) -> str:
        """Return what data this change would take away, in words; empty when none.

        A resource that is only let go of (Retain) is no longer the stack's and counts too: what comes in its place is empty.
        """
        if self.type not in DATA_TYPES and not template.holds_data(self.logical_id):
            return ""
        what = f"{self.logical_id} ({self.type}{f', {self.physical_id}' if self.physical_id else ''})"
        kept = "the old one is kept outside the stack" if "Retain" in self.policy else "THE OLD ONE IS DELETED"
        if "Snapshot" in self.policy:
            kept = "a snapshot of the old one is kept"
        if self.action == "Remove":
            return f"REMOVES DATA: {what} leaves the stack; {kept}"
        if self.replacement in ("True", "Conditional"):
            word = "REPLACES" if self.replacement == "True" else "MAY REPLACE"
            return f"{word} DATA: {what} by a new, empty one; {kept}"
        return ""

    def row(self) -> tuple[str, ...]:
        """Return it for the table of `HEADINGS`."""
        replacement = {"True": "YES", "Conditional": "perhaps", "False": "no"}.get(self.replacement, "")
        return (self.action, self.logical_id, self.type, replacement, ", ".join(self.targets))


HEADINGS = ("action", "logical id", "type", "replaced", "what changes")
