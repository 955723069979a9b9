"""What stands between this machine and AWS in the story test: a load balancer with TLS, and machines that train."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.sagemaker import Container

from dicom_workflow.storage import Storage


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """Write a certificate authority and a certificate of it for this machine; return both files, the second with its key."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, key: Any, issuer: Any, signer: Any, *extensions: tuple[Any, bool]) -> Any:
        builder = x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=2),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = certificate(
        "authority of the tests", root_key, root_name, root_key,
        (x509.BasicConstraints(True, 0), True), (usage, True), (identifier, False),
    )  # fmt: skip
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = certificate(
        "localhost", key, root_name, root_key,
        (x509.BasicConstraints(False, None), True), (names, False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    authority, server = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(root.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    server.write_bytes(leaf.public_bytes(pem) + private)
    return authority, server


@contextlib.contextmanager
def load_balancer(target: str, certificate: Path) -> Iterator[str]:
    """Yield an https:// address in front of an http:// one: TLS ends here, every byte is handed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    parts, ended = urlsplit(target), threading.Event()
    listener.settimeout(0.2)
    threads: list[threading.Thread] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                sink.sendall(block)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def serve(plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError):
            plain.settimeout(30)
            with (
                context.wrap_socket(plain, server_side=True) as client,
                socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=30) as server,
            ):
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join(30)

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                thread = threading.Thread(target=serve, args=(connection,), daemon=True)
                thread.start()
                threads.append(thread)

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}"
    finally:
        ended.set()
        acceptor.join()
        listener.close()


@contextlib.contextmanager
def training_machines(aws: str, storage: Storage) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield a SageMaker in front of another, where a training job has really run once it is created; and its requests."""
    jobs: list[dict[str, Any]] = []

    def train(request: dict[str, Any]) -> None:
        jobs.append(request)
        with tempfile.TemporaryDirectory() as folder:
            container = Container(Path(folder) / "ml", request, storage)
            done = container.start()
            assert done.returncode == 0, done.stdout[-1500:]
            output = f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{request['TrainingJobName']}/output"
            for name, place in (("model", "model"), ("output", "output/data")):
                storage.write_bytes(f"{output}/{name}.tar.gz", container.pack(place))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("X-Amz-Target") == "SageMaker.CreateTrainingJob":
                try:
                    train(json.loads(body))
                except Exception as error:  # noqa: BLE001, the client shall hear of it and not wait
                    self._send(400, json.dumps({"__type": "ValidationException", "message": str(error)}).encode())
                    return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "accept-encoding"}
            said = requests.post(aws + self.path, data=body, headers=headers, timeout=60)
            self._send(said.status_code, said.content)

        def _send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", jobs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
