"""A second job for what the first one's readers did not agree on: its manifest, and the way back into the first one's output.

An adjudicator gets the earlier answers as A, B, C: what was said and marked, never by whom. The letters are dealt anew for each
image, so that nobody's letter is known after a while.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dicom_workflow.errors import LabelingError
from dicom_workflow.formats.answers import MAX_READERS, Answer, LabelState, Region
from dicom_workflow.formats.ground_truth import ANSWERS_KEY
from dicom_workflow.formats.labels import RULES_KEY, LabelSet
from dicom_workflow.formats.manifests import MAX_ATTRIBUTE_CHARACTERS
from dicom_workflow.labeling.consolidation import WorkerAnswer, consolidate
from dicom_workflow.labeling.output import LabeledObject

KEPT_KEYS = ("source", "source-ref", "labels", RULES_KEY)
"""What the line of an adjudication job takes over from the first job's, beside the task's `adjudication_keys`. The first label,
with every reader's id, is not."""

_POINTS_TRIED = (200, 60, 24, 8)


def disputed(item: LabeledObject, *, any_difference: bool = True) -> list[str]:
    """Return the labels of an object that an adjudicator should see.

    Parameters
    ----------
    any_difference : bool
        Also labels with a majority against which one reader spoke, or of which one did not speak, and all of an image that
        one reader called unusable; else only those in review (ties, contradictions, too few votes).
    """

    def differs(label: str) -> bool:
        return len({(a.unusable != "", a.labels.get(label, LabelState.UNKNOWN)) for a in item.answers.values()}) > 1

    return [label for label in item.states if label in item.review or (any_difference and differs(label))]


