"""What a change set would do, as a table for a person, and what of it would cost data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.aws.stacks.catalog import DATA_TYPES
from dicom_workflow.aws.stacks.stack_state import plain
from dicom_workflow.aws.stacks.templates import Template


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
