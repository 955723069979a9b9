"""What stands before every route: host names, requests from other sites, security headers, a log line without content."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

HEALTH = "/healthz"
ROUTE = "search.route"
"""In the scope of a request: the route that answered, as it is declared."""
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware of the search service.

    Parameters
    ----------
    app : ASGI application
    hosts : iterable of str
        Accepted names in the ``Host`` header, without port; any when empty. A page of another site that lets its own name
        point at this machine (DNS rebinding) sends that name.
    """

    def __init__(self, app: Asgi, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send) if scope["type"] == "lifespan" else None
        began, status = time.monotonic(), [0]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers["strict-transport-security"] = "max-age=31536000"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, sending)
        route = scope.get(ROUTE, "-")  # never the path itself: it has an image's UID in it
        if route != HEALTH:
            log.info("%s %s status=%d ms=%.0f", scope["method"], route, status[0], (time.monotonic() - began) * 1000)
        return None

    def _refusal(self, scope: Message) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self._hosts and scope["path"] != HEALTH and _without_port(host) not in self._hosts:
            return JSONResponse({"error": "This host name is not served here. Use the address that was printed."}, 421)
        if _is_foreign(scope["method"], headers, host):
            return JSONResponse({"error": "This request came from a page of another site. Open the search page itself."}, 403)
        return None


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


def _is_foreign(method: str, headers: Headers, host: str) -> bool:
    """Whether a page of another site made a browser send this; other clients say nothing about sites."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return not (
            method == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        )
    origin = headers.get("origin")
    if origin is None or site is not None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host
    except ValueError:
        return True
