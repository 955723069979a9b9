"""What leaves this machine: the two Lambda packages, the staged training source, a SageMaker training job.

Which modules travel is read from the code itself: everything of this package that an entry point imports, directly or not,
also inside functions. So a package holds what it needs and nothing else, and cannot be forgotten when an import is added.
"""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dicom_workflow
from dicom_workflow.answers import SCHEMA_FILE
from dicom_workflow.errors import DeployError
from dicom_workflow.learning.runner import METRIC_DEFINITIONS, SCRIPT
from dicom_workflow.settings import Settings
from dicom_workflow.storage import s3_parts

PACKAGE = Path(dicom_workflow.__file__).resolve().parent
LAMBDA_KINDS = ("pre_annotation", "post_annotation")
LAMBDA_HANDLER = "lambda_function.lambda_handler"
"""The handler name of both Lambda packages, which is also AWS's own default."""

TRAINING_FRAMEWORK = ("pytorch-amzn2023", "2.13")
"""AWS's training container with the torch that requirements.txt names."""

_CHECKPOINTS = "/opt/ml/checkpoints"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,39}")  # SageMaker allows 63; a time stamp is added
_PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def modules_of(entries: Iterable[Path]) -> tuple[Path, ...]:
    """Return the modules of this package that some files need, sorted, relative to the folder that holds the package.

    Imports inside functions and the ``__init__`` of each package on the way count too.
    """
    return _modules(name for entry in entries for name in _imports(entry))


def _modules(names: Iterable[str]) -> tuple[Path, ...]:
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        for path in _files_of(name):
            if path not in found:
                found.add(path)
                waiting += _imports(path)
    return tuple(sorted(path.relative_to(PACKAGE.parent) for path in found))


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == PACKAGE.name]


