"""What only the store in a folder or on S3 meets: another version, no rights, no space, S3 without conditional writes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import lancedb
import numpy as np
import pytest
import requests
from support.search_corpus import SPACE, Corpus, clustered, fill, nearest

from dicom_workflow.errors import RecordError, SearchStoreError, SettingsError
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, Finding, ImageDocument, ReportDocument
from dicom_workflow.search.query import AnyOf, ImageQuery, Not, Range, ReportQuery
from dicom_workflow.search.store import lance_schema, open_store
from dicom_workflow.search.store.lance import LanceStore
from dicom_workflow.search.store.lance_filters import to_expression
from dicom_workflow.search.store.planner import Plan, plan_search
from dicom_workflow.settings import Settings

TESTS = Path(__file__).parents[1]


def refused(url: str, how: str) -> list[str]:
    """What a process says that writes to a store which it may not, or cannot, write."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(TESTS / "support/search_writer.py"), "refused", url, how]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_a_read_only_folder_is_read_and_refuses_writes(corpus: Corpus) -> None:
    with tempfile.TemporaryDirectory() as name:  # its parents, unlike those of tmp_path, are open to others
        Path(name).chmod(0o755)
        folder = Path(name) / "index"
        store = open_store(str(folder), create=True)
        assert folder.stat().st_mode & 0o777 == 0o700, "reports are for this user alone"
        fill(store, corpus)
        store.maintain()
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        *answers, read = refused(str(folder), "read-only")
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert len(answers) == 3
    for answer in answers:
        assert answer.startswith(f"refused: The search store {folder} cannot be written: this user has no right to.")
    assert read == "read: True True"


def test_a_full_disk_refuses_writes_and_loses_nothing(tmp_path: Path, corpus: Corpus) -> None:
    url = str(tmp_path / "index")
    store = open_store(url, create=True)
    fill(store, corpus)
    first, *_, read = refused(url, "disk-full")
    assert first == f"refused: The search store {url} cannot be written: the disk is full. Free some space."
    assert read == "read: True True"
    assert {image.image_id for image in store.scan_images()} >= set(corpus.image_ids) - {"2.25.0001"}
    store.upsert_images(corpus.images)
    assert list(store.scan_images()) == corpus.images
    assert store.maintain().duplicate_images == 0


