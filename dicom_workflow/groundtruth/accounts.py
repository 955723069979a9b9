"""Accounts of workers: names, passwords, sessions and team membership.

The administrator creates workers through the signed interface of the service (`labeling.client.put_workers`). A worker id is
computed from the name alone, so the same name has the same id in every run and on every machine.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import uuid
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from dicom_workflow.errors import ServiceError
from dicom_workflow.groundtruth.store.job_store import JobStore

MIN_PASSWORD_CHARACTERS, MAX_PASSWORD_CHARACTERS = 8, 1024
MAX_NAME_CHARACTERS = 64
SESSION_SECONDS = 12 * 3600
IDENTITY_ISSUER = "https://groundtruth.dicom-workflow.invalid"
"""Issuer in worker-response files; its domain is reserved by RFC 2606 and can belong to nobody."""

FAILURES_ALLOWED = 5
FAILURES_ALLOWED_ANYWHERE = 50
"""Limit for one name from all addresses together, because an attacker may have or claim many addresses."""
FAILURES_SECONDS = 300.0

_argon2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""Argon2id with 19 MiB, one of OWASP's equivalent settings. A hash records its parameters, so these may be raised: hashes with
other parameters, and scrypt hashes of earlier versions, are replaced at the next sign-in."""
HASHES_AT_ONCE = 2
_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)  # each takes 19 MiB: many sign-ins at once must not exhaust the memory
SIGN_INS_AT_ONCE = 16
_signing_in = threading.BoundedSemaphore(SIGN_INS_AT_ONCE)  # a waiting sign-in holds a thread; others need the rest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """A signed-in worker."""

    worker_id: str
    name: str
    csrf: str


def worker_id_of(name: str, region: str) -> str:
    """Return the worker id of a name: ``private.<region>.<16 hexadecimal digits>``, as in Ground Truth."""
    return f"private.{region}.{hashlib.sha256(_identity(name)).hexdigest()[:16]}"


def identity_of(worker_id: str) -> dict[str, str]:
    """Return the ``identityData`` of a worker for worker-response files."""
    subject = uuid.uuid5(uuid.NAMESPACE_URL, f"{IDENTITY_ISSUER}/{worker_id}")
    return {"identityProviderType": "Oidc", "issuer": IDENTITY_ISSUER, "sub": str(subject)}


def _identity(name: str) -> bytes:
    return f"dicom-workflow/worker/{name.strip().casefold()}".encode()


