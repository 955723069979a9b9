"""Images that were uploaded as queries: kept in memory for a while, each seen by who sent it alone."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import DicomError, RecordError, SearchError, UnsupportedPixelsError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.documents import EmbeddingSpace, ImageDocument
from dicom_workflow.search.service.images import check_pixels
from dicom_workflow.search.service.limits import Limits

if TYPE_CHECKING:
    from dicom_workflow.search.patient_keys import PatientKeys

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
    limits : Limits
        How many are kept, how many bytes, and how long.
    clock : callable
        Seconds, never back.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._kept: dict[str, tuple[float, UploadedImage]] = {}
        self._lock = threading.Lock()

    def add(self, upload: UploadedImage) -> None:
        """Keep an upload under its image id. Where there are too many, the oldest of who holds most bytes goes."""
        limits, new = self._limits, upload.image.image_id
        with self._lock:
            self._drop_expired()
            self._kept[new] = (self._clock() + limits.upload_seconds, upload)
            own = [key for key, (_, kept) in self._kept.items() if kept.subject == upload.subject]
            for key in own[: -limits.uploads_of_one]:
                del self._kept[key]
            while len(self._kept) > 1 and (
                len(self._kept) > limits.uploads or sum(self._bytes_by_subject().values()) > limits.uploads_bytes
            ):
                held = self._bytes_by_subject()
                others = [(key, kept.subject) for key, (_, kept) in self._kept.items() if key != new]
                del self._kept[max(others, key=lambda other: held[other[1]])[0]]

    def _drop_expired(self) -> None:
        now = self._clock()
        for key in [key for key, (until, _) in self._kept.items() if until < now]:
            del self._kept[key]

    def _bytes_by_subject(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for _, upload in self._kept.values():
            held[upload.subject] += len(upload.data)
        return held

    def get(self, upload_id: str, subject: str) -> UploadedImage:
        """Return an upload of this person.

        Raises
        ------
        SearchError
            There is none, or no longer.
        """
        with self._lock:
            self._drop_expired()
            _, upload = self._kept.get(upload_id, (0.0, None))
            if upload is None or upload.subject != subject:
                raise SearchError("This uploaded image is no longer kept. Upload it again.")
            return upload


class QueryEmbedder(Protocol):
    """Computes the embedding of one image; `embeddings.Embedder` does."""

    space: EmbeddingSpace

    def of_image(self, source: Any) -> NDArray[np.float32]:
        """Return the embedding of a DICOM file, shape (dimensions,), float32, unit length."""


class UploadReader:
    """Reads a DICOM file that was sent as a query.

    Parameters
    ----------
    embedder : QueryEmbedder
    keys : PatientKeys
        Those of the store, so that the patient's own images can be left out.
    uploads : UploadedImages
        Where it is kept.
    limits : Limits
    """

    def __init__(self, embedder: QueryEmbedder, keys: PatientKeys, uploads: UploadedImages, limits: Limits) -> None:
        self._embedder, self._keys, self._uploads, self._limits = embedder, keys, uploads, limits
        self._embedding = threading.Lock()

    def __call__(self, data: bytes, subject: str) -> UploadedImage:
        """Return the upload, which is kept.

        Raises
        ------
        UnsupportedPixelsError
            It is too large, in color, or of several frames.
        DicomError
            It is no DICOM file, or damaged.
        """
        from dicom_workflow.search.image_documents import examine  # pydicom is needed for uploads only

        if len(data) > self._limits.upload_bytes:
            most = self._limits.upload_bytes / 2**20
            raise UnsupportedPixelsError(f"expected a DICOM file of at most {most:g} MB, got {len(data) / 2**20:.0f} MB.")
        with tempfile.TemporaryDirectory(prefix="upload-") as folder:
            path = Path(folder) / "image.dcm"
            path.write_bytes(data)
            try:
                image = examine(path, "", self._keys).document
                check_pixels(image.rows, image.columns, self._limits.upload_pixels)
                with self._embedding:  # one at a time: it takes all cores
                    vector = self._embedder.of_image(path)
            except DicomError as error:
                text = str(error).replace(str(path), "the uploaded file")
                raise type(error)(f"{text} Upload one DICOM radiograph (Part 10 file).") from None
        upload = UploadedImage(replace(image, image_id=new_id()), vector, self._embedder.space.space_id, data, subject)
        self._uploads.add(upload)
        return upload


def new_id() -> str:
    """Return the id of an upload, which cannot be guessed."""
    return PREFIX + secrets.token_hex(16)


def is_upload(image_id: str) -> bool:
    """Return whether an image id is that of an upload."""
    return image_id.startswith(PREFIX)


def bytes_of(given: object) -> bytes:
    """Return the content of an uploaded file, which stands among the variables of an operation as bytes.

    Raises
    ------
    RecordError
        Something else.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    raise RecordError(f"expected a file in a GraphQL multipart request, got {shown(given)}.")