@pytest.fixture
def s3_without_conditions(search_s3: str) -> Iterator[str]:
    """An S3 server in front of another that refuses conditional writes, as several S3-compatible stores do."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command == "PUT" and self.headers.get("If-None-Match"):
                said = b"<Error><Code>NotImplemented</Code><Message>A header you provided is not implemented.</Message></Error>"
                status, headers = 501, {}
            else:
                sent = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
                answer = requests.request(self.command, search_s3 + self.path, headers=sent, data=body, timeout=30)
                status, said = answer.status_code, answer.content
                headers = {
                    n: v
                    for n, v in answer.headers.items()
                    if n.lower() not in ("content-length", "connection", "server", "date")
                }
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_s3_without_conditional_writes_is_refused_by_name(s3_without_conditions: str, search_s3: str, tmp_path: Path) -> None:
    boto3.client("s3", endpoint_url=search_s3).create_bucket(Bucket="conditions")
    settings = Settings(tmp_path, s3_url=s3_without_conditions)
    with pytest.raises(SearchStoreError, match="S3 refused the conditional write"):
        LanceStore.open("s3://conditions/index", create=True, settings=settings)


def test_s3_that_does_not_answer_or_has_no_bucket_is_said(search_s3: str, tmp_path: Path) -> None:
    with pytest.raises(SearchStoreError, match="s3://no-such-bucket/index"):
        LanceStore.open("s3://no-such-bucket/index", create=True, settings=Settings(tmp_path, s3_url=search_s3))
    nowhere = Settings(tmp_path, s3_url="http://127.0.0.1:9", timeout_seconds=1)
    with pytest.raises(SearchStoreError, match="does not answer"):
        LanceStore.open("s3://conditions/index", settings=nowhere)


@pytest.mark.parametrize("layout", ["1", "99"])
def test_a_store_of_another_layout_is_refused_with_the_command_that_mends_it(tmp_path: Path, layout: str) -> None:
    url = str(tmp_path / "index")
    open_store(url, create=True)
    entries = lancedb.connect(url).open_table("entries")
    entries.update(where="key = 'store_version'", values={"value": layout})
    for create in (True, False):
        with pytest.raises(SearchStoreError, match=rf"of version '{layout}'.* search index SOURCE --store ANOTHER-URL"):
            open_store(url, create=create)


def test_changed_columns_are_a_new_layout() -> None:
    """Who changes what a row holds changes the digest, and gives the layout a new number."""
    image = ImageDocument("2.25.1", *map(str, range(10)), 5, 6, "sha256", "source", "split", ("a",), ("b",), ("c",), ("d",))
    finding = Finding("cough", "positive", "symptom", "R05.9", "Cough", 10, 15, 0, 16, "findings", "left", "label")
    sections = {"findings": "of a cough", "impression": "elsewhere"}
    report = ReportDocument("one", "There is of a cough.", "patient", "1.2", "20200101", sections, (finding,), "tests 1")
    tables = (lance_schema.image_rows([image]), lance_schema.report_rows([report]))
    rows = [table.drop_columns(["stamp"]).to_pylist() for table in tables]
    schemas = [table.schema.to_string() for table in tables] + [lance_schema.ENTRY_SCHEMA.to_string()]
    digest = hashlib.sha256(json.dumps([schemas, rows]).encode()).hexdigest()[:16]
    assert (lance_schema.LAYOUT_VERSION, digest) == (2, "94306a09b4246ab6")


@pytest.mark.parametrize("url", ["ftp://x/y", "file://elsewhere/index"])
def test_a_url_that_is_no_store_is_refused(url: str) -> None:
    with pytest.raises((SettingsError, SearchStoreError)):
        open_store(url, create=True)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("no folder")
    with pytest.raises(SearchStoreError, match="a file in its place"):
        open_store(str(tmp_path / "index"), create=True)


def test_changed_images_and_embeddings_are_found_as_changed_though_they_are_indexed(tmp_path: Path) -> None:
    space, rows = EmbeddingSpace("clustered", 64), 11_000
    vectors, _ = clustered(rows, space.dimensions)
    ids = [f"2.25.{at:05d}" for at in range(rows)]
    images = [ImageDocument(image_id, view_position="PA" if at % 2 else "AP") for at, image_id in enumerate(ids)]
    store = open_store(str(tmp_path / "index"), create=True)
    store.add_space(space)
    store.upsert_images(images, Embeddings(space.space_id, tuple(ids), vectors))
    store.maintain()
    changed = [replace(image, view_position="LL") for image in images[:300]]
    store.upsert_images(changed)
    moved = vectors.copy()
    moved[:200] = vectors[500:700][:, ::-1]
    store.upsert_embeddings(Embeddings(space.space_id, tuple(ids[:200]), moved[:200]))
    store.delete(image_ids=ids[10_000:])

    def check() -> None:
        left, found = ids[:10_000], []
        for query in (moved[5], moved[150], vectors[5], vectors[5_000]):
            for where, allowed in (
                (None, left),
                (AnyOf("view_position", ("LL",)), ids[:300]),
                (Not(AnyOf("view_position", ("PA", "AP"))), ids[:300]),
            ):
                hits = store.similar_images(ImageQuery(vector=query, k=10, where=where)).hits
                wanted = nearest(moved, ids, query, 10, allowed)
                found.append(len({hit.image.image_id for hit in hits} & {image_id for image_id, _ in wanted}))
                assert abs(hits[0].score - wanted[0][1]) < 5e-3
        assert sum(found) / len(found) >= 9, "of 10; the index is approximate, and each build is another"

    check()
    assert store.maintain().images == 10_000
    check()


def test_maintenance_gives_back_what_old_versions_took(tmp_path: Path, corpus: Corpus) -> None:
    store = open_store(str(tmp_path / "index"), create=True)
    for _ in range(5):
        fill(store, corpus)
    done = store.maintain()
    assert done.bytes_after < done.bytes_before / 2
    assert done.bytes_after == sum(path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.is_file())


def test_duplicates_that_others_wrote_are_counted_and_removed(tmp_path: Path, corpus: Corpus) -> None:
    url = str(tmp_path / "index")
    store = open_store(url, create=True)
    fill(store, corpus)
    table = lancedb.connect(url).open_table("images")
    rows = table.search().limit(7).to_arrow()
    stamps = rows.schema.get_field_index("stamp")
    table.add(rows.set_column(stamps, "stamp", [list(range(7))]))
    assert store.maintain().duplicate_images == 7
    assert list(store.scan_images()) == corpus.images
    assert store.maintain().duplicate_images == 0


def test_plans_probe_everything_under_a_filter_and_scan_what_is_little() -> None:
    assert plan_search(1_000_000, 1_000, None) == Plan(False, 40, 4)
    assert plan_search(50_000, 50, None) == Plan(False, 20, 4)
    assert plan_search(500_000, 500, 6_000) == Plan(False, 500, 6)
    assert plan_search(500_000, 500, 400).exact
    assert plan_search(9_000, 0, None).exact
    assert [plan_search(50_000, 50, None).refine_of(k) for k in (1, 10, 200)] == [40, 4, 4]


def test_an_expression_holds_values_as_literals_only() -> None:
    assert to_expression(AnyOf("sex", ("it's", "F"))) == "sex IN ('it''s', 'F')"
    assert to_expression(Not(AnyOf("labels_positive", ("'); --",)))) == "(NOT array_has_any(labels_positive, ['''); --']))"
    for where in (AnyOf("sex = 'F' OR 1", ("x",)), Range("nothing", 1, 2)):
        with pytest.raises(RecordError, match="no field"):
            to_expression(where)
    with pytest.raises(RecordError, match="no range"):
        to_expression(Range("sex", "F", "M"))


def test_a_query_of_too_many_words_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "index"), create=True)
    with pytest.raises(RecordError, match="at most 100 words"):
        store.search_reports(ReportQuery(" ".join(f"word{number}" for number in range(101))))


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "index"), create=True)
    store.upsert_images([ImageDocument("2.25.1", body_part="\ud83d", labels_positive=("\udc00",)), ImageDocument("2.25.2")])
    store.upsert_reports([ReportDocument("one", "Nodule \ud800 here.", sections={"findings": "Nodule \ud800 here."})])
    image, report = store.images(["2.25.1"])[0], store.reports(["one"])[0]
    assert image and (image.body_part, image.labels_positive) == ("\ufffd", ("\ufffd",))
    assert report and report.text == report.sections["findings"] == "Nodule \ufffd here."


def test_errors_repeat_neither_text_nor_ids(tmp_path: Path, corpus: Corpus) -> None:
    store = open_store(str(tmp_path / "index"), create=True)
    fill(store, corpus)
    for path in (tmp_path / "index" / "images.lance" / "data").glob("*"):
        path.write_bytes(b"")
    with pytest.raises(SearchStoreError) as caught:
        open_store(str(tmp_path / "index")).images_of_patients(["patient-secret"])
    assert "secret" not in str(caught.value) and str(tmp_path / "index") in str(caught.value)
    assert np.isfinite(corpus.embeddings.vectors).all() and SPACE.space_id not in str(caught.value)


def test_a_folder_made_earlier_is_closed_or_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, file in (("empty", ""), ("used", "notes.txt")):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o755)
        if file:
            (folder / file).touch()
        open_store(str(folder), create=True)
        assert folder.stat().st_mode & 0o777 == (0o755 if file else 0o700)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert f"chmod 700 {tmp_path / 'used'}" in warning
