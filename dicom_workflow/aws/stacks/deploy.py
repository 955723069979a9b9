"""`dicom-workflow deploy`: make one plan, then carry it out; the dry run shows the plan and needs no account."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_workflow.aws.stacks import artifacts, costs, plan, preflight, preview, prices, smoke
from dicom_workflow.aws.stacks.artifacts import Artifact
from dicom_workflow.aws.stacks.change_sets import StackDeployer
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import ARTIFACT, IMAGE, Input, ParameterOverrides
from dicom_workflow.aws.stacks.plan import Plan, PlannedStack
from dicom_workflow.aws.stacks.stack_state import StackState
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage


@dataclass
class Request:
    """The options of one `deploy`, with or without ``--dry-run``."""

    settings: Settings
    stacks: list[str] = field(default_factory=list)
    overrides: ParameterOverrides = field(default_factory=ParameterOverrides)
    allowed_replacements: Collection[str] = ()
    """Logical ids of resources that hold data and may be replaced or removed."""
    dependencies: Path | None = None
    """Folder of wheels for notebooks without access to a package index."""
    resume_command: str = "dicom-workflow deploy"
    """Command that continues after a failure."""
    with_images: bool = True
    """Build container images in AWS for the stacks that run them."""


def dry_run(deployment: Deployment, request: Request) -> dict[str, Any]:
    """Show the plan of a deployment and its costs. AWS is only read, and only when there are credentials.

    Raises
    ------
    DeployError
        Templates or parameters have errors.
    """
    offline = not deployment.cloud.has_credentials()
    if offline:
        deployment.report(f"deployment {deployment.name}, region {deployment.cloud.region}")
        deployment.report("no AWS credentials: AWS is not asked, and every stack is treated as new")
    else:
        _report_identity(deployment)
    with tempfile.TemporaryDirectory() as folder:
        states = {} if offline else deployment.states()
        found, built = _planned(deployment, request, Path(folder), states, offline=offline)
    preview.show(deployment, found, built)
    deployment.report(f"\ndry run: nothing was changed. To deploy, with credentials: {request.resume_command}")
    stacks = found.evaluations()
    return {
        "ok": True,
        "offline": offline,
        "region": deployment.cloud.region,
        "usd_a_month": round(sum(line.usd for line in costs.fixed_costs(stacks, prices.load())[0]), 2),
        "faces_the_internet": preview.internet_facing(stacks),
        "stacks": list(stacks),
        "resources": {stack: len(evaluation.resources()) for stack, evaluation in stacks.items()},
        "artifacts": {artifact.key: artifact.sha256 for artifact in built},
    }


def deploy(deployment: Deployment, request: Request) -> dict[str, Any]:
    """Create or update the stacks of a deployment in order, then run the smoke tests of each.

    Raises
    ------
    DeployError
        The plan has errors and nothing was changed, or a stack failed; the message says how to continue.
    """
    _report_identity(deployment)
    results: list[smoke.Result] = []
    states = deployment.states()
    with tempfile.TemporaryDirectory() as folder:
        found, built = _planned(deployment, request, Path(folder), states, offline=False)
        plan.ask_cloudformation(deployment, [planned.stack for planned in found.stacks])
        executor = PlanExecutor(deployment, request, built, states)
        for planned in found.stacks:
            if planned.stack != "foundation":
                executor.upload()
            state = executor.deploy_stack(planned)
            results += smoke.check(deployment.cloud, planned.stack, state, ca_bundle=request.settings.ca_bundle)
        executor.upload()
    return _summary(deployment, found, executor.done, results)


def _report_identity(deployment: Deployment) -> None:
    who = deployment.cloud.identity
    deployment.report(
        f"account {who['Account']}, region {deployment.cloud.region}, as {who['Arn']}; deployment {deployment.name}"
    )


def _planned(
    deployment: Deployment, request: Request, folder: Path, states: Mapping[str, StackState | None], *, offline: bool
) -> tuple[Plan, list[Artifact]]:
    """The checked plan and the artifacts that its resources use; artifacts are only built when the plan has no errors."""
    provided = {name: Input(f"‹{name}›", ARTIFACT) for name in artifacts.PARAMETERS}
    if request.with_images:
        for stack, build in artifacts.BUILDS.items():
            if not {build.image, build.context} & request.overrides.of(stack).keys():
                provided[build.image] = Input(f"‹{build.image}›", IMAGE)
    found = plan.make(deployment, request.stacks, request.overrides, provided, states=states)
    _check(deployment, request, found, offline=offline)
    used = {name for evaluation in found.evaluations().values() for name in artifacts.PARAMETERS if evaluation.uses(name)}
    given = {name for planned in found.stacks for name in request.overrides.of(planned.stack)}
    built = artifacts.build(folder, used - given, dependencies=request.dependencies)
    return found.with_artifacts(artifacts.values(built)), built


def _check(deployment: Deployment, request: Request, found: Plan, *, offline: bool) -> None:
    for stack in found.skipped:
        deployment.report(f"{stack}: left out, because you gave what it would create")
    deployment.report("checking the templates …")
    problems = plan.template_problems(deployment, found)
    wrong, notes = preflight.check_parameters(found, deployment.cloud.region, has_wheels=request.dependencies is not None)
    if not offline:
        further, more = preflight.check_account(deployment.cloud, found)
        wrong, notes = wrong + further, notes + more
    problems += wrong
    for note in notes:
        deployment.report(f"note: {note}")
    if problems:
        raise DeployError("nothing was changed:\n  " + "\n  ".join(problems))


def _summary(deployment: Deployment, found: Plan, done: Mapping[str, str], results: list[smoke.Result]) -> dict[str, Any]:
    headings = ("stack", "check", "outcome", "detail")
    deployment.report("\n" + table(headings, [result.row() for result in results]))
    for line in costs.note(found.evaluations(), deployment.cloud.region):
        deployment.report(line)
    failed = sum(result.outcome == smoke.FAILED for result in results)
    unreachable = sum(result.outcome == smoke.UNREACHABLE for result in results)
    deployment.report(f"{len(results) - failed - unreachable} ok, {failed} failed, {unreachable} not reachable from here")
    variables = f"AWS_REGION={deployment.cloud.region} DICOM_WORKFLOW_DEPLOYMENT={shlex.quote(deployment.name)}"
    deployment.report(f"for the notebooks: {deployment.command('status', '--write', 'aws.yaml')}")
    deployment.report(f"             then: {variables} dicom-workflow run --parameters aws.yaml")
    return {
        "ok": not failed,
        "stacks": dict(done),
        "checks": [dict(zip(headings, result.row(), strict=True)) for result in results],
    }


class PlanExecutor:
    """Carries out a plan, stack by stack.

    Parameters
    ----------
    deployment : Deployment
    request : Request
    built : list of Artifact
        Artifacts for the bucket of the foundation stack; their files must exist until `upload`.
    states : mapping
        State of each stack before the deployment. Outputs of stacks that are not deployed come from here.
    """

    def __init__(
        self, deployment: Deployment, request: Request, built: list[Artifact], states: Mapping[str, StackState | None]
    ) -> None:
        self._deployment, self._request = deployment, request
        self._deployer = StackDeployer(deployment, request.allowed_replacements, request.resume_command)
        self._pending = list(built)
        self._outputs = {stack: plan.current_outputs(state) for stack, state in states.items()}

    @property
    def done(self) -> Mapping[str, str]:
        """The outcome for each stack: ``created``, ``updated`` or ``unchanged``."""
        return self._deployer.done

    def upload(self) -> None:
        """Upload the artifacts to their bucket, once.

        Raises
        ------
        DeployError
            There is no bucket yet.
        """
        if not self._pending:
            return
        bucket = self._bucket("foundation")
        if not bucket:
            raise DeployError("The foundation stack has no output ArtifactsBucket. Deploy foundation first.")
        self._put(self._pending, bucket)
        self._pending = []

    def deploy_stack(self, planned: PlannedStack) -> StackState:
        """Deploy one stack of the plan, including the container image that it runs, and return its state.

        The stack creates the build project of its image, so it is deployed twice: without the image and with it.

        Raises
        ------
        DeployError
            It failed; the message says how to continue.
        """
        state = self._apply(planned.without_images())
        build = artifacts.BUILDS.get(planned.stack)
        if build is None or build.project not in state.outputs:
            return state
        image = planned.values.get(build.image)
        if image is None or image.source != IMAGE:
            return state
        context = planned.values[build.context].text or ""
        built = artifacts.build_image(self._deployment.cloud, build, state.outputs, context, self._deployment.report)
        return self._apply(planned.with_image(build.image, built))

    def _apply(self, planned: PlannedStack) -> StackState:
        stack = planned.stack
        state = self._deployer.recover(stack)
        current = planned.for_state(state).with_outputs(self._outputs)
        ended = self._deployer.deploy(stack, state, current.values, template_url=self._template_url(stack))
        self._outputs[stack] = plan.current_outputs(ended)
        return ended

    def _bucket(self, stack: str) -> str:
        outputs = self._outputs.get("foundation", {})
        return self._request.overrides.of(stack).get("ArtifactsBucket") or outputs.get("ArtifactsBucket", "")

    def _template_url(self, stack: str) -> str:
        """The address on S3 of a template that does not fit into a request; empty for a short template."""
        template, region = self._deployment.templates[stack], self._deployment.cloud.region
        if template.is_short():
            return ""
        bucket = self._bucket(stack)
        if not bucket:
            raise DeployError(
                f"{template.path} is longer than 51,200 bytes and needs the artifacts bucket, which does not exist yet. "
                "Deploy foundation first."
            )
        key = f"templates/{stack}-{template.sha256[:16]}.yaml"
        self._put([Artifact("", key, key, template.path, template.sha256, len(template.text.encode()))], bucket)
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return f"https://{bucket}.s3.{region}.{suffix}/{key}"

    def _put(self, built: list[Artifact], bucket: str) -> None:
        cloud = self._deployment.cloud
        artifacts.check_owner(cloud, bucket)
        artifacts.upload(built, bucket, Storage(self._request.settings, client=cloud.client("s3")), self._deployment.report)
