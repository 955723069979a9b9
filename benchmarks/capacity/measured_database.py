"""What a real Orthanc asks of a real PostgreSQL: statements and bytes for each image, and what a listing by offset costs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from upload import make_images

from dicom_workflow.archive.orthanc import OrthancArchive
from dicom_workflow.archive.orthanc_process import OrthancServer
from dicom_workflow.archive.upload import upload
from dicom_workflow.processes import free_port

PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins", "/usr/lib/orthanc")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def measure_postgres(folder: Path, files: int) -> dict[str, Any] | None:
    """Count what one instance asks of a PostgreSQL index; None without PostgreSQL or Orthanc's plugin for it."""
    plugins = [path for place in PLUGIN_FOLDERS for path in sorted(Path(place).glob("libOrthancPostgreSQLIndex.so*"))]
    plugins += [Path(name) for name in [os.environ.get("ORTHANC_POSTGRESQL_INDEX", "")] if name]
    if not plugins or not POSTGRES:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    images = make_images(folder / "images", files)
    with postgres(folder / "postgres") as (port, log, query):
        options = {
            "Plugins": [str(plugins[-1])],
            "PostgreSQL": {
                "EnableIndex": True,
                "EnableStorage": False,
                "Host": "127.0.0.1",
                "Port": port,
                "Database": "orthanc",
                "Username": "orthanc",
                "Password": "none",
                "Lock": False,
            },
        }
        with OrthancServer(folder / "orthanc", options) as server:
            archive = OrthancArchive(server.url, user=server.user, password=server.password)
            before, begin = int(query("SELECT pg_database_size('orthanc')")), log.stat().st_size
            report = upload(images, archive, progress=False)
            assert report.ok
            archive.close()
            said = log.read_bytes()[begin:]
            size = int(query("SELECT pg_database_size('orthanc')")) - before
            seconds = offset_seconds(query)
    statements = said.count(b"LOG:  statement") + said.count(b"LOG:  execute")
    return {
        "statements_per_instance": round(statements / files, 1),
        "bytes_per_instance": round(size / files),
        "offset_rows_per_second": round(1 / seconds),
        "files": files,
    }


def offset_seconds(query: Any, rows: int = 400_000) -> float:
    """Return what passing over one row by OFFSET costs, as a listing by `since` and `limit` does."""
    numbers = f"generate_series(1, {rows:d}) n"
    query("CREATE TABLE listing AS SELECT n AS id, md5(n::text) AS name FROM " + numbers)  # noqa: S608  a number of ours
    query("CREATE INDEX ON listing (name)")
    query("VACUUM ANALYZE listing")
    began = time.perf_counter()
    query(f"SELECT name FROM listing ORDER BY name LIMIT 1 OFFSET {rows - 1:d}")  # noqa: S608  a number of ours
    taken = time.perf_counter() - began
    began = time.perf_counter()
    query("SELECT name FROM listing ORDER BY name LIMIT 1")
    return max(1e-9, (taken - (time.perf_counter() - began)) / rows)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[int, Path, Any]]:
    """A PostgreSQL server of its own, with every statement in its log."""
    folder.mkdir(parents=True)
    log, port = folder / "server.log", free_port()
    data = folder / "data"
    data.mkdir()
    # PostgreSQL refuses to run as root; nobody else needs to be somebody else.
    become: list[str] = []
    if os.geteuid() == 0:
        become = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        for place in [data, *data.parents]:
            if place == Path("/"):
                break
            place.chmod(place.stat().st_mode | 0o055)
        shutil.chown(data, "postgres", "postgres")
    data.chmod(0o700)
    tools = POSTGRES[0]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*become, tools / "initdb", "-D", data, "-A", "trust", "-U", "orthanc"], **quiet)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "log_statement=all", "-k", str(data)]

    def query(sql: str, database: str = "orthanc") -> str:
        command = [tools / "psql", "-h", "127.0.0.1", "-p", str(port), "-U", "orthanc", "-d", database, "-Atc", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    with log.open("wb") as stream:
        command = [*become, tools / "postgres", "-D", data, "-p", str(port), *options]
        server = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            for _ in range(100):
                with contextlib.suppress(subprocess.CalledProcessError):
                    query("CREATE DATABASE orthanc", "postgres")
                    break
                time.sleep(0.1)
            yield port, log, query
        finally:
            server.terminate()
            server.wait(30)
