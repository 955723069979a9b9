"""What a deployment costs a month while nobody uses it, and what a thousand studies cost: from templates and prices.

An estimate to decide with. What it leaves out, because it grows with use, is said with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_workflow.stacks import prices
from dicom_workflow.stacks.evaluation import Evaluation
from dicom_workflow.stacks.prices import Line, Prices

IMAGES_PER_STUDY = 377_110 / 227_835
MB_PER_IMAGE = 12.5
"""Of MIMIC-CXR: 377,110 images of 227,835 studies in 4.7 TB, not compressed."""

_SERVERLESS = "db.serverless"


def standing(stacks: Mapping[str, Evaluation], table: Prices) -> tuple[list[Line], list[str]]:
    """Return what each part of some stacks costs a month while nobody uses it, and what the table has no price for."""
    lines, unknown = [], []
    for stack, evaluation in stacks.items():
        for what, price, quantity in _parts(evaluation, table.hours_per_month):
            if price in table:
                lines.append(Line.of(table, stack, what, price, quantity))
            else:
                unknown.append(f"{stack}: {what} ({price})")
    return lines, unknown


def per_thousand_studies(table: Prices, *, by_ground_truth: bool) -> list[Line]:
    """Return what a thousand studies cost: to take in, to keep a month, and to label where Ground Truth does it."""
    images = 1000 * IMAGES_PER_STUDY
    lines = [
        Line.of(table, "archive", "storing each image", "s3_put", images / 1000),
        Line.of(table, "archive", "keeping them a month", "s3_standard", images * MB_PER_IMAGE / 1024),
    ]
    if by_ground_truth:
        lines.append(Line.of(table, "labeling", "labeling each image, readers not counted", "groundtruth_object", images))
    return lines


def note(stacks: Mapping[str, Evaluation], region: str) -> list[str]:
    """Return the cost note as lines for a person, with the table's region and date."""
    table = prices.load()
    lines, unknown = standing(stacks, table)
    read = max(price.read for price in table.values())
    where = f"prices of {table.region}, read {read:%Y-%m-%d}" + ("" if region == table.region else f", not of {region}")
    found = [f"standing cost, about {prices.total(lines):,.2f} USD a month ({where}):"]
    found += [_shown(line) for line in sorted(lines, key=lambda line: -line.usd)]
    found += [f"  no price in the table: {what}" for what in unknown]
    studies = per_thousand_studies(table, by_ground_truth=_labels_by_ground_truth(stacks))
    if "archive" in stacks or "labeling" in stacks:
        found.append(f"a thousand studies, about {prices.total(studies):,.2f} USD:")
        found += [_shown(line) for line in studies]
    found.append("  not in it: traffic, requests, growth, training by the hour, taxes; free tiers and discounts")
    return found


def _shown(line: Line) -> str:
    doubt = "" if line.status == "vendor" else f"  [{line.status} price]"
    return f"  {line.usd:>10,.2f}  {line.stack}: {line.what}, {line.quantity:,.0f} × {line.unit}{doubt}"


def _labels_by_ground_truth(stacks: Mapping[str, Evaluation]) -> bool:
    labeling = stacks.get("labeling")
    return labeling is not None and labeling.outputs().get("GroundTruthUrl") == "aws"


def _parts(evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    """What is charged for standing there: what it is, the name of its price, and how much of it in a month."""
    resources = evaluation.resources()
    count: dict[str, int] = {}
    for item in resources.values():
        count[str(item.get("Type"))] = count.get(str(item.get("Type")), 0) + 1
    for kind, what, price in (
        ("AWS::KMS::Key", "KMS keys", "kms_key"),
        ("AWS::SecretsManager::Secret", "secrets", "secret"),
        ("AWS::CloudWatch::Alarm", "alarms", "cloudwatch_alarm"),
    ):
        if count.get(kind):
            yield what, price, count[kind]
    for kind, what, price in (
        ("AWS::EC2::NatGateway", "NAT gateways", "nat_gateway"),
        ("AWS::EC2::EIP", "public addresses", "public_ipv4"),
        ("AWS::ElasticLoadBalancingV2::LoadBalancer", "load balancers", "alb"),
    ):
        if count.get(kind):
            yield what, price, count[kind] * hours
    for name, item in resources.items():
        parts = _PARTS.get(str(item.get("Type")))
        if parts:
            yield from parts(name, evaluation, hours)


def _endpoint(name: str, evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    properties = evaluation.properties(name)
    if properties.get("VpcEndpointType") == "Interface":
        subnets = properties.get("SubnetIds")
        zones = len(subnets) if isinstance(subnets, list) else 2
        yield f"{name}, in {zones} zones", "interface_endpoint", zones * hours


def _service(name: str, evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    properties = evaluation.properties(name)
    reference = evaluation.template.resources[name].get("Properties", {}).get("TaskDefinition")
    task = evaluation.properties(reference["Ref"]) if isinstance(reference, dict) and "Ref" in reference else {}
    tasks = _number(properties.get("DesiredCount", 1))
    yield f"{name}, {tasks:g} tasks: processors", "fargate_arm64_vcpu", tasks * _number(task.get("Cpu")) / 1024 * hours
    yield f"{name}, {tasks:g} tasks: memory", "fargate_arm64_memory", tasks * _number(task.get("Memory")) / 1024 * hours


def _cluster(name: str, evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    scaling = evaluation.properties(name).get("ServerlessV2ScalingConfiguration", {})
    instances = [
        other
        for other, item in evaluation.resources().items()
        if item.get("Type") == "AWS::RDS::DBInstance" and evaluation.properties(other).get("DBInstanceClass") == _SERVERLESS
    ]
    least = _number(scaling.get("MinCapacity"))
    yield f"{name}, {len(instances)} instances at {least:g} ACU", "aurora_acu", len(instances) * least * hours


def _notebook(name: str, evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    properties = evaluation.properties(name)
    yield f"{name}, while it runs", f"notebook_{properties.get('InstanceType')}", hours
    yield f"{name}, its volume", "notebook_storage", _number(properties.get("VolumeSizeInGB", 5))


def _model_endpoint(name: str, evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    for variant in evaluation.properties(name).get("ProductionVariants", ()):
        if "InstanceType" in variant:
            machines = _number(variant.get("InitialInstanceCount", 1))
            yield f"{name}, {machines:g} machines", f"endpoint_{variant['InstanceType']}", machines * hours


_PARTS: Mapping[str, Any] = {
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::ECS::Service": _service,
    "AWS::RDS::DBCluster": _cluster,
    "AWS::SageMaker::NotebookInstance": _notebook,
    "AWS::SageMaker::EndpointConfig": _model_endpoint,
}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
