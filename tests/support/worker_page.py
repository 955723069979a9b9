"""A host for the worker page, as strange as hosts are, and DICOM files with marks at known places to show on it."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, generate_uid

from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.labeling.templates import CROWD_SCRIPT_URL, crowd_shim, render

LABELS = load_label_set("chest").labels

DX_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.1.1"
TEMPLATES = resources.files("dicom_workflow.labeling") / "worker_templates"

CROSS_ORIGIN_POLICY = (
    "default-src 'none'; script-src {assets} {page} 'wasm-unsafe-eval'; style-src {assets}; style-src-attr 'none'; "
    "img-src {page} data: blob:; connect-src {page} {assets} data:; worker-src blob:; base-uri 'none'; object-src 'none'"
)
"""As strict as the page allows; an image host of its own beside that of the page."""


# ---- Images ------------------------------------------------------------------------------------------------------------


def dicom(pixels: NDArray[Any], *, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """Return a DX file of the pixels; keywords are DICOM keywords and override."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DX_IMAGE_STORAGE
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[pixels.tobytes().hex()[:4000], repr(elements)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = DX_IMAGE_STORAGE, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["worker page"])
    dataset.PatientID, dataset.Modality, dataset.ViewPosition = "WORKER-PAGE", "DX", "PA"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    with warnings.catch_warnings():  # some tests want what no file should hold
        warnings.simplefilter("ignore", UserWarning)
        for name, value in elements.items():
            setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    if syntax == JPEGLSLossless:
        dataset.compress(syntax, encoding_plugin="pyjpegls")
    elif syntax == JPEG2000Lossless:
        dataset.compress(syntax, encoding_plugin="pylibjpeg")
    elif syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class Fiducial:
    """A bright box; its borders are at these pixels, so that column `left` is the first bright one."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def points(self) -> list[list[int]]:
        return [[self.left, self.top], [self.right, self.bottom]]


def fiducial_image(box: Fiducial, *, rows: int = 120, columns: int = 150, **elements: Any) -> bytes:
    """A flat radiograph with one box; both levels lie well inside of the window, so that nothing between them is clipped."""
    pixels = np.full((rows, columns), 1500, np.uint16)
    pixels[box.top : box.bottom, box.left : box.right] = 3000
    return dicom(pixels, **{"BitsStored": 12, "WindowCenter": "2250", "WindowWidth": "3000", **elements})


def chest(rows: int, columns: int, *, seed: int = 1) -> NDArray[np.uint16]:
    """Twelve bits that look like a chest from afar: two dark lungs, a bright middle, noise; no two orientations agree."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    x, y = x / columns, y / rows
    lungs = sum(
        np.exp(-(((x - cx) / wx) ** 2 + ((y - 0.45) / wy) ** 2) * 2) for cx, wx, wy in ((0.3, 0.17, 0.3), (0.7, 0.13, 0.26))
    )
    body = np.exp(-(((x - 0.5) / 0.48) ** 4 + ((y - 0.6) / 0.7) ** 6))
    heart = np.exp(-(((x - 0.57) / 0.12) ** 2 + ((y - 0.62) / 0.14) ** 2))
    light = 0.12 + 0.75 * body - 0.5 * lungs * body + 0.25 * heart
    light += 0.02 * np.sin(40 * np.pi * y) * body
    light += np.random.default_rng(seed).normal(0, 0.008, light.shape).astype(np.float32)
    return (np.clip(light, 0, 1) * 4000).astype(np.uint16)


def chest_radiograph(rows: int = 560, columns: int = 480, *, seed: int = 1, **elements: Any) -> bytes:
    return dicom(chest(rows, columns, seed=seed), **{"BitsStored": 12, **elements})


# ---- The host ----------------------------------------------------------------------------------------------------------


@dataclass
class Served:
    data: bytes
    kind: str = "application/dicom"
    status: int = 200
    behaviour: str = "whole"
    """"whole", "cut" (ends in the middle), "silent" (never answers), "stalled" (half of it, then nothing)."""


@dataclass
class Page:
    """How one task is hosted."""

    task: Mapping[str, Any]
    policy: str = ""
    hook: bool = True
    sandbox: str = ""
    head: str = ""


