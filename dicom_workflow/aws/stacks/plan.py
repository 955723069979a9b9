"""Everything that can be known before anything is changed: which stacks, with which values, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_workflow.aws.stacks import parameters, templates
from dicom_workflow.aws.stacks.catalog import HOLDS_DATA, in_order
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import FORESEEN, Given, Value
from dicom_workflow.aws.stacks.stack_state import NEVER_CREATED, StackState
from dicom_workflow.aws.stacks.template_evaluator import Evaluation
from dicom_workflow.errors import DeployError

Fed = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class PlannedStack:
    """One stack as it would be deployed, as far as that can be known beforehand."""

    stack: str
    state: StackState | None
    values: Mapping[str, Value]
    evaluation: Evaluation

    @property
    def is_protected(self) -> bool:
        return self.stack in HOLDS_DATA


@dataclass(frozen=True)
class Plan:
    """A deployment thought through: its stacks in order."""

    stacks: tuple[PlannedStack, ...]
    skipped: tuple[str, ...] = ()
    """Stacks that are left out because what they make was given."""


def make(
    deployment: Deployment,
    chosen: list[str],
    given: Given,
    artifact_values: Mapping[str, str],
    *,
    states: Mapping[str, StackState | None] | None = None,
) -> Plan:
    """Return the plan of a deployment.

    Parameters
    ----------
    deployment : Deployment
    chosen : list of str
        Stacks; all when empty.
    given : Given
    artifact_values : mapping
        What each parameter of an artifact will be.
    states : mapping, optional
        What stands, by stack, so that nothing is asked of AWS; none of an empty mapping does.

    Raises
    ------
    DeployError
        Lists everything that is wrong: unknown, missing and refused values of all stacks.
    """
    every = deployment.templates
    names = [stack for stack in in_order(chosen) if stack in every]
    absent = [stack for stack in chosen if stack not in every]
    if absent:
        raise DeployError(f"{deployment.folder}: expected templates of {', '.join(absent)}, found none.")
    skipped = tuple(stack for stack in names if not chosen and _is_given(deployment, stack, given))
    names = [stack for stack in names if stack not in skipped]
    known = states if states is not None else deployment.states()
    problems = given.problems(every)
    fed: Fed = {name: (value, "artifact of this checkout") for name, value in artifact_values.items()}
    outputs_of = {name: stack for stack in every for name in every[stack].outputs}
    planned = []
    for stack in every:
        fed.update({name: (value, f"output of {stack}") for name, value in standing(known.get(stack)).items()})
        if stack in names:
            found, wrong = plan_stack(deployment, stack, known.get(stack), given.of(stack), fed, outputs_of)
            planned.append(found)
            problems += wrong
            to_come = {name: (value, f"{FORESEEN} of {stack}") for name, value in found.evaluation.outputs().items()}
            fed.update({name: item for name, item in to_come.items() if name not in standing(known.get(stack))})
    if problems:
        raise DeployError(parameters.complaint(problems))
    return Plan(tuple(planned), skipped)


def _is_given(deployment: Deployment, stack: str, given: Given) -> bool:
    """A VPC of one's own needs no network stack: what such a stack is for was given."""
    return stack == "network" and "VpcId" in given.everywhere


def standing(state: StackState | None) -> Mapping[str, str]:
    """Return the outputs of a stack, none where there is none."""
    return state.outputs if state and state.exists else {}


def plan_stack(
    deployment: Deployment,
    stack: str,
    state: StackState | None,
    given: Mapping[str, str],
    fed: Fed,
    outputs_of: Mapping[str, str],
) -> tuple[PlannedStack, list[str]]:
    template = deployment.templates[stack]
    previous = state.parameters if state and state.exists and state.status not in NEVER_CREATED else ()
    values, missing = parameters.resolve(template, deployment=deployment.name, given=given, fed=fed, previous=previous)
    problems = parameters.value_problems(stack, values)
    problems += [parameters.missing_problem(stack, parameter, outputs_of) for parameter in missing]
    known = {name: value.text for name, value in values.items() if value.text is not None}
    pseudo = {"AWS::Region": deployment.cloud.region, "AWS::StackName": deployment.stack_name(stack)}
    evaluation = Evaluation(template, known, pseudo)
    if not any(value.keeps_previous for value in values.values()):  # of a value that only CloudFormation has no rule can judge
        problems += [f"{stack}: {words}" for words in evaluation.broken_rules()]
    return PlannedStack(stack, state, values, evaluation), problems


def template_problems(deployment: Deployment, found: Plan) -> list[str]:
    """Return what cfn-lint, where it is installed, calls errors in the templates; says where it is not."""
    problems = []
    for planned in found.stacks:
        wrong = templates.lint(planned.evaluation.template, planned.evaluation.resources(), deployment.cloud.region)
        if wrong is None:
            deployment.say(
                "templates: cfn-lint is not installed here, so CloudFormation alone judges them (pip install cfn-lint)"
            )
            return []
        problems += wrong
    return problems


def ask_cloudformation(deployment: Deployment, stacks: Iterable[str]) -> None:
    """Have CloudFormation read each template that a request can hold.

    Raises
    ------
    DeployError
        It cannot.
    """
    from dicom_workflow.aws.errors import answers_of_aws

    for stack in stacks:
        template = deployment.templates[stack]
        if template.is_short():
            with answers_of_aws(f"template {template.path.name}"):
                deployment.cloud.client("cloudformation").validate_template(TemplateBody=template.text)
