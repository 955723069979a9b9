"""The local services of a workspace: Orthanc and the labeling portal, started when needed and stopped when nobody needs them.

`attach` gives settings that name running services. Where the environment names none, one *supervisor* process per workspace
runs them on free ports with credentials of its own, starts one again that died, and ends when the last process that holds a
*lease* is gone, however it ended. So a notebook, a demo run and a person at `make up` share what is running, and nothing is
left behind.

Once everything answers the supervisor writes ``services/state.json``, readable by this user alone: its process id, those of the
services, and the settings that reach them.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from dicom_workflow.archive.orthanc_process import OrthancServer, find_orthanc, free_port
from dicom_workflow.errors import ServiceError
from dicom_workflow.settings import Secret, Settings

START_SECONDS = 60.0
POLL_SECONDS = 0.5
KEEP = "keep"
"""The lease of `make up`: it holds until `make down`."""


@dataclass(frozen=True)
class State:
    """What is running in a workspace, and the settings that reach it."""

    supervisor: int
    pids: Mapping[str, int]
    settings: Settings

    @classmethod
    def read(cls, workspace: Path) -> State | None:
        """Return what the supervisor of a workspace wrote, or None when none is alive."""
        try:
            data = json.loads(_state_path(workspace).read_text())
        except FileNotFoundError:
            return None
        state = cls(data["supervisor"], data["pids"], Settings.from_env(data["environment"]))
        return state if _alive(state.supervisor) else None

    def write(self) -> None:
        """Write the state in one step, readable by this user alone."""
        data = {"supervisor": self.supervisor, "pids": self.pids, "environment": environment(self.settings)}
        path = _state_path(self.settings.workspace)
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(data, stream)
        part.replace(path)

    def apply_to(self, settings: Settings) -> Settings:
        """Return the settings with every address they leave open filled in."""
        names: tuple[str, ...] = ("archive",)
        if not settings.orthanc_url:
            names += ("orthanc_url", "orthanc_user", "orthanc_password")
        if not settings.groundtruth_url:
            names += ("groundtruth_url", "groundtruth_access_key", "groundtruth_secret_key")
        return settings.with_(**{name: getattr(self.settings, name) for name in names})


def attach(settings: Settings) -> Settings:
    """Return settings that name a running archive and labeling service.

    Settings that name both already are returned as they are. Otherwise the services of the workspace are found or started, and
    stay up as long as this process lives.

    Raises
    ------
    ServiceError
        A service did not start; the message ends with its log.
    """
    if settings.groundtruth_url and (settings.orthanc_url or settings.archive == "folder"):
        return settings
    _make_folders(settings.workspace)
    with _lock(settings.workspace):
        _take_lease(settings.workspace, str(os.getpid()))
        state = State.read(settings.workspace) or _start_supervisor(settings)
    return state.apply_to(settings)


def up(settings: Settings) -> State:
    """Start the services of a workspace and leave them running until `down`."""
    _make_folders(settings.workspace)
    with _lock(settings.workspace):
        _take_lease(settings.workspace, KEEP)
        return State.read(settings.workspace) or _start_supervisor(settings)


def down(settings: Settings) -> bool:
    """Stop the services of a workspace and wait until they are gone; say whether any were running."""
    state = State.read(settings.workspace)
    (_leases(settings.workspace) / KEEP).unlink(missing_ok=True)
    if state is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(state.supervisor, signal.SIGTERM)
    _wait_until(lambda: not _alive(state.supervisor), 30.0, "the services did not stop")
    return True


def detach(settings: Settings) -> None:
    """Give back this process's lease at once instead of at its end, and wait for the services if it was the last."""
    lease = _leases(settings.workspace) / str(os.getpid())
    if not lease.exists():
        return
    lease.unlink(missing_ok=True)
    state = State.read(settings.workspace)
    if state and not _live_leases(settings.workspace):
        _wait_until(lambda: not _alive(state.supervisor), 30.0, "the services did not stop")


def state_path(settings: Settings) -> Path:
    """Return the file that says what runs in a workspace and how to sign in; only this user may read it."""
    return _state_path(settings.workspace)


