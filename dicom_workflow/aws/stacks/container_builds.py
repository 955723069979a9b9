"""Container images of our own: built in AWS from an uploaded build context, and named by their digest.

A stack makes the build project and, before the first image, everything but the service that runs it; with the image's digest
as a parameter it makes the rest. A build that was done for the same context is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicom_workflow.aws.errors import answers_of_aws
from dicom_workflow.aws.stacks.cloudformation import Cloud
from dicom_workflow.aws.stacks.stack_state import plain
from dicom_workflow.errors import DeployError


@dataclass(frozen=True)
class Build:
    """How the image of one stack is made, by the names of its outputs and parameters."""

    project: str
    repository: str
    context: str
    image: str
    """The parameter that takes ``REPOSITORY@sha256:…``."""


BUILDS: Mapping[str, Build] = {
    "labeling": Build(
        "LabelingServiceBuildProject", "LabelingServiceRepositoryUri", "LabelingServiceContextKey", "LabelingServiceImage"
    ),
    "training": Build("InferenceBuildProject", "InferenceRepositoryUri", "InferenceContextKey", "InferenceImage"),
}


def tag_of(context_key: str) -> str:
    """Return the tag of the image that is made of a context: the name of its zip."""
    return context_key.rpartition("/")[2].removesuffix(".zip")


def build(cloud: Cloud, made: Build, outputs: Mapping[str, str], context_key: str, said: Callable[[str], None]) -> str:
    """Return the image of a build context, built if it is not there yet.

    Raises
    ------
    DeployError
        The build failed; the message says in which phase, and where its log is.
    """
    repository = outputs[made.repository]
    found = find(cloud, repository, tag_of(context_key))
    if not found:
        _run(cloud, outputs[made.project], said)
        found = find(cloud, repository, tag_of(context_key))
    if not found:
        raise DeployError(f"{repository}: expected an image {tag_of(context_key)} after the build, found none.")
    return f"{repository}@{found}"


def find(cloud: Cloud, repository: str, tag: str) -> str:
    """Return the digest of an image in a repository of this account, empty when it is not there."""
    ecr = cloud.client("ecr")
    with answers_of_aws(f"repository {repository}"):
        try:
            said = ecr.describe_images(repositoryName=repository.partition("/")[2], imageIds=[{"imageTag": tag}])
        except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
            return ""
    return str(said["imageDetails"][0]["imageDigest"]) if said["imageDetails"] else ""


def _run(cloud: Cloud, project: str, said: Callable[[str], None]) -> None:
    codebuild = cloud.client("codebuild")
    with answers_of_aws(f"build project {project}"):
        build = codebuild.start_build(projectName=project)["build"]
        said(f"{project}: building the image ({build['id']}); this takes some minutes")
        while build["buildStatus"] == "IN_PROGRESS":
            time.sleep(cloud.poll_seconds)
            [build] = codebuild.batch_get_builds(ids=[build["id"]])["builds"]
    if build["buildStatus"] != "SUCCEEDED":
        failed = [
            plain(phase["phaseType"])
            for phase in build.get("phases", ())
            if phase.get("phaseStatus") not in (None, "SUCCEEDED")
        ]
        log = plain(build.get("logs", {}).get("deepLink", ""))
        raise DeployError(
            f"{project}: the build is {build['buildStatus']} in {', '.join(failed) or 'an unknown phase'}. Log: {log}"
        )
