"""A labeling job: checked, created, watched and stopped through boto3, on AWS or on the self-hosted labeling service.

The endpoint alone decides which of the two it is (`client`); every call below is the same for both. boto3 itself checks only
required members, types and minimums, so `LabelingJob.problems` holds a job to the other limits before anything is sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.errors import JobParametersError, LabelingError, ServiceError
from dicom_workflow.labeling.client import client, is_aws, service_errors
from dicom_workflow.labeling.templates import TEMPLATE_LIMIT_CHARACTERS
from dicom_workflow.storage import Storage

__all__ = ["FINISHED", "JobState", "LabelingJob", "client", "create", "describe", "stop", "wait"]

FINISHED = ("Completed", "Failed", "Stopped")

NAME_PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_KEYWORD = re.compile(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*")
_ARNS = {
    "role_arn": re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"),
    "workteam_arn": re.compile(r"arn:aws[a-z-]*:sagemaker:([a-z0-9-]*):\d{12}:workteam/.+"),
    "pre_annotation_arn": re.compile(r"arn:aws[a-z-]*:lambda:([a-z0-9-]*):\d{12}:function:.+"),
    "post_annotation_arn": re.compile(r"arn:aws[a-z-]*:lambda:([a-z0-9-]*):\d{12}:function:.+"),
}
_URIS = ("manifest_uri", "output_uri", "template_uri", "label_categories_uri")
_OPTIONAL = ("pre_annotation_arn", "post_annotation_arn", "label_categories_uri")
_NUMBERS = {
    "workers_per_object": (1, 9),
    "task_time_limit_seconds": (30, 28_800),
    "task_availability_seconds": (60, 2_592_000),
    "max_concurrent_tasks": (1, 5000),
    "max_percentage_labeled": (1, 100),
}
_LENGTHS = {"name": (1, 63), "label_attribute": (1, 127), "title": (1, 128), "description": (1, 255)}


@dataclass(frozen=True)
class LabelingJob:
    """What CreateLabelingJob is asked for: a custom job for a private work team.

    Lengths are characters, times seconds. The limits stand in `problems`.
    """

    name: str
    """Unique in its account and region, also when only case differs."""
    manifest_uri: str
    output_uri: str
    """Folder; the job writes below ``<output_uri>/<name>/``."""
    template_uri: str
    workteam_arn: str
    role_arn: str
    pre_annotation_arn: str = ""
    """Function that makes the task input; without one a template sees the manifest line."""
    post_annotation_arn: str = ""
    """Function that consolidates; without one the label of each object is an empty JSON object."""
    label_attribute: str = "findings"
    """Key of the label in the output manifest."""
    title: str = "Read radiographs"
    description: str = "Say for each label whether the radiograph shows it, and mark where."
    keywords: tuple[str, ...] = ()
    workers_per_object: int = 3
    task_time_limit_seconds: int = 1800
    task_availability_seconds: int = 864_000
    max_concurrent_tasks: int = 1000
    """Objects, not tasks, offered at a time: a whole batch waits for its slowest object."""
    max_percentage_labeled: int = 100
    label_categories_uri: str = ""
    """JSON object with the label list; only with it the post-annotation function learns the list."""
    kms_key_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def problems(self, *, region: str = "", aws: bool = True) -> list[str]:
        """Return every limit of CreateLabelingJob that the job breaks, in words; empty when there is none.

        Parameters
        ----------
        region : str, optional
            Region the job is created in; the ARNs must be of the same one.
        aws : bool
            On AWS objects are on S3; the self-hosted service also takes ``file://``.
        """
        return [
            *self._name_problems(),
            *self._size_problems(),
            *self._uri_problems(("s3://",) if aws else ("s3://", "file://")),
            *self._arn_problems(region),
        ]

    def _name_problems(self) -> Iterator[str]:
        for what in ("name", "label_attribute"):
            if not NAME_PATTERN.fullmatch(str(getattr(self, what))):
                yield f"{what}: expected letters, digits and single inner hyphens, got {getattr(self, what)!r}"
        if self.label_attribute in ("source", "source-ref"):
            yield f"label_attribute: {self.label_attribute!r} is the manifest's own key"
        for ending in ("-metadata", "-ref"):
            if self.label_attribute.endswith(ending) and self.label_attribute != "source-ref":
                yield f"label_attribute: must not end in {ending!r}, got {self.label_attribute!r}"
        if len(self.keywords) > 5:
            yield f"keywords: expected at most 5, got {len(self.keywords)}"
        for word in self.keywords:
            if len(word) > 30 or not _KEYWORD.fullmatch(word):
                yield f"keywords: expected at most 30 letters and digits with single spaces, got {word!r}"

    def _size_problems(self) -> Iterator[str]:
        for what, (least, most) in _LENGTHS.items():
            length = len(getattr(self, what))
            if not least <= length <= most:
                yield f"{what}: expected {least} to {most} characters, got {length}"
        for what, (least, most) in _NUMBERS.items():
            number = getattr(self, what)
            if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
                yield f"{what}: expected a whole number from {least} to {most}, got {number!r}"
        if "\n" in self.description:
            yield "description: expected one line"
        if len(self.tags) > 50:
            yield f"tags: expected at most 50, got {len(self.tags)}"
        for key, value in self.tags.items():
            if not 1 <= len(key) <= 128 or len(value) > 256:
                yield f"tags: expected a key of 1 to 128 and a value of at most 256 characters, got {key[:40]!r}"

    def _uri_problems(self, schemes: tuple[str, ...]) -> Iterator[str]:
        for what in _URIS:
            uri = getattr(self, what)
            if not uri and what in _OPTIONAL:
                continue
            if not uri.startswith(schemes) or len(uri.partition("://")[2]) < 2:
                yield f"{what}: expected a URI with {' or '.join(schemes)}, got {uri!r}"
            if len(uri) > 1024:
                yield f"{what}: expected at most 1024 characters, got {len(uri)}"
        if not self.template_uri.endswith((".html", ".liquid")):
            yield f"template_uri: expected a name ending in .html or .liquid, got {self.template_uri!r}"

    def _arn_problems(self, region: str) -> Iterator[str]:
        for what, pattern in _ARNS.items():
            arn = getattr(self, what)
            if not arn and what in _OPTIONAL:
                continue
            found = pattern.fullmatch(arn)
            if not found:
                yield f"{what}: expected an ARN like {_example(what)}, got {arn!r}"
            elif region and found.groups() and found[1] != region:
                yield f"{what}: expected one of region {region}, where the job is created, got {found[1]}"

    def to_request(self) -> dict[str, Any]:
        """Return the keyword arguments of boto3's ``create_labeling_job``."""
        task: dict[str, Any] = {
            "WorkteamArn": self.workteam_arn,
            "UiConfig": {"UiTemplateS3Uri": self.template_uri},
            "TaskTitle": self.title,
            "TaskDescription": self.description,
            "NumberOfHumanWorkersPerDataObject": self.workers_per_object,
            "TaskTimeLimitInSeconds": self.task_time_limit_seconds,
            "TaskAvailabilityLifetimeInSeconds": self.task_availability_seconds,
            "MaxConcurrentTaskCount": self.max_concurrent_tasks,
        }
        if self.pre_annotation_arn:
            task["PreHumanTaskLambdaArn"] = self.pre_annotation_arn
        if self.post_annotation_arn:
            task["AnnotationConsolidationConfig"] = {"AnnotationConsolidationLambdaArn": self.post_annotation_arn}
        if self.keywords:
            task["TaskKeywords"] = list(self.keywords)
        request: dict[str, Any] = {
            "LabelingJobName": self.name,
            "LabelAttributeName": self.label_attribute,
            "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": self.manifest_uri}}},
            "OutputConfig": {"S3OutputPath": self.output_uri.rstrip("/") + "/"},
            "RoleArn": self.role_arn,
            "StoppingConditions": {"MaxPercentageOfInputDatasetLabeled": self.max_percentage_labeled},
            "HumanTaskConfig": task,
        }
        if self.kms_key_id:
            request["OutputConfig"]["KmsKeyId"] = self.kms_key_id
        if self.label_categories_uri:
            request["LabelCategoryConfigS3Uri"] = self.label_categories_uri
        if self.tags:
            request["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(self.tags.items())]
        return request


@dataclass(frozen=True)
class JobState:
    """What DescribeLabelingJob says."""

    name: str
    status: str
    """Initializing, InProgress, Completed, Failed, Stopping or Stopped."""
    labeled: int = 0
    human_labeled: int = 0
    failed: int = 0
    """Objects that will not be labeled: expired, refused or lost by the consolidation."""
    unlabeled: int = 0
    failure_reason: str = ""
    output_manifest_uri: str = ""
    arn: str = ""

    @classmethod
    def parse(cls, response: Mapping[str, Any]) -> JobState:
        """Return the state of one DescribeLabelingJob response."""
        counters = response.get("LabelCounters", {})
        name = str(response.get("LabelingJobName", ""))
        folder = str(response.get("OutputConfig", {}).get("S3OutputPath", "")).rstrip("/")
        output = response.get("LabelingJobOutput", {}).get("OutputDatasetS3Uri")
        return cls(
            name=name,
            status=str(response.get("LabelingJobStatus", "")),
            labeled=counters.get("TotalLabeled", 0),
            human_labeled=counters.get("HumanLabeled", 0),
            failed=counters.get("FailedNonRetryableError", 0),
            unlabeled=counters.get("Unlabeled", 0),
            failure_reason=str(response.get("FailureReason", "")),
            output_manifest_uri=str(output or f"{folder}/{name}/manifests/output/output.manifest"),
            arn=str(response.get("LabelingJobArn", "")),
        )

    @property
    def total(self) -> int:
        """Objects of the job."""
        return self.labeled + self.failed + self.unlabeled

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in FINISHED


def create(sagemaker: Any, job: LabelingJob, *, storage: Storage | None = None) -> str:
    """Create a labeling job and return its ARN.

    Parameters
    ----------
    sagemaker : boto3 client
        As `client` makes it.
    storage : Storage, optional
        When given, the manifest and the template are looked at first: there, not empty, not too long.

    Raises
    ------
    JobParametersError
        One or more limits are broken (all are listed), or the name is taken.
    LabelingError
        The service refused for another reason.
    ServiceError
        Nothing answers.
    """
    aws = is_aws(sagemaker)
    problems = job.problems(region=sagemaker.meta.region_name, aws=aws)
    if storage is not None and not problems:
        problems = list(_object_problems(job, storage))
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise JobParametersError(f"The labeling job {job.name!r} breaks {len(problems)} limits of CreateLabelingJob:{listed}")
    with service_errors(sagemaker, f"labeling job {job.name!r}"):
        return str(sagemaker.create_labeling_job(**job.to_request())["LabelingJobArn"])


def _object_problems(job: LabelingJob, storage: Storage) -> Iterator[str]:
    if not storage.exists(job.manifest_uri):
        yield f"manifest_uri: there is no object at {job.manifest_uri}"
    else:
        with storage.open(job.manifest_uri) as stream:
            if not stream.read(1):
                yield f"manifest_uri: {job.manifest_uri} is empty"
    if not storage.exists(job.template_uri):
        yield f"template_uri: there is no object at {job.template_uri}. Write it with templates.publish_template()"
    else:
        length = len(storage.read_text(job.template_uri))
        if not 1 <= length <= TEMPLATE_LIMIT_CHARACTERS:
            yield f"template_uri: expected 1 to {TEMPLATE_LIMIT_CHARACTERS} characters, got {length}"
    if job.label_categories_uri and not storage.exists(job.label_categories_uri):
        yield f"label_categories_uri: there is no object at {job.label_categories_uri}"


def describe(sagemaker: Any, name: str) -> JobState:
    """Return the state of a job by name."""
    with service_errors(sagemaker, f"labeling job {name!r}"):
        return JobState.parse(sagemaker.describe_labeling_job(LabelingJobName=name))


def stop(sagemaker: Any, name: str) -> None:
    """Ask a job to stop; answers already given are kept, and the job cannot be started again."""
    with service_errors(sagemaker, f"labeling job {name!r}"):
        sagemaker.stop_labeling_job(LabelingJobName=name)


def wait(
    sagemaker: Any,
    name: str,
    *,
    progress: bool = True,
    poll_seconds: float = 15.0,
    timeout_seconds: float | None = None,
    patience_seconds: float = 120.0,
    on_poll: Callable[[JobState], None] | None = None,
) -> JobState:
    """Return the state of a job when it is finished.

    An interruption (Ctrl-C, the notebook's stop button) ends the waiting, not the job; wait again, or `stop` it.

    Parameters
    ----------
    progress : bool
        Show a bar that counts objects.
    poll_seconds : float
        Time between two looks, in seconds; there is no waiter for labeling jobs in boto3.
    timeout_seconds : float, optional
        Give up after this long; for ever when not given: people label at their own pace.
    patience_seconds : float
        How long the service may be away, as during a restart, before that is an error.
    on_poll : callable, optional
        Called with every state.

    Raises
    ------
    LabelingError
        The job failed, or did not finish in time.
    ServiceError
        Nothing answered for `patience_seconds`.
    """
    from tqdm.auto import tqdm

    started = away_since = time.monotonic()
    with tqdm(desc=name, unit="object", disable=not progress) as bar:
        while True:
            state = None
            try:
                state = describe(sagemaker, name)
                away_since = time.monotonic()
            except ServiceError:
                if time.monotonic() - away_since > patience_seconds:
                    raise
            if state is not None:
                bar.total = state.total
                bar.n = state.labeled + state.failed
                bar.set_postfix_str(state.status, refresh=True)
                if on_poll:
                    on_poll(state)
                if state.finished:
                    break
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                said = f"{state.labeled} of {state.total} objects labeled" if state else "the service is away"
                raise LabelingError(f"labeling job {name!r} did not finish in {timeout_seconds:g} seconds: {said}.")
            time.sleep(poll_seconds)
    if state.status == "Failed":
        raise LabelingError(f"labeling job {name!r} failed: {state.failure_reason or 'no reason given'}")
    return state


def _example(what: str) -> str:
    return {
        "role_arn": "arn:aws:iam::111122223333:role/labeling",
        "workteam_arn": "arn:aws:sagemaker:us-east-1:111122223333:workteam/private-crowd/readers",
    }.get(what, "arn:aws:lambda:us-east-1:111122223333:function:SageMaker-annotation")
