"""Every rule has a failing and a passing example: two templates per rule module, with the rule ids as comments at their lines.

In `<module>.fails.yaml` a line that ends in `# E9101` breaks E9101; in `<module>.passes.yaml` it satisfies the rule.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from cfn_lint_medical_imaging import check_template
from cfn_lint_medical_imaging.rules import MODULES, rules_of

EXAMPLES = Path(__file__).parent / "examples"
MARKER = re.compile(r" # ([EW]9\d{3})$")
RESOURCE = re.compile(r"^  (\w+):")
TYPE = re.compile(r"^    Type: (\S+)$")
# The day on which the end-of-support rules are evaluated, so that the examples do not age.
TODAY = "2026-11-01"


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def example(module: ModuleType, outcome: str) -> str:
    return (EXAMPLES / f"{name_of(module)}.{outcome}.yaml").read_text("utf-8")


def marked_lines(text: str) -> list[tuple[str, int]]:
    """Return (rule, line) of every marker."""
    markers = ((MARKER.search(line), number) for number, line in enumerate(text.splitlines(), 1))
    return sorted((found[1], number) for found, number in markers if found)


def resource_types(text: str) -> dict[str, set[str]]:
    """Return, for every rule, the types of the resources in which it is marked."""
    types: dict[str, set[str]] = defaultdict(set)
    marked: list[str] = []
    kind = ""
    for line in [*text.splitlines(), "  End:"]:
        if RESOURCE.match(line):
            for rule in marked:
                types[rule].add(kind)
            marked = []
        if found := TYPE.match(line):
            kind = found[1]
        if found := MARKER.search(line):
            marked.append(found[1])
    return types


each_module = pytest.mark.parametrize("module", MODULES, ids=name_of)


@each_module
def test_the_failing_example_is_reported_exactly_at_the_marked_lines(module: ModuleType) -> None:
    text = example(module, "fails")
    reported = sorted({(match.rule.id, match.linenumber) for match in check_template(text, today=TODAY)})
    assert reported == marked_lines(text)


@each_module
def test_the_passing_example_is_not_reported(module: ModuleType) -> None:
    assert check_template(example(module, "passes"), today=TODAY) == []


@each_module
@pytest.mark.parametrize("outcome", ["fails", "passes"])
def test_every_rule_is_marked_in_both_examples(module: ModuleType, outcome: str) -> None:
    marked = {rule for rule, _ in marked_lines(example(module, outcome))}
    assert marked == {rule.id for rule in rules_of(module)}


@each_module
def test_a_rule_passes_on_the_resource_type_on_which_it_fails(module: ModuleType) -> None:
    """A passing example without a resource that the rule applies to would prove nothing."""
    assert resource_types(example(module, "passes")) == resource_types(example(module, "fails"))


def test_there_are_no_other_examples() -> None:
    expected = {f"{name_of(module)}.{outcome}.yaml" for module in MODULES for outcome in ("fails", "passes")}
    assert {path.name for path in EXAMPLES.iterdir()} == expected
