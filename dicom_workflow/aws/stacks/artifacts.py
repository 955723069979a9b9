"""Artifacts that stacks need: Lambda packages, build contexts, wheels, notebooks, and the container images built from them.

Artifacts are named by their content. The same code gives the same bytes and so the same key: a stack changes only when its
code changes, and an artifact is not uploaded again when the stored object has the same SHA-256.

A stack that runs a container creates the build project first; with the digest of the image as a parameter it creates the
service that runs it. The image of a context is built once.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dicom_workflow.aws.errors import aws_errors
from dicom_workflow.aws.packaging import (
    CHECKOUT,
    build_lambda_zip,
    build_wheel,
    files_below,
    notebook_files,
    stage_image,
    stage_labeling_service,
    stage_search_service,
    zip_files,
)
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.stack_state import plain
from dicom_workflow.errors import DeployError, ObjectNotFoundError, VerificationError
from dicom_workflow.storage import Storage

PARAMETERS = (
    "PreAnnotationKey",
    "PostAnnotationKey",
    "LabelingServiceContextKey",
    "InferenceContextKey",
    "SearchServiceContextKey",
    "WheelsPrefix",
    "NotebooksKey",
)
"""The stack parameters that take an artifact."""


@dataclass(frozen=True)
class Artifact:
    """A file that is uploaded under a key with its SHA-256."""

    parameter: str
    """The stack parameter that takes the value."""
    value: str
    """A key, or the prefix that several artifacts share."""
    key: str
    path: Path
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, parameter: str, path: Path, key: str, *, value: str = "") -> Artifact:
        """Return the artifact of a file; ``{sha}`` in its key becomes the first 16 digits of its SHA-256."""
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        key = key.replace("{sha}", sha256[:16])
        return cls(parameter, value or key, key, path, sha256, path.stat().st_size)


def build(folder: Path, parameters: Collection[str], *, dependencies: Path | None = None) -> list[Artifact]:
    """Build the artifacts of some stack parameters in an empty folder and return them.

    Parameters
    ----------
    folder : Path
        Folder of the files, which must exist until they are uploaded.
    parameters : collection of str
        Names from `PARAMETERS`.
    dependencies : Path, optional
        Folder of wheels of other packages, made with ``pip download``, for notebooks without access to a package index.

    Raises
    ------
    DeployError
        The package is not in a checkout, or `dependencies` has no wheels.
    """
    makers: dict[str, Callable[[], list[Artifact]]] = {
        "PreAnnotationKey": lambda: [_function(folder, "pre_annotation", "PreAnnotationKey")],
        "PostAnnotationKey": lambda: [_function(folder, "post_annotation", "PostAnnotationKey")],
        "LabelingServiceContextKey": lambda: [_labeling_service(folder)],
        "InferenceContextKey": lambda: [_inference(folder)],
        "SearchServiceContextKey": lambda: [_search_service(folder)],
        "WheelsPrefix": lambda: _wheels(folder, dependencies),
        "NotebooksKey": lambda: [_notebooks(folder)],
    }
    return [artifact for name in PARAMETERS if name in parameters for artifact in makers[name]()]


def values(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Return the value of each parameter that takes an artifact."""
    return {artifact.parameter: artifact.value for artifact in artifacts}


def check_owner(cloud: CloudFormationClient, bucket: str) -> None:
    """Check that a bucket belongs to this account.

    Bucket names are global: when a bucket was deleted by hand, another account can create one of that name, receive the
    uploads and provide its own templates and functions to CloudFormation.

    Raises
    ------
    DeployError
        The bucket belongs to another account, or does not exist.
    """
    from botocore.exceptions import ClientError

    account = cloud.identity["Account"]
    try:
        cloud.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except ClientError as error:
        raise DeployError(
            f"s3://{bucket} is not a bucket of account {account} that you may use ({error.response['Error']['Code']}). It may "
            "have been deleted. Nothing was uploaded."
        ) from None


def upload(artifacts: Iterable[Artifact], bucket: str, storage: Storage, report: Callable[[str], None]) -> None:
    """Upload artifacts to a bucket and verify each by reading it back; identical objects are not uploaded again.

    Parameters
    ----------
    artifacts : iterable of Artifact
    bucket : str
    storage : Storage
    report : callable
        Prints a message.

    Raises
    ------
    VerificationError
        The stored object differs from the artifact.
    """
    for artifact in artifacts:
        uri = f"s3://{bucket}/{artifact.key}"
        if _stored(uri, storage) == artifact.sha256:
            report(f"{artifact.key}: already uploaded")
            continue
        with storage.writer(uri) as target, artifact.path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                target.write(block)
        stored = _stored(uri, storage)
        if stored != artifact.sha256:
            raise VerificationError(
                f"{uri}: expected SHA-256 {artifact.sha256} after the upload, got {stored or 'no object'}. Deploy again."
            )
        report(f"{artifact.key}: {artifact.size_bytes:,} bytes uploaded and verified")


def _stored(uri: str, storage: Storage) -> str:
    """The SHA-256 of the stored object, empty when there is none."""
    digest = hashlib.sha256()
    try:
        with storage.open(uri) as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except ObjectNotFoundError:
        return ""
    return digest.hexdigest()


