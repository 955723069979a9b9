"""Child processes: started with a private log, waited for until they answer, and never left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dicom_workflow import processes
from dicom_workflow.errors import ServiceError

SLEEPS = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.headers.get("Authorization") == "Basic dTpw" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/system"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_free_port_can_be_listened_on() -> None:
    HTTPServer(("127.0.0.1", processes.free_port()), _Handler).server_close()


def test_a_service_answers_with_the_right_password_only_and_past_every_proxy(
    server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert processes.answers(server_url, user="u", password="p")
    assert not processes.answers(server_url, user="u", password="wrong")
    assert not processes.answers(f"http://127.0.0.1:{processes.free_port()}/")


def test_a_log_is_this_users_alone_also_when_the_file_was_there_before(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.touch(mode=0o644)
    process = processes.start([sys.executable, "-c", "import os; print(os.environ['MARK'])"], log, environment={"MARK": "here"})
    assert process.wait(30) == 0
    assert log.read_text() == "here\n"
    assert log.stat().st_mode & 0o077 == 0


def test_a_process_that_is_ready_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    process = processes.start(SLEEPS, log)
    processes.wait_until(lambda: b"up" in log.read_bytes(), process, name="the service", log_path=log)
    assert processes.is_running(process.pid)
    assert processes.stop(process) == -15
    assert not processes.is_running(process.pid)


def test_a_process_that_does_not_answer_in_time_is_stopped_and_named_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    process = processes.start(SLEEPS, log)
    processes.wait_until(lambda: b"up" in log.read_bytes(), process, name="the service", log_path=log)
    message = r"the service did not answer within 0\.2 seconds\. The end of its log, .*service\.log:\nup"
    with pytest.raises(ServiceError, match=message):
        processes.wait_until(lambda: False, process, name="the service", log_path=log, timeout_seconds=0.2)
    assert process.returncode == -15


def test_a_process_that_ends_at_once_is_named_with_its_exit_code(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    process = processes.start([sys.executable, "-c", "raise SystemExit('no disk')"], log)
    with pytest.raises(ServiceError, match=r"the service ended with exit code 1\. (?s:.)*no disk"):
        processes.wait_until(lambda: False, process, name="the service", log_path=log)


def test_an_interrupted_wait_leaves_no_process(tmp_path: Path) -> None:
    process = processes.start(SLEEPS, tmp_path / "service.log")

    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.wait_until(interrupted, process, name="the service", log_path=tmp_path / "service.log")
    assert process.returncode is not None


def test_a_process_that_does_not_listen_is_killed() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    assert processes.stop(process, timeout_seconds=0.2) == -9


def test_a_full_pipe_does_not_keep_a_process_from_ending() -> None:
    code = (
        "import signal, sys\ndef end(*_):\n    sys.stdout.write('x' * 1_000_000)\n    sys.exit(0)\n"
        "signal.signal(15, end)\nprint('up', flush=True)\nsignal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    assert processes.stop(process, timeout_seconds=20) == 0


def test_the_process_of_another_is_ended_by_its_id() -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3).pid, flush=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    pid = int(done.stdout)
    assert processes.is_running(pid)
    processes.terminate(pid)
    assert not processes.is_running(pid)
    processes.terminate(pid)
