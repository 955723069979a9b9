"""What describes a search store in OpenSearch: one document with its version and its embedding spaces."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from opensearchpy import OpenSearch, exceptions

from dicom_workflow.errors import SearchStoreError
from dicom_workflow.search.documents import EmbeddingSpace
from dicom_workflow.search.store.opensearch.client import no_store
from dicom_workflow.search.store.opensearch.queries import MAX_DIMENSIONS, Body, store_mapping
from dicom_workflow.search.store.opensearch.vectors import StoredSpace
from dicom_workflow.search.store.protocol import STORE_VERSION
from dicom_workflow.search.store.records import check_space

_ID = "store"
_ATTEMPTS = 10


class Description:
    """The document; it changes under its sequence number, so that two processes do not undo each other's changes.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    url : str
        For messages.
    index : str
        Where the document is.
    """

    def __init__(self, client: OpenSearch, url: str, index: str) -> None:
        self._client, self._url, self._index = client, url, index

    def exists(self) -> bool:
        """Say whether there is a store."""
        return self._read() is not None

    def _read(self) -> Body | None:
        try:
            answer: Body = self._client.get(index=self._index, id=_ID)
        except exceptions.NotFoundError:
            return None
        return answer

    def create(self) -> None:
        """Write the document, unless another process was quicker."""
        create_index(self._client, self._index, {"mappings": store_mapping()})
        with contextlib.suppress(exceptions.ConflictError):
            about = {"version": STORE_VERSION, "spaces": {"next": 1, "all": []}}
            self._client.create(index=self._index, id=_ID, body=about)

    def check_version(self) -> None:
        """Refuse a store that this package cannot use.

        Raises
        ------
        SearchStoreError
            There is none, or it is of another version.
        """
        read = self._read()
        if read is None:
            raise no_store(self._url)
        version = read["_source"]["version"]
        if version > STORE_VERSION:
            raise SearchStoreError(
                f"The search store in {self._url} is of version {version}; this package knows versions up to {STORE_VERSION}. "
                "Upgrade the package: pip install --upgrade 'dicom-workflow[search]'"
            )
        if version < STORE_VERSION:
            raise SearchStoreError(
                f"The search store in {self._url} is of version {version}; this package needs version {STORE_VERSION}. Index "
                "again under another prefix: dicom-workflow search index SOURCE --store https://HOST/NEW-PREFIX"
            )

    def spaces(self) -> list[StoredSpace]:
        """Return all embedding spaces, the one that serves first.

        Raises
        ------
        SearchStoreError
            The store was deleted.
        """
        read = self._read()
        if read is None:
            raise no_store(self._url)
        return _spaces(read["_source"]["spaces"])

    def add_space(self, space: EmbeddingSpace) -> None:
        """Give a space a number of its own; a known space changes nothing.

        Raises
        ------
        RecordError
            The space is known with another length, or has more dimensions than OpenSearch stores.
        """

        def add(spaces: Body) -> None:
            if check_space(space, [stored.space for stored in _spaces(spaces)], most_dimensions=MAX_DIMENSIONS):
                spaces["all"].append({**asdict(space), "number": spaces["next"]})
                spaces["next"] += 1

        self._change(add)

    def serve_space(self, number: int) -> None:
        """Put the space of that number first."""
        self._change(lambda spaces: spaces["all"].sort(key=lambda item: (item["number"] != number, item["number"])))

    def drop_space(self, number: int) -> None:
        """Forget the space of that number."""

        def drop(spaces: Body) -> None:
            spaces["all"] = [item for item in spaces["all"] if item["number"] != number]

        self._change(drop)

    def _change(self, change: Callable[[Body], Any]) -> None:
        for _ in range(_ATTEMPTS):
            read = self._read()
            if read is None:
                raise no_store(self._url)
            change(read["_source"]["spaces"])
            condition = {"if_seq_no": read["_seq_no"], "if_primary_term": read["_primary_term"]}
            with contextlib.suppress(exceptions.ConflictError):
                self._client.index(index=self._index, id=_ID, body=read["_source"], params=condition)
                return
        raise SearchStoreError(f"{self._url}: other processes are changing the embedding spaces. Try again.")


def _spaces(spaces: Body) -> list[StoredSpace]:
    return [
        StoredSpace(item["number"], EmbeddingSpace(item["space_id"], item["dimensions"], item["description"]))
        for item in spaces["all"]
    ]


def create_index(client: OpenSearch, index: str, body: Body) -> None:
    """Make an index, unless another process was quicker.

    Parameters
    ----------
    client : OpenSearch
        Of the store.
    index : str
        Its name.
    body : dict
        Settings and mappings.
    """
    try:
        client.indices.create(index=index, body=body)
    except exceptions.RequestError as error:
        if error.error != "resource_already_exists_exception":
            raise
