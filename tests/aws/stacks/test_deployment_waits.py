"""CloudFormation is waited for from its true beginning to its end; and what is done without being shown costs no data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from support.cloudformation import REGION, CloudFormation
from support.cloudformation_query import RefusedError
from support.deployments import Clinic

from dicom_workflow.aws.stacks import destroy, wait
from dicom_workflow.aws.stacks.stack_state import Event
from dicom_workflow.errors import DeployError


def event(name: str, status: str) -> Event:
    return Event("1", datetime(2026, 11, 21, tzinfo=UTC), name, "", "AWS::RDS::DBCluster", status, "")


def test_an_end_is_not_taken_from_before_the_beginning(
    clinic: Clinic, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFormation begins between the look at the stack and the look at its events: the state is that from before."""
    clinic.deploy()
    execute, describe = cloudformation._ExecuteChangeSet, cloudformation._DescribeStackEvents
    accepted: list[dict[str, Any]] = []

    def late(**asked: Any) -> Any:
        while accepted:
            execute(**accepted.pop())
        return describe(**asked)

    monkeypatch.setattr(cloudformation, "_ExecuteChangeSet", lambda **asked: accepted.append(asked))
    monkeypatch.setattr(cloudformation, "_DescribeStackEvents", late)
    cloudformation.fails["Database"] = "no capacity"
    with pytest.raises(DeployError, match="no capacity"):
        clinic.deploy("archive", Capacity="2")


def test_what_never_begins_is_not_waited_for_without_end(
    clinic: Clinic, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "START_TIMEOUT_SECONDS", -1.0)
    monkeypatch.setattr(cloudformation, "_ExecuteChangeSet", lambda **asked: None)
    with pytest.raises(DeployError, match="CloudFormation accepted the operation but did not start it"):
        clinic.deploy("foundation")


def test_out_of_reach_in_the_middle_it_says_that_the_stack_comes_up_all_the_same(
    clinic: Clinic, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expired(**asked: Any) -> None:
        raise RefusedError("ExpiredToken", "The security token included in the request is expired")

    def execute(**asked: Any) -> None:
        monkeypatch.setattr(cloudformation, "_DescribeStackEvents", expired)
        begun(**asked)

    begun = cloudformation._ExecuteChangeSet
    with monkeypatch.context() as patch:
        patch.setattr(cloudformation, "_ExecuteChangeSet", execute)
        with pytest.raises(DeployError, match=r"ExpiredToken.* CloudFormation continues without this command"):
            clinic.deploy("foundation")
    monkeypatch.delattr(cloudformation, "_DescribeStackEvents")
    assert clinic.deploy("foundation")["stacks"] == {"foundation": "unchanged"}


def test_a_long_silence_is_broken_by_what_is_waited_for(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    told = wait.Progress(clinic.deployment, "clinic-archive")
    told.event(event("Database", "CREATE_IN_PROGRESS"))
    told.event(event("Bucket", "CREATE_COMPLETE"))
    told.print_if_quiet()
    assert len(clinic.messages) == 1, "nothing that it goes on as long as lines come"
    monkeypatch.setattr(wait, "QUIET_SECONDS", -1.0)
    told.print_if_quiet()
    assert clinic.messages[1].endswith("clinic-archive 1 done, 1 in progress: Database")


def test_events_that_are_known_are_not_read_again(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    cloud = clinic.deployment.cloud
    stack = cloud.expect("clinic-archive")
    every = cloud.events(stack.id)
    assert len(every) > 14, "more than two pages of the tests' CloudFormation"
    before = len(cloudformation.names("DescribeStackEvents"))
    assert cloud.events(stack.id, known={item.id for item in every[:-1]}) == every[-1:]
    assert len(cloudformation.names("DescribeStackEvents")) == before + 1
    assert cloud.events(stack.id, known={every[0].id}) == every[1:], "what came late is found on the page of a known one"


# ---- removal ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["True", "Conditional"])
def test_lifting_protection_replaces_no_data(clinic: Clinic, cloudformation: CloudFormation, kind: str) -> None:
    """Its change set is shown to nobody. A parameter that AWS looks up may have another value than when the stack was made."""
    clinic.deploy()
    cloudformation.replaced["Database"] = kind
    before = len(cloudformation.names("ExecuteChangeSet"))
    found = destroy.inventory(clinic.deployment)
    with pytest.raises(DeployError, match=r"deletion protection cannot be disabled \((MAY )?REPLACES? DATA: Database"):
        destroy.delete_stacks(clinic.deployment, found)
    assert len(cloudformation.names("ExecuteChangeSet")) == before
    assert clinic.status("archive") == "CREATE_COMPLETE"
    assert not cloudformation.change_sets
    [archive] = [stack for stack in cloudformation.stacks.values() if stack.name == "clinic-archive"]
    assert (archive.protected, archive.values["ProtectData"]) == (True, "true")


def test_what_somebody_removed_meanwhile_is_passed_over(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    found = destroy.inventory(clinic.deployment)
    destroy.delete_stacks(clinic.deployment, found)
    asked = len(cloudformation.names("DeleteStack"))
    destroy.delete_stacks(clinic.deployment, found)
    assert len(cloudformation.names("DeleteStack")) == asked


def test_unfinished_uploads_of_every_page_go() -> None:
    s3 = boto3.client("s3", region_name=REGION)
    bucket = {"Bucket": "pixels"}
    with Stubber(s3) as asked:
        asked.add_response("list_object_versions", {"IsTruncated": False}, bucket)
        for number, markers in ((1, {}), (2, {"KeyMarker": "image", "UploadIdMarker": "1"})):
            more = {"IsTruncated": number == 1, "NextKeyMarker": "image", "NextUploadIdMarker": "1"}
            uploads = [{"Key": "image", "UploadId": str(number)}]
            asked.add_response("list_multipart_uploads", {**more, "Uploads": uploads}, {**bucket, **markers})
            asked.add_response("abort_multipart_upload", {}, {**bucket, "Key": "image", "UploadId": str(number)})
        asked.add_response("delete_bucket", {}, bucket)
        assert destroy.DELETERS["AWS::S3::Bucket"](lambda service: s3, "pixels").startswith("deleted")
        asked.assert_no_pending_responses()


def test_snapshots_of_every_page_go() -> None:
    rds = boto3.client("rds", region_name=REGION)
    with Stubber(rds) as asked:
        asked.add_client_error("describe_db_clusters", "DBClusterNotFoundFault")
        wanted = {"DBClusterIdentifier": "index", "SnapshotType": "manual"}
        for number, marker, following in (("1", {}, {"Marker": "next"}), ("2", {"Marker": "next"}, {})):
            found = {"DBClusterSnapshots": [{"DBClusterSnapshotIdentifier": number}], **following}
            asked.add_response("describe_db_cluster_snapshots", found, {**wanted, **marker})
        for number in ("1", "2"):
            asked.add_response("delete_db_cluster_snapshot", {}, {"DBClusterSnapshotIdentifier": number})
        deleted = destroy.DELETERS["AWS::RDS::DBCluster"](lambda service: rds, "index")
        assert deleted == "snapshot 1 deleted, snapshot 2 deleted"
        asked.assert_no_pending_responses()
