"""Rules about who may do what: the policies of roles, users and groups."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule, names, shown
from _stack_rules._policies import (
    IDENTITY,
    Statement,
    can_be_narrowed,
    catalog,
    covered,
    everything,
    holds_pattern,
    statements,
)
from _stack_rules._reading import EVERY, LATER, Spot, View

BROAD_POLICY = re.compile(
    r"policy/(.*/)?(\w*FullAccess\w*|AWSLambda_FullAccess|AdministratorAccess\S*|PowerUserAccess|IAMFullAccess)$"
)
S3_WRITES = ("s3:PutObject", "s3:DeleteObject", "s3:PutBucketPolicy", "s3:DeleteBucket", "s3:PutObjectAcl", "s3:PutBucketCORS")
ECR_WRITES = (
    "ecr:PutImage",
    "ecr:BatchDeleteImage",
    "ecr:InitiateLayerUpload",
    "ecr:CompleteLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:DeleteRepository",
    "ecr:SetRepositoryPolicy",
)


def granted(statement: Statement, *wanted: str) -> list[tuple[Spot, str]]:
    """Which of these actions the statement allows, and by which of its patterns."""
    return [(spot, action) for spot in statement.actions for action in wanted if holds_pattern(spot.text, action)]


def open_targets(statement: Statement) -> list[Spot]:
    """The resource patterns that leave the resource open."""
    return [spot for spot in statement.targets if everything(spot)]


class FullAccessPolicy(StackRule):
    id = "E9401"
    shortdesc = "managed policy with full access"
    description = (
        "AmazonS3FullAccess, AmazonSageMakerFullAccess, AWSLambda_FullAccess, AmazonElasticFileSystemFullAccess and their "
        "like give a role every bucket, job, function and file system of the account. Write down the actions and the "
        "resources it needs."
    )
    subjects = ("identity", "iam")

    def faults(self, view: View) -> Iterator[Fault]:
        for owner in view.resources("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"):
            for spot in owner.at("ManagedPolicyArns", EVERY):
                if BROAD_POLICY.search(LATER.sub("x", spot.text)):
                    yield (
                        spot.path,
                        f"{owner.name} has {spot.text.rpartition('/')[2]}; allow the actions and resources it needs.",
                    )
            for spot in owner.at("PermissionsBoundary"):
                if "policy/AdministratorAccess" in spot.text:
                    yield spot.path, f"The boundary of {owner.name} bounds nothing; name a narrower policy."


class WildcardAction(StackRule):
    id = "E9402"
    shortdesc = "every action of a service allowed"
    description = (
        "`service:*` takes in actions nobody thought of, and those that AWS will add. List the actions; a prefix such as "
        "`s3:GetObject*` is fine where all it covers is meant."
    )
    subjects = ("identity", "iam")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view):
            if not statement.allows or self._own_key(statement):
                continue
            for spot in statement.actions:
                if spot.text == EVERY or spot.text.split(":")[-1] == EVERY:
                    yield spot.path, f"{statement.owner.name} allows {spot.text}; list the actions that are needed."

    def _own_key(self, statement: Statement) -> bool:
        """A key whose policy leaves the account's own policies out can be used by nobody, and mended by nobody."""
        owners = statement.principals("AWS")
        return statement.owner.type.startswith("AWS::KMS::") and bool(owners) and all(s.text.endswith(":root") for s in owners)


class PassAnyRole(StackRule):
    id = "E9403"
    shortdesc = "iam:PassRole on any role or to any service"
    description = (
        "Who may pass every role may become the strongest one, by a job or function that runs as it. Name the role's ARN, "
        "and the service it may go to with a condition on iam:PassedToService."
    )
    subjects = ("identity", "iam")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view, IDENTITY):
            if not statement.allows or not granted(statement, "iam:PassRole"):
                continue
            for spot in statement.targets:
                if everything(spot) or spot.text.endswith((":role/*", ":*")):
                    yield spot.path, f"{statement.owner.name} may pass any role ({spot.text}); name the role."
            if not statement.has_condition("iam:passedtoservice"):
                yield statement.spot.path, f"{statement.owner.name} may pass a role to any service; add iam:PassedToService."