def _start_supervisor(settings: Settings) -> State:
    folder = _services(settings.workspace)
    _state_path(settings.workspace).unlink(missing_ok=True)
    log = folder / "supervisor.log"
    with log.open("wb") as stream:
        # A session of its own: Ctrl-C ends the person's process, which gives its lease back; the supervisor then ends in order.
        process = subprocess.Popen(
            [sys.executable, "-m", "dicom_workflow.pipeline.local_services"],
            env={**os.environ, **environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd=folder,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        state = State.read(settings.workspace)
        if state and state.supervisor == process.pid:
            process.returncode = 0  # it outlives this object, which would complain of a process that nobody waited for
            return state
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise ServiceError(f"the local services did not start:\n{log.read_text(errors='replace')[-2000:]}")


def environment(settings: Settings) -> dict[str, str]:
    """Return the settings as the environment variables that `Settings.from_env` reads."""
    return {
        "DICOM_WORKFLOW_WORKSPACE": str(settings.workspace),
        "ARCHIVE": settings.archive,
        "ORTHANC_URL": settings.orthanc_url,
        "ORTHANC_USER": settings.orthanc_user,
        "ORTHANC_PASSWORD": settings.orthanc_password.reveal(),
        "GROUNDTRUTH_URL": settings.groundtruth_url,
        "GROUNDTRUTH_ACCESS_KEY": settings.groundtruth_access_key,
        "GROUNDTRUTH_SECRET_KEY": settings.groundtruth_secret_key.reveal(),
        "S3_URL": settings.s3_url,
        "AWS_REGION": settings.region,
        "DICOM_WORKFLOW_CA_BUNDLE": settings.ca_bundle,
        "DICOM_WORKFLOW_TIMEOUT": str(settings.timeout_seconds),
    }


class Supervisor:
    """Runs the services of one workspace until no live lease is left."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._orthanc: OrthancServer | None = None
        self._portal: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self._asked_to_stop = False

    def run(self) -> None:
        """Start, write the state, watch, stop."""
        signal.signal(signal.SIGTERM, self._stop_soon)
        signal.signal(signal.SIGINT, self._stop_soon)
        with _lock(self._settings.workspace, "running"):  # one that is still stopping has the index and its port: wait for it
            self._serve()

    def _serve(self) -> None:
        try:
            self._start()
            while not self._asked_to_stop and _live_leases(self._settings.workspace):
                self._revive()
                time.sleep(POLL_SECONDS)
        finally:
            # The state goes first: whoever comes now starts new services instead of attaching to dying ones.
            _state_path(self._settings.workspace).unlink(missing_ok=True)
            self._stop()

    def _stop_soon(self, *_: object) -> None:
        self._asked_to_stop = True

    def _start(self) -> None:
        settings = self._settings
        if not settings.orthanc_url and settings.archive == "orthanc":
            if find_orthanc() is None:
                print("Orthanc is not installed here: the embedded folder archive serves instead.")
                settings = settings.with_(archive="folder")
            else:
                self._orthanc = OrthancServer(settings.workspace / "orthanc")
                self._orthanc.start()
                settings = settings.with_(
                    orthanc_url=self._orthanc.url,
                    orthanc_user=self._orthanc.user,
                    orthanc_password=self._orthanc.password,
                )
        if not settings.groundtruth_url:
            settings = settings.with_(
                groundtruth_access_key=f"AKIA{secrets.token_hex(8).upper()}",
                groundtruth_secret_key=Secret(secrets.token_urlsafe(30)),
            )
            self._settings = settings
            self._start_portal()
            settings = settings.with_(groundtruth_url=self._portal_url)
        self._settings = settings
        self._write_state()

    @property
    def _portal_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _start_portal(self) -> None:
        log = _services(self._settings.workspace) / "portal.log"
        with log.open("ab") as stream:
            self._portal = subprocess.Popen(
                [sys.executable, "-m", "dicom_workflow.groundtruth", "--port", str(self._port)],
                env={**os.environ, **environment(self._settings.with_(groundtruth_url=""))},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._portal.poll() is None and not self._asked_to_stop:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self._portal_url}/health", timeout=5).ok:
                    return
            time.sleep(0.05)
        raise ServiceError(f"the labeling portal did not start:\n{log.read_text(errors='replace')[-2000:]}")

    def _revive(self) -> None:
        """Start again what died: an accepted answer is in the portal's journal, a stored instance in Orthanc's index."""
        if self._portal and self._portal.poll() is not None:
            print("the labeling portal died; starting it again")
            self._start_portal()
            self._write_state()
        if self._orthanc and not self._orthanc.is_running():
            print("Orthanc died; starting it again")
            self._orthanc.start()
            self._write_state()

    def _write_state(self) -> None:
        pids = {"orthanc": self._orthanc.pid} if self._orthanc else {}
        if self._portal:
            pids["portal"] = self._portal.pid
        State(os.getpid(), pids, self._settings).write()

    def _stop(self) -> None:
        if self._portal:
            self._portal.terminate()
            try:
                self._portal.wait(15)
            except subprocess.TimeoutExpired:
                self._portal.kill()
                self._portal.wait()
        if self._orthanc:
            self._orthanc.stop()


def _make_folders(workspace: Path) -> None:
    """A new workspace is this user's alone: instances, manifests and pictures in it name and show patients."""
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    _services(workspace).mkdir(exist_ok=True)


def _services(workspace: Path) -> Path:
    return workspace / "services"


def _leases(workspace: Path) -> Path:
    return _services(workspace) / "leases"


def _state_path(workspace: Path) -> Path:
    return _services(workspace) / "state.json"


@contextlib.contextmanager
def _lock(workspace: Path, name: str = "lock") -> Iterator[None]:
    """Two notebooks that open at once must not start two Orthancs on one index."""
    with (_services(workspace) / name).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _take_lease(workspace: Path, name: str) -> None:
    _leases(workspace).mkdir(parents=True, exist_ok=True)
    lease = _leases(workspace) / name
    lease.touch()
    if name != KEEP:
        atexit.register(lambda: lease.unlink(missing_ok=True))


def _live_leases(workspace: Path) -> bool:
    live = False
    for lease in _leases(workspace).glob("*"):
        if lease.name == KEEP or (lease.name.isdigit() and _alive(int(lease.name))):
            live = True
        else:
            lease.unlink(missing_ok=True)
    return live


def _alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)  # systems without /proc
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wait_until(done: Callable[[], bool], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise ServiceError(f"{problem} within {seconds:.0f} seconds.")
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        Supervisor(Settings.from_env()).run()
    except ServiceError as error:
        sys.exit(str(error))
