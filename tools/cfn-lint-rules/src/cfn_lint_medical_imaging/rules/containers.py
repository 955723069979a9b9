"""Containers: images, environment variables, privileges and health checks of ECS tasks, Lambda functions and builds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from cfn_lint_medical_imaging.template.intrinsics import PLACEHOLDER
from cfn_lint_medical_imaging.template.values import ABSENT, EACH, Path, ResolvedTemplate, Resource, Value
from cfn_lint_medical_imaging.template_rule import Finding, TemplateRule, quoted

SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|code)?($|_)|secret|token|credential|api_?key|access_?key|private_?key|registered_users|(^|_)auth($|_)",
    re.I,
)
# Variables with these suffixes locate or describe a secret; they do not contain it.
SECRET_REFERENCE_NAME = re.compile(r"(_arn|_name|_id|_file|_path|_uri|_ttl|_expiry|_length|_header|_enabled)$", re.I)
SECRET_VALUE = re.compile(
    r"\{\{resolve:(secretsmanager|ssm-secure):|://[^/\s:@$]+:[^/\s@]+@|\bBasic [A-Za-z0-9+/]{8,}={0,2}|AKIA[0-9A-Z]{16}"
)

MUTABLE_TAG = re.compile(
    r"^(latest|stable|edge|main|master|dev|develop|nightly|prod|production|release|current|lts|\d+)$", re.I
)
FIXED_ORTHANC = (1, 12, 11)  # the first version with fixes for CVE-2026-5437 to CVE-2026-5445
ORTHANC_IMAGE = re.compile(r"(?:^|/)(?:jodogne|orthancteam|osimis)/orthanc(?:-plugins|-python)?:v?(\d+)\.(\d+)\.(\d+)")
AUTHENTICATION_OFF = re.compile(r"""["']?AuthenticationEnabled["']?\s*[:=]\s*["']?false""", re.I)

CLIENT_ERRORS = range(400, 500)
ALWAYS_SUCCEEDS = re.compile(r"\|\|\s*(true|exit 0|:)\s*$|;\s*(true|exit 0)\s*$")


def containers(template: ResolvedTemplate) -> Iterator[tuple[Resource, Value]]:
    """Yield every container definition with its ECS task definition."""
    for task in template.resources("AWS::ECS::TaskDefinition"):
        for container in task.get("ContainerDefinitions", EACH):
            if isinstance(container.raw, dict):
                yield task, container


def environment_variables(template: ResolvedTemplate) -> Iterator[tuple[Resource, str, Value, Any]]:
    """Yield (resource, name, value, unresolved node) of every plaintext environment variable."""
    for task, container in containers(template):
        for pair in template.follow(container, "Environment", EACH):
            yield from _name_and_value(template, task, pair)
    for kind, keys in (
        ("AWS::Lambda::Function", ("Environment", "Variables")),
        ("AWS::SageMaker::Model", ("PrimaryContainer", "Environment")),
        ("AWS::SageMaker::Model", ("Containers", EACH, "Environment")),
    ):
        for resource in template.resources(kind):
            for variables in resource.get(*keys):
                for name, node in (variables.raw if isinstance(variables.raw, dict) else {}).items():
                    for value in template.follow(variables, name):
                        yield resource, str(name), value, node
    for project in template.resources("AWS::CodeBuild::Project"):
        for pair in project.get("Environment", "EnvironmentVariables", EACH):
            if all(kind.text in ("", "PLAINTEXT") for kind in template.follow(pair, "Type")):
                yield from _name_and_value(template, project, pair)


def _name_and_value(template: ResolvedTemplate, resource: Resource, pair: Value) -> Iterator[tuple[Resource, str, Value, Any]]:
    if isinstance(pair.raw, dict):
        for name in template.follow(pair, "Name"):
            for value in template.follow(pair, "Value"):
                if value.raw is not ABSENT:
                    yield resource, name.text, value, pair.raw.get("Value")


class OrthancAuthenticationOff(TemplateRule):
    id = "E9201"
    shortdesc = "Orthanc authentication disabled"
    description = (
        "With AuthenticationEnabled false, any client that reaches the port can read, change and delete studies. Keep "
        "authentication enabled and pass the registered users to the container through `Secrets`."
    )
    topics = ("containers", "orthanc")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource, name, value, _ in environment_variables(template):
            if name.upper().replace("__", "_") == "ORTHANC_AUTHENTICATION_ENABLED" and value.text.lower() == "false":
                yield value.path, f"{resource.name} starts Orthanc without authentication. Set {name} to true."
        resources = template.section("Resources")
        message = "This configuration disables Orthanc's authentication. Set AuthenticationEnabled to true."
        for value in template.all_values(resources, ("Resources",)):
            if isinstance(value.raw, str) and AUTHENTICATION_OFF.search(value.raw):
                yield value.path, message
        for path in self._maps_that_disable_it(template, resources, ("Resources",)):
            yield path, message

    def _maps_that_disable_it(self, template: ResolvedTemplate, node: Any, path: Path) -> Iterator[Path]:
        """Yield the path of the key in a configuration that is written as a YAML map instead of text."""
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in pairs:
            if key == "AuthenticationEnabled" and any(str(raw).lower() == "false" for raw in template.resolve(child)):
                yield (*path, key)
            yield from self._maps_that_disable_it(template, child, (*path, key))


class SecretInEnvironment(TemplateRule):
    id = "E9202"
    shortdesc = "secret in a plaintext environment variable"
    description = (
        "Environment variables of a task, function or build are visible to everyone who may describe it, and end up in logs "
        "and crash reports. Store the secret in Secrets Manager and pass it through `Secrets` (ECS) or the type "
        "SECRETS_MANAGER (CodeBuild), or let the program fetch it by ARN."
    )
    topics = ("containers", "lambda", "codebuild", "secrets")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource, name, value, node in environment_variables(template):
            if (
                self._is_named_like_secret(template, name, value)
                or SECRET_VALUE.search(value.text)
                or self._is_no_echo(template, node)
            ):
                yield value.path, f"{resource.name} has the secret {name} in plaintext. Pass it from Secrets Manager."

    def _is_named_like_secret(self, template: ResolvedTemplate, name: str, value: Value) -> bool:
        if not value.text or not SECRET_NAME.search(name) or SECRET_REFERENCE_NAME.search(name):
            return False
        # `!Ref Secret` is the ARN of the secret; `true`, `false` and ARNs are not secrets.
        target = re.fullmatch(r"\$\{([^.}]+)(\.Arn|\.Id)?\}", value.text)
        kind = template.section("Resources").get(target[1], {}).get("Type", "") if target else ""
        is_reference = kind.startswith(("AWS::SecretsManager::", "AWS::SSM::"))
        return not is_reference and not value.text.startswith("arn:") and value.text.lower() not in ("true", "false")

    def _is_no_echo(self, template: ResolvedTemplate, node: Any) -> bool:
        """Whether the value contains a parameter that the console hides (`NoEcho`)."""
        parameters = template.section("Parameters").items()
        hidden = {name for name, body in parameters if str(body.get("NoEcho", "")).lower() == "true"}
        text = json.dumps(node, default=str)
        return any(f'"Ref": "{name}"' in text or "${" + name + "}" in text for name in hidden)


class ImageNotPinned(TemplateRule):
    id = "E9203"
    shortdesc = "container image not pinned to a version and digest"
    description = (
        "A tag such as `latest` or a bare major version can point at a different image tomorrow, and a restart pulls it. Pin "
        "a full version and, unless the image is in your own immutable repository, its digest (`@sha256:…`)."
    )
    topics = ("containers",)
    image_properties = (
        ("AWS::ECS::TaskDefinition", ("ContainerDefinitions", EACH, "Image")),
        ("AWS::SageMaker::Model", ("PrimaryContainer", "Image")),
        ("AWS::SageMaker::Model", ("Containers", EACH, "Image")),
        ("AWS::Batch::JobDefinition", ("ContainerProperties", "Image")),
    )

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for kind, keys in self.image_properties:
            for resource in template.resources(kind):
                for image in resource.get(*keys):
                    reason = self._reason_not_pinned(image.text)
                    if reason:
                        yield image.path, f"{resource.name} runs {quoted(image)}, but {reason}. Pin a version and a digest."

    def _reason_not_pinned(self, image: str) -> str:
        if not image or "@" in image or PLACEHOLDER.sub("", image) == "":
            return ""
        _name, colon, tag = PLACEHOLDER.sub("x", image).rpartition("/")[2].partition(":")
        if not colon:
            # A placeholder at the end may contain the tag.
            return "" if image.endswith("}") else "it has no tag"
        if not image.endswith("}") and MUTABLE_TAG.match(tag):
            return f"the tag '{tag}' is mutable"
        own = ".dkr.ecr." in image or image.startswith("${")
        return "" if own or image.endswith("}") else "it has no digest"


class VulnerableOrthanc(TemplateRule):
    id = "E9204"
    shortdesc = "Orthanc older than 1.12.11"
    description = (
        "Orthanc up to 1.12.10 is vulnerable to CVE-2026-5437 to CVE-2026-5445 (heap overflows, decompression bombs) in files "
        "that any sender may store. Run 1.12.11 or later."
    )
    topics = ("containers", "orthanc")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for task, container in containers(template):
            for image in template.follow(container, "Image"):
                version = ORTHANC_IMAGE.search(image.text)
                if version and tuple(map(int, version.groups())) < FIXED_ORTHANC:
                    yield (
                        image.path,
                        f"{task.name} runs Orthanc {'.'.join(version.groups())}, which is vulnerable. Run 1.12.11 or later.",
                    )


class WritableRootFilesystem(TemplateRule):
    id = "E9205"
    shortdesc = "container with a writable root filesystem"
    description = (
        "An attacker can replace programs in a container whose root filesystem is writable. Set ReadonlyRootFilesystem to "
        "true and mount volumes for the paths that the program writes to."
    )
    topics = ("containers", "ecs")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for task, container in containers(template):
            for value in template.follow(container, "ReadonlyRootFilesystem"):
                if not value.is_true:
                    yield (
                        value.path,
                        f"A container of {task.name} has a writable root filesystem. Set ReadonlyRootFilesystem to true.",
                    )


class EcsExecEnabled(TemplateRule):
    id = "E9206"
    shortdesc = "ECS Exec enabled"
    description = (
        "EnableExecuteCommand gives everyone with ecs:ExecuteCommand a shell in a container that handles patient data. Leave "
        "it disabled, and enable it temporarily while debugging."
    )
    topics = ("containers", "ecs")
    defaults_only = True

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for service in template.resources("AWS::ECS::Service"):
            for value in service.get("EnableExecuteCommand"):
                if value.is_true:
                    yield value.path, f"{service.name} allows shells in its containers. Set EnableExecuteCommand to false."


class HealthCheckAcceptsErrors(TemplateRule):
    id = "E9207"
    shortdesc = "health check that accepts errors"
    description = (
        "A health check that accepts 401 or 404 keeps sending requests to a program that serves nobody. Check a path that "
        "returns 200, and let a container health check exit with the status of its program."
    )
    topics = ("containers", "elasticloadbalancingv2")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for group in template.resources("AWS::ElasticLoadBalancingV2::TargetGroup"):
            for codes in group.get("Matcher", "HttpCode"):
                if any(set(part) & set(CLIENT_ERRORS) for part in _status_codes(codes.text)):
                    yield (
                        codes.path,
                        f"{group.name} accepts the status codes {quoted(codes)} as healthy. Accept 200 to 399 at most.",
                    )
        for task, container in containers(template):
            for command in template.follow(container, "HealthCheck", "Command", EACH):
                if ALWAYS_SUCCEEDS.search(command.text):
                    yield command.path, f"The health check of a container of {task.name} cannot fail. End it with `|| exit 1`."


def _status_codes(text: str) -> Iterator[range]:
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and (high or low).isdigit():
            yield range(int(low), int(high or low) + 1)


class ContainerRunsAsRoot(TemplateRule):
    id = "E9208"
    shortdesc = "container that runs as root, privileged or with added capabilities"
    description = (
        "Root in a container is one kernel vulnerability away from the host, and owns every mounted volume. Set a non-root "
        "`User`, leave `Privileged` off and add no capabilities. A container that must complete before the others start may "
        "be root, because Fargate volumes belong to root until such a container changes their owner. CodeBuild is exempt: it "
        "needs Privileged to build images."
    )
    topics = ("containers", "ecs")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for task, container in containers(template):
            is_init = self._is_init_container(template, container)
            for user in template.follow(container, "User"):
                if user.text.split(":")[0] in ("root", "0") and not is_init:
                    yield user.path, f"A container of {task.name} runs as root. Set a non-root User."
            for value in template.follow(container, "Privileged"):
                if value.is_true:
                    yield value.path, f"A container of {task.name} is privileged. Remove Privileged."
            for capability in template.follow(container, "LinuxParameters", "Capabilities", "Add", EACH):
                yield capability.path, f"A container of {task.name} has the added capability {quoted(capability)}. Remove it."

    def _is_init_container(self, template: ResolvedTemplate, container: Value) -> bool:
        """Whether the container is not essential and another one waits for its success."""
        name = {value.text for value in template.follow(container, "Name")}
        optional = all(value.text.lower() == "false" for value in template.follow(container, "Essential"))
        dependencies = [each for _, other in containers(template) for each in template.follow(other, "DependsOn", EACH)]
        return optional and any(
            name & {value.text for value in template.follow(dependency, "ContainerName")}
            and {value.text for value in template.follow(dependency, "Condition")} == {"SUCCESS"}
            for dependency in dependencies
        )


class MutableImageTags(TemplateRule):
    id = "E9209"
    shortdesc = "ECR repository with mutable tags"
    description = (
        "With mutable tags, everyone who may push can replace an image under a tag that was reviewed. Set ImageTagMutability "
        "to IMMUTABLE and enable scanning on push."
    )
    topics = ("containers", "ecr")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for repository in template.resources("AWS::ECR::Repository"):
            for value in repository.get("ImageTagMutability"):
                if value.is_known and not value.text.startswith("IMMUTABLE"):
                    yield value.path, f"{repository.name} has mutable tags. Set ImageTagMutability to IMMUTABLE."