class AssumeAnyRole(StackRule):
    id = "E9404"
    shortdesc = "sts:AssumeRole on any role"
    description = (
        "The role may become every role, here and in other accounts, that trusts this account. Name the ARNs of the roles "
        "it needs."
    )
    subjects = ("identity", "iam", "sts")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view, IDENTITY):
            if statement.allows and granted(statement, "sts:AssumeRole"):
                for spot in statement.targets:
                    if everything(spot) or spot.text.endswith(":role/*"):
                        yield spot.path, f"{statement.owner.name} may assume any role ({spot.text}); name the role."


class _WritesAnywhere(StackRule):
    """Not a rule itself: writes of one service on every resource."""

    subjects = ("identity", "iam")
    writes: tuple[str, ...] = ()
    what = ""

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view, IDENTITY):
            found = {action for _, action in granted(statement, *self.writes)} if statement.allows else set()
            for spot in open_targets(statement) if found else ():
                yield spot.path, f"{statement.owner.name} may do {names(found)} on every {self.what}; name the ARN."


class WritesAnyBucket(_WritesAnywhere):
    id = "E9405"
    shortdesc = "S3 writes on every bucket"
    description = (
        "A labeling or training role that may write everywhere can overwrite every bucket of the account, logs and "
        "backups too. Name the bucket and the prefix."
    )
    writes = S3_WRITES
    what = "bucket"


class WritesAnyRepository(_WritesAnywhere):
    id = "E9406"
    shortdesc = "ECR writes on every repository"
    description = (
        "Who may push to every repository decides what every container of the account runs. Name the repository; only "
        "ecr:GetAuthorizationToken needs `*`, in a statement of its own."
    )
    writes = ECR_WRITES
    what = "repository"


class AnyResource(StackRule):
    id = "E9407"
    shortdesc = "action allowed on every resource though it takes one"
    description = (
        "The action can be narrowed to an ARN and is not. Name the resources; put the few actions that take none into a "
        "statement of their own. Which actions take a resource is read from the list that cfn-lint ships."
    )
    subjects = ("identity", "iam")
    named_elsewhere = ("iam:PassRole", "sts:AssumeRole", *S3_WRITES, *ECR_WRITES)

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view, IDENTITY):
            wide = open_targets(statement) if statement.allows else []
            if not wide or statement.has_condition(
                "aws:resourcetag/*", "ecs:cluster", "cloudwatch:namespace", "sagemaker:resourcetag/*"
            ):
                continue
            other = {action.lower() for action in self.named_elsewhere}
            found = {
                f"{service}:{name}"
                for spot in statement.actions
                for service, name in covered(spot.text)
                if can_be_narrowed(service, name) and f"{service}:{name}" not in other
            }
            if found:
                first = sorted(found)[:3]
                more = f" and {len(found) - 3} more" if len(found) > 3 else ""
                yield wide[0].path, f"{statement.owner.name} allows {', '.join(first)}{more} on every resource; name the ARN."


class Inverted(StackRule):
    id = "E9410"
    shortdesc = "Allow with NotAction, NotResource or NotPrincipal"
    description = "Allow with a Not- list grants all that is not listed, services of next year included. List what is allowed."
    subjects = ("identity", "iam")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view):
            for key in ("NotAction", "NotResource", "NotPrincipal"):
                if statement.allows and key in statement.spot.value:
                    yield (
                        (*statement.spot.path, key),
                        f"{statement.owner.name} allows everything but a list; list what is allowed.",
                    )


class UnknownAction(StackRule):
    id = "E9413"
    shortdesc = "action that does not exist"
    description = (
        "A misspelled action allows or denies nothing, and nobody notices until the permission is missing. The list of "
        "actions is the one that cfn-lint ships."
    )
    subjects = ("identity", "iam")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view):
            for key in ("Action", "NotAction"):
                for spot in statement.listed(key):
                    service = spot.text.partition(":")[0].lower()
                    if spot.known and spot.text != EVERY and not (service in catalog() and covered(spot.text)):
                        yield spot.path, f"{statement.owner.name} names {shown(spot)}, which no service has; look it up."
