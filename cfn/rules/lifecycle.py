"""Rules about time: what outlives its stack, what outlives its support, and whether a second stack fits beside the first."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule
from _stack_rules._lifetimes import ended, engine_ends, today
from _stack_rules._reading import ABSENT, Resource, Spot, View
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

# The types that AWS::CloudFormation can take a last snapshot of.
SNAPSHOTS = {
    "AWS::DocDB::DBCluster",
    "AWS::EC2::Volume",
    "AWS::ElastiCache::CacheCluster",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::Neptune::DBCluster",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::Redshift::Cluster",
}
# What holds data nobody can make again.
DATA = {
    "AWS::Cognito::UserPool",
    "AWS::DocDB::DBCluster",
    "AWS::DynamoDB::Table",
    "AWS::EFS::FileSystem",
    "AWS::HealthImaging::Datastore",
    "AWS::KMS::Key",
    "AWS::Neptune::DBCluster",
    "AWS::OpenSearchService::Domain",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
}
# Names that must be unique in an account or region although they are not the resource's identifier.
OTHER_NAMES = {
    "AWS::Cognito::UserPoolDomain": ("Domain",),
    "AWS::EC2::SecurityGroup": ("GroupName",),
    "AWS::ECS::TaskDefinition": ("Family",),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Name",),
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("Name",),
    "AWS::IAM::InstanceProfile": ("InstanceProfileName",),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName",),
    "AWS::IAM::Role": ("RoleName",),
    "AWS::KMS::Alias": ("AliasName",),
    "AWS::SecretsManager::Secret": ("Name",),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": ("Name",),
    "AWS::ECS::Service": ("ServiceName",),
    "AWS::SSM::Parameter": ("Name",),
}
OF_THE_STACK = re.compile(r"\$\{(AWS::StackName|AWS::StackId|[^:}]+)\}")


@cache
def name_properties(kind: str) -> tuple[str, ...]:
    """The properties of a type that hold a name a person can choose and that may exist only once."""
    try:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    except Exception:  # noqa: BLE001 - cfn-lint raises several for types it does not know, and says so itself
        return OTHER_NAMES.get(kind, ())
    ids = [str(pointer).removeprefix("/properties/") for pointer in schema.get("primaryIdentifier", [])]
    fixed = {str(pointer).removeprefix("/properties/") for pointer in schema.get("readOnlyProperties", [])}
    # A resource inside another is named by two; its own name need only be unique there.
    chosen = [name for name in ids if name.endswith(("Name", "Identifier")) and name not in fixed] if len(ids) == 1 else []
    return tuple(dict.fromkeys([*chosen, *OTHER_NAMES.get(kind, ())]))


class OldEngine(StackRule):
    id = "E9701"
    shortdesc = "database engine out of support"
    description = (
        "After this date AWS mends nothing in the engine, charges Extended Support by the hour, and upgrades by force at "
        "last. Name a current major version. The dates are in lifetimes.json; `-X E9701:today=2027-01-31` asks for "
        "another day."
    )
    subjects = ("lifecycle", "rds", "lifetimes")

    def __init__(self) -> None:
        super().__init__()
        self.config_definition = {"today": {"default": "", "type": "string"}}
        self.configure()

    def faults(self, view: View) -> Iterator[Fault]:
        for database in view.resources("AWS::RDS::DBCluster", "AWS::RDS::DBInstance", "AWS::RDS::GlobalCluster"):
            for engine in database.at("Engine"):
                for version in database.at("EngineVersion"):
                    end = engine_ends(engine.text, version.text)
                    if end and ended(end, today(self.config)):
                        yield (
                            version.path,
                            f"{database.name} runs {engine.text} {version.text}, out of support since {end}; move up.",
                        )


class FixedName(StackRule):
    id = "E9702"
    shortdesc = "fixed physical name: one stack per account"
    description = (
        "A second stack in the account, a trial beside the real one or a replacement during an update, fails because the "
        "name is taken. Leave the name out, or build it from AWS::StackName. A name that is a parameter's default is "
        "fixed as well."
    )
    subjects = ("lifecycle", "names")

    def faults(self, view: View) -> Iterator[Fault]:
        for resource in view.resources():
            for key in name_properties(resource.type):
                for spot in resource.at(key):
                    if isinstance(spot.value, str) and spot.text and not self._varies(view, resource, spot):
                        yield spot.path, f"{resource.name} has the fixed name '{spot.text}'; build it from AWS::StackName."
        for name, output in view.section("Outputs").items():
            export = ("Outputs", name, "Export", "Name")
            node = output.get("Export", {}).get("Name") if isinstance(output, dict) else None
            for text in view.read(node) if node is not None else ():
                if not OF_THE_STACK.search(str(text)):
                    yield export, f"{name} is exported under the fixed name '{text}'; build it from AWS::StackName."

    def _varies(self, view: View, resource: Resource, spot: Spot) -> bool:
        # Region and account are the same for two stacks side by side; they are not names of the stack.
        return bool(OF_THE_STACK.search(spot.text)) or spot.text.startswith(("arn:", "{{resolve:", "alias/aws/"))


class UnknownPolicy(StackRule):
    id = "E9703"
    shortdesc = "DeletionPolicy that the type does not know"
    description = (
        "Snapshot exists for volumes, databases and caches alone; a stack with it on anything else is refused, or worse, "
        "the person who wrote it believes there will be one. Say Retain."
    )
    subjects = ("lifecycle",)

    def faults(self, view: View) -> Iterator[Fault]:
        for resource in view.resources():
            for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                values = [str(value) for value in view.read(resource.node.get(key))]
                if "Snapshot" in values and resource.type not in SNAPSHOTS:
                    yield (*resource.path, key), f"{resource.name} is a {resource.type}, which has no snapshots; say Retain."


class DataGoesWithStack(StackRule):
    id = "E9704"
    shortdesc = "data that is deleted with the stack"
    description = (
        "Deleting the stack, or an update that replaces the resource, deletes images, labels, keys or accounts. Set both "
        "DeletionPolicy and UpdateReplacePolicy to Retain, or Snapshot where the type has it."
    )
    subjects = ("lifecycle", "storage")

    def faults(self, view: View) -> Iterator[Fault]:
        for resource in view.resources(*DATA):
            member = any(spot.value is not ABSENT for spot in resource.at("DBClusterIdentifier"))
            if resource.type == "AWS::RDS::DBInstance" and member:
                continue  # the data are the cluster's
            for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                values = {str(value) for value in view.read(resource.node.get(key))} if key in resource.node else {"Delete"}
                if values & {"Delete", "RetainExceptOnCreate"} - (
                    {"RetainExceptOnCreate"} if key == "DeletionPolicy" else set()
                ):
                    where = (*resource.path, key) if key in resource.node else resource.path
                    yield (
                        where,
                        f"The data of {resource.name} go with the stack: {key} is {' or '.join(sorted(values))}; say Retain.",
                    )


class EndlessLogs(StackRule):
    id = "E9705"
    shortdesc = "log group that keeps everything, or without a key of your own"
    description = (
        "Logs may hold what should have been deleted long ago. Set RetentionInDays and a KmsKeyId. A function whose log "
        "group is not in the template makes one that never expires."
    )
    subjects = ("lifecycle", "logs", "kms")

    def faults(self, view: View) -> Iterator[Fault]:
        for group in view.resources("AWS::Logs::LogGroup"):
            for key, reason in (("RetentionInDays", "never forgets"), ("KmsKeyId", "has no key of your own")):
                for spot in group.at(key):
                    if spot.value is ABSENT or not spot.text:
                        yield spot.path, f"{group.name} {reason}; set {key}."
