"""The steps of search, each one function under both its notebook and its command: index, maintain, evaluate."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_workflow.errors import SearchError
from dicom_workflow.pipeline import local_services, records
from dicom_workflow.search.embeddings import Embedder
from dicom_workflow.search.ingest import backfill, event_queue, external_vectors, sources
from dicom_workflow.search.ingest.images import Ingest
from dicom_workflow.search.ingest.ingest_report import IngestReport, Outcome
from dicom_workflow.search.ingest.report_files import ReportFile, read_reports, reports_of
from dicom_workflow.search.ingest.report_links import ReportLinks, read_pairs
from dicom_workflow.search.ingest.reports import ReportIngest
from dicom_workflow.search.ingest.store_writes import write_with_retry
from dicom_workflow.search.patient_keys import open_keys
from dicom_workflow.search.radiology_reports import ComprehendMedical, ReportNLP
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.search.store.protocol import Maintenance
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_path

if TYPE_CHECKING:
    from dicom_workflow.search.service.server import ServeOptions

NO_MODEL = "none"
"""As a model: index images without embeddings."""


@dataclass(frozen=True)
class IndexRequest:
    """What `index` puts into a store."""

    source: str = ""
    """Folder, ``s3://``, ``archive`` or ``sqs:`` queue; empty for reports or vectors alone."""
    model: str = ""
    """Folder of a bundle; empty: the one of the space that serves, else the one of the workspace; ``none``: no embeddings."""
    reports: Sequence[str] = ()
    """Files and folders of reports."""
    comprehend_medical: bool = False
    """Read the reports with Amazon Comprehend Medical, which receives their text, instead of the local engine."""
    pairs: str = ""
    """Table of image and report ids."""
    vectors: str = ""
    """File of external vectors."""
    workers: int = 0
    """Images decoded at a time; 0: as many as there are CPUs."""
    report_path: Path | None = None
    """What was left out and why, as JSON lines; in the workspace where it is not given."""
    watch: bool = False
    """Go on with what comes, until interrupted."""
    poll_seconds: float = 5.0
    """Between two looks at the source."""


@dataclass(frozen=True)
class Indexed:
    """What `index` did."""

    report: IngestReport
    spaces: Mapping[str, int] = field(default_factory=dict)
    """Each space that this run filled → images of the index that have no embedding in it."""
    serving: str = ""
    """The space that serves."""


def index(store_url: str, settings: Settings, request: IndexRequest, *, progress: bool = True) -> Indexed:
    """Put images, reports and external vectors into a store, which is made where there is none; again, it does nothing twice.

    Parameters
    ----------
    store_url : str
        As for `open_store`.
    settings : Settings
    request : IndexRequest
    progress : bool
        Show progress bars.

    Raises
    ------
    SearchError
        The source, the model or a file cannot be used.
    SearchStoreError
        The store cannot be opened or written; what was written until then is in it.
    KeyboardInterrupt
        Ctrl-C outside a watch; what was written until then is in the store.
    """
    if request.source == sources.ARCHIVE:
        settings = local_services.attach(settings)
    path = request.report_path or settings.make_workspace() / "search" / "index-report.jsonl"
    with contextlib.closing(open_store(store_url, create=True)) as store, IngestReport(path) as report:
        ingest = _ingest(store, store_url, settings, request, report, progress)
        ingest.reports.add(_reports(request, settings, report), progress=progress and bool(request.reports))
        if request.watch:  # what is in the index already does not wait for the end
            _fill(ingest, settings)
        if request.source:
            # Ctrl-C and SIGTERM are the usual end of a watch.
            with contextlib.suppress(*([KeyboardInterrupt] if request.watch else [])):
                _add_source(ingest, settings, request)
        filled = {}
        if ingest.embedder:
            filled[ingest.embedder.space.space_id] = _fill(ingest, settings)
        if request.vectors:
            vectors = external_vectors.read_vectors(
                to_path(request.vectors), lambda name, reason: report.add("vector", name, Outcome.SKIPPED, reason)
            )
            backfill.add_vectors(store, vectors, report)
            filled[vectors.space.space_id] = backfill.serve_when_whole(store, vectors.space.space_id)
        ingest.reports.note_orphans()
        spaces = store.spaces()
        return Indexed(report, filled, spaces[0].space_id if spaces else "")


def _ingest(
    store: SearchStore, store_url: str, settings: Settings, request: IndexRequest, report: IngestReport, progress: bool
) -> Ingest:
    links = ReportLinks(read_pairs(request.pairs, Storage(settings)) if request.pairs else {})
    reports = ReportIngest(store, open_keys(store_url, settings), report, _nlp(request), links)
    embedder = None
    if request.model != NO_MODEL and (request.source or request.model):
        folder = find_model(store, settings, request.model)
        embedder = Embedder.load(folder)
        keep_model(folder, embedder.space.space_id, settings)
    return Ingest(store, reports, embedder, workers=request.workers, progress=progress)


def _fill(ingest: Ingest, settings: Settings) -> int:
    """Fill the space of an ingest, let it serve when it is whole, and return how many images are missing in it."""
    if ingest.embedder is None:
        return 0
    write_with_retry(ingest.store.add_space, ingest.embedder.space)
    backfill.fill_space(ingest, partial(sources.image_at, settings=settings))
    return backfill.serve_when_whole(ingest.store, ingest.embedder.space.space_id)


def _nlp(request: IndexRequest) -> ReportNLP | None:
    return ComprehendMedical() if request.comprehend_medical else None


