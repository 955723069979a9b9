"""Settings of a deployment on AWS: addresses from the outputs of its stacks, passwords from Secrets Manager."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Secret, Settings

_ARCHIVE = ("archive", "orthanc_url", "orthanc_user", "orthanc_password")
_LABELING = ("groundtruth_url", "groundtruth_access_key", "groundtruth_secret_key")


def complete(settings: Settings, *, session: Any = None) -> Settings:
    """Return settings with what they leave open read from the stacks of the deployment that they name.

    What the environment names itself comes first. Settings without a deployment are returned as they are.

    Parameters
    ----------
    settings : Settings
        `deployment` is the name that was given to ``dicom-workflow deploy --name``.
    session : boto3 Session, optional
        One with the environment's credentials and the region of the settings when not given.

    Raises
    ------
    SettingsError
        See `read`.
    """
    has_archive = settings.names_archive or settings.archive != "orthanc"
    has_labeling = settings.groundtruth_url == "aws" or bool(settings.groundtruth_url and settings.groundtruth_access_key)
    if not settings.deployment or (has_archive and has_labeling):
        return settings
    stack = read(settings.deployment, session=session, base=settings)
    names: tuple[str, ...] = () if has_archive else _ARCHIVE
    if settings.groundtruth_url in ("", stack.groundtruth_url) and not has_labeling:
        names += _LABELING
    return settings.with_(region=stack.region, **{name: getattr(stack, name) for name in names})


def read(name: str, *, session: Any = None, base: Settings | None = None) -> Settings:
    """Return the settings that the stacks of a deployment give.

    Parameters
    ----------
    name : str
        Of the deployment; its archive and labeling stacks are read.
    session : boto3 Session, optional
        One with the environment's credentials and the region of `base` when not given.
    base : Settings, optional
        For what stacks do not say: the workspace, the timeout, certificates. Those of the environment when not given.

    Raises
    ------
    SettingsError
        A stack, an output or a secret is missing or cannot be read; the message names it.
    """
    base = base or Settings.from_env()
    session = session or _session(base.region)
    archive, labeling = _outputs(session, f"{name}-archive"), _outputs(session, f"{name}-labeling")
    if archive.get("HealthImagingDatastoreId") and not archive.get("OrthancUrl"):
        raise SettingsError(
            f"Stack {name}-archive has no output OrthancUrl: its archive is a HealthImaging data store, which is reached with "
            "DICOMweb and not with these settings."
        )
    orthanc = _secret(session, _output(archive, f"{name}-archive", "OrthancSecretArn"), ("username", "password"))
    groundtruth_url = _output(labeling, f"{name}-labeling", "GroundTruthUrl")
    keys = {"access_key": "", "secret_key": ""}
    if groundtruth_url != "aws":
        keys = _secret(session, _output(labeling, f"{name}-labeling", "GroundTruthSecretArn"), tuple(keys))
    return base.with_(
        archive="orthanc",
        orthanc_url=_output(archive, f"{name}-archive", "OrthancUrl").rstrip("/"),
        orthanc_user=orthanc["username"],
        orthanc_password=Secret(orthanc["password"]),
        groundtruth_url=groundtruth_url.rstrip("/"),
        groundtruth_access_key=keys["access_key"],
        groundtruth_secret_key=Secret(keys["secret_key"]),
        region=session.region_name,
    )


def _session(region: str) -> Any:
    import boto3  # a laptop without a deployment never loads it

    return boto3.Session(region_name=region)


def _outputs(session: Any, stack: str) -> dict[str, str]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            raise SettingsError(
                f"There is no stack {stack} in {session.region_name}. Deploy it with `dicom-workflow deploy`, or list the "
                "stacks with `dicom-workflow status`."
            ) from None
        raise SettingsError(f"Stack {stack}: AWS answered {error.response.get('Error', {}).get('Code')}.") from error
    except BotoCoreError as error:
        raise SettingsError(f"Stack {stack}: AWS could not be reached: {error}") from error
    return {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", ())}


def _output(outputs: Mapping[str, str], stack: str, name: str) -> str:
    if not outputs.get(name):
        raise SettingsError(f"Stack {stack} has no output {name}; it may be half deployed. Deploy it again.")
    return outputs[name]


def _secret(session: Any, arn: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the named texts of a secret, which is a JSON object; no message repeats its content."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        text = session.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
        return {name: str(json.loads(text)[name]) for name in names}
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        raise SettingsError(f"Secret {arn}: AWS answered {code}. Check that this role may read it and use its key.") from None
    except BotoCoreError as error:
        raise SettingsError(f"Secret {arn}: AWS could not be reached: {error}") from error
    except (KeyError, TypeError, ValueError):
        raise SettingsError(f"Secret {arn}: expected JSON with {' and '.join(names)}, got something else.") from None
