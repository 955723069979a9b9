"""One worker's answer on one image: label states, regions, and measurements of the reading.

Answers are written in the form ``dicom-workflow/answer/2``, which a JSON schema defines for the worker's page and for this
package; plain label states and the form of the published AWS sample are read too. Points are (x, y) in image pixels, corner
origin: (0, 0) is the outer corner of the first pixel, x runs along the columns, y along the rows.

Only the standard library is used, because the two Lambda functions ship with this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from dicom_workflow.errors import AnswerError
from dicom_workflow.formats.json_schema import Schema, parse_json, shown

ANSWER_SCHEMA = "dicom-workflow/answer/2"
SCHEMA_FILE = "formats/schemas/answer.schema.json"
"""The schema of answers, in this package."""

MAX_COORDINATE_PX = 1_000_000

ASSISTANCE_MODES = ("off", "after-first-read", "shown")
"""When readers see the suggestions of a model."""

MAX_READERS = 26
"""Earlier readers of one object that an adjudicator is shown: one for each letter."""


class LabelState(StrEnum):
    """State of one label on one image."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCERTAIN = "uncertain"
    UNKNOWN = "unknown"


@cache
def answer_schema() -> Schema:
    """Return the schema of answers."""
    file = resources.files("dicom_workflow").joinpath(*SCHEMA_FILE.split("/"))
    return Schema(json.loads(file.read_text(encoding="utf-8")))


def unusable_reasons() -> tuple[str, ...]:
    """Return the reason codes for an image that cannot be read."""
    return tuple(code for code in answer_schema().schema["properties"]["unusable"]["enum"] if code)


