"""A bundle as one file, ``model.tar.gz``, as SageMaker wants it; whoever packed it, two known files come out and no other."""

from __future__ import annotations

import gzip
import itertools
import os
import tarfile
import zlib
from pathlib import Path

from dicom_workflow.errors import BundleError
from dicom_workflow.learning import monai_configs
from dicom_workflow.learning.description import DESCRIPTION_NAME, MAX_DESCRIPTION_BYTES, WEIGHTS_NAME, read_description
from dicom_workflow.learning.files import write_atomically

MAX_WEIGHTS_BYTES = 2**30
"""A DenseNet121 has 28 MB, the largest ensemble 0.9 GB. What is larger is refused before memory is taken for it."""
_MAX_ARCHIVE_BYTES = 2 * 2**30
"""Of all members of an archive, unpacked, those that are passed over included."""
_MAX_MEMBERS = 1000
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
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _Unpacked(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            first = itertools.islice(tar, _MAX_MEMBERS)
            members = {member.name.removeprefix("./"): member for member in first if member.isfile()}
            for name, most in ((WEIGHTS_NAME, MAX_WEIGHTS_BYTES), (DESCRIPTION_NAME, MAX_DESCRIPTION_BYTES)):
                if name in members and members[name].size > most:
                    raise BundleError(f"{archive}: expected {name} of at most {most:,} bytes, got {members[name].size:,}.")
                content = tar.extractfile(members[name]) if name in members else None
                if content is None:
                    raise BundleError(f"{archive}: expected {name} at the root of the archive, got {sorted(members)[:8]}.")
                write_atomically(folder / name, b"".join(iter(lambda: content.read(_CHUNK), b"")))  # noqa: B023  used at once
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise BundleError(f"{archive}: expected a model.tar.gz: {error}.") from None
    monai_configs.write(read_description(folder), folder)
    return folder


class _Unpacked(gzip.GzipFile):
    """The bytes of an archive, which may unpack to a thousand times its size: so many at a time, so many in all.

    tarfile reads the long headers of a member in one go, as long as the archive says they are.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"expected headers of at most {_CHUNK:,} bytes, got {size}")
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > _MAX_ARCHIVE_BYTES:
            raise tarfile.ReadError(f"expected at most {_MAX_ARCHIVE_BYTES:,} bytes unpacked, got more")
        return super().seek(offset, whence)