def _files_of(name: str) -> list[Path]:
    """The module of a dotted name and the ``__init__`` of the packages above it; a name inside a module gives nothing."""
    parts = name.split(".")[1:]
    files = [PACKAGE.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    if parts:
        files.append(PACKAGE.joinpath(*parts[:-1], f"{parts[-1]}.py"))
    return [path for path in files if path.is_file()]


def build_lambda_zip(kind: str) -> bytes:
    """Return the deployment package of one Lambda function: its modules of this package, the schema of answers and an entry.

    The same code gives the same bytes, so that a stack is only changed when the code was. Its handler is `LAMBDA_HANDLER`; the
    Python runtime of Lambda has all the rest (boto3 is needed to read S3, and is there).

    Parameters
    ----------
    kind : str
        One of `LAMBDA_KINDS`.
    """
    if kind not in LAMBDA_KINDS:
        raise DeployError(f"expected the kind of function as one of {', '.join(LAMBDA_KINDS)}, got {kind!r}.")
    handlers = f"{PACKAGE.name}.labeling.handlers"
    entry = f'from {handlers} import {kind} as lambda_handler\n\n__all__ = ["lambda_handler"]\n'
    files = {"lambda_function.py": entry.encode()}
    for path in (*_modules([handlers]), Path(PACKAGE.name, SCHEMA_FILE)):
        files[path.as_posix()] = (PACKAGE.parent / path).read_bytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16  # without it Lambda cannot read the file
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return stream.getvalue()


def stage_source(folder: str | Path) -> Path:
    """Fill an empty folder with what a training container runs, and return it.

    It holds the files of ``source/`` and, beside them, the modules of this package that they need: SageMaker's SDK sends one
    folder and has no place for further packages.

    Raises
    ------
    DeployError
        The folder is not empty, or there is no ``source/`` beside the package.
    """
    target = Path(folder)
    source = SCRIPT.parent
    if not SCRIPT.is_file():
        raise DeployError(f"expected the training script at {SCRIPT}, found none. Run from a checkout of the project.")
    if target.exists() and any(target.iterdir()):
        raise DeployError(f"expected an empty folder to stage into, got {target} with files in it.")
    target.mkdir(parents=True, exist_ok=True)
    entries = sorted(source.glob("*.py"))
    for path in (*entries, source / "requirements.txt"):
        shutil.copyfile(path, target / path.name)
    for module in modules_of(entries):
        (target / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE.parent / module, target / module)
    return target


@dataclass(frozen=True)
class TrainingJob:
    """A training job that SageMaker accepted."""

    name: str
    arn: str
    model_uri: str
    """Where the packed model bundle will be when the job is completed."""
    checkpoint_uri: str


def submit_training(
    settings: Settings,
    *,
    role: str,
    channel_uri: str,
    output_uri: str,
    hyperparameters: Mapping[str, Any] | None = None,
    instance_type: str = "ml.g5.xlarge",
    image: str = "",
    job_name: str = "dicom-workflow",
    max_runtime_seconds: int = 4 * 3600,
    spot: bool = True,
    volume_gb: int = 50,
    tags: Mapping[str, str] | None = None,
) -> TrainingJob:
    """Send the training script to SageMaker as a training job and return it without waiting.

    Parameters
    ----------
    role : str
        ARN of the execution role.
    channel_uri : str
        s3:// folder with the train, validation and test manifests and the images they name.
    output_uri : str
        s3:// folder for the model; staged code and checkpoints go into the same bucket.
    hyperparameters : mapping, optional
        Settings of the training script by name; None means its default.
    image : str, optional
        Training container; `TRAINING_FRAMEWORK` for the region and the kind of instance when not given.
    job_name : str
        At most 40 characters; a time stamp is added.
    spot : bool
        Use spare capacity, which costs less and may be taken away: the script goes on from its last checkpoint.

    Raises
    ------
    DeployError
        A parameter cannot be used, or SageMaker refused the job.
    """
    parameters = _hyperparameters(hyperparameters or {})
    for what, uri in (("channel_uri", channel_uri), ("output_uri", output_uri)):
        if not uri.startswith("s3://"):
            raise DeployError(f"{what}: expected an s3:// folder, got {uri!r}. SageMaker reads and writes S3 only.")
    if not _JOB_NAME.fullmatch(job_name):
        raise DeployError(f"job_name: expected at most 40 letters, digits and inner hyphens, got {job_name!r}.")
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", role):
        raise DeployError(f"role: expected an ARN like arn:aws:iam::111122223333:role/training, got {role!r}.")
    from botocore.exceptions import BotoCoreError, ClientError

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own deprecations are not this project's
        from sagemaker.core.helper.iam_role_resolver import RoleValidationError

        source = stage_source(Path(folder) / "source")
        try:
            trainer = _trainer(
                settings,
                source=source,
                role=role,
                channel_uri=channel_uri.rstrip("/") + "/",
                output_uri=output_uri,
                parameters=parameters,
                instance_type=instance_type,
                image=image,
                job_name=job_name,
                max_runtime_seconds=max_runtime_seconds,
                spot=spot,
                volume_gb=volume_gb,
                tags=tags or {},
            )
            trainer.train(wait=False, logs=False)
        except ClientError as error:
            detail = error.response.get("Error", {})
            raise DeployError(f"training job: AWS answered {detail.get('Code')}: {detail.get('Message')}") from error
        except (BotoCoreError, RoleValidationError, ValueError) as error:
            raise DeployError(f"training job: {error}") from error
    job = trainer._latest_training_job
    return TrainingJob(
        name=job.training_job_name,
        arn=job.training_job_arn,
        model_uri=f"{output_uri.rstrip('/')}/{job.training_job_name}/output/model.tar.gz",
        checkpoint_uri=trainer.checkpoint_config.s3_uri,
    )


def _trainer(
    settings: Settings,
    *,
    source: Path,
    role: str,
    channel_uri: str,
    output_uri: str,
    parameters: dict[str, Any],
    instance_type: str,
    image: str,
    job_name: str,
    max_runtime_seconds: int,
    spot: bool,
    volume_gb: int,
    tags: Mapping[str, str],
) -> Any:
    import boto3
    from sagemaker.core import image_uris
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.shapes import Tag
    from sagemaker.core.training.configs import (
        CheckpointConfig,
        Compute,
        InputData,
        MetricDefinition,
        OutputDataConfig,
        SourceCode,
        StoppingCondition,
    )
    from sagemaker.train import ModelTrainer

    framework, version = TRAINING_FRAMEWORK
    retrieve = partial(image_uris.retrieve, image_scope="training")
    bucket, prefix = s3_parts(output_uri)
    session = Session(
        boto_session=boto3.Session(region_name=settings.region),
        default_bucket=bucket,  # else the SDK makes a bucket of its own
        default_bucket_prefix=prefix.strip("/") or None,
        # A configuration given here keeps the SDK from reading one of the machine's, and from reporting usage home.
        sagemaker_config={"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}},
    )
    longest = {"max_wait_time_in_seconds": 2 * max_runtime_seconds} if spot else {}
    trainer = ModelTrainer(
        sagemaker_session=session,
        role=role,
        base_job_name=job_name,
        training_image=image or retrieve(framework, settings.region, version=version, instance_type=instance_type),
        source_code=SourceCode(source_dir=str(source), entry_script=SCRIPT.name, requirements="requirements.txt"),
        compute=Compute(
            instance_type=instance_type, instance_count=1, volume_size_in_gb=volume_gb, enable_managed_spot_training=spot
        ),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=max_runtime_seconds, **longest),
        output_data_config=OutputDataConfig(s3_output_path=output_uri),
        input_data_config=[InputData(channel_name="train", data_source=channel_uri)],
        # Without an s3_uri the SDK takes one with the job's own name, so that no job goes on from another's checkpoints.
        checkpoint_config=CheckpointConfig(local_path=_CHECKPOINTS),
        hyperparameters=parameters,
        tags=[Tag(key=key, value=value) for key, value in sorted(tags.items())] or None,
    )
    return trainer.with_metric_definitions(
        [MetricDefinition(name=metric["Name"], regex=metric["Regex"]) for metric in METRIC_DEFINITIONS]
    )


def _hyperparameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can reach the script, or an error that lists all that cannot.

    The SDK's start script writes them between apostrophes into a shell file: one apostrophe inside and the job dies.
    """
    problems = []
    parameters = {name: value for name, value in given.items() if value is not None}
    if len(parameters) > 100:
        problems.append(f"expected at most 100, got {len(parameters)}")
    for name, value in parameters.items():
        if not _PARAMETER_NAME.fullmatch(name):
            problems.append(f"{name!r}: expected a name of letters, digits and underscores")
        if not isinstance(value, str | int | float | bool):
            problems.append(f"{name}: expected a text, number or boolean, got {type(value).__name__}")
        elif "'" in str(value):
            problems.append(f"{name}: expected no apostrophe, which SageMaker's start script cannot carry, got {value!r}")
        elif len(value if isinstance(value, str) else json.dumps(value)) > 2500:
            problems.append(f"{name}: expected at most 2500 characters")
    if problems:
        raise DeployError("hyperparameters: " + "; ".join(problems) + ".")
    return parameters
