"""Leases: which worker has which object until when, and whether an answer is still accepted."""

from __future__ import annotations

from dicom_workflow.groundtruth.store.database import Database, Transaction
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.tables import Assignment, Job

# A place is taken by an unexpired lease or an accepted answer.
_TAKEN = """(SELECT count(*) FROM tasks t WHERE t.job = o.job AND t.number = o.number
             AND (t.state = 'answered' OR (t.state = 'held' AND t.expires > :now)))"""
# Counted, because PostgreSQL would turn NOT EXISTS into a join that compares every object with every task of the worker.
_FREE_FOR_WORKER = f"""
    SELECT o.number FROM objects o WHERE o.job = :job AND o.state = 'open'
    AND (SELECT count(*) FROM tasks t WHERE t.job = o.job AND t.number = o.number AND t.worker_id = :worker
         AND t.state IN ('answered', 'declined')) = 0
    AND {_TAKEN} < :places ORDER BY o.number LIMIT 1"""  # noqa: S608  (no text of a request is in here)


class Leases:
    """Leases objects to workers and accepts their answers, over the job database."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def task(self, task: str) -> Assignment | None:
        """Return a task by its id, or None."""
        row = self._store.db.execute("SELECT * FROM tasks WHERE task = ?", (task,)).fetchone()
        return Assignment(**row) if row else None

    def is_free(self, job: Job, worker_id: str) -> bool:
        """Return whether an object is available for this worker now."""
        values = {"job": job.name, "worker": worker_id, "places": job.workers_per_object, "now": self._store.clock()}
        held = self._held(self._store.db, job.name, worker_id)
        return bool(held) or self._store.db.execute(_FREE_FOR_WORKER, values).fetchone() is not None

    def lease(self, job: Job, worker_id: str) -> Assignment | None:
        """Lease an object to a worker: the one already leased, else the first in manifest order with a free place."""
        with self._store.write(durable=False) as db:
            return self._lease(db, job, worker_id)

    def _held(self, db: Transaction | Database, job: str, worker_id: str) -> Assignment | None:
        row = db.execute(
            "SELECT t.* FROM tasks t WHERE t.worker_id = ? AND t.job = ? AND t.state = 'held' AND t.expires > ?"
            " AND (SELECT o.state FROM objects o WHERE o.job = t.job AND o.number = t.number) = 'open'"
            " ORDER BY t.number LIMIT 1",
            (worker_id, job, self._store.clock()),
        ).fetchone()
        return Assignment(**row) if row else None

    def _lease(self, db: Transaction, job: Job, worker_id: str) -> Assignment | None:
        held = self._held(db, job.name, worker_id)
        if held:
            return held
        now = self._store.clock()
        values = {"job": job.name, "worker": worker_id, "places": job.workers_per_object, "now": now}
        row = db.execute(_FREE_FOR_WORKER, values).fetchone()
        if row is None:
            return None
        # One id per object and worker: a link to a task stays valid when the lease expired and was renewed.
        row = db.execute(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, 'held', ?, ?) ON CONFLICT (job, number, worker_id)"
            " DO UPDATE SET state = 'held', accepted = excluded.accepted, expires = excluded.expires RETURNING *",
            (self._store.new_id(), job.name, row["number"], worker_id, now, now + job.human["TaskTimeLimitInSeconds"]),
        ).fetchone()
        return Assignment(**row)

    def release(self, task: Assignment, *, declined: bool) -> None:
        """End a lease: for good (`declined`), or so that the same worker may lease the object again."""
        with self._store.write() as db:
            db.execute(
                "UPDATE tasks SET state = ? WHERE task = ? AND state IN ('held', 'released')",
                ("declined" if declined else "released", task.task),
            )

    def accept(self, task: Assignment, job: Job, content: str) -> tuple[str, Assignment | None]:
        """Store an answer, and lease the next object.

        Parameters
        ----------
        task : Assignment
            The lease that is answered.
        job : Job
            Its job.
        content : str
            JSON text of ``answerContent``.

        Returns
        -------
        str, Assignment or None
            ``accepted``; ``repeated`` when this worker has already answered this object (the first answer is kept);
            ``closed`` when the object takes no more answers; ``taken`` when the lease expired and another worker has the
            place. A late answer whose place is still free is accepted. The task is the next one, None when there is none.
        """
        now = self._store.clock()

        def keep(db: Transaction) -> tuple[str, Assignment | None]:
            outcome = self._accept(db, task, job, content, now)
            open_job = db.execute("SELECT 1 FROM jobs WHERE name = ? AND status = 'InProgress'", (job.name,)).fetchone()
            return outcome, self._lease(db, job, task.worker_id) if open_job else None

        return self._store.transact(keep)

    def _accept(self, db: Transaction, task: Assignment, job: Job, content: str, now: float) -> str:
        place = (task.job, task.number, task.worker_id)
        here = "SELECT content, submitted FROM answers WHERE job = ? AND number = ? AND worker_id = ?"
        if kept := db.execute(here, place).fetchone():
            # It may be this very answer, written by a transaction whose outcome was unknown.
            return "accepted" if (kept["content"], kept["submitted"]) == (content, now) else "repeated"
        row = db.execute(
            f"""SELECT o.state, t.state AS lease, t.accepted, t.expires, {_TAKEN} AS taken FROM objects o
                JOIN tasks t ON t.task = :task JOIN jobs j ON j.name = o.job
                WHERE o.job = :job AND o.number = :number AND o.state = 'open' AND j.status = 'InProgress'""",  # noqa: S608
            {"task": task.task, "job": task.job, "number": task.number, "now": now},
        ).fetchone()
        if row is None or row["lease"] == "declined":
            return "closed"
        in_hand = row["lease"] == "held" and row["expires"] > now
        if not in_hand and row["taken"] >= job.workers_per_object:
            return "taken"
        db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)", (*place, content, row["accepted"], now))
        db.execute("UPDATE tasks SET state = 'answered' WHERE task = ?", (task.task,))
        db.execute(
            "UPDATE objects SET state = 'answered' WHERE job = ? AND number = ?"
            " AND (SELECT count(*) FROM answers a WHERE a.job = objects.job AND a.number = objects.number) >= ?",
            (task.job, task.number, job.workers_per_object),
        )
        return "accepted"

    def answered_by(self, job: str, worker_id: str) -> int:
        """Return the number of objects of a job that a worker has answered."""
        return self._store.db.execute(
            "SELECT count(*) AS count FROM tasks WHERE job = ? AND worker_id = ? AND state = 'answered'", (job, worker_id)
        ).fetchone()["count"]
