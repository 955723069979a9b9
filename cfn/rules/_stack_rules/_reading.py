"""A template as a rule sees it: every value a property can take, with the path that leads to it.

A value in a template is often not written there: it hides behind `Ref`, `Fn::Sub`, `Fn::If` or a mapping. `View.reach` follows
a path of keys through all of them and yields one `Spot` for each branch that some choice of parameters can reach. A parameter
stands for its default; what is only known when the stack is deployed stays in the text as `${Name}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cfnlint.template import Template

from _stack_rules._expressions import LATER, Expressions, intrinsic

Path = tuple[str | int, ...]
Scenario = tuple[tuple[str, bool], ...]


class _Absent:
    """The value of a property that is not there, or is there as `AWS::NoValue`."""

    def __repr__(self) -> str:
        return "nothing"

    def __bool__(self) -> bool:
        return False


ABSENT = _Absent()
EVERY = "*"  # in a path of keys: every item of a list, or every value of a map


@dataclass(frozen=True)
class Spot:
    """A value, where it stands, and the conditions under which it counts."""

    value: Any
    path: Path
    scenario: Scenario = ()

    @property
    def text(self) -> str:
        """The value as text; empty where there is none, and a map or list as nothing."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return "" if self.value is ABSENT or isinstance(self.value, (dict, list)) else str(self.value)

    @property
    def known(self) -> bool:
        """Whether the whole value can be read before deployment."""
        return not LATER.search(self.text)

    @property
    def true(self) -> bool:
        return self.text.lower() == "true"

    @property
    def number(self) -> int | None:
        """The value as a whole number; None where it is none or is not known yet."""
        return int(self.text) if re.fullmatch(r"-?\d+", self.text) else None


@dataclass(frozen=True)
class Resource:
    """One resource of a template."""

    name: str
    type: str
    node: dict[str, Any]
    view: View

    @property
    def path(self) -> Path:
        return ("Resources", self.name)

    @property
    def scenario(self) -> Scenario:
        condition = self.node.get("Condition")
        return ((str(condition), True),) if isinstance(condition, str) else ()

    def at(self, *keys: str) -> list[Spot]:
        """Every value that `Properties` has under these keys; `ABSENT` for a branch in which a key is missing."""
        whole = Spot(self.node.get("Properties", {}), (*self.path, "Properties"), self.scenario)
        return list(self.view.reach(whole, *keys))


class View(Expressions):
    """A template with its parameters at their defaults.

    Parameters
    ----------
    cfn : cfnlint.template.Template
        The template as cfn-lint loaded it.
    chosen : bool
        Follow only the branches that the defaults choose, for rules about a protection that a person may switch off
        knowingly. Otherwise every branch of every `Fn::If` is followed.
    """

    def __init__(self, cfn: Template, *, chosen: bool = False) -> None:
        super().__init__(cfn.template)
        self.cfn = cfn
        self.chosen = chosen
        self._possible: dict[Scenario, bool] = {}

    def resources(self, *types: str) -> Iterator[Resource]:
        """Resources of these types, all when none is named; a type may end in `*`."""
        for name, node in self.section("Resources").items():
            kind = node.get("Type") if isinstance(node, dict) else None
            if isinstance(kind, str) and (not types or any(_fits(kind, wanted) for wanted in types)):
                resource = Resource(str(name), kind, node, self)
                if self._reachable(resource.scenario):
                    yield resource

    def reach(self, spot: Spot, *keys: str) -> Iterator[Spot]:
        """Follow the keys from a spot, through `Fn::If` on the way, and read what is at the end."""
        for branch in self._branches(spot):
            if not keys:
                yield from self._read(branch)
                continue
            key, rest = keys[0], keys[1:]
            if key == EVERY:
                for item in self._items(branch):
                    yield from self.reach(item, *rest)
            elif isinstance(branch.value, dict) and key in branch.value:
                yield from self.reach(Spot(branch.value[key], (*branch.path, key), branch.scenario), *rest)
            elif EVERY not in rest:
                yield Spot(ABSENT, branch.path, branch.scenario)

    def items(self, spot: Spot) -> list[Spot]:
        """The items of a list, of a single value that stands for a list, or of a parameter that holds one."""
        return [read for branch in self._branches(spot) for item in self._items(branch) for read in self._read(item)]

    def texts(self, whole: Any = None, path: Path = ()) -> Iterator[Spot]:
        """Every piece of text in a part of the template (all of it by default), with intrinsics filled in."""
        node = self.template if whole is None else whole
        if intrinsic(node) and intrinsic(node) != "Fn::If":
            yield from (Spot(text, path) for text in self.read(node))
        elif isinstance(node, dict):
            for key, value in node.items():
                yield from self.texts(value if value is not None else "", (*path, key))
        elif isinstance(node, list):
            for place, value in enumerate(node):
                yield from self.texts(value if value is not None else "", (*path, place))
        else:
            yield Spot(node, path)

    def _branches(self, spot: Spot) -> Iterator[Spot]:
        body = spot.value.get("Fn::If") if isinstance(spot.value, dict) and len(spot.value) == 1 else None
        if not isinstance(body, list) or len(body) != 3:
            nothing = isinstance(spot.value, dict) and spot.value.get("Ref") == "AWS::NoValue"
            yield Spot(ABSENT, spot.path[:-1], spot.scenario) if nothing else spot
            return
        condition = str(body[0])
        default = self.default_of(condition) if self.chosen else None
        for place, side in ((1, True), (2, False)):
            scenario = spot.scenario if (condition, side) in spot.scenario else (*spot.scenario, (condition, side))
            if default in (None, side) and self._reachable(scenario):
                yield from self._branches(Spot(body[place], (*spot.path, "Fn::If", place), scenario))

    def _items(self, spot: Spot) -> Iterator[Spot]:
        for read in self._read(spot):
            if not isinstance(read.value, list):
                # A single value where a list may stand is a list of one.
                yield from [] if read.value is ABSENT else [read]
                continue
            for place, item in enumerate(read.value):
                path = (*spot.path, place) if isinstance(spot.value, list) else spot.path
                yield from (found for found in self._branches(Spot(item, path, spot.scenario)) if found.value is not ABSENT)

    def _read(self, spot: Spot) -> list[Spot]:
        if intrinsic(spot.value) is None:
            return [spot]
        return [Spot(value, spot.path, spot.scenario) for value in self.read(spot.value)]

    def _reachable(self, scenario: Scenario) -> bool:
        known = self.section("Conditions")
        asked = tuple(sorted({(name, side) for name, side in scenario if name in known}))
        names = [name for name, _ in asked]
        if len(set(names)) < len(names):
            return False
        if len(asked) < 2:
            return True
        if asked not in self._possible:
            wanted = {name: {side} for name, side in asked}
            self._possible[asked] = any(True for _ in self.cfn.conditions.build_scenarios(wanted))
        return self._possible[asked]

    def implies(self, scenario: Scenario, condition: str | None) -> bool:
        """Whether a condition holds whenever the scenario does."""
        return condition is None or (condition, True) in scenario or not self._reachable((*scenario, (condition, False)))


def _fits(kind: str, wanted: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted
