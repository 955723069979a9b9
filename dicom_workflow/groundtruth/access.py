"""Where the labeling service may read and write: object storage, and files of its own workspace. Nothing else on the disk.

Whoever may create a labeling job names its manifest, template, images and output folder. Without this room that would be a way
to read or overwrite any file the service can.
"""

from __future__ import annotations

from pathlib import Path

from dicom_workflow.errors import StorageError, TemplateError
from dicom_workflow.formats.object_reference import is_orthanc_id
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, s3_parts, to_path

ARCHIVE_SCHEME = "orthanc://"
"""How a task input names an instance of the archive: ``orthanc://<Orthanc instance id>``."""

PRIVATE_FOLDERS = ("groundtruth", "services", "orthanc", "folder-archive", "image-cache")
"""Folders of a workspace that hold journals, passwords and other people's images: no job may name a file in them."""


class Access:
    """The rule, and the storage behind it.

    Parameters
    ----------
    settings : Settings
        `workspace` bounds file:// URIs; `s3_url` and `region` say where s3:// URIs are.
    """

    def __init__(self, settings: Settings, storage: Storage | None = None) -> None:
        self.storage = storage or Storage(settings)
        self._root = settings.workspace.resolve()

    def check(self, uri: str) -> str:
        """Return a URI the service may read and write.

        Raises
        ------
        StorageError
            Another scheme, a file outside the workspace, or one in a private folder of it. Links are followed first.
        """
        if uri.startswith("s3://"):
            s3_parts(uri)
            return uri
        if not uri.startswith("file://"):
            raise StorageError(f"expected an s3:// URI, or file:// within the service's workspace, got {uri[:80]!r}.")
        path = to_path(uri)
        resolved = self._resolved(path, uri)
        if not resolved.is_relative_to(self._root) or resolved == self._root:
            raise StorageError(f"expected file:// within the service's workspace, got {uri[:200]!r}. Put the file there.")
        top = resolved.relative_to(self._root).parts[0]
        if top in PRIVATE_FOLDERS or top.startswith("."):
            raise StorageError(f"expected a file that is not the service's own, got one in the workspace's {top!r}.")
        return uri

    def check_granted(self, uri: str) -> str:
        """Return a URI a template may ask `grant_read_access` for: what `check` lets through, or an instance of the archive.

        Raises
        ------
        TemplateError
            Anything else.
        """
        try:
            return uri if is_orthanc_id(uri.removeprefix(ARCHIVE_SCHEME)) else self.check(uri)
        except StorageError as error:
            raise TemplateError(f"grant_read_access: {error}") from None

    def read_text(self, uri: str) -> str:
        """Return the text of an object the service may read."""
        return self.storage.read_text(self.check(uri))

    def read_bytes(self, uri: str) -> bytes:
        """Return an object the service may read."""
        return self.storage.read_bytes(self.check(uri))

    def write_text(self, uri: str, text: str) -> str:
        """Write an object where the service may write."""
        return self.storage.write_text(self.check(uri), text)

    @staticmethod
    def _resolved(path: Path, uri: str) -> Path:
        try:
            return path.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL byte
            raise StorageError(f"expected a file:// URI that can be followed, got {uri[:80]!r}: {error}.") from None
