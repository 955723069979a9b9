"""Estimated costs: a month of an idle deployment, and a thousand studies, from templates and prices.

The note lists what the estimate leaves out because it depends on usage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_workflow.aws.stacks import prices
from dicom_workflow.aws.stacks.prices import Line, Prices
from dicom_workflow.aws.stacks.template_evaluator import Evaluation

IMAGES_PER_STUDY = 377_110 / 227_835
"""MIMIC-CXR: 377,110 images of 227,835 studies."""
MEGABYTES_PER_IMAGE = 12.5
"""Uncompressed: 2500 × 2500 pixels of two bytes; 4.7 TB for the images of MIMIC-CXR."""

_SERVERLESS = "db.serverless"


def gib(size_bytes: float) -> float:
    """Return bytes in binary gigabytes, the unit that AWS charges storage and traffic by."""
    return size_bytes / 2**30


def fixed_costs(stacks: Mapping[str, Evaluation], table: Prices) -> tuple[list[Line], list[str]]:
    """Return the monthly costs of an idle deployment, part by part, and the parts without a price in the table."""
    lines, unknown = [], []
    for stack, evaluation in stacks.items():
        for what, price, quantity in _parts(evaluation, table.hours_per_month):
            if price in table:
                lines.append(Line.of(table, stack, what, price, quantity))
            else:
                unknown.append(f"{stack}: {what} ({price})")
    return lines, unknown


def per_thousand_studies(table: Prices, *, by_ground_truth: bool, in_s3: bool = True) -> list[Line]:
    """Return the costs of a thousand studies: storing them in S3, a month of storage, and labeling by Ground Truth.

    Parameters
    ----------
    table : Prices
    by_ground_truth : bool
        Ground Truth labels them, which charges for each object.
    in_s3 : bool
        The archive keeps the images in S3.
    """
    images = 1000 * IMAGES_PER_STUDY
    lines = []
    if in_s3:
        lines += [
            Line.of(table, "archive", "storing each image", "s3_put", images / 1000),
            Line.of(table, "archive", "a month of storage", "s3_standard", gib(images * MEGABYTES_PER_IMAGE * 1e6)),
        ]
    if by_ground_truth:
        lines.append(Line.of(table, "labeling", "labeling each image, without the readers", "groundtruth_object", images))
    return lines


def by_stack(lines: list[Line]) -> dict[str, float]:
    """Return the sum of each stack in US dollars, the most expensive first."""
    sums: dict[str, float] = {}
    for line in lines:
        sums[line.stack] = sums.get(line.stack, 0.0) + line.usd
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def summary(stacks: Mapping[str, Evaluation]) -> str:
    """Return the monthly cost of an idle deployment in one line: the sum, and that of each stack."""
    lines, unknown = fixed_costs(stacks, prices.load())
    parts = ", ".join(f"{stack} {usd:,.0f}" for stack, usd in by_stack(lines).items() if usd >= 0.5)
    more = ", plus parts without a price in the table" if unknown else ""
    return f"about {prices.total(lines):,.0f} USD a month when idle" + (f" ({parts})" if parts else "") + more


def note(stacks: Mapping[str, Evaluation], region: str) -> list[str]:
    """Return the cost note as lines of text, with the region and date of the price table."""
    table = prices.load()
    lines, unknown = fixed_costs(stacks, table)
    read = max(price.read for price in table.values())
    where = f"prices of {table.region}, read {read:%Y-%m-%d}" + ("" if region == table.region else f", not of {region}")
    found = [f"monthly cost when idle, about {prices.total(lines):,.2f} USD a month ({where}):"]
    for stack in by_stack(lines):
        found += [_shown(line) for line in sorted(lines, key=lambda line: -line.usd) if line.stack == stack]
    found += [f"  no price in the table: {what}" for what in unknown]
    in_s3 = not any(item.get("Type") in _OTHER_STORES for item in _resources(stacks.get("archive")))
    studies = per_thousand_studies(table, by_ground_truth=_labels_by_ground_truth(stacks), in_s3=in_s3)
    if "archive" in stacks or "labeling" in stacks:
        found.append(f"a thousand studies, about {prices.total(studies):,.2f} USD:")
        found += [_shown(line) for line in studies]
        found += [] if in_s3 else ["  no price in the table: archive: storage in HealthImaging or EFS"]
    doubts = {line.status for line in [*lines, *studies]}
    found += [f"  {mark} {meaning}" for status, (mark, meaning) in _DOUBTS.items() if status in doubts]
    found.append("  not included: traffic, requests, growth, training by the hour, taxes, free tiers and discounts")
    return found


_OTHER_STORES = ("AWS::HealthImaging::Datastore", "AWS::EFS::FileSystem")
_DOUBTS = {
    "secondary": ("*", "from a page that is not published by AWS"),
    "unconfirmed": ("?", "not confirmed: look it up before relying on it"),
}


def _resources(evaluation: Evaluation | None) -> list[Mapping[str, Any]]:
    return list(evaluation.resources().values()) if evaluation else []


def _shown(line: Line) -> str:
    mark = _DOUBTS.get(line.status, ("", ""))[0]
    return f"  {line.usd:>10,.2f} {mark:1}  {line.stack}: {line.what}, {_count(line.quantity)} × {line.unit}"


def _count(quantity: float) -> str:
    return f"{quantity:,.0f}" if quantity >= 100 or quantity == int(quantity) else f"{quantity:,.1f}"


def _labels_by_ground_truth(stacks: Mapping[str, Evaluation]) -> bool:
    labeling = stacks.get("labeling")
    return labeling is not None and labeling.outputs().get("GroundTruthUrl") == "aws"


def _parts(evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    """The parts that are charged by time: description, name of the price, and quantity in a month."""
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
    for zones, endpoints in _endpoints(evaluation):
        yield f"interface endpoints, {endpoints} in {zones} zones each", "interface_endpoint", endpoints * zones * hours
    for name, item in resources.items():
        parts = _PARTS.get(str(item.get("Type")))
        if parts:
            yield from parts(name, evaluation, hours)


def _endpoints(evaluation: Evaluation) -> Iterator[tuple[int, int]]:
    """For each number of zones, the number of interface endpoints."""
    count: dict[int, int] = {}
    for name, item in evaluation.resources().items():
        properties = evaluation.properties(name) if item.get("Type") == "AWS::EC2::VPCEndpoint" else {}
        if properties.get("VpcEndpointType") == "Interface":
            subnets = properties.get("SubnetIds")
            zones = len(subnets) if isinstance(subnets, list) else 2
            count[zones] = count.get(zones, 0) + 1
    yield from count.items()


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


def _domain(name: str, evaluation: Evaluation, hours: float) -> Iterator[tuple[str, str, float]]:
    properties = evaluation.properties(name)
    nodes = _number(properties.get("ClusterConfig", {}).get("InstanceCount", 1))
    kind = str(properties.get("ClusterConfig", {}).get("InstanceType", "")).removesuffix(".search")
    yield f"{name}, {nodes:g} data nodes", f"opensearch_{kind}", nodes * hours
    size = _number(properties.get("EBSOptions", {}).get("VolumeSize"))
    yield f"{name}, their volumes", "opensearch_storage", nodes * size


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
    "AWS::ECS::Service": _service,
    "AWS::OpenSearchService::Domain": _domain,
    "AWS::RDS::DBCluster": _cluster,
    "AWS::SageMaker::NotebookInstance": _notebook,
    "AWS::SageMaker::EndpointConfig": _model_endpoint,
}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
