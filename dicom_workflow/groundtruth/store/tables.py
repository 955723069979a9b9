"""The tables of the journal, in the SQL that SQLite and PostgreSQL share; `postgres_dialect` knows the few other words."""

from __future__ import annotations

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


def statements() -> list[str]:
    """Return what makes the tables that are not there yet."""
    return [statement.strip() for statement in SCHEMA.split(";\n") if statement.strip()]
