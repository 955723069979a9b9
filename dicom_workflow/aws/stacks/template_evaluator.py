"""Evaluate a template with parameter values, without AWS: which resources it creates, and with what property values.

The package's only implementation of CloudFormation's intrinsic functions. Values that only AWS knows (the ARN of a key that
does not exist yet) become placeholders such as ``‹Key.Arn›``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dicom_workflow.aws.stacks.templates import Template
from dicom_workflow.errors import DeployError

NO_VALUE = object()
"""``AWS::NoValue``: the property is left out."""

_SUB = re.compile(r"\$\{(!?)([^}]+)\}")


def _mentions(node: Any, name: str) -> bool:
    if isinstance(node, dict):
        if node.get("Ref") == name:
            return True
        return any(_mentions(item, name) for item in node.values())
    if isinstance(node, list):
        return any(_mentions(item, name) for item in node)
    return isinstance(node, str) and f"${{{name}}}" in node


class Evaluation:
    """One template with one set of parameter values.

    Parameters
    ----------
    template : Template
    values : mapping
        Value of each parameter, as text; the default or a placeholder when missing.
    pseudo : mapping, optional
        Pseudo parameters such as ``AWS::Region``.
    """

    def __init__(self, template: Template, values: Mapping[str, str], pseudo: Mapping[str, str] | None = None) -> None:
        self.template = template
        self._pseudo = {
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::Region": "us-east-1",
            "AWS::AccountId": "‹account›",
            "AWS::StackName": template.stack,
            **(pseudo or {}),
        }
        self._values: dict[str, Any] = {}
        for name, parameter in template.parameters.items():
            value = values.get(name, parameter.default)
            text = f"‹{name}›" if value is None else value
            self._values[name] = text.split(",") if parameter.is_list else text  # an empty list is one of an empty text
        self._known: dict[str, bool] = {}

    def with_values(self, values: Mapping[str, str]) -> Evaluation:
        """Return the evaluation of the same template with other parameter values."""
        return Evaluation(self.template, values, self._pseudo)

    def holds(self, condition: str) -> bool:
        """Return whether a condition of the template is true.

        Raises
        ------
        DeployError
            The template has no such condition.
        """
        if condition not in self._known:
            if condition not in self.template.conditions:
                raise DeployError(f"{self.template.path} has no condition {condition!r}.")
            self._known[condition] = bool(self._truth(self.template.conditions[condition]))
        return self._known[condition]

    def resources(self) -> dict[str, Mapping[str, Any]]:
        """Return the resources that are created with these values, by logical id, unevaluated."""
        return {name: item for name, item in self.template.resources.items() if self._exists(item)}

    def uses(self, parameter: str) -> bool:
        """Return whether a created resource refers to a parameter."""
        return any(_mentions(item, parameter) for item in self.resources().values())

    def properties(self, logical_id: str) -> dict[str, Any]:
        """Return the evaluated properties of a resource."""
        found = self.value(self.template.resources[logical_id].get("Properties") or {})
        return found if isinstance(found, dict) else {}

    def outputs(self) -> dict[str, str]:
        """Return the outputs, with placeholders for values that only AWS knows."""
        found = {}
        for name, item in self.template.outputs.items():
            if self._exists(item):
                value = self.value(item.get("Value"))
                found[name] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return found

    def broken_rules(self) -> list[str]:
        """Return the descriptions of the template's Rules that these values violate."""
        found = []
        for name, rule in self.template.rules.items():
            if "RuleCondition" not in rule or self._truth(rule["RuleCondition"]):
                for assertion in rule.get("Assertions", ()):
                    if not self._truth(assertion["Assert"]):
                        found.append(str(assertion.get("AssertDescription", name)))
        return found

    def value(self, node: Any) -> Any:
        """Return a node of the template with its intrinsic functions evaluated."""
        if isinstance(node, list):
            items = [self.value(item) for item in node]
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(name, argument)] = node.items()
            if name == "Ref":
                return self._ref(str(argument))
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
            if name.startswith("Fn::"):
                return self._function(name.removeprefix("Fn::"), argument)
        pairs = {key: self.value(item) for key, item in node.items()}
        return {key: item for key, item in pairs.items() if item is not NO_VALUE}

    def _exists(self, item: Mapping[str, Any]) -> bool:
        return "Condition" not in item or self.holds(str(item["Condition"]))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        return self._values.get(name, self._pseudo.get(name, f"‹{name}›"))

    def _truth(self, node: Any) -> bool:
        value = self.value(node)
        return value is True or value == "true"

    def _function(self, name: str, argument: Any) -> Any:
        evaluate = getattr(self, f"_fn_{name.lower()}", None)
        # Cidr, GetAZs, ImportValue, Base64 and others can only be evaluated by AWS.
        return evaluate(argument) if evaluate else f"‹{name}›"

    def _fn_getatt(self, argument: Any) -> str:
        return f"‹{'.'.join(argument) if isinstance(argument, list) else argument}›"

    def _fn_equals(self, argument: Any) -> bool:
        first, second = (self.value(item) for item in argument)
        return str(first).lower() == str(second).lower() if isinstance(first, bool) else str(first) == str(second)

    def _fn_and(self, argument: Any) -> bool:
        return all(self._truth(item) for item in argument)

    def _fn_or(self, argument: Any) -> bool:
        return any(self._truth(item) for item in argument)

    def _fn_not(self, argument: Any) -> bool:
        return not self._truth(argument[0])

    def _fn_contains(self, argument: Any) -> bool:
        items, value = argument
        return str(self.value(value)) in list(map(str, self.value(items)))

    def _fn_if(self, argument: Any) -> Any:
        condition, yes, no = argument
        return self.value(yes if self.holds(str(condition)) else no)

    def _fn_join(self, argument: Any) -> str:
        separator, items = argument
        values = self.value(items)
        return str(separator).join(map(str, values)) if isinstance(values, list) else str(values)

    def _fn_split(self, argument: Any) -> list[str]:
        separator, text = argument
        return str(self.value(text)).split(str(separator))

    def _fn_select(self, argument: Any) -> Any:
        index, items = argument
        values, number = self.value(items), int(self.value(index))
        return values[number] if isinstance(values, list) and number < len(values) else f"‹{values} {number}›"

    def _fn_findinmap(self, argument: Any) -> Any:
        first, second, third = (self.value(item) for item in argument[:3])
        try:
            return self.value(self.template.mappings[first][second][third])
        except KeyError:
            return f"‹{first}.{second}.{third}›"

    def _fn_sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})

        def filled(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            found = self.value(own[name]) if name in own else self._ref(name)
            return ",".join(map(str, found)) if isinstance(found, list) else str(found)

        return _SUB.sub(filled, str(text))
