"""What a labeling job left behind: its output manifest, or a batch file of consolidation requests, as labeled objects.

Labeling meets learning at a file: `augmented_lines` makes the manifest that a training run reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.errors import AnswerError, LabelingError, ManifestError, RecordError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer, LabelState, Region
from dicom_workflow.formats.ground_truth import ConsolidationRequest
from dicom_workflow.formats.instances import Instance, instances_by_source
from dicom_workflow.formats.labels import LabelSet, parse_label_list
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.formats.splits import assign_splits
from dicom_workflow.labeling.lambda_handlers import read_answers
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.storage import Storage

METADATA_SUFFIX = "-metadata"
ATTRIBUTES = ("view_position", "sex", "manufacturer", "photometric_interpretation")
"""What goes from an instance's record into the manifest of a training run as it stands."""
OLDEST = 90
"""Years; the greatest age that stands in a training manifest."""
_AGE = re.compile("[0-9]{3}[DWMY]")


@dataclass(frozen=True)
class LabeledObject:
    """One object of a labeling job: what it is, and who said what of it.

    `states` is empty when the job failed for this object; `failure_reason` then says why, or that the label is missing.
    """

    number: int
    """1-based line of the manifest, or position in the batch file."""
    source: str
    data: Mapping[str, Any]
    """The whole line, untouched."""
    states: Mapping[str, LabelState] = field(default_factory=dict)
    confidences: Mapping[str, float] = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)
    """Label → share of readers who saw it, see `tasks.protocol.fraction_of`; only labels that have one."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    review: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    refused: tuple[Mapping[str, str], ...] = ()
    """Answers that could not be read: ``workerId`` and ``reason``."""
    failure_reason: str = ""
    job_name: str = ""
    created: str = ""

    def summary(self) -> dict[str, Any]:
        """Return a row for a table: the source, the positive and uncertain labels, what is to review, what went wrong."""
        said = {state: [label for label, here in self.states.items() if here == state] for state in LabelState}
        return {
            "line": self.number,
            "source": self.source[:60],
            "positive": ", ".join(said[LabelState.POSITIVE]),
            "uncertain": ", ".join(said[LabelState.UNCERTAIN]),
            "review": ", ".join(self.review),
            "readers": len(self.answers),
            "regions": len(self.regions),
            "refused": len(self.refused),
            "failure": self.failure_reason,
        }


def label_attributes(data: Mapping[str, Any]) -> list[str]:
    """Return the label attributes of one output manifest line: the keys that have a ``<key>-metadata`` beside them."""
    return [key.removesuffix(METADATA_SUFFIX) for key in data if key.endswith(METADATA_SUFFIX)]


def read_output(uri: str, *, attribute: str = "", storage: Storage | None = None) -> Iterator[LabeledObject]:
    """Yield the labeled objects of an output manifest or of a batch file of consolidation requests.

    Every line yields one object: a failed line and a line without its label yield one with a `failure_reason`, and an answer
    that cannot be read is listed in `refused` while the others count.

    Parameters
    ----------
    uri : str
        ``output.manifest`` (JSON Lines), or a consolidation request (one JSON list).
    attribute : str
        The label attribute. When not given it is found by its metadata; a line with several needs it given.

    Raises
    ------
    ManifestError
        A line is not JSON or has no source; or there are several label attributes to choose from.
    """
    store = storage or Storage()
    with store.open(uri) as stream:
        first = stream.read(64).lstrip()[:1]
    if first == b"[":
        yield from _read_batch(uri, store)
        return
    for number, data in manifests.read(uri, storage=store, limits=False):
        yield _from_line(uri, number, data, attribute, store)


def _from_line(uri: str, number: int, data: dict[str, Any], attribute: str, storage: Storage) -> LabeledObject:
    found = label_attributes(data)
    if not attribute and len(found) > 1:
        raise ManifestError(uri, number, f"expected one label attribute, got {', '.join(found)}. Say which: attribute=….")
    name = attribute or (found[0] if found else "")
    metadata = data.get(name + METADATA_SUFFIX)
    metadata = metadata if isinstance(metadata, Mapping) else {}
    value = data.get(name) if name else None
    common: dict[str, Any] = {
        "number": number,
        "source": source_of(data),
        "data": data,
        # The service writes hyphens, its documentation prints underscores.
        "job_name": str(metadata.get("job-name") or metadata.get("job_name") or "").removeprefix("labeling-job/"),
        "created": str(metadata.get("creation-date") or metadata.get("creation_date") or ""),
    }
    if failure := metadata.get("failure-reason") or metadata.get("failure_reason"):
        return LabeledObject(**common, failure_reason=str(failure))
    if not isinstance(value, Mapping) or not value:
        wanted = f"'{name}'" if name else "a label attribute"
        return LabeledObject(**common, failure_reason=f"the line has no label: expected {wanted} with a value.")
    labels = _labels_of(data)
    try:
        return _from_label(common, value, labels, storage)
    except (AnswerError, RecordError) as error:
        return LabeledObject(**common, failure_reason=f"the label cannot be read: {error}")


def _from_label(common: dict[str, Any], value: Mapping[str, Any], labels: tuple[str, ...], storage: Storage) -> LabeledObject:
    task = registry.find(str(value.get("task") or ""))
    answers, refused = read_answers(
        value.get("annotationsFromAllWorkers", []), read=storage.read_text, labels=labels, task=task
    )
    if not isinstance(value.get("labels"), Mapping):
        # The published sample leaves the vote to the reader: the same vote as our own Lambda's.
        rules = LabelSet.of_line(common["data"]) if labels else task.label_set
        value = task.consolidate(answers, labels=labels, rules=rules, refused=refused)
    read = task.read_label(value)
    known_refusals = value.get("refused") or ()
    if not read.states and not answers:
        return LabeledObject(**common, refused=tuple(refused), failure_reason="no worker's answer could be read.")
    return LabeledObject(
        **common,
        states=read.states,
        confidences=read.confidences,
        fractions=read.fractions,
        answers={given.worker_id: given.answer for given in answers},
        review=read.review,
        regions=read.regions,
        refused=tuple(known_refusals) or tuple(refused),
    )


def _read_batch(uri: str, storage: Storage) -> Iterator[LabeledObject]:
    try:
        batch = json.loads(storage.read_text(uri))
    except ValueError as error:
        raise ManifestError(uri, None, f"expected a JSON list of consolidation requests, got broken JSON: {error}.") from None
    for position, entry in enumerate(batch, start=1):
        try:
            request = ConsolidationRequest.parse(entry)
        except RecordError as error:
            yield LabeledObject(position, "", {}, failure_reason=f"entry {position} cannot be read: {error}")
            continue
        source = str(request.data_object.get("s3Uri") or request.data_object.get("content") or "")
        common: dict[str, Any] = {"number": position, "source": source, "data": dict(entry)}
        yield _from_label(common, {"annotationsFromAllWorkers": list(request.annotations)}, (), storage)


def _labels_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    return parse_label_list(data["labels"]) if "labels" in data else ()


def augmented_lines(
    objects: Sequence[LabeledObject],
    instances: Iterable[Instance] = (),
    *,
    truth: ReferenceStandard | None = None,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Iterator[dict[str, Any]]:
    """Yield the augmented manifest lines of the objects that have a label: the output line and what training needs beside it.

    Added keys: ``states`` (label → state), ``patient_id``, ``split``, ``image`` (path of the DICOM file below the manifest's
    folder) and, where they are known, ``fractions`` (label → share of several readers who saw it), ``attributes`` (what the
    image's own header says of view, sex, age and device, for figures by group) and ``truth`` (label → state, by a truth table),
    which only evaluation may use.

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
        patients.setdefault(_patient(item, by_source), []).extend(positive)
    splits = assign_splits(patients, seed=seed, fractions=fractions)
    for item in labeled:
        instance = by_source.get(item.source)
        patient = _patient(item, by_source)
        line = {
            **item.data,
            "states": {label: str(state) for label, state in item.states.items()},
            "patient_id": patient,
            "split": splits[patient],
        }
        if item.fractions:
            line["fractions"] = dict(item.fractions)
        if instance:
            line["image"] = f"images/{instance.sop_instance_uid}.dcm"
        if instance and (attributes := attributes_of(instance)):
            line["attributes"] = attributes
        known = truth.states_of(instance.sop_instance_uid) if truth and instance else None
        if known is not None:
            line["truth"] = {label: str(state) for label, state in known.items()}
        yield line


def attributes_of(instance: Instance) -> dict[str, Any]:
    """Return what may be said of an image beside its labels: the known ones of `ATTRIBUTES`, and ``age`` in years.

    Nobody is to be known again by a great age: above `OLDEST` it is given as that.
    """
    known = {name: value for name in ATTRIBUTES if (value := getattr(instance, name))}
    years = _years(instance.age)
    return known if years is None else {**known, "age": min(years, OLDEST)}


def _years(text: str) -> int | None:
    """Return the whole years of a DICOM age string (PS3.5 6.2, AS): ``061Y``, ``006M``, ``003W`` or ``010D``."""
    if not _AGE.fullmatch(text):
        return None
    in_a_year = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[text[-1]]
    return int(int(text[:-1]) / in_a_year)


def _patient(item: LabeledObject, by_source: Mapping[str, Instance]) -> str:
    instance = by_source.get(item.source)
    patient = (instance.patient_id if instance else "") or str(item.data.get("patient_id") or "")
    if not patient:
        raise LabelingError(
            f"line {item.number}: expected a patient for source {item.source[:60]!r}, found none in the instances nor in "
            "the line. Give the instances.jsonl of the upload, or a 'patient_id' in the manifest."
        )
    return patient
