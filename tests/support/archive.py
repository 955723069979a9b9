"""Small DICOM files, and a proxy in front of a real Orthanc that misbehaves on demand."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from dicom_workflow.archive.authorization import basic_auth
from dicom_workflow.archive.dicomweb import DicomWebArchive
from dicom_workflow.archive.orthanc import OrthancArchive
from dicom_workflow.archive.orthanc_process import OrthancServer

STUDY, SERIES, SOP = "1.2.826.0.1.99.1", "1.2.826.0.1.99.2", "1.2.826.0.1.99.3"


def dataset(number: int = 0, *, size_px: int = 16, patient_id: str = "P1", seed: int | None = None) -> Dataset:
    """A tiny DX instance; the same number and seed give the same bytes."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = f"{SOP}.{number}"
    made.Modality = "DX"
    made.PatientName = "Nobody^At All"
    made.PatientID = patient_id
    made.StudyInstanceUID = f"{STUDY}.{patient_id[1:]}" if patient_id[1:].isdigit() else STUDY
    made.SeriesInstanceUID = f"{SERIES}.{patient_id[1:]}" if patient_id[1:].isdigit() else SERIES
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows = made.Columns = size_px
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelRepresentation = 0
    random = np.random.default_rng(number if seed is None else seed)
    made.PixelData = random.integers(0, 256, size_px * size_px, dtype=np.uint8).tobytes()
    return made


def to_bytes(made: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    made.file_meta.TransferSyntaxUID = syntax
    buffer = DicomBytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(number: int = 0, **changes: object) -> bytes:
    return to_bytes(dataset(number, **changes))  # type: ignore[arg-type]


def write_files(folder: Path, count: int, **changes: object) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(dicom(number, **changes))
    return paths


def open_orthanc(server: OrthancServer, url: str = "", **changes: object) -> OrthancArchive:
    return OrthancArchive(url or server.url, user=server.user, password=server.password, **changes)  # type: ignore[arg-type]


def open_dicomweb(server: OrthancServer, url: str = "", **changes: object) -> DicomWebArchive:
    authorize = basic_auth(server.user, server.password)
    return DicomWebArchive(url or server.dicomweb_url, authorize=authorize, **changes)  # type: ignore[arg-type]


def multi_frame(frames: int, number: int = 0) -> tuple[bytes, list[bytes]]:
    """A file of several frames, and the bytes of each."""
    made = dataset(number)
    made.NumberOfFrames = frames
    random = np.random.default_rng(number)
    pixels = [random.integers(0, 256, made.Rows * made.Columns, dtype=np.uint8).tobytes() for _ in range(frames)]
    made.PixelData = b"".join(pixels)
    return to_bytes(made), pixels


Fault = Callable[[int, str, str], str]
"""Request number, method and path → '' or the name of a fault."""


class Proxy:
    """Hands requests on to a server, counts them, and does what `fault` says instead or in addition.

    Faults: ``html`` (a login page with 200), an HTTP status as text, ``reset`` (hang up before handing on), ``drop`` (hang up
    after it), ``cut`` (announce the whole body, send half), ``short`` (hand on half of the body as if it were all). A request
    body above `max_body_bytes` is not handed on: 413, or without `answers` the connection is closed.
    """

    def __init__(self, target: str, fault: Fault, max_body_bytes: int = 1 << 40, answers: bool = True) -> None:
        self.requests: list[tuple[str, str]] = []
        self.too_large: list[str] = []
        """The paths of the requests that were not handed on because of `max_body_bytes`."""
        self._numbers = itertools.count()
        proxy, parts = self, urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                if int(self.headers.get("Content-Length", 0)) > max_body_bytes:  # decided by the header, as nginx does
                    self.close_connection = True
                    proxy.too_large.append(self.path)
                    if answers:
                        self.answer(413, b"<html>413 Request Entity Too Large</html>", "text/html", Connection="close")
                        self.rfile.read(int(self.headers["Content-Length"]))
                    else:
                        self.hang_up()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                number = next(proxy._numbers)
                proxy.requests.append((self.command, self.path))
                what = fault(number, self.command, self.path)
                if what == "reset":
                    self.hang_up()
                    return
                if what == "html":
                    self.answer(200, b"<html>Please sign in</html>", "text/html")
                    return
                if what.isdigit():
                    self.answer(int(what), b"{}", "application/json", Location="http://elsewhere.example/")
                    return
                upstream = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
                with contextlib.closing(upstream):
                    headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
                    upstream.request(self.command, self.path, body, headers)
                    response = upstream.getresponse()
                    data = response.read()
                if what == "drop":
                    self.hang_up()
                    return
                if what == "short":
                    data = data[: len(data) // 2]
                self.answer(response.status, data, response.headers.get("Content-Type", ""), cut=what == "cut")

            do_GET = do_POST = do_DELETE = handle_any

            def answer(self, status: int, data: bytes, kind: str, cut: bool = False, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.hang_up()

            def hang_up(self) -> None:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.wfile.flush()
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                """Tests look at `Proxy.requests`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up here on purpose
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"


@contextlib.contextmanager
def proxy(target: str, fault: Fault = lambda *_: "", *, max_body_bytes: int = 1 << 40, answers: bool = True) -> Iterator[Proxy]:
    made = Proxy(target, fault, max_body_bytes, answers)
    thread = threading.Thread(target=made._server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made._server.shutdown()
        made._server.server_close()
        thread.join()
