"""Many sign-ins at once do not keep signed-in workers from working."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import uvicorn
from support.groundtruth import settings_for

from dicom_workflow.groundtruth import accounts
from dicom_workflow.groundtruth.app import make_app

STORM = 60  # more than the 40 threads that requests are worked on in


@contextlib.contextmanager
def served(workspace: Path) -> Iterator[str]:
    """The service in a thread of this process, so that its slow step can be held."""
    server = uvicorn.Server(uvicorn.Config(make_app(settings_for(workspace)), log_level="error", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_a_storm_of_sign_ins_leaves_threads_for_everybody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold, arrived = threading.Event(), threading.Semaphore(0)

    def held(password: str, salt: bytes, stored: bytes) -> bool:
        arrived.release()
        hold.wait(30)
        return False

    monkeypatch.setattr(accounts, "_matches", held)
    with served(tmp_path / "workspace") as url, ThreadPoolExecutor(STORM) as people:

        def sign_in(number: int) -> int:
            form = {"name": f"nobody-{number}", "password": "a guess"}
            return requests.post(f"{url}/sign-in", data=form, timeout=60).status_code

        try:
            answers = [people.submit(sign_in, number) for number in range(STORM)]
            for _ in range(accounts.SIGN_INS_AT_ONCE):
                assert arrived.acquire(timeout=30)
            assert requests.get(f"{url}/sign-in", timeout=20).status_code == 200
        finally:
            hold.set()
        codes = [answer.result() for answer in answers]
    assert set(codes) == {403, 429}
    assert codes.count(403) >= accounts.SIGN_INS_AT_ONCE
