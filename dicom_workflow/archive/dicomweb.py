"""Any DICOMweb server: QIDO-RS to search, WADO-RS to retrieve, STOW-RS to store.

`dicomweb-client` searches and retrieves frames. Whole files are streamed past it, because it holds every instance in memory.

An answer to STOW-RS with status 200 may name failed instances, one with status 400 may follow a success, and no server tells a
checksum. So success is only what was read back; `streams.same_content` says what counts as the same image.

References
----------
PS3.18 10.4 (retrieve), 10.5 (store), 10.6 (search).
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, TypeVar

import requests
import retrying
from dicomweb_client.web import DICOMwebClient

from dicom_workflow.archive.authorization import Authorize, basic_auth, requests_session
from dicom_workflow.archive.http import RETRY_SECONDS, Answer, Connection
from dicom_workflow.archive.protocol import ALREADY_THERE, READ_BACK_CONTENT, STORED, DicomFile, ReadBack, StoreResult
from dicom_workflow.archive.streams import Body, Piece, first_part, opened, same_bytes, same_content, write_pieces
from dicom_workflow.dicom.inspection import inspect
from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
    NotDicomError,
    RecordError,
)
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.formats.object_reference import ObjectReference

_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_DICOM_JSON = "application/dicom+json"
_FIELDS = ["PatientID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
_SPOOL_BYTES = 16 << 20
_DUPLICATE = 0x0111
_CANNOT_UNDERSTAND = range(0xC000, 0xD000)
"""Failure reasons: an instance that the server has already; a file that it cannot read (PS3.7 C.5.7, PS3.18 I.2.2)."""
_REFUSED_STATUSES = (202, 400, 409)
"""Statuses of STOW-RS with lists of stored and failed instances (PS3.18 10.5.3)."""

_T = TypeVar("_T")


class DicomWebArchive:
    """The instances of one DICOMweb server; safe for several threads.

    Parameters
    ----------
    url : str
        Base URL, for example ``https://pacs.example.org/dicom-web``.
    authorize : callable, optional
        Gives the headers that authorize a request; see `authorization.dicomweb_auth`.
    timeout_seconds, ca_bundle, retry_seconds
        As for `http.Connection`.
    """

    verification = READ_BACK_CONTENT

    def __init__(
        self,
        url: str,
        *,
        authorize: Authorize | None = None,
        timeout_seconds: float = 60.0,
        ca_bundle: str = "",
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        options: dict[str, Any] = {"timeout_seconds": timeout_seconds, "ca_bundle": ca_bundle, "retry_seconds": retry_seconds}
        self._connection = Connection(url, authorize=authorize, setting="DICOMWEB", **options)
        self._session = requests_session(authorize or basic_auth("", None), ca_bundle)
        self._client = DICOMwebClient(self._connection.url, self._session, timeout=timeout_seconds)
        self._client.set_http_retry_params(retry=True, max_attempts=5, wait_exponential_multiplier=100)

    def __repr__(self) -> str:
        return f"DicomWebArchive({self._connection.url!r})"

    def close(self) -> None:
        """Close idle connections; the archive can still be used afterwards."""
        self._connection.close()
        self._session.close()

    def check(self) -> str:
        """Return what answers there, once it has answered a search.

        Raises
        ------
        ArchiveError
            Something else than a DICOMweb server answers.
        """
        answer = self._connection.request("GET", "/studies?limit=1", headers={"Accept": _DICOM_JSON}, retry=False)
        try:
            studies = parse_json(answer.body.decode()) if answer.body else []  # 204: there is none
        except ValueError:
            studies = None
        if not isinstance(studies, list):
            raise ArchiveError(
                f"{self._connection.url}/studies: expected a list of studies, got {answer.body[:60]!r}. Check DICOMWEB_URL: it "
                "ends where /studies follows."
            )
        return f"DICOMweb server at {self._connection.url}"

    def store_instance(self, file: DicomFile, instance: Instance | None = None) -> StoreResult:
        """Store one DICOM file; when the server has an instance of its UIDs, nothing is sent.

        Raises
        ------
        NotDicomError
            The server cannot read the file.
        ArchiveError
            The server did not store it, for a reason of its own.
        """
        reference = (instance or inspect(file).to_instance("")).reference
        if self._holds(reference):
            return StoreResult(reference, ALREADY_THERE)
        boundary = uuid.uuid4().hex
        body = Body(
            file,
            f'multipart/related; type="application/dicom"; boundary={boundary}',
            head=f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
            tail=f"\r\n--{boundary}--\r\n".encode(),
        )
        path = f"/studies/{reference.study_instance_uid}"
        answer = self._connection.request("POST", path, body, headers={"Accept": _DICOM_JSON}, expected=_REFUSED_STATUSES)
        return StoreResult(reference, self._status(reference, answer))

    def _status(self, reference: ObjectReference, answer: Answer) -> str:
        """`STORED` or `ALREADY_THERE` by what the server says of the instance; reading it back has the last word."""
        try:
            said = parse_json(answer.body.decode())
        except ValueError:
            said = None
        if reference.sop_instance_uid in [_first(item, "00081155") for item in _items(said, "00081199")]:
            return STORED
        failed = [_number(_first(item, "00081197")) for item in _items(said, "00081198")]
        if _DUPLICATE in failed:
            return ALREADY_THERE
        message = f"HTTP {answer.status}, failure reason {', '.join(f'{code:04X}' for code in failed) or 'not given'}"
        if any(code in _CANNOT_UNDERSTAND for code in failed) or (answer.status == 400 and not failed):
            raise NotDicomError(f"the archive could not read the file as DICOM ({message}).")
        if failed or answer.status not in range(200, 300):
            raise ArchiveError(
                f"{reference}: the archive did not store the instance ({message}). See PS3.18 I.2.2 and its log."
            )
        return STORED

    def _holds(self, reference: ObjectReference) -> bool:
        path = f"/studies/{reference.study_instance_uid}/series/{reference.series_instance_uid}/instances"
        asked = f"{path}?SOPInstanceUID={reference.sop_instance_uid}&limit=1"
        answer = self._connection.request("GET", asked, headers={"Accept": _DICOM_JSON}, expected=(404,))
        return answer.status == 200 and reference.sop_instance_uid.encode() in answer.body

    def compare(self, reference: ObjectReference, file: DicomFile) -> ReadBack:
        """Read the server's copy back and compare it with a file, see `streams.same_content`."""
        path = f"/{self._located(reference).to_source()}"
        if self._connection.stream(path, lambda pieces, headers: same_bytes(_file(pieces, headers), file), accept=_DICOM):
            return ReadBack(equal=True)
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as copy:
            md5 = self.retrieve_to(reference, copy)
            try:
                with opened(file) as sent:
                    return ReadBack(same_content(sent, copy), md5)
            except Exception:  # noqa: BLE001  # whatever the server sent in its place, it is not this image
                return ReadBack(equal=False, md5=md5)

    def md5(self, reference: ObjectReference) -> str:
        """Return the MD5 of the file as the server returns it; the whole file is read for that."""
        with tempfile.TemporaryFile() as copy:
            return self.retrieve_to(reference, copy)

    def retrieve_instance(self, reference: ObjectReference) -> bytes:
        """Return one DICOM file as the server returns it, in the transfer syntax in which it is stored."""
        stream = io.BytesIO()
        self.retrieve_to(reference, stream)
        return stream.getvalue()

    def retrieve_to(self, reference: ObjectReference, stream: IO[bytes]) -> str:
        """Write one DICOM file to a stream, as `retrieve_instance` returns it, and return its MD5.

        Raises
        ------
        ArchiveError
            Something else than a DICOM file came.
        """
        path = f"/{self._located(reference).to_source()}"
        md5, start, _ = self._connection.stream(
            path, lambda pieces, headers: write_pieces(_file(pieces, headers), stream), accept=_DICOM
        )
        if start[128:132] != b"DICM":
            raise ArchiveError(f"{self._connection.url}{path}: expected a DICOM file, got {start[:60]!r}.")
        return md5

    def retrieve_frames(self, reference: ObjectReference, frame_numbers: Sequence[int]) -> list[bytes]:
        """Return frames as the server has them stored, in one request."""
        found = self._located(reference)
        uids = (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid)
        asked: dict[str, Any] = {"frame_numbers": list(frame_numbers), "media_types": (("application/octet-stream", "*"),)}
        return self._ask(reference, lambda: list(self._client.iter_instance_frames(*uids, **asked)))

    def search_for_instances(self, page_size: int = 1000) -> Iterator[Instance]:
        """Yield every instance; size and MD5 are left out, because no server tells them.

        A server that searches for instances only within a series is asked level by level. An instance whose UIDs are none is
        left out: no manifest names it.
        """
        try:
            found = self._pages({}, page_size)
            first = next(found, None)
        except (ArchiveUnavailableError, ArchiveCredentialsError):
            raise
        except ArchiveError:
            first, found = None, self._search_level_by_level(page_size)
        yield from (first,) if first else ()
        yield from found

    def _search_level_by_level(self, page_size: int) -> Iterator[Instance]:
        for study in self._entries(self._client.search_for_studies, {}, page_size):
            of_study = {"study_instance_uid": _first(study, "0020000D")}
            for series in self._entries(self._client.search_for_series, of_study, page_size):
                yield from self._pages(
                    {**of_study, "series_instance_uid": _first(series, "0020000E")}, page_size, study, series
                )

    def _pages(self, of: Mapping[str, str], page_size: int, *parents: Mapping[str, Any]) -> Iterator[Instance]:
        for entry in self._entries(self._client.search_for_instances, of, page_size):
            joined = {tag: value for level in (*parents, entry) if isinstance(level, Mapping) for tag, value in level.items()}
            try:
                yield Instance.parse(
                    {
                        "sop_instance_uid": _first(joined, "00080018"),
                        "series_instance_uid": _first(joined, "0020000E"),
                        "study_instance_uid": _first(joined, "0020000D"),
                        "patient_id": _first(joined, "00100020"),
                        "modality": _first(joined, "00080060"),
                    }
                )
            except RecordError:
                continue

    def _entries(self, search: Callable[..., Any], of: Mapping[str, str], page_size: int) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all pages of a search; a server may give shorter pages than it was asked for."""
        seen: set[str] = set()
        offset = 0
        while True:
            options = {**of, "limit": page_size, "offset": offset, "fields": _FIELDS}
            page = self._ask(None, lambda: search(**options))  # noqa: B023  # called at once
            new = {key: entry for entry in page if (key := json.dumps(entry, sort_keys=True)) not in seen}
            if not new:  # the end, or a server that knows no offset
                return
            yield from new.values()
            seen = set(new)
            offset += len(page)

    def missing(self, references: Iterable[ObjectReference]) -> list[ObjectReference]:
        """Return the references of which the server has no instance now; each series is searched once."""
        asked = list(references)
        held: dict[tuple[str, str], set[str]] = {}
        for key in {(item.study_instance_uid, item.series_instance_uid) for item in asked}:
            of = {"study_instance_uid": key[0], "series_instance_uid": key[1]}
            try:
                held[key] = {instance.sop_instance_uid for instance in self._pages(of, 1000)}
            except InstanceNotFoundError:
                held[key] = set()
        return [item for item in asked if item.sop_instance_uid not in held[item.study_instance_uid, item.series_instance_uid]]

    def delete_instance(self, reference: ObjectReference) -> None:
        """Remove one instance for good, where the server lets clients delete (PS3.18 does not ask it to).

        Raises
        ------
        ArchiveError
            It does not.
        """
        path = f"/{self._located(reference).to_source()}"
        if self._connection.request("DELETE", path, expected=(405, 501)).status in (405, 501):
            raise ArchiveError(f"{self._connection.url}: this server deletes nothing over DICOMweb. Delete it where it is run.")

    def _located(self, reference: ObjectReference) -> ObjectReference:
        """The reference with study and series, searched for by SOP Instance UID where they are unknown."""
        uid = reference.sop_instance_uid
        if not uid:
            raise InstanceNotFoundError(f"{reference}: a DICOMweb server finds instances by UID, not by another server's id.")
        if reference.study_instance_uid and reference.series_instance_uid:
            return ObjectReference(reference.study_instance_uid, reference.series_instance_uid, uid)
        options: dict[str, Any] = {"search_filters": {"SOPInstanceUID": uid}, "fields": _FIELDS}
        for entry in self._ask(reference, lambda: self._client.search_for_instances(**options)):
            study, series = _first(entry, "0020000D"), _first(entry, "0020000E")
            with contextlib.suppress(RecordError):  # what a server says stands in a path only where it is a UID
                if _first(entry, "00080018") == uid:
                    return ObjectReference.parse(f"studies/{study}/series/{series}/instances/{uid}")
        raise InstanceNotFoundError(f"{reference}: the archive holds no such instance.")

    def _ask(self, reference: ObjectReference | None, call: Callable[[], _T]) -> _T:
        """Return what a call of the client returns; its errors become those of an archive."""
        url = self._connection.url
        try:
            return call()
        except requests.TooManyRedirects:
            raise ArchiveError(f"{url}: expected an answer, got a redirect. Set DICOMWEB_URL to the final address.") from None
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise ArchiveCredentialsError(f"{url}: the archive answers, but not to this user (HTTP {status}).") from None
            if status == 404 or (status == 400 and reference is not None):
                raise InstanceNotFoundError(f"{reference or url}: the archive holds no such instance or frame.") from None
            raise ArchiveError(f"{url}: the archive answered HTTP {status} to a search or retrieval.") from None
        except (requests.ConnectionError, requests.Timeout, retrying.RetryError) as error:
            raise ArchiveUnavailableError(
                f"{url}: the archive does not answer ({type(error).__name__}). Start it, or check DICOMWEB_URL and the network."
            ) from error
        except (requests.RequestException, ValueError, RecursionError) as error:
            raise ArchiveError(f"{url}: expected DICOM JSON, got something else ({error}). Check DICOMWEB_URL.") from error


def _file(pieces: Iterator[Piece], headers: Mapping[str, str]) -> Iterator[Piece]:
    return first_part(pieces, headers.get("Content-Type", ""))


def _items(dataset: object, tag: str) -> list[Mapping[str, Any]]:
    """The items of a sequence in the DICOM JSON model (PS3.18 F.2)."""
    element = dataset.get(tag) if isinstance(dataset, Mapping) else None
    value = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _first(dataset: Mapping[str, Any], tag: str) -> str:
    """The first value of an element in the DICOM JSON model; empty when there is none."""
    element = dataset.get(tag) if isinstance(dataset, Mapping) else None
    value = element.get("Value") if isinstance(element, Mapping) else None
    return str(value[0]).strip() if isinstance(value, list) and value and value[0] is not None else ""


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
