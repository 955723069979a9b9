"""Records of SageMaker Ground Truth: worker annotations and consolidation requests.

Standard library only: this module ships inside the Lambda functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown

METADATA_SUFFIX = "-metadata"
"""The key of a label with this after it has the label's metadata, in an output manifest."""
ANSWERS_KEY = "annotationsFromAllWorkers"
"""Key of a consolidated label, in the form of Ground Truth's examples: the answers of the workers."""


@dataclass(frozen=True)
class WorkerAnnotation:
    """One worker's answer inside a consolidation request.

    `content` is the JSON text, or `s3_uri` names the object that holds it; Ground Truth gives exactly one of the two.
    """

    worker_id: str
    content: str = ""
    s3_uri: str = ""

    @classmethod
    def parse(cls, value: object) -> WorkerAnnotation:
        """Return the annotation; ``s3uri`` is read like the documented ``s3Uri``, content may be text or an object.

        Raises
        ------
        RecordError
            No object, no worker id, or neither content nor URI.
        """
        data = _mapping(value, "an annotation")
        worker_id = data.get("workerId")
        if not isinstance(worker_id, str) or not worker_id:
            raise RecordError(f"expected 'workerId' as a text, got {shown(worker_id)}.")
        annotation = _mapping(data.get("annotationData"), "'annotationData'")
        uri = str(annotation.get("s3Uri") or annotation.get("s3uri") or "")
        content = annotation.get("content")
        if content is None and not uri:
            raise RecordError(f"expected annotationData with 'content' or 's3Uri', got keys {sorted(annotation)}.")
        text = "" if content is None else content if isinstance(content, str) else json.dumps(content)
        return cls(worker_id=worker_id, content=text, s3_uri=uri)

    def to_json(self) -> dict[str, Any]:
        """Return the object Ground Truth writes."""
        data = {"s3Uri": self.s3_uri} if self.s3_uri else {"content": self.content}
        return {"workerId": self.worker_id, "annotationData": data}


@dataclass(frozen=True)
class ConsolidationRequest:
    """One object of the payload of a post-annotation Lambda."""

    dataset_object_id: str
    data_object: Mapping[str, Any]
    """``{"s3Uri": …}`` for source-ref, ``{"content": …}`` for source."""
    annotations: tuple[object, ...]
    """As they came: `WorkerAnnotation.parse` reads each, so that one damaged answer does not take the others along."""

    @classmethod
    def parse(cls, value: object) -> ConsolidationRequest:
        """Return the request of one payload entry.

        Raises
        ------
        RecordError
            No object, or no ``datasetObjectId``.
        """
        data = _mapping(value, "a consolidation request")
        identifier = data.get("datasetObjectId")
        if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
            raise RecordError(f"expected 'datasetObjectId' as a text, got {shown(identifier)}.")
        annotations = data.get("annotations")
        data_object = data.get("dataObject")
        return cls(
            dataset_object_id=str(identifier),
            data_object=data_object if isinstance(data_object, Mapping) else {},
            annotations=tuple(annotations) if isinstance(annotations, list) else (),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object Ground Truth writes."""
        return {
            "datasetObjectId": self.dataset_object_id,
            "dataObject": dict(self.data_object),
            "annotations": [a.to_json() if isinstance(a, WorkerAnnotation) else a for a in self.annotations],
        }


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RecordError(f"expected {what} as a JSON object, got {shown(value)}.")
    return value
