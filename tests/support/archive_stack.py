"""The archive stack under a choice of parameters, and its ECS task run on this machine: what the template says, for real."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from support.stack_evaluator import Evaluation
from support.templates import GIVEN, template

from dicom_workflow.archive.orthanc import OrthancArchive
from dicom_workflow.archive.orthanc_process import find_orthanc
from dicom_workflow.processes import free_port
from dicom_workflow.settings import Secret

EARLIER = {
    "KeyArn": "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef",
    "LogsBucket": "logs",
    "VpcId": "vpc-0123456789abcdef0",
    "PrivateSubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1,subnet-0123456789abcdef2",
}
PLUGIN_FOLDERS = [Path("/usr/share/orthanc/plugins"), Path("/usr/local/share/orthanc/plugins"), Path("/usr/lib/orthanc")]


def archive(**chosen: str) -> Evaluation:
    body = template("archive")
    given = {name: value for name, value in GIVEN.items() if name in body["Parameters"]}
    return Evaluation(body, {**given, "ClientCidr": "", **EARLIER, **chosen}, "dicom-workflow-archive")


def containers(stack: Evaluation) -> dict[str, dict[str, Any]]:
    return {one["Name"]: one for one in stack.resources["TaskDefinition"]["Properties"]["ContainerDefinitions"]}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["Name"]: str(one["Value"]) for one in container.get("Environment", [])}


def told(container: dict[str, Any], secrets: dict[str, str] | None = None) -> dict[str, Any]:
    """The configuration that the image makes of variables: __ goes one level down, a value is JSON where it can be."""
    odd = {"Postgresql": "PostgreSQL", "StoreMd5ForAttachments": "StoreMD5ForAttachments"}
    configuration: dict[str, Any] = {}
    for name, text in {**environment(container), **(secrets or {})}.items():
        if name.startswith("ORTHANC__"):
            parts = name.removeprefix("ORTHANC__").split("__")
            path = ["".join(word.capitalize() for word in part.split("_")) for part in parts]
            place = configuration
            for part in path[:-1]:
                place = place.setdefault(odd.get(part, part), {})
            place[odd.get(path[-1], path[-1])] = _read(text)
    return configuration


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def plugin(name: str) -> list[Path]:
    return [path for folder in PLUGIN_FOLDERS for path in sorted(folder.glob(f"lib{name}.so*"))][:1]


def fill_volumes(folder: Path) -> Path:
    """Run the script of the container `volumes` in a root of its own; returns the folder of what it made."""
    container = containers(archive())["volumes"]
    for mount in container["MountPoints"]:
        (folder / mount["ContainerPath"].lstrip("/")).mkdir(parents=True)
    [script] = container["Command"]
    script, places = re.subn(r"(?<![\w/])/(tmp|run|var)(?=[/ \n])", rf"{folder}/\1", script)
    assert places == 8, "a path of the script would be one of this machine"
    script = script.replace("999:999", f"{os.getuid()}:{os.getgid()}")
    subprocess.run([*container["EntryPoint"], script], check=True, env={**os.environ, **environment(container)}, timeout=60)
    return folder / "run/orthanc/made"


class Task:
    """Orthanc and the health container beside it, from the template, on free ports of this machine.

    Debian's Orthanc 1.10.1 crashes at the first request over TLS of its own (with Debian's civetweb 1.15), so here TLS ends
    just before it, with the certificate and key that the template makes. S3 and, unless asked for, the database stay away.
    """

    def __init__(self, folder: Path, made: Path, plugins: list[Path], changes: dict[str, Any] | None = None) -> None:
        stack = archive()
        self.folder, self.made, self.port = folder, made, free_port()
        self.user, self.password = "DicomWorkflow", "aB3" + "x" * 37
        self.certificate = str(made / "certificate.pem")
        self._health = containers(stack)["health"]
        orthanc = containers(stack)["orthanc"]
        secrets = {one["Name"]: self.password for one in orthanc["Secrets"] if "REGISTERED_USERS" in one["Name"]}
        said = told(orthanc, secrets)
        assert said["SslCertificate"] == "/run/orthanc/made/orthanc.pem"
        assert said["LuaScripts"] == ["/run/orthanc/made/refuse.lua"]
        left_out = {"PostgreSQL", "AwsS3Storage", "SslEnabled", "SslCertificate"}
        here = {"HttpPort": self.port, "StorageDirectory": str(folder / "storage"), "Plugins": [str(path) for path in plugins]}
        here["LuaScripts"] = [str(made / "refuse.lua")]
        settings = {**{name: value for name, value in said.items() if name not in left_out}, **here, **(changes or {})}
        (folder / "orthanc.json").write_text(json.dumps(settings))

    def __enter__(self) -> Task:
        self._ends = contextlib.ExitStack()
        log = self.folder / "orthanc.log"
        program = [str(find_orthanc()), "orthanc.json"]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(program, cwd=self.folder, stdout=stream, stderr=stream)
        self._ends.callback(self.stop)
        self.url = f"https://localhost:{self._ends.enter_context(tls_ends_here(self.made / 'orthanc.pem', self.port))}"
        try:
            wait(lambda: self.get("/system").ok, self.process, log)
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def get(self, path: str, *, password: str | None = None) -> requests.Response:
        login = None if password == "" else (self.user, password or self.password)
        return requests.get(self.url + path, auth=login, verify=self.certificate, timeout=10)

    def send(self, method: str, path: str) -> int:
        """The status of a request with the password whose path goes out as it is; `requests` would tidy it."""
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        trust = ssl.create_default_context(cafile=self.certificate)
        address = self.url.removeprefix("https://")
        with contextlib.closing(http.client.HTTPSConnection(address, timeout=10, context=trust)) as connection:
            connection.request(method, path, headers={"Authorization": f"Basic {login}", "Content-Length": "0"})
            return connection.getresponse().status

    def client(self) -> OrthancArchive:
        """This project's own client; it trusts the certificate as a deployment's client trusts the load balancer's."""
        return OrthancArchive(self.url, user=self.user, password=Secret(self.password), ca_bundle=self.certificate)

    @contextlib.contextmanager
    def health(self, password: str) -> Iterator[str]:
        """The health container's own command, with its own variables; yields its address."""
        port = free_port()
        given = environment(self._health)
        assert given["QUESTION"].startswith("https://localhost:8042/")
        question = given["QUESTION"].replace("https://localhost:8042", self.url)
        given |= {"QUESTION": question, "PORT": str(port), "CERTIFICATE": self.certificate}
        program = [sys.executable, *self._health["EntryPoint"][1:], *self._health["Command"]]
        with subprocess.Popen(program, env={**os.environ, **given, "USERNAME": self.user, "PASSWORD": password}) as process:
            try:
                wait(lambda: requests.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 404, process)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.kill()


def wait(answered: Callable[[], bool], process: subprocess.Popen[bytes], log: Path | None = None) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if answered():
                return
        time.sleep(0.05)
    raise AssertionError(f"it did not answer: {log.read_text(errors='replace')[-2000:] if log else process.args}")


@contextlib.contextmanager
def tls_ends_here(certificate: Path, port: int) -> Iterator[int]:
    """Take TLS with a certificate and its key, and pass what comes on to a port of this machine; yields the port for TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return  # closed: the test is over
            threading.Thread(target=pass_on, args=(caller,), daemon=True).start()

    def pass_on(caller: socket.socket) -> None:
        with contextlib.ExitStack() as ends:
            ends.enter_context(contextlib.suppress(OSError))
            near = ends.enter_context(context.wrap_socket(caller, server_side=True))
            far = ends.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            back = threading.Thread(target=copy, args=(far, near), daemon=True)
            back.start()
            copy(near, far)
            back.join()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
