"""The preview of a deployment: a summary, then each stack, then the costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_workflow.aws.stacks import costs
from dicom_workflow.aws.stacks.artifacts import Artifact
from dicom_workflow.aws.stacks.deployment import DATA_TYPES, Deployment
from dicom_workflow.aws.stacks.parameters import OVERRIDE
from dicom_workflow.aws.stacks.plan import Plan, PlannedStack
from dicom_workflow.aws.stacks.tables import table
from dicom_workflow.aws.stacks.template_evaluator import Evaluation


def show(deployment: Deployment, plan: Plan, built: list[Artifact]) -> None:
    """Print the preview of a plan.

    Parameters
    ----------
    deployment : Deployment
    plan : Plan
    built : list of Artifact
    """
    stacks = plan.evaluations()
    deployment.report("\n" + table(("summary", ""), _summary(stacks)))
    for planned in plan.stacks:
        deployment.report("\n" + _stack(deployment, planned))
    if built:
        rows = [(f"{artifact.size_bytes:,}", f"{artifact.sha256[:16]}…", artifact.key) for artifact in built]
        deployment.report("\nartifacts:\n" + table(("bytes", "SHA-256", "key"), rows))
    deployment.report("\n" + "\n".join(costs.note(stacks, deployment.cloud.region)))


def _summary(stacks: Mapping[str, Evaluation]) -> Iterator[tuple[str, str]]:
    count = sum(len(found.resources()) for found in stacks.values())
    yield "resources", f"{count} resources in {len(stacks)} stacks"
    yield "costs", costs.summary(stacks)
    for words, lines in (
        ("public", internet_facing(stacks) or ["nothing is reachable from the Internet"]),
        ("open ports", open_ports(stacks) or ["none: only members of its own security groups"]),
        ("NAT gateways", nat_gateways(stacks) or ["none"]),
        ("retained data", retained_data(stacks) or ["none"]),
    ):
        for number, line in enumerate(lines):
            yield "" if number else words, line


def _stack(deployment: Deployment, planned: PlannedStack) -> str:
    resources = planned.evaluation.resources()
    by_type: dict[str, list[str]] = {}
    for name, item in resources.items():
        by_type.setdefault(str(item["Type"]), []).append(name)
    exists = planned.state and planned.state.exists
    what = (
        f"exists ({planned.state.status}); the change set will show what changes"
        if planned.state and exists
        else "would be created"
    )
    protection = " under termination protection" if planned.is_protected else ""
    rows = [(str(len(names)), kind, ", ".join(names)) for kind, names in sorted(by_type.items())]
    text = f"{deployment.stack_name(planned.stack)}: {what}: {len(resources)} resources{protection}\n"
    text += table(("count", "type", "logical ids"), rows)
    values = sorted(planned.values.items(), key=lambda item: item[1].source != OVERRIDE)
    chosen = [(name, value.source, value.shown() or "(empty)") for name, value in values if value.source != "default"]
    return text + ("\n\n" + table(("parameter", "from", "value"), chosen) if chosen else "")


ANYWHERE = ("0.0.0.0/0", "::/0")
_LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"


def internet_facing(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return the resources with public addresses, or with direct access to the Internet."""
    return [f"{stack}: {words}" for stack, found in stacks.items() for words in _outside(found)]


def _outside(found: Evaluation) -> Iterator[str]:
    for name, item in found.resources().items():
        properties, kind = found.properties(name), item.get("Type")
        if kind == _LOAD_BALANCER and properties.get("Scheme", "internet-facing") != "internal":
            yield f"{name}, a load balancer with public addresses"
        elif kind == "AWS::SageMaker::NotebookInstance" and properties.get("DirectInternetAccess") != "Disabled":
            yield f"{name}, a notebook with direct Internet access"
        elif kind == "AWS::SageMaker::Workteam":
            yield f"{name}: readers sign in at AWS's own portal"


def open_ports(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return the ports that are open to networks, not only to members of a security group."""
    return [f"{stack}: {words}" for stack, found in stacks.items() for words in dict.fromkeys(_networks(found))]


def _networks(found: Evaluation) -> Iterator[str]:
    for name, item in found.resources().items():
        properties = found.properties(name)
        rules: Any = []
        if item.get("Type") == "AWS::EC2::SecurityGroup":
            rules = properties.get("SecurityGroupIngress") or []
        elif item.get("Type") == "AWS::EC2::SecurityGroupIngress":
            rules = [properties]
        for rule in rules if isinstance(rules, list) else ():
            network = rule.get("CidrIp") or rule.get("CidrIpv6")
            if network:
                everyone = ", THE WHOLE INTERNET" if network in ANYWHERE else ""
                yield f"{_ports(rule)} from {network}{everyone} ({name})"


def _ports(rule: Mapping[str, Any]) -> str:
    first, last = str(rule.get("FromPort", "")), str(rule.get("ToPort", ""))
    if str(rule.get("IpProtocol")) == "-1" or not first:
        return "all ports"
    return f"port {first}" if first == last else f"ports {first} to {last}"


def nat_gateways(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return the NAT gateways, through which private subnets reach the Internet."""
    return _of_type(stacks, lambda found, name, kind: kind == "AWS::EC2::NatGateway")


def retained_data(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return the resources that hold data and are retained when their stack is deleted."""

    def is_retained(found: Evaluation, name: str, kind: str) -> bool:
        return kind in DATA_TYPES and found.template.resources[name].get("DeletionPolicy", "Delete") != "Delete"

    return _of_type(stacks, is_retained)


def _of_type(stacks: Mapping[str, Evaluation], wanted: Any) -> list[str]:
    lines = []
    for stack, found in stacks.items():
        names = [name for name, item in found.resources().items() if wanted(found, name, str(item.get("Type")))]
        if names:
            lines.append(f"{stack}: {', '.join(names)}")
    return lines
