"""Every datum that crosses a border of the package: frozen, parsed on the way in, JSON on the way out.

Only the standard library is used, because the two Lambda functions ship with this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dicom_workflow.errors import AnswerError, RecordError

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

ANSWER_SCHEMA = "dicom-workflow/answer/1"

_TYPE_NAMES = {str: "a text", int: "a whole number"}
_ORTHANC_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}")


class LabelState(StrEnum):
    """What somebody says of one label on one image."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCERTAIN = "uncertain"
    UNKNOWN = "unknown"


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
        raise RecordError(f"expected 'labels' as a list of texts or one text with commas, got {_shown(value)}.")
    if not labels or not all(labels):
        raise RecordError(f"expected at least one label and none of them empty, got {_shown(value)}.")
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
                f"expected 'orthanc_instance_id' as five groups of eight hexadecimal digits, got {_shown(identifier)}."
            )
        for name, given in known.items():
            wanted = type(cls.__dataclass_fields__[name].default) if name != "orthanc_instance_id" else str
            if type(given) is not wanted:
                raise RecordError(f"expected '{name}' as {_TYPE_NAMES[wanted]}, got {_shown(given)}.")
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object without the empty fields."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if getattr(self, name)}


@dataclass(frozen=True)
class Region:
    """A marked place, bound to one label.

    `points_px` are (x, y) in image pixels, corner origin: (0, 0) is the outer corner of the first pixel, x runs along the
    columns, y along the rows. A rectangle or ellipse has two opposite corners of its bounding box; a polygon at least three
    points; a point one.
    """

    label: str
    shape: str
    points_px: tuple[tuple[float, float], ...]
    comment: str = ""

    SHAPES = ("rectangle", "ellipse", "polygon", "point")

    @classmethod
    def parse(cls, value: object) -> Region:
        """Return the region of one JSON object.

        Raises
        ------
        AnswerError
            The shape is none of `SHAPES`, or the points are not enough pairs of finite numbers for it.
        """
        data = _mapping(value, "a region", AnswerError)
        shape = str(data.get("shape", ""))
        if shape not in cls.SHAPES:
            raise AnswerError(f"expected a region's shape as one of {', '.join(cls.SHAPES)}, got {_shown(shape)}.")
        try:
            points = tuple((_number(x), _number(y)) for x, y in data.get("points_px", ()))
        except (TypeError, ValueError, OverflowError):
            raise AnswerError(f"expected points_px as pairs of numbers, got {_shown(data.get('points_px'))}.") from None
        if any(abs(number) > 1e6 or number != number for point in points for number in point):
            raise AnswerError("expected points_px as finite image coordinates.")
        needed = {"rectangle": 2, "ellipse": 2, "polygon": 3, "point": 1}[shape]
        if len(points) < needed or (shape in ("rectangle", "ellipse", "point") and len(points) != needed):
            raise AnswerError(f"expected {needed} points for a {shape}, got {len(points)}.")
        return cls(str(data.get("label") or ""), shape, points, comment=str(data.get("comment") or ""))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads."""
        data: dict[str, Any] = {"label": self.label, "shape": self.shape, "points_px": [list(p) for p in self.points_px]}
        return {**data, "comment": self.comment} if self.comment else data


@dataclass(frozen=True)
class Answer:
    """What one worker said of one image.

    `labels` holds a state for each label the worker spoke of; the others are unknown. `unusable` is a reason code when the
    image could not be read at all; then there are no labels.
    """

    labels: Mapping[str, LabelState] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    comment: str = ""
    unusable: str = ""

    @classmethod
    def parse(cls, value: object) -> Answer:
        """Return the answer of one ``answerContent`` or ``annotationData.content``.

        Three forms are read: this package's own (`ANSWER_SCHEMA`, inside a hidden input named ``annotation`` or bare), the
        form of the published AWS radiograph sample (``{"disease": {label: bool}, "labels": "{\\"label\\": […]}"}``), and a
        plain ``{"labels": {label: state}}``. JSON that was encoded more than once is decoded as often as it was encoded.

        Raises
        ------
        AnswerError
            Not JSON, or none of the three forms.
        """
        data = _decoded(value)
        if isinstance(data, Mapping) and "annotation" in data:
            data = _decoded(data["annotation"])
        if not isinstance(data, Mapping):
            raise AnswerError(f"expected the answer as a JSON object, got {_shown(data)}.")
        if "disease" in data or _names_labels(data.get("labels")):
            return cls._parse_aws_sample(data)
        if not ({"labels", "unusable"} & set(data)):
            raise AnswerError(f"expected an answer with 'labels' or 'unusable', got keys {sorted(map(str, data))[:8]}.")
        schema = data.get("schema", ANSWER_SCHEMA)
        if schema != ANSWER_SCHEMA:
            raise AnswerError(f"expected schema {ANSWER_SCHEMA!r}, got {_shown(schema)}. Update dicom-workflow.")
        labels = data.get("labels") or {}
        if not isinstance(labels, Mapping):
            raise AnswerError(f"expected 'labels' as an object of label to state, got {_shown(labels)}.")
        regions = data.get("regions") or []
        if not isinstance(regions, list):
            raise AnswerError(f"expected 'regions' as a list, got {_shown(regions)}.")
        return cls(
            labels={str(label): _state(state) for label, state in labels.items()},
            regions=tuple(Region.parse(region) for region in regions),
            comment=str(data.get("comment") or ""),
            unusable=str(data.get("unusable") or ""),
        )

    @classmethod
    def _parse_aws_sample(cls, data: Mapping[str, Any]) -> Answer:
        boxes = data.get("disease") or {}
        if not isinstance(boxes, Mapping):
            raise AnswerError(f"expected 'disease' as an object of label to true or false, got {_shown(boxes)}.")
        said = _decoded(data.get("labels")) if data.get("labels") is not None else {}
        ticked = said.get("label", []) if isinstance(said, Mapping) else []
        positive = [ticked] if isinstance(ticked, str) else ticked
        if not isinstance(positive, list):
            raise AnswerError(f"expected 'label' as a list of labels, got {_shown(positive)}.")
        states = {str(label): LabelState.POSITIVE if box is True else LabelState.NEGATIVE for label, box in boxes.items()}
        states.update({str(label): LabelState.POSITIVE for label in positive})
        roi = said.get("ROI") if isinstance(said, Mapping) else None
        region = _aws_sample_region(roi)
        return cls(labels=states, regions=(region,) if region else ())

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads, with its schema."""
        data: dict[str, Any] = {
            "schema": ANSWER_SCHEMA,
            "labels": {label: str(state) for label, state in self.labels.items()},
            "regions": [region.to_json() for region in self.regions],
        }
        if self.comment:
            data["comment"] = self.comment
        if self.unusable:
            data["unusable"] = self.unusable
        return data


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
            raise RecordError(f"expected 'workerId' as a text, got {_shown(worker_id)}.")
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
            raise RecordError(f"expected 'datasetObjectId' as a text, got {_shown(identifier)}.")
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
        raise error(f"expected {what} as a JSON object, got {_shown(value)}.")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _state(value: object) -> LabelState:
    if isinstance(value, bool):
        return LabelState.POSITIVE if value else LabelState.NEGATIVE
    try:
        return LabelState(str(value))
    except ValueError:
        states = ", ".join(LabelState)
        raise AnswerError(f"expected a label state as one of {states}, got {_shown(value)}.") from None


