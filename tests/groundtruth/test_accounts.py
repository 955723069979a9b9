"""Passwords: Argon2id with its parameters in the hash; hashes of earlier versions are verified, and replaced at sign-in."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters
from support.groundtruth import REGION

from dicom_workflow.groundtruth import accounts
from dicom_workflow.groundtruth.accounts import Accounts, worker_id_of
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.sqlite import SqliteDatabase

NAME, PASSWORD = "Dr. Ada", "correct horse battery"


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    store = JobStore(SqliteDatabase(tmp_path / "job-database.sqlite"))
    with store.write() as db:
        db.execute("INSERT INTO workteams VALUES ('readers', '{}', 0, 0)")
    return store


def stored(store: JobStore) -> tuple[bytes, bytes]:
    row = store.db.execute("SELECT salt, hash FROM workers").fetchone()
    return row["salt"], row["hash"]


def keep(store: JobStore, salt: bytes, digest: bytes) -> None:
    with store.write() as db:
        db.execute("UPDATE workers SET salt = ?, hash = ?", (salt, digest))


def test_the_hash_is_argon2id_and_holds_its_parameters(store: JobStore) -> None:
    Accounts(store, REGION).put_worker(NAME, PASSWORD, "readers")
    salt, digest = stored(store)
    assert (salt, digest.startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")) == (b"", True)


def test_a_scrypt_hash_of_an_earlier_version_signs_in_and_is_replaced(store: JobStore) -> None:
    people = Accounts(store, REGION)
    people.put_worker(NAME, PASSWORD, "readers")
    salt = b"0123456789abcdef"
    old = hashlib.scrypt(PASSWORD.encode(), salt=salt, n=2**14, r=8, p=1)
    keep(store, salt, old)
    assert people.sign_in(NAME, "another password", "192.0.2.1") is None
    assert stored(store) == (salt, old)
    token = people.sign_in(NAME, PASSWORD, "192.0.2.1")
    assert token is not None
    assert people.session(token).worker_id == worker_id_of(NAME, REGION)
    raised = stored(store)
    assert (raised[0], raised[1].startswith(b"$argon2id$")) == (b"", True)
    assert people.sign_in(NAME, PASSWORD, "192.0.2.1") is not None
    assert stored(store) == raised, "a hash with today's parameters stays"
    assert people.sign_in(NAME, "another password", "192.0.2.1") is None


def test_a_hash_with_weaker_parameters_is_replaced_at_sign_in(store: JobStore) -> None:
    people = Accounts(store, REGION)
    people.put_worker(NAME, PASSWORD, "readers")
    keep(store, b"", PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD).encode())
    assert people.sign_in(NAME, PASSWORD, "") is not None
    assert b"m=19456,t=2,p=1" in stored(store)[1]


def test_a_damaged_hash_lets_nobody_in(store: JobStore) -> None:
    people = Accounts(store, REGION)
    people.put_worker(NAME, PASSWORD, "readers")
    keep(store, b"", b"$argon2id$v=19$m=194")
    assert people.sign_in(NAME, PASSWORD, "") is None


def test_no_more_than_two_hashes_are_computed_at_once(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 19 MiB, so this bounds the memory that any number of sign-ins can take."""
    people = Accounts(store, REGION)
    people.put_worker(NAME, PASSWORD, "readers")
    real, lock, running, most = accounts._argon2, threading.Lock(), 0, 0

    class Counted(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            try:
                return real.verify(hash, password)
            finally:
                with lock:
                    running -= 1

    monkeypatch.setattr(accounts, "_argon2", Counted(time_cost=2, memory_cost=19 * 1024, parallelism=1))
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda n: people.sign_in(NAME, PASSWORD, f"192.0.2.{n}"), range(16)))
    assert all(tokens)
    assert most == accounts.HASHES_AT_ONCE == 2


def test_an_unknown_name_costs_the_same_hash_as_a_wrong_password(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time of an answer tells which names exist."""
    people = Accounts(store, REGION)
    people.put_worker(NAME, PASSWORD, "readers")
    assert people.sign_in("nobody at all", "the first computes the hash that is compared with", "") is None
    real, verified = accounts._argon2, []

    class Recorded(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            verified.append(extract_parameters(hash if isinstance(hash, str) else hash.decode()))
            return real.verify(hash, password)

    monkeypatch.setattr(accounts, "_argon2", Recorded(time_cost=2, memory_cost=19 * 1024, parallelism=1))
    for name in (NAME, "nobody at all"):
        assert people.sign_in(name, "a wrong password", "") is None
    wrong_password, unknown_name = verified
    assert unknown_name == wrong_password
    assert (unknown_name.memory_cost, unknown_name.time_cost) == (19 * 1024, 2)
