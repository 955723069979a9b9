"""The two Lambda functions of a labeling job: pre-annotation and post-annotation.

The same code runs on AWS and in the self-hosted labeling service. Only the standard library is needed; boto3, which every
Lambda has, is imported when an S3 object is read. An unhandled exception in either function fails a whole labeling job, so
whatever is wrong with one line or one answer is said in the result and the rest goes on. Logs hold counts, never content.

Ground Truth hands the post-annotation function a list of label names and nothing of their rules, and nothing of the manifest
line. The rules come from a label set that ships with the function: the task's, or that which the environment variable
``LABEL_SET`` names. For labels of one's own with other rules, ``LABEL_SET`` is the s3:// URI of a label set as JSON
(`LabelSet.to_json`); the function's role needs the right to read it.

`dicom_workflow.aws.packaging.build_lambda_zip` packs each with what it needs.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from dicom_workflow.errors import AnswerError, RecordError, StorageError
from dicom_workflow.formats.answers import Answer
from dicom_workflow.formats.ground_truth import ConsolidationRequest, WorkerAnnotation
from dicom_workflow.formats.labels import LabelSet, category_names, load_label_set
from dicom_workflow.labeling.consolidation import WorkerAnswer
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.protocol import Task

TASK_INPUT_LIMIT_CHARACTERS = 128_000

Reader = Callable[[str], str]

_log = logging.getLogger(__name__)


def pre_annotation(
    event: Mapping[str, Any], context: object = None, *, images_s3_prefix: str | None = None, task: Task | None = None
) -> dict[str, Any]:
    """Return the task input of one manifest line.

    Parameters
    ----------
    event : Mapping
        Ground Truth's request; ``dataObject`` is the whole manifest line.
    context : object
        Lambda's context; not used.
    images_s3_prefix : str, optional
        s3:// folder with copies of the images, see `Task.task_input`; the Lambda's environment variable ``IMAGES_S3_PREFIX``
        when not given.
    task : Task, optional
        Kind of the job; that which the environment variable ``TASK`` names when not given.

    Returns
    -------
    dict
        ``taskInput`` as the task makes it, ``isHumanAnnotationRequired`` true. A part of the line that cannot be used is left
        out, and the log says how many. A line that cannot become a task has an empty ``taskInput``, false, and a ``reason``;
        the function never raises.
    """
    prefix = os.environ.get("IMAGES_S3_PREFIX", "") if images_s3_prefix is None else images_s3_prefix
    try:
        task_input = _task_input(event.get("dataObject") if isinstance(event, Mapping) else None, prefix, task or _task())
    except RecordError as error:
        _log.warning("pre-annotation: one manifest line was not sent to workers")
        return {"taskInput": {}, "isHumanAnnotationRequired": False, "reason": str(error)}
    return {"taskInput": task_input, "isHumanAnnotationRequired": True}


def _task() -> Task:
    return registry.find(os.environ.get("TASK", ""))


def _task_input(line: object, prefix: str, task: Task) -> dict[str, Any]:
    if not isinstance(line, Mapping):
        raise RecordError(f"expected 'dataObject' as a manifest line, got {type(line).__name__}.")
    made = task.task_input(line, images_s3_prefix=prefix)
    if made.left_out:
        _log.warning("pre-annotation: left out %d of the extras of one manifest line", len(made.left_out))
    task_input = dict(made.data)
    try:
        json.dumps(task_input, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say and no page can show
        raise RecordError("a label or text is not Unicode: it has half a character (a lone surrogate).") from None
    size = len(json.dumps(task_input))
    if size > TASK_INPUT_LIMIT_CHARACTERS:
        raise RecordError(f"expected a task input of at most {TASK_INPUT_LIMIT_CHARACTERS} characters, got {size}.")
    return task_input


def post_annotation(
    event: Mapping[str, Any],
    context: object = None,
    *,
    read: Reader | None = None,
    task: Task | None = None,
    label_set: LabelSet | None = None,
    minimum_answers: int = 1,
) -> list[dict[str, Any]]:
    """Return the consolidated label of every object of one batch.

    Parameters
    ----------
    event : Mapping
        Ground Truth's request; ``payload.s3Uri`` names the batch file, ``labelAttributeName`` the key to answer under and
        ``labelCategories``, where there are any, the label list.
    context : object
        Lambda's context; not used.
    read : callable, optional
        Returns the text at a URI, or raises `StorageError`; reads S3 with the Lambda's own role when not given.
    task : Task, optional
        Kind of the job; that which the environment variable ``TASK`` names when not given.
    label_set : LabelSet, optional
        Rules of the labels; those that the environment variable ``LABEL_SET`` names when not given, see above.
    minimum_answers : int
        See `consolidation.consolidate`.

    Returns
    -------
    list of dict
        One entry per ``datasetObjectId``, in the order of the batch; an id that comes twice is one entry with the answers
        of both. Each label says its ``task``. An answer that cannot be read is listed in the label's ``refused``, and the
        others count. When one worker answered an object more than once, the last readable answer counts and the earlier ones
        are listed as refused.
        ``annotationsFromAllWorkers`` holds the answers that count; the text of a refused one stays in the batch file.

    Raises
    ------
    RecordError, StorageError
        The batch file itself is missing or is not a JSON list: nothing can be said of any object then, and an empty
        result would lose them all silently.
    """
    read = read or read_s3
    attribute = event.get("labelAttributeName")
    if not isinstance(attribute, str) or not attribute:
        raise RecordError("the post-annotation event has no 'labelAttributeName'.")
    labels = _label_categories(event.get("labelCategories"))
    task = task or _task()
    rules = label_set or _configured_label_set(os.environ.get("LABEL_SET", ""), read) or task.label_set
    requests, strays = _requests(_batch(event, read))
    refused_count = 0
    response = []
    for identifier, given in requests.items():
        answers, refused = read_answers(given, read=read, labels=labels, task=task)
        refused_count += len(refused)
        label = task.consolidate(answers, labels=labels, rules=rules, refused=refused, minimum_answers=minimum_answers)
        label = {"task": task.name, **label}
        response.append({"datasetObjectId": identifier, "consolidatedAnnotation": {"content": {attribute: label}}})
    _log.log(
        logging.WARNING if refused_count or strays else logging.INFO,
        "post-annotation: %d objects, %d answers refused, %d entries without a datasetObjectId",
        len(response),
        refused_count,
        strays,
    )
    return response


def read_answers(
    annotations: object, *, read: Reader, labels: tuple[str, ...] = (), task: Task | None = None
) -> tuple[list[WorkerAnswer], list[dict[str, str]]]:
    """Return the answers of one object that can be read, one per worker, and ``{"workerId", "reason"}`` of the others.

    A state or region for a label outside `labels` is left out and said among the refusals; the rest of that answer counts.

    Parameters
    ----------
    annotations : object
        Ground Truth's list of annotations.
    read : callable
        Returns the text at a URI, or raises `StorageError`.
    labels : tuple of str
        The task's label list; every label is inside an empty one.
    task : Task, optional
        Reads the answers; the default task when not given.
    """
    parse = (task or registry.find()).parse
    answers: dict[str, WorkerAnswer] = {}
    refused: list[dict[str, str]] = []
    if not isinstance(annotations, list | tuple):
        return [], [{"workerId": "", "reason": f"expected 'annotations' as a list, got {type(annotations).__name__}."}]
    for annotation in annotations:
        worker_id = ""
        try:
            worker_id = _worker_id(annotation)
            said = WorkerAnnotation.parse(annotation)
            content = read(said.s3_uri) if said.s3_uri else said.content
            answer = parse(content)
        except (AnswerError, RecordError, StorageError) as error:
            refused.append({"workerId": worker_id, "reason": str(error)})
            continue
        answer, strange = _within(answer, labels)
        if strange:
            reason = f"left out labels that the task does not have: {', '.join(strange)}; the rest of the answer counts."
            refused.append({"workerId": worker_id, "reason": reason})
        if worker_id in answers:
            refused.append({"workerId": worker_id, "reason": "superseded by a later answer of the same worker."})
        answers[worker_id] = WorkerAnswer(worker_id, answer, content)
    return list(answers.values()), refused


def _within(answer: Answer, labels: tuple[str, ...]) -> tuple[Answer, list[str]]:
    """The answer without labels outside the list, and those labels; without a list everything is inside."""
    said = {*answer.labels, *(region.label for region in answer.regions if region.label)}
    strange = said - set(labels) if labels else set()
    if not strange:
        return answer, []
    kept = {label: state for label, state in answer.labels.items() if label not in strange}
    regions = tuple(region for region in answer.regions if region.label not in strange)
    return replace(answer, labels=kept, regions=regions), sorted(label[:60] for label in strange)


def _worker_id(annotation: object) -> str:
    worker_id = annotation.get("workerId") if isinstance(annotation, Mapping) else None
    return worker_id if isinstance(worker_id, str) else ""


def _batch(event: Mapping[str, Any], read: Reader) -> list[object]:
    payload = event.get("payload")
    uri = payload.get("s3Uri") if isinstance(payload, Mapping) else None
    if not isinstance(uri, str) or not uri:
        raise RecordError("the post-annotation event has no 'payload' with the 's3Uri' of the batch.")
    try:
        batch = json.loads(read(uri))
    except (ValueError, RecursionError):
        raise RecordError(f"{uri}: expected the batch as JSON.") from None
    if not isinstance(batch, list):
        raise RecordError(f"{uri}: expected the batch as a JSON list, got {type(batch).__name__}.")
    return batch


def _requests(batch: list[object]) -> tuple[dict[str, object], int]:
    """Annotations by object id, and how many entries name no object and so cannot be answered."""
    requests: dict[str, object] = {}
    strays = 0
    for entry in batch:
        try:
            identifier = ConsolidationRequest.parse(entry).dataset_object_id
        except RecordError:
            strays += 1
            continue
        annotations = entry.get("annotations") if isinstance(entry, Mapping) else None
        earlier = requests.get(identifier)
        both = isinstance(earlier, list) and isinstance(annotations, list)
        if identifier not in requests or isinstance(annotations, list):
            requests[identifier] = [*earlier, *annotations] if both else annotations  # type: ignore[misc]
    return requests, strays


def _configured_label_set(name: str, read: Reader) -> LabelSet | None:
    """The label set that ``LABEL_SET`` names: one that ships with this package, or one on S3; None for an empty text."""
    if not name:
        return None
    if not name.startswith("s3://"):
        return load_label_set(name)
    try:
        return LabelSet.parse(json.loads(read(name)))
    except (ValueError, RecordError) as error:
        raise RecordError(f"LABEL_SET: {name} is not a label set: {error}") from None


def _label_categories(value: object) -> tuple[str, ...]:
    """The job's label list: texts, or ``{"label": text}`` as a label category file has them; null for most custom jobs."""
    if not isinstance(value, list | tuple):
        return ()
    return tuple(dict.fromkeys(name for name in category_names(value) if isinstance(name, str) and name))


def read_s3(uri: str) -> str:
    """Return the text of an S3 object, read with the role this code runs under.

    Raises
    ------
    StorageError
        No s3:// URI, no such object, no right to read it, or not UTF-8.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise StorageError("expected an s3://bucket/key URI.")
    try:
        return _s3_client().get_object(Bucket=bucket, Key=key)["Body"].read().decode("utf-8")
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise StorageError(f"{uri}: S3 answered {code}. Check this function's right to read the bucket.") from error
    except BotoCoreError as error:
        raise StorageError(f"{uri}: S3 could not be reached: {type(error).__name__}.") from error
    except UnicodeDecodeError:
        raise StorageError(f"{uri}: expected UTF-8 text.") from None


@cache
def _s3_client() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 5})
    return boto3.client("s3", config=config)
