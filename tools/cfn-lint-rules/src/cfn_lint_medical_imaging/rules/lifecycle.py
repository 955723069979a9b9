"""Life cycle: end of support, physical names, deletion policies and log retention."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cache

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from cfn_lint_medical_imaging.support_dates import engine_end_of_support
from cfn_lint_medical_imaging.template.values import ABSENT, ResolvedTemplate, Value
from cfn_lint_medical_imaging.template_rule import DatedRule, Finding, TemplateRule

# Resource types for which CloudFormation supports DeletionPolicy Snapshot.
TYPES_WITH_SNAPSHOTS = {
    "AWS::DocDB::DBCluster",
    "AWS::EC2::Volume",
    "AWS::ElastiCache::CacheCluster",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::Neptune::DBCluster",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::Redshift::Cluster",
}
# Resource types with data that cannot be recreated.
TYPES_WITH_DATA = {
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
# Names that must be unique in an account or region although they are not the primary identifier.
OTHER_UNIQUE_NAMES = {
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
# Placeholders that differ between two stacks in one account. Region and account id do not.
STACK_SPECIFIC = re.compile(r"\$\{(AWS::StackName|AWS::StackId|[^:}]+)\}")


@cache
def name_properties(kind: str) -> tuple[str, ...]:
    """Return the properties of a resource type that set a physical name which must be unique."""
    try:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    except Exception:  # noqa: BLE001 - cfn-lint raises several exceptions for unknown types, and reports the type itself
        return OTHER_UNIQUE_NAMES.get(kind, ())
    identifiers = [str(pointer).removeprefix("/properties/") for pointer in schema.get("primaryIdentifier", [])]
    read_only = {str(pointer).removeprefix("/properties/") for pointer in schema.get("readOnlyProperties", [])}
    if len(identifiers) > 1:
        identifiers = []  # the name must be unique within its parent resource only
    names = [name for name in identifiers if name.endswith(("Name", "Identifier")) and name not in read_only]
    return tuple(dict.fromkeys([*names, *OTHER_UNIQUE_NAMES.get(kind, ())]))


class UnsupportedEngine(DatedRule):
    id = "E9701"
    shortdesc = "database engine past its end of standard support"
    description = (
        "After the end of standard support AWS charges Extended Support by the hour, and finally upgrades the engine without "
        "being asked. Set a current major version. `--configure-rule E9701:today=2027-01-31` checks another day."
    )
    topics = ("lifecycle", "rds", "support")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for database in template.resources("AWS::RDS::DBCluster", "AWS::RDS::DBInstance", "AWS::RDS::GlobalCluster"):
            for engine in database.get("Engine"):
                for version in database.get("EngineVersion"):
                    end = engine_end_of_support(engine.text, version.text)
                    if end and end < self.today:
                        since = "" if end == date.min else f" since {end}"
                        yield (
                            version.path,
                            f"{database.name} uses {engine.text} {version.text}, out of support{since}. Set a current version.",
                        )


class FixedName(TemplateRule):
    id = "E9702"
    shortdesc = "fixed physical name or export name"
    description = (
        "A second stack in the same account, or the replacement of the resource during an update, fails because the name is "
        "taken. Omit the name, or derive it from AWS::StackName. A parameter with a default value counts as fixed."
    )
    topics = ("lifecycle", "names")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource in template.resources():
            for key in name_properties(resource.type):
                for name in resource.get(key):
                    if isinstance(name.raw, str) and name.text and not self._is_stack_specific(name):
                        yield name.path, f"{resource.name} has the fixed name '{name.text}'. Derive it from AWS::StackName."
        for output, body in template.section("Outputs").items():
            node = body.get("Export", {}).get("Name") if isinstance(body, dict) else None
            for text in template.resolve(node) if node is not None else ():
                if not STACK_SPECIFIC.search(str(text)):
                    yield (
                        ("Outputs", output, "Export", "Name"),
                        f"{output} has the fixed export name '{text}'. Derive it from AWS::StackName.",
                    )

    def _is_stack_specific(self, name: Value) -> bool:
        return bool(STACK_SPECIFIC.search(name.text)) or name.text.startswith(("arn:", "{{resolve:", "alias/aws/"))


class UnsupportedSnapshotPolicy(TemplateRule):
    id = "E9703"
    shortdesc = "DeletionPolicy Snapshot on a type without snapshots"
    description = (
        "Only volumes, databases and caches support Snapshot. On another type the deployment fails, and nobody has the "
        "snapshot that the template promises. Set Retain."
    )
    topics = ("lifecycle",)

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource in template.resources():
            for key in ("DeletionPolicy", "UpdateReplacePolicy"):
                policies = [str(value) for value in template.resolve(resource.node.get(key))]
                if "Snapshot" in policies and resource.type not in TYPES_WITH_SNAPSHOTS:
                    yield (
                        (*resource.path, key),
                        f"{resource.name} is of type {resource.type}, which does not support snapshots. Set {key} to Retain.",
                    )


class DataDeletedWithStack(TemplateRule):
    id = "E9704"
    shortdesc = "data that is deleted with the stack"
    description = (
        "Deleting the stack, or an update that replaces the resource, deletes images, labels, keys or accounts. Set both "
        "DeletionPolicy and UpdateReplacePolicy to Retain, or to Snapshot where the type supports it."
    )
    topics = ("lifecycle", "storage")
    deleting_policies = (
        ("DeletionPolicy", frozenset({"Delete"})),
        ("UpdateReplacePolicy", frozenset({"Delete", "RetainExceptOnCreate"})),
    )

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource in template.resources(*TYPES_WITH_DATA):
            if resource.type == "AWS::RDS::DBInstance" and resource.has("DBClusterIdentifier"):
                continue  # the cluster holds the data
            for key, deleting in self.deleting_policies:
                is_set = key in resource.node
                policies = {str(value) for value in template.resolve(resource.node[key])} if is_set else {"Delete"}
                if policies & deleting:
                    state = f"is {' or '.join(sorted(policies))}" if is_set else "is not set"
                    yield (
                        (*resource.path, key) if is_set else resource.path,
                        f"The data of {resource.name} is deleted with the stack: {key} {state}. Set it to Retain.",
                    )


class LogGroupWithoutRetention(TemplateRule):
    id = "E9705"
    shortdesc = "log group without a retention period or customer managed KMS key"
    description = (
        "Logs may contain data that should have been deleted long ago. Set RetentionInDays and a KmsKeyId. A function whose "
        "log group is not in the template creates one that never expires."
    )
    topics = ("lifecycle", "logs", "kms")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for group in template.resources("AWS::Logs::LogGroup"):
            for key, problem in (("RetentionInDays", "never expires"), ("KmsKeyId", "has no customer managed key")):
                for value in group.get(key):
                    if value.raw is ABSENT or not value.text:
                        yield value.path, f"{group.name} {problem}. Set {key}."
