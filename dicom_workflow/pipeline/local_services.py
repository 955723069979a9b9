"""The local services of a workspace: Orthanc, the labeling portal, and for `make up` the search service.

`attach` gives settings that name running services. Where the environment names none, one *supervisor* process per workspace
(`pipeline.supervisor`) runs them on free ports with credentials of its own, restarts one that died, and ends when the last
process that holds a *lease* is gone, however it ended. So a notebook, a demo run and a person at `make up` share the same
services, and nothing is left behind.

The supervisor writes ``services/state.json``, readable by this user alone: its process id, those of the services, and, once
everything answers, the settings that reach them.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from dicom_workflow import processes
from dicom_workflow.aws import deployment_settings
from dicom_workflow.errors import ServiceError, SettingsError
from dicom_workflow.settings import Settings

START_SECONDS = 150.0
"""Longer than the supervisor waits for either service, so that its own message is the one that arrives."""
STOP_SECONDS = 60.0
SUPERVISOR = "dicom_workflow.pipeline.supervisor"
KEEP = "keep"
"""The lease of `make up`: it holds until `make down`."""


@dataclass(frozen=True)
class SearchState:
    """The search service of a workspace: where it answers, or why it does not; neither while it starts."""

    url: str = ""
    problem: str = ""
    asked: int = 0
    """Which `make up` this answers: the time of its lease in nanoseconds; 0 where nobody asked."""


@dataclass(frozen=True)
class State:
    """The services that run in a workspace, and the settings that reach them."""

    supervisor: int
    """Process id."""
    pids: Mapping[str, int]
    """``orthanc``, ``portal`` and ``search`` → process id, of those that were started."""
    settings: Settings
    ready: bool = True
    """False while a service does not answer yet."""
    search: SearchState = SearchState()

    @classmethod
    def read(cls, workspace: Path) -> State | None:
        """Return what the supervisor of a workspace wrote, or None when no supervisor runs there.

        Raises
        ------
        ServiceError
            The file is damaged, or another version of this package wrote it.
        """
        path = state_path(workspace)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            state = cls(
                int(data["supervisor"]),
                dict(data["pids"]),
                Settings.from_env(data["environment"]),
                data.get("ready", True),
                SearchState(**data.get("search", {})),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ServiceError(
                f"{path} cannot be read ({error}). If no services run in this workspace, delete the file and try again."
            ) from None
        return state if _is_supervisor(state.supervisor, workspace) else None

    def write(self) -> None:
        """Write the state in one step, readable by this user alone."""
        data = {
            "supervisor": self.supervisor,
            "pids": dict(self.pids),
            "environment": self.settings.to_environment(),
            "ready": self.ready,
            "search": asdict(self.search),
        }
        path = state_path(self.settings.workspace)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(data, stream)
        part.replace(path)

    def apply_to(self, settings: Settings) -> Settings:
        """Return the settings with every address that they leave open filled in."""
        names: tuple[str, ...] = ()
        if not settings.names_archive and settings.archive != "folder":
            # One interface for a workspace: the portal that runs reads manifests by its own, and each names images its own way.
            names += tuple(item.name for item in fields(settings) if item.name.startswith(("archive", "orthanc_", "dicomweb_")))
        if not settings.groundtruth_url:
            names += ("groundtruth_url", "groundtruth_access_key", "groundtruth_secret_key")
        return settings.with_(**{name: getattr(self.settings, name) for name in names})


def attach(settings: Settings) -> Settings:
    """Return settings that name a running archive and labeling service.

    What the settings leave open is read from the stacks of their deployment, if they name one. Otherwise the services of the
    workspace are found or started, and stay up as long as this process lives.

    Raises
    ------
    ServiceError
        A service did not start; the message ends with its log.
    SettingsError
        The workspace cannot be used or was made by an earlier version, or a stack of the deployment cannot be read.
    """
    settings.make_workspace()
    settings = deployment_settings.complete(settings)
    if settings.archive == "folder":
        _refuse_earlier_folder_archive(settings.workspace / "folder-archive")
    if settings.groundtruth_url and (settings.names_archive or settings.archive == "folder"):
        return settings
    _make_services(settings.workspace)
    with lock(settings.workspace):
        _take_lease(settings.workspace, str(os.getpid()))
        state = _running(settings) or _start_supervisor(settings)
    return state.apply_to(settings)


def up(settings: Settings) -> State:
    """Start the services of a workspace, search included where it has an index, and leave them running until `down`."""
    settings.make_workspace()
    _make_services(settings.workspace)
    with lock(settings.workspace):
        _take_lease(settings.workspace, KEEP)
        state = _running(settings) or _start_supervisor(settings)
    asked, deadline = kept_since(settings.workspace), time.monotonic() + START_SECONDS
    while state.search.asked != asked or not (state.search.url or state.search.problem):
        if time.monotonic() > deadline:
            return replace(state, search=SearchState(problem="it does not answer yet. Run make up again.", asked=asked))
        time.sleep(0.05)
        state = State.read(settings.workspace) or state
    return state


def kept_since(workspace: Path) -> int:
    """Return when `make up` was last run in a workspace, in nanoseconds; 0 where it was not, or `down` was run since."""
    try:
        return (_leases(workspace) / KEEP).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def down(settings: Settings) -> bool:
    """Stop the services of a workspace and wait until they are gone; return whether any were running.

    Services whose supervisor was killed are stopped as well.
    """
    (_leases(settings.workspace) / KEEP).unlink(missing_ok=True)
    state = State.read(settings.workspace)
    if state is not None:
        processes.terminate(state.supervisor, timeout_seconds=STOP_SECONDS)
    return stop_orphans(settings.workspace) or state is not None


def detach(settings: Settings) -> None:
    """Give back this process's lease at once instead of at its end, and wait for the services to stop if it was the last.

    Raises
    ------
    ServiceError
        The services did not stop in time.
    """
    lease = _leases(settings.workspace) / str(os.getpid())
    if not lease.exists():
        return
    lease.unlink(missing_ok=True)
    state = State.read(settings.workspace)
    if state is None or has_live_leases(settings.workspace):
        return
    deadline = time.monotonic() + STOP_SECONDS
    while processes.is_running(state.supervisor):
        if time.monotonic() > deadline:
            raise ServiceError(f"The local services did not stop within {STOP_SECONDS:.0f} seconds. Run `make down`.")
        time.sleep(0.05)


def serves_local_archive(settings: Settings) -> bool:
    """Return whether the archive of these settings belongs to their workspace: a folder in it, or an Orthanc started for it."""
    if settings.archive == "folder":
        return True
    state = State.read(settings.workspace)
    if state is None or "orthanc" not in state.pids:
        return False
    return settings.archive_address == state.settings.with_(archive=settings.archive).archive_address


def stop_orphans(workspace: Path) -> bool:
    """Stop services of a workspace whose supervisor no longer runs, and return whether there were any.

    They would hold Orthanc's index and the job database. Process ids are used again, so a process counts only when its command
    line is that of the service.
    """
    try:
        data = json.loads(state_path(workspace).read_text(encoding="utf-8"))
        supervisor, portal, search = int(data["supervisor"]), *(int(data["pids"].get(name, 0)) for name in ("portal", "search"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        supervisor = portal = search = 0
    if _is_supervisor(supervisor, workspace):
        return False
    running = processes.command_lines()
    orphans = [pid for pid, command in running.items() if command.endswith(f"Orthanc {workspace}/orthanc/orthanc.json")]
    orphans += [portal] if "-m dicom_workflow.groundtruth" in running.get(portal, "") else []
    orphans += [search] if f"search serve --store {workspace}/search/index" in running.get(search, "") else []
    for pid in orphans:
        processes.terminate(pid)
    state_path(workspace).unlink(missing_ok=True)
    return bool(orphans)


def state_path(workspace: Path) -> Path:
    """Return the file that says what runs in a workspace and how to sign in; only this user may read it."""
    return _services(workspace) / "state.json"


def has_live_leases(workspace: Path) -> bool:
    """Return whether any process still needs the services of a workspace; leases of processes that ended are removed."""
    live = False
    for lease in _leases(workspace).glob("*"):
        if lease.name == KEEP or (lease.name.isdigit() and processes.is_running(int(lease.name))):
            live = True
        else:
            lease.unlink(missing_ok=True)
    return live


@contextlib.contextmanager
def lock(workspace: Path, name: str = "lock") -> Iterator[None]:
    """Hold a lock of the workspace: two notebooks that open at once must not start two Orthancs on one index."""
    with (_services(workspace) / name).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _refuse_earlier_folder_archive(root: Path) -> None:
    """Earlier versions named files by Orthanc's hash, later ones by SOP Instance UID: they would not find them."""
    if next(root.glob(f"instances/??/{'-'.join(['?' * 8] * 5)}.dcm"), None):
        raise SettingsError(
            f"{root} is a folder archive of an earlier version. Store its images again: "
            f"mv {root} {root}-earlier && dicom-workflow upload {root}-earlier (its .json files are reported and not needed)."
        )


