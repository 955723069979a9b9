"""What would fail half an hour into a deployment and can be known before it: read from the account, nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dicom_workflow.aws.errors import answers_of_aws
from dicom_workflow.aws.stacks.cloudformation import Cloud
from dicom_workflow.aws.stacks.plan import Plan, PlannedStack
from dicom_workflow.aws.stacks.stack_state import plain

_IMAGE = re.compile(r"(?:(?P<registry>[^/]+\.[^/]+)/)?(?P<name>[^@:]+/[^@:]+)(?::[^@]+)?@(?P<digest>sha256:[0-9a-f]{64})")
_OWN_REGISTRY = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
_TIMEOUT_SECONDS = 10.0
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


def known(plan: Plan, region: str, *, has_wheels: bool) -> tuple[list[str], list[str]]:
    """Return what will surely fail, and what to think of, as far as parameters tell without asking AWS.

    Parameters
    ----------
    plan : Plan
    region : str
    has_wheels : bool
        Notebooks bring their dependencies along.
    """
    values = {planned.stack: _values(planned) for planned in plan.stacks}
    problems, notes = [], []
    for stack, given in values.items():
        for name, value in given.items():
            if name.endswith("CertificateArn") and value.count(":") > 3 and value.split(":")[3] != region:
                there = value.split(":")[3]
                problems.append(
                    f"{stack}: {name}: expected a certificate in {region}, where its load balancer is, got one in {there}"
                )
    if any(planned.stack == "network" and _has_no_way_out(planned) for planned in plan.stacks):
        image = values.get("archive", {}).get("OrthancImage", "")
        if image and not _OWN_REGISTRY.match(image):
            problems.append(
                "archive: OrthancImage: expected an image in ECR, because NatMode none leaves no way to another registry, "
                f"got {image}"
            )
        if "notebook" in values and not has_wheels:
            notes.append(
                "notebook: NatMode none leaves no way to a package index: give its wheels with --dependencies FOLDER, made by "
                "`pip download --only-binary :all: --platform manylinux2014_x86_64 --dest FOLDER -r requirements.txt`"
            )
        if "training" in values:
            notes.append("training: NatMode none: training jobs need an image of their own with the packages (docs/aws.md)")
    return problems, notes


def _values(planned: PlannedStack) -> dict[str, str]:
    """What is known of the values of a stack: not what only AWS or an earlier stack will say."""
    return {name: value.text for name, value in planned.values.items() if value.text and "‹" not in value.text}


def _has_no_way_out(planned: PlannedStack) -> bool:
    kinds = {str(item.get("Type")) for item in planned.evaluation.resources().values()}
    return "AWS::EC2::VPC" in kinds and "AWS::EC2::NatGateway" not in kinds and "NatMode" in planned.values


def find(cloud: Cloud, plan: Plan) -> tuple[list[str], list[str]]:
    """Return what will surely fail, and what could not be looked at or is only worth knowing."""
    problems: list[str] = []
    notes: list[str] = []
    for planned in plan.stacks:
        for certain, words in _of(cloud, planned):
            (problems if certain else notes).append(f"{planned.stack}: {words}")
    return problems, notes


def _of(cloud: Cloud, planned: PlannedStack) -> Iterator[tuple[bool, str]]:
    for name, value in _values(planned).items():
        if name.endswith("CertificateArn"):
            yield from _certificate(cloud, name, value)
        elif match := _IMAGE.fullmatch(value):
            yield from _image(cloud, name, match)
    if any(item.get("Type") == "AWS::SageMaker::Workforce" for item in planned.evaluation.resources().values()):
        yield from _workforce(cloud, planned)
    yield from _log_groups(cloud, planned)


def _log_groups(cloud: Cloud, planned: PlannedStack) -> Iterator[tuple[bool, str]]:
    """A service that wrote its last line after a stack was gone has made the log group anew, and the next stack cannot."""
    evaluation, state = planned.evaluation, planned.state
    groups = [name for name, item in evaluation.resources().items() if item.get("Type") == "AWS::Logs::LogGroup"]
    wanted = {str(evaluation.properties(name).get("LogGroupName", "")) for name in groups} - {""}
    if state and state.exists and wanted:
        here = [item for item in cloud.resources(state.name) if item["ResourceStatus"] != "DELETE_COMPLETE"]
        wanted -= {item.get("PhysicalResourceId", "") for item in here}
    logs = cloud.client("logs") if wanted else None
    for name in sorted(wanted):
        with answers_of_aws(f"log group {name}"):
            found = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]  # type: ignore[union-attr]
        if any(group["logGroupName"] == name for group in found):
            yield (
                True,
                f"there is a log group {name} already, and the stack makes one of that name: keep its lines elsewhere if you "
                f"need them, then aws logs delete-log-group --region {cloud.region} --log-group-name {name}",
            )


def _certificate(cloud: Cloud, name: str, arn: str) -> Iterator[tuple[bool, str]]:
    region = arn.split(":")[3]
    if region != cloud.region:
        return  # which `known` says
    acm = cloud.client("acm")
    with answers_of_aws(f"certificate {arn}"):
        try:
            status = acm.describe_certificate(CertificateArn=arn)["Certificate"]["Status"]
        except acm.exceptions.ResourceNotFoundException:
            yield True, f"{name}: there is no certificate {arn}"
            return
    if status != "ISSUED":
        yield True, f"{name}: expected a certificate that is issued, got one that is {status}: finish its validation first"


def _workforce(cloud: Cloud, planned: PlannedStack) -> Iterator[tuple[bool, str]]:
    with answers_of_aws("workforces"):
        found = cloud.client("sagemaker").list_workforces()["Workforces"]
    own = planned.state.outputs.get("UserPoolId") if planned.state else None
    for workforce in found:
        pool = workforce.get("CognitoConfig", {}).get("UserPool", "")
        if not own or pool != own:
            client = workforce.get("CognitoConfig", {}).get("ClientId", "ID")
            yield (
                True,
                f"there is a workforce {plain(workforce['WorkforceName'])} already, and an account has one in each region: "
                f"use it with --set WorkforceMode existing "
                f"--set ExistingUserPoolId {pool or 'ID'} --set ExistingUserPoolClientId {client}",
            )


def _image(cloud: Cloud, name: str, match: re.Match[str]) -> Iterator[tuple[bool, str]]:
    registry, repository, digest = match["registry"] or "docker.io", match["name"], match["digest"]
    if own := _OWN_REGISTRY.fullmatch(registry):
        if own["region"] == cloud.region and own["account"] == cloud.identity["Account"]:
            ecr = cloud.client("ecr")
            with answers_of_aws(f"image {repository}"):
                try:
                    ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])
                except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
                    yield True, f"{name}: there is no {repository}@{digest[:19]}… in {registry}"
        return
    status = _status_in_registry("registry-1.docker.io" if registry == "docker.io" else registry, repository, digest)
    if status == 404:
        yield True, f"{name}: {registry} has no {repository}@{digest[:19]}…"
    elif status != 200:
        yield False, f"{name}: {registry} cannot be asked from here whether it has that image"


def _status_in_registry(registry: str, repository: str, digest: str) -> int:
    """HTTP status of an image in a public registry, 0 when nobody answers. A registry says where a token is to be had."""
    import requests

    url, headers = f"https://{registry}/v2/{repository}/manifests/{digest}", {"Accept": _MANIFESTS}
    try:
        said = requests.head(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        if said.status_code == 401:
            asked: Mapping[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', said.headers.get("WWW-Authenticate", "")))
            if not asked.get("realm", "").startswith("https://"):
                return 401
            parameters = {"service": asked.get("service", ""), "scope": f"repository:{repository}:pull"}
            token = requests.get(asked["realm"], params=parameters, timeout=_TIMEOUT_SECONDS).json().get("token", "")
            said = requests.head(url, headers={**headers, "Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_SECONDS)
    except (requests.RequestException, ValueError):
        return 0
    return said.status_code
