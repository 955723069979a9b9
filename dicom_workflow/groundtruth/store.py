"""The journal of the labeling service: one SQLite file that knows every job, object, lease and accepted answer.

An answer is acknowledged only after its transaction is on disk (write-ahead log, ``synchronous=FULL``), so neither a killed
process nor a lost plug takes it back. A lease may be lost without harm and is written with less ceremony.

States of an object: ``pending`` (not handed out yet) → ``open`` (with the workers) → ``answered`` (all its answers are in) →
``labeled`` or ``failed``. ``present`` lines brought their label along, ``passed`` lines need no worker.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dicom_workflow.errors import ServiceError
from dicom_workflow.groundtruth.rows import Batch, GivenAnswer, Job, Object, job_of, object_of

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS workteams (
    name TEXT PRIMARY KEY COLLATE NOCASE, request TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS workers (
    worker_id TEXT PRIMARY KEY, name TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL,
    created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS members (
    workteam TEXT NOT NULL COLLATE NOCASE, worker_id TEXT NOT NULL, PRIMARY KEY (workteam, worker_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    token_hash BLOB PRIMARY KEY, worker_id TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    name TEXT PRIMARY KEY COLLATE NOCASE, reference TEXT NOT NULL, request TEXT NOT NULL, status TEXT NOT NULL,
    failure_reason TEXT NOT NULL DEFAULT '', created REAL NOT NULL, modified REAL NOT NULL,
    template TEXT, categories TEXT, objects INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS objects (
    job TEXT NOT NULL COLLATE NOCASE, number INTEGER NOT NULL, line TEXT NOT NULL, state TEXT NOT NULL, task_input TEXT,
    iteration INTEGER, closed REAL, label TEXT, response_uri TEXT, reason TEXT, PRIMARY KEY (job, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_state ON objects (job, state, number);
CREATE TABLE IF NOT EXISTS batches (
    job TEXT NOT NULL COLLATE NOCASE, iteration INTEGER NOT NULL, opened REAL NOT NULL, closed REAL,
    state TEXT NOT NULL, PRIMARY KEY (job, iteration)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    task TEXT PRIMARY KEY, job TEXT NOT NULL COLLATE NOCASE, number INTEGER NOT NULL, worker_id TEXT NOT NULL,
    state TEXT NOT NULL, accepted REAL NOT NULL, expires REAL NOT NULL, UNIQUE (job, number, worker_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tasks_held ON tasks (worker_id, job) WHERE state = 'held';
CREATE TABLE IF NOT EXISTS answers (
    job TEXT NOT NULL COLLATE NOCASE, number INTEGER NOT NULL, worker_id TEXT NOT NULL, content TEXT NOT NULL,
    accepted REAL NOT NULL, submitted REAL NOT NULL, PRIMARY KEY (job, number, worker_id)) WITHOUT ROWID;
"""

ACTIVE = ("Initializing", "InProgress", "Stopping")


