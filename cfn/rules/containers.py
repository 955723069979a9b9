"""Rules about containers: what they run, what they are told, and what they may write."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule, shown
from _stack_rules._reading import ABSENT, EVERY, LATER, Resource, Spot, View

SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|code)?($|_)|secret|token|credential|api_?key|access_?key|private_?key|registered_users|(^|_)auth($|_)",
    re.I,
)
# These names say where a secret is, not what it is.
POINTER_NAME = re.compile(r"(_arn|_name|_id|_file|_path|_uri|_ttl|_expiry|_length|_header|_enabled)$", re.I)
SECRET_VALUE = re.compile(
    r"\{\{resolve:(secretsmanager|ssm-secure):|://[^/\s:@$]+:[^/\s@]+@|\bBasic [A-Za-z0-9+/]{8,}={0,2}|AKIA[0-9A-Z]{16}"
)

FLOATING = re.compile(r"^(latest|stable|edge|main|master|dev|develop|nightly|prod|production|release|current|lts|\d+)$", re.I)
SECURE_ORTHANC = (1, 12, 11)  # nine advisories, CVE-2026-5437 to 5445, are mended in it
ORTHANC_IMAGE = re.compile(r"(?:^|/)(?:jodogne|orthancteam|osimis)/orthanc(?:-plugins|-python)?:v?(\d+)\.(\d+)\.(\d+)")
AUTHENTICATION_OFF = re.compile(r"""["']?AuthenticationEnabled["']?\s*[:=]\s*["']?false""", re.I)

CLIENT_ERRORS = range(400, 500)
NEVER_FAILS = re.compile(r"\|\|\s*(true|exit 0|:)\s*$|;\s*(true|exit 0)\s*$")


def containers(view: View) -> Iterator[tuple[Resource, Spot]]:
    """Yield every container of every ECS task definition."""
    for task in view.resources("AWS::ECS::TaskDefinition"):
        for spot in task.at("ContainerDefinitions", EVERY):
            if isinstance(spot.value, dict):
                yield task, spot


def environments(view: View) -> Iterator[tuple[Resource, str, Spot, Any]]:
    """Yield (resource, name, value, what is written there) of every variable that a program is started with in the clear."""
    for task, container in containers(view):
        for pair in view.reach(container, "Environment", EVERY):
            yield from _pair(view, task, pair)
    for kind, keys in (
        ("AWS::Lambda::Function", ("Environment", "Variables")),
        ("AWS::SageMaker::Model", ("PrimaryContainer", "Environment")),
        ("AWS::SageMaker::Model", ("Containers", EVERY, "Environment")),
    ):
        for resource in view.resources(kind):
            for variables in resource.at(*keys):
                for name, written in (variables.value if isinstance(variables.value, dict) else {}).items():
                    for spot in view.reach(variables, name):
                        yield resource, str(name), spot, written
    for project in view.resources("AWS::CodeBuild::Project"):
        for pair in project.at("Environment", "EnvironmentVariables", EVERY):
            if all(kind.text in ("", "PLAINTEXT") for kind in view.reach(pair, "Type")):
                yield from _pair(view, project, pair)


def _pair(view: View, resource: Resource, pair: Spot) -> Iterator[tuple[Resource, str, Spot, Any]]:
    if isinstance(pair.value, dict):
        for name in view.reach(pair, "Name"):
            for spot in view.reach(pair, "Value"):
                if spot.value is not ABSENT:
                    yield resource, name.text, spot, pair.value.get("Value")


class AuthenticationOff(StackRule):
    id = "E9201"
    shortdesc = "Orthanc authentication off"
    description = (
        "With AuthenticationEnabled false everyone who reaches the port reads, changes and deletes studies. Leave it on "
        "and give the registered users to the container by `Secrets`."
    )
    subjects = ("containers", "orthanc")

    def faults(self, view: View) -> Iterator[Fault]:
        for resource, name, spot, _ in environments(view):
            if name.upper().replace("__", "_") == "ORTHANC_AUTHENTICATION_ENABLED" and spot.text.lower() == "false":
                yield spot.path, f"{resource.name} starts Orthanc with authentication off; set it to true."
        for spot in view.texts(view.section("Resources"), ("Resources",)):
            if isinstance(spot.value, str) and AUTHENTICATION_OFF.search(spot.value):
                yield spot.path, "This configuration turns Orthanc's authentication off; set AuthenticationEnabled to true."
        yield from self._maps(view, view.section("Resources"), ("Resources",))

    def _maps(self, view: View, node: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
        """A configuration written as YAML rather than as text."""
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in pairs:
            if key == "AuthenticationEnabled" and any(str(read).lower() == "false" for read in view.read(value)):
                yield (*path, key), "This configuration turns Orthanc's authentication off; set AuthenticationEnabled to true."
            yield from self._maps(view, value, (*path, key))


class SecretInEnvironment(StackRule):
    id = "E9202"
    shortdesc = "secret in a program's environment"
    description = (
        "Variables of a task, function or build are shown to everyone who may describe it, and land in logs and crash "
        "reports. Keep the secret in Secrets Manager and pass it by `Secrets` (ECS), type SECRETS_MANAGER (CodeBuild), or "
        "let the program fetch it by its ARN."
    )
    subjects = ("containers", "lambda", "codebuild", "secrets")

    def faults(self, view: View) -> Iterator[Fault]:
        for resource, name, spot, written in environments(view):
            if self._by_name(view, name, spot) or SECRET_VALUE.search(spot.text) or self._hidden(view, written):
                yield spot.path, f"{resource.name} is given {name} in the clear; pass it by Secrets from Secrets Manager."

    def _by_name(self, view: View, name: str, spot: Spot) -> bool:
        if not spot.text or not SECRET_NAME.search(name) or POINTER_NAME.search(name):
            return False
        # `!Ref TheSecret` is the secret's address; a switch or a number is no password.
        target = re.fullmatch(r"\$\{([^.}]+)(\.Arn|\.Id)?\}", spot.text)
        kind = view.section("Resources").get(target[1], {}).get("Type", "") if target else ""
        pointer = kind.startswith(("AWS::SecretsManager::", "AWS::SSM::"))
        return not pointer and not spot.text.startswith("arn:") and spot.text.lower() not in ("true", "false")

    def _hidden(self, view: View, written: Any) -> bool:
        """Whether a parameter that is kept out of the console is spelled out here."""
        hidden = {name for name, body in view.section("Parameters").items() if str(body.get("NoEcho", "")).lower() == "true"}
        text = json.dumps(written, default=str)
        return any(f'"Ref": "{name}"' in text or "${" + name + "}" in text for name in hidden)


class ImageNotPinned(StackRule):
    id = "E9203"
    shortdesc = "container image not pinned"
    description = (
        "A tag such as `latest` or a bare major version is another program tomorrow, and a restart picks it up unasked. "
        "Name a full version and, for an image that is not from your own immutable repository, its digest (`@sha256:…`)."
    )
    subjects = ("containers",)
    places = (
        ("AWS::ECS::TaskDefinition", ("ContainerDefinitions", EVERY, "Image")),
        ("AWS::SageMaker::Model", ("PrimaryContainer", "Image")),
        ("AWS::SageMaker::Model", ("Containers", EVERY, "Image")),
        ("AWS::Batch::JobDefinition", ("ContainerProperties", "Image")),
    )

    def faults(self, view: View) -> Iterator[Fault]:
        for kind, keys in self.places:
            for resource in view.resources(kind):
                for spot in resource.at(*keys):
                    reason = self._floats(spot.text)
                    if reason:
                        yield spot.path, f"{resource.name} runs {shown(spot)}: {reason}; name a version and a digest."

    def _floats(self, image: str) -> str:
        if not image or "@" in image or LATER.sub("", image) == "":
            return ""
        _name, colon, tag = LATER.sub("x", image).rpartition("/")[2].partition(":")
        if not colon:
            # What deployment fills in at the end may bring its tag along.
            return "" if image.endswith("}") else "it has no tag"
        if not image.endswith("}") and FLOATING.match(tag):
            return f"the tag '{tag}' moves"
        own = ".dkr.ecr." in image or image.startswith("${")
        return "" if own or image.endswith("}") else "it has no digest"


class OldOrthanc(StackRule):
    id = "E9204"
    shortdesc = "Orthanc older than 1.12.11"
    description = (
        "CVE-2026-5437 to CVE-2026-5445 (heap overflows, compression bombs) are open in Orthanc up to 1.12.10, and an "
        "archive takes files from everyone it serves. Run 1.12.11 or later."
    )
    subjects = ("containers", "orthanc")

    def faults(self, view: View) -> Iterator[Fault]:
        for task, container in containers(view):
            for spot in view.reach(container, "Image"):
                version = ORTHANC_IMAGE.search(spot.text)
                if version and tuple(map(int, version.groups())) < SECURE_ORTHANC:
                    yield (
                        spot.path,
                        f"{task.name} runs Orthanc {'.'.join(version.groups())}; 1.12.11 is the first without known holes.",
                    )


class WritableRoot(StackRule):
    id = "E9205"
    shortdesc = "container with a writable root file system"
    description = (
        "Whoever breaks into a writable container stays in it. Set ReadonlyRootFilesystem and give the program volumes "
        "for what it must write."
    )
    subjects = ("containers", "ecs")

    def faults(self, view: View) -> Iterator[Fault]:
        for task, container in containers(view):
            for spot in view.reach(container, "ReadonlyRootFilesystem"):
                if not spot.true:
                    yield (
                        spot.path,
                        f"A container of {task.name} may write its root file system; set ReadonlyRootFilesystem: true.",
                    )


class ExecIntoContainer(StackRule):
    id = "E9206"
    shortdesc = "exec into the container on"
    description = (
        "EnableExecuteCommand gives a shell beside the patient data to everyone with ecs:ExecuteCommand. Leave it off; "
        "turn it on by hand for as long as a fault is sought."
    )
    subjects = ("containers", "ecs")
    chosen = True

    def faults(self, view: View) -> Iterator[Fault]:
        for service in view.resources("AWS::ECS::Service"):
            for spot in service.at("EnableExecuteCommand"):
                if spot.true:
                    yield spot.path, f"{service.name} lets people into its containers; leave EnableExecuteCommand off."


class HealthCheckAcceptsErrors(StackRule):
    id = "E9207"
    shortdesc = "health check that accepts errors"
    description = (
        "A check that takes 401 or 404 for health keeps sending requests to a program that serves nobody. Ask a path that "
        "answers 200, and let a container's own check end with the program's exit code."
    )
    subjects = ("containers", "elasticloadbalancingv2")

    def faults(self, view: View) -> Iterator[Fault]:
        for group in view.resources("AWS::ElasticLoadBalancingV2::TargetGroup"):
            for spot in group.at("Matcher", "HttpCode"):
                if any(set(part) & set(CLIENT_ERRORS) for part in _codes(spot.text)):
                    yield spot.path, f"{group.name} takes {shown(spot)} for health; accept 200 (to 399 at most)."
        for task, container in containers(view):
            for spot in view.reach(container, "HealthCheck", "Command", EVERY):
                if NEVER_FAILS.search(spot.text):
                    yield spot.path, f"The health check of a container of {task.name} cannot fail; end it with `|| exit 1`."


def _codes(text: str) -> Iterator[range]:
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and (high or low).isdigit():
            yield range(int(low), int(high or low) + 1)


class ContainerIsRoot(StackRule):
    id = "E9208"
    shortdesc = "container runs as root or privileged"
    description = (
        "Root in a container is one kernel fault away from the machine, and owns every mounted volume. Name another "
        "`User`, leave `Privileged` off and add no capabilities. A container that ends before the others begin may be "
        "root to give them their volumes, which Fargate hands out as root's. CodeBuild needs Privileged to build images "
        "and is not meant."
    )
    subjects = ("containers", "ecs")

    def faults(self, view: View) -> Iterator[Fault]:
        for task, container in containers(view):
            prepares = self._prepares(view, task, container)
            for spot in view.reach(container, "User"):
                if spot.text.split(":")[0] in ("root", "0") and not prepares:
                    yield spot.path, f"A container of {task.name} runs as root; name another User."
            for spot in view.reach(container, "Privileged"):
                if spot.true:
                    yield spot.path, f"A container of {task.name} is privileged; leave that out."
            for spot in view.reach(container, "LinuxParameters", "Capabilities", "Add", EVERY):
                yield spot.path, f"A container of {task.name} is given {shown(spot)}; leave that out."

    def _prepares(self, view: View, task: Resource, container: Spot) -> bool:
        """Whether the container ends before the others begin, as one that gives them their volumes does."""
        name = {spot.text for spot in view.reach(container, "Name")}
        passing = all(spot.text.lower() == "false" for spot in view.reach(container, "Essential"))
        waits = [spot for _, other in containers(view) for spot in view.reach(other, "DependsOn", EVERY)]
        return passing and any(
            name & {spot.text for spot in view.reach(wait, "ContainerName")}
            and {spot.text for spot in view.reach(wait, "Condition")} == {"SUCCESS"}
            for wait in waits
        )


class MovableTags(StackRule):
    id = "E9209"
    shortdesc = "image repository whose tags can be moved"
    description = (
        "Where tags are mutable, whoever may push replaces what is running under a name that was reviewed. Set "
        "ImageTagMutability to IMMUTABLE and scan on push."
    )
    subjects = ("containers", "ecr")

    def faults(self, view: View) -> Iterator[Fault]:
        for repository in view.resources("AWS::ECR::Repository"):
            for spot in repository.at("ImageTagMutability"):
                if spot.known and not spot.text.startswith("IMMUTABLE"):
                    yield spot.path, f"Tags of {repository.name} can be moved; set ImageTagMutability: IMMUTABLE."
