"""A log group that outlived its stack is found before the next one stumbles over its name."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from support.cloudformation import REGION, CloudFormation
from support.deployments import Clinic

from dicom_workflow.errors import DeployError

GROUP = """
  Log:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub "/aws/rds/cluster/${AWS::StackName}/postgresql"}
"""
NAME = "/aws/rds/cluster/clinic-network/postgresql"


def with_a_log(clinic: Clinic) -> None:
    path = clinic.deployment.folder / "network.yaml"
    path.write_text(path.read_text().replace("\nResources:\n", f"\nResources:{GROUP}", 1))


def test_a_log_group_in_the_way_is_named_before_anything_is_made(clinic: Clinic, cloudformation: CloudFormation) -> None:
    with_a_log(clinic)
    logs = boto3.client("logs", region_name=REGION)
    logs.create_log_group(logGroupName=NAME + "-of-another")
    logs.create_log_group(logGroupName=NAME)
    try:
        with pytest.raises(DeployError, match=f"delete-log-group --region {REGION} --log-group-name {NAME}$"):
            clinic.deploy("foundation", "network")
        assert cloudformation.names("ExecuteChangeSet") == []
    finally:
        logs.delete_log_group(logGroupName=NAME)
        logs.delete_log_group(logGroupName=NAME + "-of-another")
    assert clinic.deploy("foundation", "network")["stacks"]["network"] == "created"


def test_the_log_group_of_the_stack_itself_is_in_nobodys_way(
    clinic: Clinic, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_log(clinic)
    clinic.deploy("foundation", "network")
    resources = clinic.deployment.cloud.resources

    def named(stack: str) -> list[dict[str, Any]]:  # the small CloudFormation makes up names, AWS takes the one that is given
        given = {"Log": {"PhysicalResourceId": NAME}}
        return [{**item, **given.get(item["LogicalResourceId"], {})} for item in resources(stack)]

    monkeypatch.setattr(clinic.deployment.cloud, "resources", named)
    logs = boto3.client("logs", region_name=REGION)
    logs.create_log_group(logGroupName=NAME)
    try:
        assert clinic.deploy("foundation", "network")["stacks"]["network"] == "unchanged"
    finally:
        logs.delete_log_group(logGroupName=NAME)
