"""One frozen Settings: where the archive, the objects and the labeling service are, and how to sign in.

Settings flow one way: environment or ``.env`` file → `Settings` → function argument. No other module reads ``os.environ``.
"""

from __future__ import annotations

import json
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
    means "the local service of this workspace", which `dicom_workflow.pipeline.local_services.attach` finds or starts.
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
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, env_file: Path | None = None, follow: bool = True
    ) -> Settings:
        """Return the settings of this environment.

        Parameters
        ----------
        environ : Mapping[str, str], optional
            Variables to read; those of the process when not given.
        env_file : Path, optional
            A ``.env`` file whose values hold where the environment has none. When not given, ``.env`` in the current
            folder is read if it is there.
        follow : bool
            Take what is not said from the stacks of the deployment that ``DICOM_WORKFLOW_DEPLOYMENT`` names, see `from_stack`.

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
        found = cls._from_values(values)
        deployment = values.get("DICOM_WORKFLOW_DEPLOYMENT", "")
        return _over_stack(found, deployment) if deployment and follow else found

    @classmethod
    def _from_values(cls, values: Mapping[str, str]) -> Settings:
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

    @classmethod
    def from_stack(cls, name: str, *, session: Any = None, workspace: Path | None = None) -> Settings:
        """Return the settings of a deployment on AWS: addresses from its stacks' outputs, passwords from its secrets.

        What stacks do not say (the timeout, certificate authorities of one's own) is read from the environment.

        Parameters
        ----------
        name : str
            Of the deployment, as given to ``dicom-workflow deploy --name``; its archive and labeling stacks are read.
        session : boto3 Session, optional
            One of the environment's credentials and region when not given.
        workspace : Path, optional
            That of the environment when not given.

        Raises
        ------
        SettingsError
            A stack, an output or a secret is missing or cannot be read; the message names it.
        """
        base = cls.from_env(follow=False)
        if workspace is not None:
            base = base.with_(workspace=workspace)
        session = session or _session(base.region)
        archive, labeling = _outputs(session, f"{name}-archive"), _outputs(session, f"{name}-labeling")
        if archive.get("HealthImagingDatastoreId") and not archive.get("OrthancUrl"):
            raise SettingsError(
                f"stack {name}-archive: expected an output OrthancUrl, got a HealthImaging data store: images are "
                "reached there with DICOMweb, not with these settings."
            )
        orthanc = _secret(session, _output(archive, f"{name}-archive", "OrthancSecretArn"), ("username", "password"))
        place = _output(labeling, f"{name}-labeling", "GroundTruthUrl")
        keys = {"access_key": "", "secret_key": ""}
        if place != "aws":
            keys = _secret(session, _output(labeling, f"{name}-labeling", "GroundTruthSecretArn"), tuple(keys))
        return base.with_(
            archive="orthanc",
            orthanc_url=_output(archive, f"{name}-archive", "OrthancUrl").rstrip("/"),
            orthanc_user=orthanc["username"],
            orthanc_password=Secret(orthanc["password"]),
            groundtruth_url=place.rstrip("/"),
            groundtruth_access_key=keys["access_key"],
            groundtruth_secret_key=Secret(keys["secret_key"]),
            region=session.region_name,
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


def _over_stack(found: Settings, deployment: str) -> Settings:
    """The settings of a deployment, with what the environment says of each service before what its stacks say."""
    names: tuple[str, ...] = ()
    if found.orthanc_url or found.archive == "folder":
        names += ("archive", "orthanc_url", "orthanc_user", "orthanc_password")
    if found.groundtruth_url:
        names += ("groundtruth_url", "groundtruth_access_key", "groundtruth_secret_key")
    if len(names) == 7:
        return found
    stack = Settings.from_stack(deployment, session=_session(found.region), workspace=found.workspace)
    own = ("s3_url", "ca_bundle", "timeout_seconds", *names)
    return stack.with_(**{name: getattr(found, name) for name in own})


def _session(region: str) -> Any:
    import boto3  # only who asks AWS needs it

    return boto3.Session(region_name=region)


def _outputs(session: Any, stack: str) -> dict[str, str]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        said = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            way = "Deploy it with `dicom-workflow deploy`, or look at `dicom-workflow status`."
            raise SettingsError(f"stack {stack}: expected a stack in {session.region_name}, found none. {way}") from None
        raise SettingsError(f"stack {stack}: AWS answered {error.response.get('Error', {}).get('Code')}.") from error
    except BotoCoreError as error:
        raise SettingsError(f"stack {stack}: AWS could not be asked: {error}") from error
    return {item["OutputKey"]: item["OutputValue"] for item in said.get("Outputs", ())}


def _output(outputs: Mapping[str, str], stack: str, name: str) -> str:
    if not outputs.get(name):
        raise SettingsError(f"stack {stack}: expected an output {name}, found none. Deploy it again; it may be half deployed.")
    return outputs[name]


def _secret(session: Any, arn: str, names: tuple[str, ...]) -> dict[str, str]:
    """The named texts of a secret, which is a JSON object; no message repeats what is in it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = session.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
        found = {name: str(json.loads(text)[name]) for name in names}
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        raise SettingsError(f"secret {arn}: AWS answered {code}. May this role read it, and use its key?") from None
    except BotoCoreError as error:
        raise SettingsError(f"secret {arn}: AWS could not be asked: {error}") from error
    except (KeyError, TypeError, ValueError):
        raise SettingsError(f"secret {arn}: expected JSON with {' and '.join(names)}, got something else.") from None
    return found


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
