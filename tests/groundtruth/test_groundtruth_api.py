"""SageMaker's interface of the labeling service: boto3 calls the real process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
import requests
from botocore.exceptions import ClientError
from support.groundtruth import (
    FUNCTION,
    KEY,
    LABELS,
    PASSWORDS,
    SECRET,
    TEAM,
    Service,
    Visitor,
    job_request,
    make_images,
    output_lines,
    running,
)
from support.postgres import database_environment
from support.stack_foundation import BUCKET, s3_storage

from dicom_workflow.errors import ServiceError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.groundtruth.accounts import worker_id_of
from dicom_workflow.labeling.client import put_workers, remove_worker
from dicom_workflow.labeling.output import read_output
from dicom_workflow.labeling.templates import publish_template
from dicom_workflow.labeling.workteams import ensure_people
from dicom_workflow.settings import Secret
from dicom_workflow.simulation.readers import SimulatedReader, read_all
from dicom_workflow.storage import to_uri

WORKER_ID = re.compile(r"private\.us-east-1\.[0-9a-f]{16}")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    workspace = tmp_path_factory.mktemp("api") / "workspace"
    workspace.mkdir()
    make_images(workspace, 2)
    with running(workspace, **database_environment(request)) as started:
        started.make_team()
        yield started


def refused(code: str, text: str, call: Any, **request: Any) -> None:
    with pytest.raises(ClientError, match=text) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] == code


# ---- A whole job ------------------------------------------------------------------------------------------------------------


def test_a_job_of_twelve_objects_and_three_readers_ends_in_ground_truths_own_files(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    images = make_images(workspace, 12)
    with running(workspace) as service:
        ids = service.make_team()
        assert all(WORKER_ID.fullmatch(worker_id) for worker_id in ids.values())
        client = service.client()
        arn = client.create_labeling_job(**job_request(workspace, "Reading-1"))["LabelingJobArn"]
        assert arn == "arn:aws:sagemaker:us-east-1:000000000000:labeling-job/reading-1"
        readers = [(SimulatedReader(name, 0.8, 0.9, 0.1, seed=7), password) for name, password in PASSWORDS.items()]
        readings = read_all(service.url, readers, images.truth, progress=False)
        assert [(r.reader, r.answered, r.not_displayed, r.without_truth) for r in readings] == [
            (name, 12, 0, 0) for name in PASSWORDS
        ]
        job = service.wait_for("Reading-1", "Completed")
    assert job["LabelCounters"] == {
        "TotalLabeled": 12,
        "HumanLabeled": 12,
        "MachineLabeled": 0,
        "FailedNonRetryableError": 0,
        "Unlabeled": 0,
    }
    assert isinstance(job["CreationTime"], datetime)
    out = workspace / "out" / "Reading-1"
    assert job["LabelingJobOutput"]["OutputDatasetS3Uri"] == to_uri(out / "manifests/output/output.manifest")

    lines = output_lines(workspace, "Reading-1")
    by_name = {name: reader for (reader, _), name in zip(readers, PASSWORDS, strict=True)}
    for number, line in enumerate(lines):
        assert (line["source-ref"], line["labels"], line["case"]) == (images.uris[number], LABELS, number)
        metadata = line["finding-metadata"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", metadata.pop("creation-date"))
        assert metadata == {"type": "groundtruth/custom", "job-name": "Reading-1", "human-annotated": "yes"}
        given = line["finding"]["annotationsFromAllWorkers"]
        assert [answer["workerId"] for answer in given] == sorted(ids.values())
        for answer in given:
            name = next(name for name, worker_id in ids.items() if worker_id == answer["workerId"])
            expected = by_name[name].read(images.uids[number], LABELS, images.truth[images.uids[number]])
            content = json.loads(answer["annotationData"]["content"])
            assert json.loads(content["annotation"]) == expected.to_json()
    assert sum(1 for item in read_output(to_uri(out / "manifests/output/output.manifest")) if item.states) == 12

    responses = sorted(out.glob("annotations/worker-response/iteration-1/*/*.json"), key=lambda path: int(path.parent.name))
    assert [path.parent.name for path in responses] == [str(n) for n in range(12)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d\.json", path.name) for path in responses)
    first = json.loads(responses[0].read_text())
    assert list(first) == ["answers"]
    assert sorted(first["answers"][0]) == [
        "acceptanceTime",
        "answerContent",
        "submissionTime",
        "timeSpentInSeconds",
        "workerId",
        "workerMetadata",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["answers"][0]["submissionTime"])
    assert isinstance(first["answers"][0]["answerContent"], dict)
    assert first["answers"][0]["workerMetadata"]["identityData"]["identityProviderType"] == "Oidc"

    consolidated = out / "annotations/consolidated-annotation"
    (request,) = consolidated.glob("consolidation-request/iteration-1/*.json")
    (response,) = consolidated.glob("consolidation-response/iteration-1/*.json")
    entries = json.loads(request.read_text())
    assert [entry["datasetObjectId"] for entry in entries] == [str(n) for n in range(12)]
    assert entries[3]["dataObject"] == {"s3Uri": images.uris[3]}
    assert isinstance(entries[3]["annotations"][0]["annotationData"]["content"], str)
    assert [entry["datasetObjectId"] for entry in json.loads(response.read_text())] == [str(n) for n in range(12)]


def test_a_job_may_live_in_s3_altogether(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    images = make_images(workspace, 3)
    with s3_storage(workspace) as storage:
        root = f"s3://{BUCKET}/groundtruth"
        for number in range(3):
            storage.write_bytes(f"{root}/images/{number}.dcm", (workspace / f"images/{number}.dcm").read_bytes())
        entries = [{"source-ref": f"{root}/images/{number}.dcm", "labels": LABELS} for number in range(3)]
        manifests.write(f"{root}/input.manifest", entries, storage=storage)
        template = publish_template(f"{root}/radiograph.liquid.html", storage)
        request = job_request(workspace, "in-s3", workers=1, UiConfig={"UiTemplateS3Uri": template})
        request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = f"{root}/input.manifest"
        request["OutputConfig"]["S3OutputPath"] = f"{root}/out/"
        with running(workspace, S3_URL=storage._url) as service:
            service.make_team()
            service.client().create_labeling_job(**request)
            readers = [(SimulatedReader("reader-1", 1.0, 1.0), PASSWORDS["reader-1"])]
            read_all(service.url, readers, images.truth, progress=False)
            job = service.wait_for("in-s3", "Completed")
        uri = job["LabelingJobOutput"]["OutputDatasetS3Uri"]
        assert uri == f"{root}/out/in-s3/manifests/output/output.manifest"
        labeled = list(read_output(uri, storage=storage))
        assert [item.states["Edema"] for item in labeled] == [LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.NEGATIVE]
        assert len(storage.list(f"{root}/out/in-s3/annotations/worker-response")) == 3


def test_the_published_samples_three_lines_are_served_as_three_tasks(service: Service) -> None:
    ids = [f"{n:08x}-{n:08x}-{n:08x}-{n:08x}-{n:08x}" for n in (1, 2, 3)]
    uri = to_uri(service.workspace / "sample.manifest")
    manifests.write(uri, [{"source": identifier, "labels": "Pneumonia, Edema, No Finding"} for identifier in ids])
    request = job_request(service.workspace, "sample", workers=1)
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = uri
    service.client().create_labeling_job(**request)
    service.wait_for("sample", "InProgress")
    visitor = Visitor(service.url, "reader-1")
    seen = []
    while task := visitor.next_task("sample"):
        html = visitor.get(task).text
        assert 'data-labels="[&#34;Pneumonia&#34;, &#34;Edema&#34;, &#34;No Finding&#34;]"' in html
        assert f'data-image="{task}/image"' in html
        assert visitor.answer(task, {"annotation": '{"labels": {"Edema": "positive"}}'}).json()["accepted"] is True
        seen.append(task)
    assert len(set(seen)) == 3
    service.wait_for("sample", "Completed")
    lines = output_lines(service.workspace, "sample")
    assert [line["source"] for line in lines] == ids
    assert [line["finding"]["labels"]["Edema"]["state"] for line in lines] == [LabelState.POSITIVE] * 3


# ---- Signatures -------------------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_refused(service: Service) -> None:
    refused("InvalidSignatureException", "does not match", service.client(secret="another").list_labeling_jobs)


def test_an_unknown_key_is_refused(service: Service) -> None:
    refused("UnrecognizedClientException", "security token", service.client(key="AKIAOTHER").list_labeling_jobs)


def test_another_region_is_refused_and_named(service: Service) -> None:
    refused("InvalidSignatureException", "us-east-1/sagemaker", service.client(region="eu-west-1").list_labeling_jobs)


def test_a_request_without_a_signature_is_refused(service: Service) -> None:
    response = requests.post(service.url, data="{}", headers={"X-Amz-Target": "SageMaker.ListLabelingJobs"}, timeout=10)
    assert (response.status_code, response.json()["__type"]) == (400, "MissingAuthenticationTokenException")


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_stale_signature_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
    refused("InvalidSignatureException", "Signature expired", service.client().list_labeling_jobs)


def test_a_body_changed_after_signing_is_refused(service: Service) -> None:
    client = service.client()
    client.meta.events.register("before-send.sagemaker.*", lambda request, **_: setattr(request, "body", b'{"MaxResults": 7}'))
    refused("InvalidSignatureException", "does not match", client.list_labeling_jobs, MaxResults=1)


def test_an_operation_aws_has_and_this_service_has_not_is_named(service: Service) -> None:
    refused("UnknownOperationException", "CreateLabelingJob, DescribeLabelingJob", service.client().list_models)


# ---- Validation -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"LabelingJobName": "bad_name!"},
            "'bad_name!' at 'labelingJobName' failed to satisfy constraint: Member must satisfy regular",
        ),
        ({"LabelAttributeName": "finding-metadata"}, "or end in '-metadata'"),
        ({"LabelAttributeName": "source-ref"}, "may not be 'source' or 'source-ref'"),
        ({"RoleArn": "arn:aws:iam::1:role/short-account"}, "'roleArn'"),
        ({"StoppingConditions": {"MaxPercentageOfInputDatasetLabeled": 101}}, "less than or equal to 100"),
        ({"OutputConfig": {"S3OutputPath": "file:///etc"}}, "outside the service's workspace"),
        ({"OutputConfig": {"S3OutputPath": "https://example.com/x"}}, "expected an s3:// URI, or a file:// URI"),
        ({"Tags": [{"Key": "owner", "Value": "<script>"}]}, "tags.1.member.value"),
    ],
)
def test_a_request_outside_the_limits_is_refused(service: Service, changes: dict[str, Any], text: str) -> None:
    request = {**job_request(service.workspace, "limits"), **changes}
    refused("ValidationException", text, service.client().create_labeling_job, **request)


@pytest.mark.parametrize(
    ("human", "text"),
    [
        ({"NumberOfHumanWorkersPerDataObject": 10}, "Value '10' at 'humanTaskConfig.numberOfHumanWorkersPerDataObject'.*to 9"),
        ({"TaskTitle": "x" * 129}, "'humanTaskConfig.taskTitle'.*128"),
        ({"TaskKeywords": ["two  spaces"]}, "'humanTaskConfig.taskKeywords.1.member'"),
        ({"TaskTimeLimitInSeconds": 28_801}, "at most 28800"),
        ({"TaskAvailabilityLifetimeInSeconds": 2_592_001}, "at most 2592000"),
        ({"MaxConcurrentTaskCount": 5001}, "5000"),
        ({"PreHumanTaskLambdaArn": f"{FUNCTION[:-20]}other"}, "is not a pre-annotation function of this service"),
        (
            {"PreHumanTaskLambdaArn": f"{FUNCTION}post"},
            "is not a pre-annotation function of this service. It has SageMaker-dicom-workflow-pre",
        ),
        ({"WorkteamArn": TEAM.replace("readers", "nobody")}, "nobody' does not exist"),
        ({"WorkteamArn": TEAM.replace("us-east-1", "eu-west-1")}, "does not exist here"),
        ({"UiConfig": {"UiTemplateS3Uri": "file:///etc/passwd"}}, "outside the service's workspace"),
    ],
)
def test_a_human_task_outside_the_limits_is_refused(service: Service, human: dict[str, Any], text: str) -> None:
    request = job_request(service.workspace, "limits", **human)
    refused("ValidationException", text, service.client().create_labeling_job, **request)


@pytest.mark.parametrize(
    "path",
    [
        "groundtruth/job-database.sqlite",
        "services/state.json",
        "orthanc/x",
        "image-cache/x",
        "Services/state.json",
        "images/../groundtruth/lock",
        "link/job-database.sqlite",
    ],
)
def test_a_job_cannot_read_the_services_own_files(service: Service, path: str) -> None:
    link = service.workspace / "link"
    if not link.is_symlink():
        link.symlink_to(service.workspace / "groundtruth")
    request = job_request(service.workspace, "thief")
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = f"file://{service.workspace}/{path}"
    refused("ValidationException", "is in the private folder", service.client().create_labeling_job, **request)


def test_a_manifest_line_that_points_outside_the_workspace_fails_the_job_by_its_number(service: Service) -> None:
    uri = to_uri(service.workspace / "outside.manifest")
    lines = [{"source-ref": to_uri(service.workspace / "images/0.dcm"), "labels": LABELS}]
    manifests.write(uri, [*lines, {"source-ref": "file:///etc/passwd", "labels": LABELS}])
    request = job_request(service.workspace, "outside")
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = uri
    service.client().create_labeling_job(**request)
    job = service.wait_for("outside", "Failed")
    assert "outside.manifest, line 2: 'file:///etc/passwd' is outside the service's workspace" in job["FailureReason"]


def test_names_are_unique_whatever_their_case(service: Service) -> None:
    service.client().create_labeling_job(**job_request(service.workspace, "unique"))
    call = service.client().create_labeling_job
    refused("ResourceInUse", "must be unique", call, **job_request(service.workspace, "UNIQUE"))


def test_a_job_that_is_not_there_is_not_found(service: Service) -> None:
    refused("ResourceNotFound", "does not exist", service.client().describe_labeling_job, LabelingJobName="nowhere")
    refused("ResourceNotFound", "does not exist", service.client().stop_labeling_job, LabelingJobName="nowhere")


# ---- Listing, describing, stopping ------------------------------------------------------------------------------------------


def test_jobs_are_listed_in_pages_and_by_what_is_asked_for(service: Service) -> None:
    client = service.client()
    for n in range(3):
        client.create_labeling_job(**job_request(service.workspace, f"paged-{n}"))
    pages = client.get_paginator("list_labeling_jobs").paginate(
        NameContains="PAGED", SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    found = [[job["LabelingJobName"] for job in page["LabelingJobSummaryList"]] for page in pages]
    assert found == [["paged-2", "paged-1"], ["paged-0"]]
    everything = client.list_labeling_jobs(NameContains="paged", CreationTimeAfter=datetime(2020, 1, 1, tzinfo=UTC))
    assert everything["LabelingJobSummaryList"][0]["PreHumanTaskLambdaArn"] == f"{FUNCTION}pre"
    assert everything["LabelingJobSummaryList"][0]["AnnotationConsolidationLambdaArn"] == f"{FUNCTION}post"
    none = client.list_labeling_jobs(NameContains="paged", CreationTimeBefore=datetime(2020, 1, 1, tzinfo=UTC))
    assert none["LabelingJobSummaryList"] == []
    refused("ValidationException", "NextToken", client.list_labeling_jobs, NextToken="!")
    for n in range(3):
        client.stop_labeling_job(LabelingJobName=f"paged-{n}")


def test_a_job_is_described_as_it_was_asked_for(service: Service) -> None:
    request = job_request(service.workspace, "described", workers=2)
    service.client().create_labeling_job(**request, Tags=[{"Key": "project", "Value": "chest"}])
    job = service.wait_for("described", "InProgress")
    assert {key: job[key] for key in request} == request
    assert job["Tags"] == [{"Key": "project", "Value": "chest"}]
    assert job["LabelCounters"]["Unlabeled"] == 2
    assert "LabelingJobOutput" not in job


def test_a_stopped_job_keeps_what_was_answered_and_leaves_the_rest_as_it_was(service: Service) -> None:
    service.client().create_labeling_job(**job_request(service.workspace, "stopped"))
    service.wait_for("stopped", "InProgress")
    visitor = Visitor(service.url, "reader-2")
    task = visitor.next_task("stopped")
    visitor.answer(task, {"annotation": '{"labels": {"Edema": "positive"}}'})
    second = visitor.next_task("stopped")
    service.client().stop_labeling_job(LabelingJobName="stopped")
    job = service.wait_for("stopped", "Stopped")
    assert (job["LabelCounters"]["HumanLabeled"], job["LabelCounters"]["Unlabeled"]) == (1, 1)
    late = visitor.answer(second, {"annotation": "{}"})
    assert late.status_code == 409
    assert late.json()["error"] == "This image takes no more answers: its job has ended, or the image was closed."
    first, rest = output_lines(service.workspace, "stopped")
    assert first["finding"]["labels"]["Edema"]["votes"] == {"positive": 1, "negative": 0, "uncertain": 0}
    assert rest == {"source-ref": to_uri(service.workspace / "images/1.dcm"), "labels": LABELS, "case": 1}
    call = service.client().stop_labeling_job
    refused("ValidationException", "is Stopped; only one in progress", call, LabelingJobName="stopped")


# ---- Work teams and workers -------------------------------------------------------------------------------------------------


def test_a_work_team_is_made_shown_changed_listed_and_removed(service: Service) -> None:
    client = service.client()
    members = [{"CognitoMemberDefinition": {"UserPool": "us-east-1_x1", "UserGroup": "group", "ClientId": "client"}}]
    arn = client.create_workteam(WorkteamName="second-team", Description="d", MemberDefinitions=members)["WorkteamArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:000000000000:workteam/private-crowd/second-team"
    refused(
        "ResourceInUse",
        "already exists",
        client.create_workteam,
        WorkteamName="Second-Team",
        Description="d",
        MemberDefinitions=members,
    )
    changed = {"WorkteamName": "second-team", "Description": "half of a surrogate pair: \ud800"}
    refused("SerializationException", "not a JSON object", client.update_workteam, **changed)
    team = client.describe_workteam(WorkteamName="second-team")["Workteam"]
    assert (team["Description"], team["MemberDefinitions"], team["SubDomain"]) == ("d", members, service.url.split("//")[1])
    assert client.update_workteam(WorkteamName="second-team", Description="new")["Workteam"]["Description"] == "new"
    assert [t["WorkteamName"] for t in client.list_workteams(SortBy="Name")["Workteams"]] == ["readers", "second-team"]
    assert client.delete_workteam(WorkteamName="second-team")["Success"] is True
    refused("ValidationException", "The work team", client.describe_workteam, WorkteamName="second-team")


def test_a_team_at_work_is_not_removed(service: Service) -> None:
    service.client().create_labeling_job(**job_request(service.workspace, "busy"))
    refused("ResourceInUse", "Stop the job first", service.client().delete_workteam, WorkteamName="readers")


def test_a_worker_needs_a_team_that_is_there_and_a_password_that_is_one(service: Service) -> None:
    with pytest.raises(ServiceError, match="The work team 'nobody' does not exist"):
        put_workers(service.settings, {"reader-9": Secret("long enough")}, "nobody")
    with pytest.raises(ServiceError, match="Password of worker 'reader-9': expected 8 to 1,024 characters") as caught:
        put_workers(service.settings, {"reader-9": Secret("short")}, "readers")
    assert "short'" not in str(caught.value)
    with pytest.raises(ServiceError, match="ResourceNotFound"):
        remove_worker(service.settings, "reader-9")


def test_a_worker_id_follows_from_the_name_alone() -> None:
    assert worker_id_of("reader-1", "us-east-1") == "private.us-east-1.d56a9b3438ad3be1"
    assert worker_id_of(" Reader-1 ", "us-east-1") == worker_id_of("reader-1", "us-east-1")


def test_a_new_password_ends_the_old_sessions_and_a_removed_worker_is_out(service: Service) -> None:
    put_workers(service.settings, {"visitor": Secret("first password")}, "readers")
    visitor = Visitor(service.url, "visitor", Secret("first password"))
    assert visitor.get("/").status_code == 200
    put_workers(service.settings, {"visitor": Secret("second password")}, "readers")
    assert visitor.get("/").headers["location"] == "/sign-in?next=%2F"
    visitor = Visitor(service.url, "visitor", Secret("second password"))
    remove_worker(service.settings, "visitor")
    assert visitor.get("/").status_code == 303
    assert visitor.sign_in("visitor", "second password").status_code == 403


def test_neither_the_job_database_nor_the_log_holds_a_password_or_the_secret(
    service: Service, request: pytest.FixtureRequest
) -> None:
    kept = service.log.read_bytes()
    if name := service.environment.get("GROUNDTRUTH_DATABASE_NAME"):
        server = request.getfixturevalue("postgres")
        assert not (service.workspace / "groundtruth").exists()
        for (table,) in server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=name):
            kept += repr(server.sql(f"SELECT * FROM {table}", database=name)).encode()  # noqa: S608
    else:
        kept += b"".join(path.read_bytes() for path in (service.workspace / "groundtruth").iterdir())
    assert b"reader-1" in kept
    assert KEY.encode() not in kept
    assert not any(word.encode() in kept for word in [SECRET, *(password.reveal() for password in PASSWORDS.values())])


def test_the_sign_in_file_of_people_is_made_once_and_private(service: Service) -> None:
    arn, path = ensure_people(service.settings, service.client(), ["anna", "ben"])
    assert arn.endswith("/readers")
    text = path.read_text()
    name, password = text.splitlines()[1].split("\t")
    assert Visitor(service.url).sign_in(name, password).status_code == 303
    path.chmod(0o644)
    assert ensure_people(service.settings, service.client(), ["others"]) == (arn, path)
    assert (path.read_text(), oct(path.stat().st_mode & 0o777)) == (text, "0o600")


def test_two_services_do_not_share_a_workspace(service: Service) -> None:
    other = Service(service.workspace, **service.environment)
    other.log = service.workspace.parent / "other.log"
    with pytest.raises(AssertionError, match=r"is in use by another labeling service"):
        other.start()


def test_the_service_does_not_start_without_a_key_pair(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Set GROUNDTRUTH_ACCESS_KEY"):
        Service(tmp_path, GROUNDTRUTH_ACCESS_KEY="").start()
