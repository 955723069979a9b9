"""Copies of an archive's images in object storage: on AWS, a reader's page gets its image from S3, not from the archive."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.archive.thread_pool import run_all
from dicom_workflow.dicom.inspection import md5_of
from dicom_workflow.errors import VerificationError, WorkflowError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.storage import Storage, join


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

    Notes
    -----
    A copy that is there already and right is left alone. One that cannot be made is named in `refused`; the rest goes on.
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

    run_all(len(wanted), one, threading.Event(), workers=workers, label="copy", progress=progress)
    return Copies(tuple(instance for instance in copied if instance), refused)


def _copy(folder_uri: str, instance: Instance, archive: Archive, storage: Storage) -> Instance:
    uri = join(folder_uri, instance.reference.file_name)
    md5 = instance.md5 or archive.md5(instance.reference)
    if not storage.exists(uri) or md5_of(storage.read_bytes(uri)) != md5:
        storage.write_bytes(uri, archive.retrieve_instance(instance.reference))
        if md5_of(held := storage.read_bytes(uri)) != md5:
            raise VerificationError(f"{uri}: expected the archive's MD5 {md5}, read back {len(held)} other bytes. Copy again.")
    return replace(instance, uri=uri, md5=md5)
