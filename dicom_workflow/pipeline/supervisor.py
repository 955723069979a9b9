"""The supervisor of a workspace's local services: a process that starts them, restarts one that died, and stops them.

Started by `local_services.attach` as ``python -m dicom_workflow.pipeline.supervisor WORKSPACE``, with the settings in its
environment; the argument only says, in a list of processes, whose supervisor it is.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time

from dicom_workflow import processes
from dicom_workflow.archive.orthanc_process import OrthancServer, find_dicomweb_plugin, find_orthanc
from dicom_workflow.errors import ServiceError, WorkflowError
from dicom_workflow.pipeline.local_services import State, has_live_leases, kept_since, lock, state_path
from dicom_workflow.pipeline.search_process import SearchProcess
from dicom_workflow.settings import Secret, Settings

POLL_SECONDS = 0.5


class Supervisor:
    """Runs the services of one workspace until no live lease is left."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._orthanc: OrthancServer | None = None
        self._portal: subprocess.Popen[bytes] | None = None
        self._portal_url = f"http://127.0.0.1:{processes.free_port()}"
        self._search = SearchProcess(settings.workspace, state_path(settings.workspace).with_name("search.log"))
        self._starting = self._stopping = False

    def run(self) -> None:
        """Start the services, watch them, and stop them."""
        signal.signal(signal.SIGTERM, self._stop_soon)
        signal.signal(signal.SIGINT, self._stop_soon)
        with lock(self._settings.workspace, "running"):  # one that is still stopping has the index and its port: wait for it
            try:
                self._start()
                while not self._stopping and has_live_leases(self._settings.workspace):
                    self._revive()
                    self._serve_search()
                    time.sleep(POLL_SECONDS)
            finally:
                # The state goes first: whoever comes now starts new services instead of attaching to dying ones.
                state_path(self._settings.workspace).unlink(missing_ok=True)
                self._stop()

    def _stop_soon(self, *_: object) -> None:
        self._stopping = True
        if self._starting:
            raise SystemExit("Asked to stop before the services answered.")

    def _start(self) -> None:
        self._starting = True
        settings = self._settings
        if settings.archive != "folder" and not settings.names_archive:
            settings = self._with_orthanc(settings)
        if not settings.groundtruth_url:
            self._settings = settings.with_(
                groundtruth_access_key=f"AKIA{secrets.token_hex(8).upper()}",
                groundtruth_secret_key=Secret(secrets.token_urlsafe(30)),
            )
            self._start_portal()
            settings = self._settings.with_(groundtruth_url=self._portal_url)
        if not settings.search_oidc_issuer and not settings.search_token:
            settings = settings.with_(search_token=Secret(secrets.token_urlsafe(32)))
        self._settings = settings
        self._write_state()
        self._starting = False

    def _with_orthanc(self, settings: Settings) -> Settings:
        """Start Orthanc and return the settings with both of its interfaces; without one, a folder is the archive."""
        if find_orthanc() is None:
            if settings.archive == "dicomweb":
                raise ServiceError("ARCHIVE is dicomweb, DICOMWEB_URL is empty, and Orthanc is not installed. Set the URL.")
            print("Orthanc is not installed here: the archive is a folder of the workspace instead.")
            return settings.with_(archive="folder")
        self._orthanc = OrthancServer(settings.workspace / "orthanc")
        user, password = self._orthanc.user, self._orthanc.password
        settings = settings.with_(orthanc_url=self._orthanc.url, orthanc_user=user, orthanc_password=password)
        if settings.archive == "dicomweb" or find_dicomweb_plugin():
            url = self._orthanc.dicomweb_url
            settings = settings.with_(dicomweb_url=url, dicomweb_user=user, dicomweb_password=password)
        self._orthanc.start()
        return settings

    def _start_portal(self) -> None:
        log = state_path(self._settings.workspace).with_name("portal.log")
        port = self._portal_url.rpartition(":")[2]
        self._portal = processes.start(
            [sys.executable, "-m", "dicom_workflow.groundtruth", "--port", port],
            log,
            environment=self._settings.with_(groundtruth_url="").to_environment(),
        )
        if self._starting:
            self._write_state(ready=False)
        processes.wait_until(
            lambda: processes.answers(f"{self._portal_url}/health") or self._stopping,
            self._portal,
            name=f"The labeling portal at {self._portal_url}",
            log_path=log,
        )

    def _revive(self) -> None:
        """Start again what died: an accepted answer is in the job database, a stored instance in Orthanc's index."""
        if self._portal and self._portal.poll() is not None:
            print("The labeling portal died; starting it again.", flush=True)
            self._start_portal()
            self._write_state()
        if self._orthanc and not self._orthanc.is_running():
            print("Orthanc died; starting it again.", flush=True)
            self._orthanc.start()
            self._write_state()

    def _serve_search(self) -> None:
        """Serve the index of the workspace for whoever ran `make up`; the other services go on without it."""
        asked = kept_since(self._settings.workspace)
        is_new = asked != self._search.state.asked
        if is_new:
            self._search.ask(asked, self._settings)
        if self._search.look(self._settings) or is_new:
            self._write_state()

    def _write_state(self, *, ready: bool = True) -> None:
        pids = {"orthanc": self._orthanc.pid} if self._orthanc else {}
        if self._portal:
            pids["portal"] = self._portal.pid
        if self._search.pid:
            pids["search"] = self._search.pid
        State(os.getpid(), pids, self._settings, ready, self._search.state).write()

    def _stop(self) -> None:
        self._search.terminate()
        if self._portal:
            processes.stop(self._portal, timeout_seconds=15)
        self._search.stop()
        if self._orthanc:
            self._orthanc.stop()


if __name__ == "__main__":
    try:
        Supervisor(Settings.from_env()).run()
    except WorkflowError as error:
        sys.exit(str(error))
