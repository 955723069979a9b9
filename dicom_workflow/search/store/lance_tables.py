"""The Lance tables of one store, in a folder or a bucket: connection, one writer at a time, and errors in our words."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from dicom_workflow.errors import SearchStoreError, StorageError
from dicom_workflow.search.store.index_files import lock_within
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_path, to_uri

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_LOCK_SECONDS = 1800.0
_LOCK_FILE = ".writer.lock"
_DERIVED = "derived-index"
_ATTEMPTS = 6
_REASONS = (
    (
        ("no space left", "storage full", "file too large", "quota exceeded", "os error 28", "os error 27"),
        "the disk is full. Free some space",
    ),
    (
        ("permission denied", "read-only file system", "os error 13", "os error 30"),
        "this user has no right to. Change the rights of the folder, or use a copy",
    ),
    (("file exists", "not a directory"), "there is a file in its place. Give a folder"),
    (("accessdenied", "access denied", "403 forbidden"), "S3 refused access. Check this role's rights"),
    (
        ("notimplemented", "501 not implemented"),
        "S3 refused the conditional write (If-None-Match) that keeps writers apart. Use one that has it: Amazon S3, MinIO",
    ),
    (("nosuchbucket", "nosuchkey"), "there is no such bucket or object. Check the address"),
    (
        ("error sending request", "kind: connect", "timed out"),
        "it does not answer. Check the address and the network",
    ),
)
"""What Lance, the disk or S3 say, in lower case, and what we say of it."""


def storage_options(url: str, settings: Settings) -> dict[str, str]:
    """Return what Lance needs to reach a bucket; credentials are looked up by AWS's own chain."""
    if not url.startswith("s3://"):
        return {}
    options = {"region": settings.region, "timeout": f"{settings.timeout_seconds:g}s", "connect_timeout": "10s"}
    if settings.s3_url:
        options |= {"aws_endpoint": settings.s3_url, "virtual_hosted_style_request": "false"}
        options |= {"allow_http": "true"} if settings.s3_url.startswith("http://") else {}
    return options


def missing(url: str) -> SearchStoreError:
    """Return the error that there is no store, with the command that makes one."""
    return SearchStoreError(f"There is no search store at {url}. Make one: dicom-workflow search index SOURCE --store {url}")


def _keep_private(folder: Path) -> None:
    """Close a folder to other users before a store is made in it, or say how where it is not this store's alone."""
    about = folder.stat()
    if not about.st_mode & 0o077 or any(folder.glob("*.lance")):
        return
    if about.st_uid == os.geteuid() and not any(folder.iterdir()):
        folder.chmod(0o700)
    else:
        log.warning(
            "Other users may open %s, and the search store in it will hold the text of reports. Close it: chmod 700 %s",
            folder,
            shlex.quote(str(folder)),
        )


