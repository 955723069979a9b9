"""The door to CloudFormation and its neighbors: what is asked of them and what is taken back, one call after the other.

Throttling is botocore's to deal with; every list is read to its end.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dicom_workflow.aws.errors import answers_of_aws
from dicom_workflow.aws.stacks.stack_state import ChangeSet, Event, StackState, plain
from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError


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
        self,
        template: Template,
        name: str,
        parameters: Sequence[Mapping[str, Any]],
        tags: Mapping[str, str],
        *,
        is_new: bool,
        url: str = "",
    ) -> ChangeSet:
        """Have CloudFormation work out what a template would change, and return it.

        Parameters
        ----------
        template : Template
        name : str
            Of the stack.
        parameters : sequence of mapping
            As CloudFormation takes them.
        tags : mapping
            Of the stack and everything in it.
        is_new : bool
            The stack is not there, or in review: the change set makes it. One that came meanwhile is not touched.
        url : str, optional
            Where the template is on S3, when it is too long for a request.
        """
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

    def execute(self, change_set: ChangeSet) -> None:
        """Start a change set; asked twice over a bad line, CloudFormation knows by the token that it is the same wish."""
        token = f"dicom-workflow-{uuid.uuid4().hex}"
        with answers_of_aws(f"stack {change_set.stack_name}"):
            self.client("cloudformation").execute_change_set(
                ChangeSetName=change_set.id, StackName=change_set.stack_name, ClientRequestToken=token
            )

    def events(self, stack_id: str, *, known: Collection[str] = ()) -> list[Event]:
        """Return what happened to a stack, oldest first.

        Parameters
        ----------
        stack_id : str
        known : collection of str
            Ids of events that are not wanted; what is older than a page (of a hundred) with one of them is not asked for.
        """
        found: list[Event] = []
        with answers_of_aws("stack events"):
            for page in self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack_id):
                events = [Event.parse(item) for item in page["StackEvents"]]
                found += [event for event in events if event.id not in known]
                if any(event.id in known for event in events):
                    break
        return found[::-1]

    def latest_operation(self, stack_id: str) -> list[Event]:
        """Return the events of the last thing that was done to a stack, oldest first."""
        events = self.events(stack_id)
        begins = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
        starts = [
            number for number, event in enumerate(events) if event.physical_id == stack_id and event.status in begins
        ]
        return events[starts[-1] :] if starts else events

    def template_of(self, state: StackState) -> Template:
        """Return the template that a stack was deployed with, which need not be the one of this checkout."""
        with answers_of_aws(f"stack {state.name}"):
            body = self.client("cloudformation").get_template(StackName=state.id)["TemplateBody"]
        # boto3 gives what was sent as JSON as a dictionary.
        text = body if isinstance(body, str) else json.dumps(body)
        return Template.of_text(state.name, Path(f"{state.name}, as deployed"), text)

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
