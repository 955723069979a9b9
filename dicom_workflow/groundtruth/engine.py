"""The engine that takes a labeling job from its manifest to its output: one thread, one step at a time, no state in memory.

Each step reads the job database, does one thing and records that it is done. After a crash the next process continues from
there; files that are written twice have the same names and the same content.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dicom_workflow.errors import ManifestError, ObjectNotFoundError, RecordError, StorageError, TemplateError, WorkflowError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.formats.object_reference import FILE_SCHEMES
from dicom_workflow.formats.splits import MAX_JOB_OBJECTS
from dicom_workflow.groundtruth import output
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.portal import pages
from dicom_workflow.groundtruth.store.database import JobDatabaseUnavailableError
from dicom_workflow.groundtruth.store.job_store import ACTIVE, JobStore
from dicom_workflow.groundtruth.store.tables import Batch, Job, Object
from dicom_workflow.labeling import lambda_handlers

DEFAULT_LIFETIME_SECONDS = 2_592_000
DEFAULT_CONCURRENT = 1000
EVENT_VERSION = "2018-10-16"
TICK_SECONDS = 1.0
STORAGE_ATTEMPTS = 12
"""Attempts of a step while the storage does not answer; pauses double up to a minute, about eight minutes in total."""

EXPIRED_REASON = (
    "ClientError: Annotation tasks expired.  Probable Reasons are 1) TaskAvailabilityLifetimeInSeconds parameter is too small."
    "  2) Reward is too low for workers to work on the task.  3) If you use a custom html template, your template may be broken"
    ".  4) Data (image/video/text) sent for annotation is broken or too big, preventing completion."
    "  5) All workers declined the tasks."
)
"""The text of Ground Truth, spaces included, because consumers search for it."""

_log = logging.getLogger(__name__)


class JobFailure(WorkflowError):
    """A job cannot continue; the message becomes its FailureReason."""


class Engine:
    """Runs the jobs of a job database.

    Parameters
    ----------
    store : JobStore
        Its clock is also the engine's.
    access : Access
        Reads manifests and templates, writes all output files.
    """

    def __init__(self, store: JobStore, access: Access) -> None:
        self._store = store
        self._access = access
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._retries: dict[str, tuple[int, float]] = {}  # job → failed attempts, when to try again

    def start(self) -> None:
        """Run in a thread until `stop`."""
        self._thread = threading.Thread(target=self._run, name="groundtruth-engine", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float | None = None) -> bool:
        """Stop the thread after its current step, and return whether it stopped in time.

        An interrupted step is repeated by the next process, so nothing is lost when it did not.
        """
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join(timeout_seconds)
        return not (self._thread and self._thread.is_alive())

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive and was not told to stop."""
        return bool(self._thread and self._thread.is_alive() and not self._stopping.is_set())

    def wake(self) -> None:
        """Look for work now: a job was created, an object is complete, or a stop was requested."""
        self._wake.set()

    def _run(self) -> None:
        was_unavailable = False
        while not self._stopping.is_set():
            try:
                self.run_due()
                was_unavailable = False
            except JobDatabaseUnavailableError as error:
                if not was_unavailable:
                    _log.warning("the engine is waiting for the job database: %s", error)
                was_unavailable = True
            except Exception:  # noqa: BLE001 - for example a full disk: the thread must survive until there is space again
                _log.exception("the engine failed in a step; trying again")
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()
        self._store.close()

    def run_due(self) -> None:
        """Run every step of every job that can be done now."""
        for job in self._store.jobs(*ACTIVE):
            if self._retries.get(job.name, (0, 0.0))[1] > self._store.clock():
                continue
            try:
                while not self._stopping.is_set() and self._step(job.name):
                    pass
                self._retries.pop(job.name, None)
            except JobFailure as error:
                self._end(job.name, "Failed", str(error))
            except RecordError as error:  # its task is unknown to this version
                self._end(job.name, "Failed", f"ClientError: {error}")
            except JobDatabaseUnavailableError:
                raise  # not the fault of this job, and nothing can be recorded about it either
            except StorageError as error:
                self._retry_later(job, error)
            except Exception as error:  # noqa: BLE001 - a bug in one job must not stop the others, and shows in that job
                _log.exception("job %s failed", job.name)
                what = type(error).__name__
                self._end(job.name, "Failed", f"InternalServerError: {what} in the labeling service. See its log.")

    def _retry_later(self, job: Job, error: Exception) -> None:
        attempts = self._retries.get(job.name, (0, 0.0))[0] + 1
        if attempts >= STORAGE_ATTEMPTS:
            self._store.set_status(job.name, "Failed", failure_reason=f"ClientError: {error}")
            return
        self._retries[job.name] = (attempts, self._store.clock() + min(60.0, 2.0**attempts))
        _log.warning("job %s: the storage does not answer, attempt %d: %s", job.name, attempts, error)

    def _step(self, name: str) -> bool:
        """Do one step of a job, and return whether another one may follow immediately."""
        job = self._store.job(name)
        if job is None or job.status not in ACTIVE:
            return False
        if job.status == "Initializing":
            self._load(job)
            return True
        batch = self._store.last_batch(name)
        if batch is not None and batch.state == "open":
            if not self._is_over(job, batch):
                return False
            self._store.begin_closing(name, batch.iteration)
            return True
        if batch is not None and batch.state == "closing":
            self._close(job, batch)
            return True
        if job.status == "InProgress" and job.objects and self._open_next(job, batch.iteration + 1 if batch else 1):
            return True
        self._finish(job)
        return False

    def _load(self, job: Job) -> None:
        """Read template, label categories and manifest of a new job into the job database."""
        source = job.request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"]
        template_uri = job.human["UiConfig"]["UiTemplateS3Uri"]
        try:
            template = self._access.read_text(template_uri)
            categories = self._categories(job.request.get("LabelCategoryConfigS3Uri"))
            self._store.set_loaded(job.name, self._lines(job, source), template=template, categories=categories)
        except (ManifestError, RecordError, ObjectNotFoundError) as error:
            raise JobFailure(f"ClientError: {error}") from None

    def _lines(self, job: Job, uri: str) -> Iterator[tuple[Mapping[str, Any], str]]:
        for count, (number, line) in enumerate(manifests.read(self._access.check(uri), storage=self._access.storage), start=1):
            if count > MAX_JOB_OBJECTS:
                raise ManifestError(uri, number, f"more than {MAX_JOB_OBJECTS:,} objects. Use split_for_jobs().")
            try:
                for frame_uri in _file_uris(job, line):
                    self._access.check(frame_uri)
            except StorageError as error:
                raise ManifestError(uri, number, str(error)) from None
            yield line, "present" if line.get(job.attribute) is not None else "pending"

    def _categories(self, uri: str | None) -> tuple[str, ...] | None:
        if not uri:
            return None
        try:
            data: Any = parse_json(self._access.read_text(uri))
            return parse_label_list([item["label"] for item in data["labels"]])
        except (ValueError, LookupError, TypeError, RecordError) as error:
            raise RecordError(f"{uri} is not a label category file, {{'labels': [{{'label': …}}]}}: {error}") from None

    def _wanted(self, job: Job, counts: Mapping[str, int]) -> int:
        """Number of further objects that the stopping conditions allow."""
        conditions = job.request.get("StoppingConditions") or {}
        labeled, left = counts.get("labeled", 0), counts.get("pending", 0)
        most = conditions.get("MaxHumanLabeledObjectCount")
        percent = conditions.get("MaxPercentageOfInputDatasetLabeled")
        if most is not None:
            left = min(left, most - labeled)
        if percent is not None:
            left = min(left, math.ceil(job.objects * percent / 100) - labeled - counts.get("present", 0))
        return left

    def _open_next(self, job: Job, iteration: int) -> bool:
        """Open the next batch, and return whether there was one."""
        concurrent = job.human.get("MaxConcurrentTaskCount", DEFAULT_CONCURRENT)
        size = min(concurrent, self._wanted(job, self._store.counts(job.name)))
        if size <= 0:
            return False
        pending = list(self._store.objects(job.name, state="pending", limit=size))
        prepared = [(found.number, *self._prepare(job, found)) for found in pending]
        first = next((task_input for _, state, task_input, _ in prepared if state == "open"), None)
        if first is not None:
            self._try_template(job, first)
        self._store.open_batch(job.name, iteration, prepared)
        return True

    def _prepare(self, job: Job, found: Object) -> tuple[str, Mapping[str, Any] | None, str]:
        """Run the pre-annotation function for one object; return its state, task input and failure reason."""
        arn = job.human.get("PreHumanTaskLambdaArn")
        task_input: object = found.line
        if arn:
            event = {"version": EVENT_VERSION, "labelingJobArn": job.request["LabelingJobArn"], "dataObject": found.line}
            try:
                response: Mapping[str, Any] = lambda_handlers.pre_annotation(event, None, images_s3_prefix="", task=job.task)
            except WorkflowError as error:
                return "failed", None, f"{_lambda_failure(job, arn)} {error}"
            task_input, wanted = response.get("taskInput"), response.get("isHumanAnnotationRequired", True)
            if "humanAnnotationRequired" in response:
                _log.warning("job %s: humanAnnotationRequired is ignored; the name is isHumanAnnotationRequired", job.name)
            if wanted is False or str(wanted).lower() == "false":
                # Ground Truth has no field for a reason; when the function returns one, the object has failed.
                reason = str(response.get("reason") or "")
                return ("failed" if reason else "passed"), None, f"ClientError: {reason}" if reason else ""
        if not isinstance(task_input, dict):
            return "failed", None, "ClientError: the pre-annotation function did not return 'taskInput' as a JSON object."
        return "open", task_input, ""

    def _try_template(self, job: Job, task_input: Mapping[str, Any]) -> None:
        """Fail the job when its template cannot be rendered, before a worker sees it."""
        try:
            bar = {"task": "", "title": "", "csrf": "", "number": 1, "total": 1}
            pages.task_page(
                job.template or "",
                task_input,
                grant_read_access=self._access.check_granted,
                answer_url="/",
                csrf="",
                draft_key="",
                bar=bar,
            )
        except TemplateError as error:
            raise JobFailure(f"ClientError: {job.human['UiConfig']['UiTemplateS3Uri']}: {error}") from None

    def _is_over(self, job: Job, batch: Batch) -> bool:
        if job.status == "Stopping":
            return True
        lifetime = job.human.get("TaskAvailabilityLifetimeInSeconds", DEFAULT_LIFETIME_SECONDS)
        if self._store.clock() >= batch.opened + lifetime:
            return True
        # Do not wait for objects that no worker can complete.
        return self._store.exhausted(job)

    def _close(self, job: Job, batch: Batch) -> None:
        """Write the answers of a batch, consolidate them, and store the results."""
        answers = self._store.answers(job.name, batch.iteration)
        found = list(self._store.objects(job.name, state="answered", iteration=batch.iteration))
        answered = [item for item in found if item.number in answers]
        files = {item.number: output.response_uri(job, batch, item.number) for item in answered}
        self._write_all((files[item.number], output.worker_response(answers[item.number])) for item in answered)
        labels = self._consolidate(job, batch, answered, answers) if answered else {}
        results: list[tuple[int, str, Any, str | None, str | None]] = []
        for item in found:
            if item.number not in answers:
                if job.status == "Stopping":  # not a failure: the line is written unchanged
                    results.append((item.number, "pending", None, None, None))
                else:
                    results.append((item.number, "failed", None, None, EXPIRED_REASON))
            elif job.request["HumanTaskConfig"].get("AnnotationConsolidationConfig") is None:
                results.append((item.number, "labeled", {}, files[item.number], None))
            elif item.number in labels:
                results.append((item.number, "labeled", labels[item.number], None, None))
            else:
                reason = "ClientError: the post-annotation function returned no label for this object."
                results.append((item.number, "failed", None, files[item.number], reason))
        self._store.finish_batch(job.name, batch, results)

    def _write_all(self, files: Iterable[tuple[str, Any]]) -> None:
        # Writing mostly waits, for the disk or the network, so several files are written at once.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: self._access.write_text(item[0], json.dumps(item[1])), files))

    def _consolidate(self, job: Job, batch: Batch, objects: list[Object], answers: output.Answers) -> dict[int, Any]:
        arn = (job.human.get("AnnotationConsolidationConfig") or {}).get("AnnotationConsolidationLambdaArn")
        if not arn:
            return {}
        request = output.consolidation_request(objects, answers)
        payload = self._access.write_text(output.consolidation_uri(job, batch, "request"), json.dumps(request))
        event = output.post_event(job, payload, EVENT_VERSION)
        try:
            rules, read = output.label_set_of(objects), self._access.read_text
            response: object = lambda_handlers.post_annotation(event, None, read=read, task=job.task, label_set=rules)
        except RecordError as error:
            raise JobFailure(f"{_lambda_failure(job, arn)} {error}") from None
        self._access.write_text(output.consolidation_uri(job, batch, "response"), json.dumps(response))
        return output.labels_of(response, job.attribute)

    def _finish(self, job: Job) -> None:
        self._end(job.name, "Stopped" if job.status == "Stopping" else "Completed", "")

    def _end(self, name: str, status: str, reason: str) -> None:
        """Write the output manifest and set the final status. Labels are written in every case."""
        job = self._store.job(name)
        if job is None:
            return
        counts = self._store.counts(name)
        has_labels = counts.get("labeled", 0) + counts.get("present", 0) > 0
        if status == "Completed" and counts.get("failed") and not has_labels:
            first = next(self._store.objects(name, state="failed", limit=1))
            status, reason = "Failed", f"All objects failed. The first one: {first.reason}"
        try:
            if job.objects:
                output.write_manifest(self._access, job, self._store.objects(name))
        except StorageError as error:
            if status != "Failed":
                raise
            reason = f"{reason} The output manifest could not be written: {error}"
        self._store.set_status(name, status, failure_reason=reason)


def _file_uris(job: Job, line: Mapping[str, Any]) -> list[str]:
    """Return the URIs of the files that the frames of a manifest line come from; those of the archive need no check."""
    task_input = None
    if job.human.get("PreHumanTaskLambdaArn"):
        try:
            task_input = job.task.task_input(line).data
        except RecordError:  # the line is never shown: its object fails with this error
            return []
    return [frame.uri for frame in job.task.frames(line, task_input) if frame.uri.startswith(FILE_SCHEMES)]


def _lambda_failure(job: Job, arn: str) -> str:
    return (
        f"ClientError: Exception invoking the Lambda function {arn}. LambdaErrorCode: Unhandled. Ensure the Lambda function "
        f"exists, that the role {job.request['RoleArn']} has permissions to invoke it and try your request again."
    )
