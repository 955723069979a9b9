"""The labeling stack under its choices: what each makes, who may read the images, and that the service starts with what it has.

What every role may do, and that every choice of parameters has a value for everything, is asked in test_stack_permissions.py
and test_stack_evaluation.py.
"""

from __future__ import annotations

import fnmatch
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.iam_evaluator import Request, decide
from support.stack_evaluator import ACCOUNT, Evaluation, calls
from support.templates import GIVEN, REGION, template

from dicom_workflow.settings import Settings

NAME = "dicom-workflow-labeling"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"
HOST = GIVEN["PortalHostName"]
ORTHANC_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:archive-AbCdEf"
COMMON = {"KeyArn": KEY, "ArtifactsBucket": "artifacts", "LogsBucket": "logs"}
GROUND_TRUTH = {name: GIVEN[name] for name in ("PreAnnotationKey", "PostAnnotationKey")}
EXISTING = {name: GIVEN[name] for name in ("ExistingUserPoolId", "ExistingUserPoolClientId")} | {"WorkforceMode": "existing"}
SELF_HOSTED = {
    "LabelingBackend": "SelfHosted",
    "VpcId": "vpc-0123",
    "VpcCidr": "127.0.0.0/16",  # the test's own address stands in for the load balancer's
    "PrivateSubnetIds": "subnet-0a,subnet-0b",
    "CertificateArn": GIVEN["CertificateArn"],
    "PortalHostName": HOST,
    "LabelingServiceContextKey": GIVEN["LabelingServiceContextKey"],
    "LabelingServiceImage": GIVEN["LabelingServiceImage"],
    "OrthancUrl": "https://archive.example.org",
    "OrthancSecretArn": ORTHANC_SECRET,
    "ArchiveClientSecurityGroupId": "sg-0a",
}


def stack(*chosen: dict[str, str], name: str = NAME, **more: str) -> Evaluation:
    values = dict(COMMON)
    for choice in chosen or (GROUND_TRUTH,):
        values |= choice
    return Evaluation(template("labeling"), values | more, name)