@dataclass
class PageHost:
    """The page on one port; its script, its style and the images on another, as with Ground Truth and S3."""

    pages: dict[str, Page] = field(default_factory=dict)
    files: dict[str, Served] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    """What was sent, in order, as the requester gets it."""
    asked: list[str] = field(default_factory=list)
    """Paths asked for, on either port."""
    refuses: bool = False
    """Whether answers are turned away, as when the session has ended."""
    page_url: str = ""
    assets_url: str = ""
    assets: dict[str, bytes] = field(default_factory=lambda: built_assets())
    """The script and the style sheet, by name, as they were when the host was made."""
    stopping: threading.Event = field(default_factory=threading.Event)

    def image(self, name: str, data: bytes, **options: Any) -> str:
        """Keep a file and return its URI for a task."""
        self.files[f"/images/{name}"] = Served(data, **options)
        return f"s3://bucket/images/{name}"

    def page(self, name: str, task: Mapping[str, Any], **options: Any) -> str:
        """Keep a task and return the address of its page, or of a page with that page in a sandboxed frame."""
        page = self.pages[f"/tasks/{name}"] = Page({"labels": list(LABELS), **task}, **options)
        return f"{self.page_url}/{'frames' if page.sandbox else 'tasks'}/{name}"

    def radiograph(self, name: str, data: bytes, *, host: Mapping[str, Any] | None = None, **task: Any) -> str:
        """Return the address of a page that shows the file, with the fourteen labels."""
        return self.page(name, {"image": self.image(f"{name}.dcm", data), **task}, **(host or {}))

    def answer(self, index: int = -1) -> dict[str, Any]:
        """Return one of the answers sent, decoded."""
        return dict(json.loads(self.answers[index]["annotation"]))

    def granted(self, uri: str) -> str:
        return f"{self.assets_url}{urlsplit(uri).path}?X-Signature=0123456789abcdef"

    def rendered(self, path: str) -> tuple[str, str]:
        """Return the page of a task and its policy."""
        page = self.pages[path]
        script, style = sorted(self.assets, key=lambda name: name.endswith(".css"))
        text = (TEMPLATES / "radiograph.liquid.html").read_text("utf-8")
        text = re.sub(r"@@SCRIPT[A-Z_]*@@", f"{self.assets_url}/assets/{script}", text)
        text = re.sub(r"@@STYLE[A-Z_]*@@", f"{self.assets_url}/assets/{style}", text)
        text = text.replace(CROWD_SCRIPT_URL, f"{self.page_url}/crowd-shim.js")
        head = (
            f'<meta name="task-answer-url" content="{self.page_url}/answer"><meta name="task-csrf" content="token">{page.head}'
        )
        if page.hook:
            head += '<meta name="worker-ui-test" content="1">'
        text = text.replace("<head>", f"<head>{head}", 1)
        policy = page.policy.format(page=self.page_url, assets=self.assets_url) if page.policy else ""
        return render(text, page.task, grant_read_access=self.granted), policy


def built_assets() -> dict[str, bytes]:
    """Return the built script and style sheet by name."""
    built = json.loads((TEMPLATES / "build.json").read_text("utf-8"))
    return {built[kind]: (TEMPLATES / built[kind]).read_bytes() for kind in ("script", "style")}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: PageHost
    assets: bool

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.host.asked.append(path)
        if self.assets:
            self._asset(path)
        elif path.startswith("/frames/"):
            name = path.removeprefix("/frames/")
            sandbox = html.escape(self.host.pages[f"/tasks/{name}"].sandbox)
            style = "<style>body { margin: 0; height: 100vh; } iframe { border: 0; width: 100%; height: 100%; }</style>"
            frame = f'<iframe title="Task" sandbox="{sandbox}" src="/tasks/{name}"></iframe>'
            self._send(f"<!DOCTYPE html><title>Portal</title>{style}{frame}".encode(), "text/html")
        elif path in self.host.pages:
            text, policy = self.host.rendered(path)
            headers = {"Content-Security-Policy": policy} if policy else {}
            self._send(text.encode(), "text/html; charset=utf-8", headers=headers)
        elif path == "/crowd-shim.js":
            self._send(crowd_shim().encode(), "text/javascript", headers={"Access-Control-Allow-Origin": "*"})
        elif path == "/done":
            self._send(b"<!DOCTYPE html><title>Done</title><p>Thank you.", "text/html")
        else:
            self._send(b"not here", "text/plain", status=404)

    def do_OPTIONS(self) -> None:
        allowed = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "content-type, x-csrf-token"}
        self._send(b"", "text/plain", headers=allowed)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cors = {"Access-Control-Allow-Origin": "*"}
        if self.host.refuses:
            self._send(b'{"error": "The session has ended."}', "application/json", status=401, headers=cors)
            return
        self.host.answers.append(body["answerContent"])
        self._send(b'{"accepted": true, "next": "/done"}', "application/json", headers=cors)

    def _asset(self, path: str) -> None:
        if path.startswith("/assets/"):
            name = path.removeprefix("/assets/")
            if name not in self.host.assets:
                self._send(b"not here", "text/plain", status=404)
                return
            kind = "text/javascript" if name.endswith(".js") else "text/css"
            self._send(self.host.assets[name], f"{kind}; charset=utf-8")  # no CORS: a script needs none
            return
        served = self.host.files.get(path, Served(b"<Error/>", "application/xml", 404))
        cors = {"Access-Control-Allow-Origin": "*"}
        if served.behaviour == "silent":
            self._wait()
        elif served.behaviour == "whole":
            self._send(served.data, served.kind, status=served.status, headers=cors)
        else:
            self._send(served.data, served.kind, headers=cors, sent=len(served.data) // 2)
            if served.behaviour == "stalled":
                self._wait()

    def _wait(self) -> None:
        self.host.stopping.wait(120)
        self.close_connection = True

    def _send(
        self, data: bytes, kind: str, *, status: int = 200, headers: Mapping[str, str] | None = None, sent: int | None = None
    ) -> None:
        with contextlib.suppress(ConnectionError):  # a browser may have gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[:sent])
        if sent is not None:
            self.close_connection = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextlib.contextmanager
def hosting() -> Iterator[PageHost]:
    """A host on two free ports, so two origins."""
    host = PageHost()
    servers = []
    for assets in (False, True):
        handler = type("Handler", (_Handler,), {"host": host, "assets": assets})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
    host.page_url, host.assets_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield host
    finally:
        host.stopping.set()
        for server in servers:
            server.shutdown()
            server.server_close()


def wait_until(condition: Any, what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def answered(states: Mapping[str, str], regions: Sequence[Mapping[str, Any]] = (), **rest: Any) -> dict[str, Any]:
    """An answer as the page writes it, for tasks that start from one."""
    return {
        "schema": "dicom-workflow/answer/2",
        "pixel_origin": "corner",
        "labels": dict(states),
        "regions": list(regions),
        **rest,
    }
