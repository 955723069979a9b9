"""Read, write and list objects by URI: ``file://`` for a laptop, ``s3://`` for AWS. The only module that knows S3.

A write is atomic: a reader sees the old object or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from dicom_workflow.errors import ObjectNotFoundError, StorageError
from dicom_workflow.settings import Settings

HEADERS = ("ContentType", "ContentEncoding", "CacheControl")
"""What S3 keeps with an object and says in its response, by boto3's names."""


def to_uri(location: str | Path) -> str:
    """Return the URI of a location: s3:// and file:// as they are, anything else as the absolute path of a file.

    What a URI cannot hold (``%``, ``?``, ``#``, spaces, anything but ASCII) is escaped, so that `to_path` gives back the same
    path, byte by byte.

    Raises
    ------
    StorageError
        Another scheme.
    """
    text = str(location)
    if text.startswith(("s3://", "file://")):
        return text
    if "://" in text:
        raise StorageError(f"expected s3://, file:// or a path, got {text!r}.")
    return "file://" + _escaped(Path(text).expanduser().resolve())


def to_path(uri: str | Path) -> Path:
    """Return the path of a file URI; a plain path is returned as it is.

    Raises
    ------
    StorageError
        The URI is not a file's, names another host, or holds what no path can: a NUL, half of a surrogate pair.
    """
    text = str(uri)
    if "://" not in text:
        return Path(text)
    try:
        path = unquote_to_bytes((parts := urlsplit(text)).path)
    except ValueError as error:  # no host has such a name, or no file
        raise StorageError(f"expected a file:// URI, got {text!r}: {error}.") from None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise StorageError(f"expected a file:// URI on this machine, got {text!r}.")
    if b"\0" in path:
        raise StorageError(f"expected a file:// URI without a NUL character, got {text!r}.")
    return Path(os.fsdecode(path))


def join(uri: str, *names: str) -> str:
    """Return the URI of a name below a folder URI.

    Raises
    ------
    StorageError
        A name would leave the folder (``..``, an absolute path).
    """
    for name in names:
        if name.startswith("/") or ".." in name.split("/"):
            raise StorageError(f"expected a name below {uri}, got {name!r}.")
    folder = uri.rstrip("/")
    if folder.startswith("file://"):
        names = tuple(_escaped(name) for name in names)
    return "/".join([folder, *names])


def _escaped(path: str | Path) -> str:
    return quote(os.fsencode(path), safe="/:@!$&'()*+,;=~-._")


