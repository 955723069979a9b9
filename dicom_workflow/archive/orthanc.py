"""Orthanc over its own REST interface.

Orthanc's answers are taken for no more than they say: ``Success`` and ``AlreadyStored`` speak of an identity, not of bytes, and
a proxy may answer in its place with a page of its own. Sending an instance twice is harmless: Orthanc's id is a hash of what
identifies the instance, and an Orthanc that overwrites is asked for it first.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from dicom_workflow.archive.authorization import basic_auth
from dicom_workflow.archive.http import RETRY_SECONDS, Answer, Connection
from dicom_workflow.archive.protocol import ALREADY_THERE, READ_BACK, STORED, DicomFile, ReadBack, StoreResult
from dicom_workflow.archive.streams import Body, same_bytes, write_pieces
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.errors import ArchiveError, InstanceNotFoundError, RecordError, VerificationError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.formats.object_reference import ObjectReference, is_orthanc_id
from dicom_workflow.settings import Secret

_MD5 = re.compile(r"[0-9a-f]{32}")
_STATUS = {"Success": STORED, "AlreadyStored": ALREADY_THERE}
_RETRIEVALS = 3
_IDS_PER_REQUEST = 500


class OrthancArchive:
    """The instances of one Orthanc server; safe for several threads.

    Parameters
    ----------
    url, timeout_seconds, ca_bundle, retry_seconds
        As for `http.Connection`.
    user, password
        For HTTP basic authentication; none is sent when the user is empty.
    """

    verification = READ_BACK

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: Secret | None = None,
        timeout_seconds: float = 60.0,
        ca_bundle: str = "",
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._connection = Connection(
            url,
            authorize=basic_auth(user, password),
            timeout_seconds=timeout_seconds,
            ca_bundle=ca_bundle,
            retry_seconds=retry_seconds,
        )
        self._overwrites: bool | None = None  # not known yet
        self._learning = threading.Lock()

    def __repr__(self) -> str:
        return f"OrthancArchive({self._connection.url!r})"

    def close(self) -> None:
        """Close idle connections; the archive can still be used afterwards."""
        self._connection.close()

    def check(self) -> str:
        """Return Orthanc's name and version.

        Raises
        ------
        ArchiveError
            Something else answers.
        """
        system = self._json("/system", retry=False)
        if not isinstance(system, dict) or "Version" not in system:
            raise ArchiveError(f"{self._connection.url}/system: expected Orthanc's description, got other JSON.")
        if isinstance(system.get("OverwriteInstances"), bool):  # older versions do not say
            self._overwrites = system["OverwriteInstances"]
        return f"Orthanc {system['Version']} at {self._connection.url}"

    def store_instance(self, file: DicomFile, instance: Instance | None = None) -> StoreResult:
        """Store one DICOM file; one that an Orthanc with ``OverwriteInstances`` has already is not sent."""
        if self._overwrites is not False:
            known = instance or inspect(file).to_instance("")
            held = orthanc_id(known.patient_id, known.study_instance_uid, known.series_instance_uid, known.sop_instance_uid)
            try:
                self._connection.request("GET", f"/instances/{held}")
                return StoreResult(ObjectReference(orthanc_instance_id=held), ALREADY_THERE)
            except InstanceNotFoundError:
                pass
        answer, identifier, status = self._post(file)
        if status == ALREADY_THERE and answer.attempts > 1:
            status = STORED  # the answer to the first attempt was lost on its way
        if status == STORED and self._overwrites is None and isinstance(file, bytes):
            self._learn_whether_it_overwrites(file)
        return StoreResult(ObjectReference(orthanc_instance_id=identifier), status)

    def _learn_whether_it_overwrites(self, file: bytes) -> None:
        """Send a file that was just stored once more: an Orthanc that does not overwrite calls it AlreadyStored."""
        if not self._learning.acquire(blocking=False):
            return  # another thread is at it; until it knows, nothing is sent that Orthanc has already
        try:
            if self._overwrites is None:
                self._overwrites = self._post(file)[2] == STORED
        finally:
            self._learning.release()

    def _post(self, file: DicomFile) -> tuple[Answer, str, str]:
        answer = self._connection.request("POST", "/instances", Body(file, "application/dicom"))
        said = self._decode("/instances", answer.body)
        identifier = said.get("ID") if isinstance(said, dict) else None
        status = _STATUS.get(str(said.get("Status"))) if isinstance(said, dict) else None
        if not isinstance(identifier, str) or not is_orthanc_id(identifier) or status is None:
            raise ArchiveError(
                f"{self._connection.url}/instances: expected an id and Success or AlreadyStored, got {str(said)[:160]!r}."
            )
        return answer, identifier, status

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 that Orthanc computed of the file when it came in; raises ArchiveError when it keeps none."""
        path = f"/instances/{self._id(reference)}/attachments/dicom/md5"
        text = self._connection.request("GET", path).body.decode("utf-8", "replace").strip()
        if not _MD5.fullmatch(text):
            raise ArchiveError(f"{self._connection.url}{path}: expected an MD5, got {text[:80]!r}. Check ORTHANC_URL.")
        return text

    def compare(self, reference: ObjectReference, file: DicomFile) -> ReadBack:
        """Read Orthanc's copy back and compare it, byte by byte, with a file."""
        identifier = self._id(reference)
        if self._connection.stream(f"/instances/{identifier}/file", lambda pieces, _: same_bytes(pieces, file)):
            return ReadBack(equal=True)
        return ReadBack(equal=False, md5=self.md5(ObjectReference(orthanc_instance_id=identifier)))

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one DICOM file whose MD5 is the one Orthanc keeps; what does not match is fetched again, twice at most."""
        stream = io.BytesIO()
        self.retrieve_to(reference, stream)
        return stream.getvalue()

    def retrieve_to(self, reference: ObjectReference, stream: IO[bytes]) -> str:
        """Write one DICOM file to a stream, as `retrieve_instance` returns it, and return its MD5.

        Raises
        ------
        VerificationError
            The MD5 is not the one that Orthanc keeps, three times.
        """
        identifier = self._id(reference)
        for attempt in range(1, _RETRIEVALS + 1):
            expected = self.md5(ObjectReference(orthanc_instance_id=identifier))
            found, start, count = self._connection.stream(
                f"/instances/{identifier}/file", lambda pieces, _: write_pieces(pieces, stream)
            )
            if start[128:132] == b"DICM" and found == expected:
                break
            if attempt == _RETRIEVALS:
                raise VerificationError(
                    f"{reference}: expected a DICOM file with MD5 {expected}, got {count:,} bytes with {found}, "
                    f"beginning with {start[:16]!r}. Does a proxy answer for Orthanc?"
                )
        return found

    def retrieve_frames(self, reference: ObjectReference, frame_numbers: Sequence[int]) -> list[bytes]:
        """Return frames as Orthanc has them stored, one request each.

        Raises
        ------
        InstanceNotFoundError
            There is no such frame.
        """
        identifier = self._id(reference)
        frames = []
        for number in frame_numbers:
            path = f"/instances/{identifier}/frames/{number - 1}/raw"
            answer = self._connection.request("GET", path, expected=(400,))
            if answer.status == 400:  # "Parameter out of range"
                raise InstanceNotFoundError(f"{reference}: the instance has no frame {number}.")
            frames.append(answer.body)
        return frames

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good."""
        self._connection.request("DELETE", f"/instances/{self._id(reference)}")

    def missing(self, references: Iterable[ObjectReference]) -> list[ObjectReference]:
        """Return the references of which Orthanc has no instance now; those with an Orthanc id in a few requests."""
        asked = list(references)
        held: set[str] = set()
        ids = [reference.orthanc_instance_id for reference in asked if reference.orthanc_instance_id]
        for start in range(0, len(ids), _IDS_PER_REQUEST):
            wanted = {"Resources": ids[start : start + _IDS_PER_REQUEST], "Level": "Instance", "Short": True}
            answer = self._post_json("/tools/bulk-content", json.dumps(wanted))
            held |= {str(entry.get("ID")) for entry in answer if isinstance(entry, dict)}
        return [reference for reference in asked if not self._is_held(reference, held)]

    def _is_held(self, reference: ObjectReference, held: set[str]) -> bool:
        if reference.orthanc_instance_id:
            return reference.orthanc_instance_id in held
        try:
            return bool(self._id(reference))
        except InstanceNotFoundError:
            return False

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, at one request per `page_size` entries of each level and none per instance.

        Orthanc's own listing names an instance by its series only, so the levels above are read first and joined here. The MD5
        is left empty, because it would cost a request each. An instance whose UIDs are none is left out: no manifest names it.

        Raises
        ------
        ArchiveError
            Something else than Orthanc's listing came.
        """
        parents = self._parents(page_size)
        for number, entry in enumerate(self._pages("instances", page_size)):
            series, size_bytes = str(entry.get("ParentSeries")), entry.get("FileSize")
            if series not in parents:
                parents = self._parents(page_size)  # a series that came while the listing was running
                if series not in parents:
                    raise ArchiveError(f"{self._connection.url}: expected a series for instance {number}, found none.")
            try:
                yield Instance.parse(
                    {
                        **parents[series],
                        "orthanc_instance_id": entry.get("ID", ""),
                        "sop_instance_uid": _tag(entry, "SOPInstanceUID"),
                        "size_bytes": size_bytes if type(size_bytes) is int else 0,
                    }
                )
            except RecordError:
                continue

    def _parents(self, page_size: int) -> dict[str, dict[str, str]]:
        """Series id → what an instance inherits from its series, study and patient."""
        patients = {str(entry.get("ID")): _tag(entry, "PatientID") for entry in self._pages("patients", page_size)}
        studies = {
            str(entry.get("ID")): {
                "patient_id": patients.get(str(entry.get("ParentPatient")), ""),
                "study_instance_uid": _tag(entry, "StudyInstanceUID"),
            }
            for entry in self._pages("studies", page_size)
        }
        return {
            str(entry.get("ID")): {
                **studies.get(str(entry.get("ParentStudy")), {}),
                "series_instance_uid": _tag(entry, "SeriesInstanceUID"),
                "modality": _tag(entry, "Modality"),
            }
            for entry in self._pages("series", page_size)
        }

    def _pages(self, level: str, page_size: int) -> Iterator[Mapping[str, Any]]:
        since = 0
        while True:
            path = f"/{level}?expand&since={since}&limit={page_size}"
            page = self._json(path)
            if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
                raise ArchiveError(f"{self._connection.url}{path}: expected a list of objects, got other JSON.")
            yield from page
            if len(page) < page_size:
                return
            since += page_size

    def _id(self, reference: ObjectReference) -> str:
        """Orthanc's id of an instance: the one that the reference has, else looked up by SOP Instance UID."""
        if reference.orthanc_instance_id:
            return reference.orthanc_instance_id
        if not reference.sop_instance_uid:
            raise InstanceNotFoundError(f"{reference}: this refers to no single instance of an Orthanc.")
        found = self._post_json("/tools/lookup", reference.sop_instance_uid)
        ids = [entry.get("ID") for entry in found if isinstance(entry, dict) and entry.get("Type") == "Instance"]
        if not ids:
            raise InstanceNotFoundError(f"{reference}: the archive holds no such instance.")
        if len(ids) > 1:
            raise ArchiveError(
                f"{reference}: the archive holds {len(ids)} instances with this SOP Instance UID, under different patients, "
                "studies or series. Name the one that is meant by its Orthanc id."
            )
        if not is_orthanc_id(str(ids[0])):
            raise ArchiveError(f"{self._connection.url}/tools/lookup: expected an instance id, got {str(ids[0])[:60]!r}.")
        return str(ids[0])

    def _post_json(self, path: str, text: str) -> list[Any]:
        answer = self._connection.request("POST", path, Body(text.encode(), "application/json"))
        found = self._decode(path, answer.body)
        if not isinstance(found, list):
            raise ArchiveError(f"{self._connection.url}{path}: expected a list, got other JSON.")
        return found

    def _json(self, path: str, *, retry: bool = True) -> Any:
        return self._decode(path, self._connection.request("GET", path, retry=retry).body)

    def _decode(self, path: str, body: bytes) -> Any:
        try:
            return parse_json(body.decode())
        except ValueError:
            raise ArchiveError(
                f"{self._connection.url}{path}: expected JSON from Orthanc, got {body[:60]!r}. Check ORTHANC_URL: something "
                "else answers there."
            ) from None


def orthanc_id(patient_id: str, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> str:
    """Return Orthanc's instance id: SHA-1 over the four texts, as five groups of eight hexadecimal digits.

    It is known before anything is sent, so sending a file a second time does no harm.

    Parameters
    ----------
    patient_id, study_instance_uid, series_instance_uid, sop_instance_uid : str
        Values of the elements, without padding.
    """
    text = "|".join((patient_id, study_instance_uid, series_instance_uid, sop_instance_uid))
    digest = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _tag(entry: Mapping[str, Any], name: str) -> str:
    tags = entry.get("MainDicomTags")
    return str(tags.get(name, "")).strip() if isinstance(tags, dict) else ""
