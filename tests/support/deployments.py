"""A small deployment named clinic: four of the real stacks with a few resources each, and every pitfall of a deployment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.cloudformation import REGION, CloudFormation

from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import ParameterOverrides
from dicom_workflow.settings import Settings

CLOSED = """
      PublicAccessBlockConfiguration:
        {BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true}
      VersioningConfiguration: {Status: Enabled}"""
TLS_ONLY = """
      PolicyDocument:
        Statement:
          - Effect: Deny
            Principal: "*"
            Action: "s3:*"
            Resource: !GetAtt BUCKET.Arn
            Condition: {Bool: {"aws:SecureTransport": "false"}}"""

FOUNDATION = f"""\
Parameters:
  DeploymentName: {{Type: String}}
Resources:
  Key:
    Type: AWS::KMS::Key
    DeletionPolicy: Retain
    Properties: {{EnableKeyRotation: true}}
  ArtifactsBucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    Properties:{CLOSED}
  ArtifactsBucketPolicy:
    Type: AWS::S3::BucketPolicy
    Properties:
      Bucket: !Ref ArtifactsBucket{TLS_ONLY.replace("BUCKET", "ArtifactsBucket")}
Outputs:
  ArtifactsBucket: {{Value: !Ref ArtifactsBucket}}
  KeyId: {{Value: !Ref Key}}
"""

NETWORK = """\
Parameters:
  DeploymentName: {Type: String}
  Gateways: {Type: String, Default: one, AllowedValues: [none, one]}
Conditions:
  HasGateway: !Equals [!Ref Gateways, one]
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties: {CidrBlock: 10.0.0.0/16, Tags: [{Key: Name, Value: !Ref DeploymentName}]}
  Gateway:
    Type: AWS::EC2::NatGateway
    Condition: HasGateway
    Properties: {SubnetId: subnet-0123abcd}
Outputs:
  VpcId: {Value: !Ref Vpc}
"""

ARCHIVE = """\
Parameters:
  VpcId: {Type: String, Description: Network the archive stands in.}
  KeyId: {Type: String}
  Host: {Type: String, Description: Name of the archive., AllowedPattern: "[a-z.0-9:]+", ConstraintDescription: A host name.}
  Pin: {Type: String, NoEcho: true, Description: A secret of the archive., MinLength: 4}
  Capacity: {Type: Number, Default: 1, MinValue: 0.5, MaxValue: 8}
  ProtectData: {Type: String, Default: "true", AllowedValues: ["true", "false"]}
Resources:
  Database:
    Type: AWS::RDS::DBCluster
    DeletionPolicy: Snapshot
    UpdateReplacePolicy: Snapshot
    Properties:
      DatabaseName: !Ref Pin
      DeletionProtection: !Ref ProtectData
      ServerlessV2ScalingConfiguration: {MinCapacity: !Ref Capacity, MaxCapacity: 8}
      VpcSecurityGroupIds: [!Ref VpcId]
  Writer:
    Type: AWS::RDS::DBInstance
    Properties: {DBInstanceClass: db.serverless, DBClusterIdentifier: !Ref Database}
  PixelBucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      PublicAccessBlockConfiguration:
        {BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true}
      VersioningConfiguration: {Status: Enabled}
      Tags: [{Key: host, Value: !Ref Host}]
  PixelBucketPolicy:
    Type: AWS::S3::BucketPolicy
    DeletionPolicy: Retain
    Properties:
      Bucket: !Ref PixelBucket
      PolicyDocument:
        Statement:
          - Effect: Deny
            Principal: "*"
            Action: "s3:*"
            Resource: !GetAtt PixelBucket.Arn
            Condition: {Bool: {"aws:SecureTransport": "false"}}
  OrthancSecret:
    Type: AWS::SecretsManager::Secret
    DeletionPolicy: Retain
    Properties:
      GenerateSecretString: {SecretStringTemplate: '{"username": "orthanc"}', GenerateStringKey: password}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties: {Cpu: "512", Memory: "1024", Family: !Ref Host}
  Role:
    Type: AWS::IAM::Role
    Properties: {Description: !Ref KeyId, AssumeRolePolicyDocument: {Statement: []}}
Outputs:
  OrthancUrl: {Value: !Sub "https://${Host}"}
  OrthancSecretArn: {Value: !Ref OrthancSecret}
  PixelBucket: {Value: !Ref PixelBucket}
