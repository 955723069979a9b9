"""The training manifest: one line per labeled object with everything that training and evaluation read, and nothing more.

Labeling and learning meet at this file. Of the readers it holds a pseudonym and their states: worker ids, texts, clicks and
viewports of the answers stay in the output manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dicom_workflow.errors import LabelingError
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.ground_truth import METADATA_SUFFIX
from dicom_workflow.formats.instances import Instance, age_in_years, instances_by_source
from dicom_workflow.formats.labels import RULES_KEY, LabelSet
from dicom_workflow.formats.splits import assign_splits
from dicom_workflow.labeling.output import READERS_KEY, LabeledObject, label_attributes
from dicom_workflow.labeling.reference_standard import ReferenceStandard

ATTRIBUTES = ("view_position", "sex", "manufacturer", "photometric_interpretation")
"""Fields of an instance's record that go into the training manifest unchanged."""

MAX_AGE_YEARS = 90
"""The greatest age that stands in a training manifest, so that nobody is recognized by a great age."""

_REFERENCES = ("worker-response-ref",)
"""Keys of a label's metadata that lead to the answers."""


def augmented_lines(
    objects: Sequence[LabeledObject],
    instances: Iterable[Instance] = (),
    *,
    truth: ReferenceStandard | None = None,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Iterator[dict[str, Any]]:
    """Yield the training manifest lines of the objects that have a label.

    A line is that of the output manifest with one label, without the keys for the worker's page and without answers, and with:

    - ``states`` (label → state), ``label_rules``, ``patient_id``, ``split``;
    - ``readers`` (reader → label → state), the readers named ``reader-1`` and so on throughout the manifest;
    - where known: ``fractions`` (label → share of several readers who saw it), ``image`` (path of the DICOM file below the
      manifest's folder), ``attributes`` (view, sex, age and device of the image's own header) and ``truth`` (label → state, of
      a reference standard), which only evaluation may use.

    Parameters
    ----------
    objects : sequence of LabeledObject
        Objects with a `failure_reason` are left out; count them before.
    instances : iterable of Instance
        Where the patient of each source is looked up, by Orthanc id, resource path or URI; else the line's own ``patient_id``.
    truth : ReferenceStandard, optional
    seed, fractions
        See `assign_splits`.

    Raises
    ------
    LabelingError
        An object has no known patient: without one, a patient could be in training and in test.
    """
    by_source = instances_by_source(instances)
    labeled = [item for item in objects if not item.failure_reason]
    patients: dict[str, list[str]] = {}
    for item in labeled:
        positive = [label for label, state in item.states.items() if state == LabelState.POSITIVE]
        patients.setdefault(_known_patient(item, by_source), []).extend(positive)
    splits = assign_splits(patients, seed=seed, fractions=fractions)
    readers = _pseudonyms((worker for item in labeled for worker in item.answers), seed)
    for item in labeled:
        patient = _known_patient(item, by_source)
        line = {
            **_without_answers(item, readers),
            RULES_KEY: LabelSet.of_line({"labels": list(item.states), **item.data}).rules,
            "states": {label: str(state) for label, state in item.states.items()},
            "patient_id": patient,
            "split": splits[patient],
        }
        if item.readers:
            states = {readers[worker]: {label: str(s) for label, s in own.items()} for worker, own in item.readers.items()}
            line[READERS_KEY] = dict(sorted(states.items()))
        if item.fractions:
            line["fractions"] = dict(item.fractions)
        if instance := by_source.get(item.source):
            line |= _of_instance(instance, truth)
        yield line


def attributes_of(instance: Instance) -> dict[str, Any]:
    """Return the `ATTRIBUTES` of an image that are known, and its ``age`` in years, at most `MAX_AGE_YEARS`."""
    known = {name: value for name in ATTRIBUTES if (value := getattr(instance, name))}
    years = age_in_years(instance.age)
    return known if years is None else {**known, "age": min(years, MAX_AGE_YEARS)}


def _of_instance(instance: Instance, truth: ReferenceStandard | None) -> dict[str, Any]:
    line: dict[str, Any] = {"image": f"images/{instance.sop_instance_uid}.dcm"}
    if attributes := attributes_of(instance):
        line["attributes"] = attributes
    true_states = truth.states_of(instance.sop_instance_uid) if truth else None
    if true_states is not None:
        line["truth"] = {label: str(state) for label, state in true_states.items()}
    return line


def _pseudonyms(workers: Iterable[str], seed: int) -> dict[str, str]:
    """Numbers in the order of a hash: they say nothing of the ids, nor of who answered first."""

    def drawn(worker: str) -> bytes:
        return hashlib.sha256(json.dumps([seed, worker]).encode()).digest()

    return {worker: f"reader-{number}" for number, worker in enumerate(sorted(set(workers), key=drawn), start=1)}


def _without_answers(item: LabeledObject, readers: Mapping[str, str]) -> dict[str, Any]:
    """The output line without page keys and other labels, and its label without worker ids and answers."""
    attributes = {key for key in label_attributes(item.data) if key != item.attribute}
    left_out = {*item.task.page_keys, *attributes, *(f"{key}{METADATA_SUFFIX}" for key in attributes)}
    line = {key: value for key, value in item.data.items() if key not in left_out}
    label, metadata = line.get(item.attribute), line.get(item.attribute + METADATA_SUFFIX)
    if isinstance(label, Mapping):
        line[item.attribute] = _label_without_answers(item, label, readers)
    if isinstance(metadata, Mapping):
        line[item.attribute + METADATA_SUFFIX] = {key: part for key, part in metadata.items() if key not in _REFERENCES}
    return line


def _label_without_answers(item: LabeledObject, label: Mapping[str, Any], readers: Mapping[str, str]) -> dict[str, Any]:
    votes = label.get("labels")
    if not isinstance(votes, Mapping):  # the published sample's form has answers only
        sure = item.confidences
        votes = {name: {"state": str(state), "confidence": sure.get(name, 0.0)} for name, state in item.states.items()}
    regions = label.get("regions")
    return {
        **{name: label[name] for name in ("task", "review", "conflicts") if name in label},
        "labels": votes,
        "regions": [
            {
                **{name: part for name, part in region.items() if name in ("label", "shape", "points_px")},
                "reader": readers.get(str(region.get("workerId")), ""),
            }
            for region in (regions if isinstance(regions, list) else ())
            if isinstance(region, Mapping)
        ],
    }


def patient_of(item: LabeledObject, by_source: Mapping[str, Instance]) -> str:
    """Return the patient of an object, from its instance or its own line; empty where neither names one."""
    instance = by_source.get(item.source)
    return (instance.patient_id if instance else "") or str(item.data.get("patient_id") or "")


def _known_patient(item: LabeledObject, by_source: Mapping[str, Instance]) -> str:
    patient = patient_of(item, by_source)
    if not patient:
        raise LabelingError(
            f"line {item.number}: the patient of source {item.source[:60]!r} is unknown: neither the instances nor the line "
            "name one. Give the instances.jsonl of the upload, or a 'patient_id' in the manifest."
        )
    return patient
