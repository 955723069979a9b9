"""Access control of the labeling service: it reads and writes object storage and files of its workspace, nothing else on disk.

A request for a labeling job names its manifest, template, images and output folder. Without this check it could read or
overwrite any file that the service can.
"""

from __future__ import annotations

from pathlib import Path

from dicom_workflow.errors import RecordError, StorageError, TemplateError
from dicom_workflow.formats.object_reference import ARCHIVE_SCHEMES, ObjectReference
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, s3_parts, to_path

PRIVATE_FOLDERS = ("groundtruth", "services", "orthanc", "folder-archive", "image-cache")
"""Folders of a workspace with databases, passwords and other people's images: no job may name a file in them."""


class Access:
    """Storage restricted to the URIs that a job may name.

    Parameters
    ----------
    settings : Settings
        `workspace` bounds file:// URIs; `s3_url` and `region` locate s3:// URIs.
    storage : Storage, optional
        Storage of the settings when not given.
    """

    def __init__(self, settings: Settings, storage: Storage | None = None) -> None:
        self.storage = storage or Storage(settings)
        self._root = settings.workspace.resolve()

    def check(self, uri: str) -> str:
        """Return a URI after checking that the service may read and write it.

        Raises
        ------
        StorageError
            Another scheme, a file outside the workspace, or one in its private folders. Links are followed first.
        """
        if uri.startswith("s3://"):
            s3_parts(uri)
            return uri
        if not uri.startswith("file://"):
            raise StorageError(f"expected an s3:// URI, or a file:// URI in the service's workspace, got {uri[:80]!r}.")
        path = to_path(uri)
        resolved = self._resolved(path, uri)
        if not resolved.is_relative_to(self._root) or resolved == self._root:
            raise StorageError(f"{uri[:200]!r} is outside the service's workspace. Copy the file into the workspace.")
        # A disk that takes Services for services finds the same folder.
        top = resolved.relative_to(self._root).parts[0]
        if top.casefold() in PRIVATE_FOLDERS or top.startswith("."):
            raise StorageError(f"{uri[:200]!r} is in the private folder {top!r} of the workspace. Use another folder.")
        return uri

    def check_granted(self, uri: str) -> str:
        """Return a URI after checking that `grant_read_access` may take it: one that passes `check`, or an archived instance.

        Raises
        ------
        TemplateError
            Any other URI.
        """
        try:
            if uri.startswith(ARCHIVE_SCHEMES):
                return ObjectReference.parse(uri).to_uri()
            return self.check(uri)
        except (RecordError, StorageError) as error:
            raise TemplateError(f"grant_read_access: {error}") from None

    def read_text(self, uri: str) -> str:
        """Return the text of an object after `check`."""
        return self.storage.read_text(self.check(uri))

    def read_bytes(self, uri: str) -> bytes:
        """Return the bytes of an object after `check`."""
        return self.storage.read_bytes(self.check(uri))

    def write_text(self, uri: str, text: str) -> str:
        """Write an object after `check`, and return its URI."""
        return self.storage.write_text(self.check(uri), text)

    @staticmethod
    def _resolved(path: Path, uri: str) -> Path:
        try:
            return path.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL byte
            raise StorageError(f"{uri[:80]!r} cannot be resolved: {error}.") from None
