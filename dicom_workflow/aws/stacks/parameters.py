"""The parameters of a deployment: from whom each value comes, and everything that is wrong with them said at once.

In this order: what the person gave, the deployment's name, outputs of other stacks and uploaded artifacts, the value of the
last deployment, the template's default. What none of them has is missing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dicom_workflow.aws.stacks.catalog import STACKS
from dicom_workflow.aws.stacks.templates import Parameter, Template, as_text
from dicom_workflow.errors import DeployError

HIDDEN = "****"
GIVEN = "given"
"""Source of a value that the person gave."""
FORESEEN = "output to come"
"""Source of a value that a stack will have once it is deployed, as far as its template says."""


@dataclass(frozen=True)
class Given:
    """What a person gave: for every stack, or for one of them."""

    everywhere: Mapping[str, str] = field(default_factory=dict)
    by_stack: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, pairs: Sequence[Sequence[str]] = ()) -> Given:
        """Return the values of a YAML file with those of the command line over them.

        A name at the top holds for every stack that has it; below a stack's name it holds for that stack. Every value is the
        text that is written there: an account id that begins with a zero is no octal number.

        Raises
        ------
        DeployError
            The file cannot be read, or holds something else.
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
        """Return what holds for one stack."""
        return {**self.everywhere, **self.by_stack.get(stack, {})}

    def problems(self, templates: Mapping[str, Template]) -> list[str]:
        """Return what is given and known to no template, each with the nearest name there is."""
        every = {name for template in templates.values() for name in template.parameters}
        found = [_unknown(name, every, "no template has it") for name in self.everywhere if name not in every]
        for stack, values in self.by_stack.items():
            if stack in templates:
                known = set(templates[stack].parameters)
                found += [_unknown(name, known, f"stack {stack} has it not") for name in values if name not in known]
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        # BaseLoader keeps every value the text that was written.
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}  # noqa: S506, which makes texts only
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DeployError(f"{path}: expected a YAML file of stack parameters: {error}") from None
    if not isinstance(data, dict):
        raise DeployError(f"{path}: expected names with values, got {type(data).__name__}.")
    return data


def _unknown(name: str, known: Iterable[str], why: str) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"unknown parameter {name!r}: {why}" + (f"; did you mean {near[0]}?" if near else "")


@dataclass(frozen=True)
class Value:
    """The value of one parameter of one stack."""

    parameter: Parameter
    text: str | None
    """None where CloudFormation keeps the one it has, or takes the default."""
    source: str
    """Whence it comes, in words."""
    keeps_previous: bool = False

    def shown(self) -> str:
        """Return the value for a table; a secret's is stars."""
        if self.parameter.secret:
            return HIDDEN
        if self.text is not None:
            return self.text
        return "(unchanged)" if self.keeps_previous else str(self.parameter.default)

    def request(self) -> dict[str, Any] | None:
        """Return it as CloudFormation takes it, or None where the default does."""
        if self.keeps_previous:
            return {"ParameterKey": self.parameter.name, "UsePreviousValue": True}
        return None if self.text is None else {"ParameterKey": self.parameter.name, "ParameterValue": self.text}


def resolve(
    template: Template,
    *,
    deployment: str,
    given: Mapping[str, str],
    fed: Mapping[str, tuple[str, str]],
    previous: Iterable[str] = (),
) -> tuple[dict[str, Value], list[Parameter]]:
    """Return the value of each parameter of a template, and the parameters that have none.

    Parameters
    ----------
    template : Template
    deployment : str
    given : mapping
        What the person gave for this stack.
    fed : mapping
        Outputs of other stacks and artifacts: name → value and where it comes from.
    previous : iterable of str
        Parameters that the deployed stack has already.
    """
    values, missing, kept = {}, [], set(previous)
    for name, parameter in template.parameters.items():
        if name in given:
            values[name] = Value(parameter, given[name], GIVEN)
        elif name == "DeploymentName":
            values[name] = Value(parameter, deployment, "the deployment's name")
        elif name in fed:
            values[name] = Value(parameter, *fed[name])
        elif name in kept:
            values[name] = Value(parameter, None, "as deployed", keeps_previous=True)
        elif parameter.default is not None:
            values[name] = Value(parameter, None, "default")
        else:
            missing.append(parameter)
    return values, missing


def value_problems(stack: str, values: Mapping[str, Value]) -> list[str]:
    """Return what the template itself says against given values; what is not there yet is let through."""
    checked = (
        value.parameter.problem(value.text)
        for value in values.values()
        if value.text is not None and "‹" not in value.text and not value.source.startswith(FORESEEN)
    )
    return [f"{stack}: {problem}" for problem in checked if problem]


def complaint(problems: Sequence[str]) -> str:
    """Return everything that is wrong as one message."""
    count = "one thing is" if len(problems) == 1 else f"{len(problems)} things are"
    return f"parameters: {count} to be mended; nothing was changed.\n  " + "\n  ".join(problems)


def missing_problem(stack: str, parameter: Parameter, outputs_of: Mapping[str, str]) -> str:
    """Return, in words, what a parameter without a value means and how to give it one.

    Parameters
    ----------
    outputs_of : mapping
        Name of an output → the stack that has it.
    """
    meaning = parameter.description or parameter.constraint or parameter.type
    maker = outputs_of.get(parameter.name)
    way = f"it is an output of stack {maker}: deploy that too, or give it" if maker else "give it"
    return f"{stack}: {parameter.name} has no value ({meaning.rstrip('.')}); {way} with --set {parameter.name} VALUE"