def properties(trial: Evaluation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = trial.resources[name]["Properties"]
    return found


def types(trial: Evaluation) -> set[str]:
    return {resource["Type"].rpartition("::")[0] for resource in trial.resources.values()}


# ---- What is made -----------------------------------------------------------------------------------------------------------


def test_ground_truth_makes_functions_and_people_and_nothing_in_a_network() -> None:
    made = {"AWS::S3", "AWS::IAM", "AWS::SQS", "AWS::Logs", "AWS::Lambda", "AWS::CloudWatch", "AWS::Cognito", "AWS::SageMaker"}
    assert types(stack()) == made


def test_the_self_hosted_service_makes_no_functions_and_no_people() -> None:
    made = {"AWS::S3", "AWS::IAM", "AWS::Logs", "AWS::ECR", "AWS::CodeBuild", "AWS::SecretsManager", "AWS::EC2", "AWS::RDS"}
    assert types(stack(SELF_HOSTED)) == made | {"AWS::ECS", "AWS::ElasticLoadBalancingV2", "AWS::CloudWatch"}


def test_before_the_first_image_everything_is_made_but_what_runs_it() -> None:
    without, whole = stack(SELF_HOSTED, LabelingServiceImage=""), stack(SELF_HOSTED)
    missing = whole.resources.keys() - without.resources.keys()
    assert missing == {
        "LabelingServiceStartRole",
        "LabelingServiceRole",
        "LabelingServiceTask",
        "LabelingService",
        "NobodyAnswers",
    }
    assert whole.outputs.keys() == without.outputs.keys()


def test_the_accounts_one_workforce_is_used_where_there_is_one() -> None:
    made = {name for name in stack().resources if name.startswith(("UserPool", "Workforce"))}
    assert made == {"UserPool", "UserPoolDomain", "UserPoolClient", "Workforce"}
    trial = stack(GROUND_TRUTH, EXISTING)
    assert not made & trial.resources.keys()
    (member,) = properties(trial, "Workteam")["MemberDefinitions"]
    assert member["CognitoMemberDefinition"]["CognitoUserPool"] == EXISTING["ExistingUserPoolId"]
    assert member["CognitoMemberDefinition"]["CognitoClientId"] == EXISTING["ExistingUserPoolClientId"]
    assert properties(trial, "WorkerGroup")["UserPoolId"] == EXISTING["ExistingUserPoolId"]
    assert "WorkforceName" not in properties(trial, "Workteam")  # that of the workforce, which nobody told us


def test_the_team_waits_for_its_workforce() -> None:
    """Asked for before there is one, SageMaker refuses the team, or makes a workforce beside ours; an account has one."""
    team = template("labeling")["Resources"]["Workteam"]
    assert "Workforce.SubDomain" in {body if isinstance(body, str) else ".".join(body) for kind, body in calls(team)
                                     if kind == "Fn::GetAtt"}  # fmt: skip
    tags = properties(stack(GROUND_TRUTH, EXISTING), "Workteam")["Tags"]
    assert {"Key": "dicom-workflow:portal", "Value": "existing"} in tags


@pytest.mark.parametrize("cpu", ["512", "1024", "2048", "4096"])
@pytest.mark.parametrize("memory", ["2048", "4096", "8192"])
def test_a_size_that_fargate_does_not_know_is_refused(cpu: str, memory: str) -> None:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html, in MiB
    known = {"512": (1024, 4096), "1024": (2048, 8192), "2048": (4096, 16384), "4096": (8192, 30720)}
    least, most = known[cpu]
    refused = any(
        "requires LabelingServiceMemory" in text
        for text in stack(SELF_HOSTED, LabelingServiceCpu=cpu, LabelingServiceMemory=memory).refused()
    )
    assert refused is not (least <= int(memory) <= most)


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"PreAnnotationKey": GIVEN["PreAnnotationKey"]}, "requires PostAnnotationKey"),
        ({"PostAnnotationKey": GIVEN["PostAnnotationKey"]}, "requires PreAnnotationKey"),
        (GROUND_TRUTH | {"WorkforceMode": "existing"}, "requires ExistingUserPoolId"),
        (SELF_HOSTED | {"CertificateArn": ""}, "serves TLS only"),
        (SELF_HOSTED | {"PortalHostName": ""}, "requires PortalHostName"),
        (SELF_HOSTED | {"VpcId": ""}, "requires VpcId"),
        ({name: value for name, value in SELF_HOSTED.items() if name != "VpcCidr"}, "requires VpcCidr"),
        (SELF_HOSTED | {"PrivateSubnetIds": ""}, "requires PrivateSubnetIds"),
        (SELF_HOSTED | {"LabelingServiceContextKey": ""}, "requires LabelingServiceContextKey"),
        (SELF_HOSTED | {"LoadBalancerScheme": "internet-facing", "PublicSubnetIds": "subnet-0c"}, "requires ClientCidr"),
        (SELF_HOSTED | {"LoadBalancerScheme": "internet-facing", "ClientCidr": "203.0.113.0/24"}, "requires PublicSubnetIds"),
    ],
)
def test_a_choice_that_cannot_work_is_refused_before_anything_is_made(chosen: dict[str, str], reason: str) -> None:
    assert any(reason in text for text in stack(chosen).refused())


@pytest.mark.parametrize("chosen", [GROUND_TRUTH, GROUND_TRUTH | EXISTING, SELF_HOSTED])
def test_a_choice_that_works_is_not_refused(chosen: dict[str, str]) -> None:
    assert stack(chosen).refused() == []


# ---- Who may read the images ------------------------------------------------------------------------------------------------


def origins(trial: Evaluation) -> list[str]:
    rules = properties(trial, "LabelingBucket").get("CorsConfiguration", {}).get("CorsRules", [])
    assert all(rule["AllowedMethods"] == ["GET"] for rule in rules)
    return [origin for rule in rules for origin in rule["AllowedOrigins"]]


