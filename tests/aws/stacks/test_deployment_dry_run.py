"""What a dry run of our own templates says before anything is asked of AWS: what is opened, what is wrong, what it costs."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from dicom_workflow.aws.stacks import costs, plan, preflight, preview, prices
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.deployment import Deployment, in_order
from dicom_workflow.aws.stacks.parameters import ARTIFACT, Input, ParameterOverrides
from dicom_workflow.aws.stacks.plan import Plan
from dicom_workflow.aws.stacks.templates import Parameter
from dicom_workflow.errors import DeployError

REGION = "eu-central-1"
CERTIFICATE = f"arn:aws:acm:{REGION}:111122223333:certificate/0b6b9a4e-0000-4000-8000-000000000001"
ORTHANC = "orthancteam/orthanc:26.8.1@sha256:" + "a" * 64
ARTIFACTS = {"PreAnnotationKey": "‹pre›", "PostAnnotationKey": "‹post›", "LabelingServiceContextKey": "‹labeling-service›"}
ARTIFACTS |= {"InferenceContextKey": "‹inference›", "WheelsPrefix": "‹wheels›", "NotebooksKey": "‹notebooks›"}
ARTIFACTS |= {"SearchServiceContextKey": "‹search›"}


def planned(*, artifacts: dict[str, str] = ARTIFACTS, **values: str) -> Plan:
    """The plan of our own templates with an Orthanc, behind a certificate."""
    deployment = Deployment("chest", CloudFormationClient(boto3.Session(region_name=REGION)), lambda text: None)
    given = {"ArchiveHostName": "archive.example", "OrthancImage": ORTHANC, "CertificateArn": CERTIFICATE, **values}
    provided = {name: Input(value, ARTIFACT) for name, value in artifacts.items()}
    return plan.make(deployment, [], ParameterOverrides(given), provided, states={})


def test_a_deployment_without_nat_gateway_needs_images_and_packages_of_its_own() -> None:
    problems, notes = preflight.check_parameters(planned(NatMode="none"), REGION, has_wheels=False)
    assert [text for text in problems if "OrthancImage: expected an image in ECR" in text] == problems != []
    assert any("--dependencies" in text for text in notes)
    own = f"111122223333.dkr.ecr.{REGION}.amazonaws.com/{ORTHANC}"
    problems, notes = preflight.check_parameters(planned(NatMode="none", OrthancImage=own), REGION, has_wheels=True)
    assert problems == []
    assert not any("--dependencies" in text for text in notes)
    assert preflight.check_parameters(planned(), REGION, has_wheels=False) == ([], [])


def test_a_certificate_of_another_region_is_refused_without_an_account() -> None:
    problems, _ = preflight.check_parameters(planned(), "eu-west-1", has_wheels=False)
    assert {text.split(":")[0] for text in problems} == {"archive", "labeling", "search"}
    said = f"expected a certificate in eu-west-1, the region of the load balancer, got one in {REGION}"
    assert all(said in text for text in problems)


def test_what_waits_for_an_image_is_part_of_the_cost() -> None:
    ours = {"LabelingBackend": "SelfHosted", "PortalHostName": "portal.example"}
    built = planned(artifacts={**ARTIFACTS, "LabelingServiceImage": "‹image›"}, **ours)
    with_image = {found.stack: found.evaluation for found in built.stacks}
    without = {found.stack: found.evaluation for found in planned(**ours).stacks}
    assert any("LabelingService" in line for line in costs.note(with_image, REGION))
    assert not any("LabelingService" in line for line in costs.note(without, REGION))
    assert preview.internet_facing(with_image) == []


def test_search_costs_little_until_it_is_served_and_a_domain_is_priced_by_its_nodes() -> None:
    def dollars(**values: str) -> float:
        stacks = {found.stack: found.evaluation for found in planned(artifacts=with_image, **values).stacks}
        lines, unknown = costs.fixed_costs(stacks, prices.load())
        assert [part for part in unknown if part.startswith("search")] == []
        return costs.by_stack(lines)["search"]

    with_image = {**ARTIFACTS, "SearchServiceImage": "‹image›"}
    served = {"SearchHostName": "search.example"}
    assert dollars() < 5  # a secret and alarms: no task runs while nothing waits
    assert 50 < dollars(**served) < 100  # one task and a load balancer
    assert dollars(**served, SearchStore="Aurora") - dollars(**served) == pytest.approx(0.5 * 0.12 * 730, abs=2)
    assert dollars(**served, SearchStore="OpenSearch") - dollars(**served) == pytest.approx(
        2 * (0.167 * 730 + 50 * 0.122), abs=2
    )


def test_healthimaging_is_not_priced_as_s3() -> None:
    note = {found.stack: found.evaluation for found in planned(ArchiveBackend="HealthImaging").stacks}
    assert any("no price in the table: archive" in line for line in costs.note(note, REGION))
    assert not any("storing each image" in line for line in costs.note(note, REGION))


def test_a_misspelled_stack_is_told_the_nearest() -> None:
    with pytest.raises(DeployError, match=r"Did you mean archive\?"):
        in_order(["arcive"])


def test_a_refused_choice_names_the_choices_as_they_are_written() -> None:
    declared = {"Type": "String", "AllowedValues": ["GroundTruth", "SelfHosted"], "ConstraintDescription": "GroundTruth or so."}
    parameter = Parameter.parse("LabelingBackend", declared)
    assert "expected one of GroundTruth, SelfHosted, got 'Selfhosted'" in parameter.problem("Selfhosted")


def test_further_commands_name_the_region_that_was_named(tmp_path: Path) -> None:
    cloud = CloudFormationClient(boto3.Session(region_name=REGION))
    deployment = Deployment("chest", cloud, print, folder=tmp_path, flags=("--region", REGION))
    assert deployment.command("status", "--drift") == f"dicom-workflow status --drift --name chest --region {REGION}"
