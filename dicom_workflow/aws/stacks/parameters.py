"""Parameter values of a deployment: the source of each value, and all parameter errors reported together.

Sources in order of precedence: the user's overrides, the name of the deployment, outputs of other stacks and uploaded
artifacts, the value of the last deployment, the template's default. A parameter that none of them provides is missing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dicom_workflow.aws.stacks.deployment import STACKS
from dicom_workflow.aws.stacks.templates import Parameter, Template, as_text
from dicom_workflow.errors import DeployError

HIDDEN = "****"
OVERRIDE = "given"
"""Source of a value that the user gave."""
EXPECTED_OUTPUT = "output to come"
"""Source of a value that a stack will have once it is deployed, as predicted from its template."""
ARTIFACT = "artifact of this checkout"
"""Source of the S3 key of an uploaded artifact."""
IMAGE = "image to be built"
"""Source of a container image that is built while its stack is deployed."""


@dataclass(frozen=True)
class ParameterOverrides:
    """Parameter values that the user gave, for all stacks or for one of them."""

    everywhere: Mapping[str, str] = field(default_factory=dict)
    by_stack: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, pairs: Sequence[Sequence[str]] = ()) -> ParameterOverrides:
        """Return the values of a YAML file, updated with those of the command line.

        A name at the top level applies to every stack that declares it; a name below a stack applies to that stack. Every value
        is read as the text in the file, so that an account id with a leading zero is not read as an octal number.

        Raises
        ------
        DeployError
            The file cannot be read, or has another structure.
        """
        data = _read(path) if path else {}
        by_stack = {}
        for stack in STACKS:
            section = data.pop(stack, None) or {}
            if not isinstance(section, dict):
                raise DeployError(f"{path}: expected parameters below {stack}, got {type(section).__name__}.")
            by_stack[stack] = {str(name): as_text(value) for name, value in section.items()}
        nested = [str(name) for name, value in data.items() if isinstance(value, dict)]
        if nested:
            raise DeployError(f"{path}: expected parameters or stacks ({', '.join(STACKS)}), got {', '.join(nested)}.")
        everywhere = {str(name): as_text(value) for name, value in data.items()}
        everywhere.update((name, value) for name, value in pairs)
        return cls(everywhere, {stack: values for stack, values in by_stack.items() if values})

    def of(self, stack: str) -> dict[str, str]:
        """Return the values that apply to one stack."""
        return {**self.everywhere, **self.by_stack.get(stack, {})}

    def problems(self, templates: Mapping[str, Template]) -> list[str]:
        """Return an error for each name that no template declares, with the closest declared name."""
        every = {name for template in templates.values() for name in template.parameters}
        found = [_unknown(name, every, "no template declares it") for name in self.everywhere if name not in every]
        for stack, values in self.by_stack.items():
            if stack in templates:
                known = set(templates[stack].parameters)
                found += [_unknown(name, known, f"stack {stack} does not declare it") for name in values if name not in known]
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        # BaseLoader keeps every scalar as text.
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}  # noqa: S506, which creates strings only
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DeployError(f"{path} is not a YAML file of stack parameters: {error}") from None
    if not isinstance(data, dict):
        raise DeployError(f"{path}: expected names with values, got {type(data).__name__}.")
    return data


def _unknown(name: str, known: Iterable[str], why: str) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"unknown parameter {name!r}: {why}" + (f"; did you mean {near[0]}?" if near else "")


@dataclass(frozen=True)
class Input:
    """A value that another stack, an artifact or an image provides."""

    text: str
    source: str
    stack: str = ""
    """The stack whose output it is."""


@dataclass(frozen=True)
class Value:
    """The value of one parameter of one stack."""

    parameter: Parameter
    text: str | None
    """None where CloudFormation keeps the deployed value or uses the default."""
    source: str
    """Description of the source, for the user."""
    keeps_previous: bool = False
    stack: str = ""
    """The stack whose output it is."""

    def shown(self) -> str:
        """Return the value for a table; secrets are masked."""
        if self.parameter.secret:
            return HIDDEN
        if self.text is not None:
            return self.text
        return "(unchanged)" if self.keeps_previous else str(self.parameter.default)

    def request(self) -> dict[str, Any] | None:
        """Return the entry of ``Parameters`` in a CloudFormation request, or None where the default applies."""
        if self.keeps_previous:
            return {"ParameterKey": self.parameter.name, "UsePreviousValue": True}
        return None if self.text is None else {"ParameterKey": self.parameter.name, "ParameterValue": self.text}


def fallback(parameter: Parameter, previous: Iterable[str]) -> Value | None:
    """Return the value of a parameter that nothing provides: as deployed, or the default; None when there is neither.

    Parameters
    ----------
    parameter : Parameter
    previous : iterable of str
        Parameters of the deployed stack.
    """
    if parameter.name in previous:
        return Value(parameter, None, "as deployed", keeps_previous=True)
    return None if parameter.default is None else Value(parameter, None, "default")


def resolve(
    template: Template,
    *,
    deployment: str,
    overrides: Mapping[str, str],
    inputs: Mapping[str, Input],
    previous: Iterable[str] = (),
) -> tuple[dict[str, Value], list[Parameter]]:
    """Return the value of each parameter of a template, and the parameters without a value.

    Parameters
    ----------
    template : Template
    deployment : str
    overrides : mapping
        The user's values for this stack.
    inputs : mapping
        Outputs of other stacks and artifacts, by name.
    previous : iterable of str
        Parameters of the deployed stack.
    """
    values, missing, kept = {}, [], set(previous)
    for name, parameter in template.parameters.items():
        found: Value | None
        if name in overrides:
            found = Value(parameter, overrides[name], OVERRIDE)
        elif name == "DeploymentName":
            found = Value(parameter, deployment, "the deployment's name")
        elif name in inputs:
            found = Value(parameter, inputs[name].text, inputs[name].source, stack=inputs[name].stack)
        else:
            found = fallback(parameter, kept)
        if found is None:
            missing.append(parameter)
        else:
            values[name] = found
    return values, missing


def value_problems(stack: str, values: Mapping[str, Value]) -> list[str]:
    """Return the values that violate the template's own constraints; values that are not known yet are accepted."""
    checked = (
        value.parameter.problem(value.text)
        for value in values.values()
        if value.text is not None and "‹" not in value.text and not value.source.startswith(EXPECTED_OUTPUT)
    )
    return [f"{stack}: {problem}" for problem in checked if problem]


def complaint(problems: Sequence[str]) -> str:
    """Return all parameter errors as one message."""
    count = "1 parameter error" if len(problems) == 1 else f"{len(problems)} parameter errors"
    return f"{count}; nothing was changed:\n  " + "\n  ".join(problems)


def missing_problem(stack: str, parameter: Parameter, outputs_of: Mapping[str, str]) -> str:
    """Return the error of a parameter without a value: its meaning and how to give it one.

    Parameters
    ----------
    stack : str
    parameter : Parameter
    outputs_of : mapping
        Name of an output → the stack that has it.
    """
    meaning = parameter.description or parameter.constraint or parameter.type
    maker = outputs_of.get(parameter.name)
    way = f"it is an output of stack {maker}: deploy that stack too, or give it" if maker else "give it"
    return f"{stack}: {parameter.name} has no value ({meaning.rstrip('.')}); {way} with --set {parameter.name} VALUE"
