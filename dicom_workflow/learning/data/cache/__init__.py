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

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_workflow.errors import CacheError
from dicom_workflow.learning.data.cache.file_index import identified
from dicom_workflow.learning.data.cache.folder import PackFolder
from dicom_workflow.learning.data.cache.pack import take
from dicom_workflow.learning.data.decoder_pool import Decode

__all__ = ["DEFAULT_LIMIT_GB", "CachedImages", "load", "take"]

DEFAULT_LIMIT_GB = 20.0
"""A hundred thousand images of 320 × 320 pixels."""


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
        The folder cannot be made or written, somebody else may write to it, or these images alone would exceed `limit_gb` or
        the disk.

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
        packs = PackFolder(folder, size_px, version, int(limit_gb * 1e9), decode, workers, progress)
        images, failed, decoded = packs.images_of(files)
    except OSError as error:
        raise CacheError(
            f"{folder}: expected a folder to keep decoded images in, got: {error.strerror or error}. "
            "Name another one, or none to decode at every start."
        ) from error
    for file, problem in failed.items():
        problems[file] = problem
    return CachedImages(images, tuple(problems), decoded)


def _check_owner(folder: Path) -> None:
    """Refuse a folder that somebody else may write to: a checksum tells damage, not pixels that were put there."""
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise CacheError(
            f"{folder}: expected a folder that you own and nobody else may write to, got one of user {status.st_uid} with mode "
            f"{status.st_mode & 0o7777:o}: others could put other pixels in. Name a new folder, or run chmod 700 on your own."
        )
