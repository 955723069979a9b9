"""A local Orthanc: started on a free port, in a folder and with a password of its own, and stopped again."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from dicom_workflow import processes
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


def find_dicomweb_plugin() -> Path | None:
    """Return Orthanc's DICOMweb plugin of this machine, or None."""
    found = (path for folder in _PLUGIN_FOLDERS for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*")))
    return next(found, None)


class OrthancServer:
    """A running Orthanc, for tests, notebooks and `make up`; not for an archive that must last.

    It answers this machine only, asks for a password, takes no DICOM associations and keeps its files below `folder`. Started
    again, it has the same address and password. Orthanc before 1.12.10 listens on every interface and refuses requests of other
    machines; later versions listen on loopback alone.

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
        self._port = processes.free_port()
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the REST interface."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def dicomweb_url(self) -> str:
        """Base URL of the DICOMweb interface.

        Raises
        ------
        ServiceError
            Orthanc's DICOMweb plugin is not installed.
        """
        if find_dicomweb_plugin() is None:
            raise ServiceError(
                "Orthanc's DICOMweb plugin is not installed. Install it with `apt-get install orthanc-dicomweb`, or set "
                "ARCHIVE=orthanc."
            )
        return f"{self.url}/dicom-web"

    @property
    def pid(self) -> int:
        """Process id.

        Raises
        ------
        ServiceError
            Orthanc was not started.
        """
        if self._process is None:
            raise ServiceError("Orthanc was not started.")
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file with what it printed."""
        return self.folder / "orthanc.log"

    def is_running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> OrthancServer:
        """Start Orthanc and wait until it answers. An Orthanc that does not is stopped.

        Raises
        ------
        ServiceError
            Orthanc is not installed, or did not answer in time; the message names its address and ends with its log.
        """
        program = find_orthanc()
        if program is None:
            raise ServiceError("Orthanc is not installed. Install it with `apt-get install orthanc orthanc-dicomweb`.")
        # Orthanc writes images and index for everybody to read; nobody else of this machine gets as far as there.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        (self.folder / "storage").mkdir(exist_ok=True)
        configuration = self.folder / "orthanc.json"
        with os.fdopen(os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            os.fchmod(stream.fileno(), 0o600)  # it holds the password, and may be from before, with other rights
            json.dump(self._configuration(), stream, indent=2)
        self._process = processes.start([program, configuration], self.log, folder=self.folder)
        password = self.password.reveal()
        processes.wait_until(
            lambda: processes.answers(f"{self.url}/system", user=self.user, password=password),
            self._process,
            name=f"Orthanc at {self.url}",
            log_path=self.log,
            timeout_seconds=START_SECONDS,
        )
        return self

    def stop(self) -> None:
        """Stop Orthanc and wait until it is gone, so that its port and index are free."""
        if self._process is not None:
            processes.stop(self._process, timeout_seconds=STOP_SECONDS)

    def kill(self) -> None:
        """End Orthanc like a crash would (SIGKILL) and wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> OrthancServer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def _configuration(self) -> dict[str, Any]:
        storage = str(self.folder / "storage")
        plugin = find_dicomweb_plugin()
        return {
            "Name": "dicom-workflow",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": self._port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {self.user: self.password.reveal()},
            "DicomServerEnabled": False,
            "OverwriteInstances": False,
            "StoreMD5ForAttachments": True,
            "SyncStorageArea": True,
            "Plugins": [str(plugin)] if plugin else [],
            **({"DicomWeb": {"Enable": True}} if plugin else {}),
            **self._options,
        }
