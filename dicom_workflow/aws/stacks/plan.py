"""The plan of a deployment: its stacks, their parameter values, and all errors that are known before anything is changed.

A deployment is planned once. What is only known later (the keys of artifacts, outputs of stacks that are deployed first, the
digest of an image) is filled into the same plan while it is carried out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_workflow.aws.errors import aws_errors
from dicom_workflow.aws.stacks import parameters, templates
from dicom_workflow.aws.stacks.deployment import HOLDS_DATA, Deployment, in_order
from dicom_workflow.aws.stacks.parameters import ARTIFACT, EXPECTED_OUTPUT, IMAGE, Input, ParameterOverrides, Value
from dicom_workflow.aws.stacks.stack_state import NEVER_CREATED, StackState
from dicom_workflow.aws.stacks.template_evaluator import Evaluation
from dicom_workflow.aws.stacks.templates import Parameter
from dicom_workflow.errors import DeployError


@dataclass(frozen=True)
class PlannedStack:
    """One stack with its parameter values and the evaluated template."""

    stack: str
    state: StackState | None
    values: Mapping[str, Value]
    evaluation: Evaluation

    @property
    def is_protected(self) -> bool:
        """Whether the stack gets termination protection."""
        return self.stack in HOLDS_DATA

    def with_artifacts(self, keys: Mapping[str, str]) -> PlannedStack:
        """Return the stack with the keys of artifacts; an artifact that was not built leaves the parameter as it was."""
        changed = {}
        for name, value in self.values.items():
            if value.source == ARTIFACT:
                known = Value(value.parameter, keys[name], ARTIFACT) if name in keys else self._fallback(value.parameter)
                changed[name] = known
        return self._with(changed)

    def with_outputs(self, outputs: Mapping[str, Mapping[str, str]]) -> PlannedStack:
        """Return the stack with the outputs of stacks that were deployed before it.

        Raises
        ------
        DeployError
            A stack does not have an output that its template promised, or the output violates this template's constraints.
        """
        changed = {}
        for name, value in self.values.items():
            if value.stack:
                if name not in outputs.get(value.stack, {}):
                    raise DeployError(f"stack {value.stack} has no output {name}, which stack {self.stack} needs.")
                source = f"output of {value.stack}"
                changed[name] = dataclasses.replace(value, text=outputs[value.stack][name], source=source)
        found = self._with(changed)
        if problems := found.problems():
            raise DeployError(parameters.complaint(problems))
        return found

    def with_image(self, name: str, image: str) -> PlannedStack:
        """Return the stack with a container image that was built for one of its parameters."""
        return self._with({name: Value(self.values[name].parameter, image, "built from this checkout")})

    def without_images(self) -> PlannedStack:
        """Return the stack as it is deployed before its images are built."""
        return self._with({name: self._fallback(v.parameter) for name, v in self.values.items() if v.source == IMAGE})

    def for_state(self, state: StackState | None) -> PlannedStack:
        """Return the stack for a state that was read later: a stack that has to be created has no previous values.

        Raises
        ------
        DeployError
            A parameter kept its deployed value, which is gone, and has no default.
        """
        found = dataclasses.replace(self, state=state)
        lost = [value.parameter for value in self.values.values() if value.keeps_previous] if state is None else []
        return found._with({parameter.name: found._fallback(parameter) for parameter in lost})

    def problems(self) -> list[str]:
        """Return the values and combinations of values that the template's constraints and rules refuse."""
        found = parameters.value_problems(self.stack, self.values)
        # Rules cannot be evaluated while only CloudFormation knows a value.
        if not any(value.keeps_previous for value in self.values.values()):
            found += [f"{self.stack}: {message}" for message in self.evaluation.broken_rules()]
        return found

    def _fallback(self, parameter: Parameter) -> Value:
        found = parameters.fallback(parameter, _previous(self.state))
        if found is None:
            raise DeployError(parameters.complaint([parameters.missing_problem(self.stack, parameter, {})]))
        return found

    def _with(self, changed: Mapping[str, Value]) -> PlannedStack:
        if not changed:
            return self
        values = {**self.values, **changed}
        return dataclasses.replace(self, values=values, evaluation=self.evaluation.with_values(_texts(values)))


@dataclass(frozen=True)
class Plan:
    """The stacks of a deployment, in order."""

    stacks: tuple[PlannedStack, ...]
    skipped: tuple[str, ...] = ()
    """Stacks that are left out because the user gave the resources that they would create."""

    def evaluations(self) -> dict[str, Evaluation]:
        """Return the evaluated template of each stack."""
        return {planned.stack: planned.evaluation for planned in self.stacks}

    def with_artifacts(self, keys: Mapping[str, str]) -> Plan:
        """Return the plan with the keys of the artifacts that were built, by parameter.

        Raises
        ------
        DeployError
            A parameter that takes an artifact has no value without it.
        """
        return dataclasses.replace(self, stacks=tuple(planned.with_artifacts(keys) for planned in self.stacks))