@dataclass(frozen=True)
class Region:
    """A marked region, bound to one label.

    A rectangle or ellipse has two opposite corners of its bounding box; a polygon at least three points; a point one.
    """

    label: str
    shape: str
    points_px: tuple[tuple[float, float], ...]
    comment: str = ""

    SHAPES = ("rectangle", "ellipse", "polygon", "point")

    @classmethod
    def parse(cls, value: object) -> Region:
        """Return the region of one JSON object; other keys are ignored.

        Raises
        ------
        AnswerError
            The shape is none of `SHAPES`, or the points are not enough pairs of finite numbers for it.
        """
        if not isinstance(value, Mapping):
            raise AnswerError(f"expected a region as a JSON object, got {shown(value)}.")
        shape = str(value.get("shape", ""))
        if shape not in cls.SHAPES:
            raise AnswerError(f"expected a region's shape as one of {', '.join(cls.SHAPES)}, got {shown(shape)}.")
        try:
            points = tuple((_number(x), _number(y)) for x, y in value.get("points_px", ()))
        except (TypeError, ValueError, OverflowError):
            raise AnswerError(f"expected points_px as pairs of numbers, got {shown(value.get('points_px'))}.") from None
        if any(abs(number) > MAX_COORDINATE_PX or number != number for point in points for number in point):
            raise AnswerError("expected points_px as finite image coordinates.")
        needed = {"rectangle": 2, "ellipse": 2, "polygon": 3, "point": 1}[shape]
        if len(points) < needed or (shape in ("rectangle", "ellipse", "point") and len(points) != needed):
            raise AnswerError(f"expected {needed} points for a {shape}, got {len(points)}.")
        return cls(str(value.get("label") or ""), shape, points, comment=str(value.get("comment") or ""))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads."""
        data: dict[str, Any] = {"label": self.label, "shape": self.shape, "points_px": [list(p) for p in self.points_px]}
        return {**data, "comment": self.comment} if self.comment else data


@dataclass(frozen=True)
class Answer:
    """One worker's answer on one image.

    `labels` holds the states that the worker gave; other labels are unknown. `unusable` is a reason code when the image could
    not be read at all; then there are no labels. The fields below are the page's record of the reading: JSON objects in the
    form of the schema, empty where an answer does not have them, never to be changed.
    """

    labels: Mapping[str, LabelState] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    comment: str = ""
    unusable: str = ""
    measurements: tuple[Mapping[str, Any], ...] = ()
    """Lengths and angles: ``kind``, ``points_px``, ``value``, ``unit``."""
    image: Mapping[str, Any] = field(default_factory=dict)
    """``sop_instance_uid``, ``rows``, ``columns``, and ``stand_in`` for a picture shown instead of the pixels."""
    viewport: Mapping[str, Any] = field(default_factory=dict)
    """Window, zoom and orientation at the end."""
    timings: Mapping[str, Any] = field(default_factory=dict)
    """``opened_at``, ``sent_at``, ``active_seconds`` and more."""
    actions: Mapping[str, Any] = field(default_factory=dict)
    """How many ``clicks``, ``keys``, ``changes``, ``undone``."""
    assistance: Mapping[str, Any] = field(default_factory=dict)
    """A model's suggestions and the answer before the reader saw them; see `first_read`."""
    adjudication: Mapping[str, Any] = field(default_factory=dict)
    """How many earlier readers there were, what they ``agreed`` on, and with whom the adjudicator ``decided``."""
    page: str = ""
    """Version of the page."""

    @classmethod
    def parse(cls, value: object) -> Answer:
        """Return the answer of one ``answerContent`` or ``annotationData.content``.

        Read are this package's own form (`ANSWER_SCHEMA`, inside a hidden input named ``annotation`` or bare), validated
        against its schema; a plain ``{"labels": {label: state}}``; and the form of the published AWS radiograph sample
        (``{"disease": {label: bool}, "labels": "{\\"label\\": […]}"}``). JSON that was encoded more than once is decoded as
        often as it was encoded.

        Raises
        ------
        AnswerError
            Not JSON, or none of these forms.
        """
        data = decoded(value)
        if isinstance(data, Mapping) and "annotation" in data:
            data = decoded(data["annotation"])
        if not isinstance(data, Mapping):
            raise AnswerError(f"expected the answer as a JSON object, got {shown(data)}.")
        if data.get("schema") == ANSWER_SCHEMA:
            return cls._parse_own(data)
        if "disease" in data or _names_labels(data.get("labels")):
            return _aws_sample_answer(data)
        return _plain_answer(data)

    @classmethod
    def _parse_own(cls, data: Mapping[str, Any]) -> Answer:
        if problem := answer_schema().problem(data):
            raise AnswerError(problem)
        return cls(
            labels={label: LabelState(state) for label, state in data["labels"].items()},
            regions=tuple(Region.parse(region) for region in data["regions"]),
            comment=data.get("comment", ""),
            unusable=data.get("unusable", ""),
            measurements=tuple(data.get("measurements", ())),
            page=data.get("page", ""),
            **{name: data.get(name, {}) for name in _OBJECTS},
        )

    @property
    def first_read(self) -> Answer | None:
        """The answer before a model's suggestions were shown; None where none were shown, or from the start."""
        first = self.assistance.get("first")
        if not first or self.assistance.get("mode") != "after-first-read":
            return None
        return Answer(
            labels={label: LabelState(state) for label, state in first["labels"].items()},
            regions=tuple(Region.parse(region) for region in first["regions"]),
            unusable=first.get("unusable", ""),
        )

    @property
    def unassisted(self) -> Answer | None:
        """The answer that no model had a part in: this one, or the first reading; None where a model's was always shown."""
        return self.first_read or (self if self.assistance.get("mode", "off") == "off" else None)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads, in the form of `ANSWER_SCHEMA`.

        A reason code that the schema does not have becomes ``other``.
        """
        data: dict[str, Any] = {
            "schema": ANSWER_SCHEMA,
            "pixel_origin": "corner",
            "labels": {label: str(state) for label, state in self.labels.items()},
            "regions": [region.to_json() for region in self.regions],
        }
        if self.unusable:
            data["unusable"] = self.unusable if self.unusable in unusable_reasons() else "other"
        if self.measurements:
            data["measurements"] = [dict(measurement) for measurement in self.measurements]
        for name in ("comment", *_OBJECTS, "page"):
            if said := getattr(self, name):
                data[name] = said
        return data

    def content_only(self, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Return labels, regions, comment and reason of the answer as JSON, and nothing of who gave it, when, and how.

        What is said of labels outside of `labels`, when there are any, is left out.
        """
        states = {label: state for label, state in self.labels.items() if not labels or label in labels}
        regions = tuple(region for region in self.regions if not labels or not region.label or region.label in labels)
        return Answer(states, regions, self.comment, self.unusable).to_json()


