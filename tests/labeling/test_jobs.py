"""A labeling job is held to every limit before it is sent, and what is sent and answered is exactly CreateLabelingJob's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dicom_workflow.errors import JobParametersError, LabelingError, NotFoundError, ServiceError, SettingsError
from dicom_workflow.labeling import jobs, workteams
from dicom_workflow.labeling.client import client
from dicom_workflow.labeling.jobs import JobState, LabelingJob
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.storage import Storage

ACCOUNT = "111122223333"
JOB = LabelingJob(
    name="chest-1",
    manifest_uri="s3://sagemaker-b/in/input.manifest",
    output_uri="s3://sagemaker-b/out",
    template_uri="s3://sagemaker-b/in/radiograph.liquid.html",
    workteam_arn=f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:workteam/private-crowd/readers",
    role_arn=f"arn:aws:iam::{ACCOUNT}:role/service-role/labeling",
    pre_annotation_arn=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:SageMaker-pre",
    post_annotation_arn=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:SageMaker-post",
)
ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:labeling-job/chest-1"


def client_of(url: str) -> Any:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    return boto3.client("sagemaker", region_name="us-east-1", endpoint_url=url, **keys)


@pytest.fixture
def sagemaker() -> Any:
    return client_of("https://api.sagemaker.us-east-1.amazonaws.com")


@pytest.fixture
def stub(sagemaker: Any) -> Iterator[Stubber]:
    with Stubber(sagemaker) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def described(status: str, labeled: int = 0, unlabeled: int = 0, failed: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "LabelingJobStatus": status,
        "LabelCounters": {
            "TotalLabeled": labeled,
            "HumanLabeled": labeled,
            "MachineLabeled": 0,
            "FailedNonRetryableError": failed,
            "Unlabeled": unlabeled,
        },
        "CreationTime": 0,
        "LastModifiedTime": 0,
        "JobReferenceCode": "r",
        "LabelingJobName": "chest-1",
        "LabelingJobArn": ARN,
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": JOB.manifest_uri}}},
        "OutputConfig": {"S3OutputPath": "s3://sagemaker-b/out/"},
        "RoleArn": JOB.role_arn,
        "HumanTaskConfig": JOB.to_request()["HumanTaskConfig"],
        **more,
    }


def test_exactly_this_is_sent(sagemaker: Any, stub: Stubber) -> None:
    expected = {
        "LabelingJobName": "chest-1",
        "LabelAttributeName": "findings",
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": "s3://sagemaker-b/in/input.manifest"}}},
        "OutputConfig": {"S3OutputPath": "s3://sagemaker-b/out/", "KmsKeyId": "alias/k"},
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/service-role/labeling",
        "StoppingConditions": {"MaxPercentageOfInputDatasetLabeled": 100},
        "LabelCategoryConfigS3Uri": "s3://sagemaker-b/in/labels.json",
        "HumanTaskConfig": {
            "WorkteamArn": JOB.workteam_arn,
            "UiConfig": {"UiTemplateS3Uri": "s3://sagemaker-b/in/radiograph.liquid.html"},
            "PreHumanTaskLambdaArn": JOB.pre_annotation_arn,
            "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": JOB.post_annotation_arn},
            "TaskKeywords": ["chest x ray"],
            "TaskTitle": "Label images",
            "TaskDescription": "Say for each label whether the image shows it, and mark where.",
            "NumberOfHumanWorkersPerDataObject": 3,
            "TaskTimeLimitInSeconds": 1800,
            "TaskAvailabilityLifetimeInSeconds": 864000,
            "MaxConcurrentTaskCount": 1000,
        },
        "Tags": [{"Key": "project", "Value": "chest"}],
    }
    stub.add_response("create_labeling_job", {"LabelingJobArn": ARN}, expected)
    asked = replace(
        JOB,
        kms_key_id="alias/k",
        label_categories_uri="s3://sagemaker-b/in/labels.json",
        keywords=("chest x ray",),
        tags={"project": "chest"},
    )
    assert jobs.create(sagemaker, asked) == ARN


def test_both_functions_are_optional() -> None:
    task = replace(JOB, pre_annotation_arn="", post_annotation_arn="").to_request()["HumanTaskConfig"]
    assert not {"PreHumanTaskLambdaArn", "AnnotationConsolidationConfig"} & set(task)
    assert replace(JOB, pre_annotation_arn="", post_annotation_arn="").problems() == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "bad_name!"}, "name: expected letters, digits"),
        ({"name": "-a"}, "name: expected letters, digits"),
        ({"name": "a" * 64}, "name: expected 1 to 63 characters, got 64"),
        ({"label_attribute": "findings-metadata"}, "must not end in '-metadata'"),
        ({"label_attribute": "findings-ref"}, "must not end in '-ref'"),
        ({"label_attribute": "source-ref"}, "'source-ref' is the manifest's own key"),
        ({"label_attribute": "a" * 128}, "label_attribute: expected 1 to 127 characters, got 128"),
        ({"title": "t" * 129}, "title: expected 1 to 128 characters, got 129"),
        ({"title": ""}, "title: expected 1 to 128 characters, got 0"),
        ({"description": "d" * 256}, "description: expected 1 to 255 characters, got 256"),
        ({"description": "two\nlines"}, "description: expected one line"),
        ({"keywords": tuple("abcdef")}, "keywords: expected 1 to 5 items, got 6"),
        ({"keywords": ("two  spaces",)}, "single spaces, got 'two  spaces'"),
        ({"keywords": ("x" * 31,)}, "keywords: expected 1 to 30 characters, got 31"),
        ({"workers_per_object": 10}, "workers_per_object: expected a whole number from 1 to 9, got 10"),
        ({"workers_per_object": 0}, "from 1 to 9, got 0"),
        ({"workers_per_object": 2.5}, "from 1 to 9, got 2.5"),
        ({"task_time_limit_seconds": 29}, "from 30 to 28800, got 29"),
        ({"task_time_limit_seconds": 28_801}, "from 30 to 28800, got 28801"),
        ({"task_availability_seconds": 2_592_001}, "from 60 to 2592000, got 2592001"),
        ({"max_concurrent_tasks": 5001}, "from 1 to 5000, got 5001"),
        ({"max_percentage_labeled": 101}, "from 1 to 100, got 101"),
        ({"manifest_uri": "file:///m"}, "manifest_uri: expected a URI with s3://, got 'file:///m'"),
        ({"output_uri": ""}, "output_uri: expected a URI with s3://"),
        ({"template_uri": "s3://b/t.txt"}, "template_uri: expected a name ending in .html or .liquid"),
        ({"output_uri": "s3://b/" + "x" * 1024}, "output_uri: expected at most 1024 characters"),
        ({"role_arn": "labeling"}, "role_arn: expected an ARN like arn:aws:iam::111122223333:role/labeling"),
        ({"workteam_arn": "readers"}, "workteam_arn: expected an ARN"),
        ({"post_annotation_arn": "post"}, "post_annotation_arn: expected an ARN"),
        ({"pre_annotation_arn": JOB.pre_annotation_arn.replace("us-east-1", "eu-west-1")}, "of region us-east-1"),
        ({"tags": {"": "x"}}, "tags: expected 1 to 128 characters, got 0"),
    ],
)
def test_a_broken_limit_is_named(changes: dict[str, Any], problem: str) -> None:
    (found,) = replace(JOB, **changes).problems(region="us-east-1")
    assert problem in found


def test_all_broken_limits_come_in_one_error(sagemaker: Any, stub: Stubber) -> None:
    broken = replace(JOB, name="bad_name!", title="t" * 200, workers_per_object=10, role_arn="x")
    with pytest.raises(JobParametersError, match="breaks 4 limits") as caught:
        jobs.create(sagemaker, broken)
    assert [re.match(r"- (\w+):", line)[1] for line in str(caught.value).splitlines()[1:]] == [  # type: ignore[index]
        "name",
        "role_arn",
        "title",
        "workers_per_object",
    ]


def test_file_uris_are_for_the_self_hosted_service_only() -> None:
    local = replace(JOB, manifest_uri="file:///w/input.manifest", output_uri="file:///w/out", template_uri="file:///w/t.html")
    assert local.problems(aws=False) == []
    assert len(local.problems(aws=True)) == 3


def test_the_manifest_and_the_template_must_be_there(tmp_path: Path) -> None:
    local = client_of("http://127.0.0.1:9")
    folder = f"file://{tmp_path}"
    asked = replace(JOB, manifest_uri=f"{folder}/m", output_uri=f"{folder}/out", template_uri=f"{folder}/t.html")
    with pytest.raises(JobParametersError, match=r"there is no object at file://.*/m\n.*publish_template"):
        jobs.create(local, asked, storage=Storage())
    (tmp_path / "m").touch()
    (tmp_path / "t.html").write_text("x" * 128_001)
    with pytest.raises(JobParametersError, match=r"/m is empty\n.*1 to 128000 characters, got 128001"):
        jobs.create(local, asked, storage=Storage())


@pytest.mark.parametrize(
    ("code", "status", "error", "message"),
    [
        ("ResourceInUse", 400, JobParametersError, "already exists. Choose another name"),
        ("ValidationException", 400, JobParametersError, "was refused: because"),
        ("ResourceLimitExceeded", 400, LabelingError, "ResourceLimitExceeded: because"),
        ("AccessDeniedException", 400, LabelingError, "Check the key and its rights"),
        ("InternalFailure", 500, ServiceError, "answered InternalFailure"),
    ],
)
def test_a_refusal_says_the_next_step(sagemaker: Any, code: str, status: int, error: type[Exception], message: str) -> None:
    with Stubber(sagemaker) as stubber:
        stubber.add_client_error("create_labeling_job", code, "because", status)
        with pytest.raises(error, match=re.escape(message)):
            jobs.create(sagemaker, JOB)


def test_an_unknown_job_and_a_silent_service_are_told_apart(sagemaker: Any) -> None:
    with Stubber(sagemaker) as stubber:
        stubber.add_client_error("describe_labeling_job", "ResourceNotFound", "none", 400)
        with pytest.raises(NotFoundError, match="'chest-9' does not exist at https://api"):
            jobs.describe(sagemaker, "chest-9")
    with pytest.raises(ServiceError, match=r"http://127.* does not answer"):
        jobs.stop(client_of("http://127.0.0.1:9"), "chest-1")


def test_the_state_of_a_job_is_read(sagemaker: Any, stub: Stubber) -> None:
    stub.add_response("describe_labeling_job", described("InProgress", 3, 6, 1), {"LabelingJobName": "chest-1"})
    state = jobs.describe(sagemaker, "chest-1")
    assert (state.status, state.labeled, state.unlabeled, state.failed, state.total) == ("InProgress", 3, 6, 1, 10)
    assert not state.finished
    assert state.output_manifest_uri == "s3://sagemaker-b/out/chest-1/manifests/output/output.manifest"
    named = {"LabelingJobOutput": {"OutputDatasetS3Uri": "s3://elsewhere/output.manifest"}}
    assert JobState.parse(described("Completed", 10, **named)).output_manifest_uri == "s3://elsewhere/output.manifest"


def test_waiting_ends_with_the_job_and_shows_every_state(
    sagemaker: Any, stub: Stubber, capfd: pytest.CaptureFixture[str]
) -> None:
    for response in (described("Initializing"), described("InProgress", 2, 2), described("Completed", 3, 0, 1)):
        stub.add_response("describe_labeling_job", response)
    seen: list[str] = []
    state = jobs.wait(sagemaker, "chest-1", poll_seconds=0, on_poll=lambda state: seen.append(state.status))
    assert seen == ["Initializing", "InProgress", "Completed"]
    assert (state.labeled, state.failed) == (3, 1)
    assert "4/4" in capfd.readouterr().err


def test_waiting_for_a_failed_job_gives_its_reason(sagemaker: Any, stub: Stubber) -> None:
    stub.add_response("describe_labeling_job", described("Failed", FailureReason="ClientError: no manifest"))
    with pytest.raises(LabelingError, match="'chest-1' failed: ClientError: no manifest"):
        jobs.wait(sagemaker, "chest-1", progress=False, poll_seconds=0)


def test_waiting_outlasts_a_restart_of_the_service_and_not_its_end(sagemaker: Any) -> None:
    with Stubber(sagemaker) as stubber:
        stubber.add_client_error("describe_labeling_job", "InternalFailure", "", 500)
        stubber.add_response("describe_labeling_job", described("Stopped", 1, 1))
        assert jobs.wait(sagemaker, "chest-1", progress=False, poll_seconds=0).status == "Stopped"
        stubber.add_client_error("describe_labeling_job", "InternalFailure", "", 500)
        with pytest.raises(ServiceError, match="Try again later"):
            jobs.wait(sagemaker, "chest-1", progress=False, poll_seconds=0, unavailable_seconds=-1)


def test_waiting_has_a_time_limit_and_can_be_interrupted(sagemaker: Any) -> None:
    with Stubber(sagemaker) as stubber:
        stubber.add_response("describe_labeling_job", described("InProgress", 1, 3))
        with pytest.raises(LabelingError, match="not finish in 0 seconds: 1 of 4 objects labeled"):
            jobs.wait(sagemaker, "chest-1", progress=False, poll_seconds=0, timeout_seconds=0)
        stubber.add_response("describe_labeling_job", described("InProgress", 1, 3))

        def interrupt(state: JobState) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            jobs.wait(sagemaker, "chest-1", poll_seconds=0, on_poll=interrupt)


def test_stopping_names_the_job(sagemaker: Any, stub: Stubber) -> None:
    stub.add_response("stop_labeling_job", {}, {"LabelingJobName": "chest-1"})
    jobs.stop(sagemaker, "chest-1")


def test_the_endpoint_alone_decides_between_aws_and_the_self_hosted_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    on_aws = client(Settings(Path(), groundtruth_url="aws", region="eu-west-1"))
    assert on_aws.meta.endpoint_url == "https://api.sagemaker.eu-west-1.amazonaws.com"
    settings = Settings(
        Path(),
        groundtruth_url="http://127.0.0.1:8800",
        groundtruth_access_key="labeling-service",
        groundtruth_secret_key=Secret("s"),
    )
    local = client(settings)
    assert local.meta.endpoint_url == "http://127.0.0.1:8800"
    assert local._request_signer._credentials.access_key == "labeling-service"
    assert (jobs.is_aws(on_aws), jobs.is_aws(local)) == (True, False)
    with pytest.raises(SettingsError, match="GROUNDTRUTH_ACCESS_KEY"):
        client(replace(settings, groundtruth_access_key=""))
    with pytest.raises(SettingsError, match="GROUNDTRUTH_URL is not set"):
        client(Settings(Path()))


# ---- work teams -----------------------------------------------------------------------------------------------------------

TEAM_ARN = JOB.workteam_arn
TEAM = {
    "WorkteamName": "readers",
    "WorkteamArn": TEAM_ARN,
    "Description": "Readers",
    "SubDomain": "abc.labeling.us-east-1.sagemaker.aws",
    "MemberDefinitions": workteams.oidc_members(["readers"]),
}


def test_a_work_team_is_created_once(sagemaker: Any, stub: Stubber) -> None:
    members = workteams.oidc_members(["readers"])
    stub.add_response("list_workteams", {"Workteams": []})
    stub.add_response(
        "create_workteam",
        {"WorkteamArn": TEAM_ARN},
        {"WorkteamName": "readers", "Description": "Readers", "MemberDefinitions": members},
    )
    stub.add_response("list_workteams", {"Workteams": [TEAM]})
    assert workteams.ensure(sagemaker, "readers", "Readers", members) == TEAM_ARN
    assert workteams.ensure(sagemaker, "readers", "Readers", members) == TEAM_ARN


def test_work_teams_are_listed_over_all_pages_with_their_portal(sagemaker: Any, stub: Stubber) -> None:
    stub.add_response("list_workteams", {"Workteams": [TEAM], "NextToken": "t"})
    stub.add_response("list_workteams", {"Workteams": [{**TEAM, "WorkteamName": "a", "SubDomain": "http://127.0.0.1:1"}]})
    teams = workteams.list_all(sagemaker)
    assert [(team.name, team.portal_url) for team in teams] == [
        ("a", "http://127.0.0.1:1"),
        ("readers", "https://abc.labeling.us-east-1.sagemaker.aws"),
    ]


def test_a_work_team_is_described_changed_and_deleted(sagemaker: Any, stub: Stubber) -> None:
    stub.add_response("describe_workteam", {"Workteam": TEAM}, {"WorkteamName": "readers"})
    stub.add_response("update_workteam", {"Workteam": {**TEAM, "Description": "New"}})
    stub.add_response("delete_workteam", {"Success": True}, {"WorkteamName": "readers"})
    stub.add_response("delete_workteam", {"Success": False})
    assert workteams.describe(sagemaker, "readers").arn == TEAM_ARN
    assert workteams.update(sagemaker, "readers", "New", workteams.oidc_members(["readers"])).description == "New"
    workteams.delete(sagemaker, "readers")
    with pytest.raises(LabelingError, match="'readers' was not deleted"):
        workteams.delete(sagemaker, "readers")


def test_all_broken_limits_of_a_work_team_come_in_one_error(sagemaker: Any) -> None:
    with pytest.raises(JobParametersError, match="breaks 3 limits") as caught:
        workteams.create(sagemaker, "bad_name", "d" * 201, [])
    limit = "Member must have length greater than or equal to 1"
    assert f"'memberDefinitions' failed to satisfy constraint: {limit}" in str(caught.value)
