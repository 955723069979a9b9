"""Model inputs on disk, decoded once: for every epoch, run and process that wants the same pixels again.

A cache is a folder of packs. A pack holds the inputs of one list of files, in that list's order, as one array that is mapped
into memory and never loaded, and before it, for each row, the SHA-256 of its file and a checksum. A pack's name says which
files, which preprocessing version and which size it is for; once it has its name it never changes.

Until then it is called ``.partial``. A row counts from the moment its checksum is written, after its pixels; so whatever ends a
builder, the next one takes over the good rows and decodes the others. Builders of one pack wait for each other by a file lock,
which the system lifts when a process dies. Rows that another pack already has are copied.

The folder holds pixels and paths of patients' images and is for its owner's eyes only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.errors import CacheError
from dicom_workflow.learning.decoders import Decode, Job, checksum, decode_all

FORMAT = "dicom-workflow images 1"
DEFAULT_LIMIT_GB = 20.0
"""A hundred thousand images of 320 × 320 pixels."""

_HEAD_BYTES, _PAGE_BYTES = 256, 4096
_RECORD = np.dtype([("key", "V32"), ("checksum", "<u4"), ("is_there", "<u4")])
_PIXEL = np.dtype("<f2")
_DAY_SECONDS = 86400.0
_SETTLED_SECONDS = 2.0  # a file changed twice within a tick of the clock looks unchanged
_REMEMBERED_FILES = 200_000
_RELEASE_BYTES = 16 << 20
# A private map may be written to, so its size would count as memory taken; this one is only ever read.
_MAP_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


@dataclass(frozen=True)
class CachedImages:
    """The inputs of some files, mapped from disk."""

    images: np.ndarray
    """Shape (usable files, 1, size_px, size_px), float16 in [0, 1], in the order of the files; read it with `take`."""
    problems: tuple[str, ...]
    """One for each file, in order: why it is left out; empty for a usable one."""
    decoded: int
    """How many files had to be decoded this time."""


def load(
    paths: Sequence[Path],
    folder: str | Path,
    *,
    size_px: int,
    version: str,
    decode: Decode,
    workers: int = 2,
    progress: bool = True,
    limit_gb: float = DEFAULT_LIMIT_GB,
) -> CachedImages:
    """Return the model inputs of files, decoding only those that the cache does not have.

    Parameters
    ----------
    paths : sequence of Path
        DICOM files.
    folder : str or Path
        The cache; made when it is not there, readable by its owner alone.
    size_px : int
        Side of the square.
    version : str
        Preprocessing version, the third argument of `decode`.
    decode : callable
        ``decode(path, size_px, version)``, an array of shape (1, size_px, size_px), float16.
    workers : int
        Files decoded at a time; see `decoders.decode_all`.
    progress : bool
        Show progress bars on standard error.
    limit_gb : float
        Size of the folder in 10^9 bytes. What was used longest ago goes first, and never what this call returns.

    Raises
    ------
    CacheError
        The folder cannot be made or written, or these images alone would exceed `limit_gb` or the disk.

    Notes
    -----
    A file is known again by its path, size, times and inode, else by reading it whole. Every row's checksum is compared when a
    pack is opened, so damage is found before anything is learned from it, and the damaged rows are decoded again.
    """
    folder = Path(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files, problems = _identified(paths, folder, workers, progress)
        store = _Store(folder, size_px, version, int(limit_gb * 1e9))
        images, failed, decoded = store.images_of(files, decode, workers, progress)
    except OSError as error:
        raise CacheError(
            f"{folder}: expected a folder to keep decoded images in, got: {error.strerror or error}. "
            "Name another one, or none to decode at every start."
        ) from error
    for file, problem in failed.items():
        problems[file] = problem
    return CachedImages(images, tuple(problems), decoded)


def take(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a copy of some rows, and keep no more of a mapped array in memory than a few batches.

    Pages of a mapped file count as this process's memory once they are read. They are given back now and then; the system
    keeps them as long as it has room, so the next epoch reads no disk.

    Parameters
    ----------
    images : ndarray, shape (N, …)
        Mapped by `load`, or any other array.
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
    """A mapped pack, which knows how much of it was read since it was last given back."""

    read_bytes = 0


def _map_of(images: np.ndarray) -> _Map | None:
    base: Any = images
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, _Map) else None


@dataclass(frozen=True)
class _File:
    number: int
    """Its place in the caller's list."""
    path: Path
    key: bytes
    signature: tuple[int, ...]


