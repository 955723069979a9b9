"""The search stack: what each store makes, what runs when, who signs in, and the ingest container on events of a bucket.

What every role may do, and that every choice of parameters has a value for everything, is asked in test_stack_permissions.py
and test_stack_evaluation.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import types as modules
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from support.groundtruth import radiograph
from support.iam_evaluator import Request, decide
from support.stack_evaluator import ACCOUNT, Evaluation
from support.templates import GIVEN, REGION, template

from dicom_workflow import cli
from dicom_workflow.search.query import ReportQuery
from dicom_workflow.search.store import open_store
from dicom_workflow.settings import Settings

ROOT = Path(__file__).parents[3]
NAME = "dicom-workflow-search"
HOST = GIVEN["SearchHostName"]
STORES = ("LanceDB", "Aurora", "OpenSearch")
BARE = {
    "KeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef",
    "ArtifactsBucket": "artifacts",
    "LogsBucket": "logs",
    "VpcId": "vpc-0123",
    "VpcCidr": "10.42.0.0/16",
    "PrivateSubnetIds": "subnet-0a,subnet-0b",
    "SearchServiceContextKey": GIVEN["SearchServiceContextKey"],
}
SERVED = {
    "SearchServiceImage": GIVEN["SearchServiceImage"],
    "SearchHostName": HOST,
    "CertificateArn": GIVEN["CertificateArn"],
    "SearchModelUri": "s3://models/models/first/model.tar.gz",
    "TrainingBucket": "models",
    "OrthancUrl": "https://archive.example.org",
    "OrthancSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:archive-AbCdEf",
    "ArchiveClientSecurityGroupId": "sg-0a",
    "ArchiveSchedule": "rate(1 hour)",
}
OWN_ISSUER = {"OidcIssuer": "https://login.hospital.example/oidc", "OidcAudience": "search"}


def stack(*chosen: dict[str, str], **more: str) -> Evaluation:
    values = dict(BARE)
    for choice in chosen:
        values |= choice
    return Evaluation(template("search"), values | more, NAME)


def properties(trial: Evaluation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = trial.resources[name]["Properties"]
    return found


def types(trial: Evaluation) -> set[str]:
    return {resource["Type"].rpartition("::")[0] for resource in trial.resources.values()}


# ---- What is made -----------------------------------------------------------------------------------------------------------


def test_a_store_on_s3_without_a_service_is_a_bucket_a_queue_and_the_build_of_an_image() -> None:
    made = {"AWS::S3", "AWS::SQS", "AWS::ECR", "AWS::CodeBuild", "AWS::Logs", "AWS::IAM", "AWS::SecretsManager", "AWS::ECS"}
    assert types(stack()) == made | {"AWS::EC2", "AWS::CloudWatch"}
    assert not [node for node in stack().resources.values() if node["Type"] in ("AWS::ECS::Service", "AWS::EC2::NatGateway")]
    assert stack().outputs["SearchStoreUrl"] == f"s3://{stack().outputs['SearchBucket']}/index"


@pytest.mark.parametrize(
    ("store", "service", "scheme"),
    [("LanceDB", None, "s3"), ("Aurora", "AWS::RDS", "postgresql"), ("OpenSearch", "AWS::OpenSearchService", "https")],
)
def test_a_server_is_made_for_the_store_that_has_one_and_for_no_other(store: str, service: str | None, scheme: str) -> None:
    trial = stack(SERVED, SearchStore=store)
    assert types(trial) & {"AWS::RDS", "AWS::OpenSearchService"} == ({service} if service else set())
    url = trial.outputs["SearchStoreUrl"]
    assert url.startswith(f"{scheme}://") and "@" not in url


def test_before_the_first_image_everything_is_made_but_what_runs_it() -> None:
    without, whole = stack(SERVED, SearchServiceImage=""), stack(SERVED)
    missing = {whole.resources[name]["Type"] for name in whole.resources.keys() - without.resources.keys()}
    assert missing == {
        *("AWS::ECS::TaskDefinition", "AWS::ECS::Service", "AWS::IAM::Role", "AWS::CloudWatch::Alarm", "AWS::Events::Rule"),
        *("AWS::ApplicationAutoScaling::ScalableTarget", "AWS::ApplicationAutoScaling::ScalingPolicy"),
        *("AWS::CloudFormation::CustomResource", "AWS::Lambda::Function", "AWS::Logs::LogGroup"),
    }
    assert whole.outputs.keys() == without.outputs.keys()


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"SearchHostName": HOST}, "reached by TLS only"),
        ({"SearchHostName": HOST, "CertificateArn": GIVEN["CertificateArn"], "VpcCidr": ""}, "requires VpcCidr"),
        ({"OidcIssuer": OWN_ISSUER["OidcIssuer"]}, "requires OidcAudience"),
        ({"SearchModelUri": SERVED["SearchModelUri"]}, "requires TrainingBucket"),
        ({"ArchiveSchedule": "rate(1 hour)"}, "requires OrthancUrl"),
        ({"ArchiveSchedule": "rate(1 hour)", "OrthancUrl": "https://archive.example.org"}, "requires SearchModelUri"),
    ],
)
def test_a_choice_that_cannot_work_is_refused_before_anything_is_made(chosen: dict[str, str], reason: str) -> None:
    assert any(reason in text for text in stack(chosen).refused())


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("chosen", [{}, SERVED, SERVED | OWN_ISSUER])
def test_a_choice_that_works_is_not_refused(store: str, chosen: dict[str, str]) -> None:
    assert stack(chosen, SearchStore=store).refused() == []


@pytest.mark.parametrize("size", template("search")["Parameters"]["SearchTaskSize"]["AllowedValues"])
def test_fargate_knows_every_size(size: str) -> None:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html, in MiB
    known = {1024: (2048, 8192), 2048: (4096, 16384), 4096: (8192, 30720), 8192: (16384, 61440)}
    trial = stack(SERVED, SearchTaskSize=size, IngestTaskSize=size)
    for name in ("ServiceTask", "IngestTask"):
        least, most = known[int(properties(trial, name)["Cpu"])]
        assert least <= int(properties(trial, name)["Memory"]) <= most


# ---- What is kept -----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_made_again_is_kept_and_the_domain_alone_is_not() -> None:
    kinds = {"AWS::S3::Bucket", "AWS::SecretsManager::Secret", "AWS::Cognito::UserPool", "AWS::ECR::Repository"}
    for store in STORES:
        kept = {node["Type"]: node.get("DeletionPolicy") for node in stack(SERVED, SearchStore=store).resources.values()}
        assert {kept[kind] for kind in kinds} == {"Retain"}
        assert kept.get("AWS::RDS::DBCluster", "Snapshot") == "Snapshot"
        assert kept.get("AWS::OpenSearchService::Domain", "Delete") == "Delete"


def test_no_log_contains_a_query_or_a_text() -> None:
    aurora = properties(stack(SearchStore="Aurora"), "DatabaseParameters")["Parameters"]
    assert aurora["log_statement"] == "ddl"
    assert (aurora["log_min_duration_statement"], aurora["log_min_error_statement"]) == ("-1", "panic")
    domain = properties(stack(SearchStore="OpenSearch"), "Domain")
    assert set(domain["LogPublishingOptions"]) == {"ES_APPLICATION_LOGS"}  # slow logs have the queries, audit logs the bodies


# ---- From a new object to the queue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "source", "owner", "taken"),
    [
        ("s3.amazonaws.com", "", ACCOUNT, True),
        ("s3.amazonaws.com", "arn:aws:s3:::payroll", ACCOUNT, False),
        ("s3.amazonaws.com", "", "999999999999", False),
        ("sns.amazonaws.com", "", ACCOUNT, False),
    ],
)
def test_the_queue_takes_events_of_the_stacks_bucket_alone(caller: str, source: str, owner: str, taken: bool) -> None:
    trial = stack()
    queue = trial.value({"Fn::GetAtt": ["IngestQueue", "Arn"]}, "test")
    bucket = source or f"arn:aws:s3:::{trial.physical_name('SearchBucket')}"
    policy = properties(trial, "IngestQueuePolicy")["PolicyDocument"]["Statement"]
    context = {"aws:SourceArn": bucket, "aws:SourceAccount": owner, "aws:SecureTransport": "true"}
    request = Request(caller, "sqs:SendMessage", queue, context)
    assert decide(request, [], policy, owner=ACCOUNT, must_name=True) is taken


def test_the_index_itself_sends_no_events() -> None:
    told = properties(stack(), "SearchBucket")["NotificationConfiguration"]["QueueConfigurations"]
    prefixes = {rule["Value"] for one in told for rule in one["Filter"]["S3Key"]["Rules"]}
    assert prefixes == {"images/", "reports/"}
    assert {stack().outputs[name].rpartition("/")[2] + "/" for name in ("SearchImagesUri", "SearchReportsUri")} == prefixes


def test_a_message_lasts_longer_than_the_tasks_that_try_it() -> None:
    queue, dead = properties(stack(), "IngestQueue"), properties(stack(), "IngestDeadLetters")
    tries = queue["RedrivePolicy"]["maxReceiveCount"]
    assert queue["MessageRetentionPeriod"] > tries * queue["VisibilityTimeout"]
    assert dead["MessageRetentionPeriod"] >= 14 * 86400


# ---- What runs when ---------------------------------------------------------------------------------------------------------


def test_no_ingest_task_runs_while_nothing_waits() -> None:
    trial = stack(SERVED, MaxIngestTasks="3")
    assert properties(trial, "IngestService")["DesiredCount"] == 0
    assert (properties(trial, "IngestScaling")["MinCapacity"], properties(trial, "IngestScaling")["MaxCapacity"]) == (0, "3")
    [to_zero] = properties(trial, "StopIngest")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    one, many = properties(trial, "StartIngest")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert (to_zero["ScalingAdjustment"], one["ScalingAdjustment"], many["ScalingAdjustment"]) == (0, 1, "3")
    start, stop = properties(trial, "QueueHasMessages"), properties(trial, "QueueIsEmpty")
    assert start["AlarmActions"] == [trial.value({"Ref": "StartIngest"}, "test")]
    assert stop["AlarmActions"] == [trial.value({"Ref": "StopIngest"}, "test")]
    # A task that is in the middle of something is not stopped: what it works on is invisible in the queue.
    counted = {item["MetricStat"]["Metric"]["MetricName"] for item in stop["Metrics"] if "MetricStat" in item}
    assert counted == {"ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible"}


def commands(trial: Evaluation) -> dict[str, list[str]]:
    """The command lines of the stack: of its containers and its schedules."""
    found = {}
    for name in ("ServiceTask", "IngestTask"):
        (container,) = properties(trial, name)["ContainerDefinitions"]
        assert container["EntryPoint"] == ["python", "-m", "dicom_workflow.cli", "search"]
        found[name] = [str(word) for word in container["Command"]]
    for name in ("ArchiveIndexing", "Maintenance"):
        (target,) = properties(trial, name)["Targets"]
        (override,) = json.loads(target["Input"])["containerOverrides"]
        (container,) = properties(trial, "IngestTask")["ContainerDefinitions"]
        assert override["name"] == container["Name"]
        found[name] = override["command"]
    return found


@pytest.mark.parametrize("store", STORES)
def test_the_command_line_knows_every_command_of_the_stack(store: str) -> None:
    trial = stack(SERVED, SearchStore=store)
    words_of = {name: words for name, words in commands(trial).items() if name != "ServiceTask"}
    parsed = {name: cli._parser().parse_args(["search", *words]) for name, words in words_of.items()}
    assert parsed["IngestTask"].source == f"sqs:{trial.outputs['SearchQueueUrl']}"
    assert (parsed["IngestTask"].watch, parsed["IngestTask"].model) == (True, SERVED["SearchModelUri"])
    assert (parsed["ArchiveIndexing"].source, parsed["ArchiveIndexing"].watch) == ("archive", False)
    assert len({options.store for options in parsed.values()}) == 1
    assert parsed["IngestTask"].store.startswith(trial.outputs["SearchStoreUrl"])


def test_without_a_model_reports_are_indexed_and_images_have_no_embeddings() -> None:
    (container,) = properties(stack(SERVED, SearchModelUri="", ArchiveSchedule=""), "IngestTask")["ContainerDefinitions"]
    assert container["Command"][-2:] == ["--model", "none"]


# ---- The store is made before the service starts ----------------------------------------------------------------------------

TASK = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/search/0123"


class Context:
    """Lambda's context of an invocation that has some time left."""

    def __init__(self, left_ms: int = 600_000) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Stubber, list[tuple[Any, ...]]]]:
    """The function's code, an ECS whose requests are checked against its service model, and what CloudFormation is answered."""
    answers: list[tuple[Any, ...]] = []
    answering = modules.ModuleType("cfnresponse")
    answering.SUCCESS, answering.FAILED = "SUCCESS", "FAILED"  # type: ignore[attr-defined]
    answering.send = lambda *said, **more: answers.append((said[2], more.get("reason", "")))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cfnresponse", answering)
    code = properties(stack(SERVED), "StoreMaker")["Code"]["ZipFile"]
    assert len(code.encode()) <= 4096, "Lambda takes no more from a template"
    ecs = boto3.client("ecs", region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")
    monkeypatch.setattr(boto3, "client", lambda service: {"ecs": ecs}[service])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    names: dict[str, Any] = {}
    exec(compile(code, "index.py", "exec"), names)  # noqa: S102, the code of our own template
    with Stubber(ecs) as stubber:
        yield names["handler"], stubber, answers


def asked_of_maker(kind: str = "Create") -> dict[str, Any]:
    return {"RequestType": kind, "ResourceProperties": properties(stack(SERVED), "StoreIsThere")}


def task_in(state: str, code: int | None = None) -> dict[str, Any]:
    ended = {} if code is None else {"exitCode": code}
    return {"tasks": [{"taskArn": TASK, "lastStatus": state, "containers": [{"name": "ingest", **ended}]}], "failures": []}


def expect_run(stubber: Stubber, answer: dict[str, Any]) -> None:
    trial = stack(SERVED)
    network = {"subnets": ["subnet-0a", "subnet-0b"], "assignPublicIp": "DISABLED"}
    network["securityGroups"] = [trial.value({"Fn::GetAtt": ["TaskSecurityGroup", "GroupId"]}, "test")]
    command = ["index", "--store", trial.outputs["SearchStoreUrl"], "--model", "none"]
    stubber.add_response(
        "run_task",
        answer,
        {
            "cluster": trial.outputs["SearchClusterName"],
            "taskDefinition": trial.value({"Ref": "IngestTask"}, "test"),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "networkConfiguration": {"awsvpcConfiguration": network},
            "overrides": {"containerOverrides": [{"name": "ingest", "command": command}]},
        },
    )


def test_the_store_is_made_by_a_task_that_is_waited_for(maker: tuple[Any, Stubber, list[tuple[Any, ...]]]) -> None:
    handler, stubber, answers = maker
    expect_run(stubber, task_in("PROVISIONING"))
    for state in (task_in("RUNNING"), task_in("STOPPED", 0)):
        stubber.add_response("describe_tasks", state, {"cluster": stack(SERVED).outputs["SearchClusterName"], "tasks": [TASK]})
    handler(asked_of_maker(), Context())
    assert answers == [("SUCCESS", "")]
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("states", "left_ms", "reason"),
    [
        ([{"tasks": [], "failures": [{"reason": "RESOURCE:FARGATE"}]}], 600_000, "started no task: RESOURCE:FARGATE"),
        ([task_in("PENDING"), task_in("STOPPED", 1)], 600_000, "ended with 1, None: see the log"),
        ([task_in("PENDING"), task_in("STOPPED")], 600_000, "ended with None"),
        ([task_in("PENDING")], 10_000, "is still PENDING"),
    ],
)
def test_a_store_that_cannot_be_made_fails_the_stack_with_the_reason(
    states: list[dict[str, Any]], left_ms: int, reason: str, maker: tuple[Any, Stubber, list[tuple[Any, ...]]]
) -> None:
    handler, stubber, answers = maker
    expect_run(stubber, states[0])
    for state in states[1:]:
        stubber.add_response("describe_tasks", state)
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        handler(asked_of_maker(), Context(left_ms))
    [(outcome, said)] = answers
    assert (outcome, reason in said) == ("FAILED", True)


