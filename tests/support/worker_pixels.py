"""A page that loads radiographs as the worker page does, and the server with images it loads them from."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium"
WORKER_UI = Path(__file__).parents[2] / "worker_ui"

STRICT = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src blob:; connect-src *"
"""No inline script, no eval, and nothing fetched from data: addresses."""

PAGE = b"<!doctype html><meta charset=utf-8><title>Radiographs</title><script src=pixels.js></script>"


class Site:
    """An origin. `files` are answered with 200 and open CORS; `answers` are functions that answer by themselves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.pauses_s: dict[str, float] = {}
        self.seen: list[tuple[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                site.seen.append((path, self.headers.get("Cookie", "")))
                data = site.files.get(path)
                self.send_response(site.statuses.get(path, 200 if data is not None else 404))
                data = data or b""
                headers = {"Content-Length": str(len(data)), "Access-Control-Allow-Origin": "*"} | site.headers.get(path, {})
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    half = len(data) // 2 if path in site.pauses_s else 0
                    self.wfile.write(data[:half])
                    self.wfile.flush()
                    time.sleep(site.pauses_s.get(path, 0.0))
                    self.wfile.write(data[half:])

            def log_message(self, *_: object) -> None:
                """Tests look at `Site.seen`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class PixelPage:
    """A page on one origin that loads radiographs from another one."""

    def __init__(self, browser: Any, pages: Site, images: Site) -> None:
        self.browser, self.pages, self.images = browser, pages, images
        self.problems: list[str] = []
        self._open: dict[str, Any] = {}

    def page(self, policy: str = STRICT) -> Any:
        """The page under a Content Security Policy."""
        if policy not in self._open:
            path = f"/{len(self._open)}.html"
            self.pages.files[path] = PAGE
            self.pages.headers[path] = {"Content-Type": "text/html", "Content-Security-Policy": policy}
            page = self.browser.new_page()
            page.on("pageerror", lambda error: self.problems.append(str(error)))
            page.goto(self.pages.url + path)
            self._open[policy] = page
        return self._open[policy]

    def load(self, data: bytes, expected: bytes | None = None, rendered: bytes | None = None, *, policy: str = STRICT) -> Any:
        """Return what the page says of these bytes: the image and its distance from `expected`, or the error."""
        names = {"image": data, "expected": expected, "rendered": rendered}
        urls = []
        for name, content in names.items():
            self.images.files.pop(f"/{name}", None)
            if content is not None:
                self.images.files[f"/{name}"] = content
            urls.append(f"{self.images.url}/{name}?{time.monotonic_ns()}" if content is not None else "")
        return self.at(urls[0], urls[1], urls[2], policy=policy)

    def at(
        self, url: str, expected_url: str = "", rendered_url: str = "", *, policy: str = STRICT, stall_ms: int = 20_000
    ) -> Any:
        arguments = [url, expected_url, rendered_url, stall_ms]
        return self.page(policy).evaluate("given => check(...given)", arguments)


@contextlib.contextmanager
def pixel_page(folder: Path) -> Iterator[PixelPage]:
    """Build the page, serve it and open a browser; the test is skipped where one of the programs is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    vite = WORKER_UI / "node_modules" / ".bin" / "vite"
    if not Path(CHROMIUM).exists() or not vite.exists() or shutil.which("node") is None:
        pytest.skip(f"needs {CHROMIUM}, node and `npm ci` in worker_ui")
    config = WORKER_UI / "unit" / "pixels" / "page" / "vite.config.js"
    built = subprocess.run(
        [str(vite), "build", "--config", str(config), "--outDir", str(folder), "--logLevel", "error"],
        cwd=WORKER_UI, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    pages, images = Site(), Site()
    pages.files["/pixels.js"] = (folder / "pixels.js").read_bytes()
    pages.headers["/pixels.js"] = {"Content-Type": "text/javascript"}
    try:
        with playwright.sync_playwright() as started:
            chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            made = PixelPage(chromium, pages, images)
            yield made
            chromium.close()
            assert made.problems == []
    finally:
        pages.close()
        images.close()
