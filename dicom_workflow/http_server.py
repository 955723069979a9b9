"""How long the service waits for a request: whoever connects and says nothing, or a byte a minute, must not keep others out."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""How long a connection may go without a whole request head. Between two requests uvicorn's keep-alive ends it, which a load
balancer wants to be longer than its own."""


class ImpatientProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which by itself waits for a request for ever. Bodies have a time of their own."""

    _looking: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to look at the clock."""
        super().connection_made(transport)
        self._looking = self.loop.call_later(self._head_seconds, self._look, None)

    @property
    def _head_seconds(self) -> float:
        return max(HEAD_SECONDS, self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._looking.cancel()
        super().connection_lost(exc)

    def _look(self, waited_after: object) -> None:
        """Close when no request has begun since the last look."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self.cycle is waited_after:
            self.transport.close()
            return
        self._looking = self.loop.call_later(self._head_seconds, self._look, self.cycle if is_waiting else object())
