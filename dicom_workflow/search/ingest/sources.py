"""Where the images of a search index come from: a folder, an archive, an S3 prefix.

A source yields `SourceImage`, each of which can be had as a local file. Files that are local are read where they lie; others
are written to a folder that the caller removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from dicom_workflow.archive.protocol import Archive
from dicom_workflow.errors import SearchError, StorageError, printable
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, s3_parts, to_path, to_uri

ARCHIVE = "archive"
"""As a source: every instance of the archive that the settings name."""
QUEUE = "sqs:"
"""Begins a source that is a queue of S3 events: ``sqs:https://sqs.eu-central-1.amazonaws.com/123456789012/uploads``."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class SourceImage:
    """One file that may be an image."""

    name: str
    """How messages and the report of an ingest name it."""
    source: str
    """What a manifest line says of it: a URI, or a resource path of the archive."""
    version: str
    """Changes with the content, as far as can be told without reading it: for a live watch."""
    fetch: Callable[[Path], Path]
    """Return the local file; one that is not on this machine is written into the folder given."""
    image_id: str = ""
    """SOP Instance UID, where the source knows it and never has other content under it: such an image is not read again."""


class ImageSource(Protocol):
    """Images that can be listed again and again."""

    def images(self) -> Iterator[SourceImage]:
        """Yield every file of the source, in an order that stays the same while nothing is added."""


def open_source(text: str | Path, settings: Settings, *, without: Iterable[Path] = ()) -> ImageSource:
    """Return the source that a path, a URI or ``archive`` names.

    Parameters
    ----------
    text : str or Path
        A folder or a file, as a path or ``file://``; ``s3://bucket/prefix``; ``archive``: what the settings name.
    settings : Settings
    without : iterable of Path
        Files of a folder that are no images, such as the reports of the same run.

    Raises
    ------
    SearchError
        There is no such folder, or it is another kind of address.
    SettingsError
        The address or the credentials of the archive are missing.
    """
    if str(text) == ARCHIVE:
        from dicom_workflow.archive import open_archive

        return ArchiveSource(open_archive(settings))
    if str(text).startswith("s3://"):
        s3_parts(str(text))
        return S3Source(str(text), Storage(settings))
    try:
        path = to_path(str(text)).expanduser().absolute()
    except StorageError:
        raise SearchError(
            f"expected images as a folder, s3://bucket/prefix, {ARCHIVE!r} or {QUEUE}QUEUE_URL, got {str(text)[:80]!r}."
        ) from None
    if not path.exists():
        raise SearchError(f"{path}: there is no such folder of DICOM files. Check the path.")
    return FolderSource(path, frozenset(each.absolute() for each in without))


@dataclass(frozen=True)
class FolderSource:
    """The files below a folder, links to folders included; names that begin with a dot are left out. Or one file."""

    root: Path
    without: frozenset[Path] = frozenset()
    """Files that are something else, such as the reports of the same run."""

    def images(self) -> Iterator[SourceImage]:
        """Yield every file, folder by folder, sorted."""
        for path in self._paths():
            if path in self.without:
                continue
            try:
                status = path.stat()
            except OSError:
                status = None  # gone, or a link to nothing: reading it says so
            version = f"{status.st_size}.{status.st_mtime_ns}" if status else ""
            name = printable(str(path.relative_to(self.root)) if path != self.root else path.name)
            yield SourceImage(name, to_uri(path), version, lambda _, path=path: path)  # type: ignore[misc]

    def _paths(self) -> Iterator[Path]:
        if not self.root.is_dir():
            yield self.root
            return
        seen: set[tuple[int, int]] = set()
        for name, folders, files in os.walk(self.root, followlinks=True):
            status = Path(name).stat()
            if (status.st_dev, status.st_ino) in seen:  # two links to one folder, or a loop
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(child for child in folders if not child.startswith("."))
            yield from (Path(name) / child for child in sorted(files) if not child.startswith("."))


@dataclass(frozen=True)
class S3Source:
    """The objects below an S3 prefix, or one object."""

    uri: str
    storage: Storage

    def images(self) -> Iterator[SourceImage]:
        """Yield every object, by its key."""
        found = self.storage.list(self.uri)
        if not found and self.storage.exists(self.uri):
            found = [self.uri]
        for uri in found:
            yield s3_image(uri, self.storage)


def s3_image(uri: str, storage: Storage, *, version: str = "") -> SourceImage:
    """Return an object of S3, or a file by its URI, as an image.

    Parameters
    ----------
    uri : str
    storage : Storage
    version : str
        ETag or sequencer, where an event says it.
    """
    if uri.startswith("file://"):
        return SourceImage(uri, uri, version, lambda _: to_path(uri))

    def fetch(folder: Path) -> Path:
        path = folder / f"{hashlib.sha256(uri.encode()).hexdigest()[:32]}.dcm"
        with storage.open(uri) as stream, _written(path) as target:
            while block := stream.read(_BLOCK_BYTES):
                target.write(block)
        return path

    return SourceImage(uri, uri, version or uri, fetch)


@dataclass(frozen=True)
class ArchiveSource:
    """Every instance of an archive. An archive never has other content under one SOP Instance UID."""

    archive: Archive

    def images(self) -> Iterator[SourceImage]:
        """Yield every instance, in the archive's own order."""
        self.archive.check()
        for instance in self.archive.search_for_instances():
            yield archive_image(instance.reference, self.archive)


def archive_image(reference: ObjectReference, archive: Archive) -> SourceImage:
    """Return an instance of an archive as an image."""

    def fetch(folder: Path) -> Path:
        path = folder / f"{hashlib.sha256(str(reference).encode()).hexdigest()[:32]}.dcm"
        with _written(path) as target:
            archive.retrieve_to(reference, target)
        return path

    uid = reference.sop_instance_uid
    source = reference.to_source() if reference.orthanc_instance_id or reference.study_instance_uid else uid
    return SourceImage(str(reference), source, uid, fetch, image_id=uid)


def image_at(source: str, settings: Settings) -> SourceImage:
    """Return the image that the `source` of an indexed image names, to read it again.

    Raises
    ------
    RecordError
        It names nothing.
    SettingsError
        It is of an archive that the settings do not name.
    """
    reference = ObjectReference.parse(source)
    if reference.uri:
        return s3_image(reference.uri, Storage(settings))
    from dicom_workflow.archive import open_archive

    return archive_image(reference, open_archive(settings))


def watched(source: ImageSource, *, poll_seconds: float = 5.0) -> Iterator[list[SourceImage]]:
    """Yield, without end, what is new or changed in a source: first all of it, then after each pause what came.

    A file that came is yielded when it looks the same at two looks: until then it may still be written.

    Parameters
    ----------
    source : ImageSource
    poll_seconds : float
        Between two looks.
    """
    taken: dict[str, str] = {}
    before: dict[str, str] | None = None
    while True:
        fresh, waiting = [], {}
        for image in source.images():
            if taken.get(image.source) == image.version:
                continue
            if before is None or before.get(image.source) == image.version:
                fresh.append(image)
                taken[image.source] = image.version
            else:
                waiting[image.source] = image.version
        before = waiting
        yield fresh
        time.sleep(poll_seconds)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("w+b") as stream:
            yield stream
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}. Free some space, or set TMPDIR.") from error
