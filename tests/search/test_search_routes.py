"""Plain routes: pictures, DICOM files, uploads that are bad in many ways, health, the page, headers, and what is logged."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import gzip
import io
import json
import logging
import threading
import time
import weakref
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from PIL import Image
from support.pixels import compressed, dataset_of, file_bytes
from support.search_corpus import Corpus
from support.search_service import IDENTITY, KEYS, SECRET_WORDS, MeanEmbedder, Service, filled_store, picture, running

from dicom_workflow.dicom.pixels import to_png
from dicom_workflow.errors import SearchError, SearchStoreError
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.service import routes
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.similarity import SimilarityMap
from dicom_workflow.search.service.uploads import UploadedImage, UploadedImages
from dicom_workflow.storage import to_uri

DICOM = {"content-type": "application/dicom"}


def test_a_thumbnail_is_the_display_image_and_no_header_text(search_service: Service) -> None:
    answer = search_service.ask("GET", "/thumb/2.25.0001.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=600"
    expected = to_png(pydicom.dcmread(io.BytesIO(picture(1))), max_px=256)
    assert answer.content == expected


def test_a_picture_of_another_size_and_window(search_service: Service) -> None:
    answer = search_service.ask("GET", "/thumb/2.25.0001.png?px=24&center=2000&width=800")
    assert max(Image.open(io.BytesIO(answer.content)).size) == 24
    expected = to_png(pydicom.dcmread(io.BytesIO(picture(1))), max_px=24, window=(2000.0, 800.0))
    assert answer.content == expected


@pytest.mark.parametrize(
    "query", ["px=0", "px=100000", "px=x", "center=1", "center=1&width=0", "center=nan&width=5", "width=inf&center=1"]
)
def test_a_picture_of_a_size_that_cannot_be(search_service: Service, query: str) -> None:
    answer = search_service.ask("GET", f"/thumb/2.25.0001.png?{query}")
    assert answer.status_code == 400
    assert "expected px from 16 to 2048" in answer.json()["error"]


def test_the_dicom_file_is_the_one_that_was_indexed(search_service: Service) -> None:
    answer = search_service.ask("GET", "/dicom/2.25.0002")
    assert answer.content == picture(2)
    assert answer.headers["content-type"] == "application/dicom"
    assert "attachment" in answer.headers["content-disposition"]


MISSING = {
    "no such image": ("2.25.99999", "The index has no such image"),
    "a file that is gone": ("2.25.0100", "no longer where it was"),
    "a path": ("..%2f..%2fetc%2fpasswd", ""),
    "an upload that is gone": ("upload-0", "Upload it again"),
}


@pytest.mark.parametrize(("image_id", "message"), MISSING.values(), ids=MISSING)
def test_images_that_are_not_there(search_service: Service, image_id: str, message: str) -> None:
    for path in (f"/thumb/{image_id}.png", f"/dicom/{image_id}"):
        answer = search_service.ask("GET", path)
        assert answer.status_code in (404, 409)
        assert message in answer.text
        assert "/images/" not in answer.text, "a path of the server"


def _moved(service: Service, number: int, path: Path) -> str:
    """Let the file of an image be another one, and return the image's id."""
    image = dataclasses.replace(service.corpus.images[number], source=to_uri(path))
    service.store.upsert_images([image])
    return image.image_id


