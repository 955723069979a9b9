"""The steps from DICOM files to a training manifest and its picture, each one function under both its notebook and its command.

A step reads URIs, writes its artifact, and leaves a record in the workspace, whoever calls it. Labeling, training and
evaluation have modules of their own: `labeling_step`, `training` and `evaluation_step`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.archive import download, open_archive
from dicom_workflow.archive.upload import upload as upload_files
from dicom_workflow.archive.upload_report import NothingStoredError, UploadReport
from dicom_workflow.dicom.inspection import NON_IMAGE_MODALITIES
from dicom_workflow.errors import ArchiveError, DicomError, LabelingError, StorageError, WorkflowError
from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.formats.instances import Instance, instances_by_source
from dicom_workflow.formats.labels import LabelSet, default_label_set
from dicom_workflow.formats.manifest_validation import Validation
from dicom_workflow.labeling import agreement, output, training_manifest
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.pipeline import local_services, records
from dicom_workflow.pipeline.records import Record
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LoadImage = Callable[[LabeledObject], NDArray[np.float32]]


@dataclass(frozen=True)
class Uploaded:
    """An upload: what became of each file, and the list of instances that it was added to."""

    report: UploadReport
    copies_refused: Mapping[str, str]
    """Instances that could not be copied to object storage → reason."""
    instances_uri: str
    record: Record


@dataclass(frozen=True)
class ManifestWritten:
    """An input manifest: what `manifest_validation.validate` says of it, and the objects that it leaves out."""

    uri: str
    validation: Validation
    left_out: Mapping[str, int]
    """Modality of objects that are no images → their number."""
    instances: tuple[Instance, ...]
    record: Record


@dataclass(frozen=True)
class Parsed:
    """What a labeling job said, and the training manifest made of it."""

    uri: str
    objects: tuple[LabeledObject, ...]
    labeled: tuple[LabeledObject, ...]
    """Those with a label and a known patient."""
    failed: tuple[tuple[int, str], ...]
    """Line and reason of every object without a label or without a patient."""
    refused: tuple[tuple[int, Mapping[str, str]], ...]
    """Line, and worker and reason, of every answer that could not be read."""
    summary: agreement.Summary
    lines: tuple[Mapping[str, Any], ...]
    """The lines of the training manifest."""
    record: Record


def upload(
    source: str | Path,
    output_uri: str,
    settings: Settings,
    *,
    workers: int = 16,
    resume_log: Path | None = None,
    copies_uri: str = "",
    known_uris: Mapping[str, str] | None = None,
) -> Uploaded:
    """Store a folder of DICOM files in the archive, read every one back, and add the verified instances to a list.

    Parameters
    ----------
    source : str or Path
        Folder, searched to its last subfolder.
    output_uri : str
        ``instances.jsonl``. Instances that an earlier upload listed there stay, phantoms excepted; one of the same SOP Instance
        UID is updated.
    settings : Settings
        As `local_services.attach` returns them.
    workers : int
        Files sent at once.
    resume_log : Path, optional
        File to go on from after an interruption.
    copies_uri : str
        s3:// or file:// folder for copies of the images; empty makes none.
    known_uris : mapping of str to str, optional
        Further URIs for the record, as `source_images` returns them.

    Raises
    ------
    NothingStoredError
        Not one file is in the archive.
    ManifestError
        The list at `output_uri` has a line that is no instance; nothing was sent.
    """
    archive, storage = open_archive(settings), Storage(settings)
    _instances_at(output_uri, storage)  # a list that cannot be read is named before a file is sent
    report = upload_files(source, archive, workers=workers, resume_log_path=resume_log)
    copies = download.copy_to(copies_uri, report.instances, archive, storage)
    if not copies.instances:
        raise NothingStoredError(report)
    # Phantoms give way: another set of them, or images of real patients, is no addition to their list.
    phantoms = records.phantom_uids(settings)
    kept = [instance for instance in _instances_at(output_uri, storage) if instance.sop_instance_uid not in phantoms]
    listed = _merged(kept, copies.instances)
    manifests.write(output_uri, (instance.to_json() for instance in listed), storage=storage, check=False)
    metrics = {**report.metrics(), "outcomes": report.counts, "copies_refused": len(copies.refused), "listed": len(listed)}
    record = Record(records.UPLOAD, output_uri, metrics, {"folder": to_uri(source)}, dict(known_uris or {}))
    return Uploaded(report, copies.refused, output_uri, records.keep(record, settings))


def create_manifest(
    instances_uri: str,
    output_uri: str,
    settings: Settings,
    *,
    labels: LabelSet | Sequence[str] = (),
    by: str = "source",
) -> ManifestWritten:
    """Write the input manifest of a labeling job: one line per image, checked against the limits of Ground Truth.

    Parameters
    ----------
    instances_uri : str
        ``instances.jsonl``. Objects without an image (structured reports, presentation states, …) are counted and left out.
    output_uri : str
        The manifest.
    settings : Settings
    labels : LabelSet or sequence of str
        The labels to choose from. A label set brings its own rules, a list of names has those of the default set; the default
        set when empty.
    by : {'source', 'source-ref'}
        What a line points at: the image in the archive, or its copy in object storage.

    Raises
    ------
    ManifestError
        There is no image, or an entry breaks the contract; nothing was written.
    """
    storage = Storage(settings)
    listed = manifests.read_instances(instances_uri, storage=storage)
    images = tuple(instance for instance in listed if instance.modality not in NON_IMAGE_MODALITIES)
    left_out = dict(Counter(instance.modality for instance in listed if instance.modality in NON_IMAGE_MODALITIES))
    label_set = labels if isinstance(labels, LabelSet) else default_label_set(labels)
    manifests.write(output_uri, manifests.entries_for(images, label_set, by=by), storage=storage)
    found = manifest_validation.validate(output_uri, storage=storage)
    metrics = {"lines": found.accepted, "refused": found.refused, "left_out": left_out, "labels": list(found.label_set.labels)}
    record = Record(records.MANIFEST, output_uri, metrics, {"instances": instances_uri})
    return ManifestWritten(output_uri, found, left_out, images, records.keep(record, settings))


def parse(
    output_manifest_uri: str,
    output_uri: str,
    settings: Settings,
    *,
    instances_uri: str = "",
    truth_uri: str = "",
    attribute: str = "",
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
) -> Parsed:
    """Read what a labeling job left and write the manifest that training reads, split by patient.

    Parameters
    ----------
    output_manifest_uri : str
        Output manifest, or a batch file of consolidation requests.
    output_uri : str
        The training manifest.
    settings : Settings
    instances_uri : str
        ``instances.jsonl``, to know the patient of each image. What it lacks is looked up in the archive.
    truth_uri : str
        CSV table to compare the readers with; empty means there is none.
    attribute : str
        Label attribute, where a line has several.
    seed : int
        Another seed gives another split.
    fractions : sequence of float
        Shares of patients for training, validation and test.

    Raises
    ------
    LabelingError
        Not one object has both a label and a known patient.
    """
    storage = Storage(settings)
    objects = tuple(output.read_output(output_manifest_uri, attribute=attribute, storage=storage))
    instances = _instances_at(instances_uri, storage) if instances_uri else []
    with_label = [item for item in objects if not item.failure_reason]
    instances = _with_archive(instances, with_label, settings)
    by_source = instances_by_source(instances)
    truth = ReferenceStandard.read(truth_uri, storage=storage)
    if truth:
        truth.check_matches({instance.sop_instance_uid for instance in instances}, truth_uri)
    labeled, failed = [], [(item.number, item.failure_reason) for item in objects if item.failure_reason]
    for item in with_label:
        if training_manifest.patient_of(item, by_source):
            labeled.append(item)
        else:
            failed.append((item.number, "its patient is not known, so it could be in training and in test: left out"))
    if not labeled:
        reasons = "".join(f"\n- line {number}: {reason}" for number, reason in failed[:5])
        raise LabelingError(f"{output_manifest_uri}: no object has a label and a known patient.{reasons}")
    lines = tuple(training_manifest.augmented_lines(labeled, instances, truth=truth, seed=seed, fractions=fractions))
    manifests.write(output_uri, lines, storage=storage, limits=False)
    found = agreement.summarize(objects, truth=agreement.truth_by_source(truth, instances) if truth else None)
    refused = tuple((item.number, dict(answer)) for item in objects for answer in item.refused)
    metrics = {
        "objects_labeled": len(labeled),
        "objects_failed": len(failed),
        "answers_refused": len(refused),
        "to_review": sum(bool(item.review) for item in labeled),
        "patients": len({line["patient_id"] for line in lines}),
        **found.metrics(),
    }
    inputs = {"output_manifest": output_manifest_uri, **({"instances": instances_uri} if instances_uri else {})}
    record = records.keep(Record(records.PARSE, output_uri, metrics, inputs), settings)
    return Parsed(output_uri, objects, tuple(labeled), tuple(sorted(failed)), refused, found, lines, record)


@dataclass(frozen=True)
class Shown:
    """Samples with their images, and those that cannot be shown."""

    samples: tuple[LabeledObject, ...]
    images: tuple[NDArray[np.float32], ...]
    """Of each sample: shape (rows, columns), float32 in [0, 1]."""
    refused: Mapping[str, str]
    """Source → why its image cannot be shown, of the samples that were tried."""


def load_samples(samples: Sequence[LabeledObject], load_image: LoadImage, *, count: int = 8, label: str = "") -> Shown:
    """Return the samples most worth a look whose images can be shown.

    Parameters
    ----------
    samples : sequence of LabeledObject
    load_image : callable
        Returns the image of a sample, float32 (rows, columns) in [0, 1]; see `archive.download.loader`.
    count : int
        At most so many.
    label : str
        First those where this label is positive; when empty, those with the most disagreement.

    Raises
    ------
    DicomError
        Not one image can be shown; the message has the reason of the first.
    """
    from dicom_workflow.viz.samples import choose_samples

    shown: list[tuple[LabeledObject, NDArray[np.float32]]] = []
    refused: dict[str, str] = {}
    for sample in choose_samples(samples, len(samples), label=label):
        if len(shown) == count:
            break
        try:
            shown.append((sample, load_image(sample)))
        except WorkflowError as error:
            refused[sample.source] = str(error)
    if not shown:
        reason = next(iter(refused.values()), "there is no sample.")
        raise DicomError(f"None of {len(samples)} images can be shown: {reason}")
    return Shown(tuple(sample for sample, _ in shown), tuple(image for _, image in shown), refused)


def visualize(
    samples: Sequence[LabeledObject], shown: Shown, training_manifest_uri: str, output_uri: str, settings: Settings
) -> tuple[Figure, Record]:
    """Draw some of the samples, write the picture and keep the record.

    Parameters
    ----------
    samples : sequence of LabeledObject
        All samples, for the figures of the record.
    shown : Shown
        Those that are drawn, from `load_samples`.
    training_manifest_uri, output_uri : str
        Where the samples were read, and where the picture goes, a PNG.
    settings : Settings
    """
    from dicom_workflow.viz import samples as drawing
    from dicom_workflow.viz import style

    style.save(figure := drawing.samples_figure(shown.samples, shown.images), output_uri, Storage(settings))
    metrics = {
        "samples_shown": len(shown.samples),
        "not_shown": len(shown.refused),
        "samples": len(samples),
        "with_disagreement": sum(drawing.has_disagreement(sample) for sample in samples),
        "with_regions": sum(bool(sample.regions) for sample in samples),
    }
    record = Record(records.VISUALIZE, output_uri, metrics, {"training_manifest": training_manifest_uri})
    return figure, records.keep(record, settings)


def _instances_at(uri: str, storage: Storage) -> list[Instance]:
    return manifests.read_instances(uri, storage=storage) if storage.exists(uri) else []


def _merged(earlier: Iterable[Instance], new: Iterable[Instance]) -> list[Instance]:
    """Both lists as one, by SOP Instance UID; what was uploaded last is known best."""
    return list({instance.sop_instance_uid: instance for instance in (*earlier, *new)}.values())


def _with_archive(instances: list[Instance], objects: Iterable[LabeledObject], settings: Settings) -> list[Instance]:
    """The instances, and those of the archive where an object points at one that is not listed and has no patient."""
    listed = instances_by_source(instances)
    if all(item.source in listed or item.data.get("patient_id") for item in objects):
        return instances
    return _merged(_held(settings), instances)


def _held(settings: Settings) -> Iterator[Instance]:
    try:
        yield from open_archive(local_services.attach(settings)).search_for_instances()
    except (ArchiveError, StorageError):
        return  # the objects without a patient are named one by one