def test_deleting_the_stack_runs_no_task(maker: tuple[Any, Stubber, list[tuple[Any, ...]]]) -> None:
    handler, _, answers = maker
    handler(asked_of_maker("Delete"), Context())
    assert answers == [("SUCCESS", "")]


def test_the_service_starts_after_its_store_is_made() -> None:
    for store in STORES:
        trial = stack(SERVED, SearchStore=store)
        assert "StoreIsThere" in trial.resources["Service"]["DependsOn"]
        made = properties(trial, "StoreIsThere")
        assert made["Store"] in {words[words.index("--store") + 1] for words in commands(trial).values()}
        assert len({words[words.index("--store") + 1] for words in commands(trial).values()}) == 1


# ---- Containers -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["ServiceTask", "IngestTask"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("store", STORES)
def test_no_secret_stands_where_the_console_shows_it(task: str, store: str) -> None:
    trial = stack(SERVED, SearchStore=store)
    (container,) = properties(trial, task)["ContainerDefinitions"]
    plain = {entry["Name"] for entry in container["Environment"]}
    assert not [name for name in plain if re.search("PASSWORD|SECRET|KEY|USER|TOKEN|SALT", name)]
    assert not [word for word in container["Command"] if "@" in word or "password" in word]
    readable = properties(trial, "StartRole")["Policies"][0]["PolicyDocument"]["Statement"]
    (secrets,) = (statement["Resource"] for statement in readable if statement["Action"] == "secretsmanager:GetSecretValue")
    assert {entry["ValueFrom"].rsplit(":", 3)[0] for entry in container["Secrets"]} == set(secrets)