_OBJECTS = ("image", "viewport", "timings", "actions", "assistance", "adjudication")


def _plain_answer(data: Mapping[str, Any]) -> Answer:
    if not ({"labels", "unusable"} & set(data)):
        raise AnswerError(f"expected an answer with 'labels' or 'unusable', got keys {sorted(map(str, data))[:8]}.")
    if "schema" in data:
        raise AnswerError(f"expected schema {ANSWER_SCHEMA!r}, got {shown(data['schema'])}. Update dicom-workflow.")
    labels = data.get("labels") or {}
    if not isinstance(labels, Mapping):
        raise AnswerError(f"expected 'labels' as an object of label to state, got {shown(labels)}.")
    regions = data.get("regions") or []
    if not isinstance(regions, list):
        raise AnswerError(f"expected 'regions' as a list, got {shown(regions)}.")
    return Answer(
        labels={str(label): parse_state(state) for label, state in labels.items()},
        regions=tuple(Region.parse(region) for region in regions),
        comment=str(data.get("comment") or ""),
        unusable=str(data.get("unusable") or ""),
    )


def _aws_sample_answer(data: Mapping[str, Any]) -> Answer:
    boxes = data.get("disease") or {}
    if not isinstance(boxes, Mapping):
        raise AnswerError(f"expected 'disease' as an object of label to true or false, got {shown(boxes)}.")
    said = decoded(data.get("labels")) if data.get("labels") is not None else {}
    ticked = said.get("label", []) if isinstance(said, Mapping) else []
    positive = [ticked] if isinstance(ticked, str) else ticked
    if not isinstance(positive, list):
        raise AnswerError(f"expected 'label' as a list of labels, got {shown(positive)}.")
    states = {str(label): LabelState.POSITIVE if box is True else LabelState.NEGATIVE for label, box in boxes.items()}
    states.update({str(label): LabelState.POSITIVE for label in positive})
    region = _aws_sample_region(said.get("ROI") if isinstance(said, Mapping) else None)
    return Answer(labels=states, regions=(region,) if region else ())


def _aws_sample_region(roi: object) -> Region | None:
    """The sample keeps one region without a label; its coordinates have a pixel's centre as origin, hence the half.

    A damaged region is left out: the sample's labels count without it.
    """
    try:
        if not isinstance(roi, Mapping):
            return None
        if "vertices" in roi:
            handles = roi["vertices"]
            points = handles.get("points", handles) if isinstance(handles, Mapping) else handles
            shape = "polygon"
        else:
            points, shape = [roi["start"], roi["end"]], "rectangle"
        return Region.parse({"shape": shape, "points_px": [(float(p["x"]) + 0.5, float(p["y"]) + 0.5) for p in points]})
    except (AnswerError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _names_labels(value: object) -> bool:
    try:
        said = decoded(value)
    except AnswerError:
        return False
    label = said.get("label") if isinstance(said, Mapping) else None
    return isinstance(label, list) or (isinstance(label, str) and label not in list(LabelState))


def decoded(value: object) -> object:
    """Return a value with its JSON text undone as often as it was encoded: hidden inputs arrive encoded twice.

    Raises
    ------
    AnswerError
        The text is not JSON.
    """
    for _ in range(5):
        if not isinstance(value, str):
            return value
        try:
            value = parse_json(value)
        except ValueError:
            raise AnswerError(f"expected the answer as JSON, got {shown(value)}.") from None
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def parse_state(value: object) -> LabelState:
    """Return the state of a JSON value; true is positive, false negative.

    Raises
    ------
    AnswerError
        No state.
    """
    if isinstance(value, bool):
        return LabelState.POSITIVE if value else LabelState.NEGATIVE
    try:
        return LabelState(str(value))
    except ValueError:
        states = ", ".join(LabelState)
        raise AnswerError(f"expected a label state as one of {states}, got {shown(value)}.") from None
