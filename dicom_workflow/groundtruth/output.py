"""The output files of a labeling job, in the layout and spelling of Ground Truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dicom_workflow.formats.ground_truth import METADATA_SUFFIX
from dicom_workflow.formats.json_schema import encoded
from dicom_workflow.formats.labels import RULES_KEY, LabelSet
from dicom_workflow.formats.object_reference import source_key
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import identity_of
from dicom_workflow.groundtruth.store.tables import Batch, GivenAnswer, Job, Object
from dicom_workflow.storage import join

Answers = Mapping[int, Sequence[GivenAnswer]]
"""Number of an object → the answers of its workers."""


def job_uri(job: Job) -> str:
    """Return the folder of a job: ``<S3OutputPath>/<LabelingJobName>``."""
    return join(job.request["OutputConfig"]["S3OutputPath"], job.name)


def manifest_uri(job: Job) -> str:
    """Return the URI of the output manifest."""
    return join(job_uri(job), "manifests/output/output.manifest")


def response_uri(job: Job, batch: Batch, number: int) -> str:
    """Return the URI of the worker-response file of one object.

    Parameters
    ----------
    job, batch : Job, Batch
        The job, and the batch of the object.
    number : int
        Zero-based line number in the input manifest.
    """
    name = f"annotations/worker-response/iteration-{batch.iteration}/{number}/{_file_time(batch)}.json"
    return join(job_uri(job), name)


def consolidation_uri(job: Job, batch: Batch, kind: str) -> str:
    """Return the URI of a consolidation file of a batch.

    Parameters
    ----------
    job, batch : Job, Batch
        The job and its batch.
    kind : str
        ``request`` or ``response``.
    """
    folder = f"annotations/consolidated-annotation/consolidation-{kind}/iteration-{batch.iteration}"
    return join(job_uri(job), f"{folder}/{_file_time(batch)}.json")


def worker_response(answers: Sequence[GivenAnswer]) -> dict[str, Any]:
    """Return the content of the worker-response file of one object: the answers of all its workers."""
    return {
        "answers": [
            {
                "acceptanceTime": _milliseconds(answer.accepted),
                "answerContent": json.loads(answer.content),
                "submissionTime": _milliseconds(answer.submitted),
                "timeSpentInSeconds": round(answer.submitted - answer.accepted, 3),
                "workerId": answer.worker_id,
                "workerMetadata": {"identityData": identity_of(answer.worker_id)},
            }
            for answer in answers
        ]
    }


def label_set_of(objects: Iterable[Object]) -> LabelSet | None:
    """Return the label set of objects whose manifest lines bring label rules of their own; else None.

    On AWS such rules reach the post-annotation function by its environment variable ``LABEL_SET`` only.

    Raises
    ------
    RecordError
        The rules do not have their form.
    """
    line = next((item.line for item in objects if item.line.get(RULES_KEY) is not None), None)
    return LabelSet.of_line(line) if line else None


def consolidation_request(objects: Iterable[Object], answers: Answers) -> list[dict[str, Any]]:
    """Return the payload of the post-annotation function for the objects of a batch."""
    return [
        {
            "datasetObjectId": str(item.number),
            "dataObject": _data_object(item.line),
            "annotations": [
                {"workerId": answer.worker_id, "annotationData": {"content": answer.content}} for answer in answers[item.number]
            ],
        }
        for item in objects
    ]


def post_event(job: Job, payload_uri: str, version: str) -> dict[str, Any]:
    """Return the event of the post-annotation function: the documented fields and the undocumented `outputConfig`.

    Parameters
    ----------
    job : Job
        The job.
    payload_uri : str
        URI of the consolidation request.
    version : str
        Version of the event format.
    """
    event = {
        "version": version,
        "labelingJobArn": job.request["LabelingJobArn"],
        "labelCategories": list(job.categories) if job.categories else None,
        "labelAttributeName": job.attribute,
        "roleArn": job.request["RoleArn"],
        "outputConfig": join(job_uri(job), "annotations"),
        "payload": {"s3Uri": payload_uri},
    }
    key = job.request["OutputConfig"].get("KmsKeyId")
    return {**event, "kmsKeyId": key} if key else event


def labels_of(response: object, attribute: str) -> dict[int, Any]:
    """Return the labels of a consolidation response by object number; malformed entries have none."""
    labels: dict[int, Any] = {}
    for entry in response if isinstance(response, list) else ():
        try:
            labels[int(entry["datasetObjectId"])] = entry["consolidatedAnnotation"]["content"][attribute]
        except (KeyError, TypeError, ValueError):
            continue  # the engine marks the object as failed, with a reason
    return labels


def write_manifest(access: Access, job: Job, objects: Iterable[Object]) -> str:
    """Write the output manifest, one line per input line in input order, and return its URI.

    Parameters
    ----------
    access : Access
        Writes the file.
    job : Job
        The job.
    objects : iterable of Object
        All its objects.
    """
    uri = access.check(manifest_uri(job))
    with access.storage.writer(uri) as stream:
        for item in objects:
            stream.write(encoded(json.dumps(output_line(job, item), ensure_ascii=False)) + b"\n")
    return uri


def output_line(job: Job, item: Object) -> dict[str, Any]:
    """Return the output line of one object: labeled, failed, or unchanged."""
    attribute, metadata_key = job.attribute, job.attribute + METADATA_SUFFIX
    if item.state not in ("labeled", "failed"):
        return item.line
    line = {key: value for key, value in item.line.items() if key not in (attribute, metadata_key)}
    if item.state == "failed":
        line[metadata_key] = {"retry-count": 1, "failure-reason": item.reason, "human-annotated": "true"}
        return line
    metadata = {
        "type": "groundtruth/custom",
        "job-name": job.name,
        "human-annotated": "yes",
        "creation-date": datetime.fromtimestamp(item.closed or 0.0, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"),
    }
    if item.response_uri:
        metadata["worker-response-ref"] = item.response_uri
    line[attribute] = item.label
    line[metadata_key] = metadata
    return line


def _data_object(line: Mapping[str, Any]) -> dict[str, Any]:
    key = source_key(line)
    return {"s3Uri" if key == "source-ref" else "content": line.get(key)}


def _file_time(batch: Batch) -> str:
    return datetime.fromtimestamp(batch.closed or 0.0, UTC).strftime("%Y-%m-%d_%H:%M:%S")


def _milliseconds(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
