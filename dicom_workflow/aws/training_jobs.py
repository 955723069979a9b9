"""SageMaker training jobs of the training script, submitted with SageMaker Python SDK 3."""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dicom_workflow.aws import errors
from dicom_workflow.aws.packaging import stage_source
from dicom_workflow.errors import DeployError
from dicom_workflow.learning.training.script_run import METRIC_DEFINITIONS, SCRIPT
from dicom_workflow.learning.training.tracking import requirements
from dicom_workflow.settings import Settings
from dicom_workflow.storage import s3_parts

TRAINING_FRAMEWORK = ("pytorch-amzn2023", "2.13")
"""AWS's training container with the version of torch in requirements.txt."""

_CHECKPOINTS = "/opt/ml/checkpoints"
_NAMES = {
    "hyperParameters": "hyperparameters",
    "instanceType": "instance_type",
    "kmsKeyId": "output_kms_key",
    "roleArn": "role",
    "s3OutputPath": "output_uri",
    "trainingJobName": "job_name",
    "volumeKmsKeyId": "volume_kms_key",
}
"""Members of CreateTrainingJob → fields of a request."""


@dataclass(frozen=True)
class TrainingRequest:
    """The configuration of a training job.

    Raises
    ------
    DeployError
        Lists all invalid values.
    """

    role: str
    """ARN of the execution role."""
    channel_uri: str
    """s3:// folder with the train, validation and test manifests and their images."""
    output_uri: str
    """s3:// folder of the model; staged code and checkpoints are stored in the same bucket."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Options of the training script by name; None means the default."""
    instance_type: str = "ml.g5.xlarge"
    instance_count: int = 1
    processes_per_instance: int = 0
    """Training processes on each instance; 0 is one per GPU, or one without GPUs."""
    image: str = ""
    """Training container; AWS's container of `TRAINING_FRAMEWORK` for the region and instance type when not given."""
    job_name: str = "dicom-workflow"
    """At most 40 characters; a timestamp is appended."""
    max_runtime_seconds: int = 4 * 3600
    spot: bool = True
    """Use spot instances, which are cheaper and may be interrupted: training resumes from the last checkpoint."""
    max_wait_seconds: int = 0
    """With spot, limit of waiting and running together; 0 is twice `max_runtime_seconds`."""
    volume_gb: int = 50
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    """VPC of the job. It needs access to a package index (or a mirror) and to S3: the job installs ``requirements.txt`` first,
    so its network is not isolated."""
    volume_kms_key: str = ""
    """KMS key of the instances' volumes; instances with local disks (g5, p4d) encrypt them anyway and refuse a key."""
    output_kms_key: str = ""
    """KMS key of the model and the output in S3; the bucket's key when empty."""
    encrypt_traffic: bool = False
    """Encrypt traffic between instances; slower, and only gradients are exchanged."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the container, such as MLFLOW_TRACKING_URI. SageMaker's console shows them, so no secrets."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters, problems = checked(self.hyperparameters)
        object.__setattr__(self, "hyperparameters", parameters)
        problems += errors.limit_problems("CreateTrainingJob", self._limited(), _NAMES)
        problems += errors.folder("channel_uri", self.channel_uri) + errors.folder("output_uri", self.output_uri)
        problems += errors.image(self.image) if self.image else []
        problems += errors.network(self.subnets, self.security_group_ids)
        for what, lowest in (
            ("instance_count", 1),
            ("processes_per_instance", 0),
            ("max_runtime_seconds", 60),
            ("volume_gb", 1),
        ):
            problems += errors.at_least(what, getattr(self, what), lowest)
        if self.max_wait_seconds:
            problems += errors.at_least("max_wait_seconds", self.max_wait_seconds, self.max_runtime_seconds)
        errors.raise_all("training job", problems)

    def _limited(self) -> dict[str, Any]:
        """The values with limits, as a CreateTrainingJob request; the SDK appends a timestamp of 14 digits to the name."""
        output = {"KmsKeyId": self.output_kms_key} if self.output_kms_key else {}
        volume = {"VolumeKmsKeyId": self.volume_kms_key} if self.volume_kms_key else {}
        return {
            "TrainingJobName": f"{self.job_name}-{'0' * 14}",
            "RoleArn": self.role,
            "OutputDataConfig": {"S3OutputPath": self.output_uri, **output},
            "ResourceConfig": {"InstanceType": self.instance_type, **volume},
            "HyperParameters": {name: as_sent(value) for name, value in self.hyperparameters.items()},
            "Environment": dict(self.environment),
            "Tags": errors.tags(self.tags),
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> TrainingRequest:
        """Return the request of a JSON object or of notebook parameters.

        Raises
        ------
        DeployError
            A name is unknown, or a value is missing or invalid.
        """
        return cls(**errors.arguments_of(cls, values))

    @property
    def is_distributed(self) -> bool:
        """Whether ``torchrun`` starts the script, because there may be several processes; it counts the GPUs."""
        gpus = self.instance_type.startswith(("ml.g", "ml.p"))
        return self.instance_count > 1 or self.processes_per_instance > 1 or (gpus and not self.processes_per_instance)

    @property
    def longest_wait_seconds(self) -> int:
        """Limit of waiting and running together."""
        return self.max_wait_seconds or 2 * self.max_runtime_seconds


@dataclass(frozen=True)
class TrainingJob:
    """A training job that SageMaker accepted."""

    name: str
    arn: str
    model_uri: str
    """Packed model bundle, once the job is completed."""
    output_uri: str
    """Packed evaluation, history and predictions, once the job is completed."""
    checkpoint_uri: str


def submit_training(settings: Settings, request: TrainingRequest) -> TrainingJob:
    """Submit a training job and return it without waiting.

    Raises
    ------
    DeployError
        SageMaker refused the job.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), errors.aws_errors("training job"):
        warnings.simplefilter("ignore")  # the SDK's own deprecations are not this project's
        from sagemaker.core.helper.iam_role_resolver import RoleValidationError

        further = requirements(str(request.hyperparameters.get("tracking", "")))
        source = stage_source(Path(folder) / "source", requirements=further)
        try:
            trainer = _trainer(settings, request, source)
            trainer.train(wait=False, logs=False)
        except (RoleValidationError, ValueError) as error:
            raise DeployError(f"training job: {error}") from error
    job = trainer._latest_training_job
    output = f"{request.output_uri.rstrip('/')}/{job.training_job_name}/output"
    return TrainingJob(
        name=job.training_job_name,
        arn=job.training_job_arn,
        model_uri=f"{output}/model.tar.gz",
        output_uri=f"{output}/output.tar.gz",
        checkpoint_uri=trainer.checkpoint_config.s3_uri,
    )


