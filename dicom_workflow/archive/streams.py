"""DICOM files as streams of pieces: compared, written and taken out of a multipart message without being in memory whole."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_workflow.archive.protocol import DicomFile
from dicom_workflow.errors import ArchiveError

PIECE_BYTES = 1 << 18
"""How much of a file or an answer is in memory at once."""
_HEADER_BYTES = 1 << 16
Piece = bytes | memoryview
"""A part of a file or an answer; a view is valid until the next piece is asked for."""


@dataclass(frozen=True)
class Body:
    """The body of a request: a file or its content, with a text before and after it. It can be sent more than once."""

    content: bytes | Path
    content_type: str
    head: bytes = b""
    tail: bytes = b""

    def __len__(self) -> int:
        content_bytes = self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)
        return len(self.head) + content_bytes + len(self.tail)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most `PIECE_BYTES`, small content at once."""
        yield self.head
        if isinstance(self.content, Path):
            with self.content.open("rb") as stream:
                while piece := stream.read(PIECE_BYTES):
                    yield piece
        else:
            yield self.content
        yield self.tail

    def sha256(self) -> str:
        """Return the SHA-256 of the body in hexadecimal digits."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


def opened(file: DicomFile) -> IO[bytes]:
    """Return a stream at the start of a file."""
    return file.open("rb") if isinstance(file, Path) else io.BytesIO(file)


def same_bytes(pieces: Iterable[Piece], file: DicomFile) -> bool:
    """Say whether pieces, one after the other, are a file; all of them are read in any case."""
    equal, position = True, 0
    if isinstance(file, bytes):
        for piece in pieces:
            equal = equal and file.startswith(piece, position)  # compares without a copy
            position += len(piece)
        return equal and position == len(file)
    with file.open("rb") as stream:
        for piece in pieces:
            equal = equal and stream.read(len(piece)) == piece
        return equal and not stream.read(1)


def write_pieces(pieces: Iterable[Piece], stream: IO[bytes]) -> tuple[str, bytes, int]:
    """Write pieces from the start of a stream, and return their MD5, their first bytes and how many they are."""
    stream.seek(0)
    stream.truncate()
    digest, start, count = hashlib.md5(usedforsecurity=False), b"", 0
    for piece in pieces:
        start = start if count else bytes(piece[:256])
        digest.update(piece)
        stream.write(piece)
        count += len(piece)
    return digest.hexdigest(), start, count


def same_content(one: IO[bytes], other: IO[bytes]) -> bool:
    """Say whether two DICOM files are the same image, whoever wrote their file meta information.

    That is so when they have the same transfer syntax, the same elements with the same values before the pixel data (group
    lengths left out), and the same bytes from the pixel data on.

    References
    ----------
    PS3.10 7.1: the file meta information belongs to the file, not to the data set; a server writes its own.
    """
    datasets = []
    for stream in (one, other):
        stream.seek(0)
        datasets.append(dcmread(stream, stop_before_pixels=True))
    first, second = datasets
    if first.file_meta.TransferSyntaxUID != second.file_meta.TransferSyntaxUID or _elements(first) != _elements(second):
        return False
    if first.file_meta.TransferSyntaxUID.is_deflated:  # the streams stand at their ends: only the pixel data are left
        return _pixel_data(one) == _pixel_data(other)
    while piece := one.read(PIECE_BYTES):
        if other.read(len(piece)) != piece:
            return False
    return not other.read(1)


def first_part(pieces: Iterable[Piece], content_type: str) -> Iterator[Piece]:
    """Yield the body of the first part of a ``multipart/related`` message; another media type is passed on as it is.

    Parameters
    ----------
    pieces : iterable of bytes
        The message; it is read to its end.
    content_type : str
        Its Content-Type with the boundary.

    Raises
    ------
    ArchiveError
        There is no part, or it does not end.

    References
    ----------
    RFC 2046 5.1.1 (boundary), PS3.18 8.6.1.2 (multipart payloads).
    """
    found = re.search(r"""boundary=("[^"]*"|[^;\s]+)""", content_type, re.IGNORECASE)
    if not content_type.lower().startswith("multipart/") or not found:
        yield from pieces
        return
    delimiter = b"\r\n--" + found[1].strip('"').encode()
    stream = iter(pieces)
    rest = b"\r\n"  # the first boundary may stand at the very start
    while (start := rest.find(b"\r\n\r\n", rest.find(delimiter) + 1 or len(rest))) < 0 and len(rest) < _HEADER_BYTES:
        piece = next(stream, b"")
        if not piece:
            break
        rest += piece
    if start < 0:
        raise ArchiveError(f"expected a multipart message with a DICOM file, got {rest[2:82]!r}.")
    rest = rest[start + 4 :]
    while (end := rest.find(delimiter)) < 0:
        kept = len(delimiter) - 1  # the delimiter may be cut in two
        yield rest[:-kept]
        rest = rest[-kept:]
        piece = next(stream, b"")
        if not piece:
            raise ArchiveError("the multipart message ended inside the DICOM file.")
        rest += piece
    yield rest[:end]
    for _ in stream:  # read to its end, so that the connection can be used again
        pass


def _elements(dataset: Dataset) -> Dataset:
    for tag in [tag for tag in dataset.keys() if tag.element == 0]:  # noqa: SIM118  # iterating would parse every element
        del dataset[tag]
    return Dataset(dataset)


def _pixel_data(stream: IO[bytes]) -> object:
    stream.seek(0)
    return dcmread(stream).get("PixelData")