def adjudication_entries(
    objects: Iterable[LabeledObject], *, any_difference: bool = True, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield an input manifest entry for each object that needs an adjudicator.

    An entry has what the first job's line had for the page, and ``earlier_answers``. Objects with fewer than two readable
    answers have nothing to choose between and are left out. Regions are shown only, so where Ground Truth's limit of 20,000
    characters for an attribute asks for it, polygons are drawn with fewer of their points.

    Parameters
    ----------
    objects : iterable of LabeledObject
        As `output.read_output` gives them for the first job's output manifest and label attribute.
    any_difference : bool
        See `disputed`.
    seed : int
        Another seed deals other letters.

    Raises
    ------
    LabelingError
        The answers of one object are too long for a manifest line whatever is left out of their regions.
    """
    for item in objects:
        if len(item.answers) >= 2 and disputed(item, any_difference=any_difference):
            entry = {key: item.data[key] for key in (*KEPT_KEYS, *item.task.adjudication_keys) if key in item.data}
            yield {**entry, "earlier_answers": _earlier(item, seed)}


def _earlier(item: LabeledObject, seed: int) -> list[dict[str, Any]]:
    def drawn(worker_id: str) -> bytes:
        return hashlib.sha256(json.dumps([seed, item.source, worker_id]).encode()).digest()

    order = sorted(item.answers, key=drawn)[:MAX_READERS]
    answers = [item.answers[worker_id] for worker_id in order]
    for most in (None, *_POINTS_TRIED):
        thinned = answers if most is None else [_thinned(answer, most) for answer in answers]
        given = [
            {"reader": letter, "answer": a.content_only()} for letter, a in zip(string.ascii_uppercase, thinned, strict=False)
        ]
        if len(json.dumps(given)) <= MAX_ATTRIBUTE_CHARACTERS:
            return given
    raise LabelingError(
        f"line {item.number}: expected earlier answers of at most {MAX_ATTRIBUTE_CHARACTERS:,} characters, which is what a "
        f"manifest takes for an attribute; those of {len(answers)} readers are longer. Leave this object out."
    )


def _thinned(answer: Answer, most: int) -> Answer:
    def fewer(region: Region) -> Region:
        points = region.points_px
        step = max(1, -(-len(points) // most))
        kept = points[::step] if region.shape == "polygon" and len(points) > most else points
        return replace(region, points_px=tuple((round(x, 1), round(y, 1)) for x, y in kept))

    return replace(answer, regions=tuple(fewer(region) for region in answer.regions))


@dataclass(frozen=True)
class Adjudicated:
    """One object of the first job after adjudication."""

    line: dict[str, Any]
    """The output manifest line; its label attribute has the final states and keeps what was there before."""
    labels: tuple[str, ...]
    """Labels whose state is the adjudicator's."""


def apply_adjudication(
    first: Iterable[LabeledObject], second: Iterable[LabeledObject], *, attribute: str, any_difference: bool = True
) -> Iterator[Adjudicated]:
    """Yield every object of the first job, in order, with the adjudicator's states over the consolidated ones.

    The label of an adjudicated object has the form of any other, so that `output.read_output`, agreement and training read it
    as before: ``votes`` and ``annotationsFromAllWorkers`` stay those of the first readers. A label that was decided has
    ``adjudicated`` true and the state ``before``, leaves ``review``, and its regions are the adjudicator's. Beside them stands
    ``adjudication``: the decided labels, the second job's name and answers, and the regions that were there before.

    A label is decided when the adjudicators gave it a state without a tie, and it was `disputed` or they changed it. Objects
    that the second job does not have, or failed on, are yielded unchanged.

    Parameters
    ----------
    first, second : iterable of LabeledObject
        Of the two output manifests, joined by what their lines point at.
    attribute : str
        Label attribute of the first job.
    """
    decisions = {item.source: item for item in second if not item.failure_reason}
    for item in first:
        decision = decisions.get(item.source)
        if decision is None or item.failure_reason or not item.answers:
            yield Adjudicated(dict(item.data), ())
            continue
        open_labels = disputed(item, any_difference=any_difference)
        decided = tuple(label for label in item.states if _is_decided(label, item, decision, open_labels))
        label = _merged(item, decision, attribute, decided)
        yield Adjudicated({**item.data, attribute: label}, decided)


def _is_decided(label: str, item: LabeledObject, decision: LabeledObject, open_labels: Sequence[str]) -> bool:
    state = decision.states.get(label, LabelState.UNKNOWN)
    if state == LabelState.UNKNOWN or label in decision.review:
        return False
    return label in open_labels or state != item.states[label]


def _merged(item: LabeledObject, decision: LabeledObject, attribute: str, decided: Sequence[str]) -> dict[str, Any]:
    before = item.data[attribute]
    if not isinstance(before.get("labels"), Mapping):  # the published sample's form leaves the vote to the reader
        before = consolidate([WorkerAnswer(worker, answer) for worker, answer in item.answers.items()]) | dict(before)
    states = {**item.states, **{label: decision.states[label] for label in decided}}
    label_set = LabelSet.of_line({"labels": list(states), **item.data})
    positive = [label for label, state in states.items() if state == LabelState.POSITIVE]
    conflicts = label_set.conflicts(positive)
    doubted = label_set.doubted(positive)
    labels = {label: dict(vote) for label, vote in before["labels"].items()}
    for label in decided:
        labels[label] |= {
            "state": str(states[label]),
            "confidence": decision.confidences.get(label, 0.0),
            "adjudicated": True,
            "before": str(item.states[label]),
        }
    after = decision.data.get(decision.attribute)
    theirs = after if isinstance(after, Mapping) else {}
    regions = [region for region in before.get("regions", ()) if region.get("label") not in decided]
    regions += [region for region in theirs.get("regions", ()) if region.get("label") in decided]
    return {
        **before,
        "labels": labels,
        "review": [label for label in labels if label in doubted or (label in item.review and label not in decided)],
        "conflicts": conflicts,
        "regions": regions,
        "adjudication": {
            "labels": list(decided),
            "job": decision.job_name,
            "unusable": theirs.get("unusable", {}),
            "regions_before": list(before.get("regions", ())),
            ANSWERS_KEY: theirs.get(ANSWERS_KEY, []),
        },
    }