def s3_parts(uri: str) -> tuple[str, str]:
    """Return the bucket and key of an s3:// URI; the key is taken as it is, with every character it has.

    Raises
    ------
    StorageError
        It is no such URI.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise StorageError(f"expected s3://bucket/key, got {uri!r}.")
    return bucket, key


class Storage:
    """Objects by URI, with the endpoint and region of one `Settings`.

    Parameters
    ----------
    settings : Settings, optional
        Only its `s3_url`, `region` and `timeout_seconds` are used; AWS's own endpoint when not given.
    client : optional
        A boto3 S3 client to use instead of one made from the settings.
    """

    def __init__(self, settings: Settings | None = None, *, client: Any = None) -> None:
        self._url = settings.s3_url if settings else ""
        self._region = settings.region if settings else ""
        self._timeout_seconds = settings.timeout_seconds if settings else 60.0
        self._given_client = client

    @property
    def _s3(self) -> Any:
        return self._given_client or _s3_client(self._url, self._region, self._timeout_seconds)

    def read_bytes(self, uri: str) -> bytes:
        """Return a whole object.

        Raises
        ------
        ObjectNotFoundError
            There is none at that URI.
        StorageError
            It is there and cannot be read.
        """
        with self.open(uri) as stream:
            return stream.read()

    def read_text(self, uri: str) -> str:
        """Return a whole object as UTF-8 text.

        Raises
        ------
        StorageError
            It is no UTF-8 text, or as `read_bytes`.
        """
        try:
            return self.read_bytes(uri).decode("utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise StorageError(
                f"{uri}: expected UTF-8 text, got byte {byte:#04x} at {error.start}. Save it as UTF-8."
            ) from None

    @contextlib.contextmanager
    def open(self, uri: str) -> Iterator[IO[bytes]]:
        """Open an object for reading as a stream of bytes that can also be read line by line.

        Raises
        ------
        ObjectNotFoundError
            There is none at that URI.
        StorageError
            It cannot be read.
        """
        if uri.startswith("s3://"):
            bucket, key = s3_parts(uri)
            with _s3_errors(uri):
                body = self._s3.get_object(Bucket=bucket, Key=key)["Body"]
            # Reading a StreamingBody line by line takes one call per byte; the buffer takes one per megabyte.
            with io.BufferedReader(body, 1 << 20) as stream, _s3_errors(uri):
                yield stream
            return
        path = to_path(uri)
        try:
            opened = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectNotFoundError(f"{uri}: there is no such object.") from None
        except OSError as error:
            raise StorageError(f"{uri}: cannot be read: {error.strerror}.") from error
        with opened:
            yield opened

    def write_bytes(self, uri: str, data: bytes, *, headers: Mapping[str, str] | None = None) -> str:
        """Write a whole object in one step and return its URI.

        Parameters
        ----------
        headers : mapping, optional
            What S3 is to say of the object to whoever gets it: `HEADERS`. A file has no place for it.
        """
        with self.writer(uri, headers=headers) as stream:
            stream.write(data)
        return uri

    def headers(self, uri: str) -> dict[str, str]:
        """Return what S3 says of an object to whoever gets it, those of `HEADERS` that are set; nothing for a file."""
        if not uri.startswith("s3://"):
            return {}
        bucket, key = s3_parts(uri)
        with _s3_errors(uri):
            said = self._s3.head_object(Bucket=bucket, Key=key)
        return {name: said[name] for name in HEADERS if said.get(name)}

    def write_text(self, uri: str, text: str) -> str:
        """Write a whole object as UTF-8 text in one step and return its URI."""
        return self.write_bytes(uri, text.encode("utf-8"))

    @contextlib.contextmanager
    def writer(self, uri: str, *, headers: Mapping[str, str] | None = None) -> Iterator[IO[bytes]]:
        """Open an object for writing; it appears, whole, when the block ends without an error, and else not at all.

        A file, this user's alone (0600), is written beside its place, flushed and renamed; an S3 object is spooled first.

        Raises
        ------
        StorageError
            It cannot be written.
        """
        if uri.startswith("s3://"):
            bucket, key = s3_parts(uri)
            with _disk_errors(uri), tempfile.TemporaryFile() as spool:
                yield spool
                spool.seek(0)
                with _s3_errors(uri):
                    self._s3.upload_fileobj(spool, bucket, key, ExtraArgs=dict(headers or {}))
            return
        path = to_path(uri)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part, handle = _open_part(path)
        except OSError as error:
            raise StorageError(f"{uri}: cannot be written: {error.strerror}.") from error
        with _replacing(path, part, handle, uri) as stream:
            yield stream

    def exists(self, uri: str) -> bool:
        """Return whether there is an object at a URI.

        Raises
        ------
        StorageError
            It cannot be looked up.
        """
        if not uri.startswith("s3://"):
            try:
                return to_path(uri).is_file()
            except OSError as error:
                raise StorageError(f"{uri}: cannot be looked up: {error.strerror}.") from error
        bucket, key = s3_parts(uri)
        try:
            with _s3_errors(uri):
                self._s3.head_object(Bucket=bucket, Key=key)
        except ObjectNotFoundError:
            return False
        return True

    def list(self, uri: str) -> list[str]:
        """Return the URIs of all objects below a folder URI, sorted; files being written are left out."""
        if uri.startswith("s3://"):
            bucket, key = s3_parts(uri.rstrip("/") + "/")
            with _s3_errors(uri):
                pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
                keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
            # The S3 console marks a folder with an empty object whose key ends with a slash.
            return sorted(f"s3://{bucket}/{key}" for key in keys if not key.endswith("/"))
        root = to_path(uri)
        return sorted(to_uri(path) for path in root.rglob("*") if path.is_file() and not _is_part(path.name))


@contextlib.contextmanager
def _disk_errors(uri: str) -> Iterator[None]:
    """Say what the disk refused; other errors of the block are the caller's own."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        raise StorageError(f"{uri}: cannot be written: {error.strerror}.") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, flush it to disk and rename it: a reader sees the old file or the new one.

    The file is this user's alone (mode 0600), whatever its folder is: it may hold patient data.

    Raises
    ------
    OSError
        The folder cannot be written.
    StorageError
        The disk is full or fails.
    """
    part, handle = _open_part(path)
    with _replacing(path, part, handle, str(path)) as stream:
        stream.write(data)


def _open_part(path: Path) -> tuple[Path, int]:
    """Create the file that will replace `path`, and return its path and descriptor."""
    part = path.with_name(f".{path.name[:60]}.{secrets.token_hex(8)}.part")
    return part, os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _replacing(path: Path, part: Path, handle: int, where: str) -> Iterator[IO[bytes]]:
    """Yield the stream of a part, and rename the part over `path` when the block ends without an error."""
    try:
        with _disk_errors(where), os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        try:
            part.replace(path)
        except OSError as error:
            raise StorageError(f"{where}: cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _is_part(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


@cache
def _s3_client(url: str, region: str, timeout_seconds: float) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=timeout_seconds,
        retries={"mode": "standard", "max_attempts": 10},  # the default mode lost 26 of 200 puts at 50 % throttling
        max_pool_connections=32,
    )
    return boto3.client("s3", endpoint_url=url or None, region_name=region or None, config=config)


@contextlib.contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("404", "NoSuchKey", "NoSuchBucket", "NotFound"):
            raise ObjectNotFoundError(f"{uri}: there is no such object ({code}).") from None
        raise StorageError(f"{uri}: S3 answered {code}. Check the bucket's region and this role's rights.") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StorageError(f"{uri}: S3 could not be reached: {error}") from error
