"""A real PostgreSQL server that tests may crash, with a new database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_workflow.settings import DatabaseAddress, Secret

USER = "postgres"


def programs() -> Path | None:
    """The folder with the server's programs: Debian keeps them off the path, one folder per version."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    candidates = [*folders, *([Path(on_path).parent] if on_path else [])]
    return next((folder for folder in candidates if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


class PostgresServer:
    """The server. It never runs as root, so root lends it to another user."""

    def __init__(self, folder: Path, bin_folder: Path, *, tls: bool = True) -> None:
        self.folder, self._bin, self._tls = folder, bin_folder, tls
        self._numbers = itertools.count(1)
        self._free: list[DatabaseAddress] = []
        self.password = Secret(secrets.token_urlsafe(12))
        self._user = "nobody" if os.geteuid() == 0 else None
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.ca = folder / "ca.pem"
        self.socket = folder / "socket"

    def _do(self, program: str, *arguments: str, check: bool = True) -> None:
        options = {"user": self._user, "group": "nogroup", "extra_groups": []} if self._user else {}
        command = [str(self._bin / program) if program != "openssl" else program, *arguments]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
        # Not through a pipe: the server would keep it open.
        with (self.folder / "commands.log").open("ab") as log:
            done = subprocess.run(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options
            )
        if check and done.returncode:
            raise AssertionError(f"{program} failed: {(self.folder / 'commands.log').read_text()[-2000:]}")

    def make(self) -> None:
        if self._user:
            shutil.chown(self.folder, self._user, "nogroup")
        self.folder.chmod(0o711)  # the socket is for everybody, as Debian's is
        self.socket.mkdir()
        self.socket.chmod(0o777)
        word = self.folder / "password"
        word.write_text(self.password.reveal())
        word.chmod(0o644)
        self._do("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password", "-E", "UTF8", "--no-sync")
        word.unlink()
        with (self.folder / "data/postgresql.conf").open("a") as config:
            config.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{self.socket}'\n"
                # A crash of the server loses nothing that it wrote to the system; after one, it would sync every file.
                "fsync = off\nshared_buffers = 32MB\nmax_connections = 60\nlog_min_messages = warning\n"
            )
            if self._tls:
                self._certificate()
                config.write("ssl = on\nssl_cert_file = '../server.pem'\nssl_key_file = '../server.key'\n")

    def _certificate(self) -> None:
        """For the name localhost alone, so that 127.0.0.1 is a wrong name."""
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        self._do("openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Authority of the tests")
        self._do("openssl", "req", *key[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        (self.folder / "extensions").write_text("subjectAltName=DNS:localhost\n")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
        self._do("openssl", "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signing)

    def start(self) -> None:
        self._do("pg_ctl", "start", "-w", "-D", "data", "-l", "server.log", "-t", "30")

    def crash(self) -> None:
        """As if it were killed: nobody is told, nothing is flushed."""
        self._do("pg_ctl", "stop", "-D", "data", "-m", "immediate", "-w")

    def stop(self) -> None:
        self._do("pg_ctl", "stop", "-D", "data", "-m", "immediate", "-w", check=False)

    def sql(self, text: str, *, database: str = USER) -> list[tuple[object, ...]]:
        """Do something as the administrator."""
        import psycopg

        with psycopg.connect(
            host=str(self.socket),
            port=self.port,
            user=USER,
            dbname=database,
            password=self.password.reveal(),
            autocommit=True,
        ) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def connections(self, database: str) -> list[tuple[object, ...]]:
        """Whether TLS is on, and its version, of each connection that is no administrator's."""
        rows = "SELECT ssl, version, datname, usename FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        return [row[:2] for row in self.sql(rows) if row[2] == database and row[3] != USER]

    def hang_up(self, user: str) -> None:
        """End all connections of a user."""
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'")  # noqa: S608

    def shut_out(self, user: str) -> None:
        """End them, and let the user in no more."""
        self.sql(f"ALTER ROLE {user} NOLOGIN")
        self.hang_up(user)

    def let_in(self, user: str) -> None:
        self.sql(f"ALTER ROLE {user} LOGIN")

    def new_database(self, name: str = "", password: str = "") -> DatabaseAddress:
        """A database and a user that owns it."""
        name, password = name or f"jobs_{next(self._numbers)}", password or secrets.token_urlsafe(12)
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        self.sql(f"CREATE DATABASE {name} OWNER {name}")
        return DatabaseAddress(host="127.0.0.1", port=self.port, name=name, user=name, password=Secret(password))

    @contextlib.contextmanager
    def lent(self) -> Iterator[DatabaseAddress]:
        """An empty database that is used again afterwards: making one costs ten times what emptying one does."""
        address = self._free.pop() if self._free else self.new_database()
        yield address
        emptied = f"DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {address.user}"
        self.sql(emptied, database=address.name)
        self._free.append(address)


def environment_of(address: DatabaseAddress) -> dict[str, str]:
    """The variables that name a database to a service."""
    values = {**vars(address), "password": address.password.reveal()}
    return {f"GROUNDTRUTH_DATABASE_{name.upper()}": str(value) for name, value in values.items()}


def database_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a service needs to keep its job database in the kind of database that a fixture's parameter names."""
    if request.param == "sqlite":
        return {}
    # By its name: the address that a log must not hold is that of a worker.
    return environment_of(replace(request.getfixturevalue("postgres").new_database(), host="localhost"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of this test run; a test that crashes it starts it again."""
    found = programs()
    if found is None:
        pytest.skip("there is no PostgreSQL server here: scripts/system-packages postgresql")
    if not shutil.which("openssl"):
        pytest.skip("openssl is needed to make the server's certificate")
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        server = PostgresServer(Path(name), found)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
