"""Thirty-six flaws of published templates, inserted into ours one at a time: each is reported by its rule, and only then."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from support.templates import lint, template

Body = dict[str, Any]
Change = Callable[[Body], None]
ARN = "arn:aws:iam::aws:policy/"


def of_type(body: Body, kind: str) -> Body:
    """Return the properties of the first resource of a type."""
    found = next((node for node in body["Resources"].values() if node["Type"] == kind), None)
    assert found is not None, f"the template has no {kind}; name another one in the list of flaws"
    properties: Body = found.setdefault("Properties", {})
    return properties


def opened(port: int) -> Change:
    def change(body: Body) -> None:
        rules = of_type(body, "AWS::EC2::SecurityGroup").setdefault("SecurityGroupIngress", [])
        rules.append({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "0.0.0.0/0"})

    return change


def put(kind: str, *keys: str | int, value: Any) -> Change:
    """Set a property of the first resource of a type."""

    def change(body: Body) -> None:
        node: Any = of_type(body, kind)
        for key in keys[:-1]:
            node = node[key] if isinstance(key, int) else node.setdefault(key, {})
        node[keys[-1]] = value

    return change


def taken(kind: str, *keys: str) -> Change:
    """Remove a property of the first resource of a type."""

    def change(body: Body) -> None:
        node: Any = of_type(body, kind)
        for key in keys[:-1]:
            node = node[key]
        del node[keys[-1]]

    return change


def container(body: Body) -> Body:
    """Return the main container of the task definition."""
    found: list[Body] = of_type(body, "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return next(part for part in found if part.get("Essential", True))


def in_container(key: str, value: Any) -> Change:
    def change(body: Body) -> None:
        container(body)[key] = value

    return change


def in_environment(name: str, value: Any) -> Change:
    def change(body: Body) -> None:
        kept = [pair for pair in container(body).get("Environment", []) if pair.get("Name") != name]
        container(body)["Environment"] = [*kept, {"Name": name, "Value": value}]

    return change


def with_policy(name: str) -> Change:
    def change(body: Body) -> None:
        of_type(body, "AWS::IAM::Role").setdefault("ManagedPolicyArns", []).append(ARN + name)

    return change


def allowing(*actions: str) -> Change:
    """Allow the first role these actions on every resource."""

    def change(body: Body) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        of_type(body, "AWS::IAM::Role").setdefault("Policies", []).append({"PolicyName": "more", "PolicyDocument": document})

    return change


def inline(code: str) -> Change:
    """Replace the package of the first function with inline code."""

    def change(body: Body) -> None:
        of_type(body, "AWS::Lambda::Function")["Code"] = {"ZipFile": code}

    return change


def site(policy: str, origin: Body) -> Change:
    """Add a CloudFront distribution in front of the archive; our templates have none."""

    def change(body: Body) -> None:
        config = {
            "Enabled": True,
            "DefaultCacheBehavior": {"TargetOriginId": "archive", "ViewerProtocolPolicy": policy},
            "Origins": [{"Id": "archive", "DomainName": "archive.example.org", "CustomOriginConfig": origin}],
        }
        body["Resources"]["Site"] = {"Type": "AWS::CloudFront::Distribution", "Properties": {"DistributionConfig": config}}

    return change


def without_policies(body: Body) -> None:
    body["Resources"] = {name: node for name, node in body["Resources"].items() if node["Type"] != "AWS::S3::BucketPolicy"}


def snapshot(body: Body) -> None:
    next(node for node in body["Resources"].values() if node["Type"] == "AWS::EFS::FileSystem")["DeletionPolicy"] = "Snapshot"


CORS = """
import boto3
def handler(event, context):
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}
    boto3.client("s3").put_bucket_cors(Bucket="images", CORSConfiguration={"CORSRules": [rule]})
