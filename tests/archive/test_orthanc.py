"""The real Orthanc, and what may stand between it and us: gone, restarted, another password, a proxy with pages of its own."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.archive import dicom, open_orthanc, proxy, write_files

from dicom_workflow.archive.download import retrieve
from dicom_workflow.archive.orthanc import OrthancArchive, orthanc_id
from dicom_workflow.archive.orthanc_process import OrthancServer, find_orthanc
from dicom_workflow.archive.upload import upload
from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    SettingsError,
    VerificationError,
)
from dicom_workflow.formats.object_reference import ObjectReference
from dicom_workflow.settings import Secret

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with OrthancServer(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def archive(server: OrthancServer) -> Iterator[OrthancArchive]:
    with contextlib.closing(open_orthanc(server)) as made:
        yield made
        for instance in list(made.search_for_instances()):
            made.delete_instance(instance.reference)


def test_nothing_answers(tmp_path: Path) -> None:
    archive = OrthancArchive("http://127.0.0.1:9", retry_seconds=0.3)
    for call in (archive.check, lambda: archive.store_instance(dicom()), lambda: list(archive.search_for_instances())):
        with pytest.raises(ArchiveUnavailableError, match=r"http://127.0.0.1:9: the archive does not answer \(.*refused"):
            call()
    with pytest.raises(ArchiveUnavailableError, match="Start it, or check ORTHANC_URL"):
        upload(write_files(tmp_path, 1), archive)


def test_another_password_is_said_and_never_shown(server: OrthancServer) -> None:
    archive = OrthancArchive(server.url, user=server.user, password=Secret("not-the-password"))
    with pytest.raises(ArchiveCredentialsError, match=r"not to this user \(HTTP 401\). Check ORTHANC_USER") as caught:
        archive.check()
    assert "not-the-password" not in str(caught.value) + repr(archive)
    with pytest.raises(ArchiveCredentialsError):
        list(archive.search_for_instances())


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://user:secret@host"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ORTHANC_URL: (expected|it must not hold)") as caught:
        OrthancArchive(url)
    assert "secret" not in str(caught.value)


def test_the_listing_costs_one_request_per_page_of_each_level(server: OrthancServer, archive: OrthancArchive) -> None:
    for number in range(12):
        archive.store_instance(dicom(number, patient_id=f"P{number % 3}"))
    with proxy(server.url) as between, contextlib.closing(open_orthanc(server, between.url)) as through:
        assert len(list(through.search_for_instances())) == 12
        assert between.requests == [
            ("GET", f"/{level}?expand&since=0&limit=1000") for level in ("patients", "studies", "series", "instances")
        ]
        between.requests.clear()
        assert len(list(through.search_for_instances(page_size=5))) == 12
        assert len(between.requests) == 1 + 1 + 1 + 3


def test_a_file_costs_two_requests_once_it_is_known_that_orthanc_does_not_overwrite(
    server: OrthancServer, archive: OrthancArchive, tmp_path: Path
) -> None:
    files = write_files(tmp_path, 6)
    with proxy(server.url) as between, contextlib.closing(open_orthanc(server, between.url)) as through:
        assert upload(files, through, workers=1, progress=False).ok
        check, question, sent_twice, final_look = 1, 1, 1, 1
        assert len(between.requests) == check + question + sent_twice + 2 * 6 + final_look


@pytest.mark.parametrize("fault", ["html", "302", "404"])
def test_something_else_answers_in_its_place(server: OrthancServer, fault: str) -> None:
    with proxy(server.url, lambda *_: fault) as between, contextlib.closing(open_orthanc(server, between.url)) as through:
        for call in (through.check, lambda: list(through.search_for_instances())):
            with pytest.raises(ArchiveError, match=r"expected (JSON from Orthanc|an answer|HTTP 200), got"):
                call()


def test_a_page_in_place_of_an_image_is_an_error(server: OrthancServer, archive: OrthancArchive, tmp_path: Path) -> None:
    data = dicom()
    identifier = archive.store_instance(data).reference
    with (
        proxy(server.url, lambda _, __, path: "html" if path.endswith("/file") else "") as between,
        contextlib.closing(open_orthanc(server, between.url)) as through,
    ):
        with pytest.raises(VerificationError, match="beginning with b'<html>"):
            through.retrieve_instance(identifier)
        assert not through.compare(identifier, data).equal
        report = retrieve(archive.search_for_instances(), through, tmp_path / "out", progress=False)
        assert report.counts == {"failed": 1}
        assert not list((tmp_path).rglob("*.dcm"))


@pytest.mark.parametrize("fault", ["html", "503", "500", "401", "short", "cut", "reset"])
def test_wrong_answers_now_and_then_change_nothing(
    server: OrthancServer, archive: OrthancArchive, tmp_path: Path, fault: str
) -> None:
    """One answer in seven is wrong; every file arrives, is fetched, and none is wrong."""
    files = write_files(tmp_path / "files", 20)
    faults = lambda number, method, path: fault if number % 7 == 5 and path.endswith("/file") else ""  # noqa: E731
    with proxy(server.url, faults) as between, contextlib.closing(open_orthanc(server, between.url)) as through:
        sent = upload(files, through, workers=3, progress=False)
        assert sent.counts == {"stored": 20}
        fetched = retrieve(sent.instances, through, tmp_path / "out", workers=3, progress=False)
        assert fetched.counts == {"retrieved": 20}
    by_name = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for path, item in zip(files, sent.outcomes, strict=True):
        assert item.instance
        assert by_name[f"{item.instance.sop_instance_uid}.dcm"] == path.read_bytes()


@pytest.mark.parametrize("fault", ["reset", "drop", "503"])
def test_a_request_or_its_answer_lost_on_the_way_is_sent_again(
    server: OrthancServer, archive: OrthancArchive, tmp_path: Path, fault: str
) -> None:
    """One POST in four; what the archive then calls AlreadyStored is ours, and reported as stored."""
    files = write_files(tmp_path, 24)
    posts = iter(range(1000))
    faults = lambda _, method, path: fault if method == "POST" and next(posts) % 4 == 1 else ""  # noqa: E731
    with proxy(server.url, faults) as between, contextlib.closing(open_orthanc(server, between.url)) as through:
        assert upload(files, through, workers=4, progress=False).counts == {"stored": 24}
        assert sum(method == "POST" for method, _ in between.requests) > 24
    assert len(list(archive.search_for_instances())) == 24


def test_an_archive_that_fails_every_file_ends_the_batch(server: OrthancServer, tmp_path: Path) -> None:
    """As one does whose disk is full."""
    files = write_files(tmp_path, 40)
    with (
        proxy(server.url, lambda _, method, __: "500" if method == "POST" else "") as between,
        contextlib.closing(open_orthanc(server, between.url)) as through,
    ):
        report = upload(files, through, workers=4, progress=False)
    assert report.counts == {"failed": 40}
    assert report.instances == ()
    assert "expected HTTP 200, got 500" in report.outcomes[0].reason
    assert "not sent, or not verified: 5 files in a row failed" in report.outcomes[-1].reason


def test_orthanc_killed_in_the_middle_of_an_upload_loses_nothing(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 120, size_px=200)
    server = OrthancServer(tmp_path / "orthanc")
    with server, contextlib.closing(open_orthanc(server)) as archive:
        archive.check()
        stop = threading.Event()

        def kill_and_restart() -> None:
            while not stop.is_set() and not _count(server):
                time.sleep(0.005)
            for _ in range(2):
                server.kill()
                time.sleep(0.2)
                server.start()
                time.sleep(0.15)

        killer = threading.Thread(target=kill_and_restart)
        killer.start()
        try:
            report = upload(files, archive, workers=4, progress=False)
        finally:
            stop.set()
            killer.join()
        assert report.counts == {"stored": 120}
        held = {instance.sop_instance_uid for instance in archive.search_for_instances()}
        assert held == {instance.sop_instance_uid for instance in report.instances}
        for path, item in zip(files, report.outcomes, strict=True):
            assert item.instance
            assert archive.compare(item.instance.reference, path.read_bytes()).equal


def _count(server: OrthancServer) -> int:
    with contextlib.closing(open_orthanc(server, retry_seconds=1.0)) as archive:
        return sum(1 for _ in archive.search_for_instances())


def test_orthanc_gone_for_good_leaves_a_report_that_is_true(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", 120, size_px=200)
    resume_log = tmp_path / "upload.jsonl"
    server = OrthancServer(tmp_path / "orthanc")
    with server, contextlib.closing(open_orthanc(server, retry_seconds=0.5)) as archive:
        archive.check()

        def kill() -> None:
            while _count(server) < 10:
                time.sleep(0.005)
            server.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        report = upload(files, archive, workers=4, resume_log_path=resume_log, progress=False)
        killer.join()
        assert report.counts["stored"] + report.counts["failed"] == 120
        assert report.counts["failed"] > 0
        assert all("answer" in item.reason for item in report.outcomes if item.instance is None)
        server.start()
        for instance in report.instances:
            assert archive.md5(instance.reference) == instance.md5
        again = upload(files, archive, resume_log_path=resume_log, progress=False)
        assert len(again.instances) == 120
        assert set(again.counts) <= {"stored", "already there"}, "stored before the crash, or with its answer lost in it"


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None], certificate: Path | None = None) -> Iterator[str]:
    """A server in the place of Orthanc; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, text: str) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(text.encode())


