"""Apply the pack to one template from Python, without cfn-lint's own rules."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cfnlint.config import ConfigMixIn
from cfnlint.decode.decode import decode_str
from cfnlint.match import Match
from cfnlint.rules._rules import Rules
from cfnlint.rules.errors import RuleError
from cfnlint.runner import run_template_by_data

from cfn_lint_medical_imaging.rules import RULES
from cfn_lint_medical_imaging.template_rule import DatedRule


@cache
def pack() -> Rules:
    """Return one instance of every rule, by id."""
    return Rules({rule.id: rule() for rule in RULES})


def check_template(
    template: str | dict[str, Any], *, today: str | None = None, only: str | None = None, region: str = "us-east-1"
) -> list[Match]:
    """Check a template against the pack.

    Parameters
    ----------
    template : str or dict
        The template as YAML or JSON text, or as the dictionary that was read from it.
    today : str, optional
        The day for which the end-of-support rules are evaluated, as YYYY-MM-DD; the current date by default.
    only : str, optional
        The id of the one rule to apply; all of them by default.
    region : str
        The AWS region whose resource schemas apply.

    Returns
    -------
    list of cfnlint.match.Match
        The findings, ordered by line and rule id. A rule that raises an exception is reported as E0002.

    Raises
    ------
    ValueError
        The text is not a CloudFormation template.
    """
    body, errors = decode_str(template if isinstance(template, str) else json.dumps(template, indent=1))
    if errors or not isinstance(body, dict) or not body:
        raise ValueError(f"The text is not a CloudFormation template: {'; '.join(map(str, errors)) or 'it is empty'}")
    configured = {name: {"today": today} for name, rule in pack().items() if isinstance(rule, DatedRule)} if today else {}
    # Without RuleError among the rules, cfn-lint drops the report about a rule that raised an exception.
    rules = Rules({name: rule for name, rule in pack().items() if only in (None, name)})
    rules.register(RuleError())
    found = run_template_by_data(body, ConfigMixIn(regions=[region], configure_rules=configured), rules)
    return sorted(found, key=lambda match: (match.linenumber, match.rule.id))
