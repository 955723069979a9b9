"""The network and foundation stacks: addresses, ways out, the closed default group, and who may use the key."""

from __future__ import annotations

import ipaddress
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from support.stack_evaluator import Evaluation
from support.templates import template

KEY = "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"


def network(**chosen: str) -> Evaluation:
    return Evaluation(template("network"), {"KeyArn": KEY, **chosen}, "dicom-workflow-network")


def of_type(stack: Evaluation, kind: str) -> dict[str, dict[str, Any]]:
    return {name: one["Properties"] for name, one in stack.resources.items() if one["Type"] == kind}


@pytest.mark.parametrize(("cidr", "bits"), [("10.42.0.0/16", "12"), ("172.16.0.0/16", "13"), ("192.168.0.0/21", "8")])
def test_six_subnets_fit_and_do_not_overlap(cidr: str, bits: str) -> None:
    stack = network(VpcCidr=cidr, SubnetHostBits=bits, Zones="3", NatMode="per-zone")
    ranges = [ipaddress.ip_network(one["CidrBlock"]) for one in of_type(stack, "AWS::EC2::Subnet").values()]
    assert len(ranges) == 6
    assert all(one.subnet_of(ipaddress.ip_network(cidr)) for one in ranges)  # type: ignore[arg-type]
    assert not [pair for number, one in enumerate(ranges) for pair in ranges[:number] if one.overlaps(pair)]


@pytest.mark.parametrize("zones", ["2", "3"])
@pytest.mark.parametrize(("mode", "gateways"), [("none", 0), ("one", 1), ("per-zone", None)])
def test_private_subnets_reach_the_internet_by_nat_or_not_at_all(zones: str, mode: str, gateways: int | None) -> None:
    stack = network(NatMode=mode, Zones=zones)
    assert len(of_type(stack, "AWS::EC2::NatGateway")) == (int(zones) if gateways is None else gateways)
    tables = {stack.value({"Ref": f"PrivateRoutes{number}"}, "") for number in range(1, int(zones) + 1)}
    out = [route for route in of_type(stack, "AWS::EC2::Route").values() if route["RouteTableId"] in tables]
    assert {route["RouteTableId"] for route in out} == (set() if mode == "none" else tables)
    assert len({route["NatGatewayId"] for route in out}) == (int(zones) if gateways is None else gateways)
    assert not [route for route in out if "GatewayId" in route]
    assert bool(of_type(stack, "AWS::EC2::InternetGateway")) == (mode != "none")
    assert len(stack.outputs["PrivateSubnetIds"].split(",")) == int(zones)
    assert bool(stack.outputs["PublicSubnetIds"]) == (mode != "none")
    [s3] = [one for one in of_type(stack, "AWS::EC2::VPCEndpoint").values() if one["VpcEndpointType"] == "Gateway"]
    assert set(s3["RouteTableIds"]) == tables


def test_without_nat_every_service_of_the_stacks_has_an_endpoint() -> None:
    def services(**chosen: str) -> set[str]:
        return {one["ServiceName"].split(".", 3)[3] for one in of_type(network(**chosen), "AWS::EC2::VPCEndpoint").values()}

    interface = {"ecr.api", "ecr.dkr", "logs", "secretsmanager", "kms", "sts", "cloudformation", "lambda", "monitoring"}
    interface |= {"sagemaker.api", "sagemaker.runtime", "sqs"}
    assert services(NatMode="none") == services(NatMode="one", InterfaceEndpoints="yes") == {"s3"} | interface
    assert services(NatMode="one") == services(NatMode="none", InterfaceEndpoints="no") == {"s3"}
    imaging = {"medical-imaging", "runtime-medical-imaging", "dicom-medical-imaging"}
    assert services(NatMode="one", HealthImagingEndpoints="true") == {"s3"} | imaging


def test_buckets_of_others_are_read_by_name_alone() -> None:
    def allowed(**chosen: str) -> dict[str, Any]:
        statements = network(**chosen).resources["S3Endpoint"]["Properties"]["PolicyDocument"]["Statement"]
        return {one["Sid"]: one["Resource"] for one in statements}

    assert "BucketsOfOthers" not in allowed()
    assert set(allowed(OtherBuckets="arn:aws:s3:::open-images,arn:aws:s3:::second")["BucketsOfOthers"]) == {
        *("arn:aws:s3:::open-images", "arn:aws:s3:::open-images/*", "arn:aws:s3:::second", "arn:aws:s3:::second/*")
    }


@mock_aws
@pytest.mark.parametrize("request_type", ["Create", "Update", "Delete"])
def test_the_default_security_group_loses_its_rules_and_twice_is_no_error(
    request_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ec2 = boto3.client("ec2", "us-east-1")
    vpc = ec2.create_vpc(CidrBlock="10.42.0.0/16")["Vpc"]["VpcId"]
    [group] = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    assert group["IpPermissionsEgress"], "it is made open"
    member = {"GroupId": group["GroupId"], "UserId": group["OwnerId"]}
    if not group["IpPermissions"]:  # moto leaves out the rule by which members hear each other
        ec2.authorize_security_group_ingress(
            GroupId=group["GroupId"], IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [member]}]
        )

    answers: list[tuple[Any, ...]] = []
    answering = types.ModuleType("cfnresponse")
    answering.SUCCESS, answering.FAILED = "SUCCESS", "FAILED"  # type: ignore[attr-defined]
    answering.send = lambda *said, **more: answers.append((*said[2:], more))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cfnresponse", answering)
    code = network().resources["Closer"]["Properties"]["Code"]["ZipFile"]
    assert len(code.encode()) <= 4096, "Lambda takes no more from a template"
    (tmp_path / "index.py").write_text(code)
    handler = runpy.run_path(str(tmp_path / "index.py"))["handler"]

    asked = {"GroupId": group["GroupId"], "Account": group["OwnerId"]}
    for _ in range(2):
        handler({"RequestType": request_type, "ResourceProperties": asked}, None)
    [after] = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
    still_open = request_type == "Delete"
    assert (bool(after["IpPermissions"]), bool(after["IpPermissionsEgress"])) == (still_open, still_open)
    assert answers == [("SUCCESS", {}, group["GroupId"], {})] * 2

    if request_type == "Create":
        with pytest.raises(Exception, match="sg-0000"):
            handler({"RequestType": "Create", "ResourceProperties": {**asked, "GroupId": "sg-00000000"}}, None)
        assert answers[-1][0] == "FAILED"
        assert "sg-0000" in answers[-1][3]["reason"]


def test_the_key_is_for_this_account_and_services_on_its_behalf() -> None:
    stack = Evaluation(template("foundation"), {}, "dicom-workflow-foundation")
    statements = stack.resources["Key"]["Properties"]["KeyPolicy"]["Statement"]
    for one in statements:
        actions = [one["Action"]] if isinstance(one["Action"], str) else one["Action"]
        assert not [action for action in actions if "*" in action], one["Sid"]
        if "Service" in one["Principal"]:
            # Whatever the service says of whom it acts for, this account must be in it.
            assert "123456789012" in str(one["Condition"]), one["Sid"]
        else:
            assert one["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    # Nobody could change the key again without this.
    assert any("kms:PutKeyPolicy" in one["Action"] for one in statements if "AWS" in one["Principal"])
    assert stack.resources["Key"]["Properties"]["EnableKeyRotation"] is True