class LanceTables:
    """The database of one store. Each read sees what any process has written before.

    Parameters
    ----------
    url : str
        A path, ``file://`` or ``s3://``.
    settings : Settings
        Endpoint, region and timeout of S3.
    create : bool
        Make the folder where there is none.

    Raises
    ------
    SearchStoreError
        It cannot be opened.
    """

    def __init__(self, url: str, settings: Settings, *, create: bool = False) -> None:
        import lancedb

        try:
            self.uri = to_uri(url)
            self.folder = None if self.uri.startswith("s3://") else to_path(self.uri)
        except StorageError as error:
            raise SearchStoreError(f"The search store {url} cannot be opened: {error}") from None
        self.url, self._workspace = url, settings.workspace
        with self.errors("created" if create else "opened"):
            if self.folder is not None and create:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # reports name patients
                _keep_private(self.folder)
            if self.folder is not None and not self.folder.is_dir():
                raise missing(url)  # Lance would make it
            self._place: dict[str, Any] = {
                "uri": self.uri if self.folder is None else str(self.folder),
                "read_consistency_interval": timedelta(0),
                "storage_options": storage_options(self.uri, settings),
            }
            self._database = lancedb.connect(**self._place)

    def derived(self, name: str, *, inside: bool) -> tuple[Path, Path | None]:
        """Return where the files of a derived index belong: in the folder of the store, or in the workspace.

        Parameters
        ----------
        name : str
            Of the index.
        inside : bool
            In the folder, if there is one that may be written to. One that may only be read is the second path of the
            answer: the files in the workspace begin as a copy of those there.
        """
        place = self._workspace / "search" / _DERIVED / hashlib.sha256(self.uri.encode()).hexdigest()[:16] / name
        if self.folder is None or not inside:
            return place, None
        shared = self.folder / _DERIVED / name
        return (shared, None) if os.access(self.folder, os.W_OK) else (place, shared)

    def names(self) -> set[str]:
        """Return the names of the tables."""
        return set(self.read(lambda: self._database.list_tables().tables))

    def table(self, name: str) -> Any:
        """Return a table."""
        return self.read(lambda: self._database.open_table(name))

    async def open_asynchronous(self, name: str) -> Any:
        """Return a table whose methods are coroutines."""
        import lancedb

        return await (await lancedb.connect_async(**self._place)).open_table(name)

    def create(self, name: str, schema: pa.Schema) -> Any:
        """Create an empty table, unless another process just did."""
        with self.errors("created"):
            return self._database.create_table(name, schema=schema, exist_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the only right to write to a folder; in a bucket, writers are told apart by conditional writes.

        Raises
        ------
        SearchStoreError
            The folder cannot be written, or another process has been writing for half an hour.
        """
        if self.folder is None:
            with self.errors("written"):
                yield
            return
        with self.errors("written"):
            handle = os.open(self.folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(handle)
            with self.errors("written"):
                yield
        finally:
            os.close(handle)  # gives the lock back, as the end of the process does

    def _lock(self, handle: int) -> None:
        if not lock_within(handle, _LOCK_SECONDS):
            raise SearchStoreError(
                f"The search store {self.url} cannot be written: another process has been writing to it for "
                f"{_LOCK_SECONDS / 60:.0f} minutes. End that process, or wait for it."
            )

    def read(self, act: Callable[[], Answer]) -> Answer:
        """Return what an action reads; again where another process has just replaced the files that it was reading.

        Raises
        ------
        SearchStoreError
            It cannot be read.
        """
        return self._again(act, ("not found", "no such file"), "read")

    def change(self, act: Callable[[], Answer]) -> Answer:
        """Return what an action writes; again where another process has changed the same rows or the schema meanwhile."""
        return self._again(act, ("conflict", "concurrent", "retry", "already exists"), "written")

    def _again(self, act: Callable[[], Answer], passing: tuple[str, ...], verb: str) -> Answer:
        for attempt in range(_ATTEMPTS):
            try:
                with self.errors(verb):
                    return act()
            except SearchStoreError as error:
                cause = str(error.__cause__).lower()
                if attempt + 1 == _ATTEMPTS or not any(word in cause for word in passing):
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError

    def merge(self, table: Any, key: str, rows: pa.Table, *, insert: bool) -> int:
        """Insert or replace rows by their key, in one step, and return how many. Columns that are not given keep their values.

        Parameters
        ----------
        table
            Where the rows belong.
        key : str
            Its key.
        rows : Table
            The key and any other columns.
        insert : bool
            Whether rows of unknown keys are inserted or ignored.

        Notes
        -----
        An index on the key makes Lance forget that the key is one, and then writers of the same new key double it
        (lance-format/lance #4585, #9238): so it may not use an index.
        """

        def write() -> int:
            builder = table.merge_insert(key).use_index(False).when_matched_update_all()
            result = (builder.when_not_matched_insert_all() if insert else builder).execute(rows)
            return int(result.num_inserted_rows + result.num_updated_rows)

        return self.change(write)

    @contextlib.contextmanager
    def errors(self, verb: str) -> Iterator[None]:
        """Say in our words what Lance, the disk or S3 refused; never the text that was asked for or written."""
        try:
            yield
        except (RuntimeError, OSError, ValueError, pa.ArrowException) as error:
            text = str(error).lower().replace(str(self.folder).lower(), "")
            reason = next((said for words, said in _REASONS if any(word in text for word in words)), "")
            what = reason or f"Lance answered with {type(error).__name__}. Look at the disk or the bucket"
            raise SearchStoreError(f"The search store {self.url} cannot be {verb}: {what}.") from error
