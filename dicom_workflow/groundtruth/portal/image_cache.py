"""The bytes behind a task: DICOM from the archive or from object storage, and a rendered picture of it, made when asked for.

A worker's browser gets bytes only; where they came from, and with which password, stays here.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dicom_workflow.errors import (
    ArchiveUnavailableError,
    InstanceNotFoundError,
    ObjectNotFoundError,
    RecordError,
    StorageError,
    UnsupportedPixelsError,
)
from dicom_workflow.formats.object_reference import FILE_SCHEMES, READABLE_SCHEMES, ObjectReference
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.labeling import page_assets
from dicom_workflow.settings import Settings

if TYPE_CHECKING:
    from dicom_workflow.archive.protocol import Archive

RENDERED_MAX_PX = 1536
CACHE_BYTES = 128 * 2**20
AWAY_SECONDS = 5.0
"""How long an archive that did not answer is not asked again: each attempt may hold a thread for half a minute."""


def image_uri(line: Mapping[str, Any], task_input: Mapping[str, Any] | None) -> str:
    """Return the URI of a task's image: what the pre-annotation function named, else what the manifest line points at.

    An empty text means that the task has no image.
    """
    named = (task_input or {}).get("image")
    if isinstance(named, str) and named.startswith(READABLE_SCHEMES):
        return named
    try:
        return ObjectReference.from_line(line).to_uri()
    except RecordError:  # the line's source is a text, no image
        return ""


def second_image_uri(task_input: Mapping[str, Any] | None) -> str:
    """Return the URI of a task's second image, a lateral view or a prior one; an empty text when there is none."""
    second = (task_input or {}).get("second_image")
    named = second.get("image") if isinstance(second, Mapping) else None
    return named if isinstance(named, str) and named.startswith(READABLE_SCHEMES) else ""


class ImageCache:
    """Images by URI, the last ones kept in memory because several workers see the same object at about the same time."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings = settings
        self._access = access
        self._cache: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._rendering = threading.Lock()
        self._away_until = 0.0

    @cached_property
    def _archive(self) -> Archive:
        # pydicom and numpy take a second to load, and a service that shows no image needs neither.
        from dicom_workflow.archive import open_archive

        return open_archive(self._settings)

    def check(self, uri: str) -> str:
        """Return a URI that a template may have opened; see `Access.check_granted`."""
        return self._access.check_granted(uri)

    def original(self, uri: str) -> tuple[bytes, str]:
        """Return an image as it is stored, and its media type.

        Raises
        ------
        ObjectNotFoundError, InstanceNotFoundError
            There is no such image.
        StorageError, ArchiveError
            It cannot be read now, or may not be.
        UnsupportedPixelsError
            It is neither DICOM nor PNG nor JPEG.
        """
        data = self._kept(("original", uri))
        if data is None:
            data = self._keep(("original", uri), self._fetch(uri))
        return data, _media_type(data, uri)

    def asset(self, uri: str, name: str) -> tuple[bytes, str]:
        """Return a script or style of the radiograph page, held to what its name promises, and its media type."""
        data = self._kept(("asset", uri))
        if data is None:
            data = self._keep(("asset", uri), page_assets.checked(name, self._access.read_bytes(uri)))
        return data, page_assets.media_type(name)

    def rendered(self, uri: str) -> tuple[bytes, str]:
        """Return a PNG of an image, window and photometric interpretation applied, and its media type.

        PNG and JPEG are returned as they are.

        Raises
        ------
        DicomError
            The image has no pixels that can be displayed; and what `original` raises.
        """
        original, kind = self.original(uri)
        if kind != "application/dicom":
            return original, kind
        data = self._kept(("rendered", uri))
        if data is None:
            from dicom_workflow.dicom.pixels import read_dataset, to_png

            with self._rendering:  # one at a time: decoding takes much memory, and whoever waits may find it done
                data = self._kept(("rendered", uri))
                if data is None:
                    data = self._keep(("rendered", uri), to_png(read_dataset(original), max_px=RENDERED_MAX_PX))
        return data, "image/png"

    def _fetch(self, uri: str) -> bytes:
        if uri.startswith(FILE_SCHEMES):
            return self._access.read_bytes(uri)
        try:
            reference = ObjectReference.parse(uri)
        except RecordError as error:
            raise StorageError(str(error)) from None
        if time.monotonic() < self._away_until:
            raise ArchiveUnavailableError("the archive did not answer a moment ago.")
        try:
            return self._archive.retrieve_instance(reference)
        except ArchiveUnavailableError:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise

    def _kept(self, key: tuple[str, str]) -> bytes | None:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _keep(self, key: tuple[str, str], data: bytes) -> bytes:
        with self._lock:
            self._cached_bytes += len(data) - len(self._cache.pop(key, b""))
            self._cache[key] = data
            while self._cached_bytes > CACHE_BYTES:
                _, oldest = self._cache.popitem(last=False)
                self._cached_bytes -= len(oldest)
        return data


def is_missing(error: Exception) -> bool:
    """Say whether an error means that the image is not there, rather than out of reach for now."""
    return isinstance(error, ObjectNotFoundError | InstanceNotFoundError)


def _media_type(data: bytes, uri: str) -> str:
    """By content, so that a job cannot make a worker's browser run or show anything but an image."""
    if data[128:132] == b"DICM":
        return "application/dicom"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    raise UnsupportedPixelsError(f"{uri}: expected DICOM, PNG or JPEG, got {data[:8].hex()}….")
