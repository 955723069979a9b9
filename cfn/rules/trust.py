"""Rules about who is let in: trust of roles, policies of resources, permissions of functions, sign-up, and keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule, names
from _stack_rules._policies import RESOURCE, TRUST, statements
from _stack_rules._reading import EVERY, View

SOURCES = ("aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "aws:sourceorgpaths")
NARROWERS = (
    *SOURCES,
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "kms:calleraccount",
    "kms:viaservice",
    "aws:sourcevpce",
    "aws:sourcevpc",
    "lambda:functionurlauthtype",
)
# Services that send the account or the ARN they act for when they assume a role.
CONFUSABLE = (
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
# Services that may call a function for anybody's event unless the permission says whose.
CALLERS = ("s3", "sns", "events", "logs", "apigateway", "cognito-idp", "scheduler", "config", "iot")


class Everyone(StackRule):
    id = "E9408"
    shortdesc = "policy of a resource or role that lets everyone in"
    description = (
        "Principal `*` with Allow and no condition is the whole world, every AWS account included. Name the role or the "
        "service, or add a condition on the account."
    )
    subjects = ("identity", "iam")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view, RESOURCE, TRUST):
            if not statement.allows or statement.owner.type == "AWS::EC2::VPCEndpoint" or statement.has_condition(*NARROWERS):
                continue
            mount = any(key == "elasticfilesystem:accessedviamounttarget" for _, key, _ in statement.conditions())
            for spot in [] if mount else statement.principals("AWS"):
                if spot.text == EVERY:
                    yield spot.path, f"{statement.owner.name} lets everyone in; name the principal."
        for permission in view.resources("AWS::Lambda::Permission"):
            for spot in permission.at("Principal"):
                if spot.text == EVERY:
                    yield spot.path, f"{permission.name} lets everyone call the function; name the principal."


class ConfusedDeputy(StackRule):
    id = "E9409"
    shortdesc = "service trusted without saying for whom"
    description = (
        "A service acts for many accounts. Without aws:SourceAccount or aws:SourceArn a stranger can make it use your "
        "role, function or topic for him. Add the condition, or SourceAccount and SourceArn on a Lambda permission."
    )
    subjects = ("identity", "iam", "lambda")

    def faults(self, view: View) -> Iterator[Fault]:
        for statement in statements(view, TRUST, RESOURCE):
            if not statement.allows or statement.has_condition(
                *SOURCES, "kms:viaservice", "kms:calleraccount", "kms:encryptioncontext*"
            ):
                continue
            for spot in statement.principals("Service"):
                service = spot.text.split(".")[0]
                if service in (CONFUSABLE if statement.kind == TRUST else (*CONFUSABLE, *CALLERS, "logging", "delivery")):
                    yield (
                        spot.path,
                        f"{statement.owner.name} trusts {spot.text} for everyone; add a condition on aws:SourceAccount.",
                    )
        for permission in view.resources("AWS::Lambda::Permission"):
            callers = {spot.text.split(".")[0] for spot in permission.at("Principal")}
            told = any(spot.text for key in ("SourceAccount", "SourceArn", "PrincipalOrgID") for spot in permission.at(key))
            if callers & set(CALLERS) and not told:
                yield (
                    (*permission.path, "Properties"),
                    f"{permission.name} lets {names(callers)} call for everyone; add SourceAccount.",
                )


class KeyStaysTheSame(StackRule):
    id = "E9411"
    shortdesc = "key that does not rotate"
    description = (
        "A key that never changes protects ever more data with the same bytes. Set EnableKeyRotation; old data stays readable."
    )
    subjects = ("identity", "kms")

    def faults(self, view: View) -> Iterator[Fault]:
        for key in view.resources("AWS::KMS::Key"):
            spec = {spot.text for spot in key.at("KeySpec")} | {spot.text for spot in key.at("KeyUsage")}
            for spot in key.at("EnableKeyRotation"):
                if not spot.true and spec <= {"", "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"}:
                    yield spot.path, f"{key.name} does not rotate; set EnableKeyRotation: true."


class StrangersSignUp(StackRule):
    id = "E9412"
    shortdesc = "anyone may sign up, or come in without signing in"
    description = (
        "A workforce that reads patients' images is invited. Set AllowAdminCreateUserOnly to true, and "
        "AllowUnauthenticatedIdentities to false on identity pools."
    )
    subjects = ("identity", "cognito")

    def faults(self, view: View) -> Iterator[Fault]:
        for pool in view.resources("AWS::Cognito::UserPool"):
            for spot in pool.at("AdminCreateUserConfig", "AllowAdminCreateUserOnly"):
                if not spot.true:
                    yield spot.path, f"Anyone may sign up to {pool.name}; set AllowAdminCreateUserOnly: true."
        for pool in view.resources("AWS::Cognito::IdentityPool"):
            for spot in pool.at("AllowUnauthenticatedIdentities"):
                if spot.true:
                    yield spot.path, f"{pool.name} gives credentials to people who did not sign in; set it to false."
