"""What a manifest line may bring for the worker's page beside its image and labels, held to its form.

Every value is built anew out of what the page knows, so that nothing else of a line, a patient's or a worker's id above all,
reaches a page with it. What cannot be used is left out and the task goes on without it.

===================  ==========================================================================================================
``definitions``      label → what it means
``rules``            ``{"regions": {label or "*": "required" | "optional" | "none"}, "answer_all": bool}``
``second_image``     ``{"source": Orthanc id}`` or ``{"source-ref": URI}``; ``role`` (lateral, prior, other), ``caption``
``suggestions``      ``{"mode", "model", "probabilities": {label: 0 to 1}, "regions"}`` of a model
``earlier_answers``  ``[{"reader": "A", "answer": …}, …]``; two or more make the page an adjudicator's
``start_answer``     an answer to begin with
===================  ==========================================================================================================

Only the standard library is used: this module ships inside the pre-annotation Lambda.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dicom_workflow.errors import AnswerError, RecordError
from dicom_workflow.formats.answers import Answer, Region

MAX_CHARACTERS = 20_000
"""Of one key as JSON: Ground Truth's own limit for an attribute of a manifest line."""

MAX_DEFINITION_CHARACTERS = 2_000
MAX_NAME_CHARACTERS = 200
MAX_READERS = 26
ROLES = ("lateral", "prior", "other")
MODES = ("off", "after-first-read", "shown")
REGION_RULES = ("required", "optional", "none")
ANY_LABEL = "*"

ImageUri = Callable[[object, object], str]


def page_extras(line: Mapping[str, Any], labels: Sequence[str], image_uri: ImageUri) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the extras of a line as the page gets them, and the reason for each that was left out.

    Parameters
    ----------
    line : mapping
        A manifest line.
    labels : sequence of str
        The labels of the task; what is said of others does not reach the page.
    image_uri : callable
        Gives the URI of an image from a ``source`` and a ``source-ref``, or raises `RecordError`.
    """
    builders: dict[str, Callable[[Any], Any]] = {
        "definitions": lambda value: _definitions(value, labels),
        "rules": lambda value: _rules(value, labels),
        "second_image": lambda value: _second_image(value, image_uri),
        "suggestions": lambda value: _suggestions(value, labels),
        "earlier_answers": lambda value: _earlier_answers(value, labels),
        "start_answer": lambda value: said_by(Answer.parse(value), labels),
    }
    extras: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, build in builders.items():
        if line.get(name) is None:
            continue
        try:
            length = len(json.dumps(line[name], ensure_ascii=False))
            if length > MAX_CHARACTERS:
                raise RecordError(f"expected at most {MAX_CHARACTERS:,} characters in an attribute, got {length:,}.")
            extras[name] = build(line[name])
        except (AnswerError, RecordError) as error:
            refused[name] = str(error)
    return extras, refused


def said_by(answer: Answer, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Return labels, regions, comment and reason of an answer as JSON, and nothing of who gave it, when, and how.

    What is said of labels outside of `labels`, when there are any, is left out.
    """
    states = {label: state for label, state in answer.labels.items() if not labels or label in labels}
    regions = tuple(region for region in answer.regions if not labels or not region.label or region.label in labels)
    return Answer(states, regions, answer.comment, answer.unusable).to_json()


def _definitions(value: object, labels: Sequence[str]) -> dict[str, str]:
    given = _object(value, "definitions")
    return {label: _text(given[label], "a definition", MAX_DEFINITION_CHARACTERS) for label in labels if label in given}


def _rules(value: object, labels: Sequence[str]) -> dict[str, Any]:
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


def _second_image(value: object, image_uri: ImageUri) -> dict[str, str]:
    given = _object(value, "second_image")
    return {
        "image": image_uri(given.get("source"), given.get("source-ref")),
        "role": _one_of(given.get("role", "other"), ROLES, "the role of the second image"),
        "caption": _text(given.get("caption", ""), "the caption of the second image", MAX_NAME_CHARACTERS),
    }


def _suggestions(value: object, labels: Sequence[str]) -> dict[str, Any]:
    given = _object(value, "suggestions")
    probabilities = _object(given.get("probabilities", {}), "the probabilities")
    regions = given.get("regions", [])
    if not isinstance(regions, list):
        raise RecordError("expected the suggested regions as a list.")
    marked = [Region.parse(region) for region in regions]
    return {
        "mode": _one_of(given.get("mode", "after-first-read"), MODES, "the mode of suggestions"),
        "model": _text(given.get("model", ""), "the name of the model", MAX_NAME_CHARACTERS),
        "probabilities": {label: _probability(probabilities[label]) for label in labels if label in probabilities},
        "regions": [region.to_json() for region in marked if region.label in labels],
    }


def _earlier_answers(value: object, labels: Sequence[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or len(value) > MAX_READERS:
        raise RecordError(f"expected 'earlier_answers' as a list of at most {MAX_READERS}.")
    answers = []
    for given in value:
        entry = _object(given, "an earlier answer")
        reader = str(entry.get("reader"))
        if not re.fullmatch("[A-Z]", reader):  # whatever else stands there could be somebody's id
            raise RecordError("expected the reader of an earlier answer as a letter from A to Z.")
        answers.append({"reader": reader, "answer": said_by(Answer.parse(entry.get("answer")), labels)})
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
