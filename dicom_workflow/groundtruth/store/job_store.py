"""The job database of the labeling service: jobs, objects, leases and accepted answers.

An answer is acknowledged only after its transaction is durable, so neither a killed process nor a power failure loses it. A
lease may be lost without harm and is written without waiting for the disk.

States of an object: ``pending`` (not handed out yet) → ``open`` (offered to workers) → ``answered`` (all its answers are in) →
``labeled`` or ``failed``. ``present`` lines were labeled in the input manifest, ``passed`` lines need no worker.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from dicom_workflow.errors import ServiceError
from dicom_workflow.groundtruth.store import tables
from dicom_workflow.groundtruth.store.database import (
    CommitOutcomeUnknownError,
    Database,
    JobDatabaseUnavailableError,
    Transaction,
)
from dicom_workflow.groundtruth.store.tables import Batch, GivenAnswer, Job, Object, job_of, object_of

PAGE_ROWS = 1000
"""Objects read per statement: a job has up to a hundred thousand."""

ACTIVE = ("Initializing", "InProgress", "Stopping")


T = TypeVar("T")


class JobStore:
    """Jobs, objects, batches and answers in the job database.

    Parameters
    ----------
    db : Database
        Also used directly for reading.
    clock : callable
        Seconds since 1970.
    new_id : callable
        Makes an unguessable id for a task or a job.

    Raises
    ------
    ServiceError
        The database has the tables of another version.
    """

    def __init__(
        self, db: Database, *, clock: Callable[[], float] = time.time, new_id: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self.db = db
        self.clock = clock
        self.new_id = new_id
        with self.write() as session:
            for statement in tables.statements():
                session.execute(statement)
            for key, value in (("schema", str(tables.SCHEMA_VERSION)), ("key", secrets.token_hex(32))):
                session.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", (key, value))
        if (found := self.meta("schema")) != str(tables.SCHEMA_VERSION):
            raise ServiceError(
                f"{db.name}: expected tables of version {tables.SCHEMA_VERSION}, got version {found}. "
                "Set DICOM_WORKFLOW_WORKSPACE to another workspace, or GROUNDTRUTH_DATABASE_NAME to another database."
            )

    def write(self, *, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Open the one writing transaction. With `durable`, what it wrote survives a crash once the block has ended."""
        return self.db.write(durable=durable)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run one durable transaction and return its result, also when the connection is lost during COMMIT.

        Parameters
        ----------
        work : callable
            Called a second time when the outcome of the first transaction is unknown. It must therefore check, by a key that
            only this request can have written, whether its rows already exist.

        Raises
        ------
        JobDatabaseUnavailableError
            The database does not answer; nothing was written.
        CommitOutcomeUnknownError
            The database did not answer the second time either. Repeating the request later shows what was written.
        """
        try:
            with self.write() as session:
                return work(session)
        except CommitOutcomeUnknownError as unknown:
            try:
                with self.write() as session:
                    return work(session)
            except JobDatabaseUnavailableError as error:
                raise unknown from error

    def close(self) -> None:
        """Close the connection of this thread, if it has one."""
        self.db.close()

    def meta(self, key: str) -> str:
        """Return a value about the database: `schema` (version), or `key`, the secret that signs links of this workspace."""
        return self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()["value"]

    # Jobs

    def add_job(self, request: Mapping[str, Any]) -> Job | None:
        """Store a new job, or return None when the name is taken, ignoring case."""
        name, reference, now = request["LabelingJobName"], self.new_id(), self.clock()

        def add(db: Transaction) -> bool:
            db.execute(
                "INSERT INTO jobs (name, reference, request, status, created, modified) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (name, reference, json.dumps(request), "Initializing", now, now),
            )
            return db.execute("SELECT reference FROM jobs WHERE name = ?", (name,)).fetchone()["reference"] == reference

        return self.job(name) if self.transact(add) else None

    def job(self, name: str) -> Job | None:
        """Return a job by name, or None."""
        row = self.db.execute("SELECT * FROM jobs WHERE name = ?", (name,)).fetchone()
        return job_of(row) if row else None

    def jobs(self, *statuses: str, workteams: Iterable[str] | None = None) -> list[Job]:
        """Return the jobs in the order of creation, optionally only those of some statuses and work teams."""
        rows = [job_of(row) for row in self.db.execute("SELECT * FROM jobs ORDER BY created, name")]
        teams = None if workteams is None else {team.lower() for team in workteams}
        return [
            job for job in rows if (not statuses or job.status in statuses) and (teams is None or job.workteam.lower() in teams)
        ]

    def set_status(self, name: str, status: str, *, failure_reason: str = "", only_from: tuple[str, ...] = ACTIVE) -> bool:
        """Change the status of a job, and return whether it changed.

        Parameters
        ----------
        name, status : str
            The job and its new status.
        failure_reason : str
            Shown by DescribeLabelingJob; cut after 1,024 characters.
        only_from : tuple of str
            Statuses that may change; in any other the job stays as it is.
        """
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
        """Store the manifest lines of a job and start it; return the number of lines.

        Parameters
        ----------
        name : str
            The job.
        objects : iterable of (mapping, str)
            Manifest line and initial state of each object.
        template : str
            Worker template.
        categories : tuple of str or None
            Names of the label categories.
        """
        count = 0
        with self.write() as db:
            db.execute("DELETE FROM objects WHERE job = ?", (name,))  # left by an interrupted start
        # In chunks, because the lines may arrive slowly and answers to other jobs must not wait for them.
        numbered = enumerate(objects)
        while chunk := list(itertools.islice(numbered, 1000)):
            rows = [(name, number, json.dumps(line), state) for number, (line, state) in chunk]
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
        """Return the number of objects of a job in each state."""
        rows = self.db.execute("SELECT state, count(*) AS count FROM objects WHERE job = ? GROUP BY state", (name,))
        return {row["state"]: row["count"] for row in rows}

    def objects(
        self, name: str, *, state: str = "", iteration: int | None = None, limit: int | None = None
    ) -> Iterator[Object]:
        """Yield objects of a job in manifest order.

        Parameters
        ----------
        name : str
            The job.
        state : str
            Only objects in this state; all when empty.
        iteration : int, optional
            Only objects of this batch.
        limit : int, optional
            Yield at most this many.
        """
        wanted = {"job": name, **({"state": state} if state else {}), **({} if iteration is None else {"iteration": iteration})}
        conditions = " AND ".join(f"{column} = :{column}" for column in wanted)
        after, left = -1, limit
        while left is None or left > 0:
            size = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
            rows = self.db.execute(
                f"SELECT * FROM objects WHERE {conditions} AND number > :after ORDER BY number LIMIT :size",  # noqa: S608
                {**wanted, "after": after, "size": size},
            )
            yield from map(object_of, rows)
            if len(rows) < size:
                return
            after, left = rows[-1]["number"], None if left is None else left - size

    def object(self, name: str, number: int) -> Object | None:
        """Return one object of a job, or None."""
        row = self.db.execute("SELECT * FROM objects WHERE job = ? AND number = ?", (name, number)).fetchone()
        return object_of(row) if row else None

    # Batches

    def last_batch(self, name: str) -> Batch | None:
        """Return the latest batch of a job, or None."""
        row = self.db.execute(
            "SELECT iteration, opened, closed, state FROM batches WHERE job = ? ORDER BY iteration DESC LIMIT 1", (name,)
        ).fetchone()
        return Batch(**row) if row else None

    def open_batch(self, name: str, iteration: int, prepared: Iterable[tuple[int, str, Mapping[str, Any] | None, str]]) -> None:
        """Open a batch.

        Parameters
        ----------
        name : str
            The job.
        iteration : int
            Number of the batch, from 1.
        prepared : iterable of (int, str, mapping or None, str)
            Number, state, task input and failure reason of each object.
        """
        now = self.clock()
        with self.write() as db:
            db.execute("INSERT INTO batches VALUES (?, ?, ?, NULL, 'open')", (name, iteration, now))
            db.executemany(
                "UPDATE objects SET state = ?, task_input = ?, reason = ?, iteration = ?, closed = ?"
                " WHERE job = ? AND number = ?",
                [
                    (state, json.dumps(task_input), reason or None, iteration, now, name, number)
                    for number, state, task_input, reason in prepared
                ],
            )

    def begin_closing(self, name: str, iteration: int) -> None:
        """Record when a batch was closed: it takes no further answer, and the names of its files are fixed."""
        with self.write() as db:
            db.execute(
                "UPDATE batches SET state = 'closing', closed = ? WHERE job = ? AND iteration = ? AND state = 'open'",
                (self.clock(), name, iteration),
            )
            # Leases on objects of this batch become invalid.
            db.execute(
                "UPDATE objects SET state = 'answered' WHERE job = ? AND iteration = ? AND state = 'open'", (name, iteration)
            )

    def finish_batch(self, name: str, batch: Batch, results: Iterable[tuple[int, str, Any, str | None, str | None]]) -> None:
        """Store the results of a batch.

        Parameters
        ----------
        name : str
            The job.
        batch : Batch
            The closed batch.
        results : iterable of (int, str, label, str or None, str or None)
            Number, state, label, URI of the worker responses and failure reason of each object.
        """
        with self.write() as db:
            db.executemany(
                "UPDATE objects SET state = ?, label = ?, response_uri = ?, reason = ?, closed = ?"
                " WHERE job = ? AND number = ?",
                [
                    (state, json.dumps(label), response_uri, reason, batch.closed, name, number)
                    for number, state, label, response_uri, reason in results
                ],
            )
            db.execute("UPDATE batches SET state = 'done' WHERE job = ? AND iteration = ?", (name, batch.iteration))

    def answers(self, name: str, iteration: int) -> dict[int, list[GivenAnswer]]:
        """Return the answers of a batch by object, sorted by worker so that the order of arrival has no effect."""
        rows = self.db.execute(
            "SELECT a.number, a.worker_id, a.content, a.accepted, a.submitted FROM answers a JOIN objects o"
            " ON o.job = a.job AND o.number = a.number WHERE a.job = ? AND o.iteration = ?",
            (name, iteration),
        )
        found: dict[int, list[GivenAnswer]] = {}
        # Sorted here, because each database has its own collation.
        for given in sorted((GivenAnswer(**row) for row in rows), key=lambda given: (given.number, given.worker_id)):
            found.setdefault(given.number, []).append(given)
        return found

    def exhausted(self, job: Job) -> bool:
        """Return whether no open object can get a further answer, so that waiting for the lifetime is pointless.

        That is so when workers declined: each open object was answered or declined by as many workers as requested, and by
        every member of the team.
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
