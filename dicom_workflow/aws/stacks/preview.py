"""What a person is shown of a deployment before anything is done: first what matters, then every stack, then the costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dicom_workflow.aws.stacks import costs, exposure
from dicom_workflow.aws.stacks.artifacts import Artifact
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import GIVEN
from dicom_workflow.aws.stacks.plan import Plan, PlannedStack
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.aws.stacks.template_evaluator import Evaluation


def show(deployment: Deployment, plan: Plan, made: list[Artifact]) -> None:
    """Tell the person of a deployment everything that is known of it."""
    stacks = {planned.stack: planned.evaluation for planned in plan.stacks}
    deployment.say("\n" + table(("in short", ""), _in_short(stacks)))
    for planned in plan.stacks:
        deployment.say("\n" + _stack(deployment, planned))
    if made:
        rows = [(f"{artifact.size_bytes:,}", f"{artifact.sha256[:16]}…", artifact.key) for artifact in made]
        deployment.say("\nartifacts:\n" + table(("bytes", "SHA-256", "key"), rows))
    deployment.say("\n" + "\n".join(costs.note(stacks, deployment.cloud.region)))


def _in_short(stacks: Mapping[str, Evaluation]) -> Iterator[tuple[str, str]]:
    count = sum(len(found.resources()) for found in stacks.values())
    yield "makes", f"{count} resources in {len(stacks)} stacks"
    yield "costs", costs.summary(stacks)
    for words, lines in (
        ("faces the Internet", exposure.facing_the_internet(stacks) or ["nothing"]),
        ("lets in networks", exposure.let_in(stacks) or ["none: only members of its own security groups"]),
        ("way out", exposure.ways_out(stacks) or ["no NAT gateway of its own"]),
        ("outlives its stack", exposure.outliving(stacks) or ["nothing"]),
    ):
        for number, line in enumerate(lines):
            yield "" if number else words, line


def _stack(deployment: Deployment, planned: PlannedStack) -> str:
    resources = planned.evaluation.resources()
    by_type: dict[str, list[str]] = {}
    for name, item in resources.items():
        by_type.setdefault(str(item["Type"]), []).append(name)
    stands = planned.state and planned.state.exists
    what = (
        f"stands ({planned.state.status}); a change set will say what changes"
        if planned.state and stands
        else "would be created"
    )
    kept = " under termination protection" if planned.is_protected else ""
    rows = [(str(len(names)), kind, ", ".join(names)) for kind, names in sorted(by_type.items())]
    text = f"{deployment.stack_name(planned.stack)}: {what}: {len(resources)} resources{kept}\n"
    text += table(("count", "type", "logical ids"), rows)
    values = sorted(planned.values.items(), key=lambda item: item[1].source != GIVEN)
    chosen = [(name, value.source, value.shown() or "(empty)") for name, value in values if value.source != "default"]
    return text + ("\n\n" + table(("parameter", "from", "value"), chosen) if chosen else "")
