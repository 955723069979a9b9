"""Stacks, events and change sets as CloudFormation describes them.

Text from AWS (reasons, names) is stripped of control characters, so that printing it cannot change the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

NEVER_CREATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
"""The creation of the stack failed: it can only be deleted."""

READY = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE")
"""States from which a stack can be updated."""

GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
"""States after a successful operation."""


def plain(text: object) -> str:
    """Return a text on one line without control characters."""
    return "".join(char if char.isprintable() else " " for char in str(text or "")).strip()


@dataclass(frozen=True)
class StackState:
    """The state of one stack."""

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
    def parse(cls, response: Mapping[str, Any]) -> StackState:
        """Return one entry of DescribeStacks. Parameter values are dropped, because some are secret."""
        return cls(
            name=response["StackName"],
            id=response["StackId"],
            status=response["StackStatus"],
            reason=plain(response.get("StackStatusReason")),
            since=response.get("LastUpdatedTime") or response.get("CreationTime"),
            outputs={item["OutputKey"]: item["OutputValue"] for item in response.get("Outputs", ())},
            parameters=tuple(item["ParameterKey"] for item in response.get("Parameters", ())),
            protected=bool(response.get("EnableTerminationProtection")),
            tags={item["Key"]: item["Value"] for item in response.get("Tags", ())},
            drift=response.get("DriftInformation", {}).get("StackDriftStatus", "NOT_CHECKED"),
        )

    @property
    def is_busy(self) -> bool:
        """Whether an operation is in progress. A stack in review only has a change set and no operation."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def exists(self) -> bool:
        """Whether the stack has resources: it is more than a change set that was never executed."""
        return self.status not in ("REVIEW_IN_PROGRESS", "DELETE_COMPLETE")


@dataclass(frozen=True)
class Event:
    """An event of a resource."""

    id: str
    time: datetime
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str

    @classmethod
    def parse(cls, response: Mapping[str, Any]) -> Event:
        """Return one entry of DescribeStackEvents."""
        return cls(
            id=response["EventId"],
            time=response["Timestamp"],
            logical_id=plain(response.get("LogicalResourceId")),
            physical_id=plain(response.get("PhysicalResourceId")),
            type=plain(response.get("ResourceType")),
            status=str(response.get("ResourceStatus", "")),
            reason=plain(response.get("ResourceStatusReason")),
        )

    @property
    def is_cause(self) -> bool:
        """Whether the resource failed itself, not because another one had failed."""
        return (
            self.status.endswith("_FAILED")
            and "cancelled" not in self.reason.lower()
            and self.type != "AWS::CloudFormation::Stack"
        )


CHANGE_HEADINGS = ("action", "logical id", "type", "replaced", "what changes")


@dataclass(frozen=True)
class Change:
    """The change of one resource in a change set."""

    action: str
    logical_id: str
    physical_id: str
    type: str
    replacement: str
    """`True`, `False`, `Conditional` (CloudFormation does not know yet), or empty where there is nothing to replace."""
    policy: str
    """What happens to the old resource: `Delete`, `Retain`, `ReplaceAndDelete` and the like; empty when not stated."""
    targets: tuple[str, ...]
    """Names of the changed properties."""

    @classmethod
    def parse(cls, response: Mapping[str, Any]) -> Change:
        """Return one ResourceChange. Property values are dropped, because they may be secrets."""
        targets = []
        for detail in response.get("Details", ()):
            target = detail.get("Target", {})
            name = plain(".".join(filter(None, (target.get("Attribute"), target.get("Name")))))
            if name and name not in targets:
                targets.append(name)
        return cls(
            action=str(response.get("Action", "")),
            logical_id=plain(response.get("LogicalResourceId")),
            physical_id=plain(response.get("PhysicalResourceId")),
            type=plain(response.get("ResourceType")),
            replacement=str(response.get("Replacement", "")) if response.get("Action") == "Modify" else "",
            policy=str(response.get("PolicyAction", "")),
            targets=tuple(targets),
        )

    def row(self) -> tuple[str, ...]:
        """Return a row with the columns of `CHANGE_HEADINGS`."""
        replacement = {"True": "YES", "Conditional": "perhaps", "False": "no"}.get(self.replacement, "")
        return (self.action, self.logical_id, self.type, replacement, ", ".join(self.targets))


@dataclass(frozen=True)
class ChangeSet:
    """A change set that CloudFormation has created."""

    id: str
    name: str
    stack_name: str
    status: str
    reason: str
    changes: tuple[Change, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there are no changes. CloudFormation reports that as a failure, recognizable by its reason only."""
        reasons = ("didn't contain changes", "No updates are to be performed")
        return self.status == "FAILED" and any(text in self.reason for text in reasons)
