"""The search service for tests: over a real port, with a store and a few images that lie on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import uvicorn
from numpy.typing import NDArray
from support.pixels import dataset_of, file_bytes
from support.search_corpus import DIMENSIONS, SPACE, Corpus, fill

from dicom_workflow.processes import free_port
from dicom_workflow.search.patient_keys import PatientKeys
from dicom_workflow.search.service.access import Access, LocalToken
from dicom_workflow.search.service.executor import Executor
from dicom_workflow.search.service.images import StoredImages
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.server import make_app
from dicom_workflow.search.service.uploads import UploadedImages, UploadReader
from dicom_workflow.search.store import SearchStore, open_store
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.storage import to_uri

TOKEN = "token-of-the-tests-0123456789"
KEYS = PatientKeys(b"salt of the tests, 32 bytes long")
IDENTITY = {"Modality": "DX", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.4"}
SECRET_WORDS = "mediastinum"
"""Stands in nearly every report of the corpus."""


class MeanEmbedder:
    """Embeds an image by the means of 32 parts of it: deterministic, of the space of the corpus."""

    space = SPACE

    def of_image(self, source: Any) -> NDArray[np.float32]:
        from dicom_workflow.learning.data.images import decode

        parts = decode(source, DIMENSIONS)[0].astype(np.float64).mean(axis=0) + 1e-3
        return (parts / np.linalg.norm(parts)).astype(np.float32)


@dataclass
class Service:
    """A running service, and who asks it."""

    url: str
    store: Any
    token: str = TOKEN
    corpus: Corpus = field(default_factory=lambda: Corpus(1, 1))

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=30, allow_redirects=False, **more)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/graphql", json={"query": query, "variables": variables})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def data(self, query: str, **variables: Any) -> Any:
        answer = self.graphql(query, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def message(self, query: str, **variables: Any) -> str:
        """The message of the first error."""
        return self.graphql(query, **variables)["errors"][0]["message"]


def picture(number: int = 0, *, rows: int = 48, columns: int = 40, **tags: Any) -> bytes:
    """A DICOM file of a seeded pattern."""
    values = np.random.default_rng(number).integers(0, 4096, (rows, columns))
    return file_bytes(dataset_of(values, **IDENTITY, ViewPosition="PA", **tags))


def filled_store(folder: Path, corpus: Corpus) -> SearchStore:
    """A store in a new folder with a corpus."""
    store = open_store(str(folder), create=True)
    fill(store, corpus)
    return store


def corpus_on_disk(folder: Path, count: int = 4) -> Corpus:
    """The corpus, whose first images have files."""
    corpus = Corpus()
    for number in range(count):
        path = folder / f"{number}.dcm"
        path.write_bytes(picture(number))
        corpus.images[number] = dataclasses.replace(corpus.images[number], source=to_uri(path))
    return corpus


@contextlib.contextmanager
def running(
    store: Any,
    workspace: Path,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    embedder: Any = None,
    hosts: tuple[str, ...] = (),
    explain: Any = None,
    uploads: UploadedImages | None = None,
    client_secret: Secret | None = None,
    close: bool = True,
) -> Iterator[Service]:
    """A service on a port of this machine."""
    limits = limits or Limits()
    uploads = uploads or UploadedImages(limits)
    reader = UploadReader(embedder or MeanEmbedder(), KEYS, uploads, limits)
    executor = Executor(store, uploads=uploads, accept_upload=reader, explain=explain, limits=limits)
    settings = Settings(workspace=workspace, archive="folder")
    access = access or LocalToken(Secret(TOKEN))
    app = make_app(executor, access, StoredImages(settings), hosts=hosts, client_secret=client_secret)
    port = free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield Service(f"http://127.0.0.1:{port}", store)
    finally:
        server.should_exit = True
        thread.join(30)
        if close:
            store.close()


@pytest.fixture(scope="module")
def search_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service over the corpus, four images of which have files."""
    corpus = corpus_on_disk(tmp_path_factory.mktemp("files"))
    workspace = tmp_path_factory.mktemp("workspace")
    with running(filled_store(workspace / "index", corpus), workspace) as started:
        started.corpus = corpus
        yield started