def _function(folder: Path, kind: str, parameter: str) -> Artifact:
    path = folder / f"{kind}.zip"
    path.write_bytes(build_lambda_zip(kind))
    return Artifact.of(parameter, path, f"lambda/{kind}-{{sha}}.zip")


def _labeling_service(folder: Path) -> Artifact:
    return Artifact.of(
        "LabelingServiceContextKey",
        _context(folder / "labeling-service.zip", stage_labeling_service),
        "labeling-service/context-{sha}.zip",
    )


def _inference(folder: Path) -> Artifact:
    context = _context(folder / "inference.zip", stage_image)
    return Artifact.of("InferenceContextKey", context, "inference/context-{sha}.zip")


def _search_service(folder: Path) -> Artifact:
    context = _context(folder / "search.zip", stage_search_service)
    return Artifact.of("SearchServiceContextKey", context, "search/context-{sha}.zip")


def _context(path: Path, stage: Callable[[Path], Path]) -> Path:
    with tempfile.TemporaryDirectory() as place:
        return zip_files(path, files_below(stage(Path(place) / "context")))


def _notebooks(folder: Path) -> Artifact:
    return Artifact.of("NotebooksKey", zip_files(folder / "notebooks.zip", notebook_files()), "notebooks-{sha}.zip")


def _wheels(folder: Path, dependencies: Path | None) -> list[Artifact]:
    wheels = [build_wheel(folder), *_wheels_in(dependencies)]
    requirements = CHECKOUT / "requirements.txt"
    # All of them share one prefix, which identifies their versions.
    digest = hashlib.sha256()
    for path in [*sorted(wheels, key=lambda path: path.name), requirements]:
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    prefix = f"wheels/{digest.hexdigest()[:16]}/"
    return [Artifact.of("WheelsPrefix", path, prefix + path.name, value=prefix) for path in [*wheels, requirements]]


def _wheels_in(dependencies: Path | None) -> list[Path]:
    if dependencies is None:
        return []
    found = sorted(dependencies.glob("*.whl"))
    if not found:
        raise DeployError(f"--dependencies: {dependencies} has no wheels. Fill it with `pip download`.")
    python = dependencies / "python.tar.gz"  # an interpreter, for instances whose Python is too old
    return [*found, python] if python.is_file() else found


@dataclass(frozen=True)
class ImageBuild:
    """The build of one stack's image: names of its outputs and parameters."""

    project: str
    repository: str
    context: str
    image: str
    """The parameter that takes ``REPOSITORY@sha256:…``."""


BUILDS: Mapping[str, ImageBuild] = {
    "labeling": ImageBuild(
        "LabelingServiceBuildProject", "LabelingServiceRepositoryUri", "LabelingServiceContextKey", "LabelingServiceImage"
    ),
    "training": ImageBuild("InferenceBuildProject", "InferenceRepositoryUri", "InferenceContextKey", "InferenceImage"),
    "search": ImageBuild(
        "SearchServiceBuildProject", "SearchServiceRepositoryUri", "SearchServiceContextKey", "SearchServiceImage"
    ),
}


def tag_of(context_key: str) -> str:
    """Return the tag of the image built from a context: the name of its zip file."""
    return context_key.rpartition("/")[2].removesuffix(".zip")


def build_image(
    cloud: CloudFormationClient,
    recipe: ImageBuild,
    outputs: Mapping[str, str],
    context_key: str,
    report: Callable[[str], None],
) -> str:
    """Return the image of a build context, ``REPOSITORY@sha256:…``; it is built if it does not exist yet.

    Parameters
    ----------
    cloud : CloudFormationClient
    recipe : ImageBuild
    outputs : mapping
        Outputs of the stack.
    context_key : str
        S3 key of the build context.
    report : callable
        Prints a message.

    Raises
    ------
    DeployError
        The build failed; the message names the phase and the log.
    """
    repository = outputs[recipe.repository]
    found = find_image(cloud, repository, tag_of(context_key))
    if not found:
        _run(cloud, outputs[recipe.project], report)
        found = find_image(cloud, repository, tag_of(context_key))
    if not found:
        raise DeployError(
            f"{repository} has no image {tag_of(context_key)} after the build. Look at the log of the build project."
        )
    return f"{repository}@{found}"


def find_image(cloud: CloudFormationClient, repository: str, tag: str) -> str:
    """Return the digest of an image in a repository of this account, empty when it does not exist.

    Parameters
    ----------
    cloud : CloudFormationClient
    repository : str
        URI of the repository.
    tag : str
    """
    ecr = cloud.client("ecr")
    with aws_errors(f"repository {repository}"):
        try:
            response = ecr.describe_images(repositoryName=repository.partition("/")[2], imageIds=[{"imageTag": tag}])
        except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
            return ""
    return str(response["imageDetails"][0]["imageDigest"]) if response["imageDetails"] else ""


def _run(cloud: CloudFormationClient, project: str, report: Callable[[str], None]) -> None:
    codebuild = cloud.client("codebuild")
    with aws_errors(f"build project {project}"):
        build = codebuild.start_build(projectName=project)["build"]
        report(f"{project}: building the image ({build['id']}); this takes several minutes")
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
            f"{project}: the build ended with {build['buildStatus']} in {', '.join(failed) or 'an unknown phase'}. Log: {log}"
        )
