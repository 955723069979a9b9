"""Labeling jobs: check, create, watch and stop them through boto3, on AWS or on the self-hosted labeling service.

The endpoint alone decides which of the two it is (`client`); every call below is the same for both. boto3 itself checks only
required members, types and minimums, so `LabelingJob.problems` checks the other limits before anything is sent: those of the
service model (`service_model`), and those that only the documentation has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dicom_workflow.errors import JobParametersError, LabelingError, ServiceError
from dicom_workflow.labeling import service_model
from dicom_workflow.labeling.client import is_aws, service_errors
from dicom_workflow.labeling.tasks.protocol import Task
from dicom_workflow.labeling.templates import TEMPLATE_LIMIT_CHARACTERS
from dicom_workflow.storage import Storage

__all__ = ["FINISHED", "JobState", "LabelingJob", "create", "describe", "stop", "wait"]

FINISHED = ("Completed", "Failed", "Stopped")

_FIELDS = {
    "labelingJobName": "name",
    "labelAttributeName": "label_attribute",
    "inputConfig.dataSource.s3DataSource.manifestS3Uri": "manifest_uri",
    "outputConfig.s3OutputPath": "output_uri",
    "outputConfig.kmsKeyId": "kms_key_id",
    "roleArn": "role_arn",
    "labelCategoryConfigS3Uri": "label_categories_uri",
    "stoppingConditions.maxPercentageOfInputDatasetLabeled": "max_percentage_labeled",
    "humanTaskConfig.workteamArn": "workteam_arn",
    "humanTaskConfig.uiConfig.uiTemplateS3Uri": "template_uri",
    "humanTaskConfig.preHumanTaskLambdaArn": "pre_annotation_arn",
    "humanTaskConfig.annotationConsolidationConfig.annotationConsolidationLambdaArn": "post_annotation_arn",
    "humanTaskConfig.taskKeywords": "keywords",
    "humanTaskConfig.taskTitle": "title",
    "humanTaskConfig.taskDescription": "description",
    "humanTaskConfig.numberOfHumanWorkersPerDataObject": "workers_per_object",
    "humanTaskConfig.taskTimeLimitInSeconds": "task_time_limit_seconds",
    "humanTaskConfig.taskAvailabilityLifetimeInSeconds": "task_availability_seconds",
    "humanTaskConfig.maxConcurrentTaskCount": "max_concurrent_tasks",
    "tags": "tags",
}
"""Member of the request → field of `LabelingJob`."""

_EXAMPLES = {
    "role_arn": "arn:aws:iam::111122223333:role/labeling",
    "workteam_arn": "arn:aws:sagemaker:us-east-1:111122223333:workteam/private-crowd/readers",
    "pre_annotation_arn": "arn:aws:lambda:us-east-1:111122223333:function:SageMaker-annotation",
    "post_annotation_arn": "arn:aws:lambda:us-east-1:111122223333:function:SageMaker-annotation",
}

_URIS = ("manifest_uri", "output_uri", "template_uri", "label_categories_uri")
_DOCUMENTED_RANGES = {"task_time_limit_seconds": (30, 28_800), "task_availability_seconds": (60, 2_592_000)}
"""Of custom jobs and private work teams; the maxima are in the developer guide, not in the service model."""

_PATTERNS = {
    **dict.fromkeys(("name", "label_attribute"), "letters, digits and single inner hyphens"),
    "keywords": "letters and digits with single spaces",
    "description": "one line",
}
"""The patterns of the service model in words."""


@dataclass(frozen=True)
class LabelingJob:
    """Parameters of CreateLabelingJob: a custom job for a private work team. Times are seconds."""

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
    title: str = Task.title
    description: str = Task.description
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
        found = dict(self._undeclared_problems(region, ("s3://",) if aws else ("s3://", "file://")))
        for problem in service_model.problems("CreateLabelingJob", self.to_request(), file_uris=True):
            name = next(name for member, name in _FIELDS.items() if problem.member.startswith(member))
            found.setdefault(name, _in_words(problem, name))
        return [f"{item.name}: {found[item.name]}" for item in fields(self) if item.name in found]

    def _undeclared_problems(self, region: str, schemes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """The limits that the service model does not have: name of the field, what is wrong."""
        if self.label_attribute in ("source", "source-ref"):
            yield "label_attribute", f"{self.label_attribute!r} is the manifest's own key"
        elif self.label_attribute.endswith(("-metadata", "-ref")):
            ending = self.label_attribute.rpartition("-")[2]
            yield "label_attribute", f"must not end in '-{ending}', got {self.label_attribute!r}"
        for what, (least, most) in _DOCUMENTED_RANGES.items():
            if not least <= getattr(self, what) <= most:
                yield what, f"expected a whole number from {least} to {most}, got {getattr(self, what)}"
        if not self.template_uri.endswith((".html", ".liquid")):
            yield "template_uri", f"expected a name ending in .html or .liquid, got {self.template_uri!r}"
        for what in _URIS:
            uri = getattr(self, what)
            if (uri or what != "label_categories_uri") and not uri.startswith(schemes):
                yield what, f"expected a URI with {' or '.join(schemes)}, got {uri!r}"
        for what in _EXAMPLES:
            arn = getattr(self, what).split(":")
            if region and len(arn) > 5 and arn[3] not in ("", region):
                yield what, f"expected an ARN of region {region}, where the job is created, got {arn[3]}"

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
        As `client.client` makes it.
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
    unavailable_seconds: float = 120.0,
    on_poll: Callable[[JobState], None] | None = None,
) -> JobState:
    """Return the state of a job when it is finished.

    An interruption (Ctrl-C, the notebook's stop button) ends the waiting, not the job; wait again, or `stop` it.

    Parameters
    ----------
    progress : bool
        Show a bar that counts objects.
    poll_seconds : float
        Seconds between status polls; boto3 has no waiter for labeling jobs.
    timeout_seconds : float, optional
        Give up after this long; without it there is no limit, because people may take days.
    unavailable_seconds : float
        How long the service may not answer, as during a restart, before that is an error.
    on_poll : callable, optional
        Called with every state.

    Raises
    ------
    LabelingError
        The job failed, or did not finish in time.
    ServiceError
        Nothing answered for `unavailable_seconds`.
    """
    from tqdm.auto import tqdm

    started = unavailable_since = time.monotonic()
    with tqdm(desc=name, unit="object", disable=not progress) as bar:
        while True:
            state = None
            try:
                state = describe(sagemaker, name)
                unavailable_since = time.monotonic()
            except ServiceError:
                if time.monotonic() - unavailable_since > unavailable_seconds:
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
                said = f"{state.labeled} of {state.total} objects labeled" if state else "the service does not answer"
                raise LabelingError(f"labeling job {name!r} did not finish in {timeout_seconds:g} seconds: {said}.")
            time.sleep(poll_seconds)
    if state.status == "Failed":
        raise LabelingError(f"labeling job {name!r} failed: {state.failure_reason or 'no reason given'}")
    return state


def _in_words(problem: service_model.Problem, name: str) -> str:
    """A broken limit in the words of a field instead of those of the request's member."""
    least, most = problem.limits.get("min", 0), problem.limits.get("max")
    bounds = f"{least} to {most}" if least else f"at most {most}"
    if problem.limits.get("type") in ("integer", "long"):
        return f"expected a whole number from {least} to {most}, got {problem.value!r}"
    size = len(problem.value) if isinstance(problem.value, str | list) else 0
    if most is not None and not least <= size <= most and (name not in _EXAMPLES or size > most):
        return f"expected {bounds} {'items' if isinstance(problem.value, list) else 'characters'}, got {size}"
    wanted = f"an ARN like {_EXAMPLES[name]}" if name in _EXAMPLES else _PATTERNS.get(name, problem.limits.get("pattern"))
    return f"expected {wanted}, got {str(problem.value)[:80]!r}"
