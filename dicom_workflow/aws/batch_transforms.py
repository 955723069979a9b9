"""A batch transform: a model bundle over every DICOM file of an S3 folder or of a manifest, one answer file for each."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.aws import errors
from dicom_workflow.aws.endpoints import client_of, model_of, model_problems, stamped
from dicom_workflow.errors import DeployError, StorageError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, join

_MOST_MB = 100
"""Files under way × largest file: what SageMaker allows a machine."""


@dataclass(frozen=True)
class BatchRequest:
    """A batch transform as it is wanted.

    Raises
    ------
    DeployError
        Lists everything that cannot be used.
    """

    image: str
    """Our inference container in a registry of the account."""
    model_uri: str
    """``model.tar.gz`` of a training job."""
    role: str
    input_uri: str
    """An s3:// folder of DICOM files, or a manifest (``….manifest``) whose lines point at them with ``source-ref``."""
    output_uri: str
    """s3:// folder for the answers, one file ``NAME.out`` for each DICOM file."""
    name: str = "dicom-workflow"
    """At most 40 characters; a time stamp is added."""
    instance_type: str = "ml.c6i.xlarge"
    instance_count: int = 1
    concurrency: int = 2
    """Files under way on one machine."""
    max_payload_mb: int = 25
    """The largest file; more of it means less `concurrency`, as their product may be 100."""
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    volume_kms_key: str = ""
    output_kms_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = model_problems(self.image, self.model_uri, self.role, self.name)
        problems += errors.folder("input_uri", self.input_uri) + errors.folder("output_uri", self.output_uri)
        problems += errors.instance(self.instance_type, self.instance_count)
        problems += errors.network(self.subnets, self.security_group_ids)
        problems += errors.at_least("concurrency", self.concurrency, 1)
        problems += errors.at_least("max_payload_mb", self.max_payload_mb, 1)
        if self.concurrency * self.max_payload_mb > _MOST_MB:
            problems.append(
                f"concurrency × max_payload_mb: expected at most {_MOST_MB}, got {self.concurrency} × {self.max_payload_mb}"
            )
        errors.raise_all("batch transform", problems)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> BatchRequest:
        """Return the request of a JSON object or of a command line; a name that is no field is refused."""
        return cls(**errors.arguments_of(cls, values))


@dataclass(frozen=True)
class TransformJob:
    """A batch transform that SageMaker accepted; its model has the same name."""

    name: str
    arn: str
    output_uri: str


def batch_transform(
    settings: Settings, request: BatchRequest, *, client: Any = None, storage: Storage | None = None
) -> TransformJob:
    """Start predicting every DICOM file of a folder or manifest and return the job without waiting.

    A file that cannot be used has no answer; SageMaker goes on with the others and calls the job failed in the end.
    `read_batch` reads the answers there are and names the files without.

    Raises
    ------
    DeployError
        The manifest cannot be used, or SageMaker refused the job.
    """
    client = client or client_of(settings, "sagemaker")
    storage = storage or Storage(settings)
    name = stamped(request.name)
    source = {"S3DataType": "S3Prefix", "S3Uri": request.input_uri.rstrip("/") + "/"}
    if request.input_uri.endswith(".manifest"):
        listed = join(request.output_uri, f"{name}.files.json")
        storage.write_bytes(listed, file_list(_files_of(request.input_uri, storage)))
        source = {"S3DataType": "ManifestFile", "S3Uri": listed}
    key = {"KmsKeyId": request.output_kms_key} if request.output_kms_key else {}
    volume = {"VolumeKmsKeyId": request.volume_kms_key} if request.volume_kms_key else {}
    with errors.answers_of_aws(f"batch transform {name}"):
        client.create_model(**model_of(request, name, isolated=True))
        try:
            answer = client.create_transform_job(
                TransformJobName=name,
                ModelName=name,
                MaxConcurrentTransforms=request.concurrency,
                MaxPayloadInMB=request.max_payload_mb,
                BatchStrategy="SingleRecord",
                ModelClientConfig={"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 3},
                TransformInput={
                    "DataSource": {"S3DataSource": source},
                    "ContentType": "application/dicom",
                    "SplitType": "None",  # a file is a record: DICOM has no lines
                    "CompressionType": "None",
                },
                TransformOutput={
                    "S3OutputPath": request.output_uri,
                    "Accept": "application/jsonlines",
                    "AssembleWith": "None",
                    **key,
                },
                TransformResources={
                    "InstanceType": request.instance_type,
                    "InstanceCount": request.instance_count,
                    **volume,
                },
                Tags=errors.tags(request.tags),
            )
        except BaseException:
            client.delete_model(ModelName=name)
            raise
    return TransformJob(name, answer["TransformJobArn"], request.output_uri)


def _files_of(uri: str, storage: Storage) -> list[str]:
    """Return the s3:// addresses that a manifest's lines point at.

    Raises
    ------
    DeployError
        A line points elsewhere, for instance at an instance of the archive.
    """
    files = [source_of(line.data) for line in manifests.read(uri, storage=storage, limits=False)]
    elsewhere = [file for file in files if not file.startswith("s3://")]
    if elsewhere or not files:
        got = f"{len(elsewhere)} lines such as {elsewhere[0]!r}" if elsewhere else "no lines"
        raise DeployError(f"{uri}: expected lines with an s3:// 'source-ref', got {got}. Write it with --by source-ref.")
    return files


def file_list(files: Sequence[str]) -> bytes:
    """Return S3 objects as SageMaker's own kind of manifest: what they begin with alike, then the rest of each."""
    prefix = posixpath.commonprefix(sorted({file.rpartition("/")[0] + "/" for file in files}))
    prefix = prefix[: prefix.rindex("/") + 1]
    if prefix == "s3://":
        raise DeployError("batch transform: expected files of one bucket, got several buckets. Start a job for each.")
    return json.dumps([{"prefix": prefix}, *(file.removeprefix(prefix) for file in files)]).encode("utf-8")


def read_batch(
    input_uris: Sequence[str], output_uri: str, *, prefix: str, storage: Storage
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Return the predictions of a batch transform by file, and the files that have none.

    Parameters
    ----------
    input_uris : sequence of str
        The DICOM files.
    output_uri : str
        Folder of the answers.
    prefix : str
        The job's input folder: below it, answers lie as the files do.
    storage : Storage
    """
    found: dict[str, dict[str, Any]] = {}
    missing = []
    for uri in input_uris:
        try:
            answer = json.loads(storage.read_bytes(join(output_uri, f"{uri.removeprefix(prefix).lstrip('/')}.out")))
        except (StorageError, ValueError):
            missing.append(uri)
            continue
        found[uri] = answer
    return found, tuple(missing)
