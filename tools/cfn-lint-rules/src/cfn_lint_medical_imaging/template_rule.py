"""The base class of every rule in the pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime

from cfnlint.rules import CloudFormationLintRule, RuleMatch
from cfnlint.template import Template

from cfn_lint_medical_imaging.template.values import Path, ResolvedTemplate, Value

#: The path to the offending part of the template, and a message: what is wrong, then what to do.
Finding = tuple[Path, str]


class TemplateRule(CloudFormationLintRule):
    """A rule that checks property values after intrinsic functions are resolved.

    A rule defines `id`, `shortdesc` (what it finds), `description` (the consequence, then the fix), `topics` and `findings`.
    """

    #: Tags for `cfn-lint --list-rules` and for searching.
    topics: tuple[str, ...] = ()

    #: Follow only the branches that the parameter defaults select. For protections that may be switched off deliberately.
    defaults_only = False

    @property
    def source_url(self) -> str:
        """The entry of the rule in the README."""
        return f"tools/cfn-lint-rules/README.md#{self.id.lower()}"

    @property
    def tags(self) -> list[str]:
        """The topics, in the form that cfn-lint expects."""
        return ["resources", *self.topics]

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        """Yield each place where the template breaks the rule, with its message."""
        raise NotImplementedError

    def match(self, cfn: Template) -> list[RuleMatch]:
        """Return the findings, each once: two branches of an `Fn::If` may report the same place."""
        template = ResolvedTemplate(cfn, defaults_only=self.defaults_only)
        unique = dict.fromkeys((tuple(path), message) for path, message in self.findings(template))
        return [RuleMatch(list(path), message) for path, message in unique]


class DatedRule(TemplateRule):
    """A rule whose findings depend on the day: `cfn-lint --configure-rule ID:today=YYYY-MM-DD` sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.config_definition = {"today": {"default": "", "type": "string"}}
        self.configure()

    @property
    def today(self) -> date:
        """The day that the rule checks against: the configured one, or the current date in UTC."""
        configured = self.config.get("today")
        return date.fromisoformat(configured) if configured else datetime.now(UTC).date()


def quoted(value: Value) -> str:
    """Format a value for a message."""
    if isinstance(value.raw, (dict, list)):
        return repr(value.raw)
    return f"'{value.text}'" if value.text else "no value"


def joined(items: Iterable[object]) -> str:
    """Format several values for a message: sorted, without duplicates."""
    return ", ".join(sorted({str(item) for item in items}))
