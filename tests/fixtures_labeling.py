"""A host for one rendered worker page: a real HTTP server on a free port that serves the page, its image and the crowd shim."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dicom_workflow.labeling.templates import CROWD_SCRIPT_URL, crowd_shim, radiograph_template, render

CSP = (
    "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass
class WorkerPage:
    """What one page host was told and what it was sent."""

    url: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    replies: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Replies to give to the next answers; accepted with ``/next`` when empty."""


@contextlib.contextmanager
def worker_page(
    dicom: bytes, *, template: str | None = None, rendered: bytes = b"", **task_input: Any
) -> Iterator[WorkerPage]:
    page = WorkerPage()
    nonce = secrets.token_urlsafe(12)
    html = ""

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            routes: dict[str, tuple[str, bytes]] = {
                "/task": ("text/html; charset=utf-8", html.encode()),
                "/image.dcm": ("application/dicom", dicom),
                "/image.png": ("image/png", rendered),
                "/crowd-shim.js": ("text/javascript; charset=utf-8", crowd_shim().encode()),
                "/next": ("text/html", b"<h1>next task</h1>"),
            }
            kind, body = routes.get(self.path.split("?")[0], ("text/plain", b""))
            self._reply(200 if body else 404, kind, body)

        def do_POST(self) -> None:
            page.answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            page.tokens.append(self.headers["X-CSRF-Token"])
            status, body = page.replies.pop(0) if page.replies else (200, {"accepted": True, "next": "/next"})
            self._reply(status, "application/json", json.dumps(body).encode())

        def _reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", CSP.format(nonce=nonce))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """The test run's output is no place for a request log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    task: dict[str, Any] = {"image": "s3://bucket/image.dcm", **task_input}
    if rendered:
        task["renderedImage"] = "/image.png"
    text = radiograph_template() if template is None else template
    html = render(text, task, grant_read_access=lambda uri: "/image.dcm?a=1&b=2")
    html = html.replace(CROWD_SCRIPT_URL, "/crowd-shim.js")
    metas = '<meta name="task-answer-url" content="/answer"><meta name="task-csrf" content="t0ken">'
    html = html.replace("<head>", f"<head>{metas}")
    html = html.replace("<script>", f'<script nonce="{nonce}">').replace("<style>", f'<style nonce="{nonce}">')
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    page.url = f"http://127.0.0.1:{server.server_port}/task"
    try:
        yield page
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