def make(
    deployment: Deployment,
    chosen: list[str],
    overrides: ParameterOverrides,
    provided: Mapping[str, Input],
    *,
    states: Mapping[str, StackState | None] | None = None,
) -> Plan:
    """Return the plan of a deployment.

    Parameters
    ----------
    deployment : Deployment
    chosen : list of str
        Stacks; all when empty.
    overrides : ParameterOverrides
    provided : mapping
        Artifacts and images, by parameter.
    states : mapping, optional
        State of each stack, so that AWS is not asked; empty when no stack exists.

    Raises
    ------
    DeployError
        Lists all errors: unknown, missing and refused values of all stacks.
    """
    every = deployment.templates
    names = [stack for stack in in_order(chosen) if stack in every]
    absent = [stack for stack in chosen if stack not in every]
    if absent:
        raise DeployError(f"{deployment.folder} has no template of {', '.join(absent)}.")
    skipped = tuple(stack for stack in names if not chosen and _is_given(stack, overrides))
    known = states if states is not None else deployment.states()
    problems = overrides.problems(every)
    inputs = dict(provided)
    outputs_of = {name: stack for stack in every for name in every[stack].outputs}
    planned = []
    for stack in every:
        state = known.get(stack)
        current = {name: Input(value, f"output of {stack}", stack) for name, value in current_outputs(state).items()}
        if stack in names and stack not in skipped:
            found, wrong = _plan_stack(deployment, stack, state, overrides.of(stack), inputs, outputs_of)
            planned.append(found)
            problems += wrong
            for name, value in found.evaluation.outputs().items():
                current.setdefault(name, Input(value, f"{EXPECTED_OUTPUT} of {stack}", stack))
        inputs.update(current)
    if problems:
        raise DeployError(parameters.complaint(problems))
    return Plan(tuple(planned), skipped)


def _is_given(stack: str, overrides: ParameterOverrides) -> bool:
    """Whether the user brings the VPC that the network stack would create."""
    return stack == "network" and "VpcId" in overrides.everywhere


def current_outputs(state: StackState | None) -> Mapping[str, str]:
    """Return the outputs of a stack; empty when it does not exist."""
    return state.outputs if state and state.exists else {}


def _previous(state: StackState | None) -> tuple[str, ...]:
    """The parameters whose deployed value CloudFormation can keep."""
    return state.parameters if state and state.exists and state.status not in NEVER_CREATED else ()


def _texts(values: Mapping[str, Value]) -> dict[str, str]:
    return {name: value.text for name, value in values.items() if value.text is not None}


def _plan_stack(
    deployment: Deployment,
    stack: str,
    state: StackState | None,
    overrides: Mapping[str, str],
    inputs: Mapping[str, Input],
    outputs_of: Mapping[str, str],
) -> tuple[PlannedStack, list[str]]:
    template = deployment.templates[stack]
    values, missing = parameters.resolve(
        template, deployment=deployment.name, overrides=overrides, inputs=inputs, previous=_previous(state)
    )
    pseudo = {"AWS::Region": deployment.cloud.region, "AWS::StackName": deployment.stack_name(stack)}
    found = PlannedStack(stack, state, values, Evaluation(template, _texts(values), pseudo))
    return found, found.problems() + [parameters.missing_problem(stack, parameter, outputs_of) for parameter in missing]


def template_problems(deployment: Deployment, found: Plan) -> list[str]:
    """Return the errors that cfn-lint finds in the templates; without cfn-lint, report that and return nothing."""
    problems = []
    for planned in found.stacks:
        wrong = templates.lint(planned.evaluation.template, planned.evaluation.resources(), deployment.cloud.region)
        if wrong is None:
            deployment.report("templates: not checked, because cfn-lint is not installed (pip install cfn-lint)")
            return []
        problems += wrong
    return problems


def ask_cloudformation(deployment: Deployment, stacks: Iterable[str]) -> None:
    """Have CloudFormation validate each template that fits into a request.

    Raises
    ------
    DeployError
        CloudFormation refuses a template.
    """
    for stack in stacks:
        template = deployment.templates[stack]
        if template.is_short():
            with aws_errors(f"template {template.path.name}"):
                deployment.cloud.client("cloudformation").validate_template(TemplateBody=template.text)
