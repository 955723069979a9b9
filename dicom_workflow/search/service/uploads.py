"""Images that were uploaded as queries: kept in memory for a while, each seen by who sent it alone."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from dicom_workflow.errors import RecordError, SearchError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import ImageDocument

PREFIX = "upload-"


@dataclass(frozen=True)
class UploadedImage:
    """An image outside the index, with its embedding: `vector` has shape (dimensions,), dtype float32, unit length."""

    image: ImageDocument
    vector: NDArray[np.float32]
    space_id: str
    data: bytes
    """The DICOM file."""
    subject: str
    """Who sent it."""


class UploadedImages:
    """The uploads of a service.

    Parameters
    ----------
    most : int
        Kept at a time.
    seconds : float
        How long each is kept.
    clock : callable
        Seconds, never back.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._kept: OrderedDict[str, tuple[float, UploadedImage]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, upload: UploadedImage) -> None:
        """Keep an upload under its image id."""
        with self._lock:
            self._kept[upload.image.image_id] = (self._clock() + self._seconds, upload)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def get(self, upload_id: str, subject: str) -> UploadedImage:
        """Return an upload of this person.

        Raises
        ------
        SearchError
            There is none, or no longer.
        """
        with self._lock:
            until, upload = self._kept.get(upload_id, (0.0, None))
            if upload is None or until < self._clock() or upload.subject != subject:
                raise SearchError("This uploaded image is no longer kept. Upload it again.")
            return upload


def new_id() -> str:
    """Return the id of an upload, which cannot be guessed."""
    return PREFIX + secrets.token_hex(16)


def is_upload(image_id: str) -> bool:
    """Return whether an image id is that of an upload."""
    return image_id.startswith(PREFIX)


def bytes_of(given: object) -> bytes:
    """Return the content of an uploaded file: bytes, or the open file of a multipart request.

    Raises
    ------
    RecordError
        Something else.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if isinstance(given, UploadFile):
        return given.file.read()
    raise RecordError(f"expected a file in a GraphQL multipart request, got {shown(given)}.")
