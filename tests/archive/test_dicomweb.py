"""DICOMweb servers of other makers: another file meta information, short pages, failures with status 200, every sign-in."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import Credentials
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from support.archive import SOP, dataset, dicom, to_bytes, write_files

from dicom_workflow.archive import open_archive
from dicom_workflow.archive.authorization import _SigV4, dicomweb_auth
from dicom_workflow.archive.dicomweb import DicomWebArchive
from dicom_workflow.archive.streams import first_part
from dicom_workflow.archive.upload import upload
from dicom_workflow.dicom.inspection import inspect, md5_of
from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    NotDicomError,
    SettingsError,
)
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.settings import Secret, Settings


class Server:
    """A DICOMweb server in memory that rewrites the file meta information, as most do, and that can be told to misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.page_limit = 3
        self.flat = True
        """Whether it searches for instances without a series."""
        self.refusal: tuple[int, dict[str, Any]] | None = None
        """Status and body of its answer to STOW-RS, instead of storing."""
        self.changes: dict[str, str] = {}
        """Elements that it changes in what it stores."""
        self.authorization = ""
        self.location = ""
        """Where it redirects every request."""
        self.nonsense = b""
        """Its answer to every search."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append((self.command, self.path, dict(self.headers)))
                if server.location:
                    self.send_response(302)
                    self.send_header("Location", server.location)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                if server.nonsense:
                    return self.answer(200, server.nonsense, "application/dicom+json")
                if server.authorization and self.headers.get("Authorization") != server.authorization:
                    return self.answer(401, b"{}", "application/json")
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                if self.command == "POST":
                    return self.answer(*server.store(body))
                found = re.fullmatch(r"/studies/[\d.]+/series/[\d.]+/instances/([\d.]+)", url.path)
                if not found:
                    return self.answer(*server.search(url.path, query))
                if found[1] not in server.files:
                    return self.answer(404, b"{}", "application/json")
                part = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + server.files[found[1]] + b"\r\n--x--"
                return self.answer(200, part, 'multipart/related; type="application/dicom"; boundary=x')

            do_GET = do_POST = do_DELETE = handle_any

            def answer(self, status: int, data: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Tests look at `Server.requests`."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def store(self, body: bytes) -> tuple[int, bytes, str]:
        if self.refusal:
            return self.refusal[0], json.dumps(self.refusal[1]).encode(), "application/dicom+json"
        data = body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]
        made = dcmread(DicomBytesIO(data))
        made.file_meta.ImplementationVersionName = "ANOTHER-MAKER"
        for name, value in self.changes.items():
            setattr(made, name, value)
        self.files[made.SOPInstanceUID] = to_bytes(made)
        stored = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [made.SOPInstanceUID]}}]}}
        return 200, json.dumps(stored).encode(), "application/dicom+json"

    def search(self, path: str, query: dict[str, str]) -> tuple[int, bytes, str]:
        if path == "/instances" and not self.flat:
            return 400, b"{}", "application/json"
        tags = {"studies": "StudyInstanceUID", "series": "SeriesInstanceUID", "instances": "SOPInstanceUID"}
        given = dict(re.findall(r"(studies|series)/([\d.]+)", path))
        level = path.rpartition("/")[2]
        rows: dict[str, dict[str, Any]] = {}
        for data in self.files.values():
            made = dcmread(DicomBytesIO(data), stop_before_pixels=True)
            wanted = {tags[name]: uid for name, uid in given.items()}
            wanted |= {"SOPInstanceUID": query["SOPInstanceUID"]} if "SOPInstanceUID" in query else {}
            if all(made[name].value == uid for name, uid in wanted.items()):
                known = {"studies": 1, "series": 2, "instances": 3}[level]
                names = ["PatientID", *tags.values()][: known + 1] + (["Modality"] if known > 1 else [])
                elements = [made[name] for name in names]
                row = {f"{element.tag:08X}": {"vr": element.VR, "Value": [element.value]} for element in elements}
                rows[made[tags[level]].value] = row
        page = list(rows.values())[int(query.get("offset", 0)) :]
        limit = min(self.page_limit, int(query.get("limit", 1000)))
        return 200, json.dumps(page[:limit]).encode(), "application/dicom+json"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


@pytest.fixture
def archive(server: Server) -> Iterator[DicomWebArchive]:
    with contextlib.closing(DicomWebArchive(server.url, retry_seconds=0.3)) as made:
        yield made


def test_a_server_with_its_own_file_meta_information_is_verified_by_content(
    server: Server, archive: DicomWebArchive, tmp_path: Path
) -> None:
    files = write_files(tmp_path, 4)
    report = upload(tmp_path, archive, progress=False)
    assert report.counts == {"stored": 4}
    assert report.verification == "read-back-content"
    for path, instance in zip(files, report.instances, strict=True):
        assert path.read_bytes() != server.files[instance.sop_instance_uid]
        assert instance.md5 == md5_of(server.files[instance.sop_instance_uid]), "of the file that later downloads will get"
    assert upload(tmp_path, archive, progress=False).counts == {"already there": 4}


@pytest.mark.parametrize("changes", [{"PatientID": "CHANGED"}, {"PixelData": bytes(256)}, {"ImageComments": "added"}])
def test_a_server_that_changes_an_element_or_a_pixel_is_noticed(
    server: Server, archive: DicomWebArchive, tmp_path: Path, changes: dict[str, str]
) -> None:
    server.changes = changes
    report = upload(write_files(tmp_path, 1), archive, progress=False)
    assert report.counts == {"failed": 1}
    assert "the archive changed the file" in report.outcomes[0].reason


def test_other_bytes_under_a_known_uid_are_a_conflict_and_nothing_is_sent(
    server: Server, archive: DicomWebArchive, tmp_path: Path
) -> None:
    upload(write_files(tmp_path / "a", 1), archive, progress=False)
    before = dict(server.files)
    report = upload(write_files(tmp_path / "b", 1, seed=9), archive, progress=False)
    assert report.counts == {"conflict": 1}
    assert server.files == before
    assert sum(method == "POST" for method, *_ in server.requests) == 1


@pytest.mark.parametrize("flat", [True, False])
def test_short_pages_and_servers_that_search_within_a_series_only_are_listed_whole(
    server: Server, archive: DicomWebArchive, flat: bool
) -> None:
    for number in range(8):
        archive.store_instance(dicom(number, patient_id=f"P{number % 2 + 1}"))
    server.flat = flat
    found = list(archive.search_for_instances(page_size=100))
    assert sorted(instance.sop_instance_uid for instance in found) == [f"{SOP}.{number}" for number in range(8)]
    assert {(instance.patient_id, instance.modality) for instance in found} == {("P1", "DX"), ("P2", "DX")}
    assert archive.missing(instance.reference for instance in found) == []


def failed(reason: int) -> dict[str, Any]:
    item = {"00081155": {"vr": "UI", "Value": [f"{SOP}.0"]}, "00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (200, failed(0x0110), ArchiveError, "did not store the instance .HTTP 200, failure reason 0110"),
        (202, failed(0xA700), ArchiveError, "HTTP 202, failure reason A700"),
        (409, failed(0x0122), ArchiveError, "HTTP 409, failure reason 0122"),
        (409, failed(0xC122), NotDicomError, "HTTP 409, failure reason C122"),
        (400, {}, NotDicomError, "HTTP 400, failure reason not given"),
    ],
)
def test_a_status_is_not_believed_but_the_list_of_failures_is(
    server: Server, archive: DicomWebArchive, status: int, body: dict[str, Any], error: type[Exception], message: str
) -> None:
    server.refusal = status, body
    with pytest.raises(error, match=message):
        archive.store_instance(dicom())


def test_a_server_that_claims_to_have_stored_is_read_back(server: Server, archive: DicomWebArchive, tmp_path: Path) -> None:
    server.refusal = 200, {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [f"{SOP}.0"]}}]}}
    report = upload(write_files(tmp_path, 1), archive, progress=False)
    assert report.counts == {"failed": 1}
    assert "no such instance" in report.outcomes[0].reason


def test_every_way_to_sign_in_sends_its_header(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {
        "Basic dXNlcjpzZWNyZXQ=": dicomweb_auth(user="user", password=Secret("secret")),
        "Bearer the-token": dicomweb_auth(token=Secret("the-token")),
    }
    for header, authorize in ways.items():
        server.authorization = header
        with contextlib.closing(DicomWebArchive(server.url, authorize=authorize)) as archive:
            assert archive.check() == f"DICOMweb server at {server.url}"
            reference = archive.store_instance(dicom()).reference
            assert archive.missing([reference]) == []
        with contextlib.closing(DicomWebArchive(server.url)) as stranger:
            with pytest.raises(ArchiveCredentialsError, match=r"HTTP 401.*DICOMWEB_USER"):
                stranger.check()
            with pytest.raises(ArchiveCredentialsError, match="HTTP 401"):
                list(stranger.search_for_instances())


def test_requests_to_healthimaging_are_signed_with_their_body(server: Server) -> None:
    sign = _SigV4("eu-central-1", Credentials("AKIDEXAMPLE", "secret", "session"))
    with contextlib.closing(DicomWebArchive(server.url, authorize=sign)) as archive:
        archive.store_instance(dicom())
        assert len(list(archive.search_for_instances())) == 1
    for method, _, headers in server.requests:
        assert "/eu-central-1/medical-imaging/aws4_request, SignedHeaders=host;" in headers["Authorization"]
        assert headers["X-Amz-Security-Token"] == "session"
        assert ("x-amz-content-sha256" in headers["Authorization"]) == (method == "POST")


def test_credentials_do_not_follow_a_redirect(server: Server) -> None:
    server.location = f"{server.url.replace('127.0.0.1', 'localhost')}/elsewhere"
    sign = _SigV4("eu-central-1", Credentials("AKIDEXAMPLE", "secret", "session"))
    with contextlib.closing(DicomWebArchive(server.url, authorize=sign, retry_seconds=0.3)) as archive:
        reference = inspect(dicom()).to_instance("").reference
        for ask in (archive.check, lambda: list(archive.search_for_instances()), lambda: archive.md5(reference)):
            with pytest.raises(ArchiveError, match=r"got a redirect.* Set DICOMWEB_URL to the final address"):
                ask()
    assert not [path for _, path, _ in server.requests if path.startswith("/elsewhere")]


@pytest.mark.parametrize(
    "said",
    [
        b"[1, [], null]",
        b"[" * 50_000,
        b"{}",
        b'[{"00080018": 1}]',
        b'[{"00080018": {"Value": ["1.2.3"]}, "0020000D": {"Value": ["../../admin"]}, "0020000E": {"Value": ["1?x="]}}]',
    ],
)
def test_what_a_server_says_is_no_traceback_and_no_address(server: Server, archive: DicomWebArchive, said: bytes) -> None:
    server.nonsense = said
    with contextlib.suppress(ArchiveError):
        assert list(archive.search_for_instances()) == []
    with pytest.raises(ArchiveError):
        archive.retrieve_instance(ObjectReference(sop_instance_uid="1.2.3"))
    with contextlib.suppress(ArchiveError):
        archive.check()
    assert {urlsplit(path).path for _, path, _ in server.requests} <= {"/instances", "/studies"}


@pytest.mark.parametrize("failure", [{"Value": ["x"]}, {"Value": ["9" * 5000]}, {}, 1])
def test_a_failure_without_a_reason_is_one_all_the_same(server: Server, archive: DicomWebArchive, failure: object) -> None:
    server.refusal = 409, {"00081198": {"Value": [{"00081197": failure}]}}
    with pytest.raises(ArchiveError, match=r"the archive did not store the instance .HTTP 409, failure reason 0000"):
        archive.store_instance(dicom())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "kerberos"}, "DICOMWEB_AUTH: expected one of basic, bearer, sigv4 or nothing, got 'kerberos'"),
        ({"kind": "bearer"}, "DICOMWEB_TOKEN is empty"),
        ({"kind": "basic"}, "DICOMWEB_USER is empty"),
        ({"token": Secret("the-token\n")}, "^DICOMWEB_TOKEN holds a line break or another character that no token has"),
        ({"token": Secret("the-töken")}, "^DICOMWEB_TOKEN holds a line break or another character that no token has"),
    ],
)
def test_sign_in_without_what_it_needs_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dicomweb_auth(**options)


def test_settings_name_the_server(tmp_path: Path, server: Server) -> None:
    given = {"ARCHIVE": "dicomweb", "DICOMWEB_URL": f"{server.url}/", "DICOMWEB_TOKEN": "the-token"}
    settings = Settings.from_env({"DICOM_WORKFLOW_WORKSPACE": str(tmp_path), **given})
    assert settings.names_archive
    assert "the-token" not in repr(settings)
    server.authorization = "Bearer the-token"
    assert open_archive(settings).check() == f"DICOMweb server at {server.url}"
    with pytest.raises(SettingsError, match="DICOMWEB_URL is empty"):
        open_archive(settings.with_(dicomweb_url=""))


def test_nothing_or_something_else_answers(server: Server) -> None:
    archive = DicomWebArchive("http://127.0.0.1:9", retry_seconds=0.2)
    for call in (archive.check, lambda: archive.store_instance(dicom())):
        with pytest.raises(ArchiveUnavailableError, match=r"does not answer \(.*refused\).*DICOMWEB_URL"):
            call()
    with pytest.raises(ArchiveError, match=r"HTTP 404|HTTP 400|expected"):
        DicomWebArchive(f"{server.url}/wrong", retry_seconds=0.2).retrieve_instance(inspect(dicom()).to_instance("").reference)


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 10_000])
def test_the_part_of_a_multipart_message_is_found_however_the_pieces_are_cut(piece_bytes: int) -> None:
    content = b"\r\n--bou\r\n" + bytes(range(256)) + b"\r\n"
    for preamble in (b"", b"preamble\r\n"):
        message = preamble + b"--boundary\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--boundary--\r\n"
        pieces = (message[start : start + piece_bytes] for start in range(0, len(message), piece_bytes))
        assert b"".join(first_part(pieces, 'multipart/related; boundary="boundary"; type="application/dicom"')) == content
    for broken in (b"", b"<html>Sign in</html>", message[:-20]):
        with pytest.raises(ArchiveError, match="multipart message"):
            b"".join(first_part([broken], "multipart/related; boundary=boundary"))
    assert b"".join(first_part([b"DICM"], "application/dicom")) == b"DICM"


def test_a_dataset_is_compared_by_its_elements_whatever_their_group_lengths(server: Server, archive: DicomWebArchive) -> None:
    made = dataset()
    made.add_new(0x00080000, "UL", 100)
    data = to_bytes(made)
    reference = archive.store_instance(data).reference
    server.files[reference.sop_instance_uid] = dicom()
    assert archive.compare(reference, data).equal
