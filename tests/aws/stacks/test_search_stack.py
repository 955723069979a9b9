"""The search stack: what each store makes, what runs when, who signs in, and the ingest container on events of a bucket.

What every role may do, and that every choice of parameters has a value for everything, is asked in test_stack_permissions.py
and test_stack_evaluation.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.iam_evaluator import Request, decide
from support.stack_evaluator import ACCOUNT, Evaluation
from support.templates import GIVEN, REGION, template

from dicom_workflow import cli

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


def variables_of(task: str, *chosen: dict[str, str]) -> dict[str, str]:
    """What the process gets, with the secrets that ECS would read."""
    (container,) = properties(stack(SERVED, *chosen), task)["ContainerDefinitions"]
    secrets = {entry["Name"]: f"secret of {entry['Name']}" for entry in container["Secrets"]}
    return {entry["Name"]: str(entry["Value"]) for entry in container["Environment"]} | secrets


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


@pytest.mark.parametrize("store", STORES)
def test_the_command_line_knows_every_command_of_the_stack(store: str) -> None:
    trial = stack(SERVED, SearchStore=store)
    parsed = {name: cli._parser().parse_args(["search", *words]) for name, words in commands(trial).items()}
    assert parsed["IngestTask"].source == f"sqs:{trial.outputs['SearchQueueUrl']}"
    assert (parsed["IngestTask"].watch, parsed["IngestTask"].model) == (True, SERVED["SearchModelUri"])
    assert (parsed["ArchiveIndexing"].source, parsed["ArchiveIndexing"].watch) == ("archive", False)
    assert len({options.store for options in parsed.values()}) == 1
    served = parsed["ServiceTask"]
    assert (served.hosts, served.trust_proxy, served.model) == ([HOST], ["10.42.0.0/16"], SERVED["SearchModelUri"])
    assert parsed["IngestTask"].store.startswith(trial.outputs["SearchStoreUrl"])


def test_without_a_model_reports_are_indexed_and_images_have_no_embeddings() -> None:
    (container,) = properties(stack(SERVED, SearchModelUri="", ArchiveSchedule=""), "IngestTask")["ContainerDefinitions"]
    assert container["Command"][-2:] == ["--model", "none"]


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
