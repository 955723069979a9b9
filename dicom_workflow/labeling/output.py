"""The output of a labeling job as labeled objects, from an output manifest, a training manifest or a batch file.

An answer is parsed and validated once, here; agreement, figures and the training manifest take it from the `LabeledObject`.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicom_workflow.errors import AnswerError, ManifestError, RecordError, StorageError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer, LabelState, Region
from dicom_workflow.formats.ground_truth import ANSWERS_KEY, METADATA_SUFFIX, ConsolidationRequest
from dicom_workflow.formats.json_schema import parse_json, shown
from dicom_workflow.formats.labels import LabelSet, parse_label_list
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.labeling.lambda_handlers import read_answers
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.protocol import Task
from dicom_workflow.storage import Storage

READERS_KEY = "readers"
"""Key of a training manifest line: reader → label → state; see `training_manifest`."""

_UNREADABLE = (AnswerError, RecordError, LookupError, TypeError, ValueError, AttributeError)
"""What reading a label of another form raises."""

CLASSIFICATION = "groundtruth/image-classification"
MULTI_LABEL_CLASSIFICATION = "groundtruth/image-classification-multilabel"


@dataclass(frozen=True)
class LabeledObject:
    """One object of a labeling job: its consolidated label and the answers of its readers.

    `states` is empty when the job failed for this object; `failure_reason` then says why, or that the label is missing.
    """

    number: int
    """1-based line of the manifest, or position in the batch file."""
    source: str
    data: Mapping[str, Any]
    """The whole line, unchanged; of an entry of a batch file only what it points at."""
    states: Mapping[str, LabelState] = field(default_factory=dict)
    confidences: Mapping[str, float] = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)
    """Label → share of readers who saw it, see `tasks.protocol.fraction_of`; only labels that have one."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """Worker → answer."""
    review: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    refused: tuple[Mapping[str, str], ...] = ()
    """Answers that could not be read: ``workerId`` and ``reason``."""
    failure_reason: str = ""
    attribute: str = ""
    """The label attribute; empty for a batch file."""
    job_name: str = ""
    created: str = ""
    read_as: str = ""
    """Kind of a built-in job and how its label was read; empty for jobs of this package and of the published sample."""

    @property
    def task(self) -> Task:
        """The kind of labeling task, as the label says it.

        Raises
        ------
        RecordError
            There is no such task.
        """
        label = self.data.get(self.attribute)
        return registry.find(str(label.get("task") or "") if isinstance(label, Mapping) else "")

    @property
    def readers(self) -> dict[str, Mapping[str, LabelState]]:
        """Worker → label → state, of the workers who read the image without help.

        A worker who was shown a model's suggestions counts with what was said before they were shown. A worker who called
        the image unusable, or saw suggestions from the start, is left out.
        """
        own = {worker: answer.unassisted for worker, answer in self.answers.items()}
        return {worker: answer.labels for worker, answer in own.items() if answer is not None and not answer.unusable}

    def summary(self) -> dict[str, Any]:
        """Return a row for a table: the source, the positive and uncertain labels, labels in review, and the failure."""
        by_state = {state: [label for label, here in self.states.items() if here == state] for state in LabelState}
        return {
            "line": self.number,
            "source": self.source[:60],
            "positive": ", ".join(by_state[LabelState.POSITIVE]),
            "uncertain": ", ".join(by_state[LabelState.UNCERTAIN]),
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
    """Yield the labeled objects of an output manifest, a training manifest or a batch file of consolidation requests.

    Every line yields one object. One with a `failure_reason` stands for a failed line, a line without its label, a broken
    line, and an object without any readable answer. An answer that cannot be read is listed in `refused` while the others
    count. Labels of the built-in image classification are read too: the classes of a line are positive, the other classes
    of the job negative.

    Parameters
    ----------
    uri : str
        ``output.manifest`` (JSON Lines), or a consolidation request (one JSON list).
    attribute : str
        The label attribute. When not given it is found by its metadata; a line with several needs it given.
    storage : Storage, optional
        Where to read; local files and AWS's own S3 when not given.

    Raises
    ------
    ManifestError
        The file is empty, a batch file is not JSON, or a line has several label attributes to choose from.
    """
    store = storage or Storage()
    with store.open(uri) as stream:
        first = stream.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if first == b"[":
        yield from _read_batch(uri, store)
        return
    reader = _LineReader(uri, attribute, store)
    broken: list[ManifestError] = []
    for number, data in manifests.read(uri, storage=store, limits=False, on_error=broken.append):
        yield from map(_broken_line, broken)
        broken.clear()
        yield reader.read(number, data)
    yield from map(_broken_line, broken)


def _broken_line(error: ManifestError) -> LabeledObject:
    return LabeledObject(error.line or 0, "", {}, failure_reason=str(error).removeprefix(f"{error.uri}, line {error.line}: "))


class _LineReader:
    """Reads the lines of one manifest; the classes of a built-in job are known only from all lines together."""

    def __init__(self, uri: str, attribute: str, storage: Storage) -> None:
        self._uri, self._attribute, self._storage = uri, attribute, storage
        self._all_classes: tuple[str, ...] | None = None

    def read(self, number: int, data: dict[str, Any]) -> LabeledObject:
        found = label_attributes(data)
        if not self._attribute and len(found) > 1:
            message = f"the line has the label attributes {', '.join(found)}. Choose one with attribute=…."
            raise ManifestError(self._uri, number, message)
        name = self._attribute or (found[0] if found else "")
        metadata = data.get(name + METADATA_SUFFIX)
        metadata = metadata if isinstance(metadata, Mapping) else {}
        value = data.get(name) if name else None
        common: dict[str, Any] = {
            "number": number,
            "source": source_of(data),
            "data": data,
            "attribute": name,
            # The service writes hyphens, its documentation prints underscores.
            "job_name": str(metadata.get("job-name") or metadata.get("job_name") or "").removeprefix("labeling-job/"),
            "created": str(metadata.get("creation-date") or metadata.get("creation_date") or ""),
        }
        if failure := metadata.get("failure-reason") or metadata.get("failure_reason"):
            return LabeledObject(**common, failure_reason=str(failure))
        kind = str(metadata.get("type") or "")
        is_classes = value is not None and kind in (CLASSIFICATION, MULTI_LABEL_CLASSIFICATION)
        label = value if isinstance(value, Mapping) else {}
        if not is_classes and (not label or _is_built_in(kind)):
            return LabeledObject(**common, failure_reason=_missing(name, value, kind))
        try:
            if is_classes:
                return self._of_classes(common, kind, value, metadata)
            labels = parse_label_list(data["labels"]) if "labels" in data else ()
            return _from_label(common, label, labels, self._storage)
        except _UNREADABLE as error:
            return LabeledObject(**common, failure_reason=f"the label cannot be read: {error}")

    def _of_classes(self, common: dict[str, Any], kind: str, value: object, metadata: Mapping[str, Any]) -> LabeledObject:
        chosen = _classes(kind, value, metadata)
        data = common["data"]
        labels = parse_label_list(data["labels"]) if "labels" in data else self._classes_of_job(data)
        every = dict.fromkeys((*labels, *chosen))
        states = {label: LabelState.POSITIVE if label in chosen else LabelState.NEGATIVE for label in every}
        name = kind.removeprefix("groundtruth/").replace("-", " ")
        read_as = f"built-in {name}, read as positive for the classes of the line and negative for the others"
        return LabeledObject(**common, states=states, confidences=chosen, read_as=read_as)

    def _classes_of_job(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        if self._all_classes is None:
            name = self._attribute or label_attributes(data)[0]
            found: dict[str, None] = {}
            lines = manifests.read(self._uri, storage=self._storage, limits=False, on_error=lambda error: None)
            for line in lines:
                metadata = line.data.get(name + METADATA_SUFFIX)
                if isinstance(metadata, Mapping) and name in line.data:
                    with contextlib.suppress(RecordError):  # said where that line is read
                        found.update(dict.fromkeys(_classes(str(metadata.get("type") or ""), line.data[name], metadata)))
            self._all_classes = tuple(sorted(found))
        return self._all_classes


def _is_built_in(kind: str) -> bool:
    return kind.startswith("groundtruth/") and kind != "groundtruth/custom"


def _missing(name: str, value: object, kind: str) -> str:
    if _is_built_in(kind) and kind not in (CLASSIFICATION, MULTI_LABEL_CLASSIFICATION):
        return f"the label is of the built-in type {kind.removeprefix('groundtruth/')}, which is not read."
    if value is None:
        wanted = f"'{name}'" if name else "a label attribute"
        return f"the line has no label: expected {wanted} with a value."
    return f"the label '{name}' is empty." if not value else f"the label '{name}' is not a JSON object."


def _classes(kind: str, value: object, metadata: Mapping[str, Any]) -> dict[str, float]:
    """Class → confidence of one line of the built-in image classification; a RecordError where a class has no name."""
    if kind == CLASSIFICATION:
        name = metadata.get("class-name") or metadata.get("class_name")
        if not name:
            raise RecordError(f"expected 'class-name' with the name of class {shown(value)} in the metadata, got nothing.")
        return {str(name): _confidence(metadata.get("confidence"))}
    if kind != MULTI_LABEL_CLASSIFICATION:
        return {}
    names, confidences = _map(metadata, "class-map"), _map(metadata, "confidence-map")
    if not isinstance(value, list):
        raise RecordError(f"expected a list of class numbers, got {shown(value)}.")
    unnamed = [index for index in value if str(index) not in names]
    if unnamed:
        raise RecordError(f"expected the name of class {shown(unnamed[0])} in 'class-map', got {shown(dict(names))}.")
    return {str(names[str(index)]): _confidence(confidences.get(str(index))) for index in value}


def _map(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = metadata.get(name) or {}
    if not isinstance(value, Mapping):
        raise RecordError(f"expected '{name}' of the metadata as a JSON object, got {shown(value)}.")
    return value


def _confidence(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _from_label(common: dict[str, Any], value: Mapping[str, Any], labels: tuple[str, ...], storage: Storage) -> LabeledObject:
    task = registry.find(str(value.get("task") or ""))
    given, unreadable = read_answers(value.get(ANSWERS_KEY, []), read=_answer_reader(storage), labels=labels, task=task)
    refused = _refused(value.get("refused")) or tuple(unreadable)
    if value.get("labels") and not isinstance(value["labels"], Mapping):
        raise RecordError(f"expected its 'labels' as a JSON object, got {shown(value['labels'])}.")
    if not given and (ANSWERS_KEY in value or not value.get("labels")):
        each = "; ".join(f"{entry.get('workerId') or 'unnamed worker'}: {entry.get('reason')}" for entry in refused)
        reason = f"every answer was refused. {each}" if refused else "no worker answered."
        return LabeledObject(**common, refused=refused, failure_reason=reason)
    if not isinstance(value.get("labels"), Mapping):
        # The published sample leaves the vote to whoever reads its output: the same vote as our own function's.
        rules = LabelSet.of_line(common["data"]) if labels else task.label_set
        value = task.consolidate(given, labels=labels, rules=rules, refused=refused)
    read = task.read_label(value)
    answers = {answer.worker_id: answer.answer for answer in given}
    return LabeledObject(
        **common,
        states=read.states,
        confidences=read.confidences,
        fractions=read.fractions,
        answers=answers or _answers_of_readers(common["data"].get(READERS_KEY)),
        review=read.review,
        regions=read.regions,
        refused=refused,
    )


def _answer_reader(storage: Storage) -> Callable[[str], str]:
    """Return what reads an answer that Ground Truth left on S3. Whoever wrote the manifest names no file of this machine."""

    def read(uri: str) -> str:
        if not uri.startswith("s3://"):
            raise StorageError(f"expected the answer at an s3:// URI, got {uri[:80]!r}.")
        return storage.read_text(uri)

    return read


def _refused(value: object) -> tuple[Mapping[str, str], ...]:
    """The refused answers of a label; one that is no object is kept as a reason."""
    entries = value if isinstance(value, list) else [value] if value else []
    return tuple(entry if isinstance(entry, Mapping) else {"reason": shown(entry)} for entry in entries)


def _answers_of_readers(readers: object) -> dict[str, Answer]:
    """The answers that a training manifest line keeps: states by reader, and nothing else."""
    if not isinstance(readers, Mapping):
        return {}
    return {
        str(reader): Answer(labels={str(label): LabelState(state) for label, state in states.items()})
        for reader, states in readers.items()
    }


def _read_batch(uri: str, storage: Storage) -> Iterator[LabeledObject]:
    try:
        batch = parse_json(storage.read_text(uri).removeprefix("\ufeff"))
    except ValueError as error:
        raise ManifestError(uri, None, f"expected a JSON list of consolidation requests, got broken JSON: {error}.") from None
    for position, entry in enumerate(batch if isinstance(batch, list) else (), start=1):
        try:
            request = ConsolidationRequest.parse(entry)
        except RecordError as error:
            yield LabeledObject(position, "", {}, failure_reason=f"entry {position} cannot be read: {error}")
            continue
        uri_of_object, text = request.data_object.get("s3Uri"), request.data_object.get("content")
        data = {"source-ref": str(uri_of_object)} if uri_of_object else {"source": str(text or "")}
        common: dict[str, Any] = {"number": position, "source": source_of(data), "data": data}
        try:
            yield _from_label(common, {ANSWERS_KEY: list(request.annotations)}, (), storage)
        except _UNREADABLE as error:
            yield LabeledObject(**common, failure_reason=f"the label cannot be read: {error}")
