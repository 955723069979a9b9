"""What a deployment would open and what of it would hold data, read from its templates: what a person wants to know first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_workflow.aws.stacks.catalog import DATA_TYPES
from dicom_workflow.aws.stacks.template_evaluator import Evaluation

ANYWHERE = ("0.0.0.0/0", "::/0")
_LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"


def facing_the_internet(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return what answers to addresses outside the VPC, or reaches them without a network in between."""
    return [f"{stack}: {words}" for stack, found in stacks.items() for words in _outside(found)]


def _outside(found: Evaluation) -> Iterator[str]:
    for name, item in found.resources().items():
        properties, kind = found.properties(name), item.get("Type")
        if kind == _LOAD_BALANCER and properties.get("Scheme", "internet-facing") != "internal":
            yield f"{name}, a load balancer with public addresses"
        elif kind == "AWS::SageMaker::NotebookInstance" and properties.get("DirectInternetAccess") != "Disabled":
            yield f"{name}, a notebook with its own way to the Internet"
        elif kind == "AWS::SageMaker::Workteam":
            yield f"{name}: readers sign in at AWS's own portal"


def let_in(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return the ports that are open to networks rather than to members of a security group."""
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
        return "every port"
    return f"port {first}" if first == last else f"ports {first} to {last}"


def ways_out(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return the NAT gateways, by which private subnets reach the Internet."""
    return _of_type(stacks, lambda found, name, kind: kind == "AWS::EC2::NatGateway")


def outliving(stacks: Mapping[str, Evaluation]) -> list[str]:
    """Return what holds data and stays when its stack is removed."""

    def stays(found: Evaluation, name: str, kind: str) -> bool:
        return kind in DATA_TYPES and found.template.resources[name].get("DeletionPolicy", "Delete") != "Delete"

    return _of_type(stacks, stays)


def _of_type(stacks: Mapping[str, Evaluation], wanted: Any) -> list[str]:
    lines = []
    for stack, found in stacks.items():
        names = [name for name, item in found.resources().items() if wanted(found, name, str(item.get("Type")))]
        if names:
            lines.append(f"{stack}: {', '.join(names)}")
    return lines
