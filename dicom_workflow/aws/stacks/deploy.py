"""The two long commands from end to end: a deployment, and its dry run, which changes nothing and needs no account."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_workflow.aws.stacks import artifacts, container_builds, costs, parameters, plan, preflight, preview, prices, smoke
from dicom_workflow.aws.stacks.artifacts import Artifact
from dicom_workflow.aws.stacks.change_stack import Rollout
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import Given
from dicom_workflow.aws.stacks.plan import Fed, Plan
from dicom_workflow.aws.stacks.stack_state import StackState
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage


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
        "faces_the_internet": preview.facing_the_internet(stacks),
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


class Builder:
    """Makes and changes stacks of one deployment.

    Parameters
    ----------
    deployment : Deployment
    request : Request
    made : list of Artifact
        For the bucket of the foundation; their files must be there until `upload`.
    states : mapping
        What stood when it began, by stack. Outputs of stacks that were not asked for are taken from here.
    """

    def __init__(
        self, deployment: Deployment, request: Request, made: list[Artifact], states: Mapping[str, StackState | None]
    ) -> None:
        self._deployment, self._request = deployment, request
        self._rollout = Rollout(deployment, request.allowed, request.again)
        self._keys = artifacts.values(made)
        self._waiting = list(made)
        self._outputs = {stack: plan.standing(state) for stack, state in states.items()}

    @property
    def done(self) -> Mapping[str, str]:
        """What became of each stack: ``created``, ``updated`` or ``unchanged``."""
        return self._rollout.done

    def upload(self) -> None:
        """Put the artifacts into their bucket, once.

        Raises
        ------
        DeployError
            There is no bucket yet.
        """
        if not self._waiting:
            return
        bucket = self._request.given.everywhere.get("ArtifactsBucket") or self._outputs["foundation"].get("ArtifactsBucket", "")
        if not bucket:
            raise DeployError(
                "expected the output ArtifactsBucket of the foundation stack, found none. Deploy foundation first."
            )
        self._put(self._waiting, bucket)
        self._waiting = []

    def bring_up(self, stack: str) -> StackState:
        """Bring one stack to where its template says, with the image that it waits for, and return its state.

        Raises
        ------
        DeployError
            It failed; the message says how to go on.
        """
        state = self._apply(stack, {})
        build, given = container_builds.BUILDS.get(stack), self._request.given.of(stack)
        if not self._request.with_images or build is None or build.project not in state.outputs:
            return state
        if build.image in given or build.image not in self._deployment.templates[stack].parameters:
            return state
        deployment = self._deployment
        image = container_builds.build(deployment.cloud, build, state.outputs, self._keys[build.context], deployment.say)
        return self._apply(stack, {build.image: (image, "built from this checkout")})

    def _apply(self, stack: str, further: Fed) -> StackState:
        deployment, given = self._deployment, self._request.given.of(stack)
        fed = {**self._fed(stack), **further}
        state = self._rollout.settle(stack)
        found, problems = plan.plan_stack(deployment, stack, state, given, fed, {})
        if problems:
            raise DeployError(parameters.complaint(problems))
        bucket = given.get("ArtifactsBucket") or fed.get("ArtifactsBucket", ("", ""))[0]
        ended = self._rollout.change(stack, state, found.values, template_url=self._template_url(stack, bucket))
        self._outputs[stack] = plan.standing(ended)
        return ended

    def _fed(self, stack: str) -> Fed:
        """What earlier stacks and artifacts hand to a stack."""
        found: Fed = {name: (value, "artifact of this checkout") for name, value in self._keys.items()}
        for earlier in self._deployment.templates:
            if earlier == stack:
                break
            found.update({name: (value, f"output of {earlier}") for name, value in self._outputs.get(earlier, {}).items()})
        return found

    def _template_url(self, stack: str, bucket: str) -> str:
        """The template's address on S3 when a request cannot hold it, else nothing."""
        template, region = self._deployment.templates[stack], self._deployment.cloud.region
        if template.is_short():
            return ""
        if not bucket:
            raise DeployError(
                f"{template.path}: expected at most 51,200 bytes, as there is no artifacts bucket yet to send it through."
            )
        key = f"templates/{stack}-{template.sha256[:16]}.yaml"
        self._put([Artifact("", key, key, template.path, template.sha256, len(template.text.encode()))], bucket)
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://{bucket}.s3.{region}.{suffix}/{key}"

    def _put(self, made: list[Artifact], bucket: str) -> None:
        cloud = self._deployment.cloud
        artifacts.check_owner(cloud, bucket)
        artifacts.upload(made, bucket, Storage(self._request.settings, client=cloud.client("s3")), self._deployment.say)


@dataclass
class Request:
    """The words of one `deploy`, with or without ``--dry-run``."""

    settings: Settings
    stacks: list[str] = field(default_factory=list)
    given: Given = field(default_factory=Given)
    allowed: Collection[str] = ()
    dependencies: Path | None = None
    again: str = "dicom-workflow deploy"
    with_images: bool = True
    """Build container images in AWS where a stack waits for one."""
