"""Shared by the labeling service and the inference server: request-header timeout for uvicorn, test for local hosts."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_HEADER_SECONDS = 15.0


class HeaderTimeoutProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with a deadline for request headers.

    uvicorn alone waits without limit for the header of a first request, and for the rest of any header. Here the deadline runs
    from the connection, and later from the first byte of each request, however slowly the next bytes arrive. Between two
    requests uvicorn's ``timeout_keep_alive`` applies. Request bodies need a timeout in the application.
    """

    header_seconds = REQUEST_HEADER_SECONDS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        """Start the deadline at the first byte of a header and stop it when the header is complete."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_deadline()
        else:
            self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
        self._stop_deadline()
        super().connection_lost(exc)

    def _start_deadline(self) -> None:
        if self._deadline is None:  # more bytes of the same header do not extend it
            self._deadline = self.loop.call_later(self.header_seconds, self.transport.close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def protocol_with_header_timeout(seconds: float = REQUEST_HEADER_SECONDS) -> type[HeaderTimeoutProtocol]:
    """Return a class for uvicorn's ``http`` option that closes a connection whose request header takes too long."""
    return type("HeaderTimeoutProtocol", (HeaderTimeoutProtocol,), {"header_seconds": seconds})


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine alone: ``localhost``, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
