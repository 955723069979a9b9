"""Patient keys: what the search index holds in place of patient ids.

A key is the HMAC-SHA256 of the patient id under a random salt. Equal ids have equal keys, in images and reports alike, and
whoever has the index without the salt cannot try ids until one fits. The salt of a folder or of an S3 prefix is kept beside the
store, readable by its owner alone; that of a server is kept in the workspace, or given by ``SEARCH_SALT`` for several machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from dicom_workflow.errors import ObjectNotFoundError, SearchStoreError, SettingsError
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_path, to_uri

SALT_NAME = "patient_key.salt"
_SALT_BYTES = 32
_LEAST_GIVEN = 16
_KEY_CHARACTERS = 32


class PatientKeys:
    """Gives the key of a patient id; no repr or message shows the salt.

    Parameters
    ----------
    salt : bytes
    """

    __slots__ = ("_salt",)

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def __repr__(self) -> str:
        return "PatientKeys(***)"

    def key(self, patient_id: str) -> str:
        """Return the key of a patient id, 32 hexadecimal digits; empty for an empty id."""
        return self._hashed("patient", patient_id)

    def pending_report(self, accession_number: str) -> str:
        """Return the `report_id` of an image whose report is not known yet; its Accession Number cannot be read from it.

        The report, when it comes with that Accession Number, is linked to the images that have this id.
        """
        hashed = self._hashed("accession", accession_number)
        return f"{PENDING}{hashed}" if hashed else ""

    def _hashed(self, kind: str, text: str) -> str:
        text = text.strip()
        if not text:
            return ""
        return hmac.new(self._salt, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
            :_KEY_CHARACTERS
        ]


PENDING = "pending:"
"""Begins the `report_id` of an image for whose report an Accession Number is known, and that has not come."""


def open_keys(store_url: str, settings: Settings) -> PatientKeys:
    """Return the keys of a store, with a new salt where it has none.

    Parameters
    ----------
    store_url : str
        As for `open_store`.
    settings : Settings
        ``SEARCH_SALT`` counts before what is kept.

    Raises
    ------
    SettingsError
        The salt that is given is shorter than 16 characters.
    SearchStoreError
        The salt that is kept was cut short or changed.
    StorageError
        It cannot be read or written.
    """
    given = settings.search_salt.reveal()
    if given:
        if len(given) < _LEAST_GIVEN:
            raise SettingsError(
                f"SEARCH_SALT: expected {_LEAST_GIVEN} characters or more, got {len(given)}. "
                "Make one with `python -c 'import secrets; print(secrets.token_hex(32))'`, and keep it."
            )
        return PatientKeys(given.encode())
    storage, uri = Storage(settings), _place(store_url, settings)
    try:
        kept = storage.read_bytes(uri)
    except ObjectNotFoundError:
        _write_new(uri, storage)
        kept = storage.read_bytes(uri)  # another process may have been first
    try:
        salt = bytes.fromhex(kept.decode("ascii").strip())
    except ValueError:
        salt = b""
    if len(salt) != _SALT_BYTES:
        raise SearchStoreError(
            f"{uri}: expected a salt of {2 * _SALT_BYTES} hexadecimal digits, got {len(kept)} bytes. Copy it from a backup: "
            "with another salt, patients of the index would not be known again. Or rebuild the index in a new place."
        )
    return PatientKeys(salt)


def _place(store_url: str, settings: Settings) -> str:
    if store_url.startswith("s3://"):
        return f"{store_url.rstrip('/')}.{SALT_NAME}"
    if "://" not in store_url or store_url.startswith("file://"):
        folder = to_path(to_uri(store_url))
        return to_uri(folder.with_name(f"{folder.name}.{SALT_NAME}"))
    from urllib.parse import urlsplit

    parts = urlsplit(store_url)  # without user and password, which may change
    where = f"{parts.scheme}://{parts.hostname or ''}:{parts.port or ''}{parts.path}"
    name = hashlib.sha256(where.encode()).hexdigest()[:16]
    return to_uri(settings.make_workspace() / "search" / f"{name}.{SALT_NAME}")


def _write_new(uri: str, storage: Storage) -> None:
    text = secrets.token_bytes(_SALT_BYTES).hex() + "\n"
    if uri.startswith("s3://"):
        storage.write_text(uri, text)
        return
    path: Path = to_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)  # a link, unlike a rename, never replaces the salt of another process
    except OSError as error:
        raise SearchStoreError(f"{path}: the salt of the patient keys cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