def _running(settings: Settings) -> State | None:
    """Return the state of services that answer; one whose starter was killed may still be starting, and is waited for."""
    deadline = time.monotonic() + START_SECONDS
    while (state := State.read(settings.workspace)) is not None and not state.ready and time.monotonic() < deadline:
        time.sleep(0.05)
    if state and not settings.names_archive and (settings.archive, state.settings.archive) == ("dicomweb", "orthanc"):
        raise ServiceError(
            f"The services of {settings.workspace} run with ARCHIVE=orthanc, not dicomweb. Stop "
            "them with `make down`, or set DICOM_WORKFLOW_WORKSPACE to another folder."
        )
    return state


def _start_supervisor(settings: Settings) -> State:
    folder = _services(settings.workspace)
    stop_orphans(settings.workspace)  # they would hold Orthanc's index
    state_path(settings.workspace).unlink(missing_ok=True)
    log = folder / "supervisor.log"
    log.unlink(missing_ok=True)
    # A session of its own: Ctrl-C ends the person's process, which gives its lease back; the supervisor then ends in order.
    process = processes.start(
        [sys.executable, "-m", SUPERVISOR, settings.workspace],
        log,
        environment=settings.to_environment(),
        folder=folder,
        new_session=True,
    )
    ready: list[State] = []

    def answers() -> bool:
        state = State.read(settings.workspace)
        if state and state.ready and state.supervisor == process.pid:
            ready.append(state)
        return bool(ready)

    processes.wait_until(answers, process, name="The local services", log_path=log, timeout_seconds=START_SECONDS)
    process.returncode = 0  # it outlives this object, which would complain of a process that nobody waited for
    return ready[0]


def _is_supervisor(pid: int, workspace: Path) -> bool:
    """Return whether a process is the supervisor of a workspace: a process id on disk may be another process's by now."""
    return processes.command_line(pid).endswith(f"-m {SUPERVISOR} {workspace}")


def _make_services(workspace: Path) -> None:
    """Make the folder of the state, which holds passwords and is believed: nobody else may write there.

    Raises
    ------
    ServiceError
        It belongs to somebody else, or is no folder.
    """
    folder = _services(workspace)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)  # it may be from before, with other rights
    except OSError as error:
        raise ServiceError(f"{folder}: expected a folder of this user: {error.strerror}. Delete it and try again.") from None


def _services(workspace: Path) -> Path:
    return workspace / "services"


def _leases(workspace: Path) -> Path:
    return _services(workspace) / "leases"


def _take_lease(workspace: Path, name: str) -> None:
    _leases(workspace).mkdir(parents=True, exist_ok=True)
    lease = _leases(workspace) / name
    lease.touch()
    if name != KEEP:
        atexit.register(lambda: lease.unlink(missing_ok=True))
