"""Property values of a template, resolved through intrinsic functions, each with the path that leads to it.

A property is often not a literal: it stands behind `Ref`, `Fn::Sub`, `Fn::If` or a mapping. `ResolvedTemplate.follow` walks a
path of keys through all of them and yields one `Value` for each branch that some choice of parameters can reach. A parameter
is replaced by its default; anything that is only known at deployment remains in the text as `${Name}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cfnlint.template import Template

from cfn_lint_medical_imaging.template.intrinsics import PLACEHOLDER, IntrinsicFunctions, intrinsic_function

Path = tuple[str | int, ...]
#: Conditions and the outcome of each that a value depends on, as in cfn-lint.
Scenario = tuple[tuple[str, bool], ...]


class _Absent:
    """The value of a property that is missing or set to `AWS::NoValue`."""

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT = _Absent()
#: In a path of keys: every item of a list, or every value of a map.
EACH = "*"


@dataclass(frozen=True)
class Value:
    """A resolved value, its path in the template, and the conditions under which it applies."""

    raw: Any
    path: Path
    scenario: Scenario = ()

    @property
    def text(self) -> str:
        """The value as text; empty for a missing value, a map or a list."""
        if isinstance(self.raw, bool):
            return str(self.raw).lower()
        return "" if self.raw is ABSENT or isinstance(self.raw, (dict, list)) else str(self.raw)

    @property
    def is_known(self) -> bool:
        """Whether the whole value is known before deployment."""
        return not PLACEHOLDER.search(self.text)

    @property
    def is_true(self) -> bool:
        """Whether the value is `true`, as a boolean or as text."""
        return self.text.lower() == "true"

    @property
    def number(self) -> int | None:
        """The value as an integer, or None where it is not one or is not known yet."""
        return int(self.text) if re.fullmatch(r"-?\d+", self.text) else None


@dataclass(frozen=True)
class Resource:
    """One resource of a template."""

    name: str
    type: str
    node: dict[str, Any]
    template: ResolvedTemplate

    @property
    def path(self) -> Path:
        """The path of the resource in the template."""
        return ("Resources", self.name)

    @property
    def scenario(self) -> Scenario:
        """The condition under which the resource exists."""
        condition = self.node.get("Condition")
        return ((str(condition), True),) if isinstance(condition, str) else ()

    def get(self, *keys: str) -> list[Value]:
        """Return every value of a property; `ABSENT` for a branch in which a key is missing."""
        properties = Value(self.node.get("Properties", {}), (*self.path, "Properties"), self.scenario)
        return list(self.template.follow(properties, *keys))

    def has(self, *keys: str) -> bool:
        """Whether the property is set in any branch."""
        return any(value.raw is not ABSENT for value in self.get(*keys))


class ResolvedTemplate(IntrinsicFunctions):
    """A template whose parameters have their default values.

    Parameters
    ----------
    cfn : cfnlint.template.Template
        The template as cfn-lint loaded it.
    defaults_only : bool
        Follow only the branches of `Fn::If` that the parameter defaults select. Otherwise every branch is followed.
    """

    def __init__(self, cfn: Template, *, defaults_only: bool = False) -> None:
        super().__init__(cfn.template)
        self.cfn = cfn
        self.defaults_only = defaults_only
        self._satisfiable: dict[Scenario, bool] = {}

    def resources(self, *types: str) -> Iterator[Resource]:
        """Yield the resources of these types, or all resources. Resources whose condition can never hold are skipped."""
        for name, node in self.section("Resources").items():
            kind = node.get("Type") if isinstance(node, dict) else None
            if isinstance(kind, str) and (not types or kind in types):
                resource = Resource(str(name), kind, node, self)
                if self._is_reachable(resource.scenario):
                    yield resource

    def follow(self, value: Value, *keys: str) -> Iterator[Value]:
        """Walk a path of keys from a value, through every `Fn::If` on the way, and resolve what stands at its end."""
        for branch in self._branches(value):
            if not keys:
                yield from self._resolved(branch)
                continue
            key, rest = keys[0], keys[1:]
            if key == EACH:
                for item in self._items(branch):
                    yield from self.follow(item, *rest)
            elif isinstance(branch.raw, dict) and key in branch.raw:
                yield from self.follow(Value(branch.raw[key], (*branch.path, key), branch.scenario), *rest)
            elif EACH not in rest:
                yield Value(ABSENT, branch.path, branch.scenario)

    def items(self, value: Value) -> list[Value]:
        """Return the items of a list, of a single value where a list is allowed, or of a list parameter."""
        return [item for branch in self._branches(value) for each in self._items(branch) for item in self._resolved(each)]

    def all_values(self, node: Any, path: Path) -> Iterator[Value]:
        """Yield every scalar below a node of the template, resolved."""
        function = intrinsic_function(node)
        if function and function != "Fn::If":
            yield from (Value(text, path) for text in self.resolve(node))
        elif isinstance(node, dict):
            for key, child in node.items():
                yield from self.all_values(child if child is not None else "", (*path, key))
        elif isinstance(node, list):
            for index, child in enumerate(node):
                yield from self.all_values(child if child is not None else "", (*path, index))
        else:
            yield Value(node, path)

    def implies(self, scenario: Scenario, condition: str | None) -> bool:
        """Whether a condition holds in every case in which the scenario does."""
        return condition is None or (condition, True) in scenario or not self._is_reachable((*scenario, (condition, False)))

    def _branches(self, value: Value) -> Iterator[Value]:
        body = value.raw.get("Fn::If") if isinstance(value.raw, dict) and len(value.raw) == 1 else None
        if not isinstance(body, list) or len(body) != 3:
            no_value = isinstance(value.raw, dict) and value.raw.get("Ref") == "AWS::NoValue"
            yield Value(ABSENT, value.path[:-1], value.scenario) if no_value else value
            return
        condition = str(body[0])
        default = self.default_of(condition) if self.defaults_only else None
        for index, outcome in ((1, True), (2, False)):
            known = (condition, outcome) in value.scenario
            scenario = value.scenario if known else (*value.scenario, (condition, outcome))
            if default in (None, outcome) and self._is_reachable(scenario):
                yield from self._branches(Value(body[index], (*value.path, "Fn::If", index), scenario))

    def _items(self, value: Value) -> Iterator[Value]:
        for resolved in self._resolved(value):
            if not isinstance(resolved.raw, list):
                # CloudFormation accepts a single value in place of a list of one.
                yield from [] if resolved.raw is ABSENT else [resolved]
                continue
            for index, item in enumerate(resolved.raw):
                path = (*value.path, index) if isinstance(value.raw, list) else value.path
                branches = self._branches(Value(item, path, value.scenario))
                yield from (branch for branch in branches if branch.raw is not ABSENT)

    def _resolved(self, value: Value) -> list[Value]:
        if intrinsic_function(value.raw) is None:
            return [value]
        return [Value(raw, value.path, value.scenario) for raw in self.resolve(value.raw)]

    def _is_reachable(self, scenario: Scenario) -> bool:
        """Whether some choice of parameters satisfies every condition of the scenario."""
        defined = self.section("Conditions")
        relevant = tuple(sorted({(name, outcome) for name, outcome in scenario if name in defined}))
        names = [name for name, _ in relevant]
        if len(set(names)) < len(names):
            return False
        if len(relevant) < 2:
            return True
        if relevant not in self._satisfiable:
            wanted = {name: {outcome} for name, outcome in relevant}
            self._satisfiable[relevant] = any(True for _ in self.cfn.conditions.build_scenarios(wanted))
        return self._satisfiable[relevant]
