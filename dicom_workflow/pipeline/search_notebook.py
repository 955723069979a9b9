"""What the search notebook needs beside the steps: reports, truth and pictures of what the workspace holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.archive import download, open_archive
from dicom_workflow.errors import NothingRelevantError, SearchError
from dicom_workflow.formats import manifests
from dicom_workflow.pipeline import labeling_step, records, search_evaluation, search_selection
from dicom_workflow.pipeline.records import Record
from dicom_workflow.pipeline.search_selection import Audited, Selection
from dicom_workflow.pipeline.search_steps import Indexed
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.evaluation import Retrieval
from dicom_workflow.search.ingest.ingest_report import Outcome
from dicom_workflow.search.query import ImageHits, ImageQuery, ReportPage
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, join, to_path, to_uri
from dicom_workflow.synthetic.reports import REPORTS_FILE, write_reports

if TYPE_CHECKING:
    import pandas as pd

IN_THE_INDEX = (Outcome.INDEXED, Outcome.CHANGED, Outcome.LINKED, Outcome.UNCHANGED)


def find_reports(settings: Settings, given: str = "", *, seed: int = 7) -> tuple[str, ...]:
    """Return the places of the reports: the one given, or reports written of the phantoms of this workspace; else none.

    Parameters
    ----------
    settings : Settings
    given : str
        File or folder of reports.
    seed : int
        Of the words of written reports.
    """
    if given:
        return (given,)
    uploaded = records.latest(settings, records.UPLOAD)
    if not uploaded or "truth" not in uploaded.uris or not records.is_of_phantoms(uploaded, settings):
        return ()
    folder = to_path(uploaded.uris["truth"]).parent
    if not (folder / REPORTS_FILE).is_file():
        write_reports(folder, seed=seed)
    return (str(folder / REPORTS_FILE),)


def write_truth(store: SearchStore, output_uri: str, settings: Settings, given: str = "") -> str:
    """Write the table that retrieval is measured with and return its URI.

    Parameters
    ----------
    store : SearchStore
    output_uri : str
        CSV: sop_instance_uid and labels. Where the network was trained in this workspace, on images of the index, only those
        of its test patients: it knows the others.
    settings : Settings
    given : str
        Table of labels; when empty, the reference standard of the phantoms of this workspace, else what the reports state.

    Raises
    ------
    SearchError
        No image of the index has a known label.
    """
    storage = Storage(settings)
    place = given or records.find_input(settings, records.UPLOAD, name="truth", required=False)
    indexed = {image.image_id: image.labels_positive for image in store.scan_images()}
    labels = {}
    if place:
        truth = read_truth(place, storage)
        labels = {uid: sorted(said) for uid, said in zip(truth.image_ids, truth.labels, strict=True) if uid in indexed}
    if not labels:
        labels = {uid: sorted(said) for uid, said in indexed.items() if said}
    if not labels:
        raise SearchError("No image of the index has a known label. Give a table of labels, or index reports.")
    held_out = _held_out(settings, storage) & labels.keys()
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["sop_instance_uid", "labels"])
    writer.writerows([uid, ";".join(labels[uid])] for uid in sorted(held_out or labels))
    storage.write_text(output_uri, table.getvalue())
    return output_uri


def labels_to_check(output_uri: str, settings: Settings, given: str = "") -> str:
    """Return the table of labels for an audit: the one given, else what readers of this workspace consolidated; else none.

    Parameters
    ----------
    output_uri : str
        CSV that is written where notebook 4 left consolidated labels: sop_instance_uid, patient_id, a column a label.
    settings : Settings
    given : str
        Table of labels.
    """
    if given:
        return given
    storage = Storage(settings)
    uri = records.find_input(settings, records.PARSE, required=False)
    if not uri or not storage.exists(uri):
        return ""
    rows = [
        {"sop_instance_uid": PurePosixPath(str(line["image"])).stem, "patient_id": line.get("patient_id", "")}
        | {label: int(state == "positive") for label, state in line["states"].items()}
        for line in (line.data for line in manifests.read(uri, storage=storage, limits=False))
        if line.get("image") and line.get("states")
    ]
    if not rows:
        return ""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n", restval=0)
    writer.writeheader()
    writer.writerows(rows)
    storage.write_text(output_uri, table.getvalue())
    return output_uri


def measure(truth: str, store_url: str, settings: Settings, *, resamples: int) -> Retrieval | None:
    """Return how good retrieval is; None, with the reason printed, where too few images are known to be alike.

    Parameters
    ----------
    truth : str
        Table of `write_truth`.
    store_url : str
    settings : Settings
    resamples : int
        Of patients, for the intervals.

    Raises
    ------
    SearchError
        As `search_evaluation.evaluate`, for any other reason.
    """
    try:
        return search_evaluation.evaluate(truth, store_url, settings, resamples=resamples)
    except NothingRelevantError as error:
        print(f"Retrieval cannot be measured on so few images. {error}")
        return None


def _held_out(settings: Settings, storage: Storage) -> set[str]:
    """SOP Instance UIDs of the test part of this workspace's training manifest."""
    uri = records.find_input(settings, records.PARSE, required=False)
    if not uri or not storage.exists(uri):
        return set()
    lines = (line.data for line in manifests.read(uri, storage=storage, limits=False))
    return {PurePosixPath(str(line.get("image", ""))).stem for line in lines if line.get("split") == "test"}


