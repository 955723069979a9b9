"""The labeling service put together: journal, engine, SageMaker's interface and the workers' portal in one application."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse

from dicom_workflow.errors import ServiceError, SettingsError
from dicom_workflow.groundtruth.access import Access
from dicom_workflow.groundtruth.accounts import Accounts
from dicom_workflow.groundtruth.api import Api
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.images import Images
from dicom_workflow.groundtruth.portal import Portal
from dicom_workflow.groundtruth.store import Store
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

JOURNAL = "journal.sqlite"

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
    """Return where the service of a workspace keeps its journal."""
    return settings.workspace / "groundtruth"


def make_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    storage: Storage | None = None,
) -> FastAPI:
    """Return the application; its engine runs from start-up to shut-down.

    Parameters
    ----------
    settings : Settings
        Workspace, archive, object storage, region, and the key pair that may use SageMaker's interface.
    clock : callable
        Seconds since 1970.
    new_id : callable
        Makes ids of tasks and jobs.

    Raises
    ------
    SettingsError
        There is no key pair: without one anybody could make jobs.
    """
    if not settings.groundtruth_access_key or not settings.groundtruth_secret_key:
        raise SettingsError("expected GROUNDTRUTH_ACCESS_KEY and GROUNDTRUTH_SECRET_KEY: a pair of your own choice.")
    store = Store(folder_of(settings) / JOURNAL, clock=clock, new_id=new_id)
    access = Access(settings, storage)
    accounts = Accounts(store, settings.region)
    engine = Engine(store, access)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        engine.stop()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.engine, app.state.store = engine, store
    app.add_api_route("/", Api(settings, store, access, engine, accounts).handle, methods=["POST"], response_model=None)
    app.add_api_route("/health", lambda: JSONResponse({"status": "ok"}), methods=["GET"], response_model=None)
    Portal(store, accounts, engine, Images(settings, access)).add_to(app)
    app.add_middleware(_SecurityHeaders)
    return app


class _SecurityHeaders:
    """Headers of every response; patient data are never kept by a browser or a proxy unless a route says otherwise."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                given = {name for name, _ in headers}
                headers.extend(_HEADERS)
                if b"cache-control" not in given:
                    headers.append((b"cache-control", b"no-store"))
                if b"content-security-policy" not in given:
                    headers.append((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the journal of a folder for this process; the system lets go of it when the process ends, however it ends.

    Raises
    ------
    ServiceError
        Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            other = stream.read().strip()
            raise ServiceError(f"{folder}: another labeling service (process {other}) works here already.") from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
