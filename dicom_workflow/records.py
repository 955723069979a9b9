"""Every datum that crosses a border of the package: frozen, parsed on the way in, JSON on the way out.

Only the standard library is used, because the two Lambda functions ship with this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.answers import ANSWER_SCHEMA, Answer, LabelState, Region
from dicom_workflow.errors import RecordError
from dicom_workflow.schema import shown

__all__ = [
    "ANSWER_SCHEMA",
    "LABELS",
    "NO_FINDING",
    "SUPPORT_DEVICES",
    "Answer",
    "ConsolidationRequest",
    "Instance",
    "LabelState",
    "Region",
    "WorkerAnnotation",
    "is_orthanc_id",
    "no_finding_conflicts",
    "parse_label_list",
]

NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"

LABELS: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
    "Pleural Other",
    SUPPORT_DEVICES,
    NO_FINDING,
)
"""The fourteen labels of CheXpert and MIMIC-CXR, in the order used everywhere."""

_TYPE_NAMES = {str: "a text", int: "a whole number"}
_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")


def is_orthanc_id(text: str) -> bool:
    """Say whether a text is an Orthanc instance id: five groups of eight hexadecimal digits.

    Anything else must never be put into a URL: Orthanc resolves ``..`` in its paths.
    """
    return bool(_ORTHANC_ID.fullmatch(text))


def no_finding_conflicts(positive: Iterable[str]) -> list[str]:
    """Return the conditions that cannot be positive beside a positive "No Finding"; Support Devices may stay."""
    called = list(positive)
    return [label for label in called if label not in (NO_FINDING, SUPPORT_DEVICES)] if NO_FINDING in called else []


def parse_label_list(value: object) -> tuple[str, ...]:
    """Return the labels of a manifest line, in order.

    Parameters
    ----------
    value : object
        A list of texts, or one text with commas between the labels (the form of the published AWS sample).

    Raises
    ------
    RecordError
        Another type, an empty list, an empty label or the same label twice.
    """
    if isinstance(value, str):
        labels = tuple(part.strip() for part in value.split(","))
    elif isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        labels = tuple(part.strip() for part in value)
    else:
        raise RecordError(f"expected 'labels' as a list of texts or one text with commas, got {shown(value)}.")
    if not labels or not all(labels):
        raise RecordError(f"expected at least one label and none of them empty, got {shown(value)}.")
    if len(set(labels)) != len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise RecordError(f"expected each label once, got {', '.join(twice)} more than once.")
    return labels


@dataclass(frozen=True)
class Instance:
    """One DICOM instance in an archive: a line of ``instances.jsonl``.

    `orthanc_instance_id` is Orthanc's own hash (SHA-1 over patient id and the three UIDs), never a UID. `md5` is that of the
    whole DICOM file as stored, empty when it was not asked for.
    """

    orthanc_instance_id: str
    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    modality: str = ""
    md5: str = ""
    size_bytes: int = 0
    uri: str = ""
    """file:// or s3:// copy of the instance, when there is one beside the archive's."""
    view_position: str = ""
    """This and the four below as the file itself says; only who looked into it knows, an archive's listing does not."""
    sex: str = ""
    age: str = ""
    """DICOM age string: ``061Y``, ``006M``."""
    manufacturer: str = ""
    photometric_interpretation: str = ""

    @classmethod
    def parse(cls, value: object) -> Instance:
        """Return the instance of one JSON object; unknown keys are ignored.

        Raises
        ------
        RecordError
            No object, no `orthanc_instance_id`, or one that is not five groups of eight hexadecimal digits; another field
            that is neither absent, null nor of its type.
        """
        data = _mapping(value, "an instance")
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        identifier = str(known.get("orthanc_instance_id", ""))
        if not is_orthanc_id(identifier):
            raise RecordError(
                f"expected 'orthanc_instance_id' as five groups of eight hexadecimal digits, got {shown(identifier)}."
            )
        for name, given in known.items():
            wanted = type(cls.__dataclass_fields__[name].default) if name != "orthanc_instance_id" else str
            if type(given) is not wanted:
                raise RecordError(f"expected '{name}' as {_TYPE_NAMES[wanted]}, got {shown(given)}.")
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the empty fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if getattr(self, name)}


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
        """Return the annotation; ``s3uri`` is read like the documented ``s3Uri``, content may be text or an object."""
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
        """Return the request of one payload entry."""
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


def _mapping(value: object, what: str, error: type[Exception] = RecordError) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise error(f"expected {what} as a JSON object, got {shown(value)}.")
    return value
