"""Read the statements of every policy document in a template: IAM, resource, trust and endpoint policies."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cfn_lint_medical_imaging.template.intrinsics import PLACEHOLDER
from cfn_lint_medical_imaging.template.values import EACH, Path, ResolvedTemplate, Resource, Value

IDENTITY = "identity"  # what the role, user or group may do
TRUST = "trust"  # who may assume the role
RESOURCE = "resource"  # who may use the resource that the policy is attached to

#: In a policy: every action, resource or principal.
WILDCARD = "*"

# Resource type → the property path and the kind of each policy document it holds.
DOCUMENTS: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "AWS::IAM::Role": ((("AssumeRolePolicyDocument",), TRUST), (("Policies", EACH, "PolicyDocument"), IDENTITY)),
    "AWS::IAM::User": ((("Policies", EACH, "PolicyDocument"), IDENTITY),),
    "AWS::IAM::Group": ((("Policies", EACH, "PolicyDocument"), IDENTITY),),
    "AWS::IAM::Policy": ((("PolicyDocument",), IDENTITY),),
    "AWS::IAM::ManagedPolicy": ((("PolicyDocument",), IDENTITY),),
    "AWS::IAM::RolePolicy": ((("PolicyDocument",), IDENTITY),),
    "AWS::IAM::UserPolicy": ((("PolicyDocument",), IDENTITY),),
    "AWS::IAM::GroupPolicy": ((("PolicyDocument",), IDENTITY),),
    "AWS::S3::BucketPolicy": ((("PolicyDocument",), RESOURCE),),
    "AWS::S3::AccessPoint": ((("Policy",), RESOURCE),),
    "AWS::SQS::QueuePolicy": ((("PolicyDocument",), RESOURCE),),
    "AWS::SNS::TopicPolicy": ((("PolicyDocument",), RESOURCE),),
    "AWS::KMS::Key": ((("KeyPolicy",), RESOURCE),),
    "AWS::KMS::ReplicaKey": ((("KeyPolicy",), RESOURCE),),
    "AWS::SecretsManager::ResourcePolicy": ((("ResourcePolicy",), RESOURCE),),
    "AWS::ECR::Repository": ((("RepositoryPolicyText",), RESOURCE),),
    "AWS::EFS::FileSystem": ((("FileSystemPolicy",), RESOURCE),),
    "AWS::EC2::VPCEndpoint": ((("PolicyDocument",), RESOURCE),),
    "AWS::OpenSearchService::Domain": ((("AccessPolicies",), RESOURCE),),
    "AWS::Backup::BackupVault": ((("AccessPolicy",), RESOURCE),),
}


@dataclass(frozen=True)
class Statement:
    """One statement of a policy document."""

    owner: Resource
    kind: str
    value: Value

    @property
    def template(self) -> ResolvedTemplate:
        """The template that the statement stands in."""
        return self.owner.template

    @property
    def path(self) -> Path:
        """The path of the statement in the template."""
        return self.value.path

    @property
    def allows(self) -> bool:
        """Whether the effect of the statement is Allow."""
        return self.effect == "Allow"

    @property
    def effect(self) -> str:
        """The effect of the statement: Allow or Deny."""
        return next((value.text for value in self.template.follow(self.value, "Effect")), "")

    @property
    def actions(self) -> list[Value]:
        """The action patterns of the statement."""
        return self.elements("Action")

    @property
    def resources(self) -> list[Value]:
        """The resource patterns of the statement."""
        return self.elements("Resource")

    def elements(self, key: str) -> list[Value]:
        """Return the items of `Action`, `NotAction`, `Resource` or `NotResource`, written as a list or as a single value."""
        return [item for value in self._below(key) for item in self.template.items(value)]

    def principals(self, kind: str | None = None) -> list[Value]:
        """Return every principal, or those of one kind (`AWS`, `Service`, `Federated`)."""
        found: list[Value] = []
        for value in self._below("Principal"):
            for branch in self.template.follow(value):
                if isinstance(branch.raw, dict):
                    for name in branch.raw:
                        if kind in (None, name):
                            for part in self.template.follow(branch, name):
                                found += self.template.items(part)
                elif kind in (None, "AWS"):
                    found += self.template.items(branch)
        return found

    def conditions(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield (operator, key, values) of every condition. Keys are in lower case, because IAM ignores their case."""
        for block in self._below("Condition"):
            for branch in self.template.follow(block):
                for operator in branch.raw if isinstance(branch.raw, dict) else ():
                    for keys in self.template.follow(branch, operator):
                        for key in keys.raw if isinstance(keys.raw, dict) else ():
                            values = [
                                item.text for value in self.template.follow(keys, key) for item in self.template.items(value)
                            ]
                            yield str(operator), str(key).lower(), values

    def has_condition(self, *patterns: str) -> bool:
        """Whether a condition on one of these keys narrows the statement. A pattern may end in `*`."""
        return any(fnmatch.fnmatchcase(key, pattern) for _, key, _ in self.conditions() for pattern in patterns)

    def _below(self, key: str) -> list[Value]:
        if not isinstance(self.value.raw, dict) or key not in self.value.raw:
            return []
        return [Value(self.value.raw[key], (*self.path, key), self.value.scenario)]


def statements(template: ResolvedTemplate, *kinds: str) -> Iterator[Statement]:
    """Yield the statements of every policy document in the template, or of those of the given kinds."""
    for resource in template.resources(*DOCUMENTS):
        for keys, kind in DOCUMENTS[resource.type]:
            if not kinds or kind in kinds:
                for document in resource.get(*keys):
                    yield from _statements_of(resource, kind, document)


def _statements_of(resource: Resource, kind: str, document: Value) -> Iterator[Statement]:
    if isinstance(document.raw, str):
        try:
            document = Value(json.loads(document.raw), document.path, document.scenario)
        except ValueError:
            return
    if not isinstance(document.raw, dict) or "Statement" not in document.raw:
        return
    body = Value(document.raw["Statement"], (*document.path, "Statement"), document.scenario)
    for item in resource.template.items(body):
        if isinstance(item.raw, dict):
            yield Statement(resource, kind, item)


@cache
def service_authorization() -> dict[str, Any]:
    """Return the actions of every AWS service and the resource types of each action, as shipped with cfn-lint."""
    text = resources.files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text("utf-8")
    services: dict[str, Any] = json.loads(text)
    return services


def matching_actions(pattern: str) -> list[tuple[str, str]]:
    """Return the existing actions that a pattern such as `s3:Put*` covers, as (service, action) in lower case."""
    service, _, name = pattern.lower().partition(":")
    known = service_authorization().get(service, {}).get("Actions", {})
    return [(service, action) for action in known if fnmatch.fnmatchcase(action, name)]


def takes_resource_arn(service: str, action: str) -> bool:
    """Whether the action can be restricted to a resource. Other actions can only be allowed on `*`."""
    return bool(service_authorization().get(service, {}).get("Actions", {}).get(action, {}).get("Resources"))


def covers_every_resource(resource: Value) -> bool:
    """Whether a resource pattern of a policy matches every resource of a service."""
    if resource.text == WILDCARD:
        return True
    # Placeholders such as ${AWS::Partition} contain colons.
    parts = PLACEHOLDER.sub("x", resource.text).split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        return False
    return set(parts[5].replace("/", "")) == {WILDCARD} and parts[2] in (WILDCARD, "s3")


def covers_action(pattern: str, action: str) -> bool:
    """Whether an action pattern of a policy covers an action. IAM ignores the case of both."""
    return fnmatch.fnmatchcase(action.lower(), pattern.lower())
