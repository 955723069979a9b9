"""The inference container's program, as a process of its own, spoken to over HTTP as SageMaker does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.learning import LABELS, dicom_file, picture

from dicom_workflow.learning.data import images
from dicom_workflow.learning.inference import predict as inference
from dicom_workflow.learning.inference import server
from dicom_workflow.learning.model import bundle, bundle_json, network
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.calibration import Calibration

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[3]
DICOM = {"Content_Type": "application/dicom"}
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n"


class Container:
    """A running server, with what it wrote to its log."""

    def __init__(self, model: Path, log: Path, *flags: object, command: list[str] | None = None, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        module = "dicom_workflow.learning.inference.server"
        own = ["-m", module, "--model", str(model), "--port", str(self.port), "--threads", "1"]
        self._log = log
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "SAGEMAKER_BIND_TO_PORT": str(self.port), **environment}
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, *(command or own), *map(str, flags)], env=variables, stdout=stream, stderr=stream, cwd=ROOT
            )
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if self.call("GET", "/ping")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        pytest.fail(f"the server did not start: {self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names, encode_chunked=not isinstance(body, bytes | type(None)))
            answer = connection.getresponse()
            text = answer.read().decode()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(text) if found["content-type"] == "application/json" else text, found
        finally:
            connection.close()

    def predict(self, content: bytes, **headers: str) -> tuple[int, Any, dict[str, str]]:
        return self.call("POST", "/invocations", content, **{"Content_Type": "application/dicom", **headers})

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained = Bundle(
        network=network.build(LABELS, seed=3).eval(),
        labels=LABELS,
        mode="multi-label",
        size_px=40,
        preprocessing_version=images.preprocessing_version(),
        input_mean=0.3,
        input_std=0.2,
        thresholds=dict.fromkeys(LABELS, 0.5),
        calibration=Calibration("temperature", dict.fromkeys(LABELS, 0.5), dict.fromkeys(LABELS, 0.0)),
    )
    return bundle.save(trained, tmp_path_factory.mktemp("server") / "model")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("images") / "patient-7.dcm"
    return dicom_file(path, picture(["Edema"], np.random.default_rng(0))).read_bytes()


@pytest.fixture(scope="module")
def container(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    running = Container(model, tmp_path_factory.mktemp("log") / "log", "--body-seconds", 0.5)
    yield running
    assert running.stop(signal.SIGINT) == 0, "an orderly end"
    assert running.log.splitlines()[-1].endswith("stopped")


@pytest.fixture(scope="module")
def small(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """One request at a time, one waiting, and short timeouts."""
    running = Container(
        model, tmp_path_factory.mktemp("log") / "log", "--concurrency", 1, "--waiting", 1, "--answer-seconds", 1
    )
    yield running
    assert running.stop(signal.SIGKILL) == -signal.SIGKILL
    assert sorted(path.name for path in model.iterdir()) == ["bundle.json", "configs", "model.safetensors"]


def test_a_ping_says_which_bundle_is_served(container, model):
    status, answer, _ = container.call("GET", "/ping")
    assert (status, answer) == (200, {"healthy": True, "bundle": bundle_json.identifier_of(model)})


def test_a_dicom_file_is_answered_as_a_notebook_answers_it(container, model, image):
    loaded = bundle.load(model)
    [expected] = inference.predict(loaded, [image])
    status, answer, headers = container.predict(image)
    assert status == 200
    [prediction] = answer["predictions"]
    assert prediction["probabilities"] == expected
    assert prediction["positive"] == [label for label, probability in expected.items() if probability >= 0.5]
    assert prediction["calibrated"] is True
    assert prediction["bundle"] == loaded.identifier
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_several_files_are_one_json_request_and_a_broken_one_is_named_in_its_place(container, image):
    texts = [base64.b64encode(content).decode() for content in (image, image[:-5], image)]
    body = json.dumps({"instances": texts}).encode()
    status, answer, _ = container.call("POST", "/invocations", body, Content_Type="application/json")
    first, broken, last = answer["predictions"]
    assert status == 200
    assert first == last
    assert "bytes" in broken["error"]


def test_json_lines_and_a_body_in_chunks_work_too(container, image):
    chunks = (image[start : start + 1000] for start in range(0, len(image), 1000))
    headers = {"Content_Type": "application/dicom", "Accept": "application/jsonlines", "Transfer_Encoding": "chunked"}
    status, text, found = container.call("POST", "/invocations", chunks, **headers)
    assert (status, found["content-type"]) == (200, "application/jsonlines")
    assert set(json.loads(text)["probabilities"]) == set(LABELS)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "expected", "got"),
    [
        ("POST", "/invocations", b"not DICOM" * 99, DICOM, 400, "DICOM files", "891 bytes beginning with 6e"),
        ("POST", "/invocations", b"{", {"Content_Type": "application/json"}, 400, "DICOM files", "the body is not JSON"),
        ("POST", "/invocations", b"", DICOM, 400, "a DICOM file in the body", "no body"),
        ("POST", "/invocations", b"x", {"Content_Type": "text/csv"}, 415, "application/dicom or application/json", "text/csv"),
        ("POST", "/invocations", b"x", {}, 415, "Content-Type", "none"),
        ("POST", "/invocations", bytes(25 * 2**20 + 1), DICOM, 413, "at most 25 MB", "26,214,401 bytes"),
        (
            "POST",
            "/invocations",
            b"x",
            {"Content_Type": "application/dicom", "Accept": "image/png"},
            406,
            "Accept",
            "image/png",
        ),
        ("GET", "/invocations", None, {}, 405, "POST /invocations", "another method"),
        ("GET", "/etc/passwd", None, {}, 404, "GET /ping", "another path"),
    ],
)
def test_what_cannot_be_answered_says_what_was_expected(container, method, path, body, headers, status, expected, got):
    answered, answer, _ = container.call(method, path, body, **headers)
    assert answered == status
    assert expected in answer["error"]["expected"]
    assert got in answer["error"]["got"]
    assert answer["error"]["next"]


def test_a_body_without_a_length_is_cut_off_at_the_limit(container):
    chunks = (bytes(2**20) for _ in range(40))
    headers = {"Content_Type": "application/dicom", "Transfer_Encoding": "chunked"}
    status, answer, _ = container.call("POST", "/invocations", chunks, **headers)
    assert (status, answer["error"]["got"]) == (413, "more")


def test_a_body_that_does_not_come_is_given_up(container):
    with socket.create_connection(("127.0.0.1", container.port), timeout=10) as slow:
        slow.sendall(HEAD + b"Content-Length: 999\r\n\r\nab")
        assert b"408" in slow.recv(4096).splitlines()[0]


@pytest.mark.parametrize("begun", [b"", b"GET /ping HT", b"GET /ping HTTP/1.1\r\nA: b\r\n"])
def test_a_caller_that_never_asks_is_hung_up_on(container, begun):
    with socket.create_connection(("127.0.0.1", container.port), timeout=10) as silent:
        silent.sendall(begun)
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(4096) == b""


def test_a_connection_is_kept_between_two_requests_longer_than_a_head_may_take(container):
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=10)
    connection.connect()
    kept = connection.sock
    for pause in (0.8, 0):
        connection.request("GET", "/ping")
        assert connection.getresponse().read()
        time.sleep(pause)
    assert connection.sock is kept
    connection.close()


def test_no_path_or_address_in_a_request_is_opened(container, tmp_path, image):
    (tmp_path / "secret.dcm").write_bytes(image)
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0.3)
        names = [
            str(tmp_path / "secret.dcm"),
            f"file://{tmp_path}/secret.dcm",
            f"http://127.0.0.1:{door.getsockname()[1]}/a.dcm",
        ]
        for name in names:
            for body in (
                {"instances": [name]},
                {"instances": [base64.b64encode(name.encode()).decode()]},
                {"source-ref": name},
            ):
                answered = container.call("POST", "/invocations", json.dumps(body).encode(), Content_Type="application/json")
                assert answered[0] == 400, body
            assert container.predict(name.encode())[0] == 400
        with pytest.raises(TimeoutError):
            door.accept()


def test_a_caller_that_hangs_up_and_broken_files_leave_it_whole(container, image):
    generator = np.random.default_rng(1)
    for _ in range(40):
        broken = bytearray(image)
        for place in generator.integers(128, 900, 6):
            broken[place] = generator.integers(256)
        assert container.predict(bytes(broken))[0] in (200, 400)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", container.port)) as gone:
            gone.sendall(HEAD + b"Content-Length: 5000\r\n\r\nabc")
    assert patiently(container, image) == 200


def test_the_log_holds_numbers_only(container, image):
    container.predict(image, X_Amzn_SageMaker_Custom_Attributes="Doe^Jane")
    container.predict(b"Doe^Jane")
    container.call("GET", "/Doe^Jane")
    lines = container.log.splitlines()
    assert any(re.search(r"invocations status=200 images=1 bytes=\d+ ms=\d+$", line) for line in lines)
    allowed = r"[-0-9:, ]+ (INFO|ERROR) (ready: \d+ labels, bundle [0-9a-f]{12}|invocations( \w+=\w+)+)"
    assert [line for line in lines if not re.fullmatch(allowed, line)] == []


def patiently(container: Container, image: bytes) -> int:
    """Ask again as long as there is no place, and return the status."""
    deadline, status = time.monotonic() + 30, 503
    while status == 503 and time.monotonic() < deadline:
        status = container.predict(image)[0]
    return status


def slow_request(image: bytes) -> bytes:
    return json.dumps({"instances": [base64.b64encode(image).decode()] * 64}).encode()


def test_more_than_it_can_take_is_refused_at_once_and_a_ping_is_always_answered(small, image):
    body, statuses = slow_request(image), []

    def ask() -> None:
        status, answer, headers = small.call("POST", "/invocations", body, Content_Type="application/json")
        statuses.append((status, headers.get("retry-after"), answer.get("error", {}).get("expected")))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    pings_meanwhile = 0
    while any(thread.is_alive() for thread in threads):
        assert small.call("GET", "/ping")[0] == 200
        pings_meanwhile += any(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert pings_meanwhile > 0, "SageMaker gives a ping two seconds, so it must not wait for the model"
    assert {status for status, *_ in statuses} <= {200, 503}
    refused = [(wait, expected) for status, wait, expected in statuses if status == 503]
    assert ("1", "at most 1 requests under way and 1 waiting") in refused
    assert {wait for wait, _ in refused} == {"1"}
    assert patiently(small, image) == 200, "and afterwards it is as before"


def test_the_containers_entry_takes_what_sagemaker_says_and_finishes_what_is_under_way(model, image, tmp_path):
    entry = [str(ROOT / "source" / "inference.py"), "serve"]
    environment = {"SM_MODEL_DIR": str(model), "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100", "PYTHONPATH": str(ROOT)}
    container = Container(model, tmp_path / "log", command=entry, **environment)
    assert container.call("GET", "/execution-parameters")[1]["MaxPayloadInMB"] == 100
    answers: list[int] = []
    body = slow_request(image)
    asking = threading.Thread(
        target=lambda: answers.append(container.call("POST", "/invocations", body, Content_Type="application/json")[0])
    )
    asking.start()
    time.sleep(0.2)
    assert container.stop(signal.SIGTERM) == 0
    asking.join()
    assert answers == [200]
    assert container.log.splitlines()[-1].endswith("stopped")


def test_an_answer_that_takes_too_long_is_told_so_and_its_place_comes_back_when_the_thread_does(model, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(server.endpoint_handlers, "predict_fn", lambda *_: release.wait(10) and [])
    app = server.App(bundle.load(model), server.Limits(concurrency=1, waiting=0, answer_seconds=0.02))

    async def ask(path: str = "/invocations") -> tuple[int, str]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET" if path == "/ping" else "POST",
            "path": path,
            "headers": [(b"content-type", b"application/dicom")],
        }
        await app(scope, receive, send)
        return sent[0]["status"], sent[1]["body"].decode()

    async def story() -> None:
        status, text = await ask()
        assert (status, "an answer within 0.02 seconds" in text) == (503, True)
        status, text = await ask()
        assert (status, "at most 1 requests under way" in text) == (503, True), "the thread is still at it"
        assert (await ask("/ping"))[0] == 200
        await asyncio.sleep(0.1)
        assert (await ask("/ping"))[0] == 503, "the only thread seems lost: SageMaker replaces the container"
        release.set()
        await asyncio.sleep(0.1)
        assert (await ask())[0] == 200

    asyncio.run(story())


def test_a_bundle_that_was_changed_is_never_healthy(model, tmp_path, capsys):
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"changed")
    threads = torch.get_num_threads()
    assert server.main(["--model", str(tmp_path / "model"), "--threads", str(threads)]) == 1
    assert re.fullmatch(r"error: .*expected SHA-256 .*\n", capsys.readouterr().err)


@pytest.mark.real_data
def test_real_radiographs_are_answered_as_a_notebook_answers_them(sample_data, model, container):
    loaded = bundle.load(model)
    paths = sorted((sample_data / "radiographs").glob("*.dcm"))[::24]
    assert paths
    for path in paths:
        status, answer, _ = container.predict(path.read_bytes())
        assert (status, answer["predictions"][0]["probabilities"]) == (200, inference.predict(loaded, [path])[0])