def image_loader(settings: Settings) -> Callable[[ImageDocument], NDArray[np.float32]]:
    """Return a function that loads the display image of an image of the index; the last ones stay in memory."""
    return download.loader(open_archive(settings), storage=Storage(settings))


def report_table(page: ReportPage) -> pd.DataFrame:
    """Return the reports of a page as a table: what each states, and how its impression begins."""
    import pandas as pd

    rows = [
        {
            "report": hit.report.report_id,
            "score": round(hit.score, 2),
            "positive": ", ".join(hit.report.concepts("positive")),
            "uncertain": ", ".join(hit.report.concepts("uncertain")),
            "negative": ", ".join(hit.report.concepts("negative")),
            "text": (hit.report.sections.get("impression") or hit.report.text)[:120],
        }
        for hit in page.hits
    ]
    return pd.DataFrame(rows)


def doubt_table(audited: Audited) -> pd.DataFrame:
    """Return the doubted labels of an audit as a table for reading, the least likely first; review.csv has the whole ids."""
    import pandas as pd

    columns = ("image", "label", "labeled as", "but", "probability of the finding", "sentence of the report")
    said_by = {"report": "its report differs", "neighbors": "similar images differ"}
    rows = [
        (f"…{doubt.image_id[-10:]}", doubt.label, doubt.given, said_by[doubt.evidence], f"{doubt.expected:.0%}", doubt.sentence)
        for doubt in audited.review.doubts
    ]
    return pd.DataFrame(rows, columns=columns)


def report_of_audit(audited: Audited) -> tuple[str, ...]:
    """Return sentences that say what an audit found."""
    found = audited.review.metrics()
    lines = [f"Images that were compared with each other: {found['images_compared']:,}"]
    lines += [f"Pairs that look like one exposure stored twice: {found['duplicates']:,}"]
    if found["duplicates"]:
        lines += [f"  of these under the names of two patients: {found['duplicates_across_patients']:,}"]
    lines += [f"Labels that say the opposite of the report of their image: {found['labels_at_odds_with_report']:,}"]
    lines += [f"Labels that differ from what similar images of other patients show: {found['labels_at_odds_with_neighbors']:,}"]
    if found["images_refused"]:
        lines += [f"Images that could not be read: {found['images_refused']:,}"]
    return tuple(lines)


def chosen(selected: pd.DataFrame, label: str, *, most: int) -> Selection:
    """Return what a person has selected on the page, or where nothing is, the images whose reports state a label.

    Parameters
    ----------
    selected : DataFrame
        `SearchWidget.selected`.
    label : str
    most : int
        Images at most.
    """
    if len(selected):
        return Selection(image_ids=tuple(selected["image_id"]), limit=most)
    return Selection(where={"positive_labels": [label]}, limit=most)


