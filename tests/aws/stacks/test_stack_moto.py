"""The stacks are deployed in order to moto, and what it says it made is looked up with the service that should have it.

moto calls every stack complete: a type that it does not know becomes a row without anything behind it. So each row's type is
compared with the template, the types it does not know are on a list, and every other row is described by its own service.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.cloudformation import parsing
from support.stack_evaluator import Evaluation
from support.templates import GIVEN, REGION, STACKS, stacks_there, template
from test_stack_evaluation import name_of

# Types of our templates that moto 5.2 makes no resource for. One that it learns must leave the list: a test says so.
ROWS_ONLY = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudFormation::CustomResource",
    "AWS::CloudWatch::Alarm",
    "AWS::CodeBuild::Project",
    "AWS::Cognito::UserPool",
    "AWS::Cognito::UserPoolClient",
    "AWS::Cognito::UserPoolDomain",
    "AWS::Cognito::UserPoolGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::HealthImaging::Datastore",
    "AWS::OpenSearchService::Domain",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBClusterParameterGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SageMaker::Domain",
    "AWS::SageMaker::Space",
    "AWS::SageMaker::StudioLifecycleConfig",
    "AWS::SageMaker::UserProfile",
    "AWS::SageMaker::Workforce",
    "AWS::SageMaker::Workteam",
    "AWS::SecretsManager::Secret",
    "AWS::SecretsManager::SecretTargetAttachment",
    "AWS::WAFv2::LoggingConfiguration",
    "AWS::WAFv2::WebACL",
    "AWS::WAFv2::WebACLAssociation",
}


def known(kind: str) -> bool:
    return kind in parsing.get_model_map()


class ForMoto(Evaluation):
    """A template as moto can read it.

    moto knows no `Fn::Cidr`, no `Rules`, stops at a `Fn::GetAtt` of a type it does not know, and puts None where a list has
    `AWS::NoValue`. So conditions, parameters and what refers to such types are worked out before; references between resources
    that moto makes are left for it to resolve.
    """

    def _ref(self, name: str, where: str) -> Any:
        if name in self.template["Resources"] and known(self._there(name, where)):
            return {"Ref": name}
        found = super()._ref(name, where)
        number = self.template["Parameters"].get(name, {}).get("Type") == "Number"
        return (float(found) if "." in found else int(found)) if number else found

    def _getatt(self, body: Any, where: str) -> Any:
        name, _, attribute = body.partition(".") if isinstance(body, str) else (body[0], ".", ".".join(map(str, body[1:])))
        kind = self._there(name, where)
        model = parsing.get_model_map().get(kind)
        # The addresses of the VPC are needed before it is made: moto cannot cut subnets from them.
        if model and model.has_cfn_attr(attribute) and hasattr(model, "get_cfn_attribute") and attribute != "CidrBlock":
            return {"Fn::GetAtt": [name, attribute]}
        return super()._getatt(body, where)

    def _sub(self, body: Any, where: str) -> Any:
        text, own = body if isinstance(body, list) else (body, {})
        parts: list[Any] = []
        for piece in _pieces(text):
            if not piece.startswith("${") or piece.startswith("${!"):
                parts.append(piece.replace("${!", "${"))
                continue
            name = piece[2:-1].strip()
            plain = name in self.parameters or name.startswith("AWS::") or "." not in name
            parts.append(
                self.value(own[name], where) if name in own else self._ref(name, where) if plain else self._getatt(name, where)
            )
        return _joined("", parts)

    def _join(self, body: list[Any], where: str) -> Any:
        parts = self.value(body[1], where)
        return _joined(str(body[0]), parts if isinstance(parts, list) else [parts])


def _pieces(text: str) -> Iterator[str]:
    while text:
        before, mark, rest = text.partition("${")
        if before:
            yield before
        inside, _, text = rest.partition("}") if mark else ("", "", "")
        if mark:
            yield "${" + inside + "}"


def _joined(between: str, parts: list[Any]) -> Any:
    if any(isinstance(part, dict) for part in parts):
        return {"Fn::Join": [between, [part if isinstance(part, dict) else _text(part) for part in parts]]}
    return between.join(map(_text, parts))


def _text(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, list) else str(value)


def rendered(stack: str, values: dict[str, str]) -> dict[str, Any]:
    """A template for moto, without parameters and conditions."""
    trial = ForMoto(template(stack), values, name_of(stack))
    resources = {}
    for name, node in trial.resources.items():
        body = {key: node[key] for key in ("Type", "Properties") if key in node}
        for change in CORRECTED.get(node["Type"], ()):
            change(name, body["Properties"])
        resources[name] = body
    outputs = {name: {"Value": trial.output(name)} for name in template(stack)["Outputs"] if trial.gives(name)}
    return {"Resources": resources, "Outputs": outputs}


Change = Callable[[str, dict[str, Any]], None]


def without(*keys: str) -> Change:
    def change(name: str, properties: dict[str, Any]) -> None:
        for key in keys:
            properties.pop(key, None)

    return change


def as_text(key: str) -> Change:
    def change(name: str, properties: dict[str, Any]) -> None:
        properties[key] = json.dumps(properties[key])

    return change


def told(key: str, value: Any = None) -> Change:
    """Set what AWS would choose itself: a value, or the name of the resource in lower case."""

    def change(name: str, properties: dict[str, Any]) -> None:
        properties.setdefault(key, value or f"{name}-made-up".lower())

    return change


def smaller_family(name: str, properties: dict[str, Any]) -> None:
    for variant in properties.get("ProductionVariants", []):
        variant["InstanceType"] = "ml.c5.xlarge"


# What moto 5.2.5 cannot take of a type, though AWS can, by type.
CORRECTED: dict[str, tuple[Change, ...]] = {
    # moto/kms/models.py hands on tags as {Key, Value} where its own tagger reads TagKey (KeyError), and
    # reads the policy as JSON text, where CloudFormation takes a map (TypeError).
    "AWS::KMS::Key": (without("Tags"), as_text("KeyPolicy")),
    # moto/rds/models.py makes members of Aurora clusters out of the instance alone, without a version: KeyError.
    "AWS::RDS::DBInstance": (told("EngineVersion", "16.11"),),
    # moto/efs/models.py reads the policy as JSON text too.
    "AWS::EFS::FileSystem": (as_text("FileSystemPolicy"),),
    # moto/cloudformation/parsing.py makes names with capitals up, which AWS does not and moto/ecr refuses.
    "AWS::ECR::Repository": (told("RepositoryName"),),
    # moto/sagemaker/validators.py knows no machines newer than the fifth generation.
    "AWS::SageMaker::EndpointConfig": (smaller_family,),
}


# Three deployments, so that every resource is made in one of them.
DEPLOYMENTS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "the other way": {
        "ArchiveBackend": "Orthanc",
        "DatabaseReaders": "1",
        "InterfaceEndpoints": "yes",
        "LabelingBackend": "SelfHosted",
        "NatMode": "per-zone",
        "NotebookKind": "Studio",
        "PixelStore": "EFS",
        "SearchStore": "Aurora",
        "Zones": "3",
    },
    "a domain": {"SearchStore": "OpenSearch"},
}


@cache
def deployed(deployment: str) -> dict[str, dict[str, Any]]:
    """What moto says of each stack: its rows, outputs, and what each resource's own service says of it."""
    found: dict[str, dict[str, Any]] = {}
    with mock_aws(), warnings.catch_warnings():
        # "Tried to parse … but it's not supported" and an unfinished deprecation inside moto; the list above says the same.
        warnings.simplefilter("ignore")
        client, values = boto3.client("cloudformation", region_name=REGION), GIVEN | provided()
        values |= DEPLOYMENTS[deployment]
        for stack in stacks_there():
            wanted = template(stack)["Parameters"]
            body = rendered(stack, {name: value for name, value in values.items() if name in wanted})
            client.create_stack(StackName=name_of(stack), TemplateBody=json.dumps(body), Capabilities=["CAPABILITY_IAM"])
            state = client.describe_stacks(StackName=name_of(stack))["Stacks"][0]
            outputs = {output["OutputKey"]: output["OutputValue"] for output in state.get("Outputs", [])}
            rows = client.describe_stack_resources(StackName=name_of(stack))["StackResources"]
            found[stack] = {"status": state["StackStatus"], "outputs": outputs, "rows": rows, "wanted": body["Resources"]}
            values |= outputs
        for state in found.values():
            state["described"] = {
                row["LogicalResourceId"]: described(row) for row in state["rows"] if row.get("ResourceType") in ASKED
            }
    return found


