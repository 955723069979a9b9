"""Code goes to a bucket of this account and to no other, whoever has its name by now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from dicom_workflow.aws.stacks import artifacts
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.deploy import PlanExecutor, Request
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import ParameterOverrides
from dicom_workflow.errors import DeployError
from dicom_workflow.settings import Settings

ACCOUNT = "123456789012"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormationClient]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    found = CloudFormationClient(boto3.Session(region_name="us-east-1"))
    with Stubber(found.client("sts")) as who:
        who.add_response("get_caller_identity", {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/me", "UserId": "me"})
        yield found


def test_a_bucket_of_ones_own_is_asked_for_by_account(cloud: CloudFormationClient) -> None:
    with Stubber(cloud.client("s3")) as s3:
        s3.add_response("head_bucket", {}, {"Bucket": "code", "ExpectedBucketOwner": ACCOUNT})
        artifacts.check_owner(cloud, "code")
        s3.assert_no_pending_responses()


@pytest.mark.parametrize("code", ["403", "404"])
def test_nothing_is_sent_to_a_bucket_that_a_stranger_has_by_now(cloud: CloudFormationClient, code: str, tmp_path: Path) -> None:
    """Neither code nor a template too long for a request, which CloudFormation would take from there."""
    path = tmp_path / "long.yaml"
    path.write_text("# long\n" * 8000 + "Resources: {Bucket: {Type: AWS::S3::Bucket}}\n")
    (tmp_path / "network.yaml").write_text(path.read_text())
    deployment = Deployment("clinic", cloud, print, folder=tmp_path)
    executor = PlanExecutor(
        deployment, Request(Settings.from_env(), overrides=ParameterOverrides({"ArtifactsBucket": "code"})), [], {}
    )
    with Stubber(cloud.client("s3")) as s3:  # whatever else is asked of S3 is an error of its own
        s3.add_client_error("head_bucket", code, http_status_code=int(code))
        with pytest.raises(DeployError, match=rf"s3://code is not a bucket of account {ACCOUNT} that you may use \({code}\)"):
            executor._template_url("network")
