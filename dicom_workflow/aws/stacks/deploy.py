"""The two long commands from end to end: a deployment, and its dry run, which changes nothing and needs no account."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_workflow.aws.stacks import artifacts, container_builds, costs, exposure, plan, preflight, preview, prices, smoke
from dicom_workflow.aws.stacks.artifacts import Artifact
from dicom_workflow.aws.stacks.builder import Builder
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.plan import Plan
from dicom_workflow.aws.stacks.request import Request
from dicom_workflow.aws.stacks.stack_state import StackState
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.errors import DeployError


def dry_run(deployment: Deployment, request: Request) -> dict[str, Any]:
    """Show what a deployment would do, in order and with its costs; AWS is asked to read, and only where there are credentials.

    Raises
    ------
    DeployError
        Something is wrong with templates or parameters.
    """
    offline = not deployment.cloud.has_credentials()
    if offline:
        deployment.say(f"deployment {deployment.name}, region {deployment.cloud.region}")
        deployment.say("no AWS credentials: nothing is asked of AWS, every stack counts as new")
    else:
        _say_identity(deployment)
    with tempfile.TemporaryDirectory() as folder:
        states = {} if offline else deployment.states()
        found, made = _prepared(deployment, request, Path(folder), states, offline=offline)
    preview.show(deployment, found, made)
    deployment.say(f"\ndry run: nothing was changed. To make it, with credentials: {request.again}")
    stacks = {planned.stack: planned.evaluation for planned in found.stacks}
    return {
        "ok": True,
        "offline": offline,
        "region": deployment.cloud.region,
        "usd_a_month": round(sum(line.usd for line in costs.standing(stacks, prices.load())[0]), 2),
        "faces_the_internet": exposure.facing_the_internet(stacks),
        "stacks": [planned.stack for planned in found.stacks],
        "resources": {planned.stack: len(planned.evaluation.resources()) for planned in found.stacks},
        "artifacts": {artifact.key: artifact.sha256 for artifact in made},
    }


def deploy(deployment: Deployment, request: Request) -> dict[str, Any]:
    """Make or change the stacks of a deployment, in order, and look whether they do what they are for.

    Raises
    ------
    DeployError
        Something was wrong before anything was changed, or a stack failed; the message says how to go on.
    """
    _say_identity(deployment)
    results: list[smoke.Result] = []
    states = deployment.states()
    with tempfile.TemporaryDirectory() as folder:
        found, made = _prepared(deployment, request, Path(folder), states, offline=False)
        plan.ask_cloudformation(deployment, [planned.stack for planned in found.stacks])
        builder = Builder(deployment, request, made, states)
        for planned in found.stacks:
            if planned.stack != "foundation":
                builder.upload()
            state = builder.bring_up(planned.stack)
            results += smoke.check(deployment.cloud, planned.stack, state, ca_bundle=request.settings.ca_bundle)
        builder.upload()
    return _report(deployment, found, builder.done, results)


def _say_identity(deployment: Deployment) -> None:
    who = deployment.cloud.identity
    deployment.say(f"account {who['Account']}, region {deployment.cloud.region}, as {who['Arn']}; deployment {deployment.name}")


def _prepared(
    deployment: Deployment, request: Request, folder: Path, states: Mapping[str, StackState | None], *, offline: bool
) -> tuple[Plan, list[Artifact]]:
    """The plan, with the artifacts that its resources take; nothing is built before the parameters are right."""
    pending = _images_to_come(request)
    to_be_built = {name: f"‹{name}›" for name in artifacts.PARAMETERS} | pending
    found = _checked(deployment, request, to_be_built, states, offline=offline)
    used = {name for planned in found.stacks for name in artifacts.PARAMETERS if planned.evaluation.uses(name)}
    given = {name for planned in found.stacks for name in request.given.of(planned.stack)}
    made = artifacts.build(folder, used - given, dependencies=request.dependencies)
    values = artifacts.values(made)
    built = [build.image for build in container_builds.BUILDS.values() if build.context in values]
    values |= {name: pending[name] for name in built if name in pending}
    return plan.make(deployment, request.stacks, request.given, values, states=states), made


def _images_to_come(request: Request) -> dict[str, str]:
    """The images that will be built, by their parameters: what waits for them is part of what is shown and of what it costs."""
    if not request.with_images:
        return {}
    builds = {build.image for stack, build in container_builds.BUILDS.items() if build.image not in request.given.of(stack)}
    return {name: f"‹{name}›" for name in builds}


def _checked(
    deployment: Deployment,
    request: Request,
    artifact_values: Mapping[str, str],
    states: Mapping[str, StackState | None],
    *,
    offline: bool,
) -> Plan:
    found = plan.make(deployment, request.stacks, request.given, artifact_values, states=states)
    for stack in found.skipped:
        deployment.say(f"{stack}: left out, because what it would make was given")
    deployment.say("reading the templates …")
    problems = plan.template_problems(deployment, found)
    wrong, notes = preflight.known(found, deployment.cloud.region, has_wheels=request.dependencies is not None)
    if not offline:
        further, more = preflight.find(deployment.cloud, found)
        wrong, notes = wrong + further, notes + more
    problems += wrong
    for note in notes:
        deployment.say(f"note: {note}")
    if problems:
        raise DeployError("nothing was changed:\n  " + "\n  ".join(problems))
    return found


def _report(deployment: Deployment, found: Plan, done: Mapping[str, str], results: list[smoke.Result]) -> dict[str, Any]:
    deployment.say("\n" + table(("stack", "check", "outcome", "detail"), [result.row() for result in results]))
    for line in costs.note({planned.stack: planned.evaluation for planned in found.stacks}, deployment.cloud.region):
        deployment.say(line)
    failed = [result for result in results if result.outcome == smoke.FAILED]
    unreachable = [result for result in results if result.outcome == smoke.UNREACHABLE]
    deployment.say(
        f"{len(results) - len(failed) - len(unreachable)} ok, {len(failed)} failed, {len(unreachable)} not reachable from here"
    )
    variables = f"AWS_REGION={deployment.cloud.region} DICOM_WORKFLOW_DEPLOYMENT={shlex.quote(deployment.name)}"
    deployment.say(f"for the notebooks: {deployment.command('status', '--write', 'aws.yaml')}")
    deployment.say(f"             then: {variables} dicom-workflow run --parameters aws.yaml")
    return {
        "ok": not failed,
        "stacks": dict(done),
        "checks": [dict(zip(("stack", "check", "outcome", "detail"), result.row(), strict=True)) for result in results],
    }