def test_a_file_that_is_no_dicom_is_never_given_out(search_service: Service, tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("root:x:0:0:" * 40)
    image_id = _moved(search_service, 5, path)
    assert search_service.ask("GET", f"/dicom/{image_id}").status_code == 404
    assert search_service.ask("GET", f"/thumb/{image_id}.png").status_code == 422


def test_a_damaged_file_is_said_without_its_place(search_service: Service, tmp_path: Path) -> None:
    path = tmp_path / "short.dcm"
    path.write_bytes(picture(6)[:-500])
    answer = search_service.ask("GET", f"/thumb/{_moved(search_service, 6, path)}.png")
    assert answer.status_code == 422
    assert "cannot be shown" in answer.text
    assert str(tmp_path) not in answer.text


def _upload(service: Service, data: bytes, headers: Any = DICOM) -> Any:
    return service.ask("POST", "/uploads", data=data, headers=headers)


SEARCH = """query($id: ID!) { image(id: $id) { uploaded rows viewPosition thumbnail dicom
  similar(k: 5) { hits { score image { id patientKey } } } } }"""


def test_search_with_an_uploaded_image(search_service: Service) -> None:
    answer = _upload(search_service, picture(9))
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["rows"], told["columns"], told["view_position"]) == (48, 40, "PA")
    image = search_service.data(SEARCH, id=told["id"])["image"]
    assert image["uploaded"]
    assert image["dicom"] is None
    assert len(image["similar"]["hits"]) == 5
    vector = MeanEmbedder().of_image(picture(9))
    scores = search_service.corpus.embeddings.vectors @ vector
    assert image["similar"]["hits"][0]["score"] == pytest.approx(float(scores.max()), abs=1e-3)
    shown = search_service.ask("GET", image["thumbnail"])
    assert shown.content == to_png(pydicom.dcmread(io.BytesIO(picture(9))), max_px=256)
    fused = '{ cases(text: "effusion", imageId: "%s") { hits { textRank imageRank } } }' % told["id"]  # noqa: UP031
    assert search_service.data(fused)["cases"]["hits"]


def test_the_patient_of_an_uploaded_image_is_left_out(search_service: Service) -> None:
    corpus = search_service.corpus
    best = corpus.images[int(np.argmax(corpus.embeddings.vectors @ MeanEmbedder().of_image(picture(9))))]
    search_service.store.upsert_images([dataclasses.replace(best, patient_key=KEYS.key("patient 9"))])
    told = _upload(search_service, picture(9)).json()
    assert search_service.data(SEARCH, id=told["id"])["image"]["similar"]["hits"][0]["image"]["id"] == best.image_id
    told = _upload(search_service, picture(9, PatientID="patient 9")).json()
    hits = search_service.data(SEARCH, id=told["id"])["image"]["similar"]["hits"]
    assert best.image_id not in {hit["image"]["id"] for hit in hits}
    everybody = SEARCH.replace("k: 5", "k: 5, excludePatient: false")
    hits = search_service.data(everybody, id=told["id"])["image"]["similar"]["hits"]
    assert hits[0]["image"]["id"] == best.image_id


def test_upload_by_graphql(search_service: Service) -> None:
    query = "mutation($file: Upload!) { searchByImage(image: $file) { id uploaded similar(k: 3) { hits { score } } } }"
    form = {"operations": json.dumps({"query": query, "variables": {"file": None}}), "map": '{"0": ["variables.file"]}'}
    answer = search_service.ask("POST", "/graphql", data=form, files={"0": ("name.dcm", picture(3))})
    found = answer.json()["data"]["searchByImage"]
    assert found["uploaded"]
    assert len(found["similar"]["hits"]) == 3


