"""Download of instances: into a folder, or into object storage from where a reader's page or a training job gets them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.archive.streams import PIECE_BYTES
from dicom_workflow.archive.thread_pool import map_threads
from dicom_workflow.archive.upload_report import FileOutcome, Outcome, RetrieveReport
from dicom_workflow.dicom.inspection import md5_of
from dicom_workflow.errors import ArchiveCredentialsError, ArchiveUnavailableError, VerificationError, WorkflowError
from dicom_workflow.formats.instances import Instance
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
