"""Settings: addresses of the archive, the object store and the labeling service, and the credentials for them.

Settings flow one way: environment or ``.env`` file → `Settings` → function argument. No other module reads ``os.environ``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dicom_workflow.errors import SettingsError

ARCHIVE_KINDS = ("orthanc", "dicomweb", "folder")


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
    """PostgreSQL server for the job database of the self-hosted labeling service; false without a host.

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
        """Return the address that environment variables give.

        Raises
        ------
        SettingsError
            The port or the host cannot be used; the message names the variable.
        """
        given = {item.name: values.get(_database_variable(item.name), "") for item in fields(cls)}
        port = given["port"] or "5432"
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise SettingsError(f"GROUNDTRUTH_DATABASE_PORT: expected a port from 1 to 65535, got {port!r}.")
        if any(mark in given["host"] for mark in "@,= \\'"):
            # More than a host would be read as connection parameters, and could turn the verification off.
            raise SettingsError("GROUNDTRUTH_DATABASE_HOST: give the name of one host or the folder of a socket, nothing else.")
        return cls(
            host=given["host"],
            port=int(port),
            name=given["name"] or "groundtruth",
            user=given["user"] or "groundtruth",
            password=Secret(given["password"]),
            ca=given["ca"],
        )


def _database_variable(field: str) -> str:
    return f"GROUNDTRUTH_DATABASE_{field.upper()}"