"""

LABELING = """\
Parameters:
  ArtifactsBucket: {Type: String}
  PreAnnotationKey: {Type: String, Default: "", AllowedPattern: "^$|^lambda/[a-z0-9_-]+[.]zip$"}
  LabelingServiceContextKey: {Type: String, Default: ""}
  Backend: {Type: String, Default: GroundTruth, AllowedValues: [GroundTruth, SelfHosted]}
  PortalHost: {Type: String, Default: ""}
Rules:
  TheLabelingServiceNeedsAName:
    RuleCondition: !Equals [!Ref Backend, SelfHosted]
    Assertions: [{Assert: !Not [!Equals [!Ref PortalHost, ""]], AssertDescription: SelfHosted needs PortalHost.}]
Conditions:
  IsSelfHosted: !Equals [!Ref Backend, SelfHosted]
  UsesGroundTruth: !Not [!Condition IsSelfHosted]
Resources:
  LabelingBucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    Properties: {VersioningConfiguration: {Status: Enabled}}
  Function:
    Type: AWS::Lambda::Function
    Condition: UsesGroundTruth
    Properties:
      Code: {S3Bucket: !Ref ArtifactsBucket, S3Key: !Ref PreAnnotationKey}
      Role: arn:aws:iam::123456789012:role/function
      Handler: lambda_function.lambda_handler
      Runtime: python3.13
  Build:
    Type: AWS::CodeBuild::Project
    Condition: IsSelfHosted
    Properties:
      Source: {Type: S3, Location: !Sub "${ArtifactsBucket}/${LabelingServiceContextKey}"}
      Artifacts: {Type: NO_ARTIFACTS}
      Environment: {ComputeType: BUILD_GENERAL1_SMALL, Image: "aws/codebuild/standard:7.0", Type: LINUX_CONTAINER}
      ServiceRole: arn:aws:iam::123456789012:role/build
  GroundTruthSecret:
    Type: AWS::SecretsManager::Secret
    Condition: IsSelfHosted
    DeletionPolicy: Retain
    Properties:
      GenerateSecretString: {SecretStringTemplate: '{"access_key": "AKIALABELING"}', GenerateStringKey: secret_key}
Outputs:
  LabelingBucket: {Value: !Ref LabelingBucket}
  GroundTruthUrl: {Value: !If [IsSelfHosted, !Sub "https://${PortalHost}", aws]}
  GroundTruthSecretArn: {Condition: IsSelfHosted, Value: !Ref GroundTruthSecret}
"""

TEMPLATES = {"foundation": FOUNDATION, "network": NETWORK, "archive": ARCHIVE, "labeling": LABELING}
VALUES = {"Host": "pacs.invalid", "Pin": "s3cr3t-pin"}


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """A folder with the small templates, for a test to change."""
    folder = tmp_path / "cfn"
    folder.mkdir()
    for stack, text in TEMPLATES.items():
        (folder / f"{stack}.yaml").write_text(text)
    return folder


class Clinic:
    """A deployment of the small templates; records messages and questions."""

    def __init__(self, folder: Path, workspace: Path, url: str, answers: Callable[[str], bool] = lambda question: True) -> None:
        self.messages: list[str] = []
        self.questions: list[str] = []
        self.settings = Settings(workspace, s3_url=url)
        cloud = CloudFormationClient(boto3.Session(region_name=REGION), poll_seconds=0)

        def ask(question: str) -> bool:
            self.questions.append(question)
            return answers(question)

        self.deployment = Deployment("clinic", cloud, self.messages.append, ask, folder)

    @property
    def text(self) -> str:
        return "\n".join(self.messages)

    def deploy(self, *stacks: str, allowed: Sequence[str] = (), **values: str) -> dict[str, Any]:
        from dicom_workflow.aws.stacks import deploy  # which imports what only these tests need

        self.messages.clear()
        given = ParameterOverrides({**VALUES, **values})
        request = deploy.Request(
            self.settings, list(stacks), given, allowed, resume_command="dicom-workflow deploy --name clinic"
        )
        return deploy.deploy(self.deployment, request)

    def status(self, stack: str) -> str:
        state = self.deployment.find(stack)
        return state.status if state else "absent"


@pytest.fixture
def clinic(
    cloudformation: CloudFormation, templates: Path, tmp_path: Path, aws: str, monkeypatch: pytest.MonkeyPatch
) -> Clinic:
    from dicom_workflow.aws.stacks import templates as template_module

    # Seconds for each deployment, and the same answer every time: one test asks cfn-lint itself.
    monkeypatch.setattr(template_module, "lint", lambda *arguments: [])
    return Clinic(templates, tmp_path / "workspace", aws)
