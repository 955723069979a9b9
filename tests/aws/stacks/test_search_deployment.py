"""What `deploy` and `destroy` do for the search stack alone: before it, after it, and with what it leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto import mock_aws
from test_deployment_dry_run import ARTIFACTS, planned

from dicom_workflow.aws.stacks import destroy, preflight, smoke
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.plan import Plan
from dicom_workflow.aws.stacks.stack_state import StackState

REGION = "us-east-1"


@pytest.fixture
def cloud() -> Iterator[CloudFormationClient]:
    with mock_aws():
        yield CloudFormationClient(boto3.Session(region_name=REGION))


@pytest.mark.parametrize(("store", "needed"), [("LanceDB", False), ("Aurora", False), ("OpenSearch", True)])
def test_the_role_that_a_domain_needs_is_asked_for_before_anything_is_made(
    store: str, needed: bool, cloud: CloudFormationClient
) -> None:
    found = [one for one in planned(artifacts=ARTIFACTS, SearchStore=store).stacks if one.stack == "search"]

    def problems() -> list[str]:
        return [text for text in preflight.check_account(cloud, Plan(tuple(found)))[0] if "service-linked-role" in text]

    assert bool(problems()) is needed
    if needed:
        [said] = problems()
        assert said.endswith("aws iam create-service-linked-role --aws-service-name opensearchservice.amazonaws.com")
    # moto would give a role made by create_service_linked_role another name.
    cloud.client("iam").create_role(RoleName="AWSServiceRoleForAmazonOpenSearchService", AssumeRolePolicyDocument="{}")
    assert problems() == []


class Search(BaseHTTPRequestHandler):
    """Healthy, and closed to those without a token."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Search) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_service_is_asked_after_its_deployment_and_failed_files_are_told(
    cloud: CloudFormationClient, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CloudFormationClient, "resources", lambda self, stack: [])
    sqs = boto3.client("sqs", region_name=REGION)
    queue = sqs.create_queue(QueueName="failed")["QueueUrl"]
    outputs = {"SearchUrl": service, "SearchDeadLettersUrl": queue}
    state = StackState("search", "search", "CREATE_COMPLETE", "", None, outputs, (), True, {})
    with monkeypatch.context() as patch:
        patch.setattr(smoke, "TIMEOUT_SECONDS", 5.0)
        assert [result.outcome for result in smoke.check(cloud, "search", state)] == [smoke.OK] * 3
        sqs.send_message(QueueUrl=queue, MessageBody="images/broken.dcm")
        failed, *others = smoke.check(cloud, "search", state)
    assert (failed.outcome, failed.detail) == (smoke.FAILED, f"1 in {queue}")
    assert [result.outcome for result in others] == [smoke.OK] * 2


def test_a_domain_that_was_left_is_deleted_when_asked(cloud: CloudFormationClient) -> None:
    opensearch = cloud.client("opensearch")
    opensearch.create_domain(DomainName="search")
    delete = destroy.DELETERS["AWS::OpenSearchService::Domain"]
    assert delete(cloud.client, "search") == "is being deleted"
    assert opensearch.list_domain_names()["DomainNames"] == []
    assert delete(cloud.client, "search") == destroy.ALREADY_DELETED
