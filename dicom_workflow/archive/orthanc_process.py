"""An Orthanc of our own: started on free ports and in a folder of its own, with a password nobody chose, and stopped again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from dicom_workflow.errors import ServiceError
from dicom_workflow.settings import Secret

START_SECONDS = 60.0
STOP_SECONDS = 30.0
USER = "dicom-workflow"

_PROGRAM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin")  # Debian installs it where a user's PATH does not look
_PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")


def find_orthanc() -> Path | None:
    """Return the Orthanc program of this machine, or None."""
    found = shutil.which("Orthanc") or shutil.which("Orthanc", path=os.pathsep.join(_PROGRAM_FOLDERS))
    return Path(found) if found else None


class OrthancServer:
    """A running Orthanc, for tests, notebooks and `make up`; not for an archive that must last.

    It answers this machine only, asks for a password, takes no DICOM associations and keeps its files below `folder`. Started
    again, it has the same address and password.

    Parameters
    ----------
    folder : Path
        Gets ``orthanc.json`` (readable by this user alone), ``orthanc.log`` and the ``storage``.
    options : mapping, optional
        Further entries of Orthanc's configuration.
    """

    def __init__(self, folder: Path, options: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.user = USER
        self.password = Secret(secrets.token_urlsafe(24))
        self._port = free_port()
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the REST interface."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id; raises ServiceError when it was not started."""
        if self._process is None:
            raise ServiceError("Orthanc was not started.")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "orthanc.log"

    def is_running(self) -> bool:
        """Say whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> OrthancServer:
        """Start and wait until it answers.

        Raises
        ------
        ServiceError
            There is no Orthanc here, or it ended before it answered; the message ends with its log.
        """
        program = find_orthanc()
        if program is None:
            raise ServiceError("expected the program Orthanc, found none: apt-get install orthanc orthanc-dicomweb.")
        # Orthanc writes images and index for everybody to read; nobody else of this machine gets as far as there.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "storage").mkdir(exist_ok=True)
        configuration = self.folder / "orthanc.json"
        with os.fdopen(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(self._configuration(), stream, indent=2)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(program), str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.is_running():
            if self._answers():
                return self
            time.sleep(0.05)
        self.stop()
        raise ServiceError(f"Orthanc did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """Stop and wait until it is gone, so that its port and index are free."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it like a crash would (SIGKILL) and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> OrthancServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/system", auth=(self.user, self.password.reveal()), timeout=5).ok
        return False

    def _configuration(self) -> dict[str, Any]:
        storage = str(self.folder / "storage")
        plugins = [str(path) for folder in _PLUGIN_FOLDERS for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*"))]
        return {
            "Name": "dicom-workflow",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": self._port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {self.user: self.password.reveal()},
            "DicomServerEnabled": False,
            "OverwriteInstances": False,
            "StoreMD5ForAttachments": True,
            "SyncStorageArea": True,
            "Plugins": plugins,
            **({"DicomWeb": {"Enable": True}} if plugins else {}),
            **self._options,
        }


def free_port() -> int:
    """Return a port of this machine on which nothing listens just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
