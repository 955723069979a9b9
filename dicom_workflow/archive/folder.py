"""The embedded archive: a folder of this machine that keeps Orthanc's promises where no Orthanc can be installed.

``instances/<two hexadecimal digits>/<SOP Instance UID>.dcm`` is the file as it came, ``.json`` beside it the record with the
MD5 it had then. The file appears last, in one step, and is never written again: what can be seen is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dicom_workflow.archive.protocol import ALREADY_THERE, STORED, StoreResult
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

    def __init__(self, root: Path) -> None:
        self.root = root
        self._storage = Storage()

    def __repr__(self) -> str:
        return f"FolderArchive({str(self.root)!r})"

    def check(self) -> str:
        """Return what this is, once the folder is there and can be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise ArchiveUnavailableError(
                f"{self.root}: expected a folder that can be written, got: {error.strerror}. Set DICOM_WORKFLOW_WORKSPACE to "
                "a folder of your own."
            ) from None
        return f"folder archive at {self.root}"

    def store_instance(self, data: bytes) -> StoreResult:
        """Store one DICOM file; one whose identity is known already is left as it is."""
        found = inspect(data)
        instance = found.to_instance(md5_of(data))
        path = self._path(instance.reference)
        if path.is_file():
            return StoreResult(instance.reference, ALREADY_THERE)
        try:
            return StoreResult(instance.reference, STORED if self._write(path, data, instance) else ALREADY_THERE)
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be written: {error.strerror}. Make room, or check rights.") from error

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 that the file had when it was stored."""
        return self._record(reference).md5

    def holds(self, reference: ObjectReference, data: bytes) -> bool:
        """Say whether the file that lies in the folder now is these bytes."""
        return self._read(reference) == data

    def _read(self, reference: ObjectReference) -> bytes:
        try:
            return self._path(reference).read_bytes()
        except FileNotFoundError:
            raise _not_found(reference) from None
        except OSError as error:
            raise ArchiveError(f"{self._path(reference)}: cannot be read: {error.strerror}.") from error

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one file, held against the MD5 it had when it was stored."""
        data = self._read(reference)
        expected, found = self.md5(reference), md5_of(data)
        if found != expected:
            raise VerificationError(
                f"{self._path(reference)}: expected MD5 {expected}, got {found}: the file was changed after it was "
                "stored. Delete the instance and store it again."
            )
        return data

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, ordered by id."""
        for path in sorted(self.root.glob("instances/*/*.dcm")):
            with contextlib.suppress(InstanceNotFoundError):  # deleted since
                yield self._record(ObjectReference(sop_instance_uid=path.stem))

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good."""
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

    def _write(self, path: Path, data: bytes, instance: Instance) -> bool:
        """Write the file beside its place and link it there: a link, unlike a rename, never replaces what another wrote."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)  # images of patients: for this user alone
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
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
        path = self._path(reference)
        if not path.is_file():
            raise _not_found(reference)
        try:
            return Instance.parse(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, RecordError):
            pass
        data = self._read(reference)
        try:
            found = inspect(data)
        except DicomError as error:
            raise VerificationError(f"{path}: expected the DICOM file that was stored: {error}") from None
        if found.sop_instance_uid != reference.sop_instance_uid:
            raise VerificationError(f"{path}: expected instance {reference.sop_instance_uid}, got {found.sop_instance_uid}.")
        instance = found.to_instance(md5_of(data))
        self._write_record(path, instance)
        return instance


def _not_found(reference: ObjectReference) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"{reference}: the archive holds no such instance.")
