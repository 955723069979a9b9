"""Orthanc over its own REST interface.

What Orthanc answers is never taken for more than it says: ``Success`` and ``AlreadyStored`` speak of an identity, not of bytes,
and a proxy may answer for it with a page of its own. Sending an instance twice is harmless, because Orthanc's id is a hash of
what identifies the instance and it never overwrites.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dicom_workflow.archive.http import PATIENCE_SECONDS, Connection
from dicom_workflow.archive.protocol import ALREADY_THERE, STORED, StoreResult
from dicom_workflow.dicom.inspection import md5_of
from dicom_workflow.errors import ArchiveError, InstanceNotFoundError, VerificationError
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.object_reference import ObjectReference, is_orthanc_id
from dicom_workflow.settings import Secret

_MD5 = re.compile(r"[0-9a-f]{32}")
_STATUS = {"Success": STORED, "AlreadyStored": ALREADY_THERE}
_RETRIEVALS = 3


class OrthancArchive:
    """The instances of one Orthanc server; safe for several threads.

    Parameters
    ----------
    url, user, password, timeout_seconds, ca_bundle, patience_seconds
        As for `connection.Connection`.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: Secret | None = None,
        timeout_seconds: float = 60.0,
        ca_bundle: str = "",
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._connection = Connection(
            url,
            user=user,
            password=password,
            timeout_seconds=timeout_seconds,
            ca_bundle=ca_bundle,
            patience_seconds=patience_seconds,
        )

    def __repr__(self) -> str:
        return f"OrthancArchive({self._connection.url!r})"

    def close(self) -> None:
        """Close idle connections; the archive can still be used afterwards."""
        self._connection.close()

    def check(self) -> str:
        """Return Orthanc's name and version."""
        system = self._json("/system", patient=False)
        if not isinstance(system, dict) or "Version" not in system:
            raise ArchiveError(f"{self._connection.url}/system: expected Orthanc's description, got other JSON.")
        return f"Orthanc {system['Version']} at {self._connection.url}"

    def store_instance(self, data: bytes) -> StoreResult:
        """Store one DICOM file."""
        answer = self._connection.request("POST", "/instances", data, content_type="application/dicom")
        said = self._decode("/instances", answer.body)
        identifier = said.get("ID") if isinstance(said, dict) else None
        status = _STATUS.get(str(said.get("Status"))) if isinstance(said, dict) else None
        if not isinstance(identifier, str) or not is_orthanc_id(identifier) or status is None:
            raise ArchiveError(
                f"{self._connection.url}/instances: expected an id and Success or AlreadyStored, got {str(said)[:160]!r}."
            )
        if status == ALREADY_THERE and answer.attempts > 1:
            status = STORED  # the answer to the first attempt was lost on its way
        return StoreResult(ObjectReference(orthanc_instance_id=identifier), status)

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 that Orthanc computed of the file when it came in."""
        path = f"/instances/{self._id(reference)}/attachments/dicom/md5"
        text = self._connection.request("GET", path).body.decode("utf-8", "replace").strip()
        if not _MD5.fullmatch(text):
            raise ArchiveError(f"{self._connection.url}{path}: expected an MD5, got {text[:80]!r}. Check ORTHANC_URL.")
        return text

    def holds(self, reference: ObjectReference, data: bytes) -> bool:
        """Say whether the file that Orthanc gives back is, byte for byte, this one."""
        return self._connection.matches(f"/instances/{self._id(reference)}/file", data)

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one DICOM file whose MD5 is the one Orthanc keeps; what does not match is fetched again, twice at most."""
        identifier = self._id(reference)
        known = ObjectReference(orthanc_instance_id=identifier)
        for attempt in range(1, _RETRIEVALS + 1):
            expected = self.md5(known)
            data = self._connection.request("GET", f"/instances/{identifier}/file").body
            found = md5_of(data)
            if data[128:132] == b"DICM" and found == expected:
                break
            if attempt == _RETRIEVALS:
                raise VerificationError(
                    f"{reference}: expected a DICOM file with MD5 {expected}, got {len(data):,} bytes with {found}, "
                    f"beginning with {data[:16]!r}. Does a proxy answer for Orthanc?"
                )
        return data

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good."""
        self._connection.request("DELETE", f"/instances/{self._id(reference)}")

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance, at one request per `page_size` entries of each level and none per instance.

        Orthanc's own listing names an instance by its series only, so the levels above are read first and joined here. The MD5
        is left empty, because it would cost a request each.
        """
        parents = self._parents(page_size)
        for number, entry in enumerate(self._pages("instances", page_size)):
            series = entry.get("ParentSeries")
            if series not in parents:
                parents = self._parents(page_size)  # a series that came while the listing was running
                if series not in parents:
                    raise ArchiveError(f"{self._connection.url}: expected a series for instance {number}, found none.")
            yield Instance.parse(
                {
                    **parents[series],
                    "orthanc_instance_id": entry.get("ID", ""),
                    "sop_instance_uid": _tag(entry, "SOPInstanceUID"),
                    "size_bytes": int(entry.get("FileSize", 0)),
                }
            )

    def _parents(self, page_size: int) -> dict[object, dict[str, str]]:
        """Series id → what an instance inherits from its series, study and patient."""
        patients = {entry.get("ID"): _tag(entry, "PatientID") for entry in self._pages("patients", page_size)}
        studies = {
            entry.get("ID"): {
                "patient_id": patients.get(entry.get("ParentPatient"), ""),
                "study_instance_uid": _tag(entry, "StudyInstanceUID"),
            }
            for entry in self._pages("studies", page_size)
        }
        return {
            entry.get("ID"): {
                **studies.get(entry.get("ParentStudy"), {}),
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
        uid = reference.sop_instance_uid
        if not uid:
            raise InstanceNotFoundError(f"{reference}: this is no instance of an Orthanc.")
        found = self._decode("/tools/lookup", self._connection.request("POST", "/tools/lookup", uid.encode()).body)
        ids = [entry.get("ID") for entry in found if isinstance(entry, dict) and entry.get("Type") == "Instance"]
        if not ids:
            raise InstanceNotFoundError(f"{reference}: the archive holds no such instance.")
        if len(ids) > 1:
            raise ArchiveError(
                f"{reference}: the archive holds {len(ids)} instances with this SOP Instance UID, under different patients, "
                "studies or series. Name the one that is meant by its Orthanc id."
            )
        return str(ids[0])

    def _json(self, path: str, *, patient: bool = True) -> Any:
        return self._decode(path, self._connection.request("GET", path, patient=patient).body)

    def _decode(self, path: str, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError:
            raise ArchiveError(
                f"{self._connection.url}{path}: expected JSON from Orthanc, got {body[:60]!r}. Check ORTHANC_URL: something "
                "else answers there."
            ) from None


def orthanc_id(patient_id: str, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> str:
    """Return Orthanc's instance id: SHA-1 over the four texts, as five groups of eight hexadecimal digits.

    It is known before anything is sent, which is what makes sending a second time harmless.
    """
    text = "|".join((patient_id, study_instance_uid, series_instance_uid, sop_instance_uid))
    digest = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _tag(entry: Mapping[str, Any], name: str) -> str:
    tags = entry.get("MainDicomTags")
    return str(tags.get(name, "")).strip() if isinstance(tags, dict) else ""
