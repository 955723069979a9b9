"""A client of CloudFormation and of the services that a deployment uses, in one account and region.

botocore retries throttled calls; every paginated list is read completely.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dicom_workflow.aws.errors import aws_errors
from dicom_workflow.aws.stacks.stack_state import Change, ChangeSet, Event, StackState, plain
from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError


class CloudFormationClient:
    """Calls of CloudFormation, and clients of other services with the same session.

    Parameters
    ----------
    session : boto3 Session
    poll_seconds : float
        Between two status polls.
    """

    def __init__(self, session: Any, *, poll_seconds: float = 5.0) -> None:
        self.session = session
        self.poll_seconds = poll_seconds
        self._clients: dict[str, Any] = {}

    @property
    def region(self) -> str:
        return str(self.session.region_name)

    def client(self, service: str) -> Any:
        """Return the client of a service; it is created once."""
        if service not in self._clients:
            from botocore.config import Config

            config = Config(connect_timeout=10, read_timeout=70, retries={"mode": "standard", "max_attempts": 8})
            self._clients[service] = self.session.client(service, config=config)
        return self._clients[service]

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The caller's ``Account`` and ``Arn``.

        Raises
        ------
        DeployError
            There are no credentials, or AWS refuses them.
        """
        with aws_errors("credentials"):
            response = self.client("sts").get_caller_identity()
        return {"Account": response["Account"], "Arn": plain(response["Arn"])}

    def has_credentials(self) -> bool:
        """Return whether there are credentials; `identity` shows whether AWS accepts them."""
        return self.session.get_credentials() is not None

    def find(self, name: str) -> StackState | None:
        """Return the state of a stack by name or id, or None when it does not exist."""
        from botocore.exceptions import ClientError

        with aws_errors(f"stack {name}"):
            try:
                response = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
            except ClientError as error:
                if "does not exist" in str(error):
                    return None
                raise
        return StackState.parse(response[0]) if response else None

    def expect(self, name: str) -> StackState:
        """Return the state of a stack that must exist.

        Raises
        ------
        DeployError
            It does not exist.
        """
        state = self.find(name)
        if state is None:
            raise DeployError(
                f"stack {name} does not exist any more. It may have been deleted meanwhile; run the command again."
            )
        return state

    def resources(self, name: str) -> list[Mapping[str, Any]]:
        """Return the resources of a stack, as in the response of ListStackResources."""
        with aws_errors(f"stack {name}"):
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
        """Create a change set for a template and return it when CloudFormation has finished it.

        Parameters
        ----------
        template : Template
        name : str
            Name of the stack.
        parameters : sequence of mapping
            ``Parameters`` of the request.
        tags : mapping
            Tags of the stack and of all its resources.
        is_new : bool
            The stack does not exist or is in review, so the change set creates it; an existing stack is then refused.
        url : str, optional
            Address of the template on S3, when it does not fit into a request.
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
        """Create a change set with other parameter values and the deployed template, and return it."""
        return self._make_change_set(
            state.name,
            ChangeSetType="UPDATE",
            UsePreviousTemplate=True,
            Parameters=list(parameters),
            Tags=[{"Key": key, "Value": value} for key, value in sorted(state.tags.items())],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

    def _make_change_set(self, stack: str, **request: Any) -> ChangeSet:
        from botocore.exceptions import ClientError

        name = f"dicom-workflow-{uuid.uuid4().hex[:20]}"
        with aws_errors(f"stack {stack}"):
            try:
                created = self.client("cloudformation").create_change_set(StackName=stack, ChangeSetName=name, **request)
            except ClientError as error:
                if "No updates are to be performed" in str(error):
                    return ChangeSet("", name, stack, "FAILED", "No updates are to be performed.")
                raise
        return self._wait_for_change_set(created["Id"], name, stack)

    def _wait_for_change_set(self, identifier: str, change_set: str, stack: str) -> ChangeSet:
        client = self.client("cloudformation")
        with aws_errors(f"change set of stack {stack}"):
            while True:
                response = client.describe_change_set(ChangeSetName=identifier, StackName=stack)
                if response["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                    break
                time.sleep(self.poll_seconds)
            changes = list(response.get("Changes", ()))
            while response.get("NextToken"):
                response = client.describe_change_set(
                    ChangeSetName=identifier, StackName=stack, NextToken=response["NextToken"]
                )
                changes += response.get("Changes", ())
        found = tuple(
            Change.parse(item["ResourceChange"])
            for item in changes
            if item.get("Type", "Resource") == "Resource" and "ResourceChange" in item
        )
        return ChangeSet(identifier, change_set, stack, response["Status"], plain(response.get("StatusReason")), found)

    def delete_change_set(self, change_set: ChangeSet) -> None:
        """Delete a change set that will not be executed; one that was refused immediately does not exist."""
        if not change_set.id:
            return
        with aws_errors(f"change set of stack {change_set.stack_name}"):
            self.client("cloudformation").delete_change_set(ChangeSetName=change_set.id, StackName=change_set.stack_name)

    def execute(self, change_set: ChangeSet) -> None:
        """Execute a change set; the token lets CloudFormation recognize a retried request."""
        token = f"dicom-workflow-{uuid.uuid4().hex}"
        with aws_errors(f"stack {change_set.stack_name}"):
            self.client("cloudformation").execute_change_set(
                ChangeSetName=change_set.id, StackName=change_set.stack_name, ClientRequestToken=token
            )

    def events(self, stack_id: str, *, known: Collection[str] = ()) -> list[Event]:
        """Return the events of a stack, oldest first.

        Parameters
        ----------
        stack_id : str
        known : collection of str
            Ids of events to leave out; reading stops at the page (of a hundred) that has one of them.
        """
        found: list[Event] = []
        with aws_errors("stack events"):
            for page in self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack_id):
                events = [Event.parse(item) for item in page["StackEvents"]]
                found += [event for event in events if event.id not in known]
                if any(event.id in known for event in events):
                    break
        return found[::-1]

    def latest_operation(self, stack_id: str) -> list[Event]:
        """Return the events of the last operation on a stack, oldest first."""
        events = self.events(stack_id)
        begins = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
        starts = [number for number, event in enumerate(events) if event.physical_id == stack_id and event.status in begins]
        return events[starts[-1] :] if starts else events

    def template_of(self, state: StackState) -> Template:
        """Return the template that a stack was deployed with, which may differ from the one of this checkout."""
        with aws_errors(f"stack {state.name}"):
            body = self.client("cloudformation").get_template(StackName=state.id)["TemplateBody"]
        # boto3 returns a JSON template as a dictionary.
        text = body if isinstance(body, str) else json.dumps(body)
        return Template.of_text(state.name, Path(f"{state.name}, as deployed"), text)

    def protect(self, name: str, on: bool) -> None:
        """Enable or disable a stack's termination protection."""
        with aws_errors(f"stack {name}"):
            self.client("cloudformation").update_termination_protection(StackName=name, EnableTerminationProtection=on)

    def delete(self, state: StackState) -> None:
        """Start the deletion of a stack."""
        with aws_errors(f"stack {state.name}"):
            self.client("cloudformation").delete_stack(StackName=state.id)

    def drift(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Run drift detection on a stack and yield each resource that differs from the template.

        Raises
        ------
        DeployError
            The detection failed.
        """
        client = self.client("cloudformation")
        with aws_errors(f"drift of stack {name}"):
            detection = client.detect_stack_drift(StackName=name)["StackDriftDetectionId"]
            while True:
                response = client.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
                if response["DetectionStatus"] != "DETECTION_IN_PROGRESS":
                    break
                time.sleep(self.poll_seconds)
            if response["DetectionStatus"] == "DETECTION_FAILED":
                raise DeployError(f"drift of stack {name}: {plain(response.get('DetectionStatusReason'))}")
            token: dict[str, str] = {}
            while True:
                page = client.describe_stack_resource_drifts(
                    StackName=name, StackResourceDriftStatusFilters=["MODIFIED", "DELETED"], **token
                )
                yield from page["StackResourceDrifts"]
                if not page.get("NextToken"):
                    return
                token = {"NextToken": page["NextToken"]}