FORMS: dict[str, Any] = {
    "no map": {"operations": "{}"},
    "map of something else": {"operations": '{"query": "{ x }"}', "map": '{"0": ["variables.file.a.b"]}'},
    "file that is not there": {"operations": '{"query": "{ x }", "variables": {}}', "map": '{"9": ["variables.file"]}'},
    "places that are none": {"operations": '{"query": "{ x }"}', "map": '{"0": 5}'},
    "no JSON": {"operations": "x", "map": "y"},
    "more text than a query may have": {
        "operations": json.dumps({"query": "{ x }", "variables": {"ids": ["1" * 20] * 12_000}})
    },
    "too many fields": {f"field{n}": "x" for n in range(10)},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_multipart_requests_that_are_none(search_service: Service, form: dict[str, str]) -> None:
    answer = search_service.ask("POST", "/graphql", data=form, files={"0": ("name.dcm", b"x")})
    assert answer.status_code == 400
    assert "expected a GraphQL multipart request" in answer.json()["error"]


def test_an_upload_is_seen_by_who_sent_it_alone(tmp_path: Path) -> None:
    from support.search_service import TOKEN

    from dicom_workflow.search.service.access import AccessDeniedError, Identity

    class TwoPeople:
        kind, cookie = "token", "search-two"

        def identify(self, credential: str) -> Identity:
            if not credential.startswith(TOKEN):
                raise AccessDeniedError("Sign in.")
            return Identity(credential)

    with running(filled_store(tmp_path / "index", Corpus(3, 3)), tmp_path, access=TwoPeople()) as service:
        told = _upload(service, picture(1)).json()
        assert service.data(SEARCH, id=told["id"])["image"]
        service.token = f"{TOKEN}-another"
        assert "Upload it again" in service.message(SEARCH, id=told["id"])
        assert service.ask("GET", f"/thumb/{told['id']}.png").status_code == 409


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.dcm", bytes(50_000_000))
    return buffer.getvalue()


def _deflated_bomb() -> bytes:
    """A deflated data set (1.2.840.10008.1.2.1.99) of a few kilobytes that grows to a gigabyte."""
    plain = file_bytes(dataset_of(np.zeros((4, 4))))
    start = plain.index(b"\x02\x00\x10\x00")
    head = plain[:start] + b"\x02\x00\x10\x00UI" + (22).to_bytes(2, "little") + b"1.2.840.10008.1.2.1.99"
    group = 132 + 12
    head = head[: group - 4] + (len(head) - group).to_bytes(4, "little") + head[group:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(packer.compress(bytes(1 << 24)) for _ in range(64)) + packer.flush()
    return head + body


def _huge(rows: int = 8000, columns: int = 10_000) -> bytes:
    """80 megapixels, of which a compressed code stream of a few bytes would make as many."""
    dataset = dataset_of(np.zeros((8, 8)), **IDENTITY)
    compressed(dataset, "1.2.840.10008.1.2.5")
    dataset.Rows, dataset.Columns = rows, columns
    return file_bytes(dataset)


def _frames() -> bytes:
    dataset = dataset_of(np.zeros((8, 8)), **IDENTITY)
    dataset.NumberOfFrames, dataset.PixelData = 2, dataset.PixelData * 2
    return file_bytes(dataset)


def _color() -> bytes:
    more = {"SamplesPerPixel": 3, "Rows": 2, "PlanarConfiguration": 0}
    return file_bytes(dataset_of(np.zeros((6, 2)), bits=8, photometric="RGB", **more, **IDENTITY))


BAD_FILES = {
    "empty": (b"", "uploaded file"),
    "text": (b"x" * 500, "the uploaded file"),
    "PNG": (to_png(dataset_of(np.zeros((4, 4)))), "a PNG image"),
    "ZIP bomb": (_zip_bomb(), "a ZIP archive"),
    "gzip": (gzip.compress(picture(1)), "a gzip file"),
    "deflated bomb": (_deflated_bomb(), "grows above"),
    "80 megapixels": (_huge(), "at most 50,000,000 pixels, got 8,000 rows × 10,000 columns"),
    "no pixels": (_huge(0, 5), "0 rows"),
    "cut short": (picture(1)[:-700], "the uploaded file"),
    "two frames": (_frames(), "expected one frame, got 2"),
    "color": (_color(), "gray"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_uploads_that_are_no_image_to_search_with(search_service: Service, data: bytes, message: str) -> None:
    answer = _upload(search_service, data)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert message in error
    assert error.endswith("Upload one DICOM radiograph (Part 10 file).")
    assert "/tmp" not in error, "a place on the server"  # noqa: S108
    assert search_service.ask("GET", "/healthz").status_code == 200


def test_uploads_beyond_the_limits_of_a_request(tmp_path: Path) -> None:
    limits = dataclasses.replace(Limits(), upload_bytes=100_000, body_bytes=20_000, body_seconds=1.0)
    with running(filled_store(tmp_path / "index", Corpus(3, 3)), tmp_path, limits=limits) as service:
        assert _upload(service, picture(1)).status_code == 201
        answer = _upload(service, bytes(100_001))
        assert answer.status_code == 413
        assert "at most 0.0953674 MB" in answer.text
        chunks = (bytes(10_000) for _ in range(20))  # no Content-Length
        assert service.ask("POST", "/uploads", data=chunks, headers=DICOM).status_code == 413
        long = {"query": "{ reports { totalCount } }", "variables": {"x": "y" * 20_000}}
        assert service.ask("POST", "/graphql", json=long).status_code == 413
        form = {"operations": "{}", "map": "{}"}
        assert service.ask("POST", "/graphql", data=form, files={"0": bytes(200_000)}).status_code == 413

        def slowly() -> Any:
            yield b"x"
            threading.Event().wait(2)
            yield b"y"

        assert service.ask("POST", "/uploads", data=slowly(), headers=DICOM).status_code == 408


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "image/png"}, {**DICOM, "content-encoding": "gzip"}], ids=["no type", "PNG", "gzip"]
)
def test_uploads_of_another_kind(search_service: Service, headers: dict[str, str]) -> None:
    assert _upload(search_service, picture(1), headers).status_code == 415


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_query_that_a_form_of_another_site_could_send_is_refused(search_service: Service, kind: str) -> None:
    body = json.dumps({"query": "{ reports { totalCount } }"})
    assert search_service.ask("POST", "/graphql", data=body, headers={"content-type": kind}).status_code == 415
    assert search_service.ask("GET", "/graphql?query={reports{totalCount}}").status_code in (404, 405)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"query": 5}', b'{"query": "{x}", "variables": []}', b"\xff", b"[" * 5000]
)
def test_bodies_that_are_no_query(search_service: Service, body: bytes) -> None:
    answer = search_service.ask("POST", "/graphql", data=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]