class _Pack:
    """One open pack or partial pack; see `_Store` for where it lies."""

    def __init__(self, descriptor: int, head: bytes, slots: int, row_bytes: int) -> None:
        self.descriptor, self.head, self.slots, self.row_bytes = descriptor, head, slots, row_bytes
        records_end = _HEAD_BYTES + slots * _RECORD.itemsize
        self.data_at = -(-records_end // _PAGE_BYTES) * _PAGE_BYTES
        self.records = np.zeros(slots, _RECORD)

    def read_records(self) -> bool:
        """Read what the file says it holds; say whether it is a pack of this head at all."""
        if os.pread(self.descriptor, _HEAD_BYTES, 0) != self.head:
            return False
        data = os.pread(self.descriptor, self.slots * _RECORD.itemsize, _HEAD_BYTES)
        if len(data) != self.slots * _RECORD.itemsize:
            return False
        self.records = np.frombuffer(data, _RECORD).copy()
        return True

    def has(self, slot: int, key: bytes) -> bool:
        record = self.records[slot]
        return bool(record["is_there"] == 1 and record["key"].tobytes() == key)

    def row(self, slot: int) -> bytes | None:
        """Return a row, or None where its checksum is not that of its pixels."""
        record = self.records[slot]
        data = os.pread(self.descriptor, self.row_bytes, self.data_at + slot * self.row_bytes)
        good = len(data) == self.row_bytes and checksum(record["key"].tobytes(), data) == record["checksum"]
        return data if good else None

    def write_record(self, slot: int, key: bytes, value: int) -> None:
        record = np.array([(key, value, 1)], _RECORD)
        self.records[slot] = record[0]
        os.pwrite(self.descriptor, record.tobytes(), _HEAD_BYTES + slot * _RECORD.itemsize)

    def write_row(self, slot: int, key: bytes, data: bytes) -> None:
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
        rest = np.zeros(self.slots - len(kept), _RECORD)
        os.pwrite(self.descriptor, rest.tobytes(), _HEAD_BYTES + len(kept) * _RECORD.itemsize)
        self.records[len(kept) :] = rest
        os.truncate(self.descriptor, self.data_at + len(kept) * self.row_bytes)

    def map(self, size_px: int) -> np.ndarray:
        """Return the array of the rows that are there. torch wants to be able to write; that would reach no one else."""
        rows = int((self.records["is_there"] == 1).sum())
        shape = (rows, 1, size_px, size_px)
        if not rows:
            return np.empty(shape, _PIXEL)
        flags, access = mmap.MAP_PRIVATE | _MAP_NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
        mapped = _Map(self.descriptor, self.data_at + rows * self.row_bytes, flags=flags, prot=access)
        return np.frombuffer(mapped, _PIXEL, offset=self.data_at).reshape(shape)


class _Store:
    """The packs of one folder, of one preprocessing version and size."""

    def __init__(self, folder: Path, size_px: int, version: str, limit_bytes: int) -> None:
        self.folder, self.size_px, self.version, self.limit_bytes = folder, size_px, version, limit_bytes
        self.row_bytes = size_px * size_px * _PIXEL.itemsize

    def images_of(
        self, files: Sequence[_File], decode: Decode, workers: int, progress: bool
    ) -> tuple[np.ndarray, dict[int, str], int]:
        """Return the mapped images, the problem of each file that has none, and how many were decoded."""
        head = self._head(len(files))
        name = hashlib.sha256(head + b"".join(file.key for file in files)).hexdigest()[:32]
        final, partial = self.folder / f"{name}.images", self.folder / f"{name}.partial"
        known_bad: dict[int, str] = {}
        retried = False
        while True:
            with contextlib.ExitStack() as stack:
                pack = self._opened(final, head, stack)
                if pack is not None:
                    good, missing = self._checked(pack, files, progress)
                    if good and not retried:
                        # Those that were bad when the pack was made: perhaps there is a decoder for them by now.
                        known_bad = {file.number: text for file, text in self._tried(missing, decode, workers)}
                        retried = True
                    if good and len(known_bad) >= len(missing):
                        with contextlib.suppress(OSError):
                            os.utime(final)  # used now
                        return pack.map(self.size_px), known_bad, len(missing)
                descriptor = self._locked(partial, stack)
                if descriptor is None:
                    continue  # another process has just finished it
                if pack is None and self._opened(final, head, stack):
                    partial.unlink()
                    continue
                needed = self._pack(-1, head, len(files)).data_at + len(files) * self.row_bytes
                if needed > self.limit_bytes:
                    raise CacheError(
                        f"{self.folder}: expected room for {len(files)} images of {self.size_px} px, which take "
                        f"{needed / 1e9:.2f} GB, in a cache of {self.limit_bytes / 1e9:.2f} GB. Allow more."
                    )
                building = self._pack(descriptor, head, len(files))
                others = self._others(stack)  # open, so that trimming cannot take them away
                done = self._resumed(building, files, needed, {final.name, partial.name})
                done |= self._copied(building, files, done, others)
                failed = self._decoded(building, files, done, decode, workers, progress, partial)
                building.drop_holes()
                os.fsync(descriptor)
                partial.replace(final)
                self._trim(self.limit_bytes, {final.name})
                return building.map(self.size_px), failed, len(files) - len(done)

    def _head(self, slots: int) -> bytes:
        text = json.dumps({"format": FORMAT, "version": self.version, "size_px": self.size_px, "slots": slots})
        return text.encode("ascii").ljust(_HEAD_BYTES - 1) + b"\n"

    def _pack(self, descriptor: int, head: bytes, slots: int) -> _Pack:
        return _Pack(descriptor, head, slots, self.row_bytes)

    def _opened(self, path: Path, head: bytes, stack: contextlib.ExitStack) -> _Pack | None:
        """Return a finished pack, open until the stack is left, or None where there is none of this head."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        stack.callback(os.close, descriptor)
        try:
            slots = int(json.loads(head)["slots"])
        except (KeyError, TypeError, ValueError):
            return None
        pack = self._pack(descriptor, head, slots)
        return pack if pack.read_records() else None

    def _checked(self, pack: _Pack, files: Sequence[_File], progress: bool) -> tuple[bool, list[_File]]:
        """Say whether every row of a pack is what it was, and which files have none."""
        from tqdm import tqdm

        missing, slot = [], 0
        for file in tqdm(files, desc="checking", unit="image", disable=not progress or len(files) < 1000, leave=False):
            if slot < pack.slots and pack.has(slot, file.key):
                if pack.row(slot) is None:
                    return False, []
                slot += 1
            else:
                missing.append(file)
        rows = int((pack.records["is_there"] == 1).sum())
        ends = os.fstat(pack.descriptor).st_size == pack.data_at + rows * pack.row_bytes
        return slot == rows and ends, missing

    def _tried(self, files: Sequence[_File], decode: Decode, workers: int) -> Iterator[tuple[_File, str]]:
        jobs = [Job(file.path, file.key) for file in files]
        for file, outcome in zip(files, decode_all(jobs, self.size_px, self.version, decode, workers=workers), strict=True):
            if outcome.problem:
                yield file, outcome.problem

    def _locked(self, partial: Path, stack: contextlib.ExitStack) -> int | None:
        """Return a partial pack that is this process's alone, or None when it was finished while this one waited."""
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if partial.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        return None

    def _resumed(self, pack: _Pack, files: Sequence[_File], needed: int, keep: set[str]) -> set[int]:
        """Return which slots an interrupted builder left in good order, and take the room for all."""
        done: set[int] = set()
        if pack.read_records():
            done = {slot for slot, file in enumerate(files) if pack.has(slot, file.key) and pack.row(slot) is not None}
        else:
            os.truncate(pack.descriptor, 0)
        self._trim(self.limit_bytes - needed, keep)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(pack.descriptor, 0, needed)  # a full disk is an error here, not a signal later
        os.truncate(pack.descriptor, needed)
        os.pwrite(pack.descriptor, pack.head, 0)
        for slot in range(pack.slots):
            if slot not in done and pack.records[slot]["is_there"]:
                pack.records[slot] = np.zeros((), _RECORD)
        os.pwrite(pack.descriptor, pack.records.tobytes(), _HEAD_BYTES)
        return done

    def _others(self, stack: contextlib.ExitStack) -> list[_Pack]:
        """Return the finished packs of the same version and size."""
        found = []
        for path in sorted(self.folder.glob("*.images")):
            try:
                with path.open("rb") as stream:
                    head = stream.read(_HEAD_BYTES)
                slots = int(json.loads(head)["slots"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if head == self._head(slots) and (pack := self._opened(path, head, stack)):
                found.append(pack)
        return found

    def _copied(self, pack: _Pack, files: Sequence[_File], done: set[int], others: Sequence[_Pack]) -> set[int]:
        """Copy rows that another pack has; return their slots."""
        wanted: dict[bytes, list[int]] = {}
        for slot, file in enumerate(files):
            if slot not in done:
                wanted.setdefault(file.key, []).append(slot)
        copied: set[int] = set()
        for other in others:
            for there in np.flatnonzero(other.records["is_there"] == 1):
                key = other.records[there]["key"].tobytes()
                if key in wanted and (data := other.row(int(there))) is not None:
                    for slot in wanted.pop(key):
                        pack.write_row(slot, key, data)
                        copied.add(slot)
        return copied

    def _decoded(
        self, pack: _Pack, files: Sequence[_File], done: set[int], decode: Decode, workers: int, progress: bool, path: Path
    ) -> dict[int, str]:
        """Decode what is still missing, each row counting as soon as it is there; return the problems by file number."""
        from tqdm import tqdm

        slots = [slot for slot in range(len(files)) if slot not in done]
        jobs = [Job(files[s].path, files[s].key, path, pack.data_at + s * pack.row_bytes) for s in slots]
        problems: dict[int, str] = {}
        outcomes = decode_all(jobs, self.size_px, self.version, decode, workers=workers)
        bar = tqdm(outcomes, total=len(jobs), desc="decoding", unit="image", disable=not progress or not jobs)
        for slot, outcome in zip(slots, bar, strict=True):
            file = files[slot]
            problem = outcome.problem
            if not problem and _signature(file.path) != file.signature:
                problem = f"{file.path}: changed while it was read. Start again when nothing writes to it."
            if problem:
                problems[file.number] = problem
            else:
                pack.write_record(slot, file.key, outcome.checksum)
        return problems

    def _trim(self, limit_bytes: int, keep: set[str]) -> None:
        """Remove what was used longest ago until the rest fits; what another process is building stays."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
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
    """Say whether no process holds a partial pack."""
    try:
        with partial.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def _signature(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file does; the time of its last status change cannot be set back."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _identified(paths: Sequence[Path], folder: Path, workers: int, progress: bool) -> tuple[list[_File], list[str]]:
    """Return the files that can be read, each with the SHA-256 of its content, and a problem for each of the others."""
    from tqdm import tqdm

    memory = folder / "files.json"
    known = _remembered(memory)
    fresh: dict[str, list[Any]] = {}
    now = time.time()

    def identify(number: int) -> _File | str:
        path = paths[number]
        name = str(path.absolute())
        signature = _signature(path)
        if signature is not None and known.get(name, [])[:-1] == list(signature):
            return _File(number, path, bytes.fromhex(known[name][-1]), signature)
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256")
        except OSError as error:
            return f"{path}: expected a readable file, got: {error.strerror or error}."
        if signature is None or _signature(path) != signature:
            return f"{path}: changed while it was read. Start again when nothing writes to it."
        if now - signature[2] / 1e9 > _SETTLED_SECONDS:
            fresh[name] = [*signature, digest.hexdigest()]
        return _File(number, path, digest.digest(), signature)

    hide = not progress or len(paths) < 1000
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        found = list(tqdm(pool.map(identify, range(len(paths))), total=len(paths), desc="reading", unit="file", disable=hide))
    if fresh:
        with contextlib.suppress(OSError):  # a folder that may only be read: they are read again next time
            _remember(memory, {**{name: known[name] for name in known if name not in fresh}, **fresh})
    return [file for file in found if isinstance(file, _File)], [file if isinstance(file, str) else "" for file in found]


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """Return path → size, times, inode and SHA-256 of files read before; what is damaged was never there."""
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: value for name, value in known.items() if _is_memory(value)}


def _is_memory(value: object) -> bool:
    if not (isinstance(value, list) and len(value) == 5 and isinstance(value[-1], str) and len(value[-1]) == 64):
        return False
    return set(value[-1]) <= set("0123456789abcdef")


def _remember(memory: Path, known: dict[str, list[Any]]) -> None:
    """Of two processes that write at once the last one counts: the other's files will be read again."""
    newest = dict(list(known.items())[-_REMEMBERED_FILES:])
    handle, name = tempfile.mkstemp(dir=memory.parent, prefix=".files-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(newest, stream)
        Path(name).replace(memory)
    finally:
        Path(name).unlink(missing_ok=True)
