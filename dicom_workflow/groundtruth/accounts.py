"""Who may label: workers, their passwords and sessions, and the work teams they belong to.

Workers are made by the administrator, through the signed interface of the service (`put_workers`). A worker id is computed
from the name alone, so the same name has the same id in every run and on every machine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.errors import ServiceError, SettingsError
from dicom_workflow.groundtruth.store.job_store import Store
from dicom_workflow.settings import Secret, Settings

MIN_PASSWORD_CHARACTERS = 8
MAX_NAME_CHARACTERS = 64
SESSION_SECONDS = 12 * 3600
IDENTITY_ISSUER = "https://groundtruth.dicom-workflow.invalid"
"""Issuer in worker-response files; reserved by RFC 2606, so it can never be somebody's."""

ACCOUNT_ID = "000000000000"
FAILURES_ALLOWED = 5
FAILURES_ALLOWED_ANYWHERE = 50
"""For one name from all addresses together: whoever has many addresses, or can claim them, must not have many guesses."""
FAILURES_SECONDS = 300.0

_hashing = threading.BoundedSemaphore(2)  # scrypt takes 16 MiB each: a storm of sign-ins must not take the memory
SIGN_INS_AT_ONCE = 16
_signing_in = threading.BoundedSemaphore(SIGN_INS_AT_ONCE)  # who waits for scrypt holds a thread: others have to work meanwhile


@dataclass(frozen=True)
class Session:
    """A signed-in worker."""

    worker_id: str
    name: str
    csrf: str


def worker_id_of(name: str, region: str) -> str:
    """Return the worker id of a name: ``private.<region>.<16 hexadecimal digits>``, as Ground Truth writes them."""
    return f"private.{region}.{hashlib.sha256(_identity(name)).hexdigest()[:16]}"


def identity_of(worker_id: str) -> dict[str, str]:
    """Return the ``identityData`` of a worker for worker-response files."""
    subject = uuid.uuid5(uuid.NAMESPACE_URL, f"{IDENTITY_ISSUER}/{worker_id}")
    return {"identityProviderType": "Oidc", "issuer": IDENTITY_ISSUER, "sub": str(subject)}


def _identity(name: str) -> bytes:
    return f"dicom-workflow/worker/{name.strip().casefold()}".encode()


class Accounts:
    """Workers, sessions and sign-in over the journal."""

    def __init__(self, store: Store, region: str) -> None:
        self._store = store
        self._region = region
        self._failures: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()

    def put_worker(self, name: str, password: str, workteam: str) -> str:
        """Make a worker or change the password, put the worker on a team, and return the worker id.

        Raises
        ------
        ServiceError
            A name or password that cannot be used, or no such team.
        """
        name = name.strip()
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise ServiceError(f"expected a worker name of 1 to {MAX_NAME_CHARACTERS} printable characters.")
        if not MIN_PASSWORD_CHARACTERS <= len(password) <= 1024:
            raise ServiceError(f"expected a password of at least {MIN_PASSWORD_CHARACTERS} characters for worker {name!r}.")
        worker_id, salt = worker_id_of(name, self._region), secrets.token_bytes(16)
        digest = _scrypt(password, salt)
        with self._store.write() as db:
            if not db.execute("SELECT 1 FROM workteams WHERE name = ?", (workteam,)).fetchone():
                raise ServiceError(f"there is no work team {workteam!r}. Make it with create_workteam first.")
            db.execute(
                "INSERT INTO workers VALUES (?, ?, ?, ?, ?) ON CONFLICT (worker_id)"
                " DO UPDATE SET salt = excluded.salt, hash = excluded.hash",
                (worker_id, name, salt, digest, self._store.clock()),
            )
            db.execute("INSERT INTO members VALUES (?, ?) ON CONFLICT DO NOTHING", (workteam, worker_id))
            db.execute("DELETE FROM sessions WHERE worker_id = ?", (worker_id,))
        return worker_id

    def remove_worker(self, name: str) -> bool:
        """Take a worker off every team and end the sessions; what was answered stays. Say whether there was one."""
        worker_id = worker_id_of(name, self._region)
        with self._store.write() as db:
            db.execute("DELETE FROM sessions WHERE worker_id = ?", (worker_id,))
            db.execute("DELETE FROM members WHERE worker_id = ?", (worker_id,))
            db.execute("UPDATE tasks SET state = 'released' WHERE worker_id = ? AND state = 'held'", (worker_id,))
            return bool(db.execute("DELETE FROM workers WHERE worker_id = ?", (worker_id,)).rowcount)

    def teams_of(self, worker_id: str) -> list[str]:
        """Return the names of the teams a worker is on."""
        rows = self._store.db.execute("SELECT workteam FROM members WHERE worker_id = ? ORDER BY workteam", (worker_id,))
        return [row["workteam"] for row in rows]

    def sign_in(self, name: str, password: str, address: str) -> str | None:
        """Return the token of a new session, or None when name and password do not belong together.

        Raises
        ------
        ServiceError
            Too many failed attempts for this name from this address, or from all; or too many sign-ins at this moment.
        """
        if not _signing_in.acquire(blocking=False):
            raise ServiceError("Too many people sign in at this moment. Try again in a few seconds.")
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
            # Counted before the slow check, so that parallel guesses count too; taken back on success.
            self._failures.update({key: [*recent[key], now] for key in limits})
            if len(self._failures) > 10_000:
                self._failures = {k: v for k, v in self._failures.items() if now - v[-1] < FAILURES_SECONDS}
        worker_id = worker_id_of(name, self._region)
        row = self._store.db.execute("SELECT * FROM workers WHERE worker_id = ?", (worker_id,)).fetchone()
        # An unknown name costs the same time, so the time does not tell which names there are.
        digest = _scrypt(password[:1024], row["salt"] if row else b"\0" * 16)
        if row is None or not hmac.compare_digest(digest, row["hash"]):
            return None
        with self._lock:
            self._failures.pop((address, who), None)
            self._failures.get(("", who), []).remove(now)  # this one; the guesses of others still count
        token = secrets.token_urlsafe(32)
        with self._store.write() as db:
            db.execute("DELETE FROM sessions WHERE expires < ?", (now,))
            db.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_hash(token), worker_id, now + SESSION_SECONDS))
        return token

    def session(self, token: str) -> Session | None:
        """Return the session of a cookie, or None when it ended."""
        row = self._store.db.execute(
            "SELECT w.worker_id, w.name FROM sessions s JOIN workers w USING (worker_id)"
            " WHERE s.token_hash = ? AND s.expires > ?",
            (_hash(token), self._store.clock()),
        ).fetchone()
        return Session(row["worker_id"], row["name"], self._csrf(row["worker_id"])) if row else None

    def _csrf(self, worker_id: str) -> str:
        # Bound to the worker, not to the session: a page with an unsent answer stays good after signing in again elsewhere.
        return hmac.new(bytes.fromhex(self._store.meta("key")), f"csrf/{worker_id}".encode(), "sha256").hexdigest()

    def sign_out(self, token: str) -> None:
        """End a session."""
        with self._store.write() as db:
            db.execute("DELETE FROM sessions WHERE token_hash = ?", (_hash(token),))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _scrypt(password: str, salt: bytes) -> bytes:
    with _hashing:
        return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, n=2**14, r=8, p=1)


