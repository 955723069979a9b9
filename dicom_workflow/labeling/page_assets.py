"""The built pages that ship with the package, and the publication of the worker page for browsers.

A file of the worker page has the first twelve digits of its SHA-256 in its name, so a name means one content for ever: browsers
may keep it, two versions live side by side, and a job that was created with one goes on with it. The search page is served by
the package that it asks, so its files have plain names.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

from dicom_workflow.errors import StorageError, TemplateError
from dicom_workflow.storage import Storage, join

FOLDER = "worker-ui"
"""Where the files lie, beside a published template."""

LICENCES = "THIRD-PARTY.txt"
KEEP_FOR_EVER = "public, max-age=31536000, immutable"
MAX_BYTES = 32 * 2**20

PAGES: Mapping[str, tuple[str, ...]] = {
    "radiograph": ("labeling", "worker_templates"),
    "search": ("search", "page"),
}
"""Page → folder of the package that `npm run build` in worker_ui writes it into."""

_TYPES = {
    **dict.fromkeys((".js", ".mjs"), "text/javascript; charset=utf-8"),
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_NAME = re.compile(r"[A-Za-z0-9_-]+\.([0-9a-f]{12})\.(?:js|css)")


@dataclass(frozen=True)
class Build:
    """The build of a page that ships with this package."""

    script: str
    style: str
    html: str = ""
    """The page itself, where it is a file of the build as well."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every file of the build."""
        return self.script, self.style, LICENCES, *filter(None, (self.html,))


@cache
def build(page: str = "radiograph") -> Build:
    """Return the build of a page of `PAGES` that ships with this package.

    Raises
    ------
    TemplateError
        The page was not built.
    """
    try:
        data = json.loads(_read(page, "build.json"))
    except FileNotFoundError:
        raise TemplateError(f"The {page} page is not built. Build it with `make ui`.") from None
    return Build(script=data["script"], style=data["style"], html=data.get("html", ""))


@cache
def content(name: str, page: str = "radiograph") -> bytes:
    """Return a file of the build of a page.

    Raises
    ------
    TemplateError
        The build has no such file.
    """
    if name not in build(page).names:
        raise TemplateError(f"expected a file of the {page} page, {', '.join(build(page).names)}, got {name[:60]!r}.")
    return _read(page, name)


@cache
def zipped(name: str) -> bytes:
    """Return a file of the build as gzip; the same bytes each time."""
    return gzip.compress(content(name), 9, mtime=0)


def media_type(name: str) -> str:
    """Return the media type of a file of a build, by the ending of its name."""
    return _TYPES[PurePosixPath(name).suffix]


def is_name(name: str) -> bool:
    """Say whether a name is that of a script or style of some build."""
    return bool(_NAME.fullmatch(name))


def checked(name: str, data: bytes) -> bytes:
    """Return the script or style that a name promises, taken out of gzip if it is in one.

    Raises
    ------
    StorageError
        It is another content than the name says.
    """
    if data.startswith(b"\x1f\x8b"):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, MAX_BYTES)
        except zlib.error:
            raise StorageError(f"{name[:60]} is damaged: its gzip data cannot be read. Publish the template again.") from None
    named = _NAME.fullmatch(name)
    if named is None or hashlib.sha256(data).hexdigest()[:12] != named[1]:
        raise StorageError(f"{name[:60]} has another content than its name says. Publish the template again.")
    return data


def publish(folder_uri: str, storage: Storage) -> None:
    """Write the build into a folder, as a browser is to get it, and read it back; what is there already is left alone.

    On S3 the files are stored compressed and say so, say what they are, and that they may be kept for ever. A file of a
    folder has no headers and is written as it is.

    Raises
    ------
    StorageError
        What was read back is not what was written.
    """
    for name in build().names:
        on_s3 = folder_uri.startswith("s3://")
        uri, data = join(folder_uri, name), zipped(name) if on_s3 else content(name)
        headers = _headers(name) if on_s3 else {}
        if storage.exists(uri) and storage.headers(uri) == headers and storage.read_bytes(uri) == data:
            continue
        storage.write_bytes(uri, data, headers=headers)
        if storage.read_bytes(uri) != data or storage.headers(uri) != headers:
            raise StorageError(f"{uri}: what was read back is not what was written. Publish the template again.")


def _headers(name: str) -> dict[str, str]:
    cached = KEEP_FOR_EVER if is_name(name) else "public, max-age=3600"
    return {"ContentType": media_type(name), "ContentEncoding": "gzip", "CacheControl": cached}


def _read(page: str, name: str) -> bytes:
    return resources.files("dicom_workflow").joinpath(*PAGES[page], name).read_bytes()