def test_what_is_written_lies_on_volumes_and_nothing_else_can_be(task: str) -> None:
    (container,) = properties(stack(SERVED), task)["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert int(container["User"].partition(":")[0]) > 0
    variables = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    writable = {mount["ContainerPath"] for mount in container["MountPoints"]}
    assert writable == {variables["DICOM_WORKFLOW_WORKSPACE"], "/tmp"}  # noqa: S108, a path in the container
    volumes = {volume["Name"] for volume in properties(stack(SERVED), task)["Volumes"]}
    assert {mount["SourceVolume"] for mount in container["MountPoints"]} == volumes


def variables_of(task: str, *chosen: dict[str, str]) -> dict[str, str]:
    """What the process gets, with the secrets that ECS would read."""
    (container,) = properties(stack(SERVED, *chosen), task)["ContainerDefinitions"]
    secrets = {entry["Name"]: f"secret of {entry['Name']}" for entry in container["Secrets"]}
    return {entry["Name"]: str(entry["Value"]) for entry in container["Environment"]} | secrets


@pytest.mark.parametrize("name", sorted(variables_of("IngestTask")))
def test_the_settings_read_every_variable_of_the_ingest_task(name: str) -> None:
    given = variables_of("IngestTask")
    assert Settings.from_env(given | {name: given[name] + "x"}) != Settings.from_env(given)


def test_a_database_is_reached_by_verified_tls_with_a_user_that_no_url_contains() -> None:
    """libpq reads PGUSER and PGPASSWORD itself; the certificate authorities are in the image."""
    from dicom_workflow.search.store.postgres_connections import parameters_of

    aurora = {"SearchStore": "Aurora"}
    assert {"PGUSER", "PGPASSWORD"} <= variables_of("IngestTask", aurora).keys()
    found = parameters_of(commands(stack(SERVED, aurora))["IngestTask"][3])
    assert (found["sslmode"], "user" in found, "password" in found) == ("verify-full", False, False)
    assert f" {found['sslrootcert']}\n" in (ROOT / "docker/search/Dockerfile").read_text("utf-8")


# ---- The service ------------------------------------------------------------------------------------------------------------


def test_everybody_means_the_same_port() -> None:
    trial = stack(SERVED)
    (container,) = properties(trial, "ServiceTask")["ContainerDefinitions"]
    port = int(container["Command"][container["Command"].index("--port") + 1])
    said = {
        container["PortMappings"][0]["ContainerPort"],
        properties(trial, "TargetGroup")["Port"],
        properties(trial, "Service")["LoadBalancers"][0]["ContainerPort"],
        properties(trial, "LoadBalancerToTasks")["ToPort"],
        properties(trial, "TasksFromLoadBalancer")["ToPort"],
    }
    assert said == {port}


def test_the_load_balancer_is_never_public() -> None:
    trial = stack(SERVED, ClientCidr="203.0.113.0/24")
    balancer = properties(trial, "LoadBalancer")
    assert (balancer["Scheme"], balancer["Subnets"]) == ("internal", ["subnet-0a", "subnet-0b"])
    (vpc,) = properties(trial, "LoadBalancerSecurityGroup")["SecurityGroupIngress"]
    assert (vpc["CidrIp"], properties(trial, "ClientsToLoadBalancer")["CidrIp"]) == ("10.42.0.0/16", "203.0.113.0/24")


def test_a_browser_is_signed_in_by_the_user_pool_before_anything_reaches_the_service() -> None:
    trial = stack(SERVED)
    first, second = properties(trial, "Listener")["DefaultActions"]
    assert (first["Type"], first["AuthenticateCognitoConfig"]["OnUnauthenticatedRequest"]) == (
        "authenticate-cognito",
        "authenticate",
    )
    assert second["Type"] == "forward" and first["Order"] < second["Order"]
    forwarded = {
        name: properties(trial, name)["Conditions"][0]
        for name, node in trial.resources.items()
        if node["Type"] == "AWS::ElasticLoadBalancingV2::ListenerRule" and node["Properties"]["Actions"][0]["Type"] == "forward"
    }
    # Without a session only the health of the service is told, and a bearer token is handed on, which the service verifies.
    assert forwarded == {
        "ProgramsBringTokens": {
            "Field": "http-header",
            "HttpHeaderConfig": {"HttpHeaderName": "Authorization", "Values": ["Bearer *"]},
        },
        "HealthIsForAll": {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/healthz"]}},
    }
    assert properties(trial, "UserPoolClient")["CallbackURLs"] == [f"https://{HOST}/oauth2/idpresponse"]


def test_nobody_signs_up_by_himself_or_in_with_a_password_alone() -> None:
    pool = properties(stack(SERVED), "UserPool")
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("ON", ["SOFTWARE_TOKEN_MFA"])
    assert pool["DeletionProtection"] == "ACTIVE"


def test_the_service_accepts_the_tokens_of_the_pool_or_of_your_own_issuer() -> None:
    pool, own = variables_of("ServiceTask"), variables_of("ServiceTask", OWN_ISSUER)
    assert pool["SEARCH_OIDC_ISSUER"].startswith(f"https://cognito-idp.{REGION}.amazonaws.com/{REGION}_")
    assert pool["SEARCH_OIDC_AUDIENCE"] == stack(SERVED).outputs["SearchUserPoolClientId"]
    assert (own["SEARCH_OIDC_ISSUER"], own["SEARCH_OIDC_AUDIENCE"]) == tuple(OWN_ISSUER.values())
    trial = stack(SERVED, OWN_ISSUER)
    assert not [node for node in trial.resources.values() if node["Type"].startswith("AWS::Cognito")]
    assert [action["Type"] for action in properties(trial, "Listener")["DefaultActions"]] == ["forward"]


# ---- The ingest container, for real, on a bucket with the template's notifications ------------------------------------------


@pytest.fixture
def notified(aws: str) -> tuple[str, str]:
    """A bucket that tells a queue of new objects as the template has it; the bucket's name and the queue's URL."""
    s3, sqs = (boto3.client(service, region_name=REGION) for service in ("s3", "sqs"))
    queue = sqs.create_queue(QueueName="ingest")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="search")
    told = [
        {
            "QueueArn": arn,
            "Events": [one["Event"]],
            "Filter": {"Key": {"FilterRules": one["Filter"]["S3Key"]["Rules"]}},
        }
        for one in properties(stack(), "SearchBucket")["NotificationConfiguration"]["QueueConfigurations"]
    ]
    s3.put_bucket_notification_configuration(Bucket="search", NotificationConfiguration={"QueueConfigurations": told})
    return "search", queue


@contextlib.contextmanager
def ingest_container(queue: str, workspace: Path, aws: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command of the ingest container, with its variables, against moto."""
    plain = {"SearchModelUri": "", "ArchiveSchedule": "", "OrthancUrl": "", "OrthancSecretArn": ""}
    trial = stack(SERVED, plain)
    (container,) = properties(trial, "IngestTask")["ContainerDefinitions"]
    here = {f"sqs:{trial.outputs['SearchQueueUrl']}": f"sqs:{queue}", trial.outputs["SearchStoreUrl"]: "s3://search/index"}
    command = [sys.executable, *container["EntryPoint"][1:], *(here.get(word, word) for word in container["Command"])]
    keys = {name: os.environ[name] for name in ("PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    variables = variables_of("IngestTask", plain) | keys | {"AWS_ENDPOINT_URL": aws, "S3_URL": aws, "PYTHONPATH": str(ROOT)}
    variables |= {"DICOM_WORKFLOW_WORKSPACE": str(workspace), "HOME": str(workspace)}
    with (workspace / "log").open("wb") as log, subprocess.Popen(command, env=variables, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def left_in(queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    response = boto3.client("sqs", region_name=REGION).get_queue_attributes(QueueUrl=queue, AttributeNames=names)
    return sum(int(response["Attributes"][name]) for name in names)


def test_what_is_put_into_the_bucket_is_found_in_the_index_on_s3(
    notified: tuple[str, str], tmp_path: Path, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, queue = notified
    monkeypatch.setenv("S3_URL", aws)
    s3 = boto3.client("s3", region_name=REGION)
    uid, image = radiograph(1)
    s3.put_object(Bucket=bucket, Key="images/one.dcm", Body=image)
    s3.put_object(Bucket=bucket, Key="images/broken.dcm", Body=b"no image")
    s3.put_object(Bucket=bucket, Key="reports/first.txt", Body=b"FINDINGS: Small left pneumothorax. No pleural effusion.")
    s3.put_object(Bucket=bucket, Key="elsewhere/second.txt", Body=b"FINDINGS: Pneumothorax.")
    assert left_in(queue) == 4  # the three, and the message by which S3 tests the queue
    with ingest_container(queue, tmp_path, aws) as process:
        deadline = time.monotonic() + 120
        while left_in(queue):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
    said = (tmp_path / "log").read_text()
    with contextlib.closing(open_store("s3://search/index")) as store:
        page = store.search_reports(ReportQuery(text="pneumothorax"))
        assert [hit.report.report_id for hit in page.hits] == ["first"]
        assert page.hits[0].report.codes("positive")
        assert [document.image_id for document in store.scan_images()] == [uid]
    assert "pneumothorax" not in said.lower() and "effusion" not in said.lower()  # no text of a report in the log
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert not [key for key in keys if "salt" in key]  # the salt is that of the secret
