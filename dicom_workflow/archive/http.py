"""HTTP to one archive: pooled connections, a timeout on every step, no redirects, and repetition that is safe.

On `urllib3`, not on a session of `requests`: that spends more processor time on a request than Orthanc on a small image.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, SSLError

from dicom_workflow.archive.authorization import Authorize, basic_auth
from dicom_workflow.archive.streams import PIECE_BYTES
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
_IDLE_CONNECTIONS = 64
_SAID_BYTES = 1 << 16
"""How much of an answer other than the expected one is read; a message repeats its beginning."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Body:
    """The body of a request: a file or its content, with a text before and after it. It can be sent more than once."""

    content: bytes | Path
    content_type: str
    head: bytes = b""
    tail: bytes = b""

    def __len__(self) -> int:
        content_bytes = self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)
        return len(self.head) + content_bytes + len(self.tail)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most `PIECE_BYTES`, small content at once."""
        yield self.head
        if isinstance(self.content, Path):
            with self.content.open("rb") as stream:
                while piece := stream.read(PIECE_BYTES):
                    yield piece
        else:
            yield self.content
        yield self.tail

    def sha256(self) -> str:
        """Return the SHA-256 of the body in hexadecimal digits."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


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
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._setting = setting
        self._tls = _tls_context(ca_bundle) if parts.scheme == "https" else None
        self._timeout_seconds = timeout_seconds
        self._retry_seconds = retry_seconds
        self._authorize = authorize or basic_auth("", None)
        self._pool = self._new_pool()
        self._signed_in = False

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        tls = {"ssl_context": self._tls} if self._tls else {}
        return urllib3.connection_from_url(
            self._origin, maxsize=_IDLE_CONNECTIONS, timeout=self._timeout_seconds, blocksize=PIECE_BYTES, **tls
        )

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

    def stream(self, path: str, consume: Callable[[Iterator[bytes], Mapping[str, str]], _T], *, accept: str = "*/*") -> _T:
        """Return what `consume` makes of the pieces and the headers of a GET's answer, which is never in memory whole.

        Parameters
        ----------
        path : str
            As for `request`.
        consume : callable
            Called again, with the first piece first, for each attempt.
        accept : str
            Media type to ask for.

        Raises
        ------
        ArchiveError
            As for `request`.
        """
        read = lambda response: consume(response.stream(PIECE_BYTES, decode_content=False), response.headers)  # noqa: E731
        return self._repeat("GET", path, None, {"Accept": accept}, read, retry=True)[2]

    def close(self) -> None:
        """Close the connections that are not in use; the next request opens one again."""
        self._pool.close()
        self._pool = self._new_pool()

    def _repeat(
        self,
        method: str,
        path: str,
        body: Body | None,
        headers: Mapping[str, str] | None,
        read: Callable[[urllib3.BaseHTTPResponse], _T],
        *,
        retry: bool,
        expected: Collection[int] = (),
    ) -> tuple[int, int, _T]:
        deadline = time.monotonic() + (self._retry_seconds if retry else 0.0)
        pause_seconds, attempts, server_errors, resets = _FIRST_PAUSE_SECONDS, 0, 0, 0
        while True:
            attempts += 1
            try:
                response = self._send(method, path, body, headers)
                if 200 <= response.status < 300 or response.status in expected:
                    data = self._read(response, read)
                    self._signed_in = True
                    return attempts, response.status, data
                said = self._read(response, _beginning)
            except (HTTPError, ssl.SSLError) as error:
                problem: WorkflowError = self._unavailable(error)
                if _certificate_error(error):
                    raise problem from error
                resets += bool(body) and isinstance(error, ProtocolError)
                if resets >= _RESETS_WHILE_SENDING:
                    raise InstanceTooLargeError(
                        f"{self.url}: the connection was closed {resets} times while the file was sent ({_reason(error)}). "
                        "Does a proxy limit the size of a request?"
                    ) from error
                if attempts == 1 and isinstance(error, ProtocolError):
                    continue  # the server closed a connection that had been idle
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

    def _send(self, method: str, path: str, body: Body | None, headers: Mapping[str, str] | None) -> urllib3.BaseHTTPResponse:
        sent = {"Accept-Encoding": "identity"}  # compressing pixel data would cost the server 20 ms a file
        sent |= {**(headers or {}), **self._authorize(method, self.url + path, body)}
        content: bytes | Iterator[bytes] | None = None
        if body is not None:
            sent |= {"Content-Type": body.content_type, "Content-Length": str(len(body))}
            plain = isinstance(body.content, bytes) and not (body.head or body.tail)
            content = body.content if plain else body.pieces()  # type: ignore[assignment]
        return self._pool.urlopen(
            method, self._base + path, content, sent, retries=False, redirect=False, preload_content=False, decode_content=False
        )

    @staticmethod
    def _read(response: urllib3.BaseHTTPResponse, read: Callable[[urllib3.BaseHTTPResponse], _T]) -> _T:
        try:
            return read(response)
        except BaseException:
            response.close()  # in the middle of an answer, the connection is of no use to the next request
            raise
        finally:
            response.release_conn()

    def _unavailable(self, error: Exception) -> ArchiveUnavailableError:
        if certificate := _certificate_error(error):
            return ArchiveUnavailableError(
                f"{self.url}: its certificate cannot be trusted ({certificate.verify_message}). Name the file of its authority "
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


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    return response.read(decode_content=False)


def _beginning(response: urllib3.BaseHTTPResponse) -> bytes:
    data = response.read(_SAID_BYTES, decode_content=False)
    if len(data) == _SAID_BYTES:
        response.close()  # what is left of it would be taken for the next answer
    return data


def _certificate_error(error: Exception) -> ssl.SSLCertVerificationError | None:
    causes = (error, *error.args) if isinstance(error, SSLError | ssl.SSLError) else ()
    return next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None)


def _reason(error: Exception) -> str:
    """What went wrong, without the names of urllib3's objects."""
    cause = error.__cause__ if isinstance(error, NewConnectionError) else error.args[-1] if error.args else None
    return str(cause or "") or str(error) or type(error).__name__


def _said(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace"))


def _tls_context(ca_bundle: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"DICOM_WORKFLOW_CA_BUNDLE: expected a PEM file, got {ca_bundle!r}: {error}.") from None
