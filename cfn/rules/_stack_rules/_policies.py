"""Policy documents, wherever a template holds one, read statement by statement."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from _stack_rules._reading import ABSENT, EVERY, LATER, Resource, Spot, View

IDENTITY = "identity"  # says what its owner may do
TRUST = "trust"  # says who may become the role
RESOURCE = "resource"  # says who may use the resource it is attached to

# Type → the documents it holds: where, and of what kind.
DOCUMENTS: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "AWS::IAM::Role": ((("AssumeRolePolicyDocument",), TRUST), (("Policies", EVERY, "PolicyDocument"), IDENTITY)),
    "AWS::IAM::User": ((("Policies", EVERY, "PolicyDocument"), IDENTITY),),
    "AWS::IAM::Group": ((("Policies", EVERY, "PolicyDocument"), IDENTITY),),
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
    """One statement of one document."""

    owner: Resource
    kind: str
    spot: Spot

    @property
    def view(self) -> View:
        return self.owner.view

    @property
    def effect(self) -> str:
        return next((spot.text for spot in self.view.reach(self.spot, "Effect")), "")

    @property
    def allows(self) -> bool:
        return self.effect == "Allow"

    def listed(self, key: str) -> list[Spot]:
        """The items of `Action`, `NotAction`, `Resource` or `NotResource`, whether one or a list."""
        return [item for spot in self._under(key) for item in self.view.items(spot)]

    @property
    def actions(self) -> list[Spot]:
        return self.listed("Action")

    @property
    def targets(self) -> list[Spot]:
        return self.listed("Resource")

    def principals(self, kind: str | None = None, key: str = "Principal") -> list[Spot]:
        """Who is meant: every item under `Principal`, or those of one kind (`AWS`, `Service`, `Federated`)."""
        found: list[Spot] = []
        for spot in self._under(key):
            for branch in self.view.reach(spot):
                if isinstance(branch.value, dict):
                    for name in branch.value:
                        if kind in (None, name):
                            found += [item for part in self.view.reach(branch, name) for item in self.view.items(part)]
                elif kind in (None, "AWS"):
                    found += self.view.items(branch)
        return found

    def conditions(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield (operator, key, values) of every condition; keys in lower case, as they do not heed case."""
        for whole in self._under("Condition"):
            for branch in self.view.reach(whole):
                for operator in branch.value if isinstance(branch.value, dict) else ():
                    for keyed in self.view.reach(branch, operator):
                        for key in keyed.value if isinstance(keyed.value, dict) else ():
                            values = [item.text for spot in self.view.reach(keyed, key) for item in self.view.items(spot)]
                            yield str(operator), str(key).lower(), values

    def has_condition(self, *keys: str) -> bool:
        """Whether one of these condition keys narrows the statement."""
        return any(key in keys or any(key.startswith(wanted[:-1]) for wanted in keys if wanted[-1] == EVERY)
                   for _, key, _ in self.conditions())  # fmt: skip

    def _under(self, key: str) -> list[Spot]:
        if not isinstance(self.spot.value, dict) or key not in self.spot.value:
            return []
        return [Spot(self.spot.value[key], (*self.spot.path, key), self.spot.scenario)]


def statements(view: View, *kinds: str) -> Iterator[Statement]:
    """Every statement of every document in the template, of these kinds when any is named."""
    for resource in view.resources(*DOCUMENTS):
        for keys, kind in DOCUMENTS[resource.type]:
            if not kinds or kind in kinds:
                for document in resource.at(*keys):
                    yield from _of_document(resource, kind, document)


def _of_document(resource: Resource, kind: str, document: Spot) -> Iterator[Statement]:
    if isinstance(document.value, str):
        try:
            document = Spot(json.loads(document.value), document.path, document.scenario)
        except ValueError:
            return
    if not isinstance(document.value, dict) or document.value is ABSENT or "Statement" not in document.value:
        return
    inside = Spot(document.value["Statement"], (*document.path, "Statement"), document.scenario)
    for item in resource.view.items(inside):
        if isinstance(item.value, dict):
            yield Statement(resource, kind, item)


@cache
def catalog() -> dict[str, Any]:
    """The actions of every service, and which of them can be narrowed to a resource, as cfn-lint ships them."""
    text = resources.files("cfnlint.data.AdditionalSpecs").joinpath("Policies.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def covered(action: str) -> list[tuple[str, str]]:
    """The actions, as (service, action in lower case), that a pattern such as `s3:Put*` stands for."""
    service, _, pattern = action.lower().partition(":")
    known = catalog().get(service, {}).get("Actions", {})
    return [(service, name) for name in known if fnmatch.fnmatchcase(name, pattern)]


def can_be_narrowed(service: str, action: str) -> bool:
    """Whether the action takes a resource; one that does not can only be allowed on `*`."""
    return bool(catalog().get(service, {}).get("Actions", {}).get(action, {}).get("Resources"))


def everything(target: Spot) -> bool:
    """Whether a resource pattern leaves the resource open, whatever the partition, region and account."""
    text = target.text
    if text == EVERY:
        return True
    # What deployment fills in, such as ${AWS::Partition}, has colons of its own.
    parts = LATER.sub("x", text).split(":", 5)
    return len(parts) == 6 and parts[0] == "arn" and set(parts[5].replace("/", "")) == {EVERY} and parts[2] in (EVERY, "s3")


def holds_pattern(action: str, wanted: str) -> bool:
    """Whether an action pattern of a policy takes in one action."""
    return fnmatch.fnmatchcase(wanted.lower(), action.lower())