def _trainer(settings: Settings, request: TrainingRequest, source: Path) -> Any:
    import boto3
    from sagemaker.core import image_uris
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.shapes import Tag
    from sagemaker.core.training.configs import (
        CheckpointConfig,
        Compute,
        InputData,
        MetricDefinition,
        Networking,
        OutputDataConfig,
        SourceCode,
        StoppingCondition,
    )
    from sagemaker.train import ModelTrainer
    from sagemaker.train.distributed import Torchrun

    framework, version = TRAINING_FRAMEWORK
    retrieve = partial(image_uris.retrieve, image_scope="training", instance_type=request.instance_type)
    bucket, prefix = s3_parts(request.output_uri)
    session = Session(
        boto_session=boto3.Session(region_name=settings.region),
        default_bucket=bucket,  # otherwise the SDK creates a bucket
        default_bucket_prefix=prefix.strip("/") or None,
        # An explicit configuration keeps the SDK from reading local files and from sending telemetry.
        sagemaker_config={"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}},
    )
    wait = {"max_wait_time_in_seconds": request.longest_wait_seconds} if request.spot else {}
    trainer = ModelTrainer(
        sagemaker_session=session,
        role=request.role,
        base_job_name=request.job_name,
        training_image=request.image or retrieve(framework, settings.region, version=version),
        source_code=SourceCode(source_dir=str(source), entry_script=SCRIPT.name, requirements="requirements.txt"),
        distributed=Torchrun(process_count_per_node=request.processes_per_instance or None) if request.is_distributed else None,
        compute=Compute(
            instance_type=request.instance_type,
            instance_count=request.instance_count,
            volume_size_in_gb=request.volume_gb,
            enable_managed_spot_training=request.spot,
            **({"volume_kms_key_id": request.volume_kms_key} if request.volume_kms_key else {}),
        ),
        networking=Networking(
            subnets=list(request.subnets) or None,
            security_group_ids=list(request.security_group_ids) or None,
            enable_network_isolation=False,  # requirements.txt is installed when the job starts
            enable_inter_container_traffic_encryption=request.encrypt_traffic,
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=request.max_runtime_seconds, **wait),
        output_data_config=OutputDataConfig(s3_output_path=request.output_uri, kms_key_id=request.output_kms_key or None),
        input_data_config=[InputData(channel_name="train", data_source=request.channel_uri.rstrip("/") + "/")],
        # Without an s3_uri the SDK uses one with the job's name, so that no job resumes from checkpoints of another.
        checkpoint_config=CheckpointConfig(local_path=_CHECKPOINTS),
        hyperparameters=dict(request.hyperparameters),
        environment=dict(request.environment),
        tags=[Tag(key=key, value=value) for key, value in sorted(request.tags.items())] or None,
    )
    return trainer.with_metric_definitions(
        [MetricDefinition(name=metric["Name"], regex=metric["Regex"]) for metric in METRIC_DEFINITIONS]
    )


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")  # argparse reads it as a value, not as a flag


def checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the hyperparameters that are not None, and an error for each invalid one."""
    problems = []
    parameters = {name: value for name, value in given.items() if value is not None}
    for name, value in parameters.items():
        if not _NAME.fullmatch(name):
            problems.append(f"hyperparameter {name!r}: expected a name of letters, digits and underscores")
        else:
            problems += [f"hyperparameter {name}: {problem}" for problem in _problem(value)]
    return parameters, problems


def _problem(value: Any) -> list[str]:
    if not isinstance(value, str | int | float | bool):
        return [f"expected a string, number or boolean, got {type(value).__name__}"]
    if "'" in str(value):
        return [f"expected no apostrophe, which SageMaker's start script cannot pass on, got {value!r}"]
    arrives = as_it_arrives(value)
    if isinstance(value, str) and arrives != value:
        return [f"expected a string that SageMaker's start script does not change, got {value!r}, which arrives as {arrives!r}"]
    if arrives.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(arrives):
        return [f"expected no leading hyphen, which would be read as a flag, got {arrives!r}"]
    return []


def as_sent(value: Any) -> str:
    """Return a hyperparameter as the SDK sends it: strings unchanged, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def as_it_arrives(value: Any) -> str:
    """Return a hyperparameter as the training script receives it: strings are parsed as JSON twice on the way."""
    return as_sent(_read(_read(as_sent(value))))


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
