"""The stacks of a deployment brought up one after the other: what earlier ones put out is handed on to the later ones."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_workflow.aws.stacks import artifacts, container_builds, parameters, plan
from dicom_workflow.aws.stacks.artifacts import Artifact
from dicom_workflow.aws.stacks.change_stack import Rollout
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.plan import Fed
from dicom_workflow.aws.stacks.request import Request
from dicom_workflow.aws.stacks.stack_state import StackState
from dicom_workflow.errors import DeployError
from dicom_workflow.storage import Storage


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
