"""One pack: the decoded images of a list of files as one array on disk, mapped into memory and never loaded.

A first line says what is in it. Then come a record for each row, with the SHA-256 of its file and a checksum, and from the next
page on the rows. A row counts from the moment its record is written, after its pixels.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sys
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.learning.data.decoder_pool import checksum

HEAD_BYTES = 256
RECORD = np.dtype([("key", "V32"), ("checksum", "<u4"), ("is_there", "<u4")])
PIXEL = np.dtype("<f2")

_PAGE_BYTES = 4096
_RELEASE_BYTES = 16 << 20
# A private map may be written to, so its size would count as memory taken; this one is only ever read.
_MAP_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


class Pack:
    """One open pack, finished or not; `folder.PackFolder` knows its place.

    Parameters
    ----------
    descriptor : int
        Of the open file.
    head : bytes
        The first `HEAD_BYTES` of the file, which name its format, version and size.
    slots : int
        Rows that it has place for.
    row_bytes : int
        Size of one row.
    """

    def __init__(self, descriptor: int, head: bytes, slots: int, row_bytes: int) -> None:
        self.descriptor, self.head, self.slots, self.row_bytes = descriptor, head, slots, row_bytes
        records_end = HEAD_BYTES + slots * RECORD.itemsize
        self.data_at = -(-records_end // _PAGE_BYTES) * _PAGE_BYTES
        self.records = np.zeros(slots, RECORD)

    def read_records(self) -> bool:
        """Read the file's records; return whether it is a pack of this head."""
        if os.pread(self.descriptor, HEAD_BYTES, 0) != self.head:
            return False
        data = os.pread(self.descriptor, self.slots * RECORD.itemsize, HEAD_BYTES)
        if len(data) != self.slots * RECORD.itemsize:
            return False
        self.records = np.frombuffer(data, RECORD).copy()
        return True

    def has(self, slot: int, key: bytes) -> bool:
        """Return whether a row is written and belongs to the file with this SHA-256."""
        record = self.records[slot]
        return bool(record["is_there"] == 1 and record["key"].tobytes() == key)

    def row(self, slot: int) -> bytes | None:
        """Return a row, or None where its checksum is not that of its pixels."""
        record = self.records[slot]
        data = os.pread(self.descriptor, self.row_bytes, self.data_at + slot * self.row_bytes)
        good = len(data) == self.row_bytes and checksum(record["key"].tobytes(), data) == record["checksum"]
        return data if good else None

    def write_record(self, slot: int, key: bytes, value: int) -> None:
        """Mark a row as written.

        Parameters
        ----------
        slot : int
            Number of the row.
        key : bytes
            SHA-256 of its file.
        value : int
            Checksum of key and pixels, see `decoder_pool.checksum`.
        """
        record = np.array([(key, value, 1)], RECORD)
        self.records[slot] = record[0]
        os.pwrite(self.descriptor, record.tobytes(), HEAD_BYTES + slot * RECORD.itemsize)

    def write_row(self, slot: int, key: bytes, data: bytes) -> None:
        """Write the pixels of a row, then mark it as written.

        Parameters
        ----------
        slot : int
            Number of the row.
        key : bytes
            SHA-256 of its file.
        data : bytes
            The pixels, float16, little-endian.
        """
        os.pwrite(self.descriptor, data, self.data_at + slot * self.row_bytes)
        self.write_record(slot, key, checksum(key, data))

    def drop_holes(self) -> None:
        """Move the rows together, so that those of bad files leave no gap, and end the file behind the last."""
        kept = np.flatnonzero(self.records["is_there"] == 1)
        for slot, before in enumerate(kept):
            if slot != before:
                record = self.records[before].copy()
                data = os.pread(self.descriptor, self.row_bytes, self.data_at + int(before) * self.row_bytes)
                os.pwrite(self.descriptor, data, self.data_at + slot * self.row_bytes)
                self.write_record(slot, record["key"].tobytes(), int(record["checksum"]))
        rest = np.zeros(self.slots - len(kept), RECORD)
        os.pwrite(self.descriptor, rest.tobytes(), HEAD_BYTES + len(kept) * RECORD.itemsize)
        self.records[len(kept) :] = rest
        os.truncate(self.descriptor, self.data_at + len(kept) * self.row_bytes)

    def map(self, channels: int, size_px: int) -> np.ndarray:
        """Return the written rows, ndarray of shape (rows, channels, size_px, size_px), float16 in [0, 1], from the file.

        The map is private and writable, as torch asks of arrays; nothing that is written to it reaches the file.
        """
        rows = int((self.records["is_there"] == 1).sum())
        shape = (rows, channels, size_px, size_px)
        if not rows:
            return np.empty(shape, PIXEL)
        flags, access = mmap.MAP_PRIVATE | _MAP_NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        mapped = _Map(self.descriptor, self.data_at + rows * self.row_bytes, flags=flags, prot=access)
        return np.frombuffer(mapped, PIXEL, offset=self.data_at).reshape(shape)


def trim(folder: Path, limit_bytes: int, keep: Container[str]) -> None:
    """Remove the least recently used packs of a folder until the rest fits.

    Parameters
    ----------
    folder : Path
    limit_bytes : int
        For the packs that are not in `keep`.
    keep : container of str
        Names of packs that stay; those that another process builds stay too.
    """
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.suffix in (".images", ".partial"):
                status = path.stat()
                found.append((status.st_mtime, status.st_blocks * 512, path))
    total = sum(size for _, size, path in found if path.name not in keep)
    for _, size, path in sorted(found):
        if total <= max(0, limit_bytes):
            break
        if path.name not in keep and (path.suffix == ".images" or _is_abandoned(path)):
            path.unlink(missing_ok=True)
            total -= size


def _is_abandoned(partial: Path) -> bool:
    """Return whether no process holds a partial pack."""
    try:
        with partial.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def take(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a copy of some rows, keeping at most a few batches of a mapped array in memory.

    Pages of a mapped file count as this process's memory once they are read. They are given back now and then; the system
    keeps them as long as it has memory, so the next epoch reads no disk.

    Parameters
    ----------
    images : ndarray, shape (N, …)
        Mapped by `Pack.map`, or any other array.
    rows : ndarray of int

    Returns
    -------
    ndarray, shape (rows, …)
    """
    mapped = _map_of(images)
    if mapped is None:
        return images[rows]
    row_bytes = max(1, images[:1].nbytes)
    step = max(1, _RELEASE_BYTES // row_bytes)
    taken = np.empty((len(rows), *images.shape[1:]), images.dtype)
    for start in range(0, len(rows), step):
        taken[start : start + step] = images[rows[start : start + step]]
        mapped.read_bytes += len(rows[start : start + step]) * row_bytes
        if mapped.read_bytes >= _RELEASE_BYTES:
            mapped.madvise(mmap.MADV_DONTNEED)
            mapped.read_bytes = 0
    return taken


class _Map(mmap.mmap):
    """A mapped pack that counts the bytes read since its pages were last released."""

    read_bytes = 0


def _map_of(images: np.ndarray) -> _Map | None:
    base: Any = images
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, _Map) else None