@dataclass(frozen=True)
class Settings:
    """Addresses and credentials of everything the workflow talks to.

    Every field has a value that works on a laptop without an account. An empty ``orthanc_url`` or ``groundtruth_url``
    means "the local service of this workspace", which `dicom_workflow.pipeline.local_services.attach` finds or starts.
    """

    workspace: Path
    """Folder for everything a run makes; it may hold patient data and is never committed."""
    archive: str = "orthanc"
    """`orthanc`; `dicomweb`: any DICOMweb server; or `folder`: the embedded archive over a folder of files."""
    orthanc_url: str = ""
    """Base URL of Orthanc's REST interface, for example ``https://pacs.example.org:8042``."""
    orthanc_user: str = ""
    orthanc_password: Secret = _NONE
    dicomweb_url: str = ""
    """Base URL of a DICOMweb server, the part before ``/studies``: ``https://pacs.example.org/dicom-web``."""
    dicomweb_user: str = ""
    dicomweb_password: Secret = _NONE
    dicomweb_token: Secret = _NONE
    """Bearer token for the DICOMweb server."""
    dicomweb_auth: str = ""
    """`basic`, `bearer` or `sigv4` (AWS HealthImaging); when empty, a token or a user that is given is used."""
    groundtruth_url: str = ""
    """Endpoint URL of the labeling service; ``aws`` means SageMaker Ground Truth itself."""
    groundtruth_access_key: str = ""
    """Access key id that the self-hosted labeling service accepts. On AWS, boto3's own credentials are used."""
    groundtruth_secret_key: Secret = _NONE
    groundtruth_database: DatabaseAddress = DatabaseAddress()
    """PostgreSQL for the job database of the self-hosted labeling service; without a host it is a file of the workspace."""
    deployment: str = ""
    """Name of a deployment on AWS whose stacks say what is not given here; see `dicom_workflow.aws.deployment_settings`."""
    search_salt: Secret = _NONE
    """What patient ids are hashed with in a search index, where several machines fill it; see `search.patient_keys`."""
    search_token: Secret = _NONE
    """What a client of the search service has to send; without one, a new token is made when the service starts."""
    search_oidc_issuer: str = ""
    """Whose tokens it accepts instead, for example ``https://cognito-idp.<region>.amazonaws.com/<user pool>``."""
    search_oidc_audience: str = ""
    """For whom those tokens have to be issued: a client id."""
    search_oidc_client_secret: Secret = _NONE
    """Of a client that has one, for signing people in with a browser."""
    s3_url: str = ""
    """Endpoint URL of an S3-compatible store; empty means AWS's own."""
    region: str = "us-east-1"
    ca_bundle: str = ""
    """File with the certificate authorities to trust for the archive; empty means the system's. Verification is never off."""
    timeout_seconds: float = 60.0
    """How long one request may take before it counts as failed."""

    def __post_init__(self) -> None:
        if self.archive not in ARCHIVE_KINDS:
            raise SettingsError(f"ARCHIVE: expected one of {', '.join(ARCHIVE_KINDS)}, got {self.archive!r}.")
        for name in _URLS:
            value = getattr(self, name)
            if not value or (name == "groundtruth_url" and value == "aws"):
                continue
            if "@" in value:
                # An address is printed in messages and records, so no password may stand in it, nor in this message.
                variable = _VARIABLES[name]
                raise SettingsError(f"{variable} holds a user or password. Give the address alone, and set those apart.")
            if not _is_web_address(value):
                or_aws = " or 'aws'" if name == "groundtruth_url" else ""
                raise SettingsError(f"{_VARIABLES[name]}: expected an http(s):// URL{or_aws}, got {value!r}.")
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
            folder is read if there is one.

        Returns
        -------
        Settings
            Read from ``DICOM_WORKFLOW_WORKSPACE``, ``ARCHIVE``, ``ORTHANC_URL``, ``ORTHANC_USER``, ``ORTHANC_PASSWORD``,
            ``DICOMWEB_URL``, ``DICOMWEB_USER``, ``DICOMWEB_PASSWORD``, ``DICOMWEB_TOKEN``, ``DICOMWEB_AUTH``,
            ``GROUNDTRUTH_URL``, ``GROUNDTRUTH_ACCESS_KEY``, ``GROUNDTRUTH_SECRET_KEY``, ``GROUNDTRUTH_DATABASE_…`` (see
            `DatabaseAddress`), ``DICOM_WORKFLOW_DEPLOYMENT``, ``SEARCH_SALT``, ``SEARCH_TOKEN``, ``SEARCH_OIDC_ISSUER``,
            ``SEARCH_OIDC_AUDIENCE``, ``SEARCH_OIDC_CLIENT_SECRET``, ``S3_URL`` (or ``AWS_ENDPOINT_URL_S3``), ``AWS_REGION``,
            ``DICOM_WORKFLOW_CA_BUNDLE`` and ``DICOM_WORKFLOW_TIMEOUT`` (seconds).

        Raises
        ------
        SettingsError
            A value cannot be used; the message names the variable or the file.
        """
        values = {**_read_env_file(env_file), **(os.environ if environ is None else environ)}
        given = {name: values.get(variable, "") for name, variable in _VARIABLES.items()}
        given["s3_url"] = given["s3_url"] or values.get("AWS_ENDPOINT_URL_S3", "")
        given["region"] = given["region"] or values.get("AWS_DEFAULT_REGION", "")
        typed: dict[str, Any] = {name: value for name, value in given.items() if value}
        typed |= {name: typed[name].rstrip("/") for name in _URLS if name in typed}
        typed |= {name: Secret(typed[name]) for name in _SECRETS if name in typed}
        try:
            typed["timeout_seconds"] = float(typed.get("timeout_seconds", 60))
        except ValueError:
            timeout = typed["timeout_seconds"]
            raise SettingsError(f"DICOM_WORKFLOW_TIMEOUT: expected a number of seconds, got {timeout!r}.") from None
        typed["workspace"] = _folder(typed.get("workspace", ""))
        return cls(**typed, groundtruth_database=DatabaseAddress.from_values(values))

    def to_environment(self) -> dict[str, str]:
        """Return the environment variables that `from_env` reads these settings from; secrets are in plain text there."""
        pairs = [(variable, getattr(self, name)) for name, variable in _VARIABLES.items()]
        database = self.groundtruth_database
        pairs += [(_database_variable(item.name), getattr(database, item.name)) for item in fields(database) if database]
        return {variable: value.reveal() if isinstance(value, Secret) else str(value) for variable, value in pairs}

    @property
    def names_archive(self) -> bool:
        """Whether these settings name an archive, instead of leaving it to the local one of the workspace."""
        return self.archive != "folder" and bool(self.archive_address)

    @property
    def archive_address(self) -> str:
        """The archive for people to read: its URL, or the folder of the embedded archive."""
        folder = str(self.workspace / "folder-archive")
        return {"orthanc": self.orthanc_url, "dicomweb": self.dicomweb_url}.get(self.archive, folder)

    def make_workspace(self) -> Path:
        """Make the workspace, if it is not there, for this user alone: what is kept in it names and shows patients.

        Raises
        ------
        SettingsError
            It is no folder, or this user may not write there.
        """
        try:
            self.workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = "it is not a folder" if self.workspace.exists() else error.strerror
        else:
            if os.access(self.workspace, os.W_OK | os.X_OK):
                return self.workspace
            reason = "this user may not write there"
        raise SettingsError(
            f"The workspace {self.workspace} cannot be used: {reason}. Set DICOM_WORKFLOW_WORKSPACE to a folder of your own."
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


_VARIABLES = {
    "workspace": "DICOM_WORKFLOW_WORKSPACE",
    "archive": "ARCHIVE",
    "orthanc_url": "ORTHANC_URL",
    "orthanc_user": "ORTHANC_USER",
    "orthanc_password": "ORTHANC_PASSWORD",
    "dicomweb_url": "DICOMWEB_URL",
    "dicomweb_user": "DICOMWEB_USER",
    "dicomweb_password": "DICOMWEB_PASSWORD",
    "dicomweb_token": "DICOMWEB_TOKEN",
    "dicomweb_auth": "DICOMWEB_AUTH",
    "groundtruth_url": "GROUNDTRUTH_URL",
    "groundtruth_access_key": "GROUNDTRUTH_ACCESS_KEY",
    "groundtruth_secret_key": "GROUNDTRUTH_SECRET_KEY",
    "deployment": "DICOM_WORKFLOW_DEPLOYMENT",
    "search_salt": "SEARCH_SALT",
    "search_token": "SEARCH_TOKEN",
    "search_oidc_issuer": "SEARCH_OIDC_ISSUER",
    "search_oidc_audience": "SEARCH_OIDC_AUDIENCE",
    "search_oidc_client_secret": "SEARCH_OIDC_CLIENT_SECRET",
    "s3_url": "S3_URL",
    "region": "AWS_REGION",
    "ca_bundle": "DICOM_WORKFLOW_CA_BUNDLE",
    "timeout_seconds": "DICOM_WORKFLOW_TIMEOUT",
}
"""Field → environment variable, for reading and for handing settings on to another process."""
_URLS = tuple(name for name in _VARIABLES if name.endswith("_url"))
_SECRETS = (
    "orthanc_password",
    "dicomweb_password",
    "dicomweb_token",
    "groundtruth_secret_key",
    "search_salt",
    "search_token",
    "search_oidc_client_secret",
)


def _folder(given: str) -> Path:
    try:
        return Path(given or "~/dicom-workflow").expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f"DICOM_WORKFLOW_WORKSPACE: {given or '~/dicom-workflow'!r} cannot be used: {error}.") from None


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
            raise SettingsError(f"{env_file}: there is no such file of NAME=value lines.")
        if path.is_symlink():
            raise SettingsError(f"{path.absolute()}: the file of settings is a link to {path.readlink()}, which is no file.")
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path.resolve()}: the file of settings cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without its mark is valid UTF-8, full of NUL characters
        raise SettingsError(f"{path.resolve()}: the file of settings is not UTF-8 text. Save it as UTF-8.")
    from dotenv.parser import parse_stream  # only a machine with a .env file needs it

    values = {}
    for line in parse_stream(StringIO(text)):
        if line.error:  # its text is not shown: it may hold a password
            number = line.original.line
            raise SettingsError(f"{path.resolve()}, line {number}: expected NAME=value, which this line is not. Correct it.")
        if line.key and line.value is not None:
            values[line.key] = line.value
    return values
