"""IAM permissions: what the policies of roles, users and groups allow."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cfn_lint_medical_imaging.template.intrinsics import PLACEHOLDER
from cfn_lint_medical_imaging.template.policy_documents import (
    IDENTITY,
    WILDCARD,
    Statement,
    covers_action,
    covers_every_resource,
    matching_actions,
    service_authorization,
    statements,
    takes_resource_arn,
)
from cfn_lint_medical_imaging.template.values import EACH, ResolvedTemplate, Value
from cfn_lint_medical_imaging.template_rule import Finding, TemplateRule, joined, quoted

FULL_ACCESS_POLICY = re.compile(
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


def allowed_actions(statement: Statement, *actions: str) -> set[str]:
    """Return which of these actions the statement allows."""
    if not statement.allows:
        return set()
    return {action for pattern in statement.actions for action in actions if covers_action(pattern.text, action)}


def unrestricted_resources(statement: Statement) -> list[Value]:
    """Return the resource patterns that match every resource."""
    return [resource for resource in statement.resources if covers_every_resource(resource)]


class FullAccessPolicy(TemplateRule):
    id = "E9401"
    shortdesc = "managed policy with full access"
    description = (
        "AmazonS3FullAccess, AmazonSageMakerFullAccess, AWSLambda_FullAccess, AmazonElasticFileSystemFullAccess and similar "
        "policies give a role access to every bucket, job, function or file system of the account. Allow only the actions and "
        "resources that it needs."
    )
    topics = ("identity", "iam")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for owner in template.resources("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"):
            for policy in owner.get("ManagedPolicyArns", EACH):
                if FULL_ACCESS_POLICY.search(PLACEHOLDER.sub("x", policy.text)):
                    name = policy.text.rpartition("/")[2]
                    yield (
                        policy.path,
                        f"{owner.name} has the policy {name}. Allow only the actions and resources that it needs.",
                    )
            for boundary in owner.get("PermissionsBoundary"):
                if "policy/AdministratorAccess" in boundary.text:
                    yield boundary.path, f"The permissions boundary of {owner.name} allows everything. Use a narrower policy."


class EveryActionOfService(TemplateRule):
    id = "E9402"
    shortdesc = "every action of a service allowed"
    description = (
        "`service:*` includes actions that nobody considered and those that AWS adds later. List the actions; a prefix such "
        "as `s3:GetObject*` is accepted where every action it matches is intended."
    )
    topics = ("identity", "iam")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template):
            if not statement.allows or self._delegates_key_to_account(statement):
                continue
            for action in statement.actions:
                if action.text.split(":")[-1] == WILDCARD:
                    yield action.path, f"{statement.owner.name} allows {action.text}. List the actions that are needed."

    def _delegates_key_to_account(self, statement: Statement) -> bool:
        """Whether a key policy delegates to the IAM policies of the account, without which nobody could administer the key."""
        if not statement.owner.type.startswith("AWS::KMS::"):
            return False
        principals = statement.principals("AWS")
        return bool(principals) and all(principal.text.endswith(":root") for principal in principals)


class PassAnyRole(TemplateRule):
    id = "E9403"
    shortdesc = "iam:PassRole on any role or to any service"
    description = (
        "Whoever may pass any role can gain the permissions of the most powerful one through a job or function that runs as "
        "it. Name the ARN of the role, and restrict the service with a condition on iam:PassedToService."
    )
    topics = ("identity", "iam")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template, IDENTITY):
            if not allowed_actions(statement, "iam:PassRole"):
                continue
            name = statement.owner.name
            for resource in statement.resources:
                if covers_every_resource(resource) or resource.text.endswith((":role/*", ":*")):
                    yield resource.path, f"{name} may pass any role ({resource.text}). Name the ARN of the role."
            if not statement.has_condition("iam:passedtoservice"):
                yield statement.path, f"{name} may pass a role to any service. Add a condition on iam:PassedToService."


class AssumeAnyRole(TemplateRule):
    id = "E9404"
    shortdesc = "sts:AssumeRole on any role"
    description = (
        "The role can assume every role that trusts this account, in this and other accounts. Name the ARNs of the roles that "
        "it needs."
    )
    topics = ("identity", "iam", "sts")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template, IDENTITY):
            if allowed_actions(statement, "sts:AssumeRole"):
                for resource in statement.resources:
                    if covers_every_resource(resource) or resource.text.endswith(":role/*"):
                        yield (
                            resource.path,
                            f"{statement.owner.name} may assume any role ({resource.text}). Name the ARN of the role.",
                        )


class _WriteToEveryResource(TemplateRule):
    """Base of the rules about write actions of one service that are allowed on every resource."""

    topics = ("identity", "iam")
    write_actions: tuple[str, ...] = ()
    noun = ""

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template, IDENTITY):
            actions = allowed_actions(statement, *self.write_actions)
            for resource in unrestricted_resources(statement) if actions else ():
                yield resource.path, f"{statement.owner.name} allows {joined(actions)} on every {self.noun}. Name its ARN."


class WriteToEveryBucket(_WriteToEveryResource):
    id = "E9405"
    shortdesc = "S3 write access to every bucket"
    description = (
        "A labeling or training role that can write everywhere can overwrite every bucket of the account, including logs and "
        "backups. Name the bucket and the prefix."
    )
    write_actions = S3_WRITES
    noun = "bucket"


class WriteToEveryRepository(_WriteToEveryResource):
    id = "E9406"
    shortdesc = "ECR write access to every repository"
    description = (
        "Whoever can push to every repository controls what every container of the account runs. Name the repository; only "
        "ecr:GetAuthorizationToken requires `*`, in a separate statement."
    )
    write_actions = ECR_WRITES
    noun = "repository"


class UnrestrictedResource(TemplateRule):
    id = "E9407"
    shortdesc = "action allowed on every resource although it takes an ARN"
    description = (
        "The permission is wider than the task. Name the resources, and move actions that take no resource to a separate "
        "statement. cfn-lint's copy of the service authorization reference says which actions take a resource."
    )
    topics = ("identity", "iam")
    covered_by_other_rules = frozenset(action.lower() for action in ("iam:PassRole", "sts:AssumeRole", *S3_WRITES, *ECR_WRITES))
    narrowing_conditions = ("aws:resourcetag/*", "ecs:cluster", "cloudwatch:namespace", "sagemaker:resourcetag/*")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template, IDENTITY):
            resources = unrestricted_resources(statement) if statement.allows else []
            if not resources or statement.has_condition(*self.narrowing_conditions):
                continue
            actions = {
                f"{service}:{name}"
                for pattern in statement.actions
                for service, name in matching_actions(pattern.text)
                if takes_resource_arn(service, name) and f"{service}:{name}" not in self.covered_by_other_rules
            }
            if actions:
                first = ", ".join(sorted(actions)[:3])
                more = f" and {len(actions) - 3} more" if len(actions) > 3 else ""
                yield resources[0].path, f"{statement.owner.name} allows {first}{more} on every resource. Name the ARN."


class InvertedAllow(TemplateRule):
    id = "E9410"
    shortdesc = "Allow with NotAction, NotResource or NotPrincipal"
    description = (
        "Allow with an inverted element grants everything that is not listed, including services that AWS adds later. List "
        "what is allowed."
    )
    topics = ("identity", "iam")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template):
            for key in ("NotAction", "NotResource", "NotPrincipal"):
                if statement.allows and key in statement.value.raw:
                    yield (
                        (*statement.path, key),
                        f"{statement.owner.name} allows everything except a list ({key}). List what is allowed.",
                    )


class UnknownAction(TemplateRule):
    id = "E9413"
    shortdesc = "action that does not exist"
    description = (
        "A misspelled action allows and denies nothing, which is noticed only when the permission is missing. Look the action "
        "up in the service authorization reference, of which cfn-lint ships a copy."
    )
    topics = ("identity", "iam")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template):
            for key in ("Action", "NotAction"):
                for action in statement.elements(key):
                    service = action.text.partition(":")[0].lower()
                    exists = service in service_authorization() and matching_actions(action.text)
                    if action.is_known and action.text != WILDCARD and not exists:
                        yield (
                            action.path,
                            f"{statement.owner.name} names {quoted(action)}, which is not an action. Check its spelling.",
                        )