def _reports(request: IndexRequest, settings: Settings, report: IngestReport) -> Iterator[ReportFile]:
    storage = Storage(settings)
    for place in request.reports:
        yield from read_reports(place, storage, lambda name, reason: report.add("report", name, Outcome.SKIPPED, reason))


def _add_source(ingest: Ingest, settings: Settings, request: IndexRequest) -> None:
    if request.source.startswith(sources.QUEUE):
        _add_events(ingest, settings, request)
        return
    others = [place for place in (*request.reports, request.pairs, request.vectors) if place and not place.startswith("s3://")]
    source = sources.open_source(request.source, settings, without=map(to_path, others))
    if not request.watch:
        total = sum(1 for _ in source.images()) if isinstance(source, sources.FolderSource) else None
        ingest.add_images(source.images(), total=total)
        return
    for fresh in sources.watched(source, poll_seconds=request.poll_seconds):
        if fresh:
            ingest.add_images(fresh, total=len(fresh))


def _add_events(ingest: Ingest, settings: Settings, request: IndexRequest) -> None:
    report, storage = ingest.reports.report, Storage(settings)
    queue = event_queue.EventQueue(request.source, settings)
    for events in queue.events(wait=request.watch):
        for reason in events.refused:
            report.add("image", request.source, Outcome.SKIPPED, reason)
        found = [
            each
            for uri in events.reports
            for each in reports_of(uri, storage, lambda name, why: report.add("report", name, Outcome.SKIPPED, why))
        ]
        ingest.reports.add(found, progress=False)
        ingest.add_images(events.images, total=len(events.images))
        queue.done(events)


def find_model(store: SearchStore, settings: Settings, given: str = "") -> Path:
    """Return the folder of the bundle to embed with: the one given, that of the space that serves, that of the workspace.

    Parameters
    ----------
    store : SearchStore
    settings : Settings
    given : str
        Folder of a bundle, or a ``model.tar.gz``, also on S3.

    Raises
    ------
    SearchError
        None is given, and the workspace has none.
    """
    if given.startswith("s3://") or given.endswith((".tar.gz", ".tgz")):
        from dicom_workflow.learning.model.bundle_archive import unpack_model

        return unpack_model(given, model_folder(given, settings), storage=Storage(settings))
    if given:
        return to_path(given)
    spaces = store.spaces()
    if spaces and (kept := model_folder(spaces[0].space_id, settings)).is_dir():
        return kept
    trained = records.latest(settings, records.TRAIN)
    if trained and not spaces:
        return to_path(trained.artifact_uri)
    what = f"made the embeddings of {store.url}" if spaces else "was trained in this workspace"
    raise SearchError(
        f"No model is given, and none that {what} is in {settings.workspace}. Give --model BUNDLE, train one with "
        f"`dicom-workflow train`, or index without embeddings with --model {NO_MODEL}."
    )


def model_folder(space_id: str, settings: Settings) -> Path:
    """Return the folder of the workspace for the bundle that makes the embeddings of a space; it may not be there."""
    return settings.workspace / "search" / "models" / hashlib.sha256(space_id.encode()).hexdigest()[:16]


def keep_model(folder: Path, space_id: str, settings: Settings) -> Path:
    """Copy a bundle to where `find_model` looks for that of a space, and return its folder there.

    Parameters
    ----------
    folder : Path
        Of the bundle.
    space_id : str
        Of its embeddings.
    settings : Settings

    Raises
    ------
    SearchError
        It cannot be copied.
    """
    kept = model_folder(space_id, settings)
    if not kept.is_dir():
        part = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}.part")
        try:
            shutil.copytree(folder, part)
            part.replace(kept)
        except OSError as error:
            if not kept.is_dir():  # another process may have been first
                reason = error.strerror or "see whether the disk is full"
                raise SearchError(f"{kept}: the model cannot be kept for later runs: {reason}. Free some space.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return kept


def serve(store_url: str, settings: Settings, options: ServeOptions, *, model: str = "") -> None:
    """Serve the page and the GraphQL interface of an index until SIGTERM or Ctrl-C; requests under way are finished.

    Parameters
    ----------
    store_url : str
    settings : Settings
    options : ServeOptions
        Where to listen, and who may search.
    model : str
        Bundle for uploaded images; empty: that of the space that serves, where this workspace has it.

    Raises
    ------
    SearchStoreError
        There is no store, or it cannot be opened.
    SettingsError, ServiceError, SearchError
        As `service.server.serve`.
    """
    from dicom_workflow.search.service.server import serve as serve_store

    with contextlib.closing(open_store(store_url)) as store:
        spaces = store.spaces()
        has_model = bool(model) or (bool(spaces) and model_folder(spaces[0].space_id, settings).is_dir())
        embedder = Embedder.load(find_model(store, settings, model)) if has_model else None
        serve_store(store, settings, embedder=embedder, options=options, say=lambda line: print(line, flush=True))


def maintain(store_url: str, settings: Settings, *, serve: str = "", drop: str = "") -> Maintenance:
    """Compact a store, bring its indexes up to date, and measure recall and duplicates.

    Parameters
    ----------
    store_url : str
    settings : Settings
    serve : str
        Space that is to serve from now on, whole or not.
    drop : str
        Space whose embeddings are deleted.

    Raises
    ------
    SearchStoreError
        There is no store, or it cannot be written.
    RecordError
        An unknown space, or one that serves is to be dropped.
    """
    with contextlib.closing(open_store(store_url)) as store:
        if serve:
            store.serve_space(serve)
        if drop:
            store.drop_space(drop)
        return store.maintain()
