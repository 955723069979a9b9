"""What follows a search: its hits become a manifest with pre-annotations and a labeling job, in one call; and the audit."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import RecordError, SearchError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.labels import LabelSet, default_label_set
from dicom_workflow.labeling import suggestions
from dicom_workflow.pipeline import labeling_step
from dicom_workflow.pipeline.labeling_step import Readers, Started
from dicom_workflow.search.audit import review
from dicom_workflow.search.audit.duplicates import DuplicateReport, find_duplicates
from dicom_workflow.search.audit.review import Review
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.ingest.sources import image_at
from dicom_workflow.search.query import MAX_FIRST, MAX_K, REPORT_FILTERS, ImageQuery, ReportQuery, parse_where
from dicom_workflow.search.selection import Origin, manifest_entries
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, join, to_uri


@dataclass(frozen=True)
class Selection:
    """Which images go on: ids, or what a search finds. Of several, the images of all, each once and in this order."""

    image_ids: Sequence[str] = ()
    similar_to: str = ""
    """Image id: it and the images most similar to it."""
    text: str = ""
    """Words of reports."""
    where: Mapping[str, object] | None = None
    """Filter of reports, as `query.parse_where` reads it: ``{"uncertain_labels": ["Pneumonia"]}``."""
    limit: int = 100
    """Images at most."""


def find_images(store: SearchStore, selection: Selection) -> list[ImageDocument]:
    """Return the images of a selection.

    Raises
    ------
    RecordError
        A filter that cannot be read, or an image id that the index does not have.
    """
    found = {}
    for image_id, image in zip(selection.image_ids, store.images(list(selection.image_ids)), strict=True):
        if image is None:
            raise RecordError(f"The index has no image {image_id[:80]!r}. Index it, or leave it out.")
        found[image_id] = image
    if selection.similar_to:
        hits = store.similar_images(ImageQuery(selection.similar_to, k=min(selection.limit, MAX_K))).hits
        first = store.images([selection.similar_to])[0]
        found |= {image.image_id: image for image in (first, *(hit.image for hit in hits)) if image}
    where = parse_where(selection.where, REPORT_FILTERS)
    cursor = ""
    while (selection.text or where) and len(found) < selection.limit:
        page = store.search_reports(ReportQuery(selection.text, where), first=MAX_FIRST, cursor=cursor)
        report_ids = [hit.report.report_id for hit in page.hits]
        images = store.images_of_reports(report_ids)
        found |= {image.image_id: image for report_id in report_ids for image in images.get(report_id, ())}
        cursor = page.cursor
        if not cursor:
            break
    return list(found.values())[: selection.limit]


def select(
    store_url: str,
    selection: Selection,
    output_uri: str,
    settings: Settings,
    *,
    labels: LabelSet | Sequence[str] = (),
    origin: Origin = "report",
    mode: str = suggestions.AFTER_FIRST_READ,
) -> int:
    """Write the input manifest of a labeling job for the images that a search finds; return how many there are.

    Parameters
    ----------
    store_url : str
    selection : Selection
    output_uri : str
        The manifest.
    settings : Settings
    labels : LabelSet or sequence of str
        The labels to choose from; the default label set when empty.
    origin : {'report', 'neighbors', 'none'}
        Where pre-annotations come from.
    mode : {'after-first-read', 'shown', 'off'}
        When readers see them.

    Raises
    ------
    SearchError
        No image was found.
    """
    label_set = labels if isinstance(labels, LabelSet) else default_label_set(labels)
    with contextlib.closing(open_store(store_url)) as store:
        entries = manifest_entries(store, find_images(store, selection), label_set, origin=origin, mode=mode)
        return manifests.write(output_uri, entries, storage=Storage(settings))


def label(
    store_url: str,
    selection: Selection,
    output_uri: str,
    settings: Settings,
    *,
    readers: Readers,
    labels: LabelSet | Sequence[str] = (),
    origin: Origin = "report",
    mode: str = suggestions.AFTER_FIRST_READ,
    workers_per_object: int = 3,
) -> Started:
    """Create the labeling job of a search: manifest, pre-annotations, job and team. `labeling_step.finish` waits for it.

    Parameters
    ----------
    store_url : str
    selection : Selection
    output_uri : str
        Folder or s3:// URI that the job writes to; gets the manifest too.
    settings : Settings
        As `local_services.attach` returns them.
    readers : Readers
    labels, origin, mode
        As for `select`.
    workers_per_object : int
        Answers for each image, 1 to 9.

    Raises
    ------
    SearchError
        No image was found.
    LabelingError, ServiceError
        As `labeling_step.start`.
    """
    manifest_uri = join(output_uri, "selected.manifest")
    select(store_url, selection, manifest_uri, settings, labels=labels, origin=origin, mode=mode)
    return labeling_step.start(manifest_uri, output_uri, settings, readers=readers, workers_per_object=workers_per_object)


@dataclass(frozen=True)
class Audited:
    """An audit, and where its list and its manifest are."""

    review: Review
    uri: str
    """``review.jsonl``; ``review.csv`` lies beside it."""
    manifest_uri: str
    """Input manifest of the images to review; empty when there is none."""


def audit(
    store_url: str,
    settings: Settings,
    *,
    output_uri: str = "",
    truth: str = "",
    duplicates: bool = True,
    least_score: float = review.LEAST_SCORE,
    space_id: str = "",
    progress: bool = True,
) -> Audited:
    """Look for near duplicates in an index, and for labels at odds with neighbors and reports; write the list to review.

    Parameters
    ----------
    store_url : str
    settings : Settings
    output_uri : str
        Folder for ``review.jsonl``, ``review.csv`` and ``review.manifest``; in the workspace when empty.
    truth : str
        Table of labels, as `truth_table.read_truth` reads it; what the reports state when empty, which then cannot be
        compared with the reports.
    duplicates : bool
        Compare the pixels of all images with each other, for which every image is read.
    least_score : float
        From this score on a label is doubted because of its neighbors.
    space_id : str
        Empty: the space that serves.
    progress : bool
        Show progress bars.

    Raises
    ------
    SearchError
        The table names no image of the index.
    SearchStoreError
        The store cannot be opened.
    """
    storage, folder_uri = Storage(settings), output_uri or to_uri(settings.make_workspace() / "search" / "audit")
    with contextlib.closing(open_store(store_url)) as store:
        images = list(store.scan_images())
        given, patients = _labels_of(images, truth, storage)
        found = _duplicates(images, settings, progress) if duplicates else DuplicateReport((), 0, 0.0, {})
        doubts, labeled = review.doubted_labels(store, images, given, patients, space_id=space_id, least_score=least_score)
        reviewed = Review(found, tuple(doubts), labeled)
        uri, manifest_uri, wanted = reviewed.write(folder_uri, storage), "", reviewed.image_ids()
        if wanted:
            to_label = [image for image in store.images(wanted) if image]
            manifest_uri = join(folder_uri, "review.manifest")
            manifests.write(manifest_uri, manifest_entries(store, to_label, default_label_set()), storage=storage)
    return Audited(reviewed, uri, manifest_uri)


def _duplicates(images: Sequence[ImageDocument], settings: Settings, progress: bool) -> DuplicateReport:
    def load(image: ImageDocument) -> Dataset:
        with tempfile.TemporaryDirectory(prefix="audit-") as folder:
            dataset = read_dataset(image_at(image.source, settings).fetch(Path(folder)))
            _ = dataset.PixelData  # it may be left in the file until it is asked for
            return dataset

    return find_duplicates(images, load, progress=progress)


def _labels_of(
    images: Sequence[ImageDocument], truth: str, storage: Storage
) -> tuple[dict[str, dict[str, bool]], dict[str, str]]:
    """Return image id → label → positive or not, and image id → patient, of a table or else of the reports."""
    if not truth:
        stated = {
            image.image_id: {**dict.fromkeys(image.labels_negative, False), **dict.fromkeys(image.labels_positive, True)}
            for image in images
        }
        owners = {image.patient_key or image.image_id for image in images if stated[image.image_id]}
        return (stated if len(owners) > 1 else {}), {}  # labels of one patient have no others to be compared with
    table = read_truth(truth, storage)
    names = sorted(frozenset().union(*table.labels))
    given = {
        image_id: {name: name in positive for name in names}
        for image_id, positive in zip(table.image_ids, table.labels, strict=True)
    }
    if not {image.image_id for image in images} & given.keys():
        raise SearchError(f"{truth}: none of its {len(given)} images is in the index. Index them, or give another table.")
    return given, dict(zip(table.image_ids, table.patients, strict=True))
