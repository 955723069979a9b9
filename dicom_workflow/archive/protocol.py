"""Archives that hold DICOM instances: Orthanc over its REST interface, or a folder of this machine, behind one protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference

STORED = "stored"
ALREADY_THERE = "already there"


@dataclass(frozen=True)
class StoreResult:
    """What an archive answered to one instance: that it took it, or that it knows one of this identity already.

    Neither says that the archive holds *these* bytes: `upload.upload` reads them back.
    """

    reference: ObjectReference
    """How to ask this archive for the instance."""
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

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 that the archive keeps of one file; raises InstanceNotFoundError."""
        ...

    def holds(self, reference: ObjectReference, data: bytes) -> bool:
        """Say whether the archive's copy, read back whole, is these bytes; raises InstanceNotFoundError."""
        ...

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one DICOM file, held against the archive's MD5; raises VerificationError when it does not match."""
        ...

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, once, in the archive's own order, which stays the same while nothing is stored."""
        ...

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good; raises InstanceNotFoundError."""
        ...
