"""Read CloudFormation templates and their parameters; short forms (``!Ref``, ``!GetAtt``) become their full forms."""

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
"""CloudFormation's limit for a template in a request; a longer template must be on S3."""

_LIST_TYPES = ("CommaDelimitedList", "List<")
_NAMED_IAM = {
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
}


# The C parser is seven times as fast, but not every build of PyYAML has it.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """CloudFormation's YAML: a date such as a policy's Version stays a string."""


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
        value = loader.construct_mapping(node, deep=True)  # the only other kind of node
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def parse(text: str) -> dict[str, Any]:
    """Return a YAML or JSON template as data."""
    found = yaml.load(text, _Loader)  # noqa: S506, a SafeLoader with CloudFormation's short forms
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Parameter:
    """A parameter as the template declares it."""

    name: str
    type: str
    description: str
    default: str | None
    """None when a value is required."""
    secret: bool
    """``NoEcho``: the value is never shown."""
    allowed: tuple[str, ...]
    pattern: str
    constraint: str
    """The template's ``ConstraintDescription``."""
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
        """Return why a value is invalid, empty when it is valid. A secret value is not repeated."""
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
            return f"a string that matches {self.pattern}"
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
    """A sentence as a clause of another sentence."""
    text = text.rstrip(".")
    return text[:1].lower() + text[1:] if text.split(" ")[0][1:].islower() else text


def as_text(value: Any) -> str:
    """Return a YAML value as a parameter value: a string, with lists joined by commas."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(as_text, value))
    return "" if value is None else str(value)


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return True  # a Java pattern that Python cannot read is left to CloudFormation


@dataclass(frozen=True)
class Template:
    """The template of one stack."""

    stack: str
    path: Path
    text: str
    """The content of the file, sent unchanged."""
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
            The folder has no such file, or it is not a template.
        """
        path = folder / f"{stack}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DeployError(f"There is no template of stack {stack} at {path}. Run from a checkout.") from None
        except (OSError, ValueError) as error:
            raise DeployError(f"{path}: cannot be read: {error}") from None
        return cls.of_text(stack, path, text)

    @classmethod
    def of_text(cls, stack: str, path: Path, text: str) -> Template:
        """Return the template of a text.

        Parameters
        ----------
        stack : str
        path : Path
            For error messages.
        text : str

        Raises
        ------
        DeployError
            The text is not a template.
        """
        try:
            data = parse(text)
        except (ValueError, yaml.YAMLError) as error:
            raise DeployError(f"{path} is not a CloudFormation template in YAML: {error}") from None
        if not isinstance(data.get("Resources"), dict) or not data["Resources"]:
            raise DeployError(f"{path} is not a CloudFormation template: it has no Resources.")
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
        """Return whether it fits into a request; a longer template is uploaded to the artifacts bucket."""
        return len(self.text.encode("utf-8")) <= BODY_LIMIT_BYTES

    def capabilities(self) -> list[str]:
        """Return the capabilities that a request must acknowledge: the template creates IAM resources, or named ones."""
        kinds = {str(item.get("Type")): item for item in self.resources.values()}
        if not any(kind.startswith("AWS::IAM::") for kind in kinds):
            return []
        named = any(
            _NAMED_IAM.get(str(item.get("Type")), "\0") in (item.get("Properties") or {}) for item in self.resources.values()
        )
        return ["CAPABILITY_NAMED_IAM"] if named else ["CAPABILITY_IAM"]

    def holds_data(self, logical_id: str) -> bool:
        """Return whether a resource is retained when its stack is deleted."""
        item = self.resources.get(logical_id, {})
        return str(item.get("DeletionPolicy", "Delete")) not in ("Delete", "RetainExceptOnCreate")


def lint(template: Template, existing: Collection[str], region: str) -> list[str] | None:
    """Return the errors that cfn-lint finds in a template, or None when it is not installed.

    Warnings are left out: they concern authors of templates. CloudFormation would refuse an error, such as a type that the
    region does not have.

    Parameters
    ----------
    template : Template
    existing : collection of str
        Logical ids of the resources that are created; errors of other resources are left out.
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
