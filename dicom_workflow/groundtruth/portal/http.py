"""Requests and responses of the portal: who sent it, how long it may be, and what a refusal looks like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

from dicom_workflow.errors import ServiceError
from dicom_workflow.groundtruth.portal import pages
from dicom_workflow.groundtruth.store.database import JournalUnavailableError


class Refusal(Exception):
    """A request that gets a page, or JSON, instead of what it asked for."""

    def __init__(self, status: int, title: str, text: str, link: str = "/", link_text: str = "To the list of jobs") -> None:
        self.status, self.title, self.text, self.link, self.link_text = status, title, text, link, link_text
        super().__init__(text)

    def response(self, request: Request) -> Response:
        """Return JSON to the crowd script and readers, a page to everybody else."""
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"error": self.text}, self.status)
        if self.status == 401:
            return RedirectResponse(f"/sign-in?next={quote(request.url.path, safe='')}", 303)
        values = {"title": self.title, "text": self.text, "link": self.link, "link_text": self.link_text}
        return html_response(pages.page("message", self.title, **values), self.status)


BODY_SECONDS = 60.0
"""How long a request body may take to arrive: an answer is at most a megabyte."""


class BodyTooLargeError(ServiceError):
    """A request body is longer than it may be."""


class BodyNotSentError(ServiceError):
    """A request body did not arrive in time, or not whole."""


async def capped_body(request: Request, limit_bytes: int) -> bytes:
    """Return the body of a request, reading no more than it may have.

    Raises
    ------
    BodyTooLargeError
        It is longer.
    BodyNotSentError
        It takes longer than `BODY_SECONDS`, or the connection ended inside it.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise BodyTooLargeError(f"expected at most {limit_bytes:,} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise BodyTooLargeError(f"expected at most {limit_bytes:,} bytes.")
    except (TimeoutError, ClientDisconnect):
        raise BodyNotSentError(f"expected the whole body within {BODY_SECONDS:.0f} seconds. Send it again.") from None
    return bytes(body)


def refuse(request: Request, error: Exception) -> Response:
    """Return what a refused request, or one for an address that is not there, gets."""
    if isinstance(error, Refusal):
        return error.response(request)
    if isinstance(error, JournalUnavailableError):
        text = "The service is back in a moment. What you have answered is safe; try again."
        response = Refusal(503, "One moment", text, request.url.path, "Try again").response(request)
        response.headers["retry-after"] = "5"
        return response
    return Refusal(404, "Not found", "There is nothing at this address.").response(request)


def posted(action: Callable[..., Response], limit_bytes: int) -> Callable[..., Any]:
    """Read the body in the event loop, do the rest in a thread."""

    async def endpoint(request: Request) -> Response:
        if not _same_origin(request):
            raise Refusal(403, "Not sent from here", "This request came from another site.")
        try:
            body = await capped_body(request, limit_bytes)
        except BodyTooLargeError as error:
            raise Refusal(413, "Too large", str(error)) from None
        except BodyNotSentError as error:
            raise Refusal(408, "Too slow", str(error)) from None
        return await run_in_threadpool(action, request, body, **request.path_params)

    return endpoint


def _same_origin(request: Request) -> bool:
    # Browsers say it themselves where the connection can be trusted, and name the origin elsewhere; other clients say nothing.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # not an origin at all
        return False


def form_of(body: bytes) -> dict[str, str]:
    """Return the fields of a form, the last of each name."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=20, errors="replace", keep_blank_values=True)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in fields.items()}


def local_path(path: str) -> str:
    """A path of this service, or nothing: a sign-in must not lead away."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else ""


def html_response(text: str, status: int = 200) -> HTMLResponse:
    """Return one of the portal's own pages, which runs no script at all."""
    return HTMLResponse(text, status, headers={"content-security-policy": pages.PAGE_POLICY})
