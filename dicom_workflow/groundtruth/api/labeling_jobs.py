"""The labeling job operations of SageMaker: create, describe, list, stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.groundtruth import output
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.api import workteams
from dicom_workflow.groundtruth.api.requests import ApiError, page
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.tables import Job
from dicom_workflow.labeling.client import SELF_HOSTED_ACCOUNT_ID
from dicom_workflow.labeling.tasks import registry

MAX_TASK_SECONDS = 28_800
MAX_LIFETIME_SECONDS = 2_592_000
MAX_JOBS_IN_PROGRESS = 20
DESCRIBED_MEMBERS = (
    "LabelAttributeName",
    "InputConfig",
    "OutputConfig",
    "RoleArn",
    "LabelCategoryConfigS3Uri",
    "StoppingConditions",
    "HumanTaskConfig",
    "Tags",
)
"""Members of the request that DescribeLabelingJob returns unchanged."""


class LabelingJobOperations:
    """The four labeling job operations.

    Parameters
    ----------
    store : JobStore
        The job database.
    access : Access
        Checks the URIs of a request.
    region : str
        Region of every ARN.
    wake : callable
        Tells the engine that there is work.
    """

    def __init__(self, store: JobStore, access: Access, region: str, wake: Callable[[], None]) -> None:
        self._store = store
        self._access = access
        self._region = region
        self._wake = wake

    def create(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """CreateLabelingJob.

        Raises
        ------
        ApiError
            A parameter is invalid or not supported, the name is taken, or the limit of jobs is reached.
        """
        self._check(request)
        arn = f"arn:aws:sagemaker:{self._region}:{SELF_HOSTED_ACCOUNT_ID}:labeling-job/{request['LabelingJobName'].lower()}"
        if len(self._store.jobs("Initializing", "InProgress", "Stopping")) >= MAX_JOBS_IN_PROGRESS:
            limit = f"{MAX_JOBS_IN_PROGRESS} labeling jobs are in progress, which is the limit"
            raise ApiError("ResourceLimitExceeded", f"{limit}. Wait or stop one.")
        if self._store.add_job({**request, "LabelingJobArn": arn}) is None:
            name = request["LabelingJobName"]
            raise ApiError("ResourceInUse", f"Labeling job name must be unique, ignoring case: the job {name!r} exists.")
        self._wake()
        return {"LabelingJobArn": arn}

    def describe(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """DescribeLabelingJob.

        Raises
        ------
        ApiError
            The job does not exist.
        """
        job = self._job(request)
        given = {key: job.request[key] for key in DESCRIBED_MEMBERS if key in job.request}
        return {**self._summary(job), "JobReferenceCode": job.reference, **given}

    def list(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """ListLabelingJobs."""
        found = [job for job in self._store.jobs() if _matches(job, request)]
        keys: dict[str, Callable[[Job], Any]] = {
            "Name": lambda job: job.name,
            "Status": lambda job: job.status,
            "CreationTime": lambda job: job.created,
        }
        found.sort(key=keys[request.get("SortBy", "CreationTime")], reverse=request.get("SortOrder") == "Descending")
        shown, more = page(found, request)
        summaries = []
        for job in shown:
            functions = {"PreHumanTaskLambdaArn": job.human.get("PreHumanTaskLambdaArn")}
            functions.update(job.human.get("AnnotationConsolidationConfig") or {})
            summary = {**self._summary(job), "WorkteamArn": job.human["WorkteamArn"], "InputConfig": job.request["InputConfig"]}
            summaries.append({**summary, **{key: value for key, value in functions.items() if value}})
        return {"LabelingJobSummaryList": summaries, **more}

    def stop(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """StopLabelingJob: answered objects are consolidated and written, the others stay unlabeled.

        Raises
        ------
        ApiError
            The job does not exist or has ended.
        """
        job = self._job(request)
        moved = self._store.set_status(job.name, "Stopping", only_from=("Initializing", "InProgress", "Stopping"))
        if not moved:
            state = f"The labeling job {job.name!r} is {self._job(request).status}"
            raise ApiError("ValidationException", f"{state}; only one in progress can be stopped.")
        self._wake()
        return {}

    def _job(self, request: Mapping[str, Any]) -> Job:
        job = self._store.job(request["LabelingJobName"])
        if job is None:
            raise ApiError("ResourceNotFound", f"Labeling job {request['LabelingJobName']!r} does not exist.")
        return job

    def _summary(self, job: Job) -> dict[str, Any]:
        counts = self._store.counts(job.name) if job.objects else {}
        labeled = counts.get("labeled", 0) + counts.get("answered", 0)
        failed, present = counts.get("failed", 0), counts.get("present", 0)
        summary: dict[str, Any] = {
            "LabelingJobName": job.name,
            "LabelingJobArn": job.request["LabelingJobArn"],
            "LabelingJobStatus": job.status,
            "CreationTime": job.created,
            "LastModifiedTime": job.modified,
            "LabelCounters": {
                "TotalLabeled": labeled + present,
                "HumanLabeled": labeled,
                "MachineLabeled": 0,
                "FailedNonRetryableError": failed,
                "Unlabeled": sum(counts.values()) - labeled - present - failed,
            },
        }
        if job.failure_reason:
            summary["FailureReason"] = job.failure_reason
        if job.status in ("Completed", "Stopped", "Failed") and job.objects:
            summary["LabelingJobOutput"] = {"OutputDatasetS3Uri": output.manifest_uri(job)}
        return summary

    def _check(self, request: Mapping[str, Any]) -> None:
        """Check the documented limits that the service model lacks, and refuse what this service does not support."""
        attribute, human = request["LabelAttributeName"], request["HumanTaskConfig"]
        source = request["InputConfig"]["DataSource"]
        problems = []
        if attribute in ("source", "source-ref") or attribute.endswith(("-metadata", "-ref")):
            rule = "may not be 'source' or 'source-ref' or end in '-metadata' or '-ref'"
            problems.append(f"LabelAttributeName {rule}, got {attribute!r}")
        if "S3DataSource" not in source or "SnsDataSource" in source:
            problems.append("InputConfig.DataSource must be S3DataSource alone; streaming jobs are not supported")
        if "LabelingJobAlgorithmsConfig" in request:
            problems.append("LabelingJobAlgorithmsConfig: automated labeling is not supported")
        if not human["UiConfig"].get("UiTemplateS3Uri"):
            problems.append("HumanTaskConfig.UiConfig has no UiTemplateS3Uri")
        if human["TaskTimeLimitInSeconds"] > MAX_TASK_SECONDS:
            problems.append(f"TaskTimeLimitInSeconds: expected at most {MAX_TASK_SECONDS} for a custom task")
        if human.get("TaskAvailabilityLifetimeInSeconds", 60) > MAX_LIFETIME_SECONDS:
            problems.append(f"TaskAvailabilityLifetimeInSeconds: expected at most {MAX_LIFETIME_SECONDS} (30 days)")
        try:
            registry.of_request(request)
        except RecordError as error:
            problems.append(f"HumanTaskConfig: {str(error).removesuffix('.')}")
        if problems:
            raise ApiError("ValidationException", f"{'; '.join(problems)}.")
        self._check_team(human["WorkteamArn"])
        self._access.check(source["S3DataSource"]["ManifestS3Uri"])
        self._access.check(human["UiConfig"]["UiTemplateS3Uri"])
        self._access.check(request["OutputConfig"]["S3OutputPath"])
        if categories := request.get("LabelCategoryConfigS3Uri"):
            self._access.check(categories)

    def _check_team(self, arn: str) -> None:
        name = arn.rsplit("/", 1)[1]
        if arn.lower() != workteams.arn_of(name, self._region).lower() or workteams.find(self._store, name) is None:
            raise ApiError("ValidationException", f"The work team {arn!r} does not exist here. Create it with create_workteam.")


def _matches(job: Job, request: Mapping[str, Any]) -> bool:
    after, before = (request.get("CreationTimeAfter"), request.get("CreationTimeBefore"))
    changed_after, changed_before = (request.get("LastModifiedTimeAfter"), request.get("LastModifiedTimeBefore"))
    try:
        return (
            (after is None or job.created > float(after))
            and (before is None or job.created < float(before))
            and (changed_after is None or job.modified > float(changed_after))
            and (changed_before is None or job.modified < float(changed_before))
            and request.get("NameContains", "").lower() in job.name.lower()
            and request.get("StatusEquals", job.status) == job.status
        )
    except ValueError:
        raise ApiError("SerializationException", "CreationTime and LastModifiedTime: expected seconds since 1970.") from None