def _decoded(value: object) -> object:
    """Undo JSON text as often as it was encoded: hidden inputs arrive encoded twice."""
    for _ in range(5):
        if not isinstance(value, str):
            return value
        try:
            value = json.loads(value)
        except ValueError:
            raise AnswerError(f"expected the answer as JSON, got {_shown(value)}.") from None
        except RecursionError:
            raise AnswerError("expected an answer of sane depth, got JSON nested too deep to read.") from None
    return value


def _names_labels(value: object) -> bool:
    try:
        said = _decoded(value)
    except AnswerError:
        return False
    label = said.get("label") if isinstance(said, Mapping) else None
    return isinstance(label, list) or (isinstance(label, str) and label not in list(LabelState))


def _aws_sample_region(roi: object) -> Region | None:
    """The sample keeps one region without a label; its coordinates have a pixel's centre as origin, hence the half."""
    try:
        if not isinstance(roi, Mapping):
            return None
        if "vertices" in roi:
            handles = roi["vertices"]
            points = handles.get("points", handles) if isinstance(handles, Mapping) else handles
            return Region("", "polygon", tuple((float(p["x"]) + 0.5, float(p["y"]) + 0.5) for p in points))
        corners = tuple((float(roi[end]["x"]) + 0.5, float(roi[end]["y"]) + 0.5) for end in ("start", "end"))
        return Region("", "rectangle", corners)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _shown(value: object) -> str:
    """A short, safe repr: never a whole answer or header in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