def test_many_uploads_at_once_are_refused_or_taken(search_service: Service) -> None:
    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(lambda number: _upload(search_service, picture(number)).status_code, range(24)))
    assert set(statuses) <= {201, 503}
    assert 201 in statuses


def test_uploads_are_kept_for_a_while_and_the_oldest_goes_first(tmp_path: Path) -> None:
    limits = dataclasses.replace(Limits(), uploads=2)
    with running(filled_store(tmp_path / "index", Corpus(3, 3)), tmp_path, limits=limits) as service:
        ids = [_upload(service, picture(number)).json()["id"] for number in range(3)]
        assert "Upload it again" in service.message(SEARCH, id=ids[0])
        assert service.data(SEARCH, id=ids[2])["image"]


def test_a_picture_is_kept_no_longer_than_its_upload(tmp_path: Path) -> None:
    seconds = [0.0]
    uploads = UploadedImages(Limits(), lambda: seconds[0])
    with running(filled_store(tmp_path / "index", Corpus(3, 3)), tmp_path, uploads=uploads) as service:
        thumbnail = f"/thumb/{_upload(service, picture(1)).json()['id']}.png"
        assert service.ask("GET", thumbnail).status_code == 200
        seconds[0] = Limits().upload_seconds + 1
        answer = service.ask("GET", thumbnail)
        assert answer.status_code == 409
        assert "Upload it again" in answer.text


def test_pictures_beyond_those_that_may_wait_are_refused(search_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_PICTURES_WAITING", 0)
    answer = search_service.ask("GET", "/thumb/2.25.0003.png?px=31")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def _sent(number: int, subject: str, size: int = 1) -> UploadedImage:
    image = ImageDocument(f"upload-{number}")
    return UploadedImage(image, np.zeros(1, np.float32), "space", bytes(size), subject)


def _kept(uploads: UploadedImages, sent: list[UploadedImage]) -> list[int]:
    found = []
    for number, upload in enumerate(sent):
        with contextlib.suppress(SearchError):
            assert uploads.get(upload.image.image_id, upload.subject) is upload
            found.append(number)
    return found


def test_one_person_pushes_out_only_their_own_uploads() -> None:
    limits = dataclasses.replace(Limits(), uploads_of_one=3, uploads_bytes=100)
    uploads = UploadedImages(limits)
    sent = [_sent(0, "a", 20), *(_sent(number, "b", 30) for number in range(1, 6))]
    for upload in sent:
        uploads.add(upload)
    assert _kept(uploads, sent) == [0, 4, 5], "80 of 100 bytes"
    many = UploadedImages(limits)
    sent = [_sent(number, "a" if number < 2 else "b") for number in range(8)]
    for upload in sent:
        many.add(upload)
    assert _kept(many, sent) == [0, 1, 5, 6, 7], "three of one person"


def test_uploads_that_expired_hold_no_memory() -> None:
    seconds = [0.0]
    uploads = UploadedImages(dataclasses.replace(Limits(), upload_seconds=10.0), lambda: seconds[0])
    old = _sent(0, "a")
    gone = weakref.ref(old)
    uploads.add(old)
    del old
    seconds[0] = 11.0
    uploads.add(_sent(1, "b"))
    gc.collect()
    assert gone() is None


def test_health_and_sign_in_answer_while_many_wait_for_a_map(tmp_path: Path) -> None:
    started, end = threading.Event(), threading.Event()
    at_once: list[int] = []

    def explain(*_: str) -> SimilarityMap:
        at_once.append(1)
        started.set()
        end.wait(30)
        return SimilarityMap(np.ones((1, 1), np.float32))

    query = '{ image(id: "2.25.0001") { similarityMap(to: "2.25.0002") { rows } } }'
    store = filled_store(tmp_path / "index", Corpus(3, 3))
    with running(store, tmp_path, explain=explain) as service, ThreadPoolExecutor(44) as people:
        try:
            waiting = [people.submit(service.data, query) for _ in range(44)]
            assert started.wait(20)
            for _ in range(3):
                assert requests.get(f"{service.url}/healthz", timeout=10).json() == {"status": "ok"}
                assert requests.get(f"{service.url}/session", headers=service.headers, timeout=10).json()["signed_in"]
            assert service.data("{ reports { totalCount } }")["reports"]["totalCount"]
            assert len(at_once) == 1
        finally:
            end.set()
        assert all(each.result()["image"]["similarityMap"] == {"rows": 1} for each in waiting)


def test_health_follows_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled_store(tmp_path / "index", Corpus(1, 1))

    def away() -> Any:
        raise SearchStoreError("the disk is full")

    with running(store, tmp_path) as service:
        service.token = ""
        assert service.ask("GET", "/healthz").json() == {"status": "ok"}
        monkeypatch.setattr(store, "spaces", away)
        monkeypatch.setattr(routes, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 60))
        answer = service.ask("GET", "/healthz")
        assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})


