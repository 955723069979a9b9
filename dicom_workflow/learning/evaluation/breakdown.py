"""Figures broken down: by subgroup of the images, beside single readers, and where labels exclude each other.

Of a patient nothing but the attributes of the manifest line is read, and ages only as bands. Sites and manufacturers are free
text: those with few patients are pooled, so that a name that stands in one patient's file alone never reaches a report.

References
----------
PS3.3 C.7.1.1 (sex), C.7.2.2 (age), C.7.5.1 (manufacturer, institution), C.8.11.5 and C.8.1.2 (view position), C.7.6.3.1.2
(photometric interpretation).
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import LabelSet
from dicom_workflow.learning.evaluation.bootstrap import mean, number, patient_weights, spread
from dicom_workflow.learning.evaluation.curves import Steps
from dicom_workflow.learning.evaluation.report import ExclusionCounts, ReaderComparison, ReaderLabel, Subgroup, SubgroupLabel

FIELDS = ("view_position", "sex", "age_band", "site", "manufacturer", "photometric_interpretation")
UNKNOWN, OTHER = "unknown", "other"
FEWEST = 5
"""Positive and negative images that a label of a group needs for an AUROC, and patients that a free text needs for a name."""

_VIEWS = {"AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL"}
_SEXES = {"F": "female", "M": "male", "O": "other", "FEMALE": "female", "MALE": "male", "OTHER": "other"}
_PHOTOMETRIC = {"MONOCHROME1", "MONOCHROME2"}
_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (130, "80 and over"))


def groups_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return which group of each of `FIELDS` an image is in.

    Parameters
    ----------
    attributes : mapping
        `Sample.attributes`: ``view_position``, ``sex``, ``age`` (years), ``site``, ``manufacturer`` and
        ``photometric_interpretation``.

    Returns
    -------
    dict of str to str
        `UNKNOWN` where the attributes say nothing, `OTHER` where they name no known view, sex or interpretation.
    """
    said = {name: str(attributes.get(name) or "") for name in FIELDS}
    return {
        "view_position": _one_of(said["view_position"], {view: view for view in _VIEWS}),
        "sex": _one_of(said["sex"], _SEXES),
        "age_band": _age_band(attributes.get("age")),
        "site": _plain(said["site"]),
        "manufacturer": _plain(said["manufacturer"]),
        "photometric_interpretation": _one_of(said["photometric_interpretation"], {name: name for name in _PHOTOMETRIC}),
    }


def by_subgroup(
    targets: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[Mapping[str, str]],
    *,
    labels: Sequence[str],
    patients: Sequence[str],
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, dict[str, Subgroup]]:
    """Return the figures of each group of each field that splits the images.

    Parameters
    ----------
    targets, scores : ndarray, shape (n, labels)
    groups : sequence of mapping
        From `groups_of`, one per image.
    labels, patients : sequence of str
    resamples, seed : int
        Intervals resample the patients of a group.

    Returns
    -------
    dict of str to dict of str to Subgroup
        Field → group → figures. A label of a group with fewer than `FEWEST` positive or negative images has no AUROC. A field
        in which all images are alike is left out.
    """
    found: dict[str, dict[str, Subgroup]] = {}
    for name in FIELDS:
        values = [str(each.get(name, UNKNOWN)) for each in groups]
        if name in ("site", "manufacturer"):
            values = _pooled(values, patients)
        if len(set(values)) < 2:
            continue
        order = sorted(set(values), key=lambda value: (value in (UNKNOWN, OTHER), value))
        found[name] = {}
        for value in order:
            rows = np.array([row for row, here in enumerate(values) if here == value])
            who = [patients[row] for row in rows]
            found[name][value] = _group(targets[rows], scores[rows], labels, who, resamples, seed)
    return found


def _group(
    targets: np.ndarray, scores: np.ndarray, labels: Sequence[str], patients: Sequence[str], resamples: int, seed: int
) -> Subgroup:
    counts = [(int((targets[:, c] == 1).sum()), int((targets[:, c] == 0).sum())) for c in range(len(labels))]
    columns = [column for column, both in enumerate(counts) if min(both) >= FEWEST]
    values = {c: float(Steps.of(targets[:, c], scores[:, c]).auroc()[0]) for c in columns}
    parts = [
        [Steps.of(targets[:, c], scores[:, c], weights).auroc() for c in columns]
        for weights in patient_weights(patients, resamples if columns else 0, seed)
    ]
    drawn = np.concatenate([np.array(part) for part in parts], axis=1) if parts else np.empty((len(columns), 0))
    intervals = {column: spread(drawn[row]) for row, column in enumerate(columns)}
    return Subgroup(
        images=len(targets),
        patients=len(set(patients)),
        macro_auroc=number(np.mean(list(values.values()))) if values else None,
        macro_auroc_interval=spread(np.array([mean(column) for column in drawn.T])) if columns else None,
        labels_measured=len(columns),
        labels={
            label: SubgroupLabel(
                auroc=number(values[column]) if column in values else None,
                auroc_interval=intervals.get(column),
                positives=counts[column][0],
                negatives=counts[column][1],
            )
            for column, label in enumerate(labels)
        },
    )


