"""Checks before a deployment: errors that would otherwise appear half an hour into it. The account is only read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dicom_workflow.aws.errors import aws_errors
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.plan import Plan, PlannedStack
from dicom_workflow.aws.stacks.stack_state import plain

_IMAGE = re.compile(r"(?:(?P<registry>[^/]+\.[^/]+)/)?(?P<name>[^@:]+/[^@:]+)(?::[^@]+)?@(?P<digest>sha256:[0-9a-f]{64})")
_OWN_REGISTRY = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
_OPENSEARCH_ROLE = "AWSServiceRoleForAmazonOpenSearchService"
_TIMEOUT_SECONDS = 10.0
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


def check_parameters(plan: Plan, region: str, *, has_wheels: bool) -> tuple[list[str], list[str]]:
    """Return errors and notes that follow from the parameters, without asking AWS.

    Parameters
    ----------
    plan : Plan
    region : str
    has_wheels : bool
        The wheels of the notebooks' dependencies are uploaded.
    """
    values = {planned.stack: _values(planned) for planned in plan.stacks}
    problems, notes = [], []
    for stack, given in values.items():
        for name, value in given.items():
            if name.endswith("CertificateArn") and value.count(":") > 3 and value.split(":")[3] != region:
                there = value.split(":")[3]
                problems.append(
                    f"{stack}: {name}: expected a certificate in {region}, the region of the load balancer, got one in {there}"
                )
    if any(planned.stack == "network" and _has_no_nat(planned) for planned in plan.stacks):
        image = values.get("archive", {}).get("OrthancImage", "")
        if image and not _OWN_REGISTRY.match(image):
            problems.append(
                "archive: OrthancImage: expected an image in ECR, as other registries cannot be reached with NatMode none, "
                f"got {image}"
            )
        if "notebook" in values and not has_wheels:
            notes.append(
                "notebook: a package index cannot be reached with NatMode none: give the wheels with --dependencies FOLDER, "
                "made with `pip download --only-binary :all: --platform manylinux2014_x86_64 --dest FOLDER -r requirements.txt`"
            )
        if "training" in values:
            notes.append("training: with NatMode none, training jobs need an image that contains the packages (docs/aws.md)")
    return problems, notes


def _values(planned: PlannedStack) -> dict[str, str]:
    """The known values of a stack, without those that AWS or an earlier stack will provide."""
    return {name: value.text for name, value in planned.values.items() if value.text and "‹" not in value.text}


def _has_no_nat(planned: PlannedStack) -> bool:
    kinds = {str(item.get("Type")) for item in planned.evaluation.resources().values()}
    return "AWS::EC2::VPC" in kinds and "AWS::EC2::NatGateway" not in kinds and "NatMode" in planned.values


def check_account(cloud: CloudFormationClient, plan: Plan) -> tuple[list[str], list[str]]:
    """Return errors and notes that follow from the state of the account.

    A note is a check that could not be made, or a hint.
    """
    problems: list[str] = []
    notes: list[str] = []
    for planned in plan.stacks:
        for is_error, message in _findings(cloud, planned):
            (problems if is_error else notes).append(f"{planned.stack}: {message}")
    return problems, notes


def _findings(cloud: CloudFormationClient, planned: PlannedStack) -> Iterator[tuple[bool, str]]:
    for name, value in _values(planned).items():
        if name.endswith("CertificateArn"):
            yield from _certificate(cloud, name, value)
        elif match := _IMAGE.fullmatch(value):
            yield from _image(cloud, name, match)
    kinds = {str(item.get("Type")) for item in planned.evaluation.resources().values()}
    if "AWS::SageMaker::Workforce" in kinds:
        yield from _workforce(cloud, planned)
    if "AWS::OpenSearchService::Domain" in kinds:
        yield from _role_of_opensearch(cloud)
    yield from _log_groups(cloud, planned)


def _log_groups(cloud: CloudFormationClient, planned: PlannedStack) -> Iterator[tuple[bool, str]]:
    """A service that logs after its stack was deleted creates the log group again, and the next stack cannot create it."""
    evaluation, state = planned.evaluation, planned.state
    groups = [name for name, item in evaluation.resources().items() if item.get("Type") == "AWS::Logs::LogGroup"]
    wanted = {str(evaluation.properties(name).get("LogGroupName", "")) for name in groups} - {""}
    if state and state.exists and wanted:
        present = [item for item in cloud.resources(state.name) if item["ResourceStatus"] != "DELETE_COMPLETE"]
        wanted -= {item.get("PhysicalResourceId", "") for item in present}
    logs = cloud.client("logs") if wanted else None
    for name in sorted(wanted):
        with aws_errors(f"log group {name}"):
            found = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]  # type: ignore[union-attr]
        if any(group["logGroupName"] == name for group in found):
            yield (
                True,
                f"log group {name} already exists, and the stack creates one of that name: export its events if you need them, "
                f"then run aws logs delete-log-group --region {cloud.region} --log-group-name {name}",
            )


def _certificate(cloud: CloudFormationClient, name: str, arn: str) -> Iterator[tuple[bool, str]]:
    region = arn.split(":")[3]
    if region != cloud.region:
        return  # reported by `check_parameters`
    acm = cloud.client("acm")
    with aws_errors(f"certificate {arn}"):
        try:
            status = acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"]
        except acm.exceptions.ResourceNotFoundException:
            yield True, f"{name}: there is no certificate {arn}"
            return
    if status != "ISSUED":
        yield True, f"{name}: expected an issued certificate, got status {status}. Finish its validation first"


def _workforce(cloud: CloudFormationClient, planned: PlannedStack) -> Iterator[tuple[bool, str]]:
    with aws_errors("workforces"):
        found = cloud.client("sagemaker").list_workforces()["Workforces"]
    own = planned.state.outputs.get("UserPoolId") if planned.state else None
    for workforce in found:
        pool = workforce.get("CognitoConfig", {}).get("UserPool", "")
        if not own or pool != own:
            client = workforce.get("CognitoConfig", {}).get("ClientId", "ID")
            yield (
                True,
                f"workforce {plain(workforce['WorkforceName'])} already exists, and an account has one per region: "
                f"use it with --set WorkforceMode existing "
                f"--set ExistingUserPoolId {pool or 'ID'} --set ExistingUserPoolClientId {client}",
            )


def _role_of_opensearch(cloud: CloudFormationClient) -> Iterator[tuple[bool, str]]:
    """CloudFormation does not create the service-linked role without which a domain cannot be put into a VPC."""
    iam = cloud.client("iam")
    with aws_errors(f"role {_OPENSEARCH_ROLE}"):
        try:
            iam.get_role(RoleName=_OPENSEARCH_ROLE)
        except iam.exceptions.NoSuchEntityException:
            yield (
                True,
                f"there is no role {_OPENSEARCH_ROLE}, which a domain in a VPC needs: create it once for the account with "
                "aws iam create-service-linked-role --aws-service-name opensearchservice.amazonaws.com",
            )


def _image(cloud: CloudFormationClient, name: str, match: re.Match[str]) -> Iterator[tuple[bool, str]]:
    registry, repository, digest = match["registry"] or "docker.io", match["name"], match["digest"]
    if own := _OWN_REGISTRY.fullmatch(registry):
        if own["region"] == cloud.region and own["account"] == cloud.identity["Account"]:
            ecr = cloud.client("ecr")
            with aws_errors(f"image {repository}"):
                try:
                    ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])
                except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
                    yield True, f"{name}: there is no {repository}@{digest[:19]}… in {registry}"
        return
    status = _status_in_registry("registry-1.docker.io" if registry == "docker.io" else registry, repository, digest)
    if status == 404:
        yield True, f"{name}: {registry} has no {repository}@{digest[:19]}…"
    elif status != 200:
        yield False, f"{name}: {registry} could not be asked whether it has that image"


def _status_in_registry(registry: str, repository: str, digest: str) -> int:
    """HTTP status of an image in a public registry, 0 when it cannot be reached. A token comes from the realm it names."""
    import requests

    url, headers = f"https://{registry}/v2/{repository}/manifests/{digest}", {"Accept": _MANIFESTS}
    try:
        response = requests.head(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        if response.status_code == 401:
            challenge: Mapping[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', response.headers.get("WWW-Authenticate", "")))
            if not challenge.get("realm", "").startswith("https://"):
                return 401
            parameters = {"service": challenge.get("service", ""), "scope": f"repository:{repository}:pull"}
            token = requests.get(challenge["realm"], params=parameters, timeout=_TIMEOUT_SECONDS).json().get("token", "")
            response = requests.head(url, headers={**headers, "Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_SECONDS)
    except (requests.RequestException, ValueError):
        return 0
    return response.status_code
