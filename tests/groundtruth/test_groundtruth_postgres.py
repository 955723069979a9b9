"""The job database in a real PostgreSQL: crashes, outages and two services at once, with the guarantees of the SQLite file."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError
from support.groundtruth import (
    PASSWORDS,
    WORKERS,
    Bench,
    Service,
    Visitor,
    job_request,
    label,
    make_images,
    output_lines,
    running,
    said,
    settings_for,
    without_times,
)
from support.postgres import PostgresServer, environment_of

from dicom_workflow.errors import ServiceError, SettingsError
from dicom_workflow.groundtruth import app
from dicom_workflow.groundtruth.store import postgres as postgres_module
from dicom_workflow.groundtruth.store import tables
from dicom_workflow.groundtruth.store.database import (
    CommitOutcomeUnknownError,
    JobDatabaseInUseError,
    JobDatabaseUnavailableError,
)
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.postgres import PostgresDatabase
from dicom_workflow.groundtruth.store.postgres_connections import LOCK, parameters_of, translated
from dicom_workflow.groundtruth.store.sqlite import SqliteDatabase
from dicom_workflow.settings import DatabaseAddress, Secret, Settings

OBJECTS = 12
_SHORT_TIMEOUTS = """
import sys
from dicom_workflow.groundtruth import app
from dicom_workflow.groundtruth.store import postgres
from dicom_workflow.groundtruth.__main__ import main
app.ENGINE_SECONDS = postgres.OUTAGE_TIMEOUT_SECONDS = 0.2
sys.exit(main())
"""


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


@contextlib.contextmanager
def bench_on(address: DatabaseAddress, workspace: Path, objects: int = 4) -> Iterator[Bench]:
    database = PostgresDatabase(address)
    with database.exclusive():
        made = Bench(workspace, database=database)
        make_images(workspace, objects)
        made.make_team()
        yield made


def database_of(bench: Bench) -> PostgresDatabase:
    assert isinstance(bench.store.db, PostgresDatabase)
    return bench.store.db


def refused_with(text: str, address: DatabaseAddress, error: type[Exception] = JobDatabaseUnavailableError) -> str:
    """Nobody gets in there, for that reason."""
    with pytest.raises(error, match=text) as caught, PostgresDatabase(address).exclusive():
        raise AssertionError(f"let in: {address}")
    return str(caught.value)


# ---- Killed -----------------------------------------------------------------------------------------------------------------


def test_service_and_database_are_killed_and_the_output_is_that_of_an_undisturbed_run_over_a_file(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    address = postgres.new_database()
    with running(tmp_path / "calm") as service:
        label(service, OBJECTS, at_once=9)
    with running(tmp_path / "stormy", **environment_of(address)) as service:

        def count() -> int:
            (row,) = postgres.sql("SELECT count(*) FROM answers", database=address.name)
            return int(str(row[0]))

        def strike() -> None:
            wait_until(lambda: count() >= OBJECTS // 2, 60)
            service.kill()
            service.start()
            for share in (1, 2):
                wait_until(lambda share=share: count() >= OBJECTS * share, 60)  # type: ignore[misc]
                postgres.crash()
                postgres.start()

        label(service, OBJECTS, at_once=9, disturbance=threading.Thread(target=strike))
        assert count() == OBJECTS * 3
    calm, stormy = (without_times(output_lines(tmp_path / name)) for name in ("calm", "stormy"))
    place = {line["case"]: line["source-ref"] for line in stormy}
    assert [{**line, "source-ref": place[line["case"]]} for line in calm] == stormy


def test_an_acknowledged_answer_is_there_after_the_database_and_the_service_are_killed_at_once(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    address, workspace = postgres.new_database(), tmp_path / "workspace"
    make_images(workspace, 3)
    with running(workspace, **environment_of(address)) as service:
        service.make_team()
        service.client().create_labeling_job(**job_request(workspace, workers=1))
        service.wait_for("reading", "InProgress")
        visitor, acknowledged = Visitor(service.url, "reader-1"), {}
        for state in ("positive", "negative"):
            task = visitor.next_task()
            reply = visitor.answer(task, said({"Edema": state})).json()
            assert (reply["accepted"], reply["repeated"]) == (True, False)
            postgres.crash()
            service.kill()
            acknowledged[task.rpartition("/")[2]] = state
            postgres.start()
            service.start()
            assert visitor.answer(task, said({"Edema": "unknown"})).json()["repeated"] is True
        rows = postgres.sql(
            "SELECT t.task, a.content FROM answers a JOIN tasks t USING (job, number, worker_id)", database=address.name
        )
    kept = {task: json.loads(json.loads(str(content))["annotation"])["labels"]["Edema"] for task, content in rows}
    assert kept == acknowledged


class Wire:
    """A way to the server that can be cut around a COMMIT: before it arrives, before its acknowledgment does, or so that the
    server never hears of the end (`silently`), as when a machine between them is gone."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = ""
        self.let_through = 0
        self.cuts = 0
        self.silent: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._target))
        deaf = threading.Event()
        back = threading.Thread(target=self._carry_back, args=(far, near, deaf), daemon=True)
        back.start()
        with near, far:
            with contextlib.suppress(OSError):
                while data := near.recv(65536):
                    if self.cut and b"COMMIT" in data and self.let_through:
                        self.let_through -= 1
                    elif self.cut and b"COMMIT" in data:
                        when, self.cut = self.cut, ""
                        self.cuts += 1
                        if when == "after":
                            deaf.set()
                            far.sendall(data)
                            # The server ends the connection when it has done the COMMIT and sees the end of what we send.
                            far.shutdown(socket.SHUT_WR)
                            back.join(10)
                        if when == "silently":
                            self.silent.append(far.dup())
                            return
                        break
                    far.sendall(data)
            with contextlib.suppress(OSError):  # closing alone would wait for the thread that still receives
                far.shutdown(socket.SHUT_RDWR)
            back.join(10)

    @staticmethod
    def _carry_back(far: socket.socket, near: socket.socket, deaf: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                if not deaf.is_set():
                    near.sendall(data)
            if not deaf.is_set():
                near.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for connection in (self._listener, *self.silent):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.fixture
def wire(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    monkeypatch.setenv("PGSSLMODE", "disable")  # or the wire could not tell a COMMIT
    made = Wire(postgres.port)
    yield made
    made.close()


@pytest.mark.parametrize("cut", ["before", "after", "silently"])
def test_an_answer_whose_commit_nobody_heard_of_is_looked_for_and_kept_once(
    tmp_path: Path, postgres: PostgresServer, wire: Wire, cut: str
) -> None:
    address = replace(postgres.new_database(), port=wire.port)
    with bench_on(address, tmp_path / "workspace") as bench:
        bench.create(workers=1)
        for number in range(3):
            task = bench.lease(WORKERS[0])
            assert task is not None
            assert task.number == number
            wire.cut = cut
            assert bench.answer(task, {"Edema": "positive"}) == "accepted"
            assert bench.answer(task, {"Edema": "negative"}) == "repeated"
        assert wire.cuts == 3
        kept = bench.store.answers("reading", 1)
        assert {number: [json.loads(answer.content) for answer in given] for number, given in kept.items()} == {
            number: [said({"Edema": "positive"})] for number in range(3)
        }


def test_an_answer_whose_second_commit_is_not_heard_of_either_is_not_called_unwritten(
    tmp_path: Path, postgres: PostgresServer, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = replace(postgres.new_database(), port=wire.port)
    with bench_on(address, tmp_path / "workspace") as bench:
        bench.create(workers=1)
        task = bench.lease(WORKERS[0])
        assert task is not None
        wire.cut = "after"
        away = JobDatabaseUnavailableError("away")
        with monkeypatch.context() as patch, pytest.raises(CommitOutcomeUnknownError, match="lost during COMMIT"):
            patch.setattr(database_of(bench), "_hold", lambda: (_ for _ in ()).throw(away))
            patch.setattr(postgres_module, "OUTAGE_TIMEOUT_SECONDS", 0.05)
            bench.answer(task, {"Edema": "positive"})
        wait_until(bench.store.db.is_ready)
        assert bench.answer(task, {"Edema": "negative"}) == "repeated"


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_job_whose_commit_nobody_heard_of_is_made_once(
    tmp_path: Path, postgres: PostgresServer, wire: Wire, cut: str
) -> None:
    address = replace(postgres.new_database(), port=wire.port)
    with bench_on(address, tmp_path / "workspace") as bench:
        wire.cut = cut
        first = bench.store.add_job({**job_request(bench.workspace), "LabelingJobArn": "arn"})
        assert (first is not None, wire.cuts) == (True, 1)
        assert bench.store.add_job({**job_request(bench.workspace, "READING"), "LabelingJobArn": "arn"}) is None
        assert len(bench.store.jobs()) == 1


def test_a_step_of_the_engine_is_cut_at_every_commit_and_the_job_comes_to_its_end(
    tmp_path: Path, postgres: PostgresServer, wire: Wire
) -> None:
    address = replace(postgres.new_database(), port=wire.port)
    with bench_on(address, tmp_path / "workspace") as bench:
        bench.jobs.create(job_request(bench.workspace, workers=1), "")

        def run_to_the_end() -> None:
            for number, cut in enumerate(itertools.cycle(["before", "after"])):
                wire.cut, wire.let_through = cut, number // 2
                with contextlib.suppress(JobDatabaseUnavailableError):
                    bench.engine.run_due()
                    wire.cut = ""
                    return

        run_to_the_end()
        assert bench.status == "InProgress"
        while task := bench.lease(WORKERS[0]):
            assert bench.answer(task) == "accepted"
        run_to_the_end()
        assert bench.status == "Completed"
        assert wire.cuts > 4
        assert [line["finding"]["labels"]["Edema"]["state"] for line in output_lines(bench.workspace)] == ["positive"] * 4


# ---- One service at a time --------------------------------------------------------------------------------------------------


def test_a_second_service_is_told_who_works_here(postgres: PostgresServer) -> None:
    address = postgres.new_database()
    first = PostgresDatabase(address)
    with first.exclusive():
        who = rf"another labeling service \(groundtruth {socket.gethostname()[:40]}/\d+/\w+, connected from 127\.0\.0\.1 since "
        refused_with(who, address, JobDatabaseInUseError)
    with PostgresDatabase(address).exclusive():
        pass


def test_a_second_service_waits_for_the_first_to_end(postgres: PostgresServer) -> None:
    address = postgres.new_database()
    order = []
    with PostgresDatabase(address).exclusive():

        def wait() -> None:
            with PostgresDatabase(address).exclusive(wait_seconds=30):
                order.append("second begins")

        second = threading.Thread(target=wait)
        second.start()
        wait_until(lambda: len(postgres.connections(address.name)) > 2)
        order.append("first ends")
    second.join(30)
    assert order == ["first ends", "second begins"]


@contextlib.contextmanager
def taken_by_another(postgres: PostgresServer, address: DatabaseAddress) -> Iterator[None]:
    """Another service has the job database of one that was shut out, which is let in again."""
    import psycopg

    other = psycopg.connect(
        host=str(postgres.socket),
        port=postgres.port,
        user="postgres",
        dbname=address.name,
        password=postgres.password.reveal(),
        application_name="groundtruth elsewhere/1/abcd",
        autocommit=True,
    )
    with other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        postgres.let_in(address.name)
        yield


def watch() -> threading.Thread | None:
    """The thread that looks after a job database."""
    return next((thread for thread in threading.enumerate() if thread.name == "groundtruth-job-database"), None)


def test_who_asks_late_hears_that_the_job_database_was_taken(postgres: PostgresServer) -> None:
    """A service is still being put together while its job database is held already."""
    address = postgres.new_database()
    database, told = PostgresDatabase(address), []
    with pytest.raises(JobDatabaseInUseError, match="elsewhere"), database.exclusive():
        postgres.shut_out(address.name)
        with taken_by_another(postgres, address):
            wait_until(lambda: watch() is None)
            database.on_lock_lost(lambda: told.append("ended"))
    assert told == ["ended"]


def test_a_server_that_is_gone_without_a_word_keeps_nobody_from_ending(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that looks after the job database may wait for such a server; what it still gets afterwards it lets go of."""
    address = postgres.new_database()
    database, waits, answers = PostgresDatabase(address), threading.Event(), threading.Event()

    def look() -> None:
        waits.set()
        assert answers.wait(60)
        database._hold()

    monkeypatch.setattr(postgres_module, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(database, "_check", look)
    with database.exclusive():
        assert waits.wait(20)
    assert watch() is not None
    answers.set()
    wait_until(lambda: watch() is None)
    wait_until(lambda: not postgres.connections(address.name))


def test_a_service_that_lost_its_job_database_to_another_ends_and_says_who_has_it(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    address, workspace = postgres.new_database(), tmp_path / "workspace"
    workspace.mkdir()
    service = Service(workspace, **environment_of(address))
    service.module = ["-c", _SHORT_TIMEOUTS]
    with contextlib.closing(service.start()):
        service.make_team()
        visitor = Visitor(service.url, "reader-1")
        assert visitor.get("/").status_code == 200
        postgres.shut_out(address.name)
        wait_until(lambda: requests.get(f"{service.url}/health", timeout=20).status_code == 503)
        # Away: it says so, and nothing else.
        assert requests.get(f"{service.url}/health", timeout=20).json() == {"status": "unavailable"}
        page = visitor.get("/")
        assert (page.status_code, page.headers["retry-after"]) == (503, "5")
        assert "Your answers are saved" in page.text
        assert address.name not in page.text
        with pytest.raises(ClientError) as caught:
            service.client().list_labeling_jobs()
        assert caught.value.response["Error"]["Code"] == "ServiceUnavailable"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert address.name not in str(caught.value)
        # Another one takes the job database: the service must not go on.
        with taken_by_another(postgres, address):
            assert service.process is not None
            assert service.process.wait(30) == 1
    text = service.log.read_text()
    assert "is in use by another labeling service (groundtruth elsewhere/1/abcd)" in text
    assert address.password.reveal() not in text


def test_what_lost_the_lock_cannot_write_even_inside_a_transaction(tmp_path: Path, postgres: PostgresServer) -> None:
    address = postgres.new_database()
    with bench_on(address, tmp_path / "workspace") as bench:
        with pytest.raises(JobDatabaseUnavailableError), bench.store.write() as session:
            session.execute("INSERT INTO members VALUES ('readers', 'before')")
            postgres.hang_up(address.name)
            session.execute("INSERT INTO members VALUES ('readers', 'after')")
        bench.add_worker("d")  # it is held again by now, and the next transaction goes through
        members = {row["worker_id"] for row in bench.store.db.execute("SELECT worker_id FROM members")}
    assert len(members) == 4
    assert not members & {"before", "after"}


# ---- Away and back ----------------------------------------------------------------------------------------------------------


def test_a_restart_of_the_database_is_not_noticed_by_who_asks(tmp_path: Path, postgres: PostgresServer) -> None:
    with bench_on(postgres.new_database(), tmp_path / "workspace") as bench:
        bench.create()
        postgres.crash()
        postgres.start()
        assert bench.status == "InProgress"
        postgres.crash()
        postgres.start()
        bench.add_worker("d")
        postgres.crash()
        postgres.start()
        assert bench.answer_all() == 12


def test_a_database_that_stays_away_fails_no_job(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.new_database()
    with bench_on(address, tmp_path / "workspace") as bench:
        bench.create(workers=1)
        task = bench.lease(WORKERS[0])
        assert task is not None
        postgres.shut_out(address.name)
        with monkeypatch.context() as patch:  # not for the pool of connections, which a busy machine needs more time for
            patch.setattr(postgres_module, "OUTAGE_TIMEOUT_SECONDS", 0.05)
            for _ in range(15):
                with pytest.raises(JobDatabaseUnavailableError, match="the job database does not answer now"):
                    bench.engine.run_due()
            with pytest.raises(JobDatabaseUnavailableError):
                bench.answer(task)
            assert not bench.store.db.is_ready()
        postgres.let_in(address.name)
        wait_until(bench.store.db.is_ready)
        assert bench.status == "InProgress"
        assert bench.answer_all(WORKERS[0]) == 4
        assert bench.status == "Completed"


def test_a_replica_is_not_taken_for_the_database(tmp_path: Path, postgres: PostgresServer) -> None:
    """After a failover the name of a cluster may lead to what is a replica now: it answers, and takes no writes."""
    address = postgres.new_database()
    with bench_on(address, tmp_path / "workspace") as bench:
        postgres.sql(f"ALTER DATABASE {address.name} SET default_transaction_read_only TO on")
        postgres.hang_up(address.name)
        wait_until(lambda: not bench.store.db.is_ready())
        refused_with("session is read-only", address)
        postgres.sql(f"ALTER DATABASE {address.name} SET default_transaction_read_only TO off")
        bench.add_worker("d")


def test_many_threads_read_and_answer_over_few_connections(tmp_path: Path, postgres: PostgresServer) -> None:
    address = postgres.new_database()
    with bench_on(address, tmp_path / "workspace", objects=12) as bench:
        bench.create()
        accepted: list[int] = []

        def work(worker: str) -> None:
            while task := bench.lease(worker):
                bench.store.counts("reading")
                assert bench.answer(task) == "accepted"
                accepted.append(task.number)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in WORKERS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(accepted) == sorted(list(range(12)) * 3)
        assert len(postgres.connections(address.name)) <= postgres_module.READERS + 1


# ---- What is asked of the server --------------------------------------------------------------------------------------------


def test_an_answer_is_durable_whatever_the_database_says_and_a_lease_need_not_be(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    address = postgres.new_database()
    postgres.sql(f"ALTER ROLE {address.name} SET synchronous_commit TO off")
    with bench_on(address, tmp_path / "workspace") as bench:
        seen = []
        for durable in (True, False, True):
            with bench.store.write(durable=durable) as session:
                seen.append(session.execute("SHOW synchronous_commit").fetchone()["synchronous_commit"])
    assert seen == ["on", "off", "on"]


def test_reading_cannot_write(tmp_path: Path, postgres: PostgresServer) -> None:
    import psycopg

    with bench_on(postgres.new_database(), tmp_path / "workspace") as bench:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            bench.store.db.execute("DELETE FROM members")
        assert bench.store.db.execute("SELECT count(*) AS count FROM members").fetchone()["count"] == 3


def test_a_statement_that_failed_unseen_is_not_taken_for_written(tmp_path: Path, postgres: PostgresServer) -> None:
    import psycopg

    with bench_on(postgres.new_database(), tmp_path / "workspace") as bench:
        unseen = contextlib.suppress(psycopg.Error)
        with pytest.raises(JobDatabaseUnavailableError, match="answered with ROLLBACK"), bench.store.write() as session, unseen:
            session.execute("INSERT INTO no_such_table VALUES (1)")
        bench.add_worker("d")


def test_a_transaction_within_another_is_refused_before_it_commits_both(tmp_path: Path, postgres: PostgresServer) -> None:
    with bench_on(postgres.new_database(), tmp_path / "workspace") as bench:
        before = bench.store.db.execute("SELECT count(*) AS count FROM members").fetchone()
        with pytest.raises(RuntimeError, match="nested transactions"), bench.store.write() as session:
            session.execute("INSERT INTO members VALUES ('readers', 'half')")
            bench.add_worker("d")
        assert bench.store.db.execute("SELECT count(*) AS count FROM members").fetchone() == before


def test_a_file_that_refuses_a_commit_takes_the_next_transaction(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "job-database.sqlite")
    with database.write() as session:
        session.execute("CREATE TABLE one (id INTEGER PRIMARY KEY)")
        session.execute("CREATE TABLE other (id INTEGER REFERENCES one DEFERRABLE INITIALLY DEFERRED)")
    database._connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError), database.write() as session:
        session.execute("INSERT INTO other VALUES (7)")
    for durable in (False, True):
        with database.write(durable=durable) as session:
            session.execute("INSERT INTO one VALUES (?)", (int(durable),))
    assert [row["id"] for row in database.execute("SELECT id FROM one")] == [0, 1]
    database.close()


def test_names_are_unique_whatever_their_case_and_a_nul_finds_nothing(tmp_path: Path, postgres: PostgresServer) -> None:
    with bench_on(postgres.new_database(), tmp_path / "workspace") as bench:
        bench.create("Reading-1")
        assert bench.store.job("rEADING-1") is not None
        assert bench.store.job("Reading1") is None
        assert bench.store.job("Reading-1\0") is None
        assert bench.leases.task("\0") is None


def test_a_job_database_of_another_version_is_left_alone(tmp_path: Path, postgres: PostgresServer) -> None:
    address = postgres.new_database()
    with bench_on(address, tmp_path / "workspace"):
        postgres.sql("UPDATE meta SET value = '99' WHERE key = 'schema'", database=address.name)
    database = PostgresDatabase(address)
    expected = f"{address.name}: expected tables of version {tables.SCHEMA_VERSION}, got version 99. Set DICOM_"
    with pytest.raises(ServiceError, match=expected), database.exclusive():
        JobStore(database)


def test_one_text_of_sql_serves_both() -> None:
    assert translated("SELECT 1 FROM t WHERE a = ? AND b % 2 = :rest") == "SELECT 1 FROM t WHERE a = %s AND b %% 2 = %(rest)s"
    table = "CREATE TABLE t (a BLOB, b REAL, c TEXT COLLATE NOCASE) WITHOUT ROWID"
    assert translated(table) == "CREATE TABLE t (a BYTEA, b DOUBLE PRECISION, c TEXT COLLATE NOCASE)"


# ---- The way there ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "ca", "mode", "root"),
    [
        ("db.example.org", "", "verify-full", "system"),
        ("db.example.org", "/etc/ca.pem", "verify-full", "/etc/ca.pem"),
        ("10.0.0.4", "", "verify-full", "system"),
        ("127.0.0.1", "/etc/ca.pem", "verify-full", "/etc/ca.pem"),
        ("127.0.0.1", "", None, None),
        ("::1", "", None, None),
        ("localhost", "", None, None),
        ("/var/run/postgresql", "", None, None),
    ],
)
def test_beyond_this_machine_the_server_is_always_verified(host: str, ca: str, mode: str | None, root: str | None) -> None:
    parameters = parameters_of(DatabaseAddress(host=host, ca=ca))
    assert (parameters.get("sslmode"), parameters.get("sslrootcert")) == (mode, root)


def test_a_verified_server_is_used_and_one_of_another_name_or_authority_is_not(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    address = replace(postgres.new_database(), host="localhost", ca=str(postgres.ca))
    with bench_on(address, tmp_path / "workspace"):
        assert set(postgres.connections(address.name)) == {(True, "TLSv1.3")}
    refused_with("certificate", replace(address, host="127.0.0.1"))
    stranger = tmp_path / "stranger.pem"
    subject = ("-keyout", str(tmp_path / "key"), "-out", str(stranger), "-subj", "/CN=Somebody")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject]
    subprocess.run(command, check=True, capture_output=True)
    refused_with("certificate", replace(address, ca=str(stranger)))


def test_a_wrong_password_is_said_without_it(postgres: PostgresServer) -> None:
    address = replace(postgres.new_database(), password=Secret("quite another word"))
    said_so = refused_with("password authentication failed", address)
    assert "quite another word" not in said_so + repr(address)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("PORT", "54x", "expected a port from 1 to 65535, got '54x'"),
        ("PORT", "70000", "expected a port from 1 to 65535"),
        ("HOST", "db sslmode=disable", "give the name of one host"),
        ("HOST", "a,b", "give the name of one host"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(variable: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"GROUNDTRUTH_DATABASE_{variable}: {text}"):
        Settings.from_env({"GROUNDTRUTH_DATABASE_HOST": "db", f"GROUNDTRUTH_DATABASE_{variable}": value})


def test_without_a_host_the_job_database_is_a_file_and_no_driver_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dicom_workflow.groundtruth import app, __main__;"
        "from dicom_workflow.settings import Settings;"
        f"print(app.open_database(Settings(Path({str(tmp_path)!r}))).name, any('psycopg' in name for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "groundtruth/job-database.sqlite"), "False"]
    assert isinstance(
        app.open_database(settings_for(tmp_path).with_(groundtruth_database=DatabaseAddress("/nowhere"))), PostgresDatabase
    )


# ---- As a process behind a load balancer ------------------------------------------------------------------------------------


def test_a_termination_is_heard_while_the_database_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    service = Service(tmp_path, **environment_of(DatabaseAddress("127.0.0.1", port=port)))
    service.arguments = ["--wait-seconds", "600"]

    def start() -> None:
        with pytest.raises(AssertionError, match="the service did not start"):
            service.start()

    waiting = threading.Thread(target=start)
    waiting.start()
    wait_until(lambda: service.log.exists() and "waiting for the job database:" in service.log.read_text())
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(20) == 0
    waiting.join()


def test_a_termination_ends_the_service_though_its_storage_hangs(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    make_images(workspace, 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts in the system's queue, and never answers
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        service = Service(workspace, S3_URL=hanging)
        service.module = ["-c", _SHORT_TIMEOUTS]
        service.start()
        service.make_team()
        request = job_request(workspace)
        request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = "s3://bucket/input.manifest"
        service.client().create_labeling_job(**request)
        begun = silent.accept()[0]
        assert begun.recv(1)  # the engine is in it
        assert service.process is not None
        service.process.terminate()
        assert service.process.wait(20) == 0
        begun.close()
    assert "stopped during a step of the engine" in service.log.read_text()


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that trusts one proxy, this machine, and knows its name."""
    workspace = tmp_path_factory.mktemp("balanced") / "workspace"
    workspace.mkdir()
    service = Service(workspace)
    service.arguments = ["--trust-proxy", "127.0.0.0/8", "--hosts", "portal.example.org", "127.0.0.1"]
    service.arguments += ["--keep-alive-seconds", "75"]
    try:
        service.start().make_team()
        yield service
    finally:
        service.stop()


def test_behind_a_trusted_proxy_with_tls_the_cookie_is_secure_and_the_browser_stays_with_tls(balanced: Service) -> None:
    form = {"name": "reader-1", "password": PASSWORDS["reader-1"].reveal()}
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7", "Host": "portal.example.org"}
    headers |= {"Origin": "https://portal.example.org"}
    response = Visitor(balanced.url).post("/sign-in", data=form, headers=headers)
    assert response.status_code == 303
    assert response.headers["location"] == "/"  # no scheme and no host: good behind every proxy
    assert "Secure" in response.headers["set-cookie"]
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    plain = Visitor(balanced.url).post("/sign-in", data=form)
    assert "Secure" not in plain.headers["set-cookie"]
    assert "strict-transport-security" not in plain.headers


def test_a_host_that_is_not_its_own_is_refused_but_the_health_check_is_not(balanced: Service) -> None:
    for host, status in (("portal.example.org", 200), ("PORTAL.example.org:443", 200), ("evil.example", 421), ("", 421)):
        assert requests.get(f"{balanced.url}/sign-in", headers={"Host": host}, timeout=20).status_code == status, host
    answer = requests.get(f"{balanced.url}/health", headers={"Host": "10.0.3.4:8501"}, timeout=20)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_proxy_that_is_not_trusted_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    service = Service(tmp_path / "workspace", FORWARDED_ALLOW_IPS="*")  # uvicorn's own variable must not count
    service.arguments = ["--trust-proxy", "10.0.0.0/8"]
    try:
        service.start().make_team()
        claims = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
        form = {"name": "reader-1", "password": PASSWORDS["reader-1"].reveal()}
        response = Visitor(service.url).post("/sign-in", data=form, headers=claims)
        assert "Secure" not in response.headers["set-cookie"]
        visitor, codes, wrong = Visitor(service.url), [], {"name": "x", "password": "y"}
        for n in range(6):
            claim = {"X-Forwarded-For": f"192.0.2.{n}"}
            codes.append(visitor.post("/sign-in", data=wrong, headers=claim).status_code)
        assert codes == [403] * 5 + [429]
    finally:
        service.stop()


def test_everybody_is_not_a_proxy(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.arguments = ["--trust-proxy", "*"]
    with pytest.raises(AssertionError, match=r"--trust-proxy: expected an address or a network such as 10\.0\.0\.0/16"):
        service.start()