def _one_of(text: str, known: Mapping[str, str]) -> str:
    word = text.strip().upper()
    return known.get(word, OTHER) if word else UNKNOWN


def _plain(text: str) -> str:
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    return " ".join(plain.split())[:64] or UNKNOWN


def _age_band(age: object) -> str:
    if isinstance(age, bool) or not isinstance(age, int | float) or not 0 <= age < math.inf:
        return UNKNOWN
    return next((name for end, name in _BANDS if age < end), UNKNOWN)


def _pooled(values: Iterable[str], patients: Sequence[str]) -> list[str]:
    values = list(values)
    patients_of = Counter(value for value, _ in set(zip(values, patients, strict=True)))
    return [value if value == UNKNOWN or patients_of[value] >= FEWEST else OTHER for value in values]


def against_readers(
    called: np.ndarray,
    readers: Sequence[Mapping[str, Mapping[str, LabelState]]],
    *,
    labels: Sequence[str],
    targets: np.ndarray | None = None,
) -> tuple[ReaderComparison, ...]:
    """Return the confusion of a model with each reader, in the order of their pseudonyms.

    Parameters
    ----------
    called : ndarray, shape (n, labels), bool
        What the model calls positive at its thresholds.
    readers : sequence of mapping
        `Sample.readers` of each image.
    labels : sequence of str
    targets : ndarray, shape (n, labels), optional
        The reference standard: each reader's own sensitivity and specificity are measured against it. Never the consolidated
        states, which the reader had a voice in.

    Returns
    -------
    tuple of ReaderComparison
        Uncertain and unknown are not counted.
    """
    names = sorted({name for image in readers for name in image})
    found = []
    for position, name in enumerate(names, start=1):
        said = np.array([[_number(image.get(name, {}).get(label)) for label in labels] for image in readers])
        figures = {
            label: _beside(called[:, column], said[:, column], None if targets is None else targets[:, column])
            for column, label in enumerate(labels)
        }
        found.append(ReaderComparison(position, name, int((~np.isnan(said)).any(axis=1).sum()), figures))
    return tuple(found)


def _beside(called: np.ndarray, said: np.ndarray, targets: np.ndarray | None) -> ReaderLabel:
    yes, no = said == 1, said == 0
    both, model, reader, neither = (int(part.sum()) for part in (called & yes, called & no, ~called & yes, ~called & no))
    total = both + model + reader + neither
    kappa = float("nan")
    if total:
        chance = ((both + model) * (both + reader) + (reader + neither) * (model + neither)) / total**2
        kappa = ((both + neither) / total - chance) / (1 - chance) if chance < 1 else float("nan")
    positive, negative = ((yes | no) & (targets == which) if targets is not None else np.zeros(0, bool) for which in (1, 0))
    return ReaderLabel(
        both_positive=both,
        model_only=model,
        reader_only=reader,
        both_negative=neither,
        kappa=number(kappa),
        sensitivity=number(said[positive].mean()) if positive.any() else None,
        specificity=number(1 - said[negative].mean()) if negative.any() else None,
    )


def _number(state: LabelState | None) -> float:
    return 1.0 if state == LabelState.POSITIVE else 0.0 if state == LabelState.NEGATIVE else float("nan")


def exclusion_counts(called: np.ndarray, labels: Sequence[str], rules: LabelSet) -> dict[str, ExclusionCounts]:
    """Return how often each excluding label was called, and how often together with a label that it excludes.

    Parameters
    ----------
    called : ndarray, shape (n, labels), bool
        What the model calls positive at its thresholds.
    labels : sequence of str
        Columns, in order.
    rules : LabelSet
    """
    found: dict[str, ExclusionCounts] = {}
    for column, label in enumerate(labels):
        excluded = [other for other in labels if rules.excludes(label, other)]
        if not excluded:
            continue
        beside = called[called[:, column]][:, [labels.index(other) for other in excluded]]  # (called, excluded)
        counts = dict(zip(excluded, beside.sum(axis=0).tolist(), strict=True))
        by = {other: count for other, count in counts.items() if count}
        found[label] = ExclusionCounts(called=len(beside), contradicted=int(beside.any(axis=1).sum()), by=by)
    return found