def label_hits(
    store_url: str,
    selection: Selection,
    output_uri: str,
    settings: Settings,
    *,
    simulated_readers: int,
) -> dict[str, int]:
    """Make a labeling job of hits, and wait for it where simulated readers can answer it; print what was made.

    Parameters
    ----------
    store_url : str
    selection : Selection
    output_uri : str
        Folder or s3:// URI of the job.
    settings : Settings
        As `local_services.attach` returns them.
    simulated_readers : int
        They answer from the reference standard of the phantoms of this workspace; with 0, or without phantoms, the job waits
        for people.

    Raises
    ------
    SearchError, LabelingError, ServiceError
        As `search_selection.label`.
    """
    truth_uri = records.find_input(settings, records.UPLOAD, name="truth", required=False)
    readers = labeling_step.Readers(simulated=simulated_readers if truth_uri else 0, truth_uri=truth_uri)
    started = search_selection.label(store_url, selection, output_uri, settings, readers=readers)
    suggested = sum("suggestions" in line.data for line in manifests.read(started.manifest_uri, storage=Storage(settings)))
    print(f"Labeling job {started.job_name}: {started.accepted.accepted:,} images, {suggested:,} with suggestions.")
    print(*started.accepted.errors[:10], started.team.invitation(settings), sep="\n")
    counts = {"selected": started.accepted.accepted, "suggested": suggested, "answers": 0}
    if not readers.simulated:
        print("The job waits for its readers. `make up` keeps the services of this workspace running for them.")
        return counts
    state = labeling_step.finish(started, settings).state
    print(f"{state.labeled:,} images were labeled, {state.failed:,} failed.")
    return {**counts, "answers": state.labeled * readers.simulated}


def similar(store: SearchStore, image_id: str = "", *, k: int = 12) -> tuple[ImageDocument, ImageHits]:
    """Return an image of the index and the images most similar to it.

    Parameters
    ----------
    store : SearchStore
    image_id : str
        Empty: the first image that has a positive label.
    k : int
        How many.

    Raises
    ------
    SearchError
        The index has no such image.
    """
    every = (
        store.images([image_id]) if image_id else [next((each for each in store.scan_images() if each.labels_positive), None)]
    )
    image = every[0]
    if image is None:
        raise SearchError(f"The index has no image {image_id[:80] or 'with a positive label'}. Index it first.")
    return image, store.similar_images(ImageQuery(image.image_id, k=k))


def keep_record(
    store_url: str,
    indexed: Indexed,
    retrieval: Retrieval | None,
    audited: Audited,
    labeled: Mapping[str, int],
    settings: Settings,
) -> Record:
    """Keep the record of the search notebook.

    Parameters
    ----------
    store_url : str
    indexed : Indexed
    retrieval : Retrieval or None
        What `measure` returned.
    audited : Audited
    labeled : mapping of str to int
        What `label_hits` returned.
    settings : Settings
    """
    here = {name: indexed.report.count(name, *IN_THE_INDEX) for name in ("image", "report")}
    metrics = {"images_in_index": here["image"], "reports_in_index": here["report"], "queries": 0, **labeled}
    metrics |= audited.review.metrics()
    if retrieval:
        ours = next(iter(retrieval.figures.values()))
        metrics |= {
            "precision_at_1": round(ours["P@1"]["value"], 4),
            "precision_at_1_by_chance": round(retrieval.figures["random"]["P@1"]["value"], 4),
            "map_at_10": round(ours["mAP@10"]["value"], 4),
            "queries": retrieval.queries,
        }
    uris = {"review": audited.uri, "indexed": to_uri(indexed.report.path) if indexed.report.path else ""}
    uri = store_url if "://" in store_url else to_uri(store_url)
    return records.keep(Record(records.SEARCH, uri, metrics, {}, {name: each for name, each in uris.items() if each}), settings)


def output_folder(settings: Settings, given: str = "") -> str:
    """Return the URI of the folder that the notebook writes to: the one given, else that of the workspace."""
    return to_uri(given) if given else join(to_uri(settings.make_workspace()), "search")
