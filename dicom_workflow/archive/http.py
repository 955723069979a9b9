"""HTTP to one archive: pooled connections, a timeout on every step, no redirects, and repetition that is safe.

On the HTTP client of the standard library: for a small image, a session of `requests` takes more processor time than Orthanc
does, and a pool of urllib3 takes 0.4 ms a file more (``make bench NAME=upload`` measures the whole).
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from dicom_workflow.archive.authorization import Authorize, basic_auth
from dicom_workflow.archive.streams import PIECE_BYTES, Body
from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
    InstanceTooLargeError,
    NotDicomError,
    SettingsError,
    WorkflowError,
)

RETRY_SECONDS = 30.0
"""How long to go on trying while nothing answers: long enough for a server to restart."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_SERVER_ERROR_ATTEMPTS = 4
_RESETS_WHILE_SENDING = 8
_GATEWAY = (502, 503, 504)
_SAID_BYTES = 1 << 16
"""How much of an answer other than the expected one is read; a message repeats its beginning."""

_T = TypeVar("_T")
_Read = Callable[[http.client.HTTPResponse], _T]


@dataclass(frozen=True)
class Answer:
    """The body and status of an answer, and how often the request was sent before it came."""

    body: bytes
    attempts: int = 1
    status: int = 200


class Connection:
    """One server's base URL and user; safe for several threads, each request on a connection of its own.

    Every request may be sent more than once, so only requests that may be repeated are made here.

    Parameters
    ----------
    url : str
        Base URL, with a path where the server stands behind a proxy.
    authorize : callable, optional
        Gives the headers that authorize a request; see `authorization.basic_auth`.
    setting : str
        How the names of the archive's settings begin, for messages: ``ORTHANC`` or ``DICOMWEB``.
    timeout_seconds : float
        How long connecting, sending or waiting for the next bytes may take.
    ca_bundle : str
        File with the certificate authorities to trust; empty means the system's.
    retry_seconds : float
        How long to go on trying while nothing answers.

    Raises
    ------
    SettingsError
        The URL is none, or has a user in it; or the file of certificate authorities cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        authorize: Authorize | None = None,
        setting: str = "ORTHANC",
        timeout_seconds: float = 60.0,
        ca_bundle: str = "",
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"{setting}_URL: expected http(s)://host[:port], got {parts.scheme}://{parts.hostname or ''}.")
        if parts.username or parts.password:
            raise SettingsError(
                f"{setting}_URL: it must not hold a user and password. Set {setting}_USER and {setting}_PASSWORD."
            )
        self.url = url.rstrip("/")
        self._base = parts.path.rstrip("/")
        self._host, self._port = parts.hostname, parts.port
        self._setting = setting
        self._tls = _tls_context(ca_bundle) if parts.scheme == "https" else None
        self._timeout_seconds = timeout_seconds
        self._retry_seconds = retry_seconds
        self._authorize = authorize or basic_auth("", None)
        self._idle: list[http.client.HTTPConnection] = []  # append and pop are atomic
        self._signed_in = False
        weakref.finalize(self, _close_all, self._idle)

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def request(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
        expected: Collection[int] = (),
    ) -> Answer:
        """Send a request until it is answered, and return the answer.

        Parameters
        ----------
        method : str
        path : str
            Below the base URL, made of constants and checked ids only.
        body : Body, optional
        headers : mapping, optional
            Further headers.
        retry : bool
            Wait for a server that does not answer; otherwise that is an error at once.
        expected : collection of int
            Statuses besides 2xx whose answer the caller reads.

        Raises
        ------
        ArchiveUnavailableError
            Nothing answered within the retry budget.
        ArchiveCredentialsError
            401 or 403.
        InstanceNotFoundError, InstanceTooLargeError, NotDicomError, ArchiveError
            404 to an instance; 413; 400 or 404 to something stored; any other answer but 2xx.
        """
        attempts, status, data = self._repeat(method, path, body, headers, _whole, retry=retry, expected=expected)
        return Answer(data, attempts, status)

    def stream(self, path: str, consume: Callable[[Iterator[memoryview], Mapping[str, str]], _T], *, accept: str = "*/*") -> _T:
        """Return what `consume` makes of the pieces and the headers of a GET's answer, which is never in memory whole.

        Parameters
        ----------
        path : str
            As for `request`.
        consume : callable
            Called again, with the first piece first, for each attempt. A piece is valid until the next one is asked for.
        accept : str
            Media type to ask for.

        Raises
        ------
        ArchiveError
            As for `request`.
        """
        read = lambda response: consume(_pieces(response), response.headers)  # noqa: E731
        return self._repeat("GET", path, None, {"Accept": accept}, read, retry=True)[2]

    def close(self) -> None:
        """Close the connections that are not in use; the next request opens one again."""
        _close_all(self._idle)

    def _repeat(
        self,
        method: str,
        path: str,
        body: Body | None,
        headers: Mapping[str, str] | None,
        read: _Read[_T],
        *,
        retry: bool,
        expected: Collection[int] = (),
    ) -> tuple[int, int, _T]:
        deadline = time.monotonic() + (self._retry_seconds if retry else 0.0)
        pause_seconds, attempts, server_errors, resets = _FIRST_PAUSE_SECONDS, 0, 0, 0
        while True:
            attempts += 1
            connection, is_new = self._take()
            try:
                response = self._send(connection, method, path, body, headers)
                with contextlib.closing(response):
                    if 200 <= response.status < 300 or response.status in expected:
                        data = read(response)
                        self._give_back(connection, response)
                        self._signed_in = True
                        return attempts, response.status, data
                    said = response.read(_SAID_BYTES)
                    self._give_back(connection, response)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                problem: WorkflowError = self._unavailable(error)
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise problem from error
                if not is_new:  # the server closed or restarted: what else is idle is of no use either
                    self.close()
                    continue
                resets += bool(body) and isinstance(error, ConnectionError | http.client.HTTPException)
                if resets >= _RESETS_WHILE_SENDING:
                    raise InstanceTooLargeError(
                        f"{self.url}: the connection was closed {resets} times while the file was sent. Does a proxy limit the "
                        "size of a request?"
                    ) from error
            except BaseException:
                connection.close()  # in the middle of an answer, it is of no use to the next request
                raise
            else:
                problem = self._refusal(method, path, response.status, said, response.headers.get("Location", ""))
                server_errors += 1
                again = response.status >= 500 or (response.status in (401, 403) and self._signed_in)
                if not again or (server_errors >= _SERVER_ERROR_ATTEMPTS and response.status not in _GATEWAY):
                    raise problem
            if time.monotonic() + pause_seconds > deadline:
                raise problem
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection that was used before and is open, or a new one, and whether it is new."""
        with contextlib.suppress(IndexError):
            return self._idle.pop(), False
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_seconds, context=self._tls), True
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds), True

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Body | None,
        headers: Mapping[str, str] | None,
    ) -> http.client.HTTPResponse:
        sent = {"Accept-Encoding": "identity"}  # compressing pixel data would cost the server 20 ms a file
        sent |= {**(headers or {}), **self._authorize(method, self.url + path, body)}
        content: bytes | Iterator[bytes] | None = None
        if body is not None:
            sent |= {"Content-Type": body.content_type, "Content-Length": str(len(body))}
            plain = isinstance(body.content, bytes) and not (body.head or body.tail)
            content = body.content if plain else body.pieces()  # type: ignore[assignment]
        with contextlib.suppress(BrokenPipeError):  # a server that takes no file of this size answers before it has read it
            connection.request(method, self._base + path, content, sent)
        return connection.getresponse()

    def _give_back(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        """Keep the connection for the next request, when the answer is read to its end.

        Raises
        ------
        http.client.IncompleteRead
            The expected answer ended early.
        """
        if response.isclosed() and not response.will_close:
            self._idle.append(connection)
            return
        missing = response.length or 0
        connection.close()
        if missing and 200 <= response.status < 300:
            raise http.client.IncompleteRead(b"", missing)

    def _unavailable(self, error: Exception) -> ArchiveUnavailableError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ArchiveUnavailableError(
                f"{self.url}: its certificate cannot be trusted ({error.verify_message}). Name the file of its authority "
                "in DICOM_WORKFLOW_CA_BUNDLE."
            )
        return ArchiveUnavailableError(
            f"{self.url}: the archive does not answer ({_reason(error)}). Start it, or check {self._setting}_URL and the "
            "network."
        )

    def _refusal(self, method: str, path: str, status: int, data: bytes, location: str) -> WorkflowError:
        where = f"{self.url}{path.partition('?')[0]}"
        if status in (401, 403):
            return ArchiveCredentialsError(
                f"{self.url}: the archive answers, but not to this user (HTTP {status}). Check {self._setting}_USER and "
                f"{self._setting}_PASSWORD."
            )
        if 300 <= status < 400:
            return ArchiveError(
                f"{where}: expected an answer, got a redirect to {location[:200]!r}. Set {self._setting}_URL to the final "
                "address."
            )
        if status == 404 and method != "POST" and "/instances/" in path:
            return InstanceNotFoundError(f"{where}: the archive holds no such instance.")
        if status == 413:
            return InstanceTooLargeError(
                f"{self.url}: the archive, or a proxy before it, takes no file of this size (HTTP 413). Raise its body limit."
            )
        if status in (400, 404) and method == "POST":  # 404 is what Orthanc answers to a file without UIDs
            return NotDicomError(f"the archive could not read the file as DICOM (HTTP {status}: {_said(data)}).")
        if status in _GATEWAY:
            return ArchiveUnavailableError(f"{where}: the archive is not ready (HTTP {status}). Try again in a while.")
        return ArchiveError(f"{where}: expected HTTP 200, got {status}: {_said(data)}. Check {self._setting}_URL and its log.")


def _whole(response: http.client.HTTPResponse) -> bytes:
    return response.read()


def _pieces(response: http.client.HTTPResponse) -> Iterator[memoryview]:
    """Yield the answer in pieces of one buffer: `read` would allocate one for each, and read their ends separately."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    while count := response.readinto(buffer):
        yield buffer[:count]


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    with contextlib.suppress(IndexError):  # another thread may take the last one
        while connections:
            connections.pop().close()


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _said(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace"))


def _tls_context(ca_bundle: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"DICOM_WORKFLOW_CA_BUNDLE: expected a PEM file, got {ca_bundle!r}: {error}.") from None
