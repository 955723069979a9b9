"""The frames behind a task: files of the archive and of object storage, and PNG pictures of single frames.

A worker's browser gets bytes only; the address and the password of the archive stay here. Files are copied to disk in blocks,
never into memory, because one may have gigabytes; a picture is made of the one frame that was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dicom_workflow.errors import (
    ArchiveUnavailableError,
    InstanceNotFoundError,
    ObjectNotFoundError,
    RecordError,
    StorageError,
    UnsupportedPixelsError,
)
from dicom_workflow.formats.object_reference import FILE_SCHEMES, ObjectReference
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.labeling import page_assets
from dicom_workflow.labeling.tasks.protocol import Frame
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_path

if TYPE_CHECKING:
    from dicom_workflow.archive.protocol import Archive

RENDERED_MAX_PX = 1536
MEMORY_BYTES = 128 * 2**20
"""Of rendered frames and page files."""
DISK_BYTES = 2 * 2**30
"""Of copied files. A single larger one is kept while it is in use, and alone."""
BLOCK_BYTES = 2**20
UNAVAILABLE_SECONDS = 5.0
"""Pause after an archive did not answer: each attempt may hold a thread for half a minute."""

DICOM = "application/dicom"


@dataclass
class _File:
    """A local file. One copied from elsewhere is deleted when it is the oldest and nobody uses it."""

    path: Path
    size_bytes: int
    users: int = 0


@dataclass(frozen=True)
class StoredObject:
    """An opened file, to be sent in blocks."""

    stream: IO[bytes]
    size_bytes: int
    media_type: str

    def blocks(self) -> Iterator[bytes]:
        """Yield the content and close the file."""
        with self.stream:
            while block := self.stream.read(BLOCK_BYTES):
                yield block


class ImageCache:
    """Files and rendered frames by URI; the latest are kept, because several workers see the same object at about one time.

    Parameters
    ----------
    settings : Settings
        Where the archive is. Copies are kept in the workspace, readable by this user alone, until the next start.
    access : Access
        Decides which URIs may be read.
    """

    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._folder = settings.workspace / "groundtruth" / "images"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._memory: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self._memory_bytes = 0
        self._lock = threading.Lock()
        self._copying = [threading.Lock() for _ in range(16)]
        self._rendering = threading.Lock()
        self._unavailable_until = 0.0

    @cached_property
    def _archive(self) -> Archive:
        # pydicom and numpy take a second to import, and a service that shows no image needs neither.
        from dicom_workflow.archive import open_archive

        return open_archive(self._settings)

    def stored(self, uri: str) -> StoredObject:
        """Return an image as it is stored.

        Raises
        ------
        ObjectNotFoundError, InstanceNotFoundError
            The image does not exist.
        StorageError, ArchiveError
            It cannot be read now, or access is denied.
        UnsupportedPixelsError
            It is neither DICOM nor PNG nor JPEG.
        """
        with self._file(uri) as file:
            stream = _opened(file.path, uri)  # stays readable when the copy is deleted
            try:
                return StoredObject(stream, file.size_bytes, _media_type(stream, uri))
            except BaseException:
                stream.close()
                raise

    def rendered(self, frame: Frame) -> tuple[bytes, str]:
        """Return a PNG of one frame as it is to be displayed, and its media type. PNG and JPEG files are returned as they are.

        Raises
        ------
        UnsupportedPixelsError
            The frame does not exist, or is in color and the task shows gray images only.
        DicomError
            The frame cannot be displayed; and what `stored` raises.
        """
        key = ("rendered", frame.uri, str(frame.index), str(frame.color))
        if data := self._remembered(key):
            return data, "image/png"
        with self._file(frame.uri) as file:
            with _opened(file.path, frame.uri) as stream:
                kind = _media_type(stream, frame.uri)
                if kind != DICOM:
                    return stream.read(), kind
            from dicom_workflow.dicom.pixels import frame_to_png

            with self._rendering:  # one at a time: decoding takes much memory, and a waiting request may find it done
                data = self._remembered(key) or self._remember(
                    key,
                    frame_to_png(file.path, index=_index_of(frame), color=frame.color, max_px=RENDERED_MAX_PX),
                )
        return data, "image/png"

    def asset(self, uri: str, name: str) -> tuple[bytes, str]:
        """Return a script or style sheet of a task page, verified against the hash in its name, and its media type."""
        key = ("asset", uri)
        data = self._remembered(key) or self._remember(key, page_assets.checked(name, self._access.read_bytes(uri)))
        return data, page_assets.media_type(name)

    # Files

    @contextlib.contextmanager
    def _file(self, uri: str) -> Iterator[_File]:
        """Yield the local file of a URI: one of the workspace itself, or a copy that is not deleted inside the block."""
        if uri.startswith("file://"):
            yield _local_file(to_path(self._access.check(uri)), uri)
            return
        with self._copying[hash(uri) % len(self._copying)]:
            with self._lock:
                file = self._files.get(uri)
                if file is not None:
                    file.users += 1
                    self._files.move_to_end(uri)
            if file is None:
                file = self._copied(uri)
        try:
            yield file
        finally:
            with self._lock:
                file.users -= 1
                self._delete_oldest()

    def _copied(self, uri: str) -> _File:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        path = self._folder / hashlib.sha256(uri.encode("utf-8", "replace")).hexdigest()
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
                self._copy(uri, target)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StorageError(f"{path}: cannot be written: {error.strerror}.") from error
            raise
        file = _File(path, path.stat().st_size, users=1)
        with self._lock:
            self._files[uri] = file
            self._delete_oldest()
        return file

    def _copy(self, uri: str, target: IO[bytes]) -> None:
        if uri.startswith(FILE_SCHEMES):
            with self._access.storage.open(self._access.check(uri)) as source:
                shutil.copyfileobj(source, target, BLOCK_BYTES)
            return
        try:
            reference = replace(ObjectReference.parse(uri), frame_number=0)
        except RecordError as error:
            raise StorageError(str(error)) from None
        if time.monotonic() < self._unavailable_until:
            raise ArchiveUnavailableError("the archive did not answer a moment ago.")
        try:
            self._archive.retrieve_to(reference, target)
        except ArchiveUnavailableError:
            self._unavailable_until = time.monotonic() + UNAVAILABLE_SECONDS
            raise

    def _delete_oldest(self) -> None:
        total = sum(file.size_bytes for file in self._files.values())
        for uri, file in list(self._files.items()):
            if total <= DISK_BYTES:
                return
            if not file.users:
                del self._files[uri]
                file.path.unlink(missing_ok=True)
                total -= file.size_bytes

    # Memory

    def _remembered(self, key: tuple[str, ...]) -> bytes | None:
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
            return self._memory.get(key)

    def _remember(self, key: tuple[str, ...], data: bytes) -> bytes:
        with self._lock:
            self._memory_bytes += len(data) - len(self._memory.pop(key, b""))
            self._memory[key] = data
            while self._memory_bytes > MEMORY_BYTES:
                _, oldest = self._memory.popitem(last=False)
                self._memory_bytes -= len(oldest)
        return data


def is_missing(error: Exception) -> bool:
    """Return whether an error means that the image does not exist, rather than that it cannot be reached now."""
    return isinstance(error, ObjectNotFoundError | InstanceNotFoundError)


def _index_of(frame: Frame) -> int:
    """Return the zero-based frame: that which an archive's URI names, else that of the task."""
    if frame.uri.startswith(FILE_SCHEMES):
        return frame.index
    return max(ObjectReference.parse(frame.uri).frame_number - 1, frame.index)


def _local_file(path: Path, uri: str) -> _File:
    if not path.is_file():
        raise ObjectNotFoundError(f"{uri} does not exist or is not a file.")
    return _File(path, path.stat().st_size)


def _opened(path: Path, uri: str) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise StorageError(f"{uri}: cannot be read: {error.strerror}.") from error


def _media_type(stream: IO[bytes], uri: str) -> str:
    """By content, so that a job cannot make a worker's browser run or show anything but an image. Leaves the stream at 0."""
    head = stream.read(132)
    stream.seek(0)
    if head[128:132] == b"DICM":
        return DICOM
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    raise UnsupportedPixelsError(f"{uri}: expected DICOM, PNG or JPEG, got {head[:8].hex()}….")
