"""The tables of the job database, and one frozen record class per table.

The SQL is the part that SQLite and PostgreSQL share; `postgres_connections` translates the few words that differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.protocol import Task

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


@dataclass(frozen=True)
class Job:
    """One labeling job: the request that made it and how far it is."""

    name: str
    reference: str
    request: Mapping[str, Any]
    status: str
    failure_reason: str
    created: float
    modified: float
    template: str | None
    """The worker template as it was when the job began."""
    categories: tuple[str, ...] | None
    objects: int

    @property
    def human(self) -> Mapping[str, Any]:
        """The request's HumanTaskConfig."""
        return self.request["HumanTaskConfig"]

    @property
    def attribute(self) -> str:
        """The label attribute name."""
        return self.request["LabelAttributeName"]

    @property
    def task(self) -> Task:
        """The kind of labeling task, named by the two functions of the request.

        Raises
        ------
        RecordError
            This version has no such task.
        """
        return registry.of_request(self.request)

    @property
    def workers_per_object(self) -> int:
        """How many different workers see each object."""
        return self.human["NumberOfHumanWorkersPerDataObject"]

    @property
    def workteam(self) -> str:
        """Name of the work team that labels."""
        return self.human["WorkteamArn"].rsplit("/", 1)[1]


@dataclass(frozen=True)
class Object:
    """One line of a job's manifest and what became of it."""

    number: int
    line: dict[str, Any]
    state: str
    task_input: dict[str, Any] | None
    iteration: int | None
    closed: float | None
    label: Any
    response_uri: str | None
    reason: str | None


@dataclass(frozen=True)
class Batch:
    """The objects that are with the workers at one time."""

    iteration: int
    opened: float
    closed: float | None
    state: str


@dataclass(frozen=True)
class Assignment:
    """One object in the hands of one worker. `state` is held, released, declined or answered."""

    task: str
    job: str
    number: int
    worker_id: str
    state: str
    accepted: float
    expires: float


@dataclass(frozen=True)
class GivenAnswer:
    """An accepted answer: the JSON text of its ``answerContent``."""

    number: int
    worker_id: str
    content: str
    accepted: float
    submitted: float


def job_of(row: Mapping[str, Any]) -> Job:
    """Return the job of one row of the job database."""
    data = dict(row)
    categories = json.loads(data["categories"]) if data["categories"] else None
    return Job(**{**data, "request": json.loads(data["request"]), "categories": tuple(categories) if categories else None})


def object_of(row: Mapping[str, Any]) -> Object:
    """Return the object of one row of the job database."""
    data = dict(row)
    del data["job"]
    for name in ("line", "task_input", "label"):
        data[name] = json.loads(data[name]) if data[name] is not None else None
    return Object(**data)


def statements() -> list[str]:
    """Return the statements that create the missing tables."""
    return [statement.strip() for statement in SCHEMA.split(";\n") if statement.strip()]