def test_a_certificate_is_verified_and_its_authority_can_be_named(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with serving(lambda handler: say(handler, '{"Version": "1.10.1"}'), certificate) as url:
        with pytest.raises(ArchiveUnavailableError, match=r"cannot be trusted .* DICOM_WORKFLOW_CA_BUNDLE"):
            OrthancArchive(url).check()
        assert OrthancArchive(url, ca_bundle=str(certificate)).check() == f"Orthanc 1.10.1 at {url}"
        with pytest.raises(SettingsError, match="DICOM_WORKFLOW_CA_BUNDLE: expected a PEM file"):
            OrthancArchive(url, ca_bundle=str(tmp_path / "none.pem"))


def test_a_refusal_without_end_is_read_no_further_than_a_message_needs() -> None:
    sent = []

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(400)
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(2000):
                sent.append(handler.wfile.write(b"no " * 50_000))

    with (
        serving(refuse) as url,
        pytest.raises(ArchiveError, match="expected HTTP 200, got 400: 'no no no"),
    ):
        OrthancArchive(url, retry_seconds=0).check()
    assert sum(sent) < 2000 * 150_000


@pytest.mark.parametrize("said", ["[" * 50_000, '[{"Type": "Instance", "ID": "../tools/shutdown"}]', '[{"Type": "Instance"}]'])
def test_what_is_no_instance_id_becomes_no_address(said: str) -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        say(handler, said)

    with (
        serving(answer) as url,
        pytest.raises(ArchiveError, match=r"lookup: expected (JSON from Orthanc|an instance id)"),
    ):
        OrthancArchive(url, retry_seconds=0).retrieve_instance(ObjectReference(sop_instance_uid="1.2.3"))
    assert asked == ["/tools/lookup"]


@pytest.mark.parametrize("entry", ['{"ID": [], "ParentSeries": {}}', '{"ID": "a", "ParentSeries": "a", "FileSize": "x"}'])
def test_a_listing_of_other_types_is_no_traceback(entry: str) -> None:
    with serving(lambda handler: say(handler, f"[{entry}]")) as url, contextlib.suppress(ArchiveError):
        assert list(OrthancArchive(url, retry_seconds=0).search_for_instances()) == []


def make_certificate(folder: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "archive")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_the_files_of_a_local_orthanc_become_private_in_a_folder_that_was_there_before(tmp_path: Path) -> None:
    for name in ("orthanc.json", "orthanc.log"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    with OrthancServer(tmp_path) as server:
        configuration = json.loads((tmp_path / "orthanc.json").read_text())
        assert server.password.reveal() in configuration["RegisteredUsers"].values()
        assert (configuration["RemoteAccessAllowed"], configuration["DicomServerEnabled"]) == (False, False)
        assert configuration["HttpBindAddresses"] == ["127.0.0.1"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "orthanc.json", tmp_path / "orthanc.log")}
    assert modes == {tmp_path.name: 0o700, "orthanc.json": 0o600, "orthanc.log": 0o600}


def test_the_orthanc_id_is_the_sha1_of_four_texts() -> None:
    assert orthanc_id("1234", "1.1", "1.2", "1.3") == "61d7c6cf-8668fb56-43779e5d-926398c5-b0470908"
