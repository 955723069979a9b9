"""CloudFormation templates as data: read once, with every short form (``!Ref``, ``!GetAtt``) written out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dicom_workflow.errors import DeployError

BODY_LIMIT_BYTES = 51_200
"""What CloudFormation takes as the text of a request; a longer template must come from S3."""

_LIST_TYPES = ("CommaDelimitedList", "List<")
_NAMED_IAM = {
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
}


# The parser in C is seven times as fast; a PyYAML that was built without it has none.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as CloudFormation reads it; a date such as a policy's Version stays a text."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # there are three kinds of nodes
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def parse(text: str) -> dict[str, Any]:
    """Return a template's text as data; JSON is YAML too."""
    found = yaml.load(text, _Loader)  # noqa: S506, a SafeLoader with CloudFormation's short forms
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a template, as the template declares it."""

    name: str
    type: str
    description: str
    default: str | None
    """None when a value must be given."""
    secret: bool
    """``NoEcho``: its value is never shown."""
    allowed: tuple[str, ...]
    pattern: str
    constraint: str
    """The template's own words for what is allowed."""
    declared: Mapping[str, Any]

    @classmethod
    def parse(cls, name: str, declared: Mapping[str, Any]) -> Parameter:
        """Return the parameter of one entry of ``Parameters``."""
        default = declared.get("Default")
        return cls(
            name=name,
            type=str(declared.get("Type", "String")),
            description=" ".join(str(declared.get("Description", "")).split()),
            default=None if default is None else as_text(default),
            secret=as_text(declared.get("NoEcho", False)) == "true",
            allowed=tuple(map(as_text, declared.get("AllowedValues", ()))),
            pattern=str(declared.get("AllowedPattern", "")),
            constraint=_phrase(" ".join(str(declared.get("ConstraintDescription", "")).split())),
            declared=declared,
        )

    @property
    def is_list(self) -> bool:
        return self.type.startswith(_LIST_TYPES)

    def problem(self, value: str) -> str:
        """Return what is wrong with a value, empty when nothing is. A secret value is not repeated."""
        wrong = self._problem(value)
        shown = "a value that is not shown" if self.secret else repr(value)
        expected = wrong if self.allowed else self.constraint or wrong
        return f"{self.name}: expected {expected}, got {shown}" if wrong else ""

    def _problem(self, value: str) -> str:
        if self.allowed and any(item not in self.allowed for item in (value.split(",") if self.is_list else (value,))):
            return f"one of {', '.join(self.allowed)}"
        if self.type == "Number":
            return self._number_problem(value)
        if self.type == "String" and self.pattern and not _matches(self.pattern, value):
            return f"a text like {self.pattern}"
        shortest, longest = int(self.declared.get("MinLength", 0)), int(self.declared.get("MaxLength", 4096))
        return "" if shortest <= len(value) <= longest else f"{shortest} to {longest} characters"

    def _number_problem(self, value: str) -> str:
        try:
            number = float(value)
        except ValueError:
            return "a number"
        least, most = self.declared.get("MinValue"), self.declared.get("MaxValue")
        if (least is not None and number < float(least)) or (most is not None and number > float(most)):
            return f"a number from {least if least is not None else '-∞'} to {most if most is not None else '∞'}"
        return ""


def _phrase(text: str) -> str:
    """A sentence as part of another."""
    text = text.rstrip(".")
    return text[:1].lower() + text[1:] if text.split(" ")[0][1:].islower() else text


def as_text(value: Any) -> str:
    """Return a YAML value as CloudFormation takes parameters: texts, with lists joined by commas."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(as_text, value))
    return "" if value is None else str(value)


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return True  # CloudFormation knows Java's expressions; what Python cannot read, CloudFormation checks


@dataclass(frozen=True)
class Template:
    """The template of one stack."""

    stack: str
    path: Path
    text: str
    """What is sent, byte for byte what the file holds."""
    parameters: Mapping[str, Parameter]
    conditions: Mapping[str, Any]
    mappings: Mapping[str, Any]
    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    rules: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, stack: str, folder: Path) -> Template:
        """Return the template of a stack.

        Raises
        ------
        DeployError
            There is none in the folder, or it is no template.
        """
        path = folder / f"{stack}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DeployError(f"expected the template of stack {stack} at {path}, found none. Run from a checkout.") from None
        except (OSError, ValueError) as error:
            raise DeployError(f"{path}: cannot be read: {error}") from None
        return cls.of_text(stack, path, text)

    @classmethod
    def of_text(cls, stack: str, path: Path, text: str) -> Template:
        """Return the template of a text; its path is for messages."""
        try:
            data = parse(text)
        except (ValueError, yaml.YAMLError) as error:
            raise DeployError(f"{path}: expected a CloudFormation template in YAML: {error}") from None
        if not isinstance(data.get("Resources"), dict) or not data["Resources"]:
            raise DeployError(f"{path}: expected a CloudFormation template with Resources.")
        return cls(
            stack=stack,
            path=path,
            text=text,
            parameters={name: Parameter.parse(name, item) for name, item in (data.get("Parameters") or {}).items()},
            conditions=data.get("Conditions") or {},
            mappings=data.get("Mappings") or {},
            resources=data["Resources"],
            outputs=data.get("Outputs") or {},
            rules=data.get("Rules") or {},
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()

    def is_short(self) -> bool:
        """Say whether a request can hold it; one that cannot goes by way of the artifacts bucket."""
        return len(self.text.encode("utf-8")) <= BODY_LIMIT_BYTES

    def capabilities(self) -> list[str]:
        """Return what CloudFormation wants to be told: that the template makes roles, or roles with names of its own."""
        kinds = {str(item.get("Type")): item for item in self.resources.values()}
        if not any(kind.startswith("AWS::IAM::") for kind in kinds):
            return []
        named = any(
            _NAMED_IAM.get(str(item.get("Type")), "\0") in (item.get("Properties") or {}) for item in self.resources.values()
        )
        return ["CAPABILITY_NAMED_IAM"] if named else ["CAPABILITY_IAM"]

    def holds_data(self, logical_id: str) -> bool:
        """Say whether the template means a resource to outlive its stack."""
        item = self.resources.get(logical_id, {})
        return str(item.get("DeletionPolicy", "Delete")) not in ("Delete", "RetainExceptOnCreate")


def lint(template: Template, existing: Collection[str], region: str) -> list[str] | None:
    """Return what cfn-lint calls errors in a template, or None where it is not installed.

    Warnings are for who writes templates; an error is what CloudFormation would refuse, such as a type that the region lacks.

    Parameters
    ----------
    template : Template
    existing : collection of str
        Logical ids of the resources that there will be: an error of another is none of this deployment's.
    region : str
    """
    try:
        from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
    except ImportError:
        return None
    found = []
    for match in lint(template.text, config=ManualArgs(regions=[region])):
        path = list(match.path or ())
        concerns = path[:1] != ["Resources"] or len(path) < 2 or path[1] in existing
        if match.rule.severity == "error" and concerns:
            found.append(f"{template.path.name}, line {match.linenumber}: {match.rule.id} {match.message}")
    return found