"""
MISSING = "from s3_helper import S3Client\ndef handler(event, context):\n    return S3Client().read()\n"
SILENT = "def handler(event, context):\n    try:\n        return event['source']\n    except:\n        pass\n"
LOUD = "import json\ndef handler(event, context):\n    print('event', json.dumps(event))\n"
TASK, SERVICE = "AWS::ECS::TaskDefinition", "AWS::ECS::Service"
BUCKET, NOTEBOOK = "AWS::S3::Bucket", "AWS::SageMaker::NotebookInstance"
LISTENER, GROUP = "AWS::ElasticLoadBalancingV2::Listener", "AWS::ElasticLoadBalancingV2::TargetGroup"

# (number in the list of published flaws, the flaw, our template, the rule that must report it, how to insert it)
FLAWS: tuple[tuple[int, str, str, str, Change], ...] = (
    (1, "DICOM port 4242 open to the world", "archive", "E9101", opened(4242)),
    (2, "HTTP port 80 open to the world", "archive", "E9102", opened(80)),
    (3, "SSH port 22 open to the world", "archive", "E9103", opened(22)),
    (4, "database port 5432 open to the world", "archive", "E9104", opened(5432)),
    (5, "HTTP listener without redirect", "archive", "E9106", put(LISTENER, "Protocol", value="HTTP")),
    (6, "CloudFront accepts http", "archive", "E9108", site("allow-all", {"OriginProtocolPolicy": "https-only"})),
    (7, "CloudFront origin http-only", "archive", "E9109", site("https-only", {"OriginProtocolPolicy": "http-only"})),
    (7, "CloudFront origin with old TLS", "archive", "E9109",
     site("https-only", {"OriginProtocolPolicy": "https-only", "OriginSSLProtocols": ["TLSv1", "TLSv1.2"]})),
    (8, "Orthanc authentication off", "archive", "E9201", in_environment("ORTHANC__AUTHENTICATION_ENABLED", "false")),
    (9, "database password in the environment", "archive", "E9202", in_environment("ORTHANC__POSTGRESQL__PASSWORD", "orthanc")),
    (9, "resolved secret in the environment", "labeling", "E9202",
     in_environment("DATABASE", "{{resolve:secretsmanager:db:SecretString:password}}")),
    (10, "container image not pinned", "archive", "E9203", in_container("Image", "jodogne/orthanc-plugins:latest")),
    (11, "writable root file system", "archive", "E9205", in_container("ReadonlyRootFilesystem", False)),
    (12, "exec into the container on", "archive", "E9206", put(SERVICE, "EnableExecuteCommand", value=True)),
    (13, "health check accepts 4xx", "archive", "E9207", put(GROUP, "Matcher", value={"HttpCode": "200-499"})),
    (14, "database without deletion protection", "archive", "E9301",
     put("AWS::RDS::DBCluster", "DeletionProtection", value=False)),
    (15, "EFS full-access policy", "archive", "E9401", with_policy("AmazonElasticFileSystemFullAccess")),
    (16, "AmazonS3FullAccess", "labeling", "E9401", with_policy("AmazonS3FullAccess")),
    (17, "AmazonSageMakerFullAccess", "training", "E9401", with_policy("AmazonSageMakerFullAccess")),
    (18, "AWSLambda_FullAccess", "labeling", "E9401", with_policy("AWSLambda_FullAccess")),
    (19, "iam:PassRole on *", "training", "E9403", allowing("iam:PassRole")),
    (20, "sts:AssumeRole on *", "labeling", "E9404", allowing("sts:AssumeRole")),
    (21, "S3 writes on *", "labeling", "E9405", allowing("s3:GetObject", "s3:PutObject")),
    (22, "ECR writes on *", "training", "E9406", allowing("ecr:PutImage", "ecr:InitiateLayerUpload")),
    (23, "notebook with direct internet access", "notebook", "E9601", put(NOTEBOOK, "DirectInternetAccess", value="Enabled")),
    (24, "notebook with root access", "notebook", "E9602", put(NOTEBOOK, "RootAccess", value="Enabled")),
    (25, "notebook volume without a KMS key", "notebook", "E9603", taken(NOTEBOOK, "KmsKeyId")),
    (26, "bucket without public access block", "labeling", "E9302", taken(BUCKET, "PublicAccessBlockConfiguration")),
    (27, "bucket that accepts HTTP", "labeling", "E9303", without_policies),
    (28, "bucket without customer KMS key", "labeling", "E9304", taken(BUCKET, "BucketEncryption")),
    (29, "inline Lambda imports a missing module", "labeling", "E9501", inline(MISSING)),
    (30, "bare except in a Lambda", "labeling", "E9502", inline(SILENT)),
    (31, "Lambda prints the event", "labeling", "E9503", inline(LOUD)),
    (32, "runtime python3.6", "labeling", "E9504", put("AWS::Lambda::Function", "Runtime", value="python3.6")),
    (32, "runtime python3.8", "labeling", "E9504", put("AWS::Lambda::Function", "Runtime", value="python3.8")),
    (32, "runtime nodejs14.x", "labeling", "E9504", put("AWS::Lambda::Function", "Runtime", value="nodejs14.x")),
    (33, "database engine out of support", "archive", "E9701", put("AWS::RDS::DBCluster", "EngineVersion", value="11.9")),
    (34, "fixed bucket name", "labeling", "E9702", put(BUCKET, "BucketName", value="radiographs")),
    (34, "fixed role name", "labeling", "E9702", put("AWS::IAM::Role", "RoleName", value="labeling-role")),
    (34, "fixed function name", "labeling", "E9702", put("AWS::Lambda::Function", "FunctionName", value="pre-annotation")),
    (35, "CORS * from inline code", "labeling", "E9505", inline(CORS)),
    (35, "CORS * of the bucket", "labeling", "E9306",
     put(BUCKET, "CorsConfiguration", value={"CorsRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]})),
    (36, "EFS access point as root", "archive", "E9307", put("AWS::EFS::AccessPoint", "PosixUser", "Uid", value="0")),
    (36, "DeletionPolicy that the type does not support", "archive", "E9703", snapshot),
)  # fmt: skip


SEEN: dict[int, bool] = {}  # number of the flaw → whether every variant tested so far was reported


@cache
def before(stack: str) -> frozenset[str]:
    """Return the rules that report the unchanged template."""
    return frozenset(match.rule.id for match in lint(template(stack)))


def is_reported(stack: str, rule: str, change: Change) -> bool:
    """Whether the rule reports the template with the flaw and not without it."""
    body = template(stack)
    change(body)
    assert body != template(stack), "the flaw changed nothing"
    return rule not in before(stack) and rule in {match.rule.id for match in lint(body, only=rule)}


@pytest.mark.parametrize(("number", "what", "stack", "rule", "change"), FLAWS, ids=[f"{flaw[0]} {flaw[1]}" for flaw in FLAWS])
def test_a_flaw_is_reported_by_its_rule(number: int, what: str, stack: str, rule: str, change: Change) -> None:
    assert rule not in before(stack), f"{stack}.yaml already has flaw {number}, {what}"
    SEEN[number] = SEEN.get(number, True) and is_reported(stack, rule, change)
    assert SEEN[number], f"{rule} does not report flaw {number}, {what}"


def test_all_thirty_six_flaws_are_tested() -> None:
    assert {flaw[0] for flaw in FLAWS} == set(range(1, 37))


def test_the_count_of_reported_flaws_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts the flaws of this run; a flaw that was not reported has failed its own test above."""
    with capsys.disabled():
        print("\n" + json.dumps({"flaws_caught": f"{sum(SEEN.values())}/36"}))
    assert all(SEEN.values())


def test_our_templates_are_not_reported(stack: str) -> None:
    assert [f"{match.rule.id} line {match.linenumber}: {match.message}" for match in lint(template(stack))] == []
