"""The door to CloudFormation: what stands, change sets, events and waiting, in this project's words.

Text that AWS sends (reasons, names) is text: what would move a terminal's cursor or color is taken out before anyone prints it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from dicom_workflow.deploy.checks import answers_of_aws
from dicom_workflow.errors import DeployError
from dicom_workflow.stacks.templates import Template

NEVER_CREATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
"""A stack whose first creation failed: CloudFormation lets it be deleted and nothing else."""

READY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE")
"""States from which an update starts."""

GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
"""The last operation did what it was asked."""


def plain(text: object) -> str:
    """Return a text of one line without control characters."""
    return "".join(char if char.isprintable() else " " for char in str(text or "")).strip()


@dataclass(frozen=True)
class StackState:
    """What CloudFormation says of one stack."""

    name: str
    id: str
    status: str
    reason: str
    since: datetime | None
    outputs: Mapping[str, str]
    parameters: tuple[str, ...]
    protected: bool
    tags: Mapping[str, str]
    drift: str = "NOT_CHECKED"

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> StackState:
        """Return one entry of DescribeStacks. Values of parameters are left behind: nobody needs them, and some are secret."""
        return cls(
            name=said["StackName"],
            id=said["StackId"],
            status=said["StackStatus"],
            reason=plain(said.get("StackStatusReason")),
            since=said.get("LastUpdatedTime") or said.get("CreationTime"),
            outputs={item["OutputKey"]: item["OutputValue"] for item in said.get("Outputs", ())},
            parameters=tuple(item["ParameterKey"] for item in said.get("Parameters", ())),
            protected=bool(said.get("EnableTerminationProtection")),
            tags={item["Key"]: item["Value"] for item in said.get("Tags", ())},
            drift=said.get("DriftInformation", {}).get("StackDriftStatus", "NOT_CHECKED"),
        )

    @property
    def is_busy(self) -> bool:
        """CloudFormation is at work on it. A stack in review has a change set and nothing else: nobody works on it."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def exists(self) -> bool:
        """There is something of it: more than a change set that was never executed."""
        return self.status not in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE")


@dataclass(frozen=True)
class Event:
    """Something that happened to a resource."""

    id: str
    time: datetime
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str
    token: str

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Event:
        """Return one entry of DescribeStackEvents."""
        return cls(
            id=said["EventId"],
            time=said["Timestamp"],
            logical_id=plain(said.get("LogicalResourceId")),
            physical_id=plain(said.get("PhysicalResourceId")),
            type=plain(said.get("ResourceType")),
            status=str(said.get("ResourceStatus", "")),
            reason=plain(said.get("ResourceStatusReason")),
            token=str(said.get("ClientRequestToken", "")),
        )

    @property
    def is_cause(self) -> bool:
        """It failed of itself, not because something else had."""
        return (
            self.status.endswith("_FAILED")
            and "cancelled" not in self.reason.lower()
            and self.type != "AWS::CloudFormation::Stack"
        )


@dataclass(frozen=True)
class ChangeSet:
    """A change set that CloudFormation has worked out."""

    id: str
    name: str
    stack_name: str
    status: str
    reason: str
    changes: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """There is nothing to do. CloudFormation calls that a failure and says why in words only."""
        words = ("didn't contain changes", "No updates are to be performed")
        return self.status == "FAILED" and any(text in self.reason for text in words)


