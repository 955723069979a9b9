"""The service as a process: the token is printed once, SIGTERM lets requests under way end, a taken port is said."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from dicom_workflow.errors import ServiceError
from dicom_workflow.processes import free_port
from dicom_workflow.search.service.server import ServeOptions, serve
from dicom_workflow.settings import Secret, Settings

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "support" / "search_served.py"
CONNECTIONS = 20


class Process:
    """A service of its own process, whose store waits while a file is there."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port, self.held = free_port(), folder / "held"
        environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
        command = [sys.executable, str(SCRIPT), str(self.port), str(folder), *arguments]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.printed = self.process.stdout.readline()
        self.url = f"http://127.0.0.1:{self.port}"
        assert self.printed, self.rest()
        for _ in range(600):
            try:
                requests.get(f"{self.url}/healthz", timeout=5)
                return
            except requests.ConnectionError:
                time.sleep(0.05)

    def rest(self) -> tuple[int, str]:
        """The exit code, and everything that was printed later."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out + err


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One service for all tests of the file; the last of them ends it."""
    started = Process(tmp_path_factory.mktemp("served"), str(CONNECTIONS))
    yield started
    if started.process.poll() is None:
        started.process.kill()
    for stream in (started.process.stdout, started.process.stderr):
        if stream:
            stream.close()
    started.process.wait(30)


def _query(process: Process, token: str) -> requests.Response:
    body = {"query": "{ reports { totalCount } }"}
    return requests.post(f"{process.url}/graphql", json=body, headers={"authorization": f"Bearer {token}"}, timeout=60)


def test_silent_connections_are_counted_and_others_are_told_to_come_later(process: Process) -> None:
    def status_becomes(expected: int) -> bool:
        for _ in range(200):  # connections are accepted, and given up, a moment later
            answer = requests.get(f"{process.url}/healthz", timeout=10, headers={"connection": "close"})
            if answer.status_code == expected:
                return True
            time.sleep(0.05)
        return False

    with contextlib.ExitStack() as held:
        for _ in range(CONNECTIONS):
            held.enter_context(socket.create_connection(("127.0.0.1", process.port), timeout=10))
        assert status_becomes(503)
    assert status_becomes(200)


def test_a_port_that_is_taken(tmp_path: Path, process: Process) -> None:
    options = ServeOptions(port=process.port, token=Secret("x" * 30))
    with pytest.raises(ServiceError, match=f"127.0.0.1:{process.port} cannot be opened.*take another port"):
        serve(None, Settings(workspace=tmp_path), options=options, say=_nothing)  # type: ignore[arg-type]


def test_a_given_token_is_not_printed() -> None:
    assert ServeOptions(token=Secret("x" * 30)).url == "http://127.0.0.1:8600/"
    assert "x" * 30 not in repr(ServeOptions(token=Secret("x" * 30)))


def test_a_new_token_is_printed_once_and_sigterm_ends_with_requests_under_way(process: Process) -> None:
    printed = re.fullmatch(rf"Search at {process.url}/#token=(\S{{43}})\n", process.printed)
    assert printed
    token = printed[1]
    assert _query(process, "x" * 43).status_code == 401
    assert _query(process, token).json() == {"data": {"reports": {"totalCount": 60}}}
    process.held.touch()
    answers: list[Any] = []
    under_way = threading.Thread(target=lambda: answers.append(_query(process, token)))
    under_way.start()
    while not (process.held.parent / "asked").exists():
        time.sleep(0.02)
    process.process.send_signal(signal.SIGTERM)
    with pytest.raises(requests.ConnectionError):
        for _ in range(200):
            requests.get(f"{process.url}/healthz", timeout=5)
            time.sleep(0.05)
    assert process.process.poll() is None
    assert not answers
    process.held.unlink()
    under_way.join(30)
    assert answers[0].json() == {"data": {"reports": {"totalCount": 60}}}
    code, rest = process.rest()
    assert code == 0
    assert token not in rest
    assert "totalCount" not in rest


def _nothing(text: str) -> None:
    assert "token" not in text
