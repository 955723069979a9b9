"""Download of instances: files into a folder, copies into object storage, images to look at."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.archive.streams import PIECE_BYTES
from dicom_workflow.archive.thread_pool import map_threads
from dicom_workflow.archive.upload_report import FileOutcome, Outcome, RetrieveReport
from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.inspection import md5_of
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import ArchiveCredentialsError, ArchiveUnavailableError, VerificationError, WorkflowError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.storage import Storage, join, to_uri


def retrieve(
    instances: Iterable[Instance], archive: Archive, folder: str | Path, *, workers: int = 16, progress: bool = True
) -> RetrieveReport:
    """Write instances of an archive to a folder, one ``<SOP Instance UID>.dcm`` each, and return what became of each.

    Every file is held against the archive's MD5 (and the record's, where it has one) and appears whole or not at all. Files
    with the right MD5 that are there already are left alone. An instance that cannot be had is named in `refused`; the rest
    goes on.

    Parameters
    ----------
    instances : iterable of Instance
    archive : Archive
    folder : str or Path
        Made when it is not there.
    workers : int
        Files in flight at once.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ArchiveUnavailableError, ArchiveCredentialsError
        At the start, before anything is fetched.
    """
    wanted = list({instance.sop_instance_uid: instance for instance in instances}.values())
    archive.check()
    started = time.monotonic()
    root = Path(folder)
    outcomes: list[FileOutcome | None] = [None] * len(wanted)
    stopped = threading.Event()
    storage = Storage()

    def one(number: int) -> None:
        instance = wanted[number]
        path = root / f"{instance.sop_instance_uid}.dcm"
        try:
            outcomes[number] = _retrieve(instance, archive, path, storage)
        except WorkflowError as error:
            outcomes[number] = FileOutcome(path.name, Outcome.FAILED, str(error))
            if isinstance(error, ArchiveUnavailableError | ArchiveCredentialsError):
                stopped.set()

    map_threads(one, len(wanted), stopped, workers=workers, label="retrieve", progress=progress)
    finished = tuple(
        outcome or FileOutcome(f"{instance.sop_instance_uid}.dcm", Outcome.FAILED, "not fetched: the archive does not answer")
        for instance, outcome in zip(wanted, outcomes, strict=True)
    )
    refused = {item.sop_instance_uid: out.reason for item, out in zip(wanted, finished, strict=True) if not out.instance}
    paths = {out.instance.sop_instance_uid: root / Path(out.path).name for out in finished if out.instance}
    return RetrieveReport(finished, paths, refused, time.monotonic() - started)


def _retrieve(instance: Instance, archive: Archive, path: Path, storage: Storage) -> FileOutcome:
    if path.is_file():
        md5 = md5_of(path)
        if md5 == (instance.md5 or archive.md5(instance.reference)):
            return FileOutcome(str(path), Outcome.ALREADY_THERE, instance=replace(instance, md5=md5))
    with storage.writer(to_uri(path)) as stream:
        md5 = archive.retrieve_to(instance.reference, stream)
        size_bytes = stream.tell()
        if instance.md5 and md5 != instance.md5:
            raise VerificationError(
                f"{instance.sop_instance_uid}: expected MD5 {instance.md5}, got {md5} from the archive. List the archive again."
            )
    return FileOutcome(str(path), Outcome.RETRIEVED, instance=replace(instance, md5=md5, size_bytes=size_bytes))


@dataclass(frozen=True)
class Copies:
    """What `copy_to` left: the instances with the URI of their copy, and why others have none."""

    instances: tuple[Instance, ...]
    refused: Mapping[str, str]
    """SOP Instance UID → reason."""


def copy_to(
    folder_uri: str,
    instances: Iterable[Instance],
    archive: Archive,
    storage: Storage,
    *,
    workers: int = 8,
    progress: bool = True,
) -> Copies:
    """Copy instances to object storage, read each copy back, and return the instances with their `uri`.

    A copy's name is `ObjectReference.file_name`, so that the pre-annotation function finds it with the manifest line alone.

    Parameters
    ----------
    folder_uri : str
        s3:// or file:// folder. When empty nothing is copied, and the instances are returned as they came.
    instances : iterable of Instance
    archive : Archive
    storage : Storage
    workers : int
        Copies in flight at once.
    progress : bool
        Show a progress bar.

    Notes
    -----
    A copy with the right MD5 that is there already is left alone. One that cannot be made is named in `refused`; the rest goes
    on.
    """
    wanted = tuple(instances)
    if not folder_uri:
        return Copies(wanted, {})
    copied: list[Instance | None] = [None] * len(wanted)
    refused: dict[str, str] = {}

    def one(number: int) -> None:
        instance = wanted[number]
        try:
            copied[number] = _copy(folder_uri, instance, archive, storage)
        except WorkflowError as error:
            refused[instance.sop_instance_uid] = str(error)

    map_threads(one, len(wanted), threading.Event(), workers=workers, label="copy", progress=progress)
    return Copies(tuple(instance for instance in copied if instance), refused)


def _copy(folder_uri: str, instance: Instance, archive: Archive, storage: Storage) -> Instance:
    uri = join(folder_uri, instance.reference.file_name)
    md5 = instance.md5 or archive.md5(instance.reference)
    if not storage.exists(uri) or _md5_at(uri, storage) != md5:
        with storage.writer(uri) as stream:
            archive.retrieve_to(instance.reference, stream)
        if (found := _md5_at(uri, storage)) != md5:
            raise VerificationError(f"{uri}: expected the archive's MD5 {md5}, read back {found}. Copy again.")
    return replace(instance, uri=uri, md5=md5)


def _md5_at(uri: str, storage: Storage) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with storage.open(uri) as stream:
        while piece := stream.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def load_display(archive: Archive, reference: ObjectReference) -> NDArray[np.float32]:
    """Return one image of the archive as it is to be seen: float32 (rows, columns) in [0, 1], 0 is black.

    Raises
    ------
    ArchiveError
        The archive does not hold it or does not answer.
    DicomError
        Its pixels cannot be displayed.
    """
    return pixels.to_display(read_dataset(archive.retrieve_instance(reference)))


def loader(archive: Archive, *, keep: int = 32, storage: Storage | None = None) -> Callable[[Any], NDArray[np.float32]]:
    """Return a function that loads the image of a sample, or of anything else that has a `source`.

    Parameters
    ----------
    archive : Archive
        Where sources that are no URIs are looked up.
    keep : int
        Images kept in memory, the last ones used.
    storage : Storage, optional
        Where the URIs of files are read, as lines with ``source-ref`` have them.

    Returns
    -------
    callable
        Gives float32 (rows, columns) in [0, 1], 0 is black.
    """

    @lru_cache(maxsize=keep)
    def load(source: str) -> NDArray[np.float32]:
        reference = ObjectReference.parse(source)
        if reference.uri:
            return pixels.to_display(read_dataset((storage or Storage()).read_bytes(reference.uri)))
        return load_display(archive, reference)

    return lambda item: load(item.source)


def thumbnails(archive: Archive, instances: Iterable[Instance], count: int = 12) -> list[tuple[str, NDArray[np.float32]]]:
    """Return the first images that can be displayed, each with the end of its SOP Instance UID as its title.

    Parameters
    ----------
    archive : Archive
    instances : iterable of Instance
        One that cannot be displayed is left out.
    count : int
        Images at most.

    Returns
    -------
    list of (str, ndarray)
        Titles and images, float32 (rows, columns) in [0, 1], 0 is black.
    """
    shown = ((instance, _try_load(archive, instance.reference)) for instance in instances)
    good = ((f"…{instance.sop_instance_uid[-6:]}", image) for instance, image in shown if image is not None)
    return list(islice(good, count))


def _try_load(archive: Archive, reference: ObjectReference) -> NDArray[np.float32] | None:
    try:
        return load_display(archive, reference)
    except WorkflowError:
        return None  # a picture is no place to fail; the step that needs the pixels names what it cannot read
