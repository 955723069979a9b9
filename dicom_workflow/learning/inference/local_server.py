"""A model behind HTTP on this machine: what an endpoint does, without AWS and without Docker."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dicom_workflow
from dicom_workflow import processes
from dicom_workflow.errors import DeployError
from dicom_workflow.learning.model import bundle_archive
from dicom_workflow.storage import Storage

_STOP_SECONDS = 40.0
"""For requests under way to be finished."""


@dataclass(frozen=True)
class LocalServer:
    """A running inference server."""

    url: str
    model_dir: Path
    wait: Callable[[], int]
    """Blocks until the server has ended, and returns its exit code."""


@contextmanager
def serve_local(
    model: str | Path, *, port: int = 0, storage: Storage | None = None, start_seconds: float = 120.0
) -> Iterator[LocalServer]:
    """Yield a server over a model bundle; it is stopped when the block ends.

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
        As `bundle_archive.unpack_model`.
    DeployError
        The port is taken.
    ServiceError
        The server did not start; the message has the end of its log.
    """
    port = port or processes.free_port()
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:  # another server would answer in the place of this model
        raise DeployError(f"Port {port} of this machine is taken: {error}. Use another --port.") from None
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        place = Path(str(model))
        model_dir = place if place.is_dir() else bundle_archive.unpack_model(model, Path(folder) / "model", storage=storage)
        log_path = Path(folder) / "server.log"
        url = f"http://127.0.0.1:{port}"
        process = processes.start(
            [sys.executable, "-m", "dicom_workflow.learning.inference.server", "--model", model_dir, "--port", str(port)],
            log_path,
            environment={"PYTHONPATH": str(Path(dicom_workflow.__file__).resolve().parents[1])},
        )
        try:
            processes.wait_until(
                lambda: processes.answers(f"{url}/ping"),
                process,
                name=f"The inference server at {url}",
                log_path=log_path,
                timeout_seconds=start_seconds,
            )
            yield LocalServer(url, model_dir, process.wait)
        finally:
            processes.stop(process, timeout_seconds=_STOP_SECONDS)
