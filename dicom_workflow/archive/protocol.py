"""Archives that hold DICOM instances: Orthanc over its REST interface, or a folder of this machine, behind one protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from dicom_workflow.errors import InstanceNotFoundError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import is_orthanc_id

STORED = "stored"
ALREADY_THERE = "already there"


@dataclass(frozen=True)
class StoreResult:
    """What an archive answered to one instance: that it took it, or that it knows one of this identity already.

    Neither says that the archive holds *these* bytes: `transfer.upload` reads them back.
    """

    orthanc_instance_id: str
    status: str
    """`STORED` or `ALREADY_THERE`."""


class Archive(Protocol):
    """Where instances are kept. Every method may be called from several threads at once.

    All raise `ArchiveUnavailableError` when nothing answers and `ArchiveCredentialsError` when this user may not.
    """

    def check(self) -> str:
        """Return what answers there, for a person to read; raises when nothing does, or not to this user."""
        ...

    def store_instance(self, data: bytes) -> StoreResult:
        """Store one DICOM file; raises DicomError when the archive cannot read it. Never overwrites."""
        ...

    def md5(self, orthanc_instance_id: str) -> str:
        """Return the MD5 that the archive keeps of one file; raises InstanceNotFoundError."""
        ...

    def holds(self, orthanc_instance_id: str, data: bytes) -> bool:
        """Say whether the archive's copy, read back whole, is these bytes; raises InstanceNotFoundError."""
        ...

    def retrieve_instance(self, orthanc_instance_id: str) -> bytes:
        """Return one DICOM file, held against the archive's MD5; raises VerificationError when it does not match."""
        ...

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, once, in the archive's own order, which stays the same while nothing is stored."""
        ...

    def delete_instance(self, orthanc_instance_id: str) -> None:
        """Remove one instance for good; raises InstanceNotFoundError."""
        ...


def checked_id(orthanc_instance_id: str) -> str:
    """Return an id that may stand in a URL or a path; raises InstanceNotFoundError for anything else."""
    if not is_orthanc_id(orthanc_instance_id):
        raise InstanceNotFoundError(
            f"expected an Orthanc instance id (five groups of eight hexadecimal digits), got {orthanc_instance_id[:64]!r}."
        )
    return orthanc_instance_id