class Store:
    """The journal.

    Parameters
    ----------
    path : Path
        The SQLite file; made when there is none.
    clock : callable
        Seconds since 1970.
    new_id : callable
        Makes an id of a task or a job that cannot be guessed.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self.path = path
        self.clock = clock
        self.new_id = new_id
        self._local = threading.local()
        self._writing = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # before SQLite does: its companion files take over the mode
        with self.write() as db:
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
            db.execute("INSERT OR IGNORE INTO meta VALUES ('key', ?)", (secrets.token_hex(32),))
        if self.meta("schema") != str(SCHEMA_VERSION):
            found = self.meta("schema")
            raise ServiceError(f"{path}: expected journal version {SCHEMA_VERSION}, got {found}. Use another workspace.")

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection, for reading."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=30, cached_statements=256)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
        return connection

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction. With `durable`, what it wrote is on disk when the block ends."""
        with self._writing:
            db = self.db
            if not durable:
                db.execute("PRAGMA synchronous = NORMAL")
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                if not durable:
                    db.execute("PRAGMA synchronous = FULL")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def meta(self, key: str) -> str:
        """Return a value of the journal itself: `schema`, or `key`, the secret that signs links of this workspace."""
        return self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]

    # Jobs

    def add_job(self, request: Mapping[str, Any]) -> Job | None:
        """Keep a new job, or return None when there is one of that name, whatever its case."""
        now = self.clock()
        with self.write() as db:
            added = db.execute(
                "INSERT OR IGNORE INTO jobs (name, reference, request, status, created, modified) VALUES (?, ?, ?, ?, ?, ?)",
                (request["LabelingJobName"], self.new_id(), json.dumps(request), "Initializing", now, now),
            ).rowcount
        return self.job(request["LabelingJobName"]) if added else None

    def job(self, name: str) -> Job | None:
        """Return a job by its name."""
        row = self.db.execute("SELECT * FROM jobs WHERE name = ?", (name,)).fetchone()
        return job_of(row) if row else None

    def jobs(self, *statuses: str, workteams: Iterable[str] | None = None) -> list[Job]:
        """Return the jobs in the order they were made, all or those of some statuses and work teams."""
        rows = [job_of(row) for row in self.db.execute("SELECT * FROM jobs ORDER BY created, name")]
        teams = None if workteams is None else {team.lower() for team in workteams}
        return [
            job for job in rows if (not statuses or job.status in statuses) and (teams is None or job.workteam.lower() in teams)
        ]

    def set_status(self, name: str, status: str, *, failure_reason: str = "", only_from: tuple[str, ...] = ACTIVE) -> bool:
        """Move a job to a status unless it is in none of `only_from`; say whether it moved."""
        with self.write() as db:
            marks = ", ".join("?" * len(only_from))
            return bool(
                db.execute(
                    f"UPDATE jobs SET status = ?, failure_reason = ?, modified = ? WHERE name = ? AND status IN ({marks})",  # noqa: S608
                    (status, failure_reason[:1024], self.clock(), name, *only_from),
                ).rowcount
            )

    def set_loaded(
        self, name: str, objects: Iterable[tuple[Mapping[str, Any], str]], *, template: str, categories: tuple[str, ...] | None
    ) -> int:
        """Keep the lines of a job, each with its first state, and let it begin."""
        count = 0
        with self.write() as db:
            db.execute("DELETE FROM objects WHERE job = ?", (name,))  # what an interrupted start left
        # In portions, because the lines may come slowly from far away and answers to other jobs must not wait for them.
        numbered = enumerate(objects)
        while portion := list(itertools.islice(numbered, 1000)):
            rows = [(name, number, json.dumps(line), state) for number, (line, state) in portion]
            with self.write(durable=False) as db:
                db.executemany("INSERT INTO objects (job, number, line, state) VALUES (?, ?, ?, ?)", rows)
            count += len(rows)
        with self.write() as db:
            db.execute(
                "UPDATE jobs SET objects = ?, template = ?, categories = ?, modified = ?,"
                " status = CASE status WHEN 'Initializing' THEN 'InProgress' ELSE status END WHERE name = ?",
                (count, template, json.dumps(categories) if categories else None, self.clock(), name),
            )
        return count

    def counts(self, name: str) -> dict[str, int]:
        """Return how many objects of a job are in each state."""
        rows = self.db.execute("SELECT state, count(*) FROM objects WHERE job = ? GROUP BY state", (name,))
        return {row[0]: row[1] for row in rows}

    def objects(self, name: str, *, state: str = "", iteration: int | None = None, limit: int = -1) -> Iterator[Object]:
        """Yield objects of a job in manifest order."""
        rows = self.db.execute(
            "SELECT * FROM objects WHERE job = :job AND (:state = '' OR state = :state)"
            " AND (:iteration IS NULL OR iteration = :iteration) ORDER BY number LIMIT :limit",
            {"job": name, "state": state, "iteration": iteration, "limit": limit},
        )
        for row in rows:
            yield object_of(row)

    def object(self, name: str, number: int) -> Object | None:
        """Return one object of a job."""
        row = self.db.execute("SELECT * FROM objects WHERE job = ? AND number = ?", (name, number)).fetchone()
        return object_of(row) if row else None

    # Batches

    def last_batch(self, name: str) -> Batch | None:
        """Return the batch that was opened last."""
        row = self.db.execute(
            "SELECT iteration, opened, closed, state FROM batches WHERE job = ? ORDER BY iteration DESC LIMIT 1", (name,)
        ).fetchone()
        return Batch(**row) if row else None

    def open_batch(self, name: str, iteration: int, prepared: Iterable[tuple[int, str, Mapping[str, Any] | None, str]]) -> None:
        """Hand out a batch: number, state, task input and reason of each object."""
        now = self.clock()
        with self.write() as db:
            db.execute("INSERT INTO batches VALUES (?, ?, ?, NULL, 'open')", (name, iteration, now))
            for number, state, task_input, reason in prepared:
                db.execute(
                    "UPDATE objects SET state = ?, task_input = ?, reason = ?, iteration = ?, closed = ?"
                    " WHERE job = ? AND number = ?",
                    (state, json.dumps(task_input), reason or None, iteration, now, name, number),
                )

    def begin_closing(self, name: str, iteration: int) -> None:
        """Fix the moment a batch was closed: from now on it takes no answer, and its files have their names."""
        with self.write() as db:
            db.execute(
                "UPDATE batches SET state = 'closing', closed = ? WHERE job = ? AND iteration = ? AND state = 'open'",
                (self.clock(), name, iteration),
            )
            # Whoever still holds an object of this batch cannot answer it any more.
            db.execute(
                "UPDATE objects SET state = 'answered' WHERE job = ? AND iteration = ? AND state = 'open'", (name, iteration)
            )

    def finish_batch(self, name: str, batch: Batch, results: Iterable[tuple[int, str, Any, str | None, str | None]]) -> None:
        """Keep what became of the objects of a batch: number, state, label, URI of the answers, reason."""
        with self.write() as db:
            for number, state, label, response_uri, reason in results:
                db.execute(
                    "UPDATE objects SET state = ?, label = ?, response_uri = ?, reason = ?, closed = ?"
                    " WHERE job = ? AND number = ?",
                    (state, json.dumps(label), response_uri, reason, batch.closed, name, number),
                )
            db.execute("UPDATE batches SET state = 'done' WHERE job = ? AND iteration = ?", (name, batch.iteration))

    def answers(self, name: str, iteration: int) -> dict[int, list[GivenAnswer]]:
        """Return the answers of a batch by object, sorted by worker, so that the order of arrival leaves no trace."""
        rows = self.db.execute(
            "SELECT a.number, a.worker_id, a.content, a.accepted, a.submitted FROM answers a JOIN objects o"
            " ON o.job = a.job AND o.number = a.number WHERE a.job = ? AND o.iteration = ? ORDER BY a.number, a.worker_id",
            (name, iteration),
        )
        found: dict[int, list[GivenAnswer]] = {}
        for row in rows:
            found.setdefault(row["number"], []).append(GivenAnswer(**row))
        return found

    def exhausted(self, job: Job) -> bool:
        """Say whether every open object has been dealt with by as many workers as asked for, and nobody else is on the team.

        That happens when workers decline: no further answer can come, and waiting for the lifetime would be in vain.
        """
        row = self.db.execute(
            """SELECT 1 FROM objects o WHERE o.job = :job AND o.state = 'open' AND (
                 (SELECT count(*) FROM tasks t WHERE t.job = o.job AND t.number = o.number
                  AND t.state IN ('answered', 'declined')) < :places
                 OR EXISTS (SELECT 1 FROM members m WHERE m.workteam = :team AND NOT EXISTS (
                   SELECT 1 FROM tasks t WHERE t.job = o.job AND t.number = o.number AND t.worker_id = m.worker_id
                   AND t.state IN ('answered', 'declined')))) LIMIT 1""",
            {"job": job.name, "places": job.workers_per_object, "team": job.workteam},
        ).fetchone()
        return row is None
