"""File index: SHA-256 of each file, remembered by path, size, times and inode, so that unchanged files are not read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SETTLED_SECONDS = 2.0  # a file changed twice within a tick of the clock looks unchanged
_REMEMBERED_FILES = 200_000


@dataclass(frozen=True)
class KnownFile:
    """One file that can be read, with the SHA-256 of its content."""

    number: int
    """Its place in the caller's list."""
    path: Path
    key: bytes
    signature: tuple[int, ...]


def identified(paths: Sequence[Path], folder: Path, workers: int, progress: bool) -> tuple[list[KnownFile], list[str]]:
    """Return the files that can be read, each with the SHA-256 of its content, and a problem for each of the others.

    Parameters
    ----------
    paths : sequence of Path
        Files, in any order.
    folder : Path
        The cache; ``files.json`` in it keeps the hashes of files that have not changed since.
    workers : int
        Files read at a time.
    progress : bool
        Show a progress bar on standard error where there are many files.

    Returns
    -------
    list of KnownFile
        Those that can be read.
    list of str
        One for each path: why it cannot be used; empty for a usable one.
    """
    from tqdm import tqdm

    memory = folder / "files.json"
    known = _remembered(memory)
    fresh: dict[str, list[Any]] = {}
    now = time.time()

    def identify(number: int) -> KnownFile | str:
        path = paths[number]
        name = str(path.absolute())
        signature = signature_of(path)
        if signature is not None and not path.is_file():
            return f"{path}: not a regular file but a folder, pipe, socket or device."
        if signature is not None and known.get(name, [])[:-1] == list(signature):
            return KnownFile(number, path, bytes.fromhex(known[name][-1]), signature)
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256")
        except OSError as error:
            return f"{path}: the file cannot be read: {error.strerror or error}."
        if signature is None or signature_of(path) != signature:
            return f"{path}: changed while it was read. Start again when nothing writes to it."
        if now - signature[2] / 1e9 > _SETTLED_SECONDS:
            fresh[name] = [*signature, digest.hexdigest()]
        return KnownFile(number, path, digest.digest(), signature)

    hide = not progress or len(paths) < 1000
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        found = list(tqdm(pool.map(identify, range(len(paths))), total=len(paths), desc="reading", unit="file", disable=hide))
    if fresh:
        with contextlib.suppress(OSError):  # a folder that may only be read: they are read again next time
            _remember(memory, {**{name: known[name] for name in known if name not in fresh}, **fresh})
    return [file for file in found if isinstance(file, KnownFile)], [file if isinstance(file, str) else "" for file in found]


def signature_of(path: Path) -> tuple[int, ...] | None:
    """Return size, times and inode of a file; the time of its last status change cannot be set back."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """Return path → size, times, inode and SHA-256 of files read before; a damaged index is an empty one."""
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
    """Write the index. Of two processes that write at once the last one wins: the other's files are read again."""
    newest = dict(list(known.items())[-_REMEMBERED_FILES:])
    handle, name = tempfile.mkstemp(dir=memory.parent, prefix=".files-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(newest, stream)
        Path(name).replace(memory)
    finally:
        Path(name).unlink(missing_ok=True)
