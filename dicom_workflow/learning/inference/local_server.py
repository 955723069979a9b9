"""A model behind HTTP on this machine: what an endpoint does, without AWS and without Docker."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dicom_workflow
from dicom_workflow.errors import DeployError
from dicom_workflow.learning.model import bundle_archive
from dicom_workflow.storage import Storage


@dataclass(frozen=True)
class LocalServer:
    """A server that answers."""

    url: str
    model_dir: Path
    wait: Callable[[], int]
    """Blocks until the server has ended, and returns its exit code."""


@contextmanager
def serve_local(
    model: str | Path, *, port: int = 0, storage: Storage | None = None, start_seconds: float = 120.0
) -> Iterator[LocalServer]:
    """Yield a server over a model bundle; it ends with the block.

    Parameters
    ----------
    model : str or Path
        Folder of a bundle, or a ``model.tar.gz``, path or URI, unpacked as SageMaker does in ``/opt/ml/model``.
    port : int
        On this machine's own address only; 0 takes a free one.
    storage : Storage, optional
        To read the archive from S3.
    start_seconds : float
        For loading the model.

    Raises
    ------
    BundleError, StorageError
        As `unpack_model`.
    DeployError
        The port is taken, or the server did not start: the message has what it said.
    """
    port = port or _free_port()
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:  # whoever is there would answer in the place of this model
        raise DeployError(f"port {port}: expected a free one on this machine, got: {error}. Use another --port.") from None
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        place = Path(str(model))
        model_dir = place if place.is_dir() else bundle_archive.unpack_model(model, Path(folder) / "model", storage=storage)
        log_path = Path(folder) / "server.log"
        module = "dicom_workflow.learning.inference.server"
        command = [sys.executable, "-m", module, "--model", str(model_dir), "--port", str(port)]
        with (
            log_path.open("wb") as log,
            subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(Path(dicom_workflow.__file__).resolve().parents[1])},
            ) as process,
        ):
            try:
                _until_it_answers(process, port, log_path, start_seconds)
                yield LocalServer(f"http://127.0.0.1:{port}", model_dir, process.wait)
            finally:
                _stop(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def _until_it_answers(process: subprocess.Popen[bytes], port: int, log_path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            connection.close()
        time.sleep(0.1)
    said = log_path.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
    raise DeployError(f"server on port {port}: expected an answer within {seconds:g} seconds, got none. It said:\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(40)  # requests under way are finished
    except subprocess.TimeoutExpired:
        process.kill()
