"""The search store in PostgreSQL, beyond what every store does: the server's crashes, roles, versions, indexes and ranking."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from support.search_corpus import SPACE, Corpus, clustered, fill, has_phrase, make_report, words_of
from support.search_stores import VectorServer

from dicom_workflow.errors import RecordError, SearchStoreError, SettingsError
from dicom_workflow.search.documents import Embeddings, EmbeddingSpace, ImageDocument, ReportDocument
from dicom_workflow.search.query import AnyOf, ImageQuery, ReportQuery
from dicom_workflow.search.store import open_store
from dicom_workflow.search.store.postgres import vectors as postgres_vectors
from dicom_workflow.search.store.postgres.connections import parameters_of, shown_url, store_errors
from dicom_workflow.search.store.postgres.reports import delete_reports, write_reports
from dicom_workflow.search.store.postgres.schema import CODED_FROM
from dicom_workflow.search.store.postgres.store import PostgresStore


@pytest.fixture
def url(search_postgres: VectorServer) -> str:
    """An empty database."""
    return search_postgres.new_url()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore.open(url, create=True)) as opened:
        yield opened


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


def password_of(url: str) -> str:
    return url.partition("//")[2].partition("@")[0].partition(":")[2]


def reports_of(store: PostgresStore, text: str) -> list[str]:
    return [hit.report.report_id for hit in store.search_reports(ReportQuery(text), first=200).hits]


def test_nothing_acknowledged_is_lost_when_the_server_stops_at_once(
    search_postgres: VectorServer, url: str, store: PostgresStore, corpus: Corpus
) -> None:
    fill(store, corpus)
    store.upsert_reports([make_report("last", [("cough", "positive")])])
    search_postgres.crash()
    try:
        with pytest.raises(SearchStoreError, match="does not answer") as refused:
            store.upsert_images(corpus.images[:1])
        with pytest.raises(SearchStoreError, match="does not answer"):
            open_store(url)
    finally:
        search_postgres.start()
    assert password_of(url) not in str(refused.value)
    assert list(store.scan_images()) == corpus.images, "the same store goes on when the server is back"
    assert {report.report_id for report in store.scan_reports()} == {"last"} | {report.report_id for report in corpus.reports}
    assert not np.isnan(store.vectors(corpus.image_ids)).any()


def test_a_connection_that_was_ended_is_replaced(search_postgres: VectorServer, url: str, store: PostgresStore) -> None:
    store.upsert_images([ImageDocument("1")])
    search_postgres.hang_up(database_of(url))
    assert store.images(["1"]) == [ImageDocument("1")]
    assert store.upsert_images([ImageDocument("2")]) == 1


def test_a_role_that_may_read_reads_and_is_told_that_it_cannot_write(
    search_postgres: VectorServer, url: str, store: PostgresStore, corpus: Corpus
) -> None:
    fill(store, corpus)
    store.maintain()
    database = database_of(url)
    reader = f"reader_{database}"
    search_postgres.sql(f"CREATE ROLE {reader} LOGIN PASSWORD 'only-reads'")
    search_postgres.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}", database=database)
    place = url.rpartition("@")[2]
    with contextlib.closing(open_store(f"postgresql://{reader}:only-reads@{place}")) as read:
        assert read.spaces() == [SPACE] and list(read.scan_reports()) == corpus.reports
        assert read.similar_images(ImageQuery(image_id="2.25.0001", k=3)).hits
        assert read.search_reports(ReportQuery("pneumothorax")).total
        assert read.facets(ReportQuery(), ["positive_codes"])["positive_codes"].buckets
        for write in (
            lambda: read.upsert_images(corpus.images[:1]),
            lambda: read.upsert_reports([corpus.reports[0]]),
            lambda: read.add_space(EmbeddingSpace("new", 4)),
            lambda: read.delete(report_ids=["report-001"]),
            read.maintain,
        ):
            with pytest.raises(SearchStoreError, match=r"may only read.*Index with a user who owns the tables") as refused:
                write()
            assert "only-reads" not in str(refused.value)
    assert list(store.scan_reports()) == corpus.reports


@pytest.mark.parametrize(("version", "message"), [(0, "Index again into"), (99, "pip install --upgrade")])
def test_a_store_of_another_version_is_refused_with_the_command_that_helps(
    search_postgres: VectorServer, url: str, store: PostgresStore, version: int, message: str
) -> None:
    setting = "UPDATE search_store SET version = {}"
    search_postgres.sql(setting.format(version), database=database_of(url))
    for create in (False, True):
        with pytest.raises(SearchStoreError, match=message) as refused:
            open_store(url, create=create)
        assert f"version {version}" in str(refused.value)


def test_a_database_without_pgvector_says_who_has_to_do_what(search_postgres: VectorServer) -> None:
    address = search_postgres.new_database()
    bare = f"postgresql://{address.user}:{address.password.reveal()}@127.0.0.1:{address.port}/{address.name}"
    with pytest.raises(SearchStoreError, match="CREATE EXTENSION vector"):
        open_store(bare, create=True)
    assert search_postgres.sql("SELECT count(*) FROM pg_class WHERE relname ~ '^search_'", database=address.name) == [(0,)]


def test_several_processes_make_one_store(url: str, corpus: Corpus) -> None:
    with ThreadPoolExecutor(6) as threads:
        stores = list(threads.map(lambda _: PostgresStore.open(url, create=True), range(6)))
        list(threads.map(lambda opened: opened.add_space(SPACE), stores))
        list(threads.map(lambda opened: fill(opened, corpus), stores))
    assert stores[3].spaces() == [SPACE] and list(stores[5].scan_images()) == corpus.images
    for opened in stores:
        opened.close()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda url: url.replace(password_of(url), "Wrong-Secret"), "password authentication failed"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", "nowhere"),
        (lambda url: f"postgresql://u:{password_of(url)}@127.0.0.1:9/x", "does not answer"),
        (lambda url: f"postgresql://u:{password_of(url)}@127.0.0.1:port/x", "does not answer"),
    ],
    ids=["password", "database", "port", "no-port"],
)
def test_a_server_that_refuses_is_named_and_the_password_is_not(url: str, made: object, message: str) -> None:
    wrong = made(url)  # type: ignore[operator]
    with pytest.raises(SearchStoreError, match=message) as refused:
        open_store(wrong)
    assert "Wrong-Secret" not in str(refused.value) and password_of(url) not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@[h/x", "postgresql://u:hunter2@h/x?a=1", "postgresql://u:hunter2%@h/x"]
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="cannot be read") as refused:
        open_store(url)
    assert "hunter2" not in str(refused.value) and refused.value.__cause__ is None and refused.value.__suppress_context__


def test_beyond_this_machine_the_server_is_always_verified() -> None:
    far = parameters_of("postgresql://u:hunter2@db.example.org:5433/archive")
    assert (far["sslmode"], far["sslrootcert"], far["connect_timeout"]) == ("verify-full", "system", 10)
    assert parameters_of("postgresql://db.example.org/x?sslrootcert=ca.pem")["sslrootcert"] == "ca.pem"
    assert shown_url(far) == "postgresql://u@db.example.org:5433/archive"
    for weaker in ("disable", "prefer", "require", "verify-ca"):
        with pytest.raises(SettingsError, match=f"sslmode={weaker} does not verify"):
            parameters_of(f"postgresql://u:hunter2@db.example.org/x?sslmode={weaker}")
    for near in ("postgresql://u@127.0.0.1/x", "postgresql://u@localhost/x", "postgresql:///x?host=/run/postgresql"):
        assert "sslmode" not in parameters_of(near)


def test_the_same_document_again_is_not_written_again(
    search_postgres: VectorServer, url: str, store: PostgresStore, corpus: Corpus
) -> None:
    def versions() -> list[object]:
        asked, tables = "SELECT number, xmin FROM {} ORDER BY 1", ("search_images", "search_reports", "search_vectors_1")
        return [search_postgres.sql(asked.format(table), database=database_of(url)) for table in tables]

    fill(store, corpus)
    before = versions()
    fill(store, corpus)
    assert versions() == before
    store.upsert_images([replace(corpus.images[3], sex="O")])
    after = versions()
    assert after[0] != before[0] and after[1:] == before[1:]


def test_processes_that_write_the_same_documents_in_any_order_do_not_block_each_other(
    store: PostgresStore, corpus: Corpus
) -> None:
    def write(turn: int) -> None:
        documents = corpus.images if turn % 2 else corpus.images[::-1]
        for number in range(15):
            store.upsert_images([replace(image, sex=f"{turn}{number}") for image in documents])

    store.add_space(SPACE)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert len(list(store.scan_images())) == len(corpus.images)


def test_any_text_comes_back_as_it_was(store: PostgresStore) -> None:
    odd = "Nul \0 half a pair \ud800 emoji \U0001fa7b tab\t quote ' \" \\ end"
    report = ReportDocument("odd", odd, sections={"findings": odd}, patient_key="k\0")
    store.upsert_reports([report])
    assert store.reports(["odd"]) == [report]
    assert reports_of(store, "emoji end") == ["odd"]
    store.upsert_images([ImageDocument("1\0", view_position="P\0A")])
    assert store.images(["1\0"]) == [ImageDocument("1\N{REPLACEMENT CHARACTER}", view_position="P\N{REPLACEMENT CHARACTER}A")]


def test_a_report_of_five_megabytes_is_stored_whole_and_found_by_its_beginning(store: PostgresStore) -> None:
    rng = np.random.default_rng(1)
    text = "Pneumothorax. " + " ".join(f"w{number:x}" for number in rng.integers(0, 2**40, 400_000))
    assert len(text) > 4_500_000
    assert store.upsert_reports([ReportDocument("long", text), ReportDocument("short", "Pneumothorax.")]) == 2
    assert store.reports(["long"])[0] == ReportDocument("long", text)
    assert set(reports_of(store, "pneumothorax")) == {"long", "short"}


def test_phrases_inflections_and_no(store: PostgresStore, corpus: Corpus) -> None:
    fill(store, corpus)
    for phrase in ("no pneumothorax", "there is no rib fracture", "left lower lobe"):
        wanted = {report.report_id for report in corpus.reports if has_phrase(report.text, phrase)}
        assert wanted and set(reports_of(store, f'"{phrase}"')) == wanted
    assert set(reports_of(store, "pneumothoraxes")) == set(reports_of(store, "pneumothorax"))
    with_no = {report.report_id for report in corpus.reports if "no" in words_of(report.text)}
    assert 0 < len(with_no) < len(corpus.reports) and set(reports_of(store, "no")) == with_no


@pytest.mark.parametrize("maintained", [False, True])
def test_scores_are_those_of_bm25(store: PostgresStore, maintained: bool) -> None:
    rng = np.random.default_rng(5)
    words = [f"word{number}" for number in range(40)]
    texts = {f"r{number:03d}": " ".join(rng.choice(words, size=int(rng.integers(3, 90)))) for number in range(120)}
    store.upsert_reports(ReportDocument(report_id, text) for report_id, text in texts.items())
    if maintained:
        store.maintain()
    query = ["word3", "word17"]
    average = float(np.mean([len(text.split()) for text in texts.values()]))
    expected = {}
    for report_id, text in texts.items():
        counts = [text.split().count(word) for word in query]
        if all(counts):
            score = 0.0
            for word, count in zip(query, counts, strict=True):
                documents = sum(word in other.split() for other in texts.values())
                weight = math.log(1 + (len(texts) - documents + 0.5) / (documents + 0.5))
                score += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(text.split()) / average))
            expected[report_id] = score
    page = store.search_reports(ReportQuery(" ".join(query)), first=200)
    found = {hit.report.report_id: hit.score for hit in page.hits}
    assert found == pytest.approx(expected, rel=0.02) and len(found) > 20
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("dimensions", [32, CODED_FROM], ids=["vectors", "codes"])
def test_the_index_is_used_where_many_images_are_left_and_built_again_when_it_is_invalid(
    search_postgres: VectorServer, url: str, store: PostgresStore, dimensions: int
) -> None:
    rows, space = 6_000, EmbeddingSpace("clustered", dimensions)
    vectors, _ = clustered(rows, space.dimensions)
    ids = [f"{number:05d}" for number in range(rows)]
    views = ["PA" if number % 10 else "LATERAL" for number in range(rows)]
    store.add_space(space)
    images = (ImageDocument(image_id, view_position=view) for image_id, view in zip(ids, views, strict=True))
    store.upsert_images(images, Embeddings(space.space_id, tuple(ids), vectors))
    query = ImageQuery(vector=vectors[5], k=10)
    exact = store.similar_images(query)
    assert exact.exact, "no index yet"
    done = store.maintain()
    assert done.embeddings == {"clustered": rows} and min(done.recall.values()) >= 0.97
    assert not store.similar_images(query).exact
    assert store.similar_images(query).hits[0].image.image_id == ids[5]
    assert not store.similar_images(replace(query, where=AnyOf("view_position", ("PA",)))).exact
    assert store.similar_images(replace(query, where=AnyOf("view_position", ("LATERAL",)))).exact
    assert len(store.similar_images(replace(query, k=200)).hits) == 200
    narrow = replace(query, where=AnyOf("view_position", ("LATERAL",)))
    compared = store.similar_images(narrow)
    with pytest.MonkeyPatch.context() as patch:  # as if the statistics of a large archive said so
        patch.setattr(postgres_vectors, "EXACT_ROWS", 100)
        patch.setattr(postgres_vectors, "SURE_ROWS", 500)
        estimated = store.similar_images(narrow)
    assert (compared.exact, estimated.exact) == (True, False)
    assert len({hit.image.image_id for hit in compared.hits} & {hit.image.image_id for hit in estimated.hits}) >= 9
    invalid = "UPDATE pg_index SET indisvalid = {} WHERE indexrelid = 'search_vectors_1_hnsw'::regclass"
    search_postgres.sql(invalid.format("false"), database=database_of(url))
    assert store.similar_images(query) == exact, "an index that is not whole is not used"
    store.maintain()
    assert not store.similar_images(query).exact


def test_a_transaction_that_ends_after_a_later_one_is_found(store: PostgresStore) -> None:
    slow, quick, deleted = (make_report(name, [("cough", "positive")]) for name in ("slow", "quick", "deleted"))
    store.upsert_reports([deleted])
    assert reports_of(store, "cough") == ["deleted"]
    with store._transaction() as connection:
        write_reports(connection, [slow])
        delete_reports(connection, ["deleted"])
        store.upsert_reports([quick])
        assert set(reports_of(store, "cough")) == {"deleted", "quick"}
        store.upsert_reports([replace(quick, text="Effusion.")])
        assert reports_of(store, "cough") == ["deleted"] and reports_of(store, "effusion") == ["quick"]
    assert reports_of(store, "cough") == ["slow"]
    assert store.search_reports(ReportQuery()).total == 2


def test_reports_of_a_restored_database_are_found_and_maintenance_lets_them_be_old(
    search_postgres: VectorServer, url: str, store: PostgresStore, corpus: Corpus
) -> None:
    fill(store, corpus)
    search_postgres.sql("UPDATE search_reports SET written = '999999999'", database=database_of(url))
    for _ in range(2):
        assert store.search_reports(ReportQuery()).total == len(corpus.reports)
    store.maintain()
    assert store.search_reports(ReportQuery()).total == len(corpus.reports)
    late = "SELECT count(*) FROM search_reports WHERE written > pg_snapshot_xmax(pg_current_snapshot())"
    assert search_postgres.sql(late, database=database_of(url)) == [(0,)]


def test_an_update_of_the_index_that_fails_is_made_by_the_next_search(
    search_postgres: VectorServer, url: str, store: PostgresStore, corpus: Corpus
) -> None:
    fill(store, corpus)
    document = "UPDATE search_reports SET document = {} WHERE report_id = 'report-001'"
    search_postgres.sql(document.format("""'{"report_id": 1}'"""), database=database_of(url))
    with pytest.raises(TypeError):
        reports_of(store, "cough")
    store.upsert_reports(corpus.reports)
    assert store.search_reports(ReportQuery()).total == len(corpus.reports)


def test_the_package_and_its_command_line_do_without_the_drivers() -> None:
    code = (
        "import sys, dicom_workflow.cli, dicom_workflow.search.store; "
        "print([name for name in ('psycopg', 'opensearchpy', 'pgvector', 'tantivy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_a_value_that_the_server_refuses_is_told_without_the_address(url: str) -> None:
    with (
        pytest.raises(RecordError, match="PostgreSQL refuses a value") as refused,
        store_errors(url),
        psycopg.connect(url) as sql,
    ):
        sql.execute("SELECT %s::integer", (2**40,))
    assert "://" not in str(refused.value)
