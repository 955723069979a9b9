"""What stacks need besides their templates: Lambda packages, build contexts, wheels and notebooks, named by their content.

The same code gives the same bytes and so the same key: a stack changes only when its code did, and what is there already is not
sent again. An object counts as there when it was read back and its SHA-256 is the one that was built.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow import __version__, aws
from dicom_workflow.aws.packaging import PACKAGE
from dicom_workflow.aws.stacks.cloudformation import Cloud
from dicom_workflow.errors import DeployError, ObjectNotFoundError, VerificationError
from dicom_workflow.storage import Storage

CHECKOUT = PACKAGE.parent
PARAMETERS = (
    "PreAnnotationKey",
    "PostAnnotationKey",
    "LabelingServiceContextKey",
    "InferenceContextKey",
    "WheelsPrefix",
    "NotebooksKey",
)
"""The stack parameters that take an artifact."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_SKIPPED = ("__pycache__", ".ipynb_checkpoints")


@dataclass(frozen=True)
class Artifact:
    """Something that is uploaded under a name made of its content."""

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
    """Build what some stack parameters take, in an empty folder, and return it.

    Parameters
    ----------
    folder : Path
        For the files; they are needed until they are uploaded.
    parameters : collection of str
        Those of `PARAMETERS` that are wanted.
    dependencies : Path, optional
        Folder of wheels of other packages, as ``pip download`` fills it, for notebooks without a way to a package index.

    Raises
    ------
    DeployError
        There is no checkout around the package, or `dependencies` holds no wheels.
    """
    makers: dict[str, Callable[[], list[Artifact]]] = {
        "PreAnnotationKey": lambda: [_function(folder, "pre_annotation", "PreAnnotationKey")],
        "PostAnnotationKey": lambda: [_function(folder, "post_annotation", "PostAnnotationKey")],
        "LabelingServiceContextKey": lambda: [_labeling_service(folder)],
        "InferenceContextKey": lambda: [_inference(folder)],
        "WheelsPrefix": lambda: _wheels(folder, dependencies),
        "NotebooksKey": lambda: [_notebooks(folder)],
    }
    return [artifact for name in PARAMETERS if name in parameters for artifact in makers[name]()]


def values(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Return the value of each parameter that takes an artifact."""
    return {artifact.parameter: artifact.value for artifact in artifacts}


def check_owner(cloud: Cloud, bucket: str) -> None:
    """Return when a bucket is this account's own.

    Names of buckets are everybody's: once a bucket was deleted by hand, a stranger can make one of that name, take what is sent
    there, and hand templates and functions of his own to CloudFormation.

    Raises
    ------
    DeployError
        It is somebody else's, or there is none.
    """
    from botocore.exceptions import ClientError

    account = cloud.identity["Account"]
    try:
        cloud.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
    except ClientError as error:
        raise DeployError(
            f"s3://{bucket}: expected a bucket of account {account} that you may use, got {error.response['Error']['Code']}. "
            "Was it deleted? Nothing was sent there."
        ) from None


def upload(artifacts: Iterable[Artifact], bucket: str, storage: Storage, said: Callable[[str], None]) -> None:
    """Put artifacts into a bucket, each one read back; what is there and whole is left as it is.

    Raises
    ------
    VerificationError
        What was read back is not what was sent.
    """
    for artifact in artifacts:
        uri = f"s3://{bucket}/{artifact.key}"
        if _stored(uri, storage) == artifact.sha256:
            said(f"{artifact.key}: there already")
            continue
        with storage.writer(uri) as target, artifact.path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                target.write(block)
        stored = _stored(uri, storage)
        if stored != artifact.sha256:
            raise VerificationError(
                f"{uri}: expected to read back SHA-256 {artifact.sha256}, got {stored or 'nothing'}. Deploy again."
            )
        said(f"{artifact.key}: {artifact.size_bytes:,} bytes uploaded and read back")


def _stored(uri: str, storage: Storage) -> str:
    """The SHA-256 of what is there now, empty when nothing is."""
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
    path.write_bytes(aws.build_lambda_zip(kind))
    return Artifact.of(parameter, path, f"lambda/{kind}-{{sha}}.zip")


def _labeling_service(folder: Path) -> Artifact:
    return Artifact.of(
        "LabelingServiceContextKey",
        _context(folder / "labeling-service.zip", aws.stage_labeling_service),
        "labeling-service/context-{sha}.zip",
    )


def _inference(folder: Path) -> Artifact:
    context = _context(folder / "inference.zip", aws.stage_image)
    return Artifact.of("InferenceContextKey", context, "inference/context-{sha}.zip")


def _context(path: Path, stage: Callable[[Path], Path]) -> Path:
    with tempfile.TemporaryDirectory() as place:
        return zip_files(path, _below(stage(Path(place) / "context")))


def _notebooks(folder: Path) -> Artifact:
    return Artifact.of("NotebooksKey", zip_files(folder / "notebooks.zip", notebook_files()), "notebooks-{sha}.zip")


def _wheels(folder: Path, dependencies: Path | None) -> list[Artifact]:
    wheels = [build_wheel(folder), *_wheels_in(dependencies)]
    requirements = CHECKOUT / "requirements.txt"
    # One prefix for all of them, which says of what versions they are.
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
        raise DeployError(f"--dependencies: expected a folder of wheels, as `pip download` fills it, got {dependencies}.")
    python = dependencies / "python.tar.gz"  # an interpreter, for instances that have none new enough
    return [*found, python] if python.is_file() else found


def notebook_files() -> dict[str, bytes]:
    """Return the notebooks and the training script that they start, by their paths in a checkout."""
    found = {}
    for name in ("notebooks", "source"):
        found.update({f"{name}/{path}": content for path, content in _below(CHECKOUT / name).items()})
    if not found:
        raise DeployError(f"expected notebooks and source in {CHECKOUT}, found none. Run from a checkout of the project.")
    return found


def package_files() -> dict[str, bytes]:
    """Return every file of this package, by its path below the folder that holds the package."""
    return {f"{PACKAGE.name}/{path}": content for path, content in _below(PACKAGE).items()}


def _below(folder: Path) -> dict[str, bytes]:
    """The files of a folder by path; no compiled code, and no hidden file: an editor's copy may hold anything."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    inner = ((path.relative_to(folder), path) for path in paths)
    return {
        place.as_posix(): path.read_bytes()
        for place, path in inner
        if not any(part in _SKIPPED or part.startswith(".") for part in place.parts)
    }


def zip_files(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a zip that has the same bytes whenever they have, and return its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return path


def build_wheel(folder: Path) -> Path:
    """Write this package as a wheel into a folder, the same bytes whenever the code is the same, and return its path.

    setuptools would write into the checkout and stamp the time on files; a pure Python wheel is a zip with four files more.
    """
    info = f"dicom_workflow-{__version__}.dist-info"
    files = package_files()
    files[f"{info}/METADATA"] = "\n".join(
        ("Metadata-Version: 2.1", "Name: dicom-workflow", f"Version: {__version__}", "Requires-Python: >=3.11", "")
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: dicom-workflow\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\ndicom-workflow = dicom_workflow.cli:main\n"
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    return zip_files(folder / f"dicom_workflow-{__version__}-py3-none-any.whl", files)


def _record(files: Mapping[str, bytes], itself: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(_recorded(files))
    writer.writerow((itself, "", ""))
    return text.getvalue().encode()


def _recorded(files: Mapping[str, bytes]) -> Iterator[tuple[Any, ...]]:
    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        yield name, f"sha256={digest}", len(content)
