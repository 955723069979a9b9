"""Cache of decoded images on disk, shared by epochs, runs and processes.

A cache is a folder of packs. A pack holds the inputs of one list of files, in that list's order, as one array that is mapped
into memory and never loaded, and before it, for each row, the SHA-256 of its file and a checksum. A pack's name depends on the
files, the preprocessing version and the size; once it has its name it never changes.

Until then it is called ``.partial`` and locked. A row counts from the moment its checksum is written, after its pixels; so
whatever ends a builder, the next one takes over the good rows and decodes the others. Builders of one pack wait for each other
by the lock, which the system lifts when a process dies. Rows that another pack already has are copied.

The folder holds pixels and paths of patients' images; only its owner may read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_workflow.errors import CacheError
from dicom_workflow.learning.data.cache.file_index import KnownFile, identified, signature_of
from dicom_workflow.learning.data.cache.pack import HEAD_BYTES, PIXEL, RECORD, Pack, trim
from dicom_workflow.learning.data.decoder_pool import Decode, Job, decode_all

FORMAT = "dicom-workflow images 1"


@dataclass(frozen=True)
class PackFolder:
    """The packs of one folder, of one preprocessing version and shape, and how to fill them."""

    folder: Path
    channels: int
    size_px: int
    version: str
    limit_bytes: int
    decode: Decode
    workers: int
    progress: bool

    @property
    def row_bytes(self) -> int:
        """Size of one image."""
        return self.channels * self.size_px * self.size_px * PIXEL.itemsize

    def images_of(self, files: Sequence[KnownFile]) -> tuple[np.ndarray, dict[int, str], int]:
        """Return the images of files, decoding those that no pack has.

        Parameters
        ----------
        files : sequence of KnownFile

        Returns
        -------
        ndarray, shape (usable files, channels, size_px, size_px), float16 in [0, 1]
            Mapped from disk.
        dict of int to str
            Number of a file that cannot be used → why.
        int
            Files that were decoded this time.
        """
        head = self._head(len(files))
        name = hashlib.sha256(head + b"".join(file.key for file in files)).hexdigest()[:32]
        final = self.folder / f"{name}.images"
        partial = final.with_suffix(".partial")
        known_bad: dict[int, str] = {}
        retried = False
        while True:
            with contextlib.ExitStack() as stack:
                pack = self._opened(final, head, stack)
                if pack is not None:
                    good, missing = self._checked(pack, files)
                    if good and not retried:
                        # Those that were bad when the pack was made: perhaps there is a decoder for them by now.
                        known_bad = {file.number: text for file, text in self._tried(missing)}
                        retried = True
                    if good and len(known_bad) >= len(missing):
                        with contextlib.suppress(OSError):
                            os.utime(final)  # used now
                        return pack.map(self.channels, self.size_px), known_bad, len(missing)
                descriptor = self._locked(partial, stack)
                if descriptor is None:
                    continue  # another process has just finished it
                if pack is None and self._opened(final, head, stack):
                    partial.unlink()
                    continue
                return self._made(self._pack(descriptor, head, len(files)), final, files, stack)

    def _made(
        self, pack: Pack, final: Path, files: Sequence[KnownFile], stack: contextlib.ExitStack
    ) -> tuple[np.ndarray, dict[int, str], int]:
        """Complete a partial pack of this process, give it its name and return what `images_of` does."""
        partial = final.with_suffix(".partial")
        needed = pack.data_at + len(files) * self.row_bytes
        if needed > self.limit_bytes:
            raise CacheError(
                f"{self.folder}: not enough space for {len(files)} images of {self.size_px} px, which take "
                f"{needed / 1e9:.2f} GB, in a cache of {self.limit_bytes / 1e9:.2f} GB. Allow more."
            )
        others = self._others(stack)  # open, so that trimming cannot take them away
        done = self._resumed(pack, files, needed, {final.name, partial.name})
        done |= self._copied(pack, files, done, others)
        failed = self._decoded(pack, files, done, partial)
        pack.drop_holes()
        os.fsync(pack.descriptor)
        partial.replace(final)
        trim(self.folder, self.limit_bytes, {final.name})
        return pack.map(self.channels, self.size_px), failed, len(files) - len(done)

    def _head(self, slots: int) -> bytes:
        shape = {"channels": self.channels, "size_px": self.size_px}
        text = json.dumps({"format": FORMAT, "version": self.version, **shape, "slots": slots})
        return text.encode("ascii").ljust(HEAD_BYTES - 1) + b"\n"

    def _pack(self, descriptor: int, head: bytes, slots: int) -> Pack:
        return Pack(descriptor, head, slots, self.row_bytes)

    def _opened(self, path: Path, head: bytes, stack: contextlib.ExitStack) -> Pack | None:
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

    def _checked(self, pack: Pack, files: Sequence[KnownFile]) -> tuple[bool, list[KnownFile]]:
        """Return whether every row of a pack has its checksum, and which files have no row."""
        from tqdm import tqdm

        missing, slot = [], 0
        for file in tqdm(files, desc="checking", unit="image", disable=not self.progress or len(files) < 1000, leave=False):
            if slot < pack.slots and pack.has(slot, file.key):
                if pack.row(slot) is None:
                    return False, []
                slot += 1
            else:
                missing.append(file)
        rows = int((pack.records["is_there"] == 1).sum())
        ends = os.fstat(pack.descriptor).st_size == pack.data_at + rows * pack.row_bytes
        return slot == rows and ends, missing

    def _tried(self, files: Sequence[KnownFile]) -> Iterator[tuple[KnownFile, str]]:
        jobs = [Job(file.path, file.key) for file in files]
        outcomes = decode_all(jobs, self.size_px, self.version, self.decode, channels=self.channels, workers=self.workers)
        for file, outcome in zip(files, outcomes, strict=True):
            if outcome.problem:
                yield file, outcome.problem

    def _locked(self, partial: Path, stack: contextlib.ExitStack) -> int | None:
        """Return a partial pack that is this process's alone, or None when it was finished while this one waited."""
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Said out loud: a map made of this file holds the lock too, for as long as somebody looks at the images.
        stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)
        with contextlib.suppress(FileNotFoundError):
            if partial.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        return None

    def _resumed(self, pack: Pack, files: Sequence[KnownFile], needed: int, keep: set[str]) -> set[int]:
        """Return which rows an interrupted builder completed, and allocate the file."""
        done: set[int] = set()
        if pack.read_records():
            done = {slot for slot, file in enumerate(files) if pack.has(slot, file.key) and pack.row(slot) is not None}
        else:
            os.truncate(pack.descriptor, 0)
        trim(self.folder, self.limit_bytes - needed, keep)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(pack.descriptor, 0, needed)  # a full disk is an error here, not a signal later
        os.truncate(pack.descriptor, needed)
        os.pwrite(pack.descriptor, pack.head, 0)
        for slot in range(pack.slots):
            if slot not in done and pack.records[slot]["is_there"]:
                pack.records[slot] = np.zeros((), RECORD)
        os.pwrite(pack.descriptor, pack.records.tobytes(), HEAD_BYTES)
        return done

    def _others(self, stack: contextlib.ExitStack) -> list[Pack]:
        """Return the finished packs of the same version and size."""
        found = []
        for path in sorted(self.folder.glob("*.images")):
            try:
                with path.open("rb") as stream:
                    head = stream.read(HEAD_BYTES)
                slots = int(json.loads(head)["slots"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if head == self._head(slots) and (pack := self._opened(path, head, stack)):
                found.append(pack)
        return found

    def _copied(self, pack: Pack, files: Sequence[KnownFile], done: set[int], others: Sequence[Pack]) -> set[int]:
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

    def _decoded(self, pack: Pack, files: Sequence[KnownFile], done: set[int], path: Path) -> dict[int, str]:
        """Decode the missing rows, each valid as soon as it is written; return the problems by file number."""
        from tqdm import tqdm

        slots = [slot for slot in range(len(files)) if slot not in done]
        jobs = [Job(files[s].path, files[s].key, path, pack.data_at + s * pack.row_bytes) for s in slots]
        problems: dict[int, str] = {}
        outcomes = decode_all(jobs, self.size_px, self.version, self.decode, channels=self.channels, workers=self.workers)
        bar = tqdm(outcomes, total=len(jobs), desc="decoding", unit="image", disable=not self.progress or not jobs)
        for slot, outcome in zip(slots, bar, strict=True):
            file = files[slot]
            problem = outcome.problem
            if not problem and signature_of(file.path) != file.signature:
                problem = f"{file.path}: changed while it was read. Start again when nothing writes to it."
            if problem:
                problems[file.number] = problem
            else:
                pack.write_record(slot, file.key, outcome.checksum)
        return problems


DEFAULT_LIMIT_GB = 20.0
"""A hundred thousand images of 320 × 320 pixels."""


@dataclass(frozen=True)
class CachedImages:
    """The inputs of some files, mapped from disk."""

    images: np.ndarray
    """Shape (usable files, channels, size_px, size_px), float16 in [0, 1], in the order of the files; read it with `take`."""
    problems: tuple[str, ...]
    """One for each file, in order: why it is left out; empty for a usable one."""
    decoded: int
    """How many files had to be decoded this time."""


def load_cached(
    paths: Sequence[Path],
    folder: str | Path,
    *,
    size_px: int,
    version: str,
    decode: Decode,
    channels: int = 1,
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
        ``decode(path, size_px, version)``, an array of shape (channels, size_px, size_px), float16.
    channels : int
        Of the images.
    workers : int
        Files decoded at a time; see `decoder_pool.decode_all`.
    progress : bool
        Show progress bars on standard error.
    limit_gb : float
        Size of the folder in 10^9 bytes. What was used longest ago goes first, and never what this call returns.

    Raises
    ------
    CacheError
        The folder cannot be made or written, somebody else may write to it, or these images alone would exceed `limit_gb` or
        the disk.
    DatasetError
        The images have another number of channels.

    Notes
    -----
    A file is known again by its path, size, times and inode, else by reading it whole. Every row's checksum is compared when a
    pack is opened, so damage is found before anything is learned from it, and the damaged rows are decoded again.
    """
    folder = Path(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        files, problems = identified(paths, folder, workers, progress)
        packs = PackFolder(folder, channels, size_px, version, int(limit_gb * 1e9), decode, workers, progress)
        images, failed, decoded = packs.images_of(files)
    except OSError as error:
        raise CacheError(
            f"{folder}: decoded images cannot be kept here: {error.strerror or error}. "
            "Name another one, or none to decode at every start."
        ) from error
    return CachedImages(images, tuple(failed.get(number, problem) for number, problem in enumerate(problems)), decoded)


def _check_owner(folder: Path) -> None:
    """Refuse a folder that other users may write to: a checksum detects damage, not pixels that someone put there."""
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CacheError(
            f"{folder}: others may write to this folder: it belongs to user {status.st_uid} with mode "
            f"{status.st_mode & 0o7777:o}: others could put other pixels in. Name a new folder, or run chmod 700 on your own."
        )
