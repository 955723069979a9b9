"""Training: the channel with the images and their manifest, then a run on this machine or as a SageMaker training job.

A channel is one folder with everything that a training run reads, as SageMaker would mount it. Both places run
`source/monai_dicom.py` on it and leave the same files.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow.archive.download import retrieve
from dicom_workflow.archive.protocol import Archive
from dicom_workflow.aws.errors import aws_errors, is_temporary
from dicom_workflow.aws.training_jobs import TrainingRequest, submit_training
from dicom_workflow.errors import DeployError, LearningError, SettingsError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.instances import Instance, instances_by_source
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.learning.evaluation.report import Evaluation, Figures
from dicom_workflow.learning.model import bundle_archive
from dicom_workflow.learning.training.script_run import run_training
from dicom_workflow.pipeline import records
from dicom_workflow.pipeline.records import Record
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, join, to_uri

PLACES = ("local", "sagemaker")
OnLine = Callable[[str], None]
OnEpoch = Callable[[dict[str, Any]], None]
MANIFEST_NAME = "train.manifest"


@dataclass(frozen=True)
class Staged:
    """A channel that was staged, and the images that it lacks."""

    folder: Path
    images: int
    refused: Mapping[str, str]
    """Source → why its image could not be had."""


def stage(
    training_manifest_uri: str,
    instances: Iterable[Instance],
    archive: Archive,
    folder: Path,
    *,
    storage: Storage | None = None,
    progress: bool = True,
) -> Staged:
    """Copy the images of an augmented manifest out of the archive and write the manifest beside them.

    Images that are already there with the right MD5 are not fetched again. A line whose image cannot be had is left out and
    named; the rest goes on.

    Parameters
    ----------
    training_manifest_uri : str
        Augmented manifest; every line has an ``image``.
    instances : iterable of Instance
        What the archive holds; the lines point at some of them.
    archive : Archive
    folder : Path
        Where the channel is made: ``train.manifest`` and ``images/<SOP Instance UID>.dcm``.

    Raises
    ------
    LearningError
        Not one image could be had.
    """
    by_source = instances_by_source(instances)
    lines = [line.data for line in manifests.read(training_manifest_uri, storage=storage, limits=False)]
    sources = [source_of(line) for line in lines]
    held = [by_source[source] for source in sources if source in by_source]
    report = retrieve(held, archive, folder / "images", progress=progress)
    refused = {source: "not among the archive's instances" for source in sources if source not in by_source}
    refused |= {
        source: report.refused[by_source[source].sop_instance_uid]
        for source in sources
        if source in by_source and by_source[source].sop_instance_uid in report.refused
    }
    staged = [line for source, line in zip(sources, lines, strict=True) if source not in refused]
    if not staged:
        reasons = sorted(set(refused.values()))[:3]
        raise LearningError(f"{training_manifest_uri}: not one image of {len(lines)} lines was fetched: {'; '.join(reasons)}")
    manifests.write(to_uri(folder / MANIFEST_NAME), staged, limits=False)
    return Staged(folder, len(staged), refused)


@dataclass(frozen=True)
class Trained:
    """What a training run left, wherever it ran."""

    model_uri: str
    """The model bundle: a folder on this machine, ``model.tar.gz`` from SageMaker."""
    evaluation: Evaluation | None = None
    """``evaluation.json``; None when no image was left to measure on."""
    history: tuple[Mapping[str, Any], ...] = ()

    def metrics(self) -> dict[str, Any]:
        """Return the headline figures for a record."""
        found = self.evaluation
        figures = found.figures if found else Figures(0, 0, {})
        return {
            "macro_auroc": _rounded(figures.macro_auroc),
            "macro_auroc_interval": [_rounded(value) for value in figures.macro_auroc_interval or ()],
            "auroc": {label: _rounded(values.auroc) for label, values in figures.labels.items()},
            "auroc_against": found.measured_against if found else "",
            "measured_on": found.split if found else "",
            "measured_images": figures.images,
            "best_epoch": found.best_epoch if found else None,
            "epochs": len(self.history),
            "images_left_out": found.left_out if found else 0,
            **({"labels_not_predicted": ", ".join(found.untaught)} if found and found.untaught else {}),
        }


def train(
    settings: Settings,
    channel: Path,
    folder: Path,
    *,
    train_on: str = "local",
    on_epoch: OnEpoch | None = None,
    on_line: OnLine | None = None,
    flags: Mapping[str, Any] | None = None,
    role_arn: str = "",
    instance_type: str = "ml.g5.xlarge",
    channel_uri: str = "",
    model_uri: str = "",
    job: Mapping[str, Any] | None = None,
    poll_seconds: float = 30.0,
) -> Trained:
    """Train on a channel and return what came out.

    Parameters
    ----------
    settings : Settings
    channel : Path
        Folder that `stage` made.
    folder : Path
        For everything the run leaves on this machine.
    train_on : {'local', 'sagemaker'}
    on_epoch : callable, optional
        Called with each epoch's figures; on SageMaker with all of them at the end.
    on_line : callable, optional
        Called with each line that the script prints on this machine, and with where the job stands on SageMaker.
    flags : mapping
        Settings of the training script, by name.
    role_arn, instance_type, channel_uri, model_uri : str
        For SageMaker: the execution role, the machine, and the s3:// folders for the channel and for the model.
    job : mapping, optional
        For SageMaker: further fields of `TrainingRequest`, such as ``{"instance_count": 2, "spot": False}``.

    Raises
    ------
    LearningError
        The training failed; the message has the end of its log, or the job's own reason.
    DeployError
        The job could not run as it is asked for, or SageMaker refused it. Nothing was sent yet, or the channel only.
    SettingsError
        `train_on` is neither of the two.
    """
    if train_on not in PLACES:
        raise SettingsError(f"train_on: expected one of {', '.join(PLACES)}, got {train_on!r}.")
    if train_on == "local":
        result = run_training(channel, folder, on_epoch=on_epoch, on_line=on_line, **dict(flags or {}))
        return Trained(to_uri(result.model_dir), result.evaluation, result.history)
    request = TrainingRequest.parse(
        {
            "role": role_arn,
            "channel_uri": channel_uri,
            "output_uri": model_uri,
            "hyperparameters": dict(flags or {}),
            "instance_type": instance_type,
            **(job or {}),
        }
    )
    storage = Storage(settings)
    upload_channel(channel, request.channel_uri, storage)
    submitted = submit_training(settings, request)
    if on_line:
        on_line(f"training job {submitted.name}; checkpoints in {submitted.checkpoint_uri}")
    wait(settings, submitted.name, poll_seconds=poll_seconds)
    evaluation, history = read_output(submitted.output_uri, storage)
    for line in history:
        if on_epoch:
            on_epoch(line)
    return Trained(submitted.model_uri, evaluation, tuple(history))


def upload_channel(channel: Path, channel_uri: str, storage: Storage) -> int:
    """Copy a channel to object storage and return the number of files.

    The manifest goes last, so that a channel with a manifest is complete. Files that are there already are sent again.

    Parameters
    ----------
    channel : Path
        Folder that `stage` made.
    channel_uri : str
        An s3:// folder.
    storage : Storage

    Raises
    ------
    SettingsError
        The URI is not of S3, or the channel links to a file outside it; nothing was sent.
    """
    from tqdm.auto import tqdm

    if not channel_uri.startswith("s3://"):
        raise SettingsError(f"channel_uri: expected an s3:// folder, got {channel_uri!r}. SageMaker reads S3 only.")
    whole = channel.resolve()
    strange = [path for path in channel.rglob("*") if path.is_file() and not path.resolve().is_relative_to(whole)]
    if strange:
        raise SettingsError(
            f"{strange[0]} links to a file outside the channel ({len(strange)} such links). Nothing was sent. Put a copy of "
            "the file in its place."
        )
    paths = sorted((path for path in channel.rglob("*") if path.is_file()), key=lambda path: (path.suffix == ".manifest", path))
    for path in tqdm(paths, desc="uploading the channel", unit="file"):
        uri = join(channel_uri, path.relative_to(channel).as_posix())
        with path.open("rb") as source, storage.writer(uri) as target:
            shutil.copyfileobj(source, target)
    return len(paths)


def wait(settings: Settings, job_name: str, *, poll_seconds: float = 30.0, unavailable_seconds: float = 600.0) -> None:
    """Return when a SageMaker training job is completed.

    Parameters
    ----------
    settings : Settings
        `region` is the job's.
    job_name : str
    poll_seconds : float
        Time between two status requests.
    unavailable_seconds : float
        How long status requests may be throttled or unanswered before that is an error.

    Raises
    ------
    LearningError
        It failed or was stopped; the message has SageMaker's reason.
    DeployError
        AWS refused a status request, or did not answer for `unavailable_seconds`. The job goes on.
    """
    import boto3

    client = boto3.client("sagemaker", region_name=settings.region)
    answered_at = time.monotonic()
    while True:
        try:
            with aws_errors(f"status of training job {job_name}, which goes on"):
                answer = client.describe_training_job(TrainingJobName=job_name)
            answered_at = time.monotonic()
        except DeployError as error:
            if not is_temporary(error.__cause__) or time.monotonic() - answered_at > unavailable_seconds:
                raise
            answer = {}
        status = answer.get("TrainingJobStatus")
        if status == "Completed":
            return
        if status in ("Failed", "Stopped"):
            raise LearningError(f"training job {job_name} {status.lower()}: {answer.get('FailureReason', 'no reason given')}")
        time.sleep(poll_seconds)


def read_output(uri: str, storage: Storage) -> tuple[Evaluation | None, list[dict[str, Any]]]:
    """Return ``evaluation.json`` and ``history.jsonl`` out of the output archive of a training job.

    Raises
    ------
    LearningError
        It is no such archive, or what is in it is too large or no JSON.
    """
    with tempfile.TemporaryDirectory(prefix="output-") as scratch:
        found = bundle_archive.take_output(uri, ("evaluation.json", "history.jsonl"), Path(scratch), storage=storage)
        texts = {name: (Path(scratch) / name).read_bytes() for name in found}
    try:
        text = texts.get("evaluation.json")
        evaluation = Evaluation.parse(json.loads(text), f"{uri}: evaluation.json") if text else None
        return evaluation, [json.loads(line) for line in texts.get("history.jsonl", b"").decode("utf-8").splitlines()]
    except (RecursionError, ValueError) as error:
        raise LearningError(f"{uri} is not the output.tar.gz of a training job: {str(error)[:200]}.") from None


def record(result: Trained, staged: Staged, folder: Path, training_manifest_uri: str, instances_uri: str) -> Record:
    """Return the record of a training run, for `records.keep`.

    Parameters
    ----------
    result : Trained
    staged : Staged
        The channel that it was trained on.
    folder : Path
        Of the run, with ``channel/`` and, on this machine, everything it left.
    training_manifest_uri, instances_uri : str
        What the channel was made of.
    """
    metrics = {"images": staged.images, "images_refused": len(staged.refused), **result.metrics()}
    inputs = {"training_manifest": training_manifest_uri, "instances": instances_uri}
    return Record(records.TRAIN, result.model_uri, metrics, inputs, {"output": to_uri(folder)})


def _rounded(value: Any) -> float | None:
    return round(float(value), 4) if value is not None else None
