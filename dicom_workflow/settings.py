"""One frozen Settings: where the archive, the objects and the labeling service are, and how to sign in.

Settings flow one way: environment or ``.env`` file → `Settings` → function argument. No other module reads ``os.environ``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dicom_workflow.errors import SettingsError

ARCHIVE_KINDS = ("orthanc", "folder")


class Secret:
    """A value that no repr, log line or notebook output shows.

    ``str()`` and ``repr()`` give stars; only `reveal` gives the value. An empty secret is false. It is no dataclass, because
    ``dataclasses.asdict`` would open it.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the one call that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"

    __str__ = __repr__


_NONE = Secret()


@dataclass(frozen=True)
class DatabaseAddress:
    """Where the self-hosted labeling service keeps its journal, when that is PostgreSQL. Without a host it is false.

    Read from ``GROUNDTRUTH_DATABASE_HOST``, ``_PORT``, ``_NAME``, ``_USER``, ``_PASSWORD`` and ``_CA``.
    """

    host: str = ""
    """Name or address of the server, or the folder of its socket. Anything but this machine is reached by verified TLS only."""
    port: int = 5432
    name: str = "groundtruth"
    user: str = "groundtruth"
    password: Secret = _NONE
    ca: str = ""
    """File with the certificate authorities to trust for it; empty means the system's."""

    def __bool__(self) -> bool:
        return bool(self.host)

    @classmethod
    def from_values(cls, values: Mapping[str, str]) -> DatabaseAddress:
        """Return the address that environment variables give."""
        given = {
            name: values.get(f"GROUNDTRUTH_DATABASE_{name.upper()}", "")
            for name in ("host", "port", "name", "user", "password", "ca")
        }
        port = given["port"] or "5432"
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise SettingsError(f"GROUNDTRUTH_DATABASE_PORT: expected a port from 1 to 65535, got {port!r}.")
        if any(mark in given["host"] for mark in "@,= \\'"):
            # More than a host would be read as connection parameters, and could turn the verification off.
            raise SettingsError("GROUNDTRUTH_DATABASE_HOST: expected the name of one host, or the folder of a socket.")
        return cls(
            host=given["host"],
            port=int(port),
            name=given["name"] or "groundtruth",
            user=given["user"] or "groundtruth",
            password=Secret(given["password"]),
            ca=given["ca"],
        )


