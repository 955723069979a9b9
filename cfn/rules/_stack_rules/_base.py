"""The base of every rule of the pack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cfnlint.rules import CloudFormationLintRule, RuleMatch
from cfnlint.template import Template

from _stack_rules._reading import Path, Spot, View

Fault = tuple[Path, str]


class StackRule(CloudFormationLintRule):
    """A rule that looks through the intrinsics of a template.

    A rule gives `id`, `shortdesc`, a `description` that says what goes wrong and how to mend it, `subjects`, and `faults`.
    """

    #: What the rule is about, for `cfn-lint --list-rules` and for people who search.
    subjects: tuple[str, ...] = ()

    #: Follow only what the parameters' defaults choose: for protections that a person may switch off knowingly.
    chosen = False

    @property
    def source_url(self) -> str:  # type: ignore[override]
        """Where the rule is explained."""
        return f"docs/cfn-rules.md#{self.id.lower()}"

    @property
    def tags(self) -> list[str]:  # type: ignore[override]
        return ["resources", *self.subjects]

    def faults(self, view: View) -> Iterator[Fault]:
        """Yield where the template breaks the rule, and a sentence that says how."""
        raise NotImplementedError

    def match(self, cfn: Template) -> list[RuleMatch]:
        if not self.id:  # cfn-lint loads this base too, wherever a rule module imports it
            return []
        found: dict[tuple[Path, str], RuleMatch] = {}
        for path, message in self.faults(View(cfn, chosen=self.chosen)):
            found.setdefault((tuple(path), message), RuleMatch(list(path), message))
        return list(found.values())


def shown(spot: Spot) -> str:
    """The value of a spot as a message names it."""
    return repr(spot.value) if isinstance(spot.value, (dict, list)) else f"'{spot.text}'" if spot.text else "nothing"


def names(values: list[Any] | set[Any] | tuple[Any, ...]) -> str:
    """Several values as a message names them."""
    return ", ".join(sorted({str(value) for value in values}))
