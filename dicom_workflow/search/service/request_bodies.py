"""Reading a request: its credential, its body within limits, and files of a GraphQL multipart request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from strawberry.file_uploads.utils import replace_placeholders_with_files

from dicom_workflow.errors import RecordError, SearchError
from dicom_workflow.formats.json_schema import parse_json
from dicom_workflow.search.service.executor import Operation


class Refusal(SearchError):
    """A request is answered with an error.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        What was expected and the next step.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def credential_of(request: Request, cookie: str) -> str:
    """Return the bearer token of a request, else that of its load balancer, else what its cookie holds, else an empty text.

    An Application Load Balancer that signs people in sends their access token with each request; it is verified like any other.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    return request.headers.get("x-amzn-oidc-accesstoken") or request.cookies.get(cookie, "")


def media_type_of(request: Request) -> str:
    """Return the media type of the body.

    Raises
    ------
    Refusal
        The body is compressed: its size could not be told before it is unpacked.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "expected a body without Content-Encoding. Send it as it is.")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def pieces_of(request: Request, most: int, seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the body in pieces.

    Parameters
    ----------
    request : Request
    most : int
        Bytes.
    seconds : float
        For all of it to arrive.

    Raises
    ------
    Refusal
        It is longer, or comes too slowly.
    """
    too_long = Refusal(413, f"expected a body of at most {most / 2**20:g} MB. Send less, or a compressed transfer syntax.")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_long
    received = 0
    stream = request.stream()
    until = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(until):
                piece = await anext(stream, None)
        except TimeoutError:
            raise Refusal(408, f"expected the body within {seconds:g} seconds. Send it again.") from None
        except ClientDisconnect:
            raise Refusal(400, "The connection ended before the body did.") from None
        if piece is None:
            return
        received += len(piece)
        if received > most:
            raise too_long
        yield piece


async def body_of(request: Request, most: int, seconds: float) -> bytes:
    """Return the whole body; arguments and errors as `pieces_of`.

    Parameters
    ----------
    request : Request
    most : int
    seconds : float
    """
    return b"".join([piece async for piece in pieces_of(request, most, seconds)])


async def multipart_operation(request: Request, most: int, seconds: float, *, most_text: int) -> Operation:
    """Return the operation of a GraphQL multipart request, with its file among the variables.

    Parameters
    ----------
    request : Request
    most : int
        Bytes of the whole body.
    seconds : float
    most_text : int
        Bytes of the operation, and of the map of its files.

    Raises
    ------
    Refusal
        The body is too long or too slow, or no such request.
    RecordError
        Its operation has another form.

    References
    ----------
    GraphQL multipart request specification (Seric), version 2.0.0-alpha.2.
    """
    expected = "expected a GraphQL multipart request: `operations` and `map` as JSON, then one file"
    pieces = pieces_of(request, most, seconds)
    headers = Headers({"content-type": request.headers.get("content-type", "")})
    try:
        form = await MultiPartParser(headers, pieces, max_files=1, max_fields=2, max_part_size=most_text).parse()
    except (MultiPartException, KeyError, ValueError):
        raise Refusal(400, f"{expected}.") from None
    files = {name: await value.read() for name, value in form.items() if isinstance(value, UploadFile)}
    await form.close()
    try:
        operations = dict(_json(form.get("operations"), expected))
        return Operation.parse(replace_placeholders_with_files(operations, _json(form.get("map"), expected), files))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise Refusal(400, f"{expected}.") from None


def _json(text: object, expected: str) -> Mapping[str, Any]:
    try:
        value = parse_json(text) if isinstance(text, str) else None
    except ValueError:
        value = None
    if not isinstance(value, Mapping):
        raise RecordError(f"{expected}.")
    return value
