"""Our cfn-lint rules: each has an example that breaks it and one that keeps it, and a page that explains it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_stacks import ROOT, RULES, lint, pack, said

EXAMPLES = RULES / "examples"
IDS = sorted(pack())


def marked(path: Path, rule: str) -> list[int]:
    """The lines of an example that end in `# <rule>`."""
    lines = path.read_text("utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith(f"# {rule}")]


@pytest.mark.parametrize("rule", IDS)
def test_the_failing_example_gives_exactly_that_rule_at_the_marked_lines(rule: str) -> None:
    path = EXAMPLES / rule / "fails.yaml"
    wanted = marked(path, rule)
    found = lint(path.read_text("utf-8"))
    assert wanted, f"{path} marks no line with '# {rule}'"
    assert sorted({(match.rule.id, match.linenumber) for match in found}) == [(rule, line) for line in wanted], said(found)


@pytest.mark.parametrize("rule", IDS)
def test_the_passing_example_gives_none_of_ours(rule: str) -> None:
    assert said(lint((EXAMPLES / rule / "passes.yaml").read_text("utf-8"))) == []
