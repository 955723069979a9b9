"""Who may do what: each role is asked what it must and must not be able to do, and answers by its policies alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import pytest
from support.iam_evaluator import PolicyError, Request, Statement, applies, decide, listed, names
from support.stack_evaluator import ACCOUNT, REGION, Evaluation
from support.templates import STACKS, template
from test_stack_evaluation import combinations, name_of, sample

STRANGER = "arn:aws:iam::999999999999:role/stranger"
COLLEAGUE = f"arn:aws:iam::{ACCOUNT}:role/colleague"
TLS = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.2"}
CLEAR = {"aws:SecureTransport": "false"}

# The only actions that may be allowed on every resource, and why.
ON_EVERYTHING = {
    "cloudwatch:PutMetricData": "takes no resource; narrowed to a namespace by a condition",
    "ec2:DescribeDhcpOptions": "takes no resource; SageMaker asks for it before it joins a VPC",
    "ec2:DescribeNetworkInterfaces": "takes no resource; SageMaker asks for it before it joins a VPC",
    "ec2:DescribeSecurityGroups": "takes no resource; SageMaker asks for it before it joins a VPC",
    "ec2:DescribeSubnets": "takes no resource; SageMaker asks for it before it joins a VPC",
    "ec2:DescribeVpcs": "takes no resource; SageMaker asks for it before it joins a VPC",
    "ecr:GetAuthorizationToken": "takes no resource; what may be pulled with the token is decided by the other statements",
    "sagemaker:ListLabelingJobs": "takes no resource; shows names and states only",
    "sagemaker:ListTrainingJobs": "takes no resource; shows names and states only",
    "sagemaker:ListTransformJobs": "takes no resource; shows names and states only",
    "sagemaker:ListWorkteams": "takes no resource; shows names only",
    "xray:PutTelemetryRecords": "takes no resource; writes traces of the caller",
    "xray:PutTraceSegments": "takes no resource; writes traces of the caller",
}

# How the templates are asked for: name, stack, and what differs from the defaults.
DEPLOYMENTS = {
    "foundation": ("foundation", {}),
    "network": ("network", {"NatMode": "none"}),
    "archive": ("archive", {}),
    "archive-bucket": ("archive", {"PixelStore": "S3"}),
    "archive-files": ("archive", {"PixelStore": "EFS"}),
    "healthimaging": ("archive", {"ArchiveBackend": "HealthImaging"}),
    "labeling": ("labeling", {}),
    "labeling-service": ("labeling", {"LabelingBackend": "SelfHosted"}),
    "training": ("training", {}),
    "search": ("search", {}),
    "search-aurora": ("search", {"SearchStore": "Aurora"}),
    "search-opensearch": ("search", {"SearchStore": "OpenSearch"}),
    "notebook": ("notebook", {}),
    "notebook-inside": ("notebook", {"KeepJobsInVpc": "true"}),
}


@dataclass(frozen=True)
class World:
    """One deployment of one template."""

    trial: Evaluation

    def arn(self, name: str) -> str:
        """The ARN of a resource of the template, or of a parameter; what follows a slash is kept: `Bucket/key`."""
        name, slash, rest = name.partition("/")
        if name in self.trial.parameters:
            value = str(self.trial.parameters[name])
            found = value if value.startswith("arn:") else f"arn:aws:s3:::{value}"
            if value.startswith("vpc-"):
                found = f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc/{value}"
        elif self.trial.template["Resources"][name]["Type"] in ("AWS::SecretsManager::Secret", "AWS::SNS::Topic"):
            found = self.trial.value({"Ref": name}, "test")
        else:
            found = self.trial.value({"Fn::GetAtt": [name, "Arn"]}, "test")
        return found.removesuffix(":*") + slash + rest

    def identity(self, role: str) -> list[Statement]:
        """What the policies of a role say, those attached from outside it too."""
        documents = [policy["PolicyDocument"] for policy in self.trial.resources[role]["Properties"].get("Policies", [])]
        for node in self.trial.resources.values():
            mine = self.trial.physical_name(role) in node["Properties"].get("Roles", [])
            if node["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy") and mine:
                documents.append(node["Properties"]["PolicyDocument"])
        return [statement for document in documents for statement in listed(document["Statement"])]

    def trust(self, role: str) -> list[Statement]:
        return listed(self.trial.resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"])

    def attached(self, resource: str) -> list[Statement]:
        """The policies of buckets, queues and topics that speak of an ARN."""
        found: list[Statement] = []
        for node in self.trial.resources.values():
            if node["Type"] in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"):
                found += listed(node["Properties"]["PolicyDocument"]["Statement"])
            if node["Type"] == "AWS::EFS::FileSystem" and ":file-system/" in resource:
                found += listed(node["Properties"]["FileSystemPolicy"]["Statement"])
        return [
            statement for statement in found if any(resource.startswith(t.rstrip("/*")) for t in listed(statement["Resource"]))
        ]


def world(name: str) -> World:
    stack, chosen = DEPLOYMENTS[name]
    return World(Evaluation(template(stack), sample(stack) | chosen, name_of(stack)))


def may(where: World, role: str, action: str, target: str, **context: str) -> bool:
    """Whether a role of the template may do something; requests to S3 go by TLS unless the context says otherwise."""
    resource = target if target.startswith(("arn:", "*")) else where.arn(target)
    if "/@" in resource:  # the id of a resource or parameter, where an ARN ends in it
        before, _, name = resource.rpartition("@")
        resource = before + str(where.trial.value({"Ref": name}, "test"))
    named = {key: where.arn(value[1:]) if value.startswith("@") else value for key, value in context.items()}
    given = TLS | {key.replace("__", ":"): value for key, value in named.items()}
    request = Request(where.arn(role), action, resource, given)
    return decide(request, where.identity(role), where.attached(resource), owner=ACCOUNT)


def via(service: str) -> dict[str, str]:
    return {"kms__ViaService": f"{service}.{REGION}.amazonaws.com"}


GET, PUT, DELETE, SECRET = "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "secretsmanager:GetSecretValue"
MOUNT, POINT = "elasticfilesystem:ClientMount", "elasticfilesystem__AccessPointArn"
IMAGES = "LabelingBucket/images/a.dcm"
JOBS = "LabelingBucket/jobs/one/output.manifest"
OTHER_REPOSITORY = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/other"
TASKS = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/"
INTERFACE, GROUP = "ec2:CreateNetworkInterface", f"arn:aws:ec2:{REGION}:{ACCOUNT}:security-group/"
HERE = {"ec2__Vpc": "@VpcId"}
# (deployment, role, action, resource, condition keys, whether it must be allowed)
TABLE: tuple[tuple[str, str, str, str, dict[str, str], bool], ...] = (
    # Orthanc: its own pixels, and nothing of anybody else's.
    ("archive-bucket", "TaskRole", PUT, "PixelBucket/a", {}, True),
    ("archive-bucket", "TaskRole", GET, "PixelBucket/a", {}, True),
    ("archive-bucket", "TaskRole", PUT, "PixelBucket/a", {"aws__SecureTransport": "false"}, False),
    ("archive-bucket", "TaskRole", PUT, "PixelBucket/a", {"s3__TlsVersion": "1.1"}, False),
    ("archive-bucket", "TaskRole", "s3:PutBucketPolicy", "PixelBucket", {}, False),
    ("archive-bucket", "TaskRole", PUT, "LogsBucket/alb/a", {}, False),
    ("archive-bucket", "TaskRole", "kms:Decrypt", "KeyArn", via("s3"), True),
    ("archive-bucket", "TaskRole", "kms:Decrypt", "KeyArn", {}, False),
    ("archive-bucket", "TaskRole", "kms:ScheduleKeyDeletion", "KeyArn", {}, False),
    ("archive-bucket", "TaskRole", SECRET, "DatabaseSecret", {}, False),
    ("archive-bucket", "ExecutionRole", SECRET, "DatabaseSecret", {}, True),
    ("archive-bucket", "ExecutionRole", SECRET, "OrthancSecret", {}, True),
    ("archive-bucket", "ExecutionRole", SECRET, f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:payroll-AbCdEf", {}, False),
    ("archive-bucket", "ExecutionRole", GET, "PixelBucket/a", {}, False),
    ("archive-bucket", "ExecutionRole", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {}, False),
    ("archive-files", "TaskRole", MOUNT, "FileSystem", {POINT: "@FileSystemAccessPoint"}, True),
    ("archive-files", "TaskRole", MOUNT, "FileSystem", {}, False),
    ("archive-files", "TaskRole", MOUNT, "FileSystem", {POINT: "@FileSystemAccessPoint", "aws__SecureTransport": "false"},
     False),
    ("archive-files", "TaskRole", "elasticfilesystem:ClientRootAccess", "FileSystem", {POINT: "@FileSystemAccessPoint"}, False),
    ("healthimaging", "HealthImagingImportRole", GET, "PixelBucket/import/a.dcm", {}, True),
    ("healthimaging", "HealthImagingImportRole", GET, "PixelBucket/results/a.ndjson", {}, False),
    ("healthimaging", "HealthImagingImportRole", PUT, "PixelBucket/results/a.ndjson", {}, True),
    ("healthimaging", "HealthImagingImportRole", PUT, "PixelBucket/import/a.dcm", {}, False),
    # Labeling jobs read images and write answers, and cannot rewrite what was labeled.
    ("labeling", "LabelingRole", GET, IMAGES, {}, True),
    ("labeling", "LabelingRole", PUT, IMAGES, {}, False),
    ("labeling", "LabelingRole", PUT, JOBS, {}, True),
    ("labeling", "LabelingRole", PUT, JOBS, {"aws__SecureTransport": "false"}, False),
    ("labeling", "LabelingRole", PUT, JOBS, {"s3__x-amz-server-side-encryption": "AES256"}, False),
    ("labeling", "LabelingRole", DELETE, JOBS, {}, False),
    ("labeling", "LabelingRole", PUT, "ArtifactsBucket/lambda/a.zip", {}, False),
    ("labeling", "LabelingRole", PUT, "arn:aws:s3:::payroll/a", {}, False),
    ("labeling", "LabelingRole", "lambda:InvokeFunction", "PreAnnotation", {}, True),
    ("labeling", "LabelingRole", "lambda:InvokeFunction", "PostAnnotation", {}, True),
    ("labeling", "LabelingRole", "lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:pay", {}, False),
    ("labeling", "LabelingRole", "lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:999999999999:function:pre", {}, False),
    ("labeling", "LabelingRole", "lambda:UpdateFunctionCode", "PreAnnotation", {}, False),
    ("labeling", "LabelingRole", "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {}, False),
    ("labeling", "LabelingRole", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {}, False),
    ("labeling", "LabelingRole", "cloudwatch:PutMetricData", "*", {"cloudwatch__namespace": "AWS/SageMaker"}, True),
    ("labeling", "LabelingRole", "cloudwatch:PutMetricData", "*", {"cloudwatch__namespace": "Payroll"}, False),
    # The function before the reader touches no image; the one after reads answers alone.
    ("labeling", "PreAnnotationRole", GET, IMAGES, {}, False),
    ("labeling", "PreAnnotationRole", "sqs:SendMessage", "DeadLetters", {}, True),
    ("labeling", "PreAnnotationRole", "sqs:ReceiveMessage", "DeadLetters", {}, False),
    ("labeling", "PostAnnotationRole", GET, JOBS, {}, True),
    ("labeling", "PostAnnotationRole", GET, IMAGES, {}, False),
    ("labeling", "PostAnnotationRole", PUT, JOBS, {}, False),
    ("labeling", "PostAnnotationRole", "logs:PutLogEvents", "PostAnnotationLogs/x", {}, False),
    # The self-hosted service: the program has the bucket, what starts it has the secrets, neither has the other's.
    ("labeling-service", "LabelingServiceRole", GET, IMAGES, {}, True),
    ("labeling-service", "LabelingServiceRole", PUT, JOBS, {}, True),
    ("labeling-service", "LabelingServiceRole", PUT, IMAGES, {}, False),
    ("labeling-service", "LabelingServiceRole", SECRET, "DatabaseSecret", {}, False),
    ("labeling-service", "LabelingServiceStartRole", SECRET, "DatabaseSecret", {}, True),
    ("labeling-service", "LabelingServiceStartRole", SECRET, "GroundTruthSecret", {}, True),
    ("labeling-service", "LabelingServiceStartRole", GET, IMAGES, {}, False),
    ("labeling-service", "LabelingServiceStartRole", "ecr:PutImage", "LabelingServiceRepository", {}, False),
    ("labeling-service", "LabelingServiceBuildRole", "ecr:PutImage", "LabelingServiceRepository", {}, True),
    ("labeling-service", "LabelingServiceBuildRole", "ecr:PutImage", OTHER_REPOSITORY, {}, False),
    ("labeling-service", "LabelingServiceBuildRole", GET, "ArtifactsBucket/labeling-service/context.zip", {}, True),
    ("labeling-service", "LabelingServiceBuildRole", GET, "ArtifactsBucket/lambda/pre.zip", {}, False),
    ("labeling-service", "LabelingServiceBuildRole", PUT, "ArtifactsBucket/labeling-service/context.zip", {}, False),
    # Training reads its channel and writes models; it cannot change the data it learned from.
    ("training", "TrainingRole", GET, "TrainingBucket/channel/train.jsonl", {}, True),
    ("training", "TrainingRole", PUT, "TrainingBucket/channel/train.jsonl", {}, False),
    ("training", "TrainingRole", PUT, "TrainingBucket/models/m.tar.gz", {}, True),
    ("training", "TrainingRole", PUT, "TrainingBucket/checkpoints/1", {}, True),
    ("training", "TrainingRole", PUT, "TrainingBucket/capture/1", {}, True),
    ("training", "TrainingRole", DELETE, "TrainingBucket/models/m.tar.gz", {}, False),
    ("training", "TrainingRole", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {}, False),
    ("training", "TrainingRole", "ecr:PutImage", "InferenceRepository", {}, False),
    ("training", "TrainingRole", "ecr:BatchGetImage", "InferenceRepository", {}, True),
    ("training", "TrainingRole", "kms:CreateGrant", "KeyArn", {"kms__GrantIsForAWSResource": "true"}, True),
    ("training", "TrainingRole", "kms:CreateGrant", "KeyArn", {"kms__GrantIsForAWSResource": "false"}, False),
    ("training", "InferenceBuildRole", GET, "ArtifactsBucket/inference/context.zip", {}, True),
    ("training", "InferenceBuildRole", GET, "ArtifactsBucket/labeling-service/context.zip", {}, False),
    ("training", "InferenceBuildRole", "ecr:PutImage", "InferenceRepository", {}, True),
    ("training", "InferenceBuildRole", GET, "TrainingBucket/channel/a.dcm", {}, False),
    # The search service reads, the ingest tasks write, and neither reads a secret or the other buckets.
    ("search", "ServiceRole", GET, "SearchBucket/index/a.lance", {}, True),
    ("search", "ServiceRole", GET, "SearchBucket/images/a.dcm", {}, True),
    ("search", "ServiceRole", GET, "SearchBucket/reports/a.txt", {}, False),
    ("search", "ServiceRole", PUT, "SearchBucket/index/a.lance", {}, False),
    ("search", "ServiceRole", DELETE, "SearchBucket/index/a.lance", {}, False),
    ("search", "ServiceRole", GET, "TrainingBucket/models/m.tar.gz", {}, True),
    ("search", "ServiceRole", GET, "TrainingBucket/channel/a.dcm", {}, False),
    ("search", "ServiceRole", SECRET, "SaltSecret", {}, False),
    ("search", "ServiceRole", "sqs:ReceiveMessage", "IngestQueue", {}, False),
    ("search", "ServiceRole", "kms:Decrypt", "KeyArn", via("s3"), True),
    ("search", "ServiceRole", "kms:GenerateDataKey", "KeyArn", via("s3"), False),
    ("search", "IngestRole", PUT, "SearchBucket/index/a.lance", {}, True),
    ("search", "IngestRole", DELETE, "SearchBucket/index/a.lance", {}, True),
    ("search", "IngestRole", PUT, "SearchBucket/index/a.lance", {"aws__SecureTransport": "false"}, False),
    ("search", "IngestRole", GET, "SearchBucket/images/a.dcm", {}, True),
    ("search", "IngestRole", GET, "SearchBucket/reports/a.txt", {}, True),
    ("search", "IngestRole", PUT, "SearchBucket/images/a.dcm", {}, False),
    ("search", "IngestRole", DELETE, "SearchBucket/reports/a.txt", {}, False),
    ("search", "IngestRole", "sqs:ReceiveMessage", "IngestQueue", {}, True),
    ("search", "IngestRole", "sqs:DeleteMessage", "IngestQueue", {}, True),
    ("search", "IngestRole", "sqs:DeleteMessage", "IngestQueue", {"aws__SecureTransport": "false"}, False),
    ("search", "IngestRole", "sqs:DeleteMessage", "IngestDeadLetters", {}, False),
    ("search", "IngestRole", "sqs:SendMessage", "IngestQueue", {}, False),
    ("search", "IngestRole", SECRET, "SaltSecret", {}, False),
    ("search", "StartRole", SECRET, "SaltSecret", {}, True),
    ("search", "StartRole", SECRET, "OrthancSecretArn", {}, True),
    ("search", "StartRole", GET, "SearchBucket/images/a.dcm", {}, False),
    ("search", "StartRole", "ecr:BatchGetImage", "SearchServiceRepository", {}, True),
    ("search", "StartRole", "ecr:PutImage", "SearchServiceRepository", {}, False),
    ("search", "SearchServiceBuildRole", GET, "ArtifactsBucket/search/context.zip", {}, True),
    ("search", "SearchServiceBuildRole", GET, "ArtifactsBucket/labeling-service/context.zip", {}, False),
    ("search", "SearchServiceBuildRole", "ecr:PutImage", "SearchServiceRepository", {}, True),
    ("search", "SearchServiceBuildRole", "ecr:PutImage", OTHER_REPOSITORY, {}, False),
    ("search", "ScheduleRole", "ecs:RunTask", f"{TASKS}dicom-workflow-search-ingest:7", {"ecs__cluster": "@Cluster"}, True),
    ("search", "ScheduleRole", "ecs:RunTask", f"{TASKS}dicom-workflow-search-ingest:7", {}, False),
    ("search", "ScheduleRole", "ecs:RunTask", f"{TASKS}dicom-workflow-search:7", {"ecs__cluster": "@Cluster"}, False),
    ("search", "ScheduleRole", "iam:PassRole", "IngestRole", {"iam__PassedToService": "ecs-tasks.amazonaws.com"}, True),
    ("search", "ScheduleRole", "iam:PassRole", "IngestRole", {"iam__PassedToService": "lambda.amazonaws.com"}, False),
    ("search", "ScheduleRole", "iam:PassRole", "ServiceRole", {"iam__PassedToService": "ecs-tasks.amazonaws.com"}, False),
    ("search", "StoreMakerRole", "ecs:RunTask", f"{TASKS}dicom-workflow-search-ingest:7", {"ecs__cluster": "@Cluster"}, True),
    ("search", "StoreMakerRole", "ecs:RunTask", f"{TASKS}dicom-workflow-search:7", {"ecs__cluster": "@Cluster"}, False),
    ("search", "StoreMakerRole", "iam:PassRole", "ServiceRole", {"iam__PassedToService": "ecs-tasks.amazonaws.com"}, False),
    ("search", "StoreMakerRole", PUT, "SearchBucket/index/a.lance", {}, False),
    ("search-aurora", "StartRole", SECRET, "DatabaseSecret", {}, True),
    ("search-aurora", "IngestRole", SECRET, "DatabaseSecret", {}, False),
    ("search-aurora", "IngestRole", PUT, "SearchBucket/index/a.lance", {}, False),
    ("search-aurora", "ServiceRole", GET, "SearchBucket/index/a.lance", {}, False),
    ("search-opensearch", "IngestRole", "es:ESHttpPost", "Domain/images/_bulk", {}, True),
    ("search-opensearch", "IngestRole", "es:ESHttpPut", "Domain/images", {}, True),
    ("search-opensearch", "IngestRole", "es:DeleteDomain", "Domain", {}, False),
    ("search-opensearch", "ServiceRole", "es:ESHttpPost", "Domain/images/_search", {}, True),
    ("search-opensearch", "ServiceRole", "es:ESHttpPost", "Domain/images/_bulk", {}, False),
    ("search-opensearch", "ServiceRole", "es:ESHttpPost", "Domain/images/_delete_by_query", {}, False),
    ("search-opensearch", "ServiceRole", "es:ESHttpPut", "Domain/images", {}, False),
    ("search-opensearch", "ServiceRole", "es:ESHttpDelete", "Domain/images", {}, False),
    # The notebook reads the index and puts what is to be indexed; the ingest tasks alone write the index.
    ("notebook", "NotebookRole", GET, "SearchBucket/index/a.lance", {}, True),
    ("notebook", "NotebookRole", PUT, "SearchBucket/index/a.lance", {}, False),
    ("notebook", "NotebookRole", PUT, "SearchBucket/reports/a.txt", {}, True),
    ("notebook", "NotebookRole", DELETE, "SearchBucket/images/a.dcm", {}, False),
    # The notebook starts jobs under the two roles made for them, and hands them to SageMaker alone.
    ("notebook", "NotebookRole", "iam:PassRole", "TrainingRoleArn", {"iam__PassedToService": "sagemaker.amazonaws.com"}, True),
    ("notebook", "NotebookRole", "iam:PassRole", "LabelingRoleArn", {"iam__PassedToService": "sagemaker.amazonaws.com"}, True),
    ("notebook", "NotebookRole", "iam:PassRole", "TrainingRoleArn", {"iam__PassedToService": "lambda.amazonaws.com"}, False),
    ("notebook", "NotebookRole", "iam:PassRole", "TrainingRoleArn", {}, False),
    ("notebook", "NotebookRole", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin",
     {"iam__PassedToService": "sagemaker.amazonaws.com"}, False),
    ("notebook", "NotebookRole", "sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {}, False),
    ("notebook", "NotebookRole", PUT, "LabelingBucket/jobs/one/manifest", {}, True),
    ("notebook", "NotebookRole", PUT, "ArtifactsBucket/wheels/a.whl", {}, False),
    ("notebook", "NotebookRole", GET, "ArtifactsBucket/wheels/a.whl", {}, True),
    ("notebook", "NotebookRole", GET, "ArtifactsBucket/lambda/a.zip", {}, False),
    ("notebook", "NotebookRole", DELETE, "TrainingBucket/models/m.tar.gz", {}, False),
    ("notebook", "NotebookRole", SECRET, "OrthancSecretArn", {}, True),
    ("notebook", "NotebookRole", SECRET, f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:payroll-AbCdEf", {}, False),
    ("notebook", "NotebookRole", "sagemaker:CreateTrainingJob",
     f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/dicom-workflow-1", {}, True),
    ("notebook", "NotebookRole", "sagemaker:CreateTrainingJob",
     f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/other-1", {}, False),
    ("notebook", "NotebookRole", "sagemaker:DeleteEndpoint",
     f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/dicom-workflow-training", {}, False),
    ("notebook", "NotebookRole", "cloudformation:DescribeStacks",
     f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/dicom-workflow-archive/1", {}, True),
    ("notebook", "NotebookRole", "cloudformation:DeleteStack",
     f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/dicom-workflow-archive/1", {}, False),
    # Images of patients go to people of one's own, and to no crowd.
    *(("notebook", "NotebookRole", "sagemaker:CreateLabelingJob",
       f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:labeling-job/dicom-workflow-1", context, wanted)
      for context, wanted in (({"sagemaker__WorkteamType": "private-crowd"}, True),
                              ({"sagemaker__WorkteamType": "public-crowd"}, False),
                              ({"sagemaker__WorkteamType": "vendor-crowd"}, False), ({}, False))),
    # A job outside the VPC reaches the Internet with the images it was given; a hospital may want none.
    *((where, "NotebookRole", action, f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/dicom-workflow-1", net, wanted)
      for action, kind in (("sagemaker:CreateTrainingJob", "training-job"), ("sagemaker:CreateModel", "model"))
      for where, net, wanted in (("notebook", {}, True), ("notebook-inside", {}, False),
                                 ("notebook-inside", {"sagemaker__NetworkIsolation": "false"}, False),
                                 ("notebook-inside", {"sagemaker__NetworkIsolation": "true"}, True),
                                 ("notebook-inside", {"sagemaker__VpcSubnets": "subnet-0a"}, True))),
    # An interface of theirs stands in their own groups: Orthanc's may reach the database.
    ("notebook", "NotebookRole", INTERFACE, GROUP + "@NotebookSecurityGroup", HERE, True),
    ("notebook", "NotebookRole", INTERFACE, GROUP + "@ArchiveClientSecurityGroupId", HERE, True),
    ("notebook", "NotebookRole", INTERFACE, GROUP + "sg-0database", HERE, False),
    ("training", "TrainingRole", INTERFACE, GROUP + "@JobSecurityGroup", HERE, True),
    ("training", "TrainingRole", INTERFACE, GROUP + "sg-0database", HERE, False),
    ("training", "TrainingRole", INTERFACE, GROUP + "@JobSecurityGroup", {}, False),
    ("notebook", "NotebookRole", "lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:any", {}, False),
)  # fmt: skip


@pytest.mark.parametrize(("where", "role", "action", "target", "context", "wanted"), TABLE,
                         ids=[f"{'may' if row[5] else 'may-not'} {row[1]} {row[2]} {row[3]}" for row in TABLE])  # fmt: skip
def test_a_role_may_do_what_it_must_and_nothing_else(
    where: str, role: str, action: str, target: str, context: dict[str, str], wanted: bool
) -> None:
    assert may(world(where), role, action, target, **context) is wanted


@cache
def documents(stack: str) -> list[tuple[str, Statement]]:
    """Every statement of every policy of a template, under every choice of parameters."""
    return list(_documents(stack))


def _documents(stack: str) -> Iterator[tuple[str, Statement]]:
    seen = set()
    for name, node in template(stack)["Resources"].items():
        for trial in combinations(stack, node):
            if trial.present(name):
                for statement in _statements(trial.resource(name)["Properties"]):
                    key = json.dumps([name, statement], sort_keys=True)
                    if key not in seen:
                        seen.add(key)
                        yield name, statement


def _statements(node: Any) -> Iterator[Statement]:
    if isinstance(node, dict):
        if "Effect" in node and ("Action" in node or "NotAction" in node):
            yield node
        for value in node.values():
            yield from _statements(value)
    elif isinstance(node, list):
        for value in node:
            yield from _statements(value)


def test_no_statement_allows_every_action(stack: str) -> None:
    wide = [
        f"{name} allows {action}"
        for name, statement in documents(stack)
        if statement["Effect"] == "Allow"
        for action in listed(statement.get("Action", "*"))
        if action == "*" or action.endswith(":*")
    ]
    assert wide == []


def test_what_is_allowed_on_every_resource_is_on_the_list(stack: str) -> None:
    kinds = ("AWS::KMS::Key", "AWS::EC2::VPCEndpoint")  # there `*` is the key itself, and what passes the endpoint
    bodies = template(stack)["Resources"]
    wide = {
        f"{name} allows {action} on *"
        for name, statement in documents(stack)
        if statement["Effect"] == "Allow" and "*" in listed(statement.get("Resource", [])) and bodies[name]["Type"] not in kinds
        for action in listed(statement["Action"])
        if action not in ON_EVERYTHING
    }
    assert sorted(wide) == []


def test_the_list_names_nothing_that_no_template_needs() -> None:
    used = {
        action
        for stack in STACKS
        for _, statement in documents(stack)
        if "*" in listed(statement.get("Resource", []))
        for action in listed(statement["Action"])
    }
    assert set(ON_EVERYTHING) - used == set()


def test_what_passes_an_endpoint_is_of_this_account(stack: str) -> None:
    open_ = [
        name
        for name, statement in documents(stack)
        if template(stack)["Resources"][name]["Type"] == "AWS::EC2::VPCEndpoint"
        and "*" in listed(statement["Resource"])
        and not {"aws:PrincipalAccount", "aws:ResourceAccount"} & set(statement.get("Condition", {}).get("StringEquals", {}))
    ]
    assert open_ == []


@pytest.mark.parametrize(
    ("endpoint", "action", "resource", "context", "wanted"),
    [
        ("S3Endpoint", PUT, "arn:aws:s3:::ours/a", {"aws:ResourceAccount": ACCOUNT}, True),
        ("S3Endpoint", PUT, "arn:aws:s3:::theirs/a", {"aws:ResourceAccount": "999999999999"}, False),
        ("S3Endpoint", GET, "arn:aws:s3:::theirs/a", {"aws:ResourceAccount": "999999999999"}, False),
        ("S3Endpoint", GET, "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/a", {"aws:ResourceAccount": "1"}, True),
        ("S3Endpoint", PUT, "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/a", {"aws:ResourceAccount": "1"}, False),
        ("SecretsEndpoint", SECRET, "arn:aws:secretsmanager:us-east-1:1:secret:a", {"aws:ResourceAccount": "1"}, False),
        ("SecretsEndpoint", "secretsmanager:DeleteSecret", "arn:x", {"aws:ResourceAccount": ACCOUNT}, False),
        ("KmsEndpoint", "kms:ScheduleKeyDeletion", "arn:x", {"aws:ResourceAccount": ACCOUNT}, False),
    ],
)
def test_what_may_pass_an_endpoint(endpoint: str, action: str, resource: str, context: dict[str, str], wanted: bool) -> None:
    policy = world("network").trial.resources[endpoint]["Properties"]["PolicyDocument"]["Statement"]
    request = Request(COLLEAGUE, action, resource, context)
    assert any(names(part, request) and applies(part, request) for part in listed(policy)) is wanted


@pytest.mark.parametrize("where", DEPLOYMENTS)
def test_no_role_is_assumed_by_a_stranger_or_for_one(where: str) -> None:
    there = world(where)
    for role in (name for name, node in there.trial.resources.items() if node["Type"] == "AWS::IAM::Role"):
        everything: list[Statement] = [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]
        for caller in (STRANGER, COLLEAGUE, "ec2.amazonaws.com"):
            request = Request(caller, "sts:AssumeRole", there.arn(role), {"aws:SourceAccount": ACCOUNT})
            assert not decide(request, everything, there.trust(role), owner=ACCOUNT, must_name=True), f"{caller} becomes {role}"
        services = [service for statement in there.trust(role) for service in listed(statement["Principal"]["Service"])]
        for service in services:
            request = Request(service, "sts:AssumeRole", there.arn(role), {"aws:SourceAccount": "999999999999"})
            # Lambda sends no source when it assumes a role; only who may pass the role decides which function gets it.
            assert service == "lambda.amazonaws.com" or not decide(
                request, [], there.trust(role), owner=ACCOUNT, must_name=True
            ), f"{service} acts as {role} for other accounts"


@pytest.mark.parametrize(
    "where", ["foundation", "archive-bucket", "healthimaging", "labeling", "labeling-service", "training", "search"]
)
def test_buckets_refuse_clear_text_old_tls_and_strangers(where: str) -> None:
    there = world(where)
    buckets = [name for name, node in there.trial.resources.items() if node["Type"] == "AWS::S3::Bucket"]
    everything: list[Statement] = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
    assert buckets
    for bucket in buckets:
        for resource in (there.arn(bucket), there.arn(f"{bucket}/a")):
            for action in (GET, PUT, "s3:ListBucket"):
                for caller, context, wanted in (
                    (COLLEAGUE, TLS, True),
                    (COLLEAGUE, CLEAR, False),
                    (COLLEAGUE, {"aws:SecureTransport": "true", "s3:TlsVersion": "1.1"}, False),
                    (STRANGER, TLS, False),
                ):
                    request = Request(caller, action, resource, context)
                    found = decide(request, everything, there.attached(resource), owner=ACCOUNT)
                    assert found is wanted, f"{caller} {action} {resource} {context}"


@pytest.mark.parametrize(
    ("where", "bucket"),
    [
        ("foundation", "ArtifactsBucket"),
        ("archive-bucket", "PixelBucket"),
        ("labeling", "LabelingBucket"),
        ("training", "TrainingBucket"),
        ("search", "SearchBucket"),
    ],
)
def test_no_object_is_written_with_a_key_that_its_sender_keeps(where: str, bucket: str) -> None:
    there = world(where)
    everything: list[Statement] = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
    resource = there.arn(f"{bucket}/a")
    for further, wanted in (({}, True), ({"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}, False)):
        request = Request(COLLEAGUE, PUT, resource, TLS | further)
        assert decide(request, everything, there.attached(resource), owner=ACCOUNT) is wanted


def test_only_logging_services_write_logs_and_only_ours() -> None:
    there = world("foundation")
    for service, key, mine, wanted in (
        ("logging.s3.amazonaws.com", "s3/artifacts/a", {"aws:SourceAccount": ACCOUNT}, True),
        ("logging.s3.amazonaws.com", "s3/artifacts/a", {"aws:SourceAccount": "999999999999"}, False),
        ("logging.s3.amazonaws.com", "alb/a", {"aws:SourceAccount": ACCOUNT}, False),
        ("cloudtrail.amazonaws.com", "s3/artifacts/a", {"aws:SourceAccount": ACCOUNT}, False),
    ):
        resource = there.arn(f"LogsBucket/{key}")
        request = Request(service, PUT, resource, TLS | mine)
        assert decide(request, [], there.attached(resource), owner=ACCOUNT) is wanted, (service, key, mine)


def test_the_key_serves_its_account_and_log_groups_and_nobody_else() -> None:
    there = world("foundation")
    policy = listed(there.trial.resources["Key"]["Properties"]["KeyPolicy"]["Statement"])
    key = there.arn("Key")
    anything: list[Statement] = [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]
    group = "kms:EncryptionContext:aws:logs:arn"
    ours, theirs = (f"arn:aws:logs:{REGION}:{account}:log-group:x" for account in (ACCOUNT, "999999999999"))
    cases: tuple[tuple[str, str, list[Statement], dict[str, str], bool], ...] = (
        (COLLEAGUE, "kms:Decrypt", anything, {}, True),
        (COLLEAGUE, "kms:Decrypt", [], {}, False),
        (STRANGER, "kms:Decrypt", anything, {}, False),
        (STRANGER, "kms:ScheduleKeyDeletion", anything, {}, False),
        (COLLEAGUE, "kms:CreateGrant", anything, {"kms:GrantIsForAWSResource": "true"}, True),
        (COLLEAGUE, "kms:CreateGrant", anything, {"kms:GrantIsForAWSResource": "false"}, False),
        # Who retires a grant says nothing of whom it was for; without this ECR could not let go of a repository.
        (COLLEAGUE, "kms:RetireGrant", anything, {}, True),
        (STRANGER, "kms:RetireGrant", anything, {}, False),
        ("s3.amazonaws.com", "kms:GenerateDataKey", [],
         {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": "arn:aws:s3:::dicom-workflow-search-searchbucket-a"}, True),
        ("s3.amazonaws.com", "kms:GenerateDataKey", [],
         {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": "arn:aws:s3:::payroll"}, False),
        ("s3.amazonaws.com", "kms:GenerateDataKey", [],
         {"aws:SourceAccount": "999999999999", "aws:SourceArn": "arn:aws:s3:::dicom-workflow-search-searchbucket-a"}, False),
        (f"logs.{REGION}.amazonaws.com", "kms:Decrypt", [], {group: ours}, True),
        (f"logs.{REGION}.amazonaws.com", "kms:Decrypt", [], {group: theirs}, False),
        (f"logs.{REGION}.amazonaws.com", "kms:ScheduleKeyDeletion", [], {group: ours}, False),
        ("cloudwatch.amazonaws.com", "kms:Decrypt", [], {"aws:SourceAccount": "999999999999"}, False),
        ("fargate.amazonaws.com", "kms:GenerateDataKeyWithoutPlaintext", [],
         {"kms:EncryptionContext:aws:ecs:clusterAccount": ACCOUNT,
          "kms:EncryptionContext:aws:ecs:clusterName": "dicom-workflow-archive-Cluster"}, True),
        ("fargate.amazonaws.com", "kms:GenerateDataKeyWithoutPlaintext", [],
         {"kms:EncryptionContext:aws:ecs:clusterAccount": "999999999999",
          "kms:EncryptionContext:aws:ecs:clusterName": "dicom-workflow-archive-Cluster"}, False),
    )  # fmt: skip
    for caller, action, identity, context, wanted in cases:
        request = Request(caller, action, key, context)
        assert decide(request, identity, policy, owner=ACCOUNT, must_name=True) is wanted, (caller, action, context)


def test_a_stranger_cannot_call_our_functions_whatever_his_own_account_says() -> None:
    there = world("labeling")
    anything: list[Statement] = [{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}]
    permissions = [node for node in there.trial.resources.values() if node["Type"] == "AWS::Lambda::Permission"]
    assert permissions == []  # Ground Truth calls with the labeling role, so the functions let nobody in by themselves
    for function in ("PreAnnotation", "PostAnnotation"):
        request = Request(STRANGER, "lambda:InvokeFunction", there.arn(function))
        assert not decide(request, anything, [], owner=ACCOUNT)


class TestEvaluator:
    """The evaluator itself, on the examples of the documentation's order of evaluation."""

    ALLOW: ClassVar[Statement] = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::b/*"}
    DENY: ClassVar[Statement] = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
    REQUEST = Request(COLLEAGUE, GET, "arn:aws:s3:::b/a")

    def test_nothing_said_is_no(self) -> None:
        assert not decide(self.REQUEST, [], [], owner=ACCOUNT)

    def test_a_deny_wins(self) -> None:
        assert decide(self.REQUEST, [self.ALLOW], [], owner=ACCOUNT)
        assert not decide(self.REQUEST, [self.ALLOW], [self.DENY], owner=ACCOUNT)

    def test_between_accounts_both_sides_must_allow(self) -> None:
        theirs: Statement = {**self.ALLOW, "Principal": {"AWS": COLLEAGUE}}
        assert not decide(self.REQUEST, [self.ALLOW], [], owner="999999999999")
        assert not decide(self.REQUEST, [], [theirs], owner="999999999999")
        assert decide(self.REQUEST, [self.ALLOW], [theirs], owner="999999999999")

    def test_an_account_named_by_a_resource_leaves_the_choice_to_its_own_policies(self) -> None:
        root: Statement = {**self.ALLOW, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
        assert not decide(self.REQUEST, [], [root], owner=ACCOUNT, must_name=True)
        assert decide(self.REQUEST, [self.ALLOW], [root], owner=ACCOUNT, must_name=True)
        assert not decide(self.REQUEST, [self.ALLOW], [], owner=ACCOUNT, must_name=True)

    @pytest.mark.parametrize(
        ("condition", "context", "wanted"),
        [
            ({"StringEquals": {"a:b": ["x", "y"]}}, {"a:B": "y"}, True),
            ({"StringEquals": {"a:b": "x"}}, {}, False),
            ({"StringEqualsIfExists": {"a:b": "x"}}, {}, True),
            ({"StringNotEquals": {"a:b": "x"}}, {}, True),
            ({"StringNotEquals": {"a:b": ["x", "y"]}}, {"a:b": "y"}, False),
            ({"StringLike": {"a:b": "x-*"}}, {"a:b": "x-1"}, True),
            ({"ArnLike": {"a:b": "arn:aws:s3:*:1:b"}}, {"a:b": "arn:aws:s3:x:1:b"}, True),
            ({"ArnLike": {"a:b": "arn:aws:*:b"}}, {"a:b": "arn:aws:s3:x:1:b"}, False),
            ({"Bool": {"a:b": "false"}}, {"a:b": "false"}, True),
            ({"Null": {"a:b": "true"}}, {}, True),
            ({"Null": {"a:b": "false"}}, {}, False),
            ({"NumericLessThan": {"a:b": "1.2"}}, {"a:b": "1.1"}, True),
            ({"ForAllValues:StringEquals": {"a:b": ["x"]}}, {"a:b": ["x", "z"]}, False),
            ({"ForAnyValue:StringEquals": {"a:b": ["x"]}}, {"a:b": ["x", "z"]}, True),
            ({"IpAddress": {"a:b": "10.0.0.0/8"}}, {"a:b": "11.0.0.1"}, False),
        ],
    )
    def test_conditions(self, condition: dict[str, Any], context: dict[str, Any], wanted: bool) -> None:
        request = Request(COLLEAGUE, GET, "arn:aws:s3:::b/a", context)
        assert decide(request, [{**self.ALLOW, "Condition": condition}], [], owner=ACCOUNT) is wanted

    def test_what_it_does_not_know_it_does_not_pass_over(self) -> None:
        for odd in (
            {"Condition": {"DateLessThan": {"a:b": "x"}}},
            {"NotAction": "s3:*"},
            {"Resource": "arn:aws:s3:::${aws:username}"},
        ):
            with pytest.raises(PolicyError, match="not known here"):
                decide(Request(COLLEAGUE, GET, "arn:aws:s3:::b/a", {"a:b": "x"}), [{**self.ALLOW, **odd}], [], owner=ACCOUNT)