def test_images_are_read_from_the_portal_of_the_workforce_alone() -> None:
    trial = stack()
    assert origins(trial) == [trial.outputs["PortalUrl"]]
    assert re.fullmatch(rf"https://[0-9a-f]+\.labeling\.{REGION}\.sagemaker\.aws", origins(trial)[0])


def test_with_an_existing_workforce_from_labeling_portals_of_the_region_or_the_one_named() -> None:
    (pattern,) = origins(stack(GROUND_TRUTH, EXISTING))
    assert fnmatch.fnmatch(f"https://abc.labeling.{REGION}.sagemaker.aws", pattern)
    for stranger in (
        "https://example.org",
        "https://abc.labeling.eu-west-1.sagemaker.aws",
        f"http://a.labeling.{REGION}.sagemaker.aws",
    ):
        assert not fnmatch.fnmatch(stranger, pattern)
    named = stack(GROUND_TRUTH, EXISTING, WorkerOrigin=GIVEN["WorkerOrigin"])
    assert origins(named) == [GIVEN["WorkerOrigin"]]
    assert named.outputs["PortalUrl"] == GIVEN["WorkerOrigin"]


def test_the_self_hosted_portal_serves_images_itself() -> None:
    assert origins(stack(SELF_HOSTED)) == []


@pytest.mark.parametrize(
    "origin", ["*", "https://*", "https://*.sagemaker.aws", "http://portal.example.org", "https://a.b/x", "https://a"]
)
def test_no_wider_origin_can_be_given(origin: str) -> None:
    assert not re.fullmatch(template("labeling")["Parameters"]["WorkerOrigin"]["AllowedPattern"], origin)


WRITE = f"arn:aws:iam::{ACCOUNT}:role/writer"
HEADER = "s3:x-amz-server-side-encryption"
UPLOADS = {
    # how it is encrypted: what the request says of it, whether it is taken
    "by the bucket's setting": ({}, True),
    "with our key": ({HEADER: "aws:kms", f"{HEADER}-aws-kms-key-id": KEY}, True),
    "with KMS, the key not named": ({HEADER: "aws:kms"}, True),
    "with another key": ({HEADER: "aws:kms", f"{HEADER}-aws-kms-key-id": KEY.replace("0123", "9999")}, False),
    "with S3's own keys": ({HEADER: "AES256"}, False),
}


@pytest.mark.parametrize(("said", "taken"), UPLOADS.values(), ids=UPLOADS)
def test_an_upload_is_encrypted_with_our_key_or_refused(said: dict[str, str], taken: bool) -> None:
    trial = stack()
    resource = f"arn:aws:s3:::{trial.physical_name('LabelingBucket')}/jobs/one/answer.json"
    policy = properties(trial, "LabelingBucketPolicy")["PolicyDocument"]["Statement"]
    allowed = [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}]
    context = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.3", **said}
    assert decide(Request(WRITE, "s3:PutObject", resource, context), allowed, policy, owner=ACCOUNT) is taken


# ---- The people -------------------------------------------------------------------------------------------------------------


def test_nobody_signs_up_by_himself_or_in_with_a_password_alone() -> None:
    pool = properties(stack(), "UserPool")
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is True
    assert (pool["MfaConfiguration"], pool["EnabledMfas"]) == ("ON", ["SOFTWARE_TOKEN_MFA"])
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] >= 14
    assert pool["DeletionProtection"] == "ACTIVE"
    assert properties(stack(ProtectData="false"), "UserPool")["DeletionProtection"] == "INACTIVE"
    assert properties(stack(), "UserPoolClient")["GenerateSecret"] is True  # SageMaker refuses a client without one