# The administrator's side


def put_workers(settings: Settings, passwords: Mapping[str, Secret], workteam: str) -> dict[str, str]:
    """Make workers, or change their passwords, and put them on a work team of the self-hosted service.

    Parameters
    ----------
    settings : Settings
        Its `groundtruth_url` and key pair are used.
    passwords : mapping of str to Secret
        Worker name → password, at least eight characters.
    workteam : str
        Name of a team that is there.

    Returns
    -------
    dict of str to str
        Worker name → worker id.

    Raises
    ------
    ServiceError
        The service does not answer or refuses; the message holds no password.
    """
    worker_ids = {}
    for name, secret in passwords.items():
        request = {"WorkerName": name, "Password": secret.reveal(), "WorkteamName": workteam}
        worker_ids[name] = call(settings, "PutWorker", request)["WorkerId"]
    return worker_ids


def remove_worker(settings: Settings, name: str) -> None:
    """Take a worker off every team and end the sessions; what was answered stays.

    Raises
    ------
    ServiceError
        There is no such worker, or the service does not answer.
    """
    call(settings, "DeleteWorker", {"WorkerName": name})


def call(settings: Settings, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Call one of the service's own operations, signed like those of SageMaker, and return the JSON answer."""
    import requests
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url, key, secret = settings.groundtruth_url, settings.groundtruth_access_key, settings.groundtruth_secret_key
    if not url.startswith(("http://", "https://")) or not key or not secret:
        raise SettingsError(
            "expected GROUNDTRUTH_URL, GROUNDTRUTH_ACCESS_KEY and GROUNDTRUTH_SECRET_KEY of a self-hosted labeling service."
            " On AWS, workers are made in Cognito."
        )
    request = AWSRequest(
        "POST",
        f"{url.rstrip('/')}/",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"DicomWorkflow.{operation}"},
    )
    SigV4Auth(Credentials(key, secret.reveal()), "sagemaker", settings.region).add_auth(request)
    try:
        response = requests.post(
            request.url,
            data=request.body,
            headers=dict(request.headers),
            timeout=settings.timeout_seconds,
            allow_redirects=False,
        )
        answer = response.json()
    except requests.RequestException as error:
        raise ServiceError(f"{url}: the labeling service does not answer: {type(error).__name__}.") from None
    if not response.ok:
        raise ServiceError(f"{url}: {operation} was refused ({answer.get('__type')}): {answer.get('message')}")
    return answer
