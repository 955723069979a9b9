"""A SageMaker training job of the training script, asked for through SDK 3 of SageMaker."""

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
"""AWS's training container with the torch that requirements.txt names."""

_CHECKPOINTS = "/opt/ml/checkpoints"


@dataclass(frozen=True)
class TrainingRequest:
    """A training job as it is wanted; one that SageMaker could not run is no `TrainingRequest`.

    Raises
    ------
    DeployError
        Lists everything that cannot be used.
    """

    role: str
    """ARN of the execution role."""
    channel_uri: str
    """s3:// folder with the train, validation and test manifests and the images they name."""
    output_uri: str
    """s3:// folder for the model; staged code and checkpoints go into the same bucket."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the training script by name; None means its default."""
    instance_type: str = "ml.g5.xlarge"
    instance_count: int = 1
    processes_per_instance: int = 0
    """Training processes on each machine; 0 is one per GPU, and one where there is none."""
    image: str = ""
    """Training container; `TRAINING_FRAMEWORK` for the region and the kind of instance when not given."""
    job_name: str = "dicom-workflow"
    """At most 40 characters; a time stamp is added."""
    max_runtime_seconds: int = 4 * 3600
    spot: bool = True
    """Use spare capacity, which costs less and may be taken away: the script goes on from its last checkpoint."""
    max_wait_seconds: int = 0
    """With spot, for waiting and running together; 0 is twice `max_runtime_seconds`."""
    volume_gb: int = 50
    subnets: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    """Of a VPC that the job shall run in. It needs a way to a package index (or a mirror) and to S3: the job begins by
    installing ``requirements.txt``, which is why its network is not isolated."""
    volume_kms_key: str = ""
    """Key for the machines' volumes; those with disks of their own (g5, p4d) encrypt these by themselves and refuse a key."""
    output_kms_key: str = ""
    """Key for the model and the output in S3; empty means that of the bucket."""
    encrypt_traffic: bool = False
    """Encrypt what several machines tell each other; slower, and only gradients of images are told."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the container, such as MLFLOW_TRACKING_URI. They can be read in SageMaker's console: no secrets."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters, problems = checked(self.hyperparameters)
        object.__setattr__(self, "hyperparameters", parameters)
        problems += errors.role(self.role)
        problems += errors.folder("channel_uri", self.channel_uri) + errors.folder("output_uri", self.output_uri)
        problems += errors.name("job_name", self.job_name)
        problems += errors.instance(self.instance_type, self.instance_count)
        problems += errors.image(self.image) if self.image else []
        problems += errors.network(self.subnets, self.security_group_ids)
        for what, lowest in (("processes_per_instance", 0), ("max_runtime_seconds", 60), ("volume_gb", 1)):
            problems += errors.at_least(what, getattr(self, what), lowest)
        if self.max_wait_seconds:
            problems += errors.at_least("max_wait_seconds", self.max_wait_seconds, self.max_runtime_seconds)
        problems += [
            f"environment {name}: expected at most 512 characters" for name, text in self.environment.items() if len(text) > 512
        ]
        errors.raise_all("training job", problems)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> TrainingRequest:
        """Return the request of a JSON object or of a notebook's parameters; a name that is no field is refused."""
        return cls(**errors.arguments_of(cls, values))

    @property
    def is_distributed(self) -> bool:
        """Whether ``torchrun`` starts the script: where there may be several processes. How many GPUs there are, it counts."""
        gpus = self.instance_type.startswith(("ml.g", "ml.p"))
        return self.instance_count > 1 or self.processes_per_instance > 1 or (gpus and not self.processes_per_instance)

    @property
    def longest_wait_seconds(self) -> int:
        """For waiting and running together."""
        return self.max_wait_seconds or 2 * self.max_runtime_seconds


@dataclass(frozen=True)
class TrainingJob:
    """A training job that SageMaker accepted."""

    name: str
    arn: str
    model_uri: str
    """Where the packed model bundle will be when the job is completed."""
    output_uri: str
    """Where the packed evaluation, history and predictions will be."""
    checkpoint_uri: str


def submit_training(settings: Settings, request: TrainingRequest) -> TrainingJob:
    """Send the training script to SageMaker as a training job and return it without waiting.

    Raises
    ------
    DeployError
        SageMaker refused the job.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), errors.answers_of_aws("training job"):
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
        default_bucket=bucket,  # else the SDK makes a bucket of its own
        default_bucket_prefix=prefix.strip("/") or None,
        # A configuration given here keeps the SDK from reading one of the machine's, and from reporting usage home.
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
            enable_network_isolation=False,  # requirements.txt is installed when the job begins
            enable_inter_container_traffic_encryption=request.encrypt_traffic,
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=request.max_runtime_seconds, **wait),
        output_data_config=OutputDataConfig(s3_output_path=request.output_uri, kms_key_id=request.output_kms_key or None),
        input_data_config=[InputData(channel_name="train", data_source=request.channel_uri.rstrip("/") + "/")],
        # Without an s3_uri the SDK takes one with the job's own name, so that no job goes on from another's checkpoints.
        checkpoint_config=CheckpointConfig(local_path=_CHECKPOINTS),
        hyperparameters=dict(request.hyperparameters),
        environment=dict(request.environment),
        tags=[Tag(key=key, value=value) for key, value in sorted(request.tags.items())] or None,
    )
    return trainer.with_metric_definitions(
        [MetricDefinition(name=metric["Name"], regex=metric["Regex"]) for metric in METRIC_DEFINITIONS]
    )


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")  # what argparse takes for a value and not for a flag


def checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that are given, without those that are None, and what is wrong with them."""
    problems = []
    parameters = {name: value for name, value in given.items() if value is not None}
    if len(parameters) > 100:
        problems.append(f"hyperparameters: expected at most 100, got {len(parameters)}")
    for name, value in parameters.items():
        if not _NAME.fullmatch(name):
            problems.append(f"hyperparameter {name!r}: expected a name of letters, digits and underscores")
        else:
            problems += [f"hyperparameter {name}: {problem}" for problem in _problem(value)]
    return parameters, problems


def _problem(value: Any) -> list[str]:
    if not isinstance(value, str | int | float | bool):
        return [f"expected a text, number or boolean, got {type(value).__name__}"]
    if "'" in str(value):
        return [f"expected no apostrophe, which SageMaker's start script cannot carry, got {value!r}"]
    if len(as_sent(value)) > 2500:
        return ["expected at most 2500 characters"]
    arrives = as_it_arrives(value)
    if isinstance(value, str) and arrives != value:
        return [f"expected a text that SageMaker's start script leaves alone, got {value!r}, which arrives as {arrives!r}"]
    if arrives.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(arrives):
        return [f"expected no hyphen at the beginning, where it would be read as a flag, got {arrives!r}"]
    return []


def as_sent(value: Any) -> str:
    """Return a hyperparameter as the SDK sends it: texts as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def as_it_arrives(value: Any) -> str:
    """Return a hyperparameter as the training script gets it: twice on the way a text that is JSON is read as JSON."""
    return as_sent(_read(_read(as_sent(value))))


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
