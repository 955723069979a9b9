"""The notebook stack: what each kind is, what it may stop, and that Studio's outputs stay where they are."""

from __future__ import annotations

from typing import Any

import pytest
from support.stack_evaluator import ACCOUNT, Evaluation
from support.templates import GIVEN, REGION, template

NAME = "dicom-workflow-notebook"
GIVEN_HERE = {
    "KeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0",
    "ArtifactsBucket": "artifacts",
    "VpcId": "vpc-0a",
    "PrivateSubnetIds": "subnet-0a,subnet-0b",
    "LabelingBucket": "labeling",
    "TrainingBucket": "training",
    "TrainingRoleArn": f"arn:aws:iam::{ACCOUNT}:role/training",
    "WheelsPrefix": GIVEN["WheelsPrefix"],
    "NotebooksKey": "notebooks-0123.zip",
    "ArchiveClientSecurityGroupId": "sg-0a",
}


def stack(**chosen: str) -> Evaluation:
    return Evaluation(template("notebook"), GIVEN_HERE | chosen, NAME)


def properties(trial: Evaluation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = trial.resources[name]["Properties"]
    return found


def statements(trial: Evaluation) -> dict[str, dict[str, Any]]:
    policies = properties(trial, "NotebookRole")["Policies"]
    return {entry["Sid"]: entry for policy in policies for entry in policy["PolicyDocument"]["Statement"]}


def test_an_instance_has_no_root_no_internet_and_no_old_metadata_unless_told() -> None:
    notebook = properties(stack(), "Notebook")
    assert notebook["RootAccess"] == "Disabled"
    assert notebook["DirectInternetAccess"] == "Disabled"
    assert notebook["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "2"}
    assert notebook["KmsKeyId"] == GIVEN_HERE["KeyArn"]
    assert "sg-0a" in notebook["SecurityGroupIds"]
    assert properties(stack(DirectInternetAccess="Enabled"), "Notebook")["DirectInternetAccess"] == "Enabled"


def test_an_instance_may_stop_itself_and_no_other() -> None:
    trial = stack()
    name = properties(trial, "Notebook")["NotebookInstanceName"]
    assert statements(trial)["StopItself"]["Resource"] == [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:notebook-instance/{name}"]
    assert f"INSTANCE_NAME='{NAME}'" in properties(trial, "NotebookStart")["OnStart"][0]["Content"]


def test_each_kind_makes_its_own_and_nothing_of_the_other() -> None:
    instance, studio = stack(), stack(NotebookKind="Studio")
    assert instance.resources.keys() - studio.resources.keys() == {"NotebookStart", "Notebook"}
    assert all(name.startswith("Studio") for name in studio.resources.keys() - instance.resources.keys())
    assert "StudioDomainId" in studio.outputs.keys() - instance.outputs.keys()


def test_studio_stays_in_the_vpc_and_keeps_outputs_to_itself() -> None:
    domain = properties(stack(NotebookKind="Studio"), "StudioDomain")
    assert domain["AppNetworkAccessType"] == "VpcOnly"
    assert domain["DefaultUserSettings"]["SharingSettings"] == {"NotebookOutputOption": "Disabled"}
    assert domain["DomainSettings"]["DockerSettings"] == {"EnableDockerAccess": "DISABLED"}
    space = properties(stack(NotebookKind="Studio"), "StudioSpace")
    assert space["SpaceSharingSettings"] == {"SharingType": "Private"}


@pytest.mark.parametrize(
    ("minutes", "wanted"),
    [
        ("0", {"LifecycleManagement": "DISABLED"}),
        ("90", {"LifecycleManagement": "ENABLED", "IdleTimeoutInMinutes": "90"}),
    ],
)
def test_studio_stops_by_itself_when_told(minutes: str, wanted: dict[str, str]) -> None:
    domain = properties(stack(NotebookKind="Studio", IdleMinutes=minutes), "StudioDomain")
    assert domain["DefaultUserSettings"]["JupyterLabAppSettings"]["AppLifecycleManagement"]["IdleSettings"] == wanted


def test_an_idle_time_that_studio_does_not_take_is_refused() -> None:
    assert stack(NotebookKind="Studio", IdleMinutes="30").refused()
    assert not stack(NotebookKind="Studio", IdleMinutes="60").refused()
    assert not stack(NotebookKind="Instance", IdleMinutes="30").refused()


def test_a_role_is_given_to_jobs_only_where_there_is_one_and_no_secret_is_read_where_there_is_none() -> None:
    bare = statements(stack())
    assert bare["GiveJobsTheirRoles"]["Resource"] == [GIVEN_HERE["TrainingRoleArn"]]
    assert "SignInToArchiveAndLabeling" not in bare
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:archive-AbCdEf"
    whole = statements(stack(LabelingRoleArn=f"arn:aws:iam::{ACCOUNT}:role/labeling", OrthancSecretArn=secret))
    assert len(whole["GiveJobsTheirRoles"]["Resource"]) == 2
    assert whole["SignInToArchiveAndLabeling"]["Resource"] == [secret]
