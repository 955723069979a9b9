"""Child processes of this machine: find a free port, start a program, wait until it answers, stop it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dicom_workflow.errors import ServiceError

_LOG_BYTES = 2000
"""How much of a log's end an error message repeats."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(
    command: Sequence[str | Path],
    log_path: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    new_session: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program whose output is appended to a log file, and return its process.

    Parameters
    ----------
    command : sequence of str or Path
        Program and arguments.
    log_path : Path
        Gets standard output and standard error. Only this user may read it: a log may name patients.
    environment : mapping of str to str, optional
        Variables to set on top of those of this process.
    folder : Path, optional
        Working directory of the program; this process's own when not given.
    new_session : bool
        Start it in a session of its own, which the terminal's Ctrl-C does not reach.
    """
    with os.fdopen(os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        os.fchmod(log.fileno(), 0o600)  # the file may be from before, with the rights of another time
        return subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=new_session,
        )


def wait_until(
    ready: Callable[[], bool],
    process: subprocess.Popen[Any],
    *,
    name: str,
    log_path: Path,
    timeout_seconds: float = 60.0,
    poll_seconds: float = 0.05,
) -> None:
    """Return once a started process is ready. A process that does not get ready is stopped.

    Parameters
    ----------
    ready : callable
        Asked again and again, for example `answers` with the service's address.
    process : subprocess.Popen
        The process that was started.
    name : str
        What the error message calls it, for example ``Orthanc at http://127.0.0.1:8042``.
    log_path : Path
        The end of this file becomes part of the error message.
    timeout_seconds, poll_seconds : float
        How long to wait in all, and between two questions.

    Raises
    ------
    ServiceError
        The process ended, or was not ready in time.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if ready():
                return
            time.sleep(poll_seconds)
    except BaseException:
        stop(process)
        raise
    ended = process.poll()
    stop(process)
    what = f"did not answer within {timeout_seconds:g} seconds" if ended is None else f"ended with exit code {ended}"
    raise ServiceError(f"{name} {what}. The end of its log, {log_path}:\n{log_end(log_path)}")


def log_end(log_path: Path) -> str:
    """Return the last lines of a log file, or ``(empty)``."""
    with contextlib.suppress(OSError):
        return log_path.read_bytes()[-_LOG_BYTES:].decode("utf-8", "replace").strip() or "(empty)"
    return "(empty)"


def answers(url: str, *, user: str = "", password: str = "", timeout_seconds: float = 5.0) -> bool:
    """Return whether a service of this machine answers GET with status 200.

    The request goes straight to the address: ``http_proxy`` does not count for a service of this machine.

    Parameters
    ----------
    url : str
        An ``http://`` address.
    user, password : str
        For HTTP basic authentication; none is sent without a user.
    timeout_seconds : float
        Of the request.
    """
    parts = urlsplit(url)
    headers = {}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path or "/", headers=headers)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(process: subprocess.Popen[Any], *, timeout_seconds: float = 30.0) -> int:
    """Ask a process to end (SIGTERM), kill it when it does not, and return its exit code.

    Output that is still in its pipes is read and dropped, because a full pipe would keep it from ending.

    Parameters
    ----------
    process : subprocess.Popen
        It may have ended already.
    timeout_seconds : float
        How long it may take to end before SIGKILL.
    """
    if process.poll() is None:
        process.terminate()
    try:
        process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return process.returncode


def output_lines(commands: Sequence[Sequence[str]]) -> Iterator[str]:
    """Run commands side by side, and yield the lines of their standard output as they come, until all have ended.

    Whenever the iteration ends, no process is left.

    Parameters
    ----------
    commands : sequence of sequences of str
        Program and arguments of each process; its standard error is this process's own.

    Raises
    ------
    ServiceError
        One of them ended with an exit code other than 0.
    """
    lines: queue.SimpleQueue[str | int] = queue.SimpleQueue()
    children = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) for command in commands]

    def listen(child: subprocess.Popen[str]) -> None:
        for line in child.stdout or ():
            lines.put(line)
        lines.put(child.wait())

    listeners = [threading.Thread(target=listen, args=(child,), daemon=True) for child in children]
    try:
        for listener in listeners:
            listener.start()
        running = len(children)
        while running:
            line = lines.get()
            if isinstance(line, str):
                yield line
                continue
            running -= 1
            if line:
                raise ServiceError(f"{commands[0][0]} ended with exit code {line}; its message is on standard error.")
    finally:
        for child in children:
            child.kill()
        for child, listener in zip(children, listeners, strict=True):
            listener.join()
            if child.stdout:
                child.stdout.close()


def is_running(pid: int) -> bool:
    """Return whether a process runs. One that has ended, and that its parent has not waited for yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)  # systems without /proc
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def terminate(pid: int, *, timeout_seconds: float = 30.0) -> None:
    """Ask a process that another process started to end, and return when it has.

    Parameters
    ----------
    pid : int
        Process id; one that no longer runs is no error.
    timeout_seconds : float
        How long it may take to end before SIGKILL.
    """
    for kind, seconds in ((signal.SIGTERM, timeout_seconds), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kind)
        deadline = time.monotonic() + seconds
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not is_running(pid):
            return


def command_line(pid: int) -> str:
    """Return the command line of a process, its arguments parted by spaces; empty for one that does not run, or is hidden."""
    if not Path("/proc/self").exists():
        command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.rstrip("\n")
    with contextlib.suppress(OSError):  # it ended in the meantime
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")).replace("\0", " ")
    return ""


def command_lines() -> dict[int, str]:
    """Return process id → command line of every process of this machine that this user may look at."""
    if not Path("/proc/self").exists():
        listed = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False).stdout
        pairs = (line.strip().partition(" ") for line in listed.splitlines())
        return {int(pid): command for pid, _, command in pairs if pid.isdigit()}
    pids = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    return {pid: command for pid in pids if (command := command_line(pid))}
