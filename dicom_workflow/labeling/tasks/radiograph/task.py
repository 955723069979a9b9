"""The radiograph: one image, perhaps a second one beside it, a state for each label, regions bound to labels.

A manifest line brings the image, ``labels``, and for the page:

===================  ==========================================================================================================
``definitions``      label → what it means
``rules``            ``{"regions": {label or "*": "required" | "optional" | "none"}, "answer_all": bool}``
``second_image``     ``{"source": …}`` or ``{"source-ref": …}`` as in a line; ``role`` (lateral, prior, other), ``caption``
``suggestions``      ``{"mode", "model", "probabilities": {label: 0 to 1}, "regions"}`` of a model
``earlier_answers``  ``[{"reader": "A", "answer": …}, …]``; two or more make the page an adjudicator's
``start_answer``     an answer to begin with
===================  ==========================================================================================================

Every value is built anew out of what the page knows, so that nothing else of a line, a patient's or a worker's id above all,
reaches a page with it. A value that cannot be used is left out and the task goes on without it.

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from dicom_workflow.errors import AnswerError, RecordError
from dicom_workflow.formats.answers import ASSISTANCE_MODES, MAX_READERS, Answer, Region, answer_schema
from dicom_workflow.formats.json_schema import Schema
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.formats.object_reference import READABLE_SCHEMES, ObjectReference, source_of
from dicom_workflow.labeling.tasks.protocol import Frame, Task, TaskInput

PASSED_ON = ("modality", "view_position", "instructions")
"""Keys of a line that reach the page as they are. Those of the table above do when they have their form; no other key does."""

OF_THE_READING = ("suggestions", "earlier_answers", "start_answer")
"""Keys of the table above that belong to one reading, and not to the image."""

MAX_CHARACTERS = 20_000
"""Of one key as JSON: Ground Truth's own limit for an attribute of a manifest line."""

MAX_DEFINITION_CHARACTERS = 2_000
MAX_NAME_CHARACTERS = 200
ROLES = ("lateral", "prior", "other")
REGION_RULES = ("required", "optional", "none")
ANY_LABEL = "*"

ImageUri = Callable[[Mapping[str, Any]], str]


def image_uri(line: Mapping[str, Any], images_s3_prefix: str = "") -> str:
    """Return the URI of the image that a line, or the ``second_image`` of one, points at.

    Raises
    ------
    RecordError
        It points at no image.
    """
    reference = ObjectReference.from_line(line)
    if reference.uri or not images_s3_prefix:
        return reference.to_uri()
    return f"{images_s3_prefix.rstrip('/')}/{reference.file_name}"


def _image_of(task_input: object) -> str:
    """The image that a task input, or its second image, names."""
    named = task_input.get("image") if isinstance(task_input, Mapping) else None
    return named if isinstance(named, str) and named.startswith(READABLE_SCHEMES) else ""


def _image_of_line(line: Mapping[str, Any]) -> str:
    """The image of a job without a pre-annotation function."""
    try:
        return image_uri(line)
    except RecordError:  # its source is a text, no image
        return ""


