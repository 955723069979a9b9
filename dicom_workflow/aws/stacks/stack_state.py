"""What CloudFormation says of stacks, their events and their change sets, in this project's words.

Text that AWS sends (reasons, names) is text: what would move a terminal's cursor or color is taken out before anyone prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
