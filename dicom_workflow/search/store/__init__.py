"""Search stores: a folder or S3 (LanceDB), PostgreSQL with pgvector, OpenSearch; one protocol."""

from __future__ import annotations

from dicom_workflow.errors import SettingsError
from dicom_workflow.search.store.protocol import SearchStore


def open_store(url: str, *, create: bool = False) -> SearchStore:
    """Return the store at a URL.

    Parameters
    ----------
    url : str
        A path, ``file://`` or ``s3://`` (LanceDB), ``postgresql://`` (pgvector), ``https://`` or ``http://`` (OpenSearch).
    create : bool
        Create an empty store where there is none.

    Raises
    ------
    SettingsError
        Another scheme.
    SearchStoreError
        There is no store, it is of another version, or it cannot be reached.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme in ("file", "s3"):
        from dicom_workflow.search.store.lance import LanceStore

        return LanceStore.open(url, create=create)
    if scheme in ("postgresql", "postgres"):
        from dicom_workflow.search.store.postgres.store import PostgresStore

        return PostgresStore.open(url, create=create)
    if scheme in ("https", "http"):
        from dicom_workflow.search.store.opensearch.store import OpenSearchStore

        return OpenSearchStore.open(url, create=create)
    raise SettingsError(f"expected a search store as a folder, s3://, postgresql:// or https://, got the scheme {scheme!r}.")
