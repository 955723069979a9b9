"""How a deployment stands, and what notebooks need to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.stack_state import GOOD, READY, StackState, plain
from dicom_workflow.errors import DeployError, SettingsError
from dicom_workflow.storage import Storage, to_uri

HEADINGS = ("stack", "state", "since", "drift", "protected")

_HEADER = """\
# The values of a run on AWS, by notebook, for `dicom-workflow run --parameters FILE`: what `dicom-workflow status --write` took
# from the outputs of deployment {name} in {region}. Where Orthanc is and how to sign in is not in here: notebooks read it from
# the stacks and their secrets when DICOM_WORKFLOW_DEPLOYMENT={name} is set. What you change here stays when the file is
# written again, but for what the stacks say.
"""


@dataclass(frozen=True)
class Standing:
    """What is known of the stacks of a deployment."""

    states: Mapping[str, StackState | None]

    @property
    def half_deployed(self) -> list[str]:
        """Return, in words, every stack that is neither whole nor absent; one that an update left as it was before is whole."""
        found = []
        for state in self.states.values():
            if state and state.status not in (*READY, "DELETE_COMPLETE"):
                words = f"{state.name} is in {state.status}" + (f": {state.reason}" if state.reason else "")
                found.append(words + (" (CloudFormation is at work on it)" if state.is_busy else ""))
        return found

    @property
    def cautions(self) -> list[str]:
        """Return what is whole but not as it was last wanted."""
        return [
            f"{state.name}: its last update failed and was undone ({state.status})"
            for state in self.states.values()
            if state and state.status in READY and state.status not in GOOD
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """Return it for the table of `HEADINGS`."""
        return [self._row(stack, state) for stack, state in self.states.items()]

    def _row(self, stack: str, state: StackState | None) -> tuple[str, ...]:
        if state is None:
            return (stack, "not deployed", "", "", "")
        since = f"{state.since:%Y-%m-%d %H:%M}" if state.since else ""
        return (stack, state.status, since, state.drift.lower().replace("_", " "), "yes" if state.protected else "no")

    def to_json(self) -> dict[str, Any]:
        """Return the state and outputs of each stack."""
        return {
            stack: state and {"name": state.name, "status": state.status, "outputs": dict(state.outputs), "drift": state.drift}
            for stack, state in self.states.items()
        }


def read(deployment: Deployment) -> Standing:
    """Return how a deployment stands."""
    return Standing(deployment.states())


def drift(deployment: Deployment, standing: Standing) -> dict[str, list[tuple[str, ...]]]:
    """Have CloudFormation compare each stack with what is there, and return what differs: resource, type, how, properties."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for stack, state in standing.states.items():
        if state and state.status in READY:
            rows: list[tuple[str, ...]] = []
            for item in deployment.cloud.drift(state.name):
                # Values are not shown: CloudFormation masks some that are secret, and not others.
                paths = [plain(change["PropertyPath"]) for change in item.get("PropertyDifferences", ())]
                rows.append(
                    (item["LogicalResourceId"], item["ResourceType"], item["StackResourceDriftStatus"], ", ".join(paths))
                )
            found[stack] = rows
    return found


def notebook_values(outputs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the notebook parameters that the outputs of a deployment decide.

    Raises
    ------
    DeployError
        There is no labeling stack, without which no notebook after the first has a place to write to.
    """
    if "LabelingBucket" not in outputs:
        raise DeployError("expected the output LabelingBucket, found none. Deploy the labeling stack first.")
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


def write_notebook_parameters(deployment: Deployment, path: Path, template: Path) -> dict[str, dict[str, Any]]:
    """Write the parameters of the notebooks for a deployment, and return them.

    Parameters
    ----------
    deployment : Deployment
    path : Path
        A file that is there keeps what the stacks do not decide.
    template : Path
        The project's own ``aws.yaml``, for everything else.
    """
    base = path if path.is_file() else template
    try:
        values = yaml.safe_load(base.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{base}: expected a YAML file of parameters by notebook: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise SettingsError(f"{base}: expected notebook names with parameters below each.")
    for step, changed in notebook_values(deployment.outputs()).items():
        values[step] = {**values.get(step, {}), **changed}
    header = _HEADER.format(name=deployment.name, region=deployment.cloud.region)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=200)
    Storage().write_text(to_uri(path), header + text)
    return values
