"""The labeling service as one ASGI application: job database, engine, SageMaker's interface and the workers' portal."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dicom_workflow.errors import SettingsError
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import Accounts
from dicom_workflow.groundtruth.api.dispatch import Api
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.portal.image_cache import ImageCache
from dicom_workflow.groundtruth.portal.routes import Portal
from dicom_workflow.groundtruth.store.database import Database
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.sqlite import SqliteDatabase
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

JOB_DATABASE = "job-database.sqlite"
ENGINE_SECONDS = 10.0
"""How long the engine may finish its step when the service is told to stop."""

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


def folder_of(settings: Settings) -> Path:
    """Return the folder of a workspace in which the service keeps its job database."""
    return settings.workspace / "groundtruth"


def open_database(settings: Settings) -> Database:
    """Return the job database: PostgreSQL when the settings name one, else a file in the workspace.

    Raises
    ------
    SettingsError
        The PostgreSQL driver is not installed.
    """
    if not settings.groundtruth_database:
        return SqliteDatabase(folder_of(settings) / JOB_DATABASE)
    try:
        from dicom_workflow.groundtruth.store.postgres import PostgresDatabase
    except ImportError as error:
        needed = "pip install 'psycopg[binary,pool]>=3.2,<4'"
        raise SettingsError(f"GROUNDTRUTH_DATABASE_HOST needs the PostgreSQL driver ({error}). Run {needed}.") from error
    return PostgresDatabase(settings.groundtruth_database)


def make_app(
    settings: Settings,
    *,
    database: Database | None = None,
    hosts: tuple[str, ...] = (),
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    storage: Storage | None = None,
) -> FastAPI:
    """Return the application; its engine runs from startup to shutdown.

    Parameters
    ----------
    settings : Settings
        Workspace, archive, object storage, region, and the key pair that may call SageMaker's interface.
    database : Database, optional
        The job database; that of `open_database` when not given.
    hosts : tuple of str
        Accepted Host headers, with or without port; any when empty.
    clock : callable
        Seconds since 1970.
    new_id : callable
        Makes ids of tasks and jobs.
    storage : Storage, optional
        That of the settings when not given.

    Raises
    ------
    SettingsError
        There is no key pair: without one anybody could create jobs.
    """
    if not settings.groundtruth_access_key or not settings.groundtruth_secret_key:
        raise SettingsError("Set GROUNDTRUTH_ACCESS_KEY and GROUNDTRUTH_SECRET_KEY to a key pair of your own choice.")
    store = JobStore(database or open_database(settings), clock=clock, new_id=new_id)
    access = Access(settings, storage)
    accounts = Accounts(store, settings.region)
    engine = Engine(store, access)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        app.state.is_stopped = engine.stop(ENGINE_SECONDS)

    async def health() -> Response:
        # Needs no sign-in and may be called at any rate, so it returns one word and reads no table.
        ready = store.db.is_ready() and engine.is_running
        return JSONResponse({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine, app.state.store = engine, store
    app.add_api_route("/", Api(settings, store, access, engine, accounts).handle, methods=["POST"], response_model=None)
    app.add_api_route("/health", health, methods=["GET"], response_model=None)
    Portal(store, access, accounts, engine, ImageCache(settings, access)).add_to(app)
    if hosts:
        app.add_middleware(_KnownHosts, hosts=hosts)
    app.add_middleware(_SecurityHeaders)
    return app


class _KnownHosts:
    """Refuses requests for other host names, except the health check: a load balancer sends an address."""

    def __init__(self, app: Asgi, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            host = Request(scope).headers.get("host", "").lower()
            if not {host, host.rpartition(":")[0]} & self._hosts:
                return await PlainTextResponse("Misdirected request", 421)(scope, receive, send)
        return await self._app(scope, receive, send)


class _SecurityHeaders:
    """Adds security headers to every response; browsers and proxies store nothing unless a route allows it."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                given = {name for name, _ in headers}
                headers.extend(_HEADERS)
                if scope["scheme"] == "https":
                    headers.append((b"strict-transport-security", b"max-age=31536000"))
                if b"cache-control" not in given:
                    headers.append((b"cache-control", b"no-store"))
                if b"content-security-policy" not in given:
                    headers.append((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)
