"""A model beside single readers: where their answers stand in a manifest's lines, and how often they say the same.

A reader who was shown a model's suggestions counts with what was said before they were shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dicom_workflow.errors import AnswerError, RecordError
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.formats.ground_truth import WorkerAnnotation
from dicom_workflow.learning.evaluation.bootstrap import number

ANSWERS_KEY = "annotationsFromAllWorkers"

States = Mapping[str, LabelState]


def read_readers(line: Mapping[str, Any]) -> tuple[dict[str, States], int]:
    """Return what each reader said of one image, and how many answers could not be read.

    Parameters
    ----------
    line : mapping
        Line of an output or augmented manifest. Under its label attribute, whatever that is called, stand the answers.

    Returns
    -------
    dict of str to mapping of str to LabelState
        Worker → label → state. Who called the image unusable, or was shown a model's answer from the start, is not in it.
    int
        Answers in no known form, or kept in another object: those are not fetched.
    """
    found: dict[str, States] = {}
    unreadable = 0
    for value in line.values():
        given = value.get(ANSWERS_KEY) if isinstance(value, Mapping) else None
        for annotation in given if isinstance(given, list) else ():
            try:
                said = WorkerAnnotation.parse(annotation)
                answer = Answer.parse(said.content)
            except (AnswerError, RecordError):
                unreadable += 1
                continue
            own = answer.first_read or (answer if answer.assistance.get("mode", "off") == "off" else None)
            if own is not None and not own.unusable:
                found[said.worker_id] = own.labels
    return found, unreadable


def against_readers(
    called: np.ndarray,
    answers: Sequence[Mapping[str, States]],
    *,
    labels: Sequence[str],
    targets: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return the confusion of a model with each reader.

    Parameters
    ----------
    called : ndarray, shape (n, labels), bool
        What the model calls positive at its thresholds.
    answers : sequence of mapping
        From `read_readers`, one per image.
    labels : sequence of str
    targets : ndarray, shape (n, labels), optional
        What is known from elsewhere: each reader's own sensitivity and specificity are measured against it. Never the
        consolidated answers, which the reader had a voice in.

    Returns
    -------
    list of dict
        Per reader, in the order of worker ids: `reader` (a number, for reports), `worker_id`, `images`, and `labels`: label →
        `both_positive`, `model_only`, `reader_only`, `both_negative`, `kappa` (Cohen; null where one of them never varies),
        and with targets `sensitivity` and `specificity` of the reader. Uncertain and unknown are not counted.
    """
    workers = sorted({worker for image in answers for worker in image})
    found = []
    for position, worker in enumerate(workers, start=1):
        said = np.array([[_number(image.get(worker, {}).get(label)) for label in labels] for image in answers])
        found.append(
            {
                "reader": position,
                "worker_id": worker,
                "images": int((~np.isnan(said)).any(axis=1).sum()),
                "labels": {
                    label: {
                        **_confusion(called[:, column], said[:, column]),
                        **({} if targets is None else _accuracy(said[:, column], targets[:, column])),
                    }
                    for column, label in enumerate(labels)
                },
            }
        )
    return found


def _confusion(called: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    yes, no = said == 1, said == 0
    both, model, reader, neither = (int(part.sum()) for part in (called & yes, called & no, ~called & yes, ~called & no))
    total = both + model + reader + neither
    kappa = float("nan")
    if total:
        chance = ((both + model) * (both + reader) + (reader + neither) * (model + neither)) / total**2
        kappa = ((both + neither) / total - chance) / (1 - chance) if chance < 1 else float("nan")
    return {
        "both_positive": both,
        "model_only": model,
        "reader_only": reader,
        "both_negative": neither,
        "kappa": number(kappa),
    }


def _accuracy(said: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    spoke = ~np.isnan(said)
    positive, negative = spoke & (targets == 1), spoke & (targets == 0)
    return {
        "sensitivity": number(said[positive].mean()) if positive.any() else None,
        "specificity": number(1 - said[negative].mean()) if negative.any() else None,
    }


def _number(state: LabelState | None) -> float:
    return 1.0 if state == LabelState.POSITIVE else 0.0 if state == LabelState.NEGATIVE else float("nan")