def provided() -> dict[str, str]:
    """What a person has before the first stack: a certificate and a hosted zone."""
    certificate = boto3.client("acm", region_name=REGION).request_certificate(DomainName="*.example.org")
    zone = boto3.client("route53", region_name=REGION).create_hosted_zone(Name="example.org", CallerReference="1")
    return {"CertificateArn": certificate["CertificateArn"], "HostedZoneId": zone["HostedZone"]["Id"].rpartition("/")[2]}


Parameters = Callable[[str], dict[str, Any]]


def _one(key: str) -> Parameters:
    return lambda name: {key: [name]}


def _named(key: str) -> Parameters:
    return lambda name: {key: name}


def _last(key: str) -> Parameters:
    """The name alone, where moto's id is an ARN."""
    return lambda name: {key: name.rpartition("/")[2]}


# How each service is asked for what moto made, by type: (service, operation, the parameters, where the answer is).
ASKED: dict[str, tuple[str, str, Parameters, str]] = {
    "AWS::EC2::EIP": ("ec2", "describe_addresses", _one("PublicIps"), "Addresses"),
    "AWS::EC2::FlowLog": ("ec2", "describe_flow_logs", _one("FlowLogIds"), "FlowLogs"),
    "AWS::EC2::InternetGateway": ("ec2", "describe_internet_gateways", _one("InternetGatewayIds"), "InternetGateways"),
    "AWS::EC2::NatGateway": ("ec2", "describe_nat_gateways", _one("NatGatewayIds"), "NatGateways"),
    "AWS::EC2::Route": ("ec2", "describe_route_tables", lambda name: {"RouteTableIds": [name.split("~")[0]]}, "RouteTables"),
    "AWS::EC2::RouteTable": ("ec2", "describe_route_tables", _one("RouteTableIds"), "RouteTables"),
    "AWS::EC2::SecurityGroup": ("ec2", "describe_security_groups", _one("GroupIds"), "SecurityGroups"),
    "AWS::EC2::Subnet": ("ec2", "describe_subnets", _one("SubnetIds"), "Subnets"),
    "AWS::EC2::SubnetRouteTableAssociation": ("ec2", "describe_route_tables", _one("RouteTableIds"), "RouteTables"),
    "AWS::EC2::VPC": ("ec2", "describe_vpcs", _one("VpcIds"), "Vpcs"),
    "AWS::EC2::VPCEndpoint": ("ec2", "describe_vpc_endpoints", _one("VpcEndpointIds"), "VpcEndpoints"),
    "AWS::EC2::VPCGatewayAttachment": ("ec2", "describe_vpcs", _one("VpcIds"), "Vpcs"),
    "AWS::ECR::Repository": ("ecr", "describe_repositories", _one("repositoryNames"), "repositories"),
    "AWS::ECS::Cluster": ("ecs", "describe_clusters", _one("clusters"), "clusters"),
    "AWS::ECS::Service": (
        "ecs", "describe_services", lambda name: {"cluster": name.split("/")[1], "services": [name]}, "services"),
    "AWS::ECS::TaskDefinition": ("ecs", "describe_task_definition", _named("taskDefinition"), "taskDefinition"),
    "AWS::EFS::FileSystem": ("efs", "describe_file_systems", _named("FileSystemId"), "FileSystems"),
    "AWS::EFS::MountTarget": ("efs", "describe_mount_targets", _named("MountTargetId"), "MountTargets"),
    "AWS::ElasticLoadBalancingV2::Listener": ("elbv2", "describe_listeners", _one("ListenerArns"), "Listeners"),
    "AWS::ElasticLoadBalancingV2::ListenerRule": ("elbv2", "describe_rules", _one("RuleArns"), "Rules"),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        "elbv2", "describe_load_balancers", _one("LoadBalancerArns"), "LoadBalancers"),
    "AWS::ElasticLoadBalancingV2::TargetGroup": (
        "elbv2", "describe_target_groups", _one("TargetGroupArns"), "TargetGroups"),
    "AWS::Events::Rule": ("events", "describe_rule", _named("Name"), "Arn"),
    "AWS::IAM::Role": ("iam", "get_role", _named("RoleName"), "Role"),
    "AWS::KMS::Alias": ("kms", "describe_key", _named("KeyId"), "KeyMetadata"),
    "AWS::KMS::Key": ("kms", "describe_key", _named("KeyId"), "KeyMetadata"),
    "AWS::Lambda::Function": ("lambda", "get_function", _named("FunctionName"), "Configuration"),
    "AWS::Logs::LogGroup": ("logs", "describe_log_groups", _named("logGroupNamePrefix"), "logGroups"),
    "AWS::RDS::DBInstance": ("rds", "describe_db_instances", _named("DBInstanceIdentifier"), "DBInstances"),
    "AWS::S3::Bucket": ("s3", "head_bucket", _named("Bucket"), "ResponseMetadata"),
    "AWS::SNS::Topic": ("sns", "get_topic_attributes", _named("TopicArn"), "Attributes"),
    "AWS::SQS::Queue": ("sqs", "get_queue_attributes", _named("QueueUrl"), "ResponseMetadata"),
    "AWS::SageMaker::Endpoint": (
        "sagemaker", "describe_endpoint", _last("EndpointName"), "EndpointArn"),
    "AWS::SageMaker::EndpointConfig": (
        "sagemaker", "describe_endpoint_config", _last("EndpointConfigName"), "EndpointConfigArn"),
    "AWS::SageMaker::Model": ("sagemaker", "describe_model", _last("ModelName"), "ModelArn"),
    "AWS::SageMaker::NotebookInstance": (
        "sagemaker", "describe_notebook_instance", _last("NotebookInstanceName"), "RoleArn"),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": (
        "sagemaker", "describe_notebook_instance_lifecycle_config",
        _last("NotebookInstanceLifecycleConfigName"), "OnStart"),
}  # fmt: skip
# moto makes these but keeps no id for them, or has no operation that shows one; the rows are all there is.
NOT_SHOWN = {
    "AWS::EFS::AccessPoint": "no physical id",
    "AWS::EC2::SecurityGroupIngress": "no physical id; the rule is shown with its group",
    "AWS::IAM::Policy": "shown by get_role_policy under a name of moto's own",
    "AWS::Logs::ResourcePolicy": "shown by describe_resource_policies for the whole account alone",
    "AWS::RDS::DBSubnetGroup": "no physical id",
    "AWS::Route53::RecordSet": "shown by list_resource_record_sets of its zone alone",
}