def test_a_second_deployment_tells_the_sign_in_where_the_portal_is() -> None:
    """The portal's address is known when the workforce is made, and the workforce is made of this client."""
    first, origin = stack(), stack().outputs["PortalUrl"]
    assert not {"CallbackURLs", "AllowedOAuthFlows", "LogoutURLs"} & properties(first, "UserPoolClient").keys()
    second = stack(GROUND_TRUTH, WorkerOrigin=origin)
    client = properties(second, "UserPoolClient")
    assert client["CallbackURLs"] == [origin, f"{origin}/oauth2/idpresponse"]
    assert client["AllowedOAuthFlows"] == ["code"]  # no token in an address
    assert client["AllowedOAuthFlowsUserPoolClient"] is True
    assert origins(second) == origins(first) == [origin]
    assert second.outputs["PortalUrl"] == origin


def test_names_are_made_of_the_stacks_and_fit_their_limits() -> None:
    longest = stack(name="a" * 31 + "-labeling")
    assert len(properties(longest, "UserPoolDomain")["Domain"]) <= 63
    # WorkteamName of CreateWorkteam.
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", properties(longest, "Workteam")["WorkteamName"])
    assert properties(longest, "Workforce")["WorkforceName"] != properties(stack(), "Workforce")["WorkforceName"]


def test_workers_are_held_to_the_clients_addresses_when_there_are_any() -> None:
    assert "SourceIpConfig" not in properties(stack(), "Workforce")
    limited = properties(stack(GROUND_TRUTH, ClientCidr="203.0.113.0/24"), "Workforce")
    assert limited["SourceIpConfig"] == {"Cidrs": ["203.0.113.0/24"]}


@pytest.mark.parametrize("name", ["PreAnnotation", "PostAnnotation"])
def test_concurrency_is_reserved_only_when_asked(name: str) -> None:
    """An account with its first ten executions could not make the stack otherwise."""
    assert "ReservedConcurrentExecutions" not in properties(stack(), name)
    assert properties(stack(GROUND_TRUTH, LambdaConcurrency="20"), name)["ReservedConcurrentExecutions"] == "20"


# ---- The self-hosted service ------------------------------------------------------------------------------------------------


def container() -> dict[str, Any]:
    (found,) = properties(stack(SELF_HOSTED), "LabelingServiceTask")["ContainerDefinitions"]
    return dict(found)


def environment() -> dict[str, str]:
    """What the process gets, with the secrets that ECS would read."""
    secrets = {entry["Name"]: f"secret of {entry['Name']}" for entry in container()["Secrets"]}
    return {entry["Name"]: str(entry["Value"]) for entry in container()["Environment"]} | secrets


def test_only_one_process_may_write_the_job_database() -> None:
    service = properties(stack(SELF_HOSTED), "LabelingService")
    assert service["DesiredCount"] == 1
    rollout = service["DeploymentConfiguration"]
    assert (rollout["MinimumHealthyPercent"], rollout["MaximumPercent"]) == (0, 100)
    assert not [one for one in stack(SELF_HOSTED).resources.values() if "AutoScaling" in one["Type"]]


@pytest.mark.parametrize("name", sorted(environment()))
def test_the_settings_read_every_variable_of_the_service(name: str) -> None:
    given = environment()
    other = "6543" if name.endswith("_PORT") else given[name] + "x"
    assert Settings.from_env(given | {name: other}) != Settings.from_env(given)


def test_the_service_finds_its_database_and_its_archive() -> None:
    settings = Settings.from_env(environment())
    database = settings.groundtruth_database
    assert database.host.endswith(".rds.amazonaws.com")
    assert database.user == "secret of GROUNDTRUTH_DATABASE_USER"
    assert database.password.reveal() == "secret of GROUNDTRUTH_DATABASE_PASSWORD"
    assert settings.orthanc_url == "https://archive.example.org"
    assert settings.orthanc_password.reveal() == "secret of ORTHANC_PASSWORD"
    assert settings.groundtruth_secret_key.reveal() == "secret of GROUNDTRUTH_SECRET_KEY"


def test_no_secret_stands_where_the_console_shows_it() -> None:
    plain = {entry["Name"] for entry in container()["Environment"]}
    assert not [name for name in plain if re.search("PASSWORD|SECRET|KEY|USER|TOKEN", name)]
    readable = properties(stack(SELF_HOSTED), "LabelingServiceStartRole")["Policies"][0]["PolicyDocument"]["Statement"]
    (secrets,) = (statement["Resource"] for statement in readable if statement["Action"] == "secretsmanager:GetSecretValue")
    assert {entry["ValueFrom"].rsplit(":", 3)[0] for entry in container()["Secrets"]} == set(secrets)


