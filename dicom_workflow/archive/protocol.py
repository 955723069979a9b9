"""What every archive of DICOM instances can do: Orthanc over its REST interface, a DICOMweb server, or a local folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference

STORED = "stored"
ALREADY_THERE = "already there"

READ_BACK = "read-back"
"""Verified means: every file was read back whole from the archive and is, byte for byte, the one that was sent."""
READ_BACK_CONTENT = "read-back-content"
"""Verified means: every file was read back whole and is the one that was sent, byte for byte, or has the same transfer syntax,
the same elements with the same values, and the same bytes of pixel data; its file meta information may be the server's own."""

DicomFile = Path | bytes
"""A DICOM file, or the content of a small one. A path is never read into memory whole."""


@dataclass(frozen=True)
class StoreResult:
    """What an archive answered to one instance: that it took it, or that it has one of this identity already.

    Neither says that the archive holds *these* bytes: `upload.upload` reads them back.
    """

    reference: ObjectReference
    """How to ask this archive for the instance."""
    status: str
    """`STORED` or `ALREADY_THERE`."""


@dataclass(frozen=True)
class ReadBack:
    """The archive's copy of an instance, read back whole and compared with a file."""

    equal: bool
    """In the sense of the archive's `verification`."""
    md5: str = ""
    """MD5 of the archive's copy; empty where that is the file's own."""


class Archive(Protocol):
    """Where instances are kept. Every method may be called from several threads at once.

    All raise `ArchiveUnavailableError` when nothing answers and `ArchiveCredentialsError` when this user may not.
    """

    verification: str
    """`READ_BACK` or `READ_BACK_CONTENT`: what it means that a file was verified."""

    def check(self) -> str:
        """Return what answers there, for a person to read; raises when nothing does, or not to this user."""
        ...

    def store_instance(self, file: DicomFile, instance: Instance | None = None) -> StoreResult:
        """Store one DICOM file; an instance of the same identity is never overwritten.

        Parameters
        ----------
        file : Path or bytes
        instance : Instance, optional
            What the file says of itself; it is inspected when not given.

        Raises
        ------
        DicomError
            The archive cannot read the file.
        InstanceTooLargeError
            The archive takes no file of this size.
        """
        ...

    def compare(self, reference: ObjectReference, file: DicomFile) -> ReadBack:
        """Read the archive's copy back whole and compare it with a file; raises InstanceNotFoundError."""
        ...

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 of the archive's copy of a file; raises InstanceNotFoundError."""
        ...

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one DICOM file, held against the archive's MD5 where it has one; raises VerificationError."""
        ...

    def retrieve_to(self, reference: ObjectReference, stream: IO[bytes]) -> str:
        """Write one DICOM file to an empty, seekable stream in pieces, and return its MD5; raises as `retrieve_instance`."""
        ...

    def retrieve_frames(self, reference: ObjectReference, frame_numbers: Sequence[int]) -> list[bytes]:
        """Return the bytes of some frames of one instance as they are stored, without the rest of the file.

        Parameters
        ----------
        reference : ObjectReference
        frame_numbers : sequence of int
            Counted from 1.

        Raises
        ------
        InstanceNotFoundError
            There is no such instance, or no such frame in it.
        """
        ...

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, once, in the archive's own order, which stays the same while nothing is stored."""
        ...

    def missing(self, references: Iterable[ObjectReference]) -> list[ObjectReference]:
        """Return the references of which the archive has no instance now, in their order."""
        ...

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good; raises InstanceNotFoundError."""
        ...
