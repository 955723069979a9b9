"""Settings and notebook parameters of a deployment: addresses from its stacks' outputs, passwords from Secrets Manager."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dicom_workflow.errors import DeployError, SettingsError
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.storage import Storage, to_uri

DEFAULT_NAME = "dicom-workflow"
"""Name of a deployment when none is given."""

_ARCHIVE = ("archive", "orthanc_url", "orthanc_user", "orthanc_password")
_LABELING = ("groundtruth_url", "groundtruth_access_key", "groundtruth_secret_key")


def complete(settings: Settings, *, session: Any = None) -> Settings:
    """Return settings completed with values from the stacks of the deployment that they name.

    Values from the environment take precedence. Settings without a deployment are returned unchanged.

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
    """Return named strings of a secret, which is a JSON object; no error message repeats its content."""
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
        raise SettingsError(
            f"Secret {arn}: expected a JSON object with {' and '.join(names)}. Its content is not shown."
        ) from None


_HEADER = """\
# Parameters of the notebooks for a run on AWS with `dicom-workflow run --parameters FILE`, written by `dicom-workflow status
# --write` from the outputs of deployment {name} in {region}. The address and credentials of Orthanc are not in this file:
# notebooks read them from the stacks and their secrets when DICOM_WORKFLOW_DEPLOYMENT={name} is set. When the file is written
# again, your changes are kept, except for values that come from the stacks.
"""


def notebook_values(outputs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the notebook parameters that follow from the outputs of a deployment.

    Raises
    ------
    DeployError
        There is no labeling stack, whose bucket all notebooks but the first write to.
    """
    if "LabelingBucket" not in outputs:
        raise DeployError("The deployment has no output LabelingBucket. Deploy the labeling stack first.")
    bucket = f"s3://{outputs['LabelingBucket']}"
    jobs = outputs.get("JobsUri", f"{bucket}/jobs")
    by_ground_truth = outputs.get("GroundTruthUrl", "aws") == "aws"
    arns = {
        "workteam_arn": "WorkteamArn",
        "role_arn": "LabelingRoleArn",
        "pre_annotation_arn": "PreAnnotationArn",
        "post_annotation_arn": "PostAnnotationArn",
    }
    values: dict[str, dict[str, Any]] = {
        "01_upload_to_orthanc": {"copies_folder": outputs.get("ImagesUri", f"{bucket}/images")},
        "02_create_manifest": {"by": "source-ref", "output_folder": f"{jobs}/labeling"},
        "03_run_labeling_job": {
            "labeling_at": outputs.get("GroundTruthUrl", "aws"),
            "simulated_readers": 0,
            "output_folder": f"{jobs}/labeling",
            **{name: outputs.get(output, "") if by_ground_truth else "" for name, output in arns.items()},
        },
        "04_parse_output_manifest": {"output_folder": f"{jobs}/training"},
    }
    if "TrainingBucket" in outputs:
        training = f"s3://{outputs['TrainingBucket']}"
        values["06_train_densenet"] = {
            "train_on": "sagemaker",
            "role_arn": outputs.get("TrainingRoleArn", ""),
            "channel_uri": outputs.get("ChannelUri", f"{training}/channel"),
            "model_uri": outputs.get("ModelsUri", f"{training}/models"),
        }
    else:
        values["06_train_densenet"] = {"train_on": "local", "role_arn": "", "channel_uri": "", "model_uri": ""}
    return values


def write_notebook_parameters(
    path: Path, outputs: Mapping[str, str], *, template: Path, name: str, region: str
) -> dict[str, dict[str, Any]]:
    """Write the parameters of the notebooks for a deployment, and return them.

    Parameters
    ----------
    path : Path
        Values of an existing file are kept, except for those that follow from the outputs.
    outputs : mapping
        Outputs of all stacks.
    template : Path
        The project's own ``aws.yaml``, used when `path` does not exist.
    name : str
        Name of the deployment.
    region : str

    Raises
    ------
    DeployError
        See `notebook_values`.
    SettingsError
        The existing file is not a YAML file of notebook parameters.
    """
    base = path if path.is_file() else template
    try:
        values = yaml.safe_load(base.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{base} is not a YAML file of notebook parameters: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise SettingsError(f"{base}: expected notebook names, each with its parameters.")
    for step, changed in notebook_values(outputs).items():
        values[step] = {**values.get(step, {}), **changed}
    header = _HEADER.format(name=name, region=region)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=200)
    Storage().write_text(to_uri(path), header + text)
    return values
