"""Access from outside: resource policies, trust policies, Lambda permissions, Cognito sign-up and KMS keys."""

from __future__ import annotations

from collections.abc import Iterator

from cfn_lint_medical_imaging.template.policy_documents import RESOURCE, TRUST, WILDCARD, statements
from cfn_lint_medical_imaging.template.values import ResolvedTemplate
from cfn_lint_medical_imaging.template_rule import Finding, TemplateRule, joined

SOURCE_CONDITIONS = ("aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "aws:sourceorgpaths")
NARROWING_CONDITIONS = (
    *SOURCE_CONDITIONS,
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "kms:calleraccount",
    "kms:viaservice",
    "aws:sourcevpce",
    "aws:sourcevpc",
    "lambda:functionurlauthtype",
)
# Services that send the account or ARN on whose behalf they assume a role.
SERVICES_WITH_SOURCE = (
    "ecs-tasks",
    "sagemaker",
    "codebuild",
    "s3",
    "scheduler",
    "events",
    "vpc-flow-logs",
    "medical-imaging",
    "backup",
    "cloudtrail",
)
# Services that invoke a function for events of any account unless the permission names the source.
INVOKING_SERVICES = ("s3", "sns", "events", "logs", "apigateway", "cognito-idp", "scheduler", "config", "iot")


class PublicPolicy(TemplateRule):
    id = "E9408"
    shortdesc = "resource or trust policy that allows every principal"
    description = (
        "Allow with the principal `*` and no condition admits everyone, including every other AWS account. Name the role or "
        "the service, or add a condition on the account."
    )
    topics = ("identity", "iam")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for statement in statements(template, RESOURCE, TRUST):
            # The policy of a VPC endpoint restricts access that other policies grant.
            is_endpoint = statement.owner.type == "AWS::EC2::VPCEndpoint"
            if not statement.allows or is_endpoint or statement.has_condition(*NARROWING_CONDITIONS):
                continue
            if any(key == "elasticfilesystem:accessedviamounttarget" for _, key, _ in statement.conditions()):
                continue
            for principal in statement.principals("AWS"):
                if principal.text == WILDCARD:
                    yield principal.path, f"{statement.owner.name} allows every principal. Name the principal."
        for permission in template.resources("AWS::Lambda::Permission"):
            for principal in permission.get("Principal"):
                if principal.text == WILDCARD:
                    yield principal.path, f"{permission.name} lets every principal invoke the function. Name the principal."


class ConfusedDeputy(TemplateRule):
    id = "E9409"
    shortdesc = "service principal without a source condition (confused deputy)"
    description = (
        "A service acts on behalf of many accounts. Without aws:SourceAccount or aws:SourceArn, another account can make it "
        "use your role, function or topic. Add the condition, or SourceAccount and SourceArn to a Lambda permission."
    )
    topics = ("identity", "iam", "lambda")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        key_conditions = ("kms:viaservice", "kms:calleraccount", "kms:encryptioncontext*")
        for statement in statements(template, TRUST, RESOURCE):
            if not statement.allows or statement.has_condition(*SOURCE_CONDITIONS, *key_conditions):
                continue
            services = {*SERVICES_WITH_SOURCE}
            if statement.kind == RESOURCE:
                services |= {*INVOKING_SERVICES, "logging", "delivery"}
            for principal in statement.principals("Service"):
                if principal.text.split(".")[0] in services:
                    yield (
                        principal.path,
                        f"{statement.owner.name} trusts {principal.text} on behalf of every account. "
                        "Add a condition on aws:SourceAccount.",
                    )
        for permission in template.resources("AWS::Lambda::Permission"):
            callers = {principal.text.split(".")[0] for principal in permission.get("Principal")}
            sources = [value.text for key in ("SourceAccount", "SourceArn", "PrincipalOrgID") for value in permission.get(key)]
            if callers & set(INVOKING_SERVICES) and not any(sources):
                yield (
                    (*permission.path, "Properties"),
                    f"{permission.name} lets {joined(callers)} invoke it on behalf of every account. Add SourceAccount.",
                )


class KeyWithoutRotation(TemplateRule):
    id = "E9411"
    shortdesc = "KMS key without rotation"
    description = (
        "Without rotation, one key protects ever more data. Set EnableKeyRotation to true; existing data stays readable."
    )
    topics = ("identity", "kms")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for key in template.resources("AWS::KMS::Key"):
            kinds = {value.text for name in ("KeySpec", "KeyUsage") for value in key.get(name)}
            if not kinds <= {"", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"}:
                continue  # only symmetric encryption keys support automatic rotation
            for value in key.get("EnableKeyRotation"):
                if not value.is_true:
                    yield value.path, f"{key.name} does not rotate. Set EnableKeyRotation to true."


class OpenSignUp(TemplateRule):
    id = "E9412"
    shortdesc = "user pool with self-registration, or identity pool with guest access"
    description = (
        "Only invited people may read patients' images. Set AllowAdminCreateUserOnly to true on user pools, and "
        "AllowUnauthenticatedIdentities to false on identity pools."
    )
    topics = ("identity", "cognito")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for pool in template.resources("AWS::Cognito::UserPool"):
            for value in pool.get("AdminCreateUserConfig", "AllowAdminCreateUserOnly"):
                if not value.is_true:
                    yield value.path, f"Anyone can sign up to {pool.name}. Set AllowAdminCreateUserOnly to true."
        for pool in template.resources("AWS::Cognito::IdentityPool"):
            for value in pool.get("AllowUnauthenticatedIdentities"):
                if value.is_true:
                    yield (
                        value.path,
                        f"{pool.name} gives credentials to guests. Set AllowUnauthenticatedIdentities to false.",
                    )