def test_the_page_is_served_with_a_policy_and_nothing_else_is(search_service: Service) -> None:
    for path, kind in (("/", "text/html"), ("/search.mjs", "text/javascript"), ("/search.css", "text/css")):
        answer = search_service.ask("GET", path, headers={"authorization": ""})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    for path in ("/build.json", "/__init__.py", "/..%2fquery.py", "/search.mjs/", "/docs", "/openapi.json"):
        assert search_service.ask("GET", path).status_code == 404, path


def test_every_answer_has_security_headers(search_service: Service) -> None:
    asked = [("GET", "/"), ("GET", "/nowhere"), ("POST", "/graphql"), ("GET", "/thumb/2.25.0000.png"), ("GET", "/healthz")]
    for method, path in asked:
        headers = search_service.ask(method, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers or "uvicorn" in headers["server"]


PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "javascript:alert(1)",
    "</title><script>1</script>", "{{7*7}}", "${7*7}", "\u2028<b>", "<!--", "%3Cscript%3E", "'-alert(1)-'", "<iframe srcdoc=x>",
]  # fmt: skip


def test_text_of_a_report_or_a_query_is_never_html(tmp_path: Path) -> None:
    corpus = Corpus(len(PAYLOADS), 3)
    for number, payload in enumerate(PAYLOADS):
        corpus.reports[number] = dataclasses.replace(corpus.reports[number], text=f"FINDINGS: {payload} effusion")
    with running(filled_store(tmp_path / "index", corpus), tmp_path) as service:
        for payload in PAYLOADS:
            answer = service.ask(
                "POST", "/graphql", json={"query": "{ reports { edges { node { text } } } }", "variables": {"a": payload}}
            )
            assert answer.headers["content-type"] == "application/json"
            for path in (f"/thumb/{payload.replace('/', '')}.png", f"/{payload.replace('/', '')}"):
                answer = service.ask("GET", path)
                assert answer.headers["content-type"] == "application/json"


def test_no_report_text_query_token_or_image_id_is_logged(search_service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    words = "zebra effusion"
    search_service.data("query($t: String!) { reports(text: $t) { edges { node { text } highlights { text } } } }", t=words)
    search_service.message('{ reports(where: {colour: ["zebra"]}) { totalCount } }')
    search_service.message("{ zebra }")
    search_service.ask("GET", "/thumb/2.25.0001.png")
    search_service.ask("GET", "/thumb/2.25.zebra.png")
    _upload(search_service, b"zebra" * 100)
    search_service.ask("POST", "/session", json={"token": "zebra-token"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("dicom_workflow")]
    logged = "\n".join(ours)
    assert "POST /graphql status=200" in logged
    assert "GET /thumb/{image_id}.png status=200" in logged
    for secret in ("zebra", SECRET_WORDS, "2.25.0001", search_service.token):
        assert secret not in logged, secret
