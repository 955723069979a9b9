"""The archive of a machine without a server: a folder of DICOM files with the promises of a PACS.

``instances/<two hexadecimal digits>/<SOP Instance UID>.dcm`` is the file as it came, ``.json`` beside it the record with the
MD5 it had then. The file appears last, in one step, and is never written again: a file that can be seen is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pydicom import dcmread
from pydicom.encaps import get_frame

from dicom_workflow.archive.protocol import ALREADY_THERE, READ_BACK, STORED, DicomFile, ReadBack, StoreResult
from dicom_workflow.archive.streams import PIECE_BYTES, opened, same_bytes, write_pieces
from dicom_workflow.dicom.inspection import inspect, md5_of
from dicom_workflow.errors import (
    ArchiveError,
    ArchiveUnavailableError,
    DicomError,
    InstanceNotFoundError,
    RecordError,
    VerificationError,
)
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.storage import Storage, to_uri


class FolderArchive:
    """DICOM files by their SOP Instance UID, below one folder; safe for several threads and processes.

    Parameters
    ----------
    root : Path
        Made when the first instance is stored.
    """

    verification = READ_BACK

    def __init__(self, root: Path) -> None:
        self.root = root
        self._storage = Storage()

    def __repr__(self) -> str:
        return f"FolderArchive({str(self.root)!r})"

    def check(self) -> str:
        """Return what this is, once the folder is there and can be written.

        Raises
        ------
        ArchiveUnavailableError
            The folder cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise ArchiveUnavailableError(
                f"{self.root}: the folder cannot be written: {error.strerror}. Set DICOM_WORKFLOW_WORKSPACE to a folder of "
                "your own."
            ) from None
        return f"folder archive at {self.root}"

    def store_instance(self, file: DicomFile, instance: Instance | None = None) -> StoreResult:
        """Store one DICOM file; one whose identity is known already is left as it is.

        Raises
        ------
        ArchiveError
            The folder cannot be written.
        """
        record = instance if instance and instance.md5 else inspect(file).to_instance(md5_of(file))
        path = self._path(record.reference)
        if path.is_file():
            return StoreResult(record.reference, ALREADY_THERE)
        try:
            return StoreResult(record.reference, STORED if self._write(path, file, record) else ALREADY_THERE)
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be written: {error.strerror}. Free some space, or check the rights.") from error

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 that the file had when it was stored."""
        return self._record(reference).md5

    def compare(self, reference: ObjectReference, file: DicomFile) -> ReadBack:
        """Compare the file that lies in the folder now, byte by byte, with another."""
        if same_bytes(self._pieces(reference), file):
            return ReadBack(equal=True)
        return ReadBack(equal=False, md5=self.md5(reference))

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one file, held against the MD5 it had when it was stored."""
        data = b"".join(self._pieces(reference))
        self._check_md5(reference, md5_of(data))
        return data

    def retrieve_to(self, reference: ObjectReference, stream: IO[bytes]) -> str:
        """Write one file to a stream, held against the MD5 it had when it was stored, and return its MD5."""
        found = write_pieces(self._pieces(reference), stream)[0]
        self._check_md5(reference, found)
        return found

    def retrieve_frames(self, reference: ObjectReference, frame_numbers: Sequence[int]) -> list[bytes]:
        """Return frames as they are stored; the rest of the pixel data is not read.

        Raises
        ------
        InstanceNotFoundError
            There is no such instance, or no such frame in it.
        """
        path = self._found(reference)
        found = inspect(path)
        if strange := [number for number in frame_numbers if not 1 <= number <= found.frames]:
            raise InstanceNotFoundError(f"{reference}: no frame {strange[0]}, it has {found.frames}.")
        with path.open("rb") as stream:
            header = dcmread(stream, stop_before_pixels=True)
            explicit = not header.file_meta.TransferSyntaxUID.is_implicit_VR
            start = stream.tell() + (12 if explicit else 8)  # tag, VR and length of the pixel data element (PS3.5 7.1.2)
            frame_bytes = found.rows * found.columns * found.samples * found.bits_allocated // 8
            frames = []
            for number in frame_numbers:
                if header.file_meta.TransferSyntaxUID.is_encapsulated:
                    stream.seek(start)
                    frames.append(get_frame(stream, number - 1, number_of_frames=found.frames))
                else:
                    stream.seek(start + (number - 1) * frame_bytes)
                    frames.append(stream.read(frame_bytes))
        return frames

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, in the order of its path."""
        for path in sorted(self.root.glob("instances/*/*.dcm")):
            with contextlib.suppress(InstanceNotFoundError):  # deleted since
                yield self._record(ObjectReference(sop_instance_uid=path.stem))

    def missing(self, references: Iterable[ObjectReference]) -> list[ObjectReference]:
        """Return the references of which there is no file now."""
        return [reference for reference in references if not self._path(reference).is_file()]

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good.

        Raises
        ------
        InstanceNotFoundError
            There is no such instance.
        """
        path = self._path(reference)
        try:
            path.unlink()
        except FileNotFoundError:
            raise _not_found(reference) from None
        path.with_suffix(".json").unlink(missing_ok=True)

    def _path(self, reference: ObjectReference) -> Path:
        uid = reference.sop_instance_uid
        if not uid:
            raise InstanceNotFoundError(f"{reference}: this archive finds instances by SOP Instance UID only.")
        digits = hashlib.sha256(uid.encode("ascii")).hexdigest()[:2]  # so that no folder gets too long
        return self.root / "instances" / digits / f"{uid}.dcm"

    def _found(self, reference: ObjectReference) -> Path:
        path = self._path(reference)
        if not path.is_file():
            raise _not_found(reference)
        return path

    def _pieces(self, reference: ObjectReference) -> Iterator[bytes]:
        path = self._found(reference)
        try:
            with path.open("rb") as stream:
                while piece := stream.read(PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be read: {error.strerror}.") from error

    def _check_md5(self, reference: ObjectReference, found: str) -> None:
        expected = self.md5(reference)
        if found != expected:
            raise VerificationError(
                f"{self._path(reference)}: expected MD5 {expected}, got {found}: the file was changed after it was stored. "
                "Delete the instance and store it again."
            )

    def _write(self, path: Path, file: DicomFile, instance: Instance) -> bool:
        """Write the file beside its place and link it there: a link, unlike a rename, never replaces what another wrote."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)  # images of patients: for this user alone
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream, opened(file) as source:
                while piece := source.read(PIECE_BYTES):
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(part, path)
            except FileExistsError:
                return False
        finally:
            part.unlink(missing_ok=True)
        self._write_record(path, instance)
        return True

    def _write_record(self, path: Path, instance: Instance) -> None:
        self._storage.write_text(to_uri(path.with_suffix(".json")), json.dumps(instance.to_json()))

    def _record(self, reference: ObjectReference) -> Instance:
        """The record beside the file; made again from the file when a crash or a person left none."""
        path = self._found(reference)
        try:
            return Instance.parse(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, RecordError):
            pass
        try:
            found = inspect(path)
        except DicomError as error:
            raise VerificationError(f"{path}: expected the DICOM file that was stored: {error}") from None
        if found.sop_instance_uid != reference.sop_instance_uid:
            raise VerificationError(f"{path}: expected instance {reference.sop_instance_uid}, got {found.sop_instance_uid}.")
        instance = found.to_instance(md5_of(path))
        self._write_record(path, instance)
        return instance


def _not_found(reference: ObjectReference) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"{reference}: the archive holds no such instance.")
