"""The routes of the search service: GraphQL, pictures, DICOM files, uploads, sign-in, health and the page."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dicom_workflow.errors import DicomError, WorkflowError
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.search.service.access import (
    MAX_CREDENTIAL,
    Access,
    AccessDeniedError,
    Identity,
    SignInUnavailableError,
)
from dicom_workflow.search.service.authorization_code import CALLBACK, SIGN_IN, AuthorizationCodeFlow, cookie_name
from dicom_workflow.search.service.context import ConcurrencyLimit
from dicom_workflow.search.service.executor import Executor, Operation, status_and_message
from dicom_workflow.search.service.guard import HEALTH, PAGE_POLICY, ROUTE
from dicom_workflow.search.service.images import MAX_PX, PICTURES_AT_A_TIME, THUMBNAIL_PX, ImageLoader, Pictures
from dicom_workflow.search.service.request_bodies import Refusal, body_of, credential_of, media_type_of, multipart_operation
from dicom_workflow.search.service.uploads import is_upload

log = logging.getLogger(__name__)

_HEALTH_SECONDS = 2.0
_UPLOADS_AT_A_TIME = 4
_SIGN_INS_AT_A_TIME = 8
_PICTURES_WAITING = 32
"""Each holds a file in memory."""
_SIGN_IN_BYTES = 2 * MAX_CREDENTIAL
_SIGN_IN_SECONDS = 5.0
_BALANCER_COOKIES = frozenset(f"AWSELBAuthSessionCookie-{shard}" for shard in range(4))
"""The session of an Application Load Balancer that signs people in; the application ends it when they sign out."""
_PAGE_TYPES = {
    ".html": "text/html",
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}

Endpoint = Callable[[Request], Awaitable[Response]]


class Routes:
    """The endpoints over one store.

    Parameters
    ----------
    executor : Executor
    access : Access
    loader : ImageLoader
        Reads the files behind the index.
    flow : AuthorizationCodeFlow, optional
        Signs people in at an issuer; without it the page asks for a token.
    """

    def __init__(
        self, executor: Executor, access: Access, loader: ImageLoader, flow: AuthorizationCodeFlow | None = None
    ) -> None:
        self._executor, self._access, self._loader, self._flow = executor, access, loader, flow
        self._limits = executor.limits
        self._pictures, self._picturing = Pictures(), ConcurrencyLimit(PICTURES_AT_A_TIME)
        self._identifying, self._checking = ConcurrencyLimit(_SIGN_INS_AT_A_TIME), ConcurrencyLimit(1)
        self._uploading = asyncio.Semaphore(_UPLOADS_AT_A_TIME)
        self._health = (float("-inf"), False)
        self._page = page_files()

    def all(self) -> list[Route]:
        """Return the routes."""
        routes: list[tuple[str, str, Endpoint]] = [
            ("POST", "/graphql", self._graphql),
            ("GET", "/thumb/{image_id}.png", self._thumb),
            ("GET", "/dicom/{image_id}", self._dicom),
            ("POST", "/uploads", self._upload),
            ("GET", "/session", self._session),
            ("POST", "/session", self._sign_in),
            ("DELETE", "/session", self._sign_out),
            *((("GET", SIGN_IN, self._flow.begin), ("GET", CALLBACK, self._flow.finish)) if self._flow else ()),
            ("GET", HEALTH, self._healthz),
            ("GET", "/", self._index),
            ("GET", "/{name}", self._page_file),
        ]
        return [Route(path, _answering(endpoint, path), methods=[method]) for method, path, endpoint in routes]

    async def _identity(self, request: Request) -> Identity:
        credential = credential_of(request, cookie_name(request, self._access.cookie))
        return await self._identifying.call(self._access.identify, credential)

    async def _graphql(self, request: Request) -> Response:
        identity = await self._identity(request)
        kind = media_type_of(request)
        if kind == "multipart/form-data":
            async with self._upload_slot():
                most, most_text = self._limits.upload_bytes, self._limits.body_bytes
                operation = await multipart_operation(request, most, self._limits.body_seconds, most_text=most_text)
                return JSONResponse(await self._executor.execute(operation, identity))
        if kind != "application/json":
            raise Refusal(415, "expected Content-Type application/json, or multipart/form-data with a file.")
        body = await body_of(request, self._limits.body_bytes, self._limits.body_seconds)
        return JSONResponse(await self._executor.execute(Operation.of_body(body), identity))

    async def _thumb(self, request: Request) -> Response:
        identity = await self._identity(request)
        image_id = request.path_params["image_id"]
        max_px, window = _picture_size(request)
        if is_upload(image_id):
            self._executor.uploads.get(image_id, identity.subject)  # a picture is kept no longer than its upload
        key = (image_id, max_px, window, identity.subject if is_upload(image_id) else "")
        picture = self._pictures.kept(key)
        if picture is None:
            if self._picturing.waiting >= _PICTURES_WAITING:
                raise Refusal(503, "Many pictures are being made at the moment. Ask for it again after a few seconds.")
            data = await run_in_threadpool(self._file, image_id, identity)
            limit = self._limits.upload_pixels
            try:
                picture = await self._picturing.call(
                    self._pictures.make, key, data, max_px=max_px, window=window, max_pixels=limit
                )
            except DicomError:
                raise Refusal(
                    422, "This image cannot be shown: its file is damaged, too large, or of an unknown kind."
                ) from None
        return Response(picture, media_type="image/png", headers={"cache-control": "private, max-age=600"})

    async def _dicom(self, request: Request) -> Response:
        identity = await self._identity(request)
        data = await run_in_threadpool(self._file, request.path_params["image_id"], identity)
        if data[128:132] != b"DICM":
            raise Refusal(404, "The file of this image is no DICOM file. Index it again.")
        headers = {"content-disposition": 'attachment; filename="image.dcm"'}
        return Response(data, media_type="application/dicom", headers=headers)

    def _file(self, image_id: str, identity: Identity) -> bytes:
        if is_upload(image_id):
            return self._executor.uploads.get(image_id, identity.subject).data
        image = self._executor.store.images([image_id])[0]
        if image is None:
            raise Refusal(404, "The index has no such image.")
        return self._loader.read(image)

    async def _upload(self, request: Request) -> Response:
        identity = await self._identity(request)
        accept = self._executor.accept_upload
        if accept is None:
            raise Refusal(501, "This service has no model, so it cannot search by an uploaded image. Start it with --model.")
        if media_type_of(request) not in ("application/dicom", "application/octet-stream"):
            raise Refusal(415, "expected one DICOM file as the body, with Content-Type application/dicom.")
        async with self._upload_slot():
            body = await body_of(request, self._limits.upload_bytes, self._limits.body_seconds)
            upload = await run_in_threadpool(accept, body, identity.subject)
        image = upload.image
        told = {"id": image.image_id, "rows": image.rows, "columns": image.columns, "view_position": image.view_position}
        return JSONResponse({**told, "modality": image.modality, "seconds": self._limits.upload_seconds}, 201)

    def _upload_slot(self) -> asyncio.Semaphore:
        if self._uploading.locked():
            raise Refusal(503, f"{_UPLOADS_AT_A_TIME} images are being uploaded at the moment. Send it again after a second.")
        return self._uploading

    async def _session(self, request: Request) -> Response:
        try:
            identity = await self._identity(request)
        except AccessDeniedError as error:
            return JSONResponse({**self._sign_in_state(), "message": str(error)})
        return JSONResponse(self._sign_in_state(identity))

    async def _sign_in(self, request: Request) -> Response:
        if media_type_of(request) != "application/json":
            raise Refusal(415, 'expected {"token": "…"} with Content-Type application/json.')
        body = await body_of(request, _SIGN_IN_BYTES, _SIGN_IN_SECONDS)  # anybody may send one
        try:
            given = parse_json(body.decode())
        except ValueError:
            given = None
        token = given.get("token") if isinstance(given, dict) else None
        if not isinstance(token, str):
            raise Refusal(400, 'expected {"token": "…"}.')
        identity = await self._identifying.call(self._access.identify, token)
        response = JSONResponse(self._sign_in_state(identity))
        secure, cookie = request.url.scheme == "https", cookie_name(request, self._access.cookie)
        response.set_cookie(cookie, token, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    async def _sign_out(self, request: Request) -> Response:
        response = JSONResponse(self._sign_in_state())
        secure, cookie = request.url.scheme == "https", cookie_name(request, self._access.cookie)
        response.delete_cookie(cookie, path="/", httponly=True, samesite="strict", secure=secure)
        for name in request.cookies:
            if name in _BALANCER_COOKIES:
                response.delete_cookie(name, path="/", httponly=True, secure=True)
        return response

    def _sign_in_state(self, identity: Identity | None = None) -> dict[str, Any]:
        state = {"kind": self._access.kind, "signed_in": identity is not None, "name": identity.name if identity else ""}
        return {**state, "sign_in": SIGN_IN if self._flow else ""}

    async def _healthz(self, request: Request) -> Response:
        asked_at, ready = self._health
        if time.monotonic() - asked_at > _HEALTH_SECONDS:
            try:
                async with asyncio.timeout(_HEALTH_SECONDS):
                    await self._checking.call(self._executor.store.spaces)
                ready = True
            except (WorkflowError, TimeoutError):
                ready = False
            self._health = (time.monotonic(), ready)
        return JSONResponse({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)

    async def _index(self, request: Request) -> Response:
        return self._static("index.html")

    async def _page_file(self, request: Request) -> Response:
        return self._static(request.path_params["name"])

    def _static(self, name: str) -> Response:
        if name not in self._page:
            raise Refusal(404, "There is no page at this address. Open /.")
        kind = _PAGE_TYPES["." + name.rpartition(".")[2]]
        headers = {"cache-control": "no-cache", "content-security-policy": PAGE_POLICY}
        return Response(self._page[name], media_type=kind, headers=headers)


def page_files() -> dict[str, bytes]:
    """Return the built files of the page: what may be asked for is what is there, by its exact name."""
    folder = resources.files("dicom_workflow.search").joinpath("page")
    if not folder.is_dir():
        return {}
    return {
        file.name: file.read_bytes()
        for file in folder.iterdir()
        if file.is_file() and "." + file.name.rpartition(".")[2] in _PAGE_TYPES
    }


def _picture_size(request: Request) -> tuple[int, tuple[float, float] | None]:
    """Return the longer side in pixels and the window that a request for a picture names."""
    given = request.query_params
    try:
        max_px = int(given.get("px", THUMBNAIL_PX))
        center, width = (float(given[name]) if name in given else None for name in ("center", "width"))
    except ValueError:
        max_px, center, width = 0, None, None
    window = None if center is None or width is None else (center, width)
    finite = window is None or (all(map(math.isfinite, window)) and window[1] > 0)
    if not 16 <= max_px <= MAX_PX or not finite or (center is None) != (width is None):
        raise Refusal(400, f"expected px from 16 to {MAX_PX}, and center and width as numbers or neither.")
    return max_px, window


def _answering(endpoint: Endpoint, path: str) -> Endpoint:
    """Return an endpoint whose errors are JSON with a status; what is inside the service is not told."""

    async def answer(request: Request) -> Response:
        request.scope[ROUTE] = path
        try:
            return await endpoint(request)
        except WorkflowError as error:
            status, message = _status_of(error)
            headers = {"www-authenticate": "Bearer"} if status == 401 else {"retry-after": "5"} if status == 503 else {}
            return JSONResponse({"error": message}, status, headers=headers)
        except Exception as error:  # noqa: BLE001  one request must not show its insides; the kind is all that is safe to log
            log.error("%s", type(error).__name__)
            return JSONResponse({"error": "This failed inside the service. Report the time to who runs it."}, 500)

    return answer


def _status_of(error: WorkflowError) -> tuple[int, str]:
    if isinstance(error, Refusal):
        return error.status, str(error)
    if isinstance(error, AccessDeniedError):
        return 401, str(error)
    if isinstance(error, SignInUnavailableError):
        return 503, str(error)
    return status_and_message(error)