def described(row: dict[str, Any]) -> Any:
    """What the service says of a resource that moto made; nothing when there is none."""
    service, operation, parameters, answer = ASKED[row["ResourceType"]]
    client = boto3.client(service, region_name=REGION)
    if "PhysicalResourceId" not in row:
        return {}
    try:
        return getattr(client, operation)(**parameters(row["PhysicalResourceId"]))[answer]
    except ClientError as error:
        print(f"{row['LogicalResourceId']}: {error}")  # pytest shows it with the test that fails
        return {}


@pytest.fixture(params=DEPLOYMENTS)
def made(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """Each deployment in turn."""
    return deployed(request.param)


def test_the_list_of_types_without_a_resource_is_what_moto_says() -> None:
    ours = {node["Type"] for stack in stacks_there() for node in template(stack)["Resources"].values()}
    assert {kind for kind in ours if not known(kind)} == ROWS_ONLY
    assert {kind for kind in ours if known(kind)} - set(ASKED) - set(NOT_SHOWN) == set()


def test_every_stack_is_made_after_the_ones_it_takes_from(made: dict[str, dict[str, Any]]) -> None:
    assert {stack: state["status"] for stack, state in made.items()} == dict.fromkeys(STACKS, "CREATE_COMPLETE")


def test_every_resource_has_a_row_of_its_type_or_is_on_the_list(made: dict[str, dict[str, Any]]) -> None:
    for stack, state in made.items():
        rows = {row["LogicalResourceId"]: row["ResourceType"] for row in state["rows"] if "ResourceType" in row}
        wanted = {name: node["Type"] for name, node in state["wanted"].items()}
        assert rows == {name: kind for name, kind in wanted.items() if kind not in ROWS_ONLY}, stack
        empty = len(state["rows"]) - len(rows)
        assert empty == sum(kind in ROWS_ONLY for kind in wanted.values()), f"{stack}: {empty} rows stand for nothing"


def test_what_moto_claims_to_have_made_is_there(made: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    absent = [f"{stack}: {name}" for stack, state in made.items() for name, answer in state["described"].items() if not answer]
    assert absent == []
    wanted = Counter(node["Type"] for state in made.values() for node in state["wanted"].values())
    seen = sum(len(state["described"]) for state in made.values())
    print_line = {
        "moto_resources_described": seen,
        "moto_resources_asked_for": sum(wanted.values()),
        "types_described": len(set(wanted) & set(ASKED)),
        "types_that_are_rows_only": len(set(wanted) & ROWS_ONLY),
    }
    with capsys.disabled():
        print("\n" + json.dumps(print_line))


def test_outputs_name_what_was_made(made: dict[str, dict[str, Any]]) -> None:
    for output, kind in (
        ("ArtifactsBucket", "AWS::S3::Bucket"),
        ("VpcId", "AWS::EC2::VPC"),
        ("TrainingBucket", "AWS::S3::Bucket"),
    ):
        state = next(state for state in made.values() if output in state["outputs"])
        ids = [row["PhysicalResourceId"] for row in state["rows"] if row.get("ResourceType") == kind]
        assert state["outputs"][output] in ids


def test_a_later_stack_uses_what_an_earlier_one_put_out(made: dict[str, dict[str, Any]]) -> None:
    foundation, network = made["foundation"]["outputs"], made["network"]["outputs"]
    archive = json.dumps(made["archive"]["wanted"])
    assert foundation["KeyArn"] in archive and network["VpcId"] in archive
    assert all(subnet in archive for subnet in network["PrivateSubnetIds"].split(","))