class Accounts:
    """Workers, sessions and sign-in over the job database.

    Parameters
    ----------
    store : JobStore
        The job database.
    region : str
        Region in the worker ids.
    """

    def __init__(self, store: JobStore, region: str) -> None:
        self._store = store
        self._region = region
        self._failures: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()

    def put_worker(self, name: str, password: str, workteam: str) -> str:
        """Create a worker or change the password, add the worker to a team, and return the worker id.

        Parameters
        ----------
        name : str
            1 to 64 printable characters.
        password : str
            8 to 1,024 characters.
        workteam : str
            Name of an existing team.

        Raises
        ------
        ServiceError
            The name or password is invalid, or the team does not exist.
        """
        name = name.strip()
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise ServiceError(f"Worker name: expected 1 to {MAX_NAME_CHARACTERS} printable characters.")
        if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
            limits = f"{MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS:,}"
            raise ServiceError(f"Password of worker {name!r}: expected {limits} characters.")
        worker_id, digest = worker_id_of(name, self._region), _hashed(password)
        with self._store.write() as db:
            if not db.execute("SELECT 1 FROM workteams WHERE name = ?", (workteam,)).fetchone():
                raise ServiceError(f"The work team {workteam!r} does not exist. Create it with create_workteam first.")
            db.execute(
                "INSERT INTO workers VALUES (?, ?, ?, ?, ?) ON CONFLICT (worker_id)"
                " DO UPDATE SET salt = excluded.salt, hash = excluded.hash",
                (worker_id, name, b"", digest, self._store.clock()),
            )
            db.execute("INSERT INTO members VALUES (?, ?) ON CONFLICT DO NOTHING", (workteam, worker_id))
            db.execute("DELETE FROM sessions WHERE worker_id = ?", (worker_id,))
        return worker_id

    def remove_worker(self, name: str) -> bool:
        """Remove a worker from every team and end the sessions; given answers stay. Return whether the worker existed."""
        worker_id = worker_id_of(name, self._region)
        with self._store.write() as db:
            db.execute("DELETE FROM sessions WHERE worker_id = ?", (worker_id,))
            db.execute("DELETE FROM members WHERE worker_id = ?", (worker_id,))
            db.execute("UPDATE tasks SET state = 'released' WHERE worker_id = ? AND state = 'held'", (worker_id,))
            return bool(db.execute("DELETE FROM workers WHERE worker_id = ?", (worker_id,)).rowcount)

    def teams_of(self, worker_id: str) -> list[str]:
        """Return the names of a worker's teams."""
        rows = self._store.db.execute("SELECT workteam FROM members WHERE worker_id = ? ORDER BY workteam", (worker_id,))
        return [row["workteam"] for row in rows]

    def sign_in(self, name: str, password: str, address: str) -> str | None:
        """Return the token of a new session, or None when name or password is wrong.

        Parameters
        ----------
        name, password : str
            As entered.
        address : str
            Client address, for the limit of failed attempts.

        Raises
        ------
        ServiceError
            Too many failed attempts for this name from this address or from all, or too many sign-ins at one time.
        """
        if not _signing_in.acquire(blocking=False):
            raise ServiceError("Too many people are signing in at the moment. Try again in a few seconds.")
        try:
            return self._sign_in(name, password, address)
        finally:
            _signing_in.release()

    def _sign_in(self, name: str, password: str, address: str) -> str | None:
        now, who = self._store.clock(), name.strip().casefold()[:MAX_NAME_CHARACTERS]
        limits = {(address, who): FAILURES_ALLOWED, ("", who): FAILURES_ALLOWED_ANYWHERE}
        with self._lock:
            recent = {key: [at for at in self._failures.get(key, ()) if now - at < FAILURES_SECONDS] for key in limits}
            if any(len(recent[key]) >= most for key, most in limits.items()):
                raise ServiceError(f"Too many failed attempts. Wait {FAILURES_SECONDS / 60:.0f} minutes and try again.")
            # Counted before the slow check, so that parallel guesses count too; undone on success.
            self._failures.update({key: [*recent[key], now] for key in limits})
            if len(self._failures) > 10_000:
                self._failures = {k: v for k, v in self._failures.items() if now - v[-1] < FAILURES_SECONDS}
        worker_id = worker_id_of(name, self._region)
        row = self._store.db.execute("SELECT * FROM workers WHERE worker_id = ?", (worker_id,)).fetchone()
        password = password[:MAX_PASSWORD_CHARACTERS]
        # An unknown name takes the same time, so the time does not tell which names exist.
        salt, stored = (bytes(row["salt"]), bytes(row["hash"])) if row else (b"", _hash_of_nobody())
        if not _matches(password, salt, stored) or row is None:
            return None
        raised = _hashed(password) if _is_outdated(salt, stored) else None
        with self._lock:
            self._failures.pop((address, who), None)
            anywhere = self._failures.get(("", who), [])
            if now in anywhere:  # this attempt is taken back; guesses from other addresses still count
                anywhere.remove(now)
        token = secrets.token_urlsafe(32)
        with self._store.write() as db:
            db.execute("DELETE FROM sessions WHERE expires < ?", (now,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_hash(token), worker_id, now + SESSION_SECONDS))
            if raised:  # unless the password was changed in the meantime
                db.execute(
                    "UPDATE workers SET salt = ?, hash = ? WHERE worker_id = ? AND hash = ?", (b"", raised, worker_id, stored)
                )
        return token

    def session(self, token: str) -> Session | None:
        """Return the session of a cookie, or None when it has ended."""
        row = self._store.db.execute(
            "SELECT w.worker_id, w.name FROM sessions s JOIN workers w USING (worker_id)"
            " WHERE s.token_hash = ? AND s.expires > ?",
            (_hash(token), self._store.clock()),
        ).fetchone()
        return Session(row["worker_id"], row["name"], self._csrf(row["worker_id"])) if row else None

    def _csrf(self, worker_id: str) -> str:
        # Bound to the worker, not to the session: a page with an unsent answer stays valid after signing in again.
        return hmac.new(bytes.fromhex(self._store.meta("key")), f"csrf/{worker_id}".encode(), "sha256").hexdigest()

    def sign_out(self, token: str) -> None:
        """End a session."""
        with self._store.write() as db:
            db.execute("DELETE FROM sessions WHERE token_hash = ?", (_hash(token),))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _hashed(password: str) -> bytes:
    with _hashing:
        return _argon2.hash(_encoded(password)).encode("ascii")


def _matches(password: str, salt: bytes, stored: bytes) -> bool:
    """Say whether a password belongs to a stored hash: Argon2id in the PHC string format, or scrypt of an earlier version."""
    with _hashing:
        if salt:
            digest = hashlib.scrypt(_encoded(password), salt=salt, n=2**14, r=8, p=1)
            return hmac.compare_digest(digest, stored)
        try:
            return _argon2.verify(stored, _encoded(password))
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError) as error:
            _log.error("a stored password hash could not be verified: %s", error)
            return False


def _is_outdated(salt: bytes, stored: bytes) -> bool:
    return bool(salt) or _argon2.check_needs_rehash(stored.decode("ascii"))


@cache
def _hash_of_nobody() -> bytes:
    return _hashed(secrets.token_hex(16))


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "replace")
