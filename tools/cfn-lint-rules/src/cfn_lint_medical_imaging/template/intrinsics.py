"""Evaluate intrinsic functions before deployment, with every parameter at its default."""

from __future__ import annotations

import itertools
import re
from typing import Any

#: Stands in resolved text for a part that is only known at deployment.
PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
#: The most combinations of alternatives that one expression is expanded to.
MOST_ALTERNATIVES = 64


class IntrinsicFunctions:
    """Intrinsic functions evaluated against one template."""

    def __init__(self, template: dict[str, Any]) -> None:
        self.template = template

    def section(self, name: str) -> dict[str, Any]:
        """Return a top-level section such as `Resources`, empty where the template has none."""
        found = self.template.get(name)
        return found if isinstance(found, dict) else {}

    def resolve(self, node: Any) -> list[Any]:
        """Return every value of an expression: usually one, several where a mapping or `Fn::If` decides."""
        kind = intrinsic_function(node)
        if kind is None:
            return [node]
        body = node[kind]
        if kind == "Ref":
            return [self._ref(str(body))]
        if kind == "Fn::Sub":
            return self._sub(body)
        if kind == "Fn::Join" and isinstance(body, list) and len(body) == 2:
            parts = body[1] if isinstance(body[1], list) else [body[1]]
            choices = [[_as_text(value) for value in self.resolve(part)] for part in parts]
            return [str(body[0]).join(choice) for choice in itertools.islice(itertools.product(*choices), MOST_ALTERNATIVES)]
        if kind == "Fn::If" and isinstance(body, list) and len(body) == 3:
            return [value for branch in body[1:] for value in self.resolve(branch)]
        if kind == "Fn::FindInMap" and isinstance(body, list):
            return self._mapped(body)
        if kind == "Fn::GetAtt":
            return ["${" + (body if isinstance(body, str) else ".".join(map(str, body))) + "}"]
        if kind == "Fn::Select" and isinstance(body, list) and len(body) == 2:
            return self._selected(body)
        if kind == "Fn::Split" and isinstance(body, list) and len(body) == 2:
            return [_as_text(value).split(str(body[0])) for value in self.resolve(body[1])]
        return ["${" + kind.removeprefix("Fn::") + "}"]

    def default_of(self, condition: str) -> bool | None:
        """Return the outcome of a condition with every parameter at its default, or None where it is unknown."""
        return self._holds(self.section("Conditions").get(condition))

    def _ref(self, name: str) -> Any:
        parameter = self.section("Parameters").get(name)
        if isinstance(parameter, dict) and "Default" in parameter:
            default = parameter["Default"]
            many = str(parameter.get("Type", "")).startswith(("CommaDelimitedList", "List<"))
            # The default of an SSM parameter type is the name of the parameter, not its value.
            if not str(parameter.get("Type", "")).startswith("AWS::SSM::"):
                return [item.strip() for item in str(default).split(",") if item.strip()] if many else default
        return "${" + name + "}"

    def _sub(self, body: Any) -> list[Any]:
        text, own = (body[0], body[1]) if isinstance(body, list) and len(body) == 2 else (body, {})
        texts = [str(text)]
        for name in dict.fromkeys(re.findall(r"\$\{([^!}][^}]*)\}", str(text))):
            values = self.resolve(own[name]) if name in own else [self._ref(name)]
            texts = [text.replace("${" + name + "}", _as_text(value)) for text in texts for value in values][:MOST_ALTERNATIVES]
        return texts

    def _mapped(self, body: list[Any]) -> list[Any]:
        levels: list[Any] = [self.section("Mappings").get(str(body[0]), {})]
        for key in body[1:3]:
            wanted = [_as_text(value) for value in self.resolve(key)]
            known = [value for value in wanted if not PLACEHOLDER.search(value)]
            levels = [
                inner
                for level in levels
                if isinstance(level, dict)
                for inner in ([level[name] for name in known if name in level] if known else level.values())
            ]
        return levels or ["${FindInMap}"]

    def _selected(self, body: list[Any]) -> list[Any]:
        index = str(body[0])
        found: list[Any] = []
        for values in [body[1]] if isinstance(body[1], list) else self.resolve(body[1]):
            exists = isinstance(values, list) and index.isdigit() and int(index) < len(values)
            found += self.resolve(values[int(index)]) if exists else ["${Select}"]
        return found

    def _holds(self, node: Any) -> bool | None:
        if not isinstance(node, dict) or len(node) != 1:
            return None
        kind, body = next(iter(node.items()))
        if kind == "Condition":
            return self.default_of(str(body))
        if kind == "Fn::Equals":
            left, right = (_as_text(self.resolve(side)[0]) for side in body)
            return None if PLACEHOLDER.search(left + right) else left == right
        sides = [self._holds(side) for side in (body if isinstance(body, list) else [body])]
        if kind == "Fn::Not":
            return None if sides[0] is None else not sides[0]
        deciding = kind == "Fn::Or"
        if deciding in sides:
            return deciding
        return None if None in sides else not deciding


def intrinsic_function(node: Any) -> str | None:
    """Return the name of the intrinsic function that a node calls, or None for a plain value."""
    if isinstance(node, dict) and len(node) == 1:
        key = next(iter(node))
        if isinstance(key, str) and (key in ("Ref", "Condition") or key.startswith("Fn::")):
            return key
    return None


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_as_text, value)) if isinstance(value, list) else str(value)
