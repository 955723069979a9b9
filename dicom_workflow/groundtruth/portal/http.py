"""Requests and responses of the portal: origin check, body limits, answer parsing, and error responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

from dicom_workflow.errors import AnswerError, ServiceError
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.groundtruth.portal import pages
from dicom_workflow.groundtruth.store.database import JobDatabaseUnavailableError


class Refusal(Exception):
    """An error response: a page for people, JSON for scripts.

    Parameters
    ----------
    status : int
        HTTP status.
    title, text : str
        Heading of the page, and the sentence that is also the ``error`` of the JSON.
    link, link_text : str
        Where the page leads.
    """

    def __init__(self, status: int, title: str, text: str, link: str = "/", link_text: str = "To the list of jobs") -> None:
        self.status, self.title, self.text, self.link, self.link_text = status, title, text, link, link_text
        super().__init__(text)

    def response(self, request: Request) -> Response:
        """Return JSON, or a page when the client accepts HTML."""
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"error": self.text}, self.status)
        if self.status == 401:
            return RedirectResponse(f"/sign-in?next={quote(request.url.path, safe='')}", 303)
        values = {"title": self.title, "text": self.text, "link": self.link, "link_text": self.link_text}
        return html_response(pages.page("message", self.title, **values), self.status)


BODY_SECONDS = 60.0
"""Timeout of a request body; an answer has at most a megabyte."""


class BodyTooLargeError(ServiceError):
    """A request body is longer than allowed."""


class BodyNotSentError(ServiceError):
    """A request body did not arrive completely in time."""


async def capped_body(request: Request, limit_bytes: int) -> bytes:
    """Return the body of a request, reading at most the allowed length.

    Raises
    ------
    BodyTooLargeError
        The body is longer.
    BodyNotSentError
        The body takes longer than `BODY_SECONDS`, or the connection was lost.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise BodyTooLargeError(f"The request body is longer than {limit_bytes:,} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise BodyTooLargeError(f"The request body is longer than {limit_bytes:,} bytes.")
    except (TimeoutError, ClientDisconnect):
        raise BodyNotSentError(f"The request body did not arrive within {BODY_SECONDS:.0f} seconds. Send it again.") from None
    return bytes(body)


def refuse(request: Request, error: Exception) -> Response:
    """Return the response to a refused request or an unknown address."""
    if isinstance(error, Refusal):
        return error.response(request)
    if isinstance(error, JobDatabaseUnavailableError):
        text = "The service will be back in a moment. Your answers are saved; try again."
        response = Refusal(503, "One moment", text, request.url.path, "Try again").response(request)
        response.headers["retry-after"] = "5"
        return response
    return Refusal(404, "Not found", "There is no page at this address.").response(request)


def posted(action: Callable[..., Response], limit_bytes: int) -> Callable[..., Any]:
    """Return an endpoint that reads the body in the event loop and runs `action` in a thread."""

    async def endpoint(request: Request) -> Response:
        if not _same_origin(request):
            raise Refusal(403, "Request refused", "This request came from another site.")
        try:
            body = await capped_body(request, limit_bytes)
        except BodyTooLargeError as error:
            raise Refusal(413, "Too large", str(error)) from None
        except BodyNotSentError as error:
            raise Refusal(408, "Too slow", str(error)) from None
        return await run_in_threadpool(action, request, body, **request.path_params)

    return endpoint


def _same_origin(request: Request) -> bool:
    # Browsers send Sec-Fetch-Site over trusted connections and Origin over others; other clients send neither.
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # not an origin at all
        return False


def form_of(body: bytes) -> dict[str, str]:
    """Return the fields of a form; of repeated names the last."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=20, errors="replace", keep_blank_values=True)
    except ValueError:
        return {}
    return {name: values[-1] for name, values in fields.items()}


def local_path(path: str) -> str:
    """Return a path of this service, or an empty text: after signing in no other site may be opened."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else ""


def html_response(text: str, status: int = 200) -> HTMLResponse:
    """Return one of the portal's own pages, which may run no script."""
    return HTMLResponse(text, status, headers={"content-security-policy": pages.PAGE_POLICY})


MAX_ANSWER_BYTES = 1_000_000
_ANSWER_FORM = '{"answerContent": {"<name>": <value>, …}}'


class BadAnswerError(AnswerError):
    """A request body is not the answer of a task page."""


def answer_content(body: bytes) -> str:
    """Return the ``answerContent`` of a body as normalized JSON text in ASCII.

    Its content is not checked: that is up to the job's template and its consolidation.

    Raises
    ------
    BadAnswerError
        The body is not UTF-8, not JSON, not an object, or has no non-empty object under ``answerContent``.
    """
    try:
        data = parse_json(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadAnswerError(f"The answer is not UTF-8. Send {_ANSWER_FORM}.") from None
    except ValueError as error:
        raise BadAnswerError(f"The answer is not JSON: {str(error)[:120]}. Send {_ANSWER_FORM}.") from None
    if not isinstance(data, dict):
        raise BadAnswerError(f"expected {_ANSWER_FORM}, got {type(data).__name__}.")
    content = data.get("answerContent")
    if not isinstance(content, dict) or not content:
        raise BadAnswerError(f"expected {_ANSWER_FORM}, got keys {[key[:40] for key in list(data)[:8]]}.")
    return json.dumps(content)