class Cloud:
    """CloudFormation and its neighbors in one account and region.

    Parameters
    ----------
    session : boto3 Session
    poll_seconds : float
        Between two looks at something that takes its time.
    """

    def __init__(self, session: Any, *, poll_seconds: float = 5.0) -> None:
        self.session = session
        self.poll_seconds = poll_seconds
        self._clients: dict[str, Any] = {}

    @property
    def region(self) -> str:
        return str(self.session.region_name)

    def client(self, service: str) -> Any:
        """Return the client of a service; one of each."""
        if service not in self._clients:
            from botocore.config import Config

            config = Config(connect_timeout=10, read_timeout=70, retries={"mode": "standard", "max_attempts": 8})
            self._clients[service] = self.session.client(service, config=config)
        return self._clients[service]

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Who asks: ``Account`` and ``Arn``.

        Raises
        ------
        DeployError
            There are no credentials, or AWS does not take them.
        """
        with answers_of_aws("credentials"):
            said = self.client("sts").get_caller_identity()
        return {"Account": said["Account"], "Arn": plain(said["Arn"])}

    def has_credentials(self) -> bool:
        """Say whether there are credentials at all; whether AWS takes them, `identity` shows."""
        return self.session.get_credentials() is not None

    def find(self, name: str) -> StackState | None:
        """Return the state of a stack by name or id, or None where there is none."""
        from botocore.exceptions import ClientError

        with answers_of_aws(f"stack {name}"):
            try:
                said = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        return StackState.parse(said[0]) if said else None

    def expect(self, name: str) -> StackState:
        """Return the state of a stack that is surely there.

        Raises
        ------
        DeployError
            It is not.
        """
        state = self.find(name)
        if state is None:
            raise DeployError(f"stack {name}: expected a stack, but it is gone. Did somebody delete it? Run the command again.")
        return state

    def resources(self, name: str) -> list[Mapping[str, Any]]:
        """Return the resources of a stack, as ListStackResources gives them."""
        with answers_of_aws(f"stack {name}"):
            pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
            return [item for page in pages for item in page["StackResourceSummaries"]]

    def create_change_set(
        self, template: Template, name: str, parameters: Sequence[Mapping[str, Any]], tags: Mapping[str, str], *, url: str = ""
    ) -> ChangeSet:
        """Have CloudFormation work out what a template would change, and return it.

        Parameters
        ----------
        template : Template
        name : str
            Of the stack; a new one, or one in review, is made by the change set.
        parameters : sequence of mapping
            As CloudFormation takes them.
        tags : mapping
            Of the stack and everything in it.
        url : str, optional
            Where the template is on S3, when it is too long for a request.
        """
        state = self.find(name)
        is_new = state is None or not state.exists
        return self._make_change_set(
            name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            Parameters=list(parameters),
            Tags=[{"Key": key, "Value": value} for key, value in sorted(tags.items())],
            Capabilities=template.capabilities(),
            Description=f"dicom-workflow deploy, template {template.sha256[:16]}",
            **({"TemplateURL": url} if url else {"TemplateBody": template.text}),
        )

    def repeat_change_set(self, state: StackState, parameters: Sequence[Mapping[str, Any]]) -> ChangeSet:
        """Have CloudFormation work out what other parameters would change in a stack as it was deployed, and return it."""
        return self._make_change_set(
            state.name,
            ChangeSetType="UPDATE",
            UsePreviousTemplate=True,
            Parameters=list(parameters),
            Tags=[{"Key": key, "Value": value} for key, value in sorted(state.tags.items())],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

    def _make_change_set(self, stack: str, **asked: Any) -> ChangeSet:
        from botocore.exceptions import ClientError

        name = f"dicom-workflow-{uuid.uuid4().hex[:20]}"
        with answers_of_aws(f"stack {stack}"):
            try:
                made = self.client("cloudformation").create_change_set(StackName=stack, ChangeSetName=name, **asked)
            except ClientError as error:
                if "No updates are to be performed" in str(error):
                    return ChangeSet("", name, stack, "FAILED", "No updates are to be performed.")
                raise
        return self._worked_out(made["Id"], name, stack)

    def _worked_out(self, identifier: str, change_set: str, stack: str) -> ChangeSet:
        client = self.client("cloudformation")
        with answers_of_aws(f"change set of stack {stack}"):
            while True:
                said = client.describe_change_set(ChangeSetName=identifier, StackName=stack)
                if said["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                    break
                time.sleep(self.poll_seconds)
            changes = list(said.get("Changes", ()))
            while said.get("NextToken"):
                said = client.describe_change_set(ChangeSetName=identifier, StackName=stack, NextToken=said["NextToken"])
                changes += said.get("Changes", ())
        found = tuple(
            item["ResourceChange"]
            for item in changes
            if item.get("Type", "Resource") == "Resource" and "ResourceChange" in item
        )
        return ChangeSet(identifier, change_set, stack, said["Status"], plain(said.get("StatusReason")), found)

    def drop_change_set(self, change_set: ChangeSet) -> None:
        """Delete a change set that will not be executed; one that was refused at once is nowhere."""
        if not change_set.id:
            return
        with answers_of_aws(f"change set of stack {change_set.stack_name}"):
            self.client("cloudformation").delete_change_set(ChangeSetName=change_set.id, StackName=change_set.stack_name)

    def execute(self, change_set: ChangeSet) -> str:
        """Start a change set and return the token that its events carry."""
        token = f"dicom-workflow-{uuid.uuid4().hex}"
        with answers_of_aws(f"stack {change_set.stack_name}"):
            self.client("cloudformation").execute_change_set(
                ChangeSetName=change_set.id, StackName=change_set.stack_name, ClientRequestToken=token
            )
        return token

    def events(self, stack_id: str) -> list[Event]:
        """Return everything that happened to a stack, oldest first."""
        with answers_of_aws("stack events"):
            pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack_id)
            found = [Event.parse(item) for page in pages for item in page["StackEvents"]]
        return found[::-1]

    def latest_operation(self, stack_id: str) -> list[Event]:
        """Return the events of the last thing that was done to a stack, oldest first."""
        events = self.events(stack_id)
        starts = [
            number
            for number, event in enumerate(events)
            if event.physical_id == stack_id
            and event.status in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
        ]
        return events[starts[-1] :] if starts else events

    def wait(
        self, stack_id: str, on_event: Callable[[Event], None], *, seen: set[str] | None = None, must_begin: bool = False
    ) -> StackState:
        """Wait until nobody works on a stack any more, and return its state.

        Parameters
        ----------
        stack_id : str
            Its ARN: a deleted stack is found by nothing else.
        on_event : callable
            Called with each event, in order.
        seen : set of str, optional
            Events not to report, by id.
        must_begin : bool
            Something was just asked for: a state without an event of it is the one from before.
        """
        known = set(seen or ())
        begun = not must_begin
        while True:
            state = self.find(stack_id)  # before the events: whatever ended the work is then among them
            for event in self.events(stack_id):
                if event.id not in known:
                    known.add(event.id)
                    on_event(event)
                    begun = True
            if state is None:
                raise DeployError(f"stack {stack_id}: expected to see how it ends, but it is gone.")
            if begun and not state.is_busy and state.status != "REVIEW_IN_PROGRESS":
                return state
            time.sleep(self.poll_seconds)

    def protect(self, name: str, on: bool) -> None:
        """Set or lift a stack's termination protection."""
        with answers_of_aws(f"stack {name}"):
            self.client("cloudformation").update_termination_protection(StackName=name, EnableTerminationProtection=on)

    def delete(self, state: StackState) -> None:
        """Start the removal of a stack."""
        with answers_of_aws(f"stack {state.name}"):
            self.client("cloudformation").delete_stack(StackName=state.id)

    def drift(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Have CloudFormation compare a stack with what is really there, and yield each resource that differs."""
        client = self.client("cloudformation")
        with answers_of_aws(f"drift of stack {name}"):
            detection = client.detect_stack_drift(StackName=name)["StackDriftDetectionId"]
            while True:
                said = client.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
                if said["DetectionStatus"] != "DETECTION_IN_PROGRESS":
                    break
                time.sleep(self.poll_seconds)
            if said["DetectionStatus"] == "DETECTION_FAILED":
                raise DeployError(f"drift of stack {name}: {plain(said.get('DetectionStatusReason'))}")
            token: dict[str, str] = {}
            while True:
                page = client.describe_stack_resource_drifts(
                    StackName=name, StackResourceDriftStatusFilters=["MODIFIED", "DELETED"], **token
                )
                yield from page["StackResourceDrifts"]
                if not page.get("NextToken"):
                    return
                token = {"NextToken": page["NextToken"]}