def test_what_is_written_lies_on_volumes_and_nothing_else_can_be() -> None:
    given = container()
    assert given["ReadonlyRootFilesystem"] is True
    assert given["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert int(given["User"].partition(":")[0]) > 0
    writable = {mount["ContainerPath"] for mount in given["MountPoints"]}
    assert writable == {environment()["DICOM_WORKFLOW_WORKSPACE"], "/tmp"}  # noqa: S108, a path in the container
    volumes = {volume["Name"] for volume in properties(stack(SELF_HOSTED), "LabelingServiceTask")["Volumes"]}
    assert {mount["SourceVolume"] for mount in given["MountPoints"]} == volumes


def test_everybody_means_the_same_port() -> None:
    trial = stack(SELF_HOSTED)
    port = int(container()["Command"][container()["Command"].index("--port") + 1])
    (entry,) = properties(trial, "LabelingServiceSecurityGroup")["SecurityGroupIngress"]
    said = {
        container()["PortMappings"][0]["ContainerPort"],
        properties(trial, "TargetGroup")["Port"],
        properties(trial, "LabelingService")["LoadBalancers"][0]["ContainerPort"],
        properties(trial, "LoadBalancerToLabelingService")["ToPort"],
        entry["ToPort"],
    }
    assert said == {port}


@pytest.mark.parametrize(
    ("scheme", "subnets"), [("internal", ["subnet-0a", "subnet-0b"]), ("internet-facing", ["subnet-0c", "subnet-0d"])]
)
def test_the_load_balancer_stands_where_it_was_told(scheme: str, subnets: list[str]) -> None:
    public = {"PublicSubnetIds": "subnet-0c,subnet-0d", "ClientCidr": "203.0.113.0/24", "LoadBalancerScheme": scheme}
    balancer = properties(stack(SELF_HOSTED, public), "LoadBalancer")
    assert (balancer["Scheme"], balancer["Subnets"]) == (scheme, subnets)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real service, started with the template's command and variables, but with a file in the database's place."""
    workspace = tmp_path_factory.mktemp("workspace")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [part.replace("0.0.0.0", "127.0.0.1") for part in map(str, container()["Command"])]  # noqa: S104, as it stands there
    command[command.index("--port") + 1] = port
    entry = [sys.executable if part == "python" else part for part in container()["EntryPoint"]]
    variables = {name: value for name, value in environment().items() if "DATABASE" not in name}
    variables |= {"DICOM_WORKFLOW_WORKSPACE": str(workspace), "PATH": os.environ["PATH"]}
    variables["PYTHONPATH"] = str(Path(__file__).parents[3])
    log = workspace / "log"
    with log.open("wb") as stream, subprocess.Popen([*entry, *command], env=variables, stdout=stream, stderr=stream) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            while not _answers(url):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_the_service_starts_with_the_templates_command_and_is_healthy_as_the_load_balancer_asks(service: str) -> None:
    target = properties(stack(SELF_HOSTED), "TargetGroup")
    answer = requests.get(service + target["HealthCheckPath"], timeout=30)  # by address: a load balancer knows no name
    assert str(answer.status_code) == target["Matcher"]["HttpCode"] == "200"


def test_the_service_answers_to_its_name_and_believes_the_load_balancer_that_the_browser_came_by_tls(service: str) -> None:
    page, forwarded = f"{service}/sign-in", {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
    assert requests.get(page, timeout=30).status_code == 421
    answer = requests.get(page, headers={"Host": HOST, **forwarded}, timeout=30)
    assert answer.status_code == 200
    assert "max-age" in answer.headers["Strict-Transport-Security"]  # said by TLS only
    assert "Strict-Transport-Security" not in requests.get(page, headers={"Host": HOST}, timeout=30).headers
