"""The files behind the images of a search: DICOM files from where they lie, and pictures of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from dicom_workflow.errors import ObjectNotFoundError, RecordError, UnsupportedPixelsError
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

if TYPE_CHECKING:
    from dicom_workflow.archive.protocol import Archive

THUMBNAIL_PX = 256
MAX_PX = 2048
PICTURES_AT_A_TIME = 2
"""Decoding takes memory."""
_MEMORY_BYTES = 128 * 2**20


class ImageLoader(Protocol):
    """Reads the DICOM file of an image of the index."""

    def read(self, image: ImageDocument) -> bytes:
        """Return the file; raises ObjectNotFoundError, InstanceNotFoundError, StorageError or ArchiveError."""


class StoredImages:
    """Files by URI, and instances of the archive that the settings name.

    Parameters
    ----------
    settings : Settings
        Archive, S3 address and region.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._storage = Storage(settings)

    @cached_property
    def _archive(self) -> Archive:
        from dicom_workflow.archive import open_archive

        return open_archive(self._settings)

    def read(self, image: ImageDocument) -> bytes:
        """Return the file.

        Raises
        ------
        ObjectNotFoundError
            The index does not say where it is.
        """
        try:
            reference = ObjectReference.parse(image.source)
        except RecordError:
            raise ObjectNotFoundError(f"image {image.image_id}: the index does not say where its file is.") from None
        if reference.uri:
            return self._storage.read_bytes(reference.uri)
        return self._archive.retrieve_instance(reference)


class Pictures:
    """PNG pictures of DICOM files; the latest are kept. The caller makes no more than `PICTURES_AT_A_TIME` at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def kept(self, key: tuple[object, ...]) -> bytes | None:
        """Return a picture that was made already."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def make(
        self, key: tuple[object, ...], data: bytes, *, max_px: int, window: tuple[float, float] | None, max_pixels: int
    ) -> bytes:
        """Return the picture of a DICOM file as an 8-bit gray PNG without header text.

        Parameters
        ----------
        key : tuple
            What it is kept under.
        data : bytes
            DICOM Part 10 file.
        max_px : int
            Most pixels of the longer side.
        window : (center, width), optional
            In rescaled values.
        max_pixels : int
            A larger image is refused before it is decoded.

        Raises
        ------
        DicomError
            The file cannot be displayed.
        """
        from dicom_workflow.dicom.pixels import to_png
        from dicom_workflow.dicom.reading import read_dataset

        dataset = read_dataset(data)
        check_pixels(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0), max_pixels)
        picture = to_png(dataset, max_px=max_px, window=window)
        with self._lock:
            self._bytes += len(picture) - len(self._kept.pop(key, b""))
            self._kept[key] = picture
            while self._bytes > _MEMORY_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return picture


def check_pixels(rows: int, columns: int, most: int) -> None:
    """Refuse an image by its size, before a pixel is decoded.

    Parameters
    ----------
    rows, columns : int
        As its header says.
    most : int

    Raises
    ------
    UnsupportedPixelsError
        More than `most` pixels.
    """
    if rows * columns > most:
        raise UnsupportedPixelsError(
            f"expected an image of at most {most:,} pixels, got {rows:,} rows × {columns:,} columns. Send a smaller one."
        )
