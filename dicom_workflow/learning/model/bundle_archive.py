"""Packing a bundle as SageMaker's ``model.tar.gz``, and unpacking it safely."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from dicom_workflow.errors import BundleError
from dicom_workflow.learning.model import monai_configs
from dicom_workflow.learning.model.bundle_json import DESCRIPTION_NAME, MAX_DESCRIPTION_BYTES, WEIGHTS_NAME, read_description
from dicom_workflow.storage import Storage, to_uri, write_atomically

MAX_WEIGHTS_BYTES = 2**30
"""A DenseNet121 has 28 MB, the largest ensemble 0.9 GB. What is larger is refused before memory is taken for it."""
_MAX_ARCHIVE_BYTES = 2 * 2**30
"""Of all members of an archive, unpacked, those that are passed over included."""
_MAX_MEMBERS = 1000
MAX_OUTPUT_BYTES = 2**30
"""Of one file of a job's output, unpacked: a thousand times the usual size, far less than an archive of a few MB can hold."""
_CHUNK = 2**20


def pack(folder: str | Path, archive: str | Path) -> Path:
    """Write a bundle as ``model.tar.gz`` with its two files at the root, as SageMaker expects, and return the archive."""
    folder, archive = Path(folder), Path(archive)
    read_description(folder)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:  # weights hardly compress
        for name in (WEIGHTS_NAME, DESCRIPTION_NAME):
            tar.add(folder / name, arcname=name)
    return archive


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Extract the two files of a bundle from a ``model.tar.gz`` and return the folder.

    Only the two known names are looked at, so no member can write anywhere else. MONAI's files hold expressions that MONAI
    evaluates: an archive's own are left in it, and written anew from the description.

    Raises
    ------
    BundleError
        Not a gzip'd tar archive, or one of the two files is not in it or too large.
    """
    folder = Path(folder)
    most = {WEIGHTS_NAME: MAX_WEIGHTS_BYTES, DESCRIPTION_NAME: MAX_DESCRIPTION_BYTES}
    found = take(archive, most, folder)
    missing = [name for name in most if name not in found]
    if missing:
        raise BundleError(f"{archive}: {' and '.join(missing)} missing at the root of the archive.")
    monai_configs.write(read_description(folder), folder)
    return folder


def take(archive: str | Path, most_bytes: Mapping[str, int], folder: str | Path) -> tuple[str, ...]:
    """Extract named files from the root of an untrusted ``.tar.gz``, and return the names that it had.

    Parameters
    ----------
    archive : path
    most_bytes : mapping of str to int
        The names that are wanted, and how large each may be. No other member is looked at, so none can write anywhere.
    folder : path
        Made when it is missing.

    Raises
    ------
    BundleError
        Not a gzip'd tar archive, or a wanted file is too large, or the archive unpacks to more than any of ours.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _Unpacked(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            first = itertools.islice(tar, _MAX_MEMBERS)
            plain = {member.name.removeprefix("./"): member for member in first if member.isfile()}
            members = {name: plain[name] for name in most_bytes if name in plain}
            for name, member in members.items():
                if member.size > most_bytes[name]:
                    raise BundleError(f"{archive}: expected {name} of at most {most_bytes[name]:,} bytes, got {member.size:,}.")
            for name, member in members.items():
                if content := tar.extractfile(member):  # there is one, of a plain file
                    write_atomically(folder / name, b"".join(iter(partial(content.read, _CHUNK), b"")))
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise BundleError(f"{archive}: not a .tar.gz of a training job: {error}.") from None
    return tuple(members)


class _Unpacked(gzip.GzipFile):
    """Decompressed stream of an archive with limits on one read and on the total: it may be a decompression bomb.

    tarfile reads the long headers of a member in one go, as long as the archive says they are.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"expected headers of at most {_CHUNK:,} bytes, got {size}")
        return super().read(size)

    def seek(self, offset: int, origin: int = os.SEEK_SET) -> int:
        if offset > _MAX_ARCHIVE_BYTES:
            raise tarfile.ReadError(f"expected at most {_MAX_ARCHIVE_BYTES:,} bytes unpacked, got more")
        return super().seek(offset, origin)


def unpack_model(archive: str | Path, folder: Path, *, storage: Storage | None = None) -> Path:
    """Unpack the bundle of a ``model.tar.gz`` into a folder and return it.

    Parameters
    ----------
    archive : str or Path
        Path or URI.
    folder : Path
        Made when it is missing.
    storage : Storage, optional
        To read the archive from S3.

    Raises
    ------
    BundleError
        It is no such archive, lacks a file of a bundle, or is too large; no other member of it is read.
    StorageError
        It cannot be read.
    """
    with _copied(archive, storage) as copy:
        return unpack(copy, folder)


def take_output(archive: str | Path, names: Sequence[str], folder: Path, *, storage: Storage | None = None) -> tuple[str, ...]:
    """Extract named files of a training job's ``output.tar.gz`` into a folder and return the names that it had.

    Parameters
    ----------
    archive : str or Path
        Path or URI.
    names : sequence of str
        Files at its root.
    folder : Path
        Made when it is missing.
    storage : Storage, optional
        To read the archive from S3.

    Raises
    ------
    BundleError
        As `take`; a file may have `MAX_OUTPUT_BYTES`.
    StorageError
        The archive cannot be read.
    """
    with _copied(archive, storage) as copy:
        return take(copy, dict.fromkeys(names, MAX_OUTPUT_BYTES), folder)


@contextlib.contextmanager
def _copied(archive: str | Path, storage: Storage | None) -> Iterator[Path]:
    """Yield a copy on this machine, because reading a .tar.gz by name seeks in it; errors name the archive itself."""
    with tempfile.TemporaryDirectory(prefix="archive-") as scratch:
        copy = Path(scratch) / "job.tar.gz"
        with (storage or Storage()).open(to_uri(archive)) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        try:
            yield copy
        except BundleError as error:
            raise BundleError(str(error).replace(str(copy), str(archive))) from None
