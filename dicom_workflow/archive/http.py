"""HTTP to one server: connections that stay open, a timeout on every step, no redirects, and repetition that is safe.

Written on `http.client`, because a session of `requests` spends about a millisecond of processor time on a request, which is
as much as Orthanc itself needs to store a small image.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from dicom_workflow.errors import (
    ArchiveCredentialsError,
    ArchiveError,
    ArchiveUnavailableError,
    InstanceNotFoundError,
    NotDicomError,
    SettingsError,
    WorkflowError,
)
from dicom_workflow.settings import Secret

PATIENCE_SECONDS = 30.0
"""How long a server that went away is waited for: long enough for a restart."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_SERVER_ERROR_ATTEMPTS = 4
_GATEWAY = (502, 503, 504)
_PIECE_BYTES = 1 << 18
_Reader = Callable[[http.client.HTTPResponse], bytes]


@dataclass(frozen=True)
class Answer:
    """The body of a 2xx answer, and how often the request was sent before it came."""

    body: bytes
    attempts: int = 1


class _StaleConnection(Exception):
    """A connection that had stood idle ended under the request."""


class Connection:
    """One server's base URL and user; safe for several threads, each request on a connection of its own.

    Every request may be sent more than once: only requests that mean the same twice may be made here.

    Parameters
    ----------
    url : str
        Base URL, with a path where the server stands behind a proxy.
    user, password
        For HTTP basic authentication; none is sent when the user is empty.
    timeout_seconds : float
        How long connecting, sending or waiting for the next bytes may take.
    ca_bundle : str
        File with the certificate authorities to trust; empty means the system's.
    patience_seconds : float
        How long to go on trying while nothing answers.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: Secret | None = None,
        timeout_seconds: float = 60.0,
        ca_bundle: str = "",
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"ORTHANC_URL: expected http(s)://host[:port], got {parts.scheme}://{parts.hostname or ''}.")
        if parts.username or parts.password:
            raise SettingsError("ORTHANC_URL: expected no user and password in it; set ORTHANC_USER and ORTHANC_PASSWORD.")
        self.url = url.rstrip("/")
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._tls = _tls_context(ca_bundle) if parts.scheme == "https" else None
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._headers = {"Accept-Encoding": "identity"}  # compressing pixel data would cost the server 20 ms a file
        if user:
            token = f"{user}:{(password or Secret()).reveal()}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(token).decode("ascii")
        self._idle: list[http.client.HTTPConnection] = []  # append and pop are atomic
        self._signed_in = False
        weakref.finalize(self, _close_all, self._idle)

    def __repr__(self) -> str:
        return f"Connection({self.url!r})"

    def request(
        self, method: str, path: str, body: bytes | None = None, *, content_type: str = "", patient: bool = True
    ) -> Answer:
        """Send a request until it is answered, and return the body of the answer.

        Parameters
        ----------
        path : str
            Below the base URL, made of constants and checked ids only.
        body : bytes, optional
        patient : bool
            Wait for a server that does not answer; otherwise it is an error at once.

        Raises
        ------
        ArchiveUnavailableError
            Nothing answered for as long as patience lasts.
        ArchiveCredentialsError
            401 or 403.
        InstanceNotFoundError, NotDicomError, ArchiveError
            404 to an instance; 400 or 404 to something stored; any other answer but 2xx.
        """
        headers = {**self._headers, "Content-Type": content_type} if content_type else self._headers
        return self._repeat(method, path, body, headers, _whole, patient=patient)

    def matches(self, path: str, expected: bytes) -> bool:
        """Say whether what GET gives is, byte for byte, what is expected, without ever holding it whole.

        Raises
        ------
        ArchiveError
            As for `request`.
        """
        compare = _Comparison(expected)
        self._repeat("GET", path, None, self._headers, compare, patient=True)
        return compare.equal

    def _repeat(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], read: _Reader, *, patient: bool
    ) -> Answer:
        deadline = time.monotonic() + (self._patience_seconds if patient else 0.0)
        pause_seconds, attempts, server_errors = _FIRST_PAUSE_SECONDS, 0, 0
        while True:
            attempts += 1
            try:
                status, data, location = self._once(method, path, body, headers, read)
            except _StaleConnection:
                self.close()  # the server closed or restarted: what else stands idle is dead too
                continue
            except (OSError, http.client.HTTPException) as error:
                problem: WorkflowError = self._unavailable(error)
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise problem from error
            else:
                if 200 <= status < 300:
                    self._signed_in = True
                    return Answer(data, attempts)
                problem = self._refusal(method, path, status, data, location)
                server_errors += 1
                again = status >= 500 or (status in (401, 403) and self._signed_in)
                if not again or (server_errors >= _SERVER_ERROR_ATTEMPTS and status not in _GATEWAY):
                    raise problem
            if time.monotonic() + pause_seconds > deadline:
                raise problem
            time.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Close the connections that are not in use; the next request opens one again."""
        _close_all(self._idle)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], read: _Reader
    ) -> tuple[int, bytes, str]:
        """One request and its whole answer."""
        try:
            connection, fresh = self._idle.pop(), False
        except IndexError:
            connection, fresh = self._connect(), True
        try:
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            data = read(response) if response.status == 200 else response.read()
            if response.length:  # http.client keeps what is missing of a body that ended early
                raise http.client.IncompleteRead(data, response.length)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if fresh:
                raise
            raise _StaleConnection from error
        except BaseException:
            connection.close()  # interrupted in the middle of an answer: of no use to the next request
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, data, response.headers.get("Location", "")

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_seconds, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds, blocksize=1 << 18)

    def _unavailable(self, error: Exception) -> ArchiveUnavailableError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ArchiveUnavailableError(
                f"{self.url}: its certificate cannot be trusted ({error.verify_message}). Name the file of its authority in "
                "DICOM_WORKFLOW_CA_BUNDLE."
            )
        said = str(error) or type(error).__name__
        return ArchiveUnavailableError(
            f"{self.url}: expected an archive to answer, got: {said}. Start it, or check ORTHANC_URL and the network."
        )

    def _refusal(self, method: str, path: str, status: int, data: bytes, location: str) -> WorkflowError:
        where = f"{self.url}{path.partition('?')[0]}"
        if status in (401, 403):
            return ArchiveCredentialsError(
                f"{self.url}: the archive answers, but not to this user (HTTP {status}). Check ORTHANC_USER and "
                "ORTHANC_PASSWORD."
            )
        if 300 <= status < 400:
            return ArchiveError(
                f"{where}: expected an answer, got a redirect to {location[:200]!r}. Set ORTHANC_URL to the final address."
            )
        if status == 404 and path.startswith("/instances/"):
            return InstanceNotFoundError(f"{where}: the archive holds no such instance.")
        if status in (400, 404) and method == "POST":  # 404 is what Orthanc answers to a file without UIDs
            return NotDicomError(f"the archive could not read the file as DICOM (HTTP {status}: {_said(data)}).")
        if status in _GATEWAY:
            return ArchiveUnavailableError(f"{where}: the archive is not ready (HTTP {status}). Try again in a while.")
        return ArchiveError(f"{where}: expected HTTP 200, got {status}: {_said(data)}. Check ORTHANC_URL and its log.")


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        with contextlib.suppress(IndexError):  # another thread took the last one
            connections.pop().close()


def _whole(response: http.client.HTTPResponse) -> bytes:
    return response.read()


class _Comparison:
    """Reads an answer piece by piece and compares it with what is expected."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self.equal = False

    def __call__(self, response: http.client.HTTPResponse) -> bytes:
        piece = memoryview(bytearray(_PIECE_BYTES))
        position, equal = 0, True
        while count := response.readinto(piece):
            equal = equal and self._expected.startswith(piece[:count], position)
            position += count
        self.equal = equal and position == len(self._expected)
        return b""


def _said(data: bytes) -> str:
    return repr(data[:120].decode("utf-8", "replace"))


def _tls_context(ca_bundle: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_bundle or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"DICOM_WORKFLOW_CA_BUNDLE: expected a PEM file, got {ca_bundle!r}: {error}.") from None