@dataclass(frozen=True)
class Settings:
    """Where everything is.

    Every field has a value that works on a laptop without an account. An empty ``orthanc_url`` or ``groundtruth_url``
    means "the local service of this workspace", which `dicom_workflow.services.attach` finds or starts.
    """

    workspace: Path
    """Folder for everything a run makes; it may hold patient data and is never committed."""
    archive: str = "orthanc"
    """`orthanc`, or `folder`: the embedded archive over a folder of files."""
    orthanc_url: str = ""
    """Base URL of Orthanc's REST interface, for example ``https://pacs.example.org:8042``."""
    orthanc_user: str = ""
    orthanc_password: Secret = _NONE
    groundtruth_url: str = ""
    """Endpoint URL of the labeling service; ``aws`` means SageMaker Ground Truth itself."""
    groundtruth_access_key: str = ""
    """Access key id that the self-hosted labeling service accepts. On AWS, boto3's own credentials are used."""
    groundtruth_secret_key: Secret = _NONE
    groundtruth_database: DatabaseAddress = DatabaseAddress()
    """PostgreSQL for the journal of the self-hosted labeling service; without a host it is a file of the workspace."""
    s3_url: str = ""
    """Endpoint URL of an S3-compatible store; empty means AWS's own."""
    region: str = "us-east-1"
    ca_bundle: str = ""
    """File with the certificate authorities to trust for Orthanc; empty means the system's. Verification is never off."""
    timeout_seconds: float = 60.0
    """How long one request may take before it counts as failed."""

    def __post_init__(self) -> None:
        if self.archive not in ARCHIVE_KINDS:
            raise SettingsError(f"ARCHIVE: expected one of {', '.join(ARCHIVE_KINDS)}, got {self.archive!r}.")
        for name in ("orthanc_url", "s3_url", "groundtruth_url"):
            value = getattr(self, name)
            if not value or (name == "groundtruth_url" and value == "aws"):
                continue
            if "@" in value:
                # An address is printed in messages and records, so no password may stand in it, nor in this message.
                raise SettingsError(f"{name.upper()}: expected an address without user and password; set those apart.")
            if not _is_web_address(value):
                or_aws = " or 'aws'" if name == "groundtruth_url" else ""
                raise SettingsError(f"{name.upper()}: expected an http(s):// URL{or_aws}, got {value!r}.")
        if not (math.isfinite(self.timeout_seconds) and self.timeout_seconds > 0):
            raise SettingsError(f"DICOM_WORKFLOW_TIMEOUT: expected a number of seconds above 0, got {self.timeout_seconds}.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, env_file: Path | None = None) -> Settings:
        """Return the settings of this environment.

        Parameters
        ----------
        environ : Mapping[str, str], optional
            Variables to read; those of the process when not given.
        env_file : Path, optional
            A ``.env`` file whose values hold where the environment has none. When not given, ``.env`` in the current
            folder is read if it is there.

        Returns
        -------
        Settings
            Read from ``DICOM_WORKFLOW_WORKSPACE``, ``ARCHIVE``, ``ORTHANC_URL``, ``ORTHANC_USER``, ``ORTHANC_PASSWORD``,
            ``GROUNDTRUTH_URL``, ``GROUNDTRUTH_ACCESS_KEY``, ``GROUNDTRUTH_SECRET_KEY``, ``GROUNDTRUTH_DATABASE_…`` (see
            `DatabaseAddress`), ``S3_URL`` (or ``AWS_ENDPOINT_URL_S3``), ``AWS_REGION``, ``DICOM_WORKFLOW_CA_BUNDLE`` and
            ``DICOM_WORKFLOW_TIMEOUT`` (seconds).

        Raises
        ------
        SettingsError
            A value cannot be used; the message names the variable.
        """
        values = {**_read_env_file(env_file), **(os.environ if environ is None else environ)}
        timeout = values.get("DICOM_WORKFLOW_TIMEOUT") or "60"
        try:
            timeout_seconds = float(timeout)
        except ValueError:
            raise SettingsError(f"DICOM_WORKFLOW_TIMEOUT: expected a number of seconds, got {timeout!r}.") from None
        workspace = values.get("DICOM_WORKFLOW_WORKSPACE") or str(Path.home() / "dicom-workflow")
        return cls(
            workspace=Path(workspace).expanduser().resolve(),
            archive=values.get("ARCHIVE") or "orthanc",
            orthanc_url=values.get("ORTHANC_URL", "").rstrip("/"),
            orthanc_user=values.get("ORTHANC_USER", ""),
            orthanc_password=Secret(values.get("ORTHANC_PASSWORD", "")),
            groundtruth_url=values.get("GROUNDTRUTH_URL", "").rstrip("/"),
            groundtruth_access_key=values.get("GROUNDTRUTH_ACCESS_KEY", ""),
            groundtruth_secret_key=Secret(values.get("GROUNDTRUTH_SECRET_KEY", "")),
            groundtruth_database=DatabaseAddress.from_values(values),
            s3_url=(values.get("S3_URL") or values.get("AWS_ENDPOINT_URL_S3", "")).rstrip("/"),
            region=values.get("AWS_REGION") or values.get("AWS_DEFAULT_REGION") or "us-east-1",
            ca_bundle=values.get("DICOM_WORKFLOW_CA_BUNDLE", ""),
            timeout_seconds=timeout_seconds,
        )

    def labeling_at(self, place: str) -> Settings:
        """Return the settings with labeling in another place.

        Parameters
        ----------
        place : str
            ``local``: what the environment names, else the self-hosted service of this workspace; ``aws``: SageMaker Ground
            Truth; a URL: a self-hosted service there.
        """
        return self if place == "local" else self.with_(groundtruth_url=place.rstrip("/"))

    def with_(self, **changes: Any) -> Settings:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _read_env_file(env_file: Path | None) -> dict[str, str]:
    path = env_file or Path(".env")
    if not path.is_file():
        if env_file is not None:
            raise SettingsError(f"{env_file}: expected a file of NAME=value lines, found none.")
        return {}
    from dotenv import dotenv_values  # only a machine with a .env file needs it

    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