def page_extras(line: Mapping[str, Any], labels: Sequence[str], image_uri: ImageUri) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the extras of a line as the page gets them, and the reason for each that was left out.

    Parameters
    ----------
    line : mapping
        A manifest line.
    labels : sequence of str
        The labels of the task; what is said of others does not reach the page.
    image_uri : callable
        Gives the URI of the image that a mapping with ``source`` or ``source-ref`` points at, or raises `RecordError`.
    """
    extras: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, build in _BUILDERS.items():
        if line.get(name) is None:
            continue
        try:
            length = len(json.dumps(line[name], ensure_ascii=False))
            if length > MAX_CHARACTERS:
                raise RecordError(f"expected at most {MAX_CHARACTERS:,} characters in an attribute, got {length:,}.")
            extras[name] = build(line[name], labels, image_uri)
        except (AnswerError, RecordError) as error:
            refused[name] = str(error)
    return extras, refused


def _definitions(value: object, labels: Sequence[str], image_uri: ImageUri) -> dict[str, str]:
    given = _object(value, "definitions")
    return {label: _text(given[label], "a definition", MAX_DEFINITION_CHARACTERS) for label in labels if label in given}


def _rules(value: object, labels: Sequence[str], image_uri: ImageUri) -> dict[str, Any]:
    given = _object(value, "rules")
    rules: dict[str, Any] = {}
    if "regions" in given:
        regions = _object(given["regions"], "the rules for regions")
        rules["regions"] = {
            label: _one_of(rule, REGION_RULES, "a rule for regions")
            for label, rule in regions.items()
            if label in labels or label == ANY_LABEL
        }
    if "answer_all" in given:
        if not isinstance(given["answer_all"], bool):
            raise RecordError("expected 'answer_all' as true or false.")
        rules["answer_all"] = given["answer_all"]
    return rules


def _second_image(value: object, labels: Sequence[str], image_uri: ImageUri) -> dict[str, str]:
    given = _object(value, "second_image")
    return {
        "image": image_uri(given),
        "role": _one_of(given.get("role", "other"), ROLES, "the role of the second image"),
        "caption": _text(given.get("caption", ""), "the caption of the second image", MAX_NAME_CHARACTERS),
    }


def _suggestions(value: object, labels: Sequence[str], image_uri: ImageUri) -> dict[str, Any]:
    given = _object(value, "suggestions")
    probabilities = _object(given.get("probabilities", {}), "the probabilities")
    regions = given.get("regions", [])
    if not isinstance(regions, list):
        raise RecordError("expected the suggested regions as a list.")
    marked = [Region.parse(region) for region in regions]
    return {
        "mode": _one_of(given.get("mode", "after-first-read"), ASSISTANCE_MODES, "the mode of suggestions"),
        "model": _text(given.get("model", ""), "the name of the model", MAX_NAME_CHARACTERS),
        "probabilities": {label: _probability(probabilities[label]) for label in labels if label in probabilities},
        "regions": [region.to_json() for region in marked if region.label in labels],
    }


def _earlier_answers(value: object, labels: Sequence[str], image_uri: ImageUri) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_READERS:
        raise RecordError(f"expected 'earlier_answers' as a list of at most {MAX_READERS}.")
    answers = []
    for given in value:
        entry = _object(given, "an earlier answer")
        reader = str(entry.get("reader"))
        if not re.fullmatch("[A-Z]", reader):  # whatever else stands there could be somebody's id
            raise RecordError("expected the reader of an earlier answer as a letter from A to Z.")
        answers.append({"reader": reader, "answer": Answer.parse(entry.get("answer")).content_only(labels)})
    return answers


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RecordError(f"expected {what} as a JSON object, got {type(value).__name__}.")
    return value


def _text(value: object, what: str, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise RecordError(f"expected {what} as a text of at most {most:,} characters.")
    return value


def _one_of(value: object, choices: Sequence[str], what: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise RecordError(f"expected {what} as one of {', '.join(choices)}.")
    return value


def _probability(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise RecordError("expected a probability as a number from 0 to 1.")
    return round(float(value), 4)


def _start_answer(value: object, labels: Sequence[str], image_uri: ImageUri) -> dict[str, Any]:
    return Answer.parse(value).content_only(labels)


_BUILDERS: dict[str, Callable[[object, Sequence[str], ImageUri], Any]] = {
    "definitions": _definitions,
    "rules": _rules,
    "second_image": _second_image,
    "suggestions": _suggestions,
    "earlier_answers": _earlier_answers,
    "start_answer": _start_answer,
}
"""Key of a line → what the page gets of its value; each is given the labels of the task and `image_uri` as well."""


class Radiograph(Task):
    """The radiograph task."""

    name: ClassVar[str] = "radiograph"
    title: ClassVar[str] = "Read radiographs"
    description: ClassVar[str] = "Say for each label whether the radiograph shows it, and mark where."
    template_file: ClassVar[str] = "radiograph.liquid.html"
    page_keys: ClassVar[tuple[str, ...]] = ("instructions", *_BUILDERS)
    adjudication_keys: ClassVar[tuple[str, ...]] = (*PASSED_ON, *(key for key in _BUILDERS if key not in OF_THE_READING))

    def answer_schema(self) -> Schema:
        """Return the schema ``dicom-workflow/answer/2``."""
        return answer_schema()

    def task_input(self, line: Mapping[str, Any], *, images_s3_prefix: str = "") -> TaskInput:
        """Return ``labels`` (list), ``image`` (the URI for ``grant_read_access``), ``source``, and what else the line has.

        Parameters
        ----------
        line : mapping
            The whole manifest line.
        images_s3_prefix : str
            s3:// folder with a copy of each image, named as `ObjectReference.file_name` says: ``<Orthanc id>.dcm`` for a line
            whose ``source`` is an Orthanc id, ``<SOP Instance UID>.dcm`` for a resource path; `archive.download.copy_to`
            writes the same names. Without one, the image of a ``source`` line is ``orthanc://<Orthanc id>`` or
            ``dicomweb://<resource path>``, which the self-hosted labeling service resolves.

        Raises
        ------
        RecordError
            The line has no labels, or points at no image.
        """
        labels = list(parse_label_list(line.get("labels")))
        image = image_uri(line, images_s3_prefix)
        extras, left_out = page_extras(line, labels, lambda given: image_uri(given, images_s3_prefix))
        data = {
            "labels": labels,
            "image": image,
            "source": source_of(line),
            **{key: line[key] for key in PASSED_ON if key in line},
            **extras,
        }
        return TaskInput(data, left_out)

    def parse(self, content: object) -> Answer:
        """Return the answer of one text; see `Answer.parse` for the forms that are read."""
        return Answer.parse(content)

    def frames(self, line: Mapping[str, Any], task_input: Mapping[str, Any] | None) -> tuple[Frame, ...]:
        """Return the image and the second image, each as it is stored and as PNG for a page that cannot decode it."""
        frames: list[Frame] = []
        if image := _image_of(task_input) or _image_of_line(line):
            frames += [Frame("image", image), Frame("rendered.png", image, rendered=True, input_key="renderedImage")]
        if second := _image_of((task_input or {}).get("second_image")):
            frames += [Frame("second", second), Frame("second-rendered.png", second, rendered=True, input_key="renderedSecond")]
        return tuple(frames)
