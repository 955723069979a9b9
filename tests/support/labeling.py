"""A host for one worker page as the labeling service makes it: on a free port, with its image."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dicom_workflow.groundtruth.portal import pages
from dicom_workflow.labeling import page_assets
from dicom_workflow.labeling.templates import page_template

BAR = {"task": "t", "title": "Radiographs", "csrf": "t0ken", "number": 1, "total": 1}


@dataclass
class WorkerPage:
    """What one page host was told and what it was sent."""

    url: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    replies: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Replies to give to the next answers; accepted with ``/next`` when empty."""


@contextlib.contextmanager
def worker_page(dicom: bytes, *, template: str | None = None, rendered: bytes = b"", **task_input: Any) -> Iterator[WorkerPage]:
    page = WorkerPage()
    html = policy = ""

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            routes: dict[str, tuple[str, bytes]] = {
                "/task": ("text/html; charset=utf-8", html.encode()),
                "/image.dcm": ("application/dicom", dicom),
                "/image.png": ("image/png", rendered),
                "/next": ("text/html", b"<h1>next task</h1>"),
            }
            path = self.path.split("?")[0]
            name = path.removeprefix("/static/")
            if name != path and pages.is_static(name):
                routes[path] = (page_assets.media_type(name), pages.static(name))
            kind, body = routes.get(path, ("text/plain", b""))
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
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """The test run's output is no place for a request log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    task: dict[str, Any] = {"image": "s3://bucket/image.dcm", **task_input}
    if rendered:
        task["renderedImage"] = "/image.png"
    html, policy = pages.task_page(
        page_template("https://cdn.example/worker-ui") if template is None else template,
        task,
        grant_read_access=lambda uri: "/image.dcm?a=1&b=2",
        answer_url="/answer",
        csrf="t0ken",
        draft_key="0" * 64,
        bar=BAR,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    page.url = f"http://127.0.0.1:{server.server_port}/task"
    try:
        yield page
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
