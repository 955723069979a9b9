"""SageMaker batch transforms: predictions of a model bundle for every DICOM file of an S3 folder or of a manifest."""

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

_MAX_MB = 100
"""SageMaker's limit of concurrent requests × payload in MB on one instance."""


@dataclass(frozen=True)
class BatchRequest:
    """The configuration of a batch transform.

    Raises
    ------
    DeployError
        Lists all invalid values.
    """

    image: str
    """This project's inference container in a registry."""
    model_uri: str
    """``model.tar.gz`` of a training job."""
    role: str
    input_uri: str
    """An s3:// folder of DICOM files, or a manifest (``….manifest``) whose ``source-ref`` lines refer to them."""
    output_uri: str
    """s3:// folder of the predictions, one file ``NAME.out`` for each DICOM file."""
    name: str = "dicom-workflow"
    """At most 40 characters; a timestamp is appended."""
    instance_type: str = "ml.c6i.xlarge"
    instance_count: int = 1
    concurrency: int = 2
    """Concurrent requests on one instance."""
    max_payload_mb: int = 25
    """Maximum size of a file; the product with `concurrency` is limited to 100."""
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    volume_kms_key: str = ""
    output_kms_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = model_problems(self)
        problems += errors.folder("input_uri", self.input_uri) + errors.folder("output_uri", self.output_uri)
        names = {"instanceType": "instance_type", "instanceCount": "instance_count", "s3OutputPath": "output_uri"}
        names |= {
            "transformJobName": "name",
            "modelName": "name",
            "kmsKeyId": "output_kms_key",
            "volumeKmsKeyId": "volume_kms_key",
        }
        source = {"S3DataType": "S3Prefix", "S3Uri": self.input_uri}
        problems += errors.limit_problems("CreateTransformJob", _job(self, stamped(self.name), source), names)
        problems += errors.at_least("concurrency", self.concurrency, 1)
        problems += errors.at_least("max_payload_mb", self.max_payload_mb, 1)
        if self.concurrency * self.max_payload_mb > _MAX_MB:
            problems.append(
                f"concurrency × max_payload_mb: expected at most {_MAX_MB}, got {self.concurrency} × {self.max_payload_mb}"
            )
        errors.raise_all("batch transform", problems)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> BatchRequest:
        """Return the request of a JSON object or of command-line options.

        Raises
        ------
        DeployError
            A name is unknown, or a value is missing or invalid.
        """
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
    """Start a batch transform and return it without waiting.

    A file that cannot be read has no prediction; SageMaker continues with the others and marks the job as failed at the end.
    `read_batch` reads the predictions and names the files without one.

    Parameters
    ----------
    settings : Settings
    request : BatchRequest
    client : boto3 client, optional
        Of SageMaker.
    storage : Storage, optional

    Raises
    ------
    DeployError
        A line of the manifest cannot be used, or SageMaker refused the job.
    """
    client = client or client_of(settings, "sagemaker")
    storage = storage or Storage(settings)
    name = stamped(request.name)
    source = {"S3DataType": "S3Prefix", "S3Uri": request.input_uri.rstrip("/") + "/"}
    if request.input_uri.endswith(".manifest"):
        listed = join(request.output_uri, f"{name}.files.json")
        storage.write_bytes(listed, file_list(_files_of(request.input_uri, storage)))
        source = {"S3DataType": "ManifestFile", "S3Uri": listed}
    with errors.aws_errors(f"batch transform {name}"):
        client.create_model(**model_of(request, name, isolated=True))
        try:
            answer = client.create_transform_job(**_job(request, name, source))
        except BaseException:
            client.delete_model(ModelName=name)
            raise
    return TransformJob(name, answer["TransformJobArn"], request.output_uri)


def _job(request: BatchRequest, name: str, source: dict[str, str]) -> dict[str, Any]:
    """The CreateTransformJob request; the model has the same name."""
    key = {"KmsKeyId": request.output_kms_key} if request.output_kms_key else {}
    volume = {"VolumeKmsKeyId": request.volume_kms_key} if request.volume_kms_key else {}
    return {
        "TransformJobName": name,
        "ModelName": name,
        "MaxConcurrentTransforms": request.concurrency,
        "MaxPayloadInMB": request.max_payload_mb,
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 60, "InvocationsMaxRetries": 3},
        "TransformInput": {
            "DataSource": {"S3DataSource": source},
            "ContentType": "application/dicom",
            "SplitType": "None",  # one file is one record
            "CompressionType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": request.output_uri,
            "Accept": "application/jsonlines",
            "AssembleWith": "None",
            **key,
        },
        "TransformResources": {
            "InstanceType": request.instance_type,
            "InstanceCount": request.instance_count,
            **volume,
        },
        "Tags": errors.tags(request.tags),
    }


def _files_of(uri: str, storage: Storage) -> list[str]:
    """Return the s3:// URIs of a manifest's lines.

    Raises
    ------
    DeployError
        A line has another reference, for instance to an instance in the archive.
    """
    files = [source_of(line.data) for line in manifests.read(uri, storage=storage, limits=False)]
    others = [file for file in files if not file.startswith("s3://")]
    if others or not files:
        got = f"{len(others)} lines such as {others[0]!r}" if others else "no lines"
        raise DeployError(f"{uri}: expected lines with an s3:// 'source-ref', got {got}. Write it with --by source-ref.")
    return files


def file_list(files: Sequence[str]) -> bytes:
    """Return S3 objects in the format of SageMaker's ManifestFile: the common prefix, then the rest of each key.

    Raises
    ------
    DeployError
        The objects are in several buckets.
    """
    prefix = posixpath.commonprefix(sorted({file.rpartition("/")[0] + "/" for file in files}))
    prefix = prefix[: prefix.rindex("/") + 1]
    if prefix == "s3://":
        raise DeployError("batch transform: the files are in several buckets. Start a job for each bucket.")
    return json.dumps([{"prefix": prefix}, *(file.removeprefix(prefix) for file in files)]).encode("utf-8")


def read_batch(
    input_uris: Sequence[str], output_uri: str, *, prefix: str, storage: Storage
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Return the predictions of a batch transform by file, and the files without one.

    Parameters
    ----------
    input_uris : sequence of str
        The DICOM files.
    output_uri : str
        Folder of the predictions.
    prefix : str
        The input folder of the job; the predictions have the same relative paths.
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
