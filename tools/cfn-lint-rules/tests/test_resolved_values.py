"""Values behind intrinsic functions, parameters and conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfn_lint_medical_imaging import check_template

TEMPLATE = """
Parameters:
  Clients: {{Type: String, Default: {default}}}
  Access: {{Type: String, Default: closed, AllowedValues: [open, closed]}}
Mappings: {{Networks: {{all: {{Cidr: 0.0.0.0/0}}, office: {{Cidr: 10.0.0.0/8}}}}}}
Conditions: {{IsOpen: !Equals [!Ref Access, open]}}
Resources:
  Group:
    Type: AWS::EC2::SecurityGroup
    {condition}
    Properties:
      GroupDescription: archive
      SecurityGroupIngress: {ingress}
"""


def reported(ingress: str, default: str = "10.0.0.0/8", condition: str = "") -> list[str]:
    text = TEMPLATE.format(ingress=ingress, default=default, condition=condition)
    return [match.rule.id for match in check_template(text)]


@pytest.mark.parametrize(
    "cidr",
    [
        "!If [IsOpen, 0.0.0.0/0, 10.0.0.0/8]",
        "!Ref Clients",
        '!Sub "${Clients}"',
        "!FindInMap [Networks, all, Cidr]",
        '!Join ["/", [0.0.0.0, 0]]',
        "!Select [1, [10.0.0.0/8, 0.0.0.0/0]]",
        "!Sub ['${a}/0', {a: 0.0.0.0}]",
        "0.0.0.0/1",
    ],
)
def test_a_public_network_is_found_behind_an_intrinsic_function(cidr: str) -> None:
    ingress = f"[{{IpProtocol: tcp, FromPort: 4242, ToPort: 4242, CidrIp: {cidr}}}]"
    assert reported(ingress, default="0.0.0.0/0") == ["E9101"]


@pytest.mark.parametrize(
    "cidr", ["!Ref Clients", "!FindInMap [Networks, office, Cidr]", "192.168.0.0/16", "!ImportValue x", "2001:db8::/32"]
)
def test_a_private_or_unknown_network_is_accepted(cidr: str) -> None:
    assert reported(f"[{{IpProtocol: tcp, FromPort: 4242, ToPort: 4242, CidrIp: {cidr}}}]") == []


def test_an_ingress_rule_that_only_one_branch_adds_is_found() -> None:
    ingress = "[!If [IsOpen, {IpProtocol: '-1', CidrIpv6: '::/0'}, !Ref AWS::NoValue]]"
    assert reported(ingress) == ["E9101", "E9102", "E9103", "E9104", "E9105"]


def test_an_unreachable_branch_is_not_followed() -> None:
    ingress = "[{IpProtocol: tcp, FromPort: 4242, ToPort: 4242, CidrIp: !If [IsOpen, 10.0.0.0/8, 0.0.0.0/0]}]"
    assert reported(ingress) == ["E9101"]
    assert reported(ingress, condition="Condition: IsOpen") == []


@pytest.mark.parametrize(("default", "found"), [("Disabled", []), ("Enabled", ["E9602"])])
def test_a_protection_that_a_parameter_controls_is_judged_by_its_default(default: str, found: list[str]) -> None:
    text = f"""
Parameters: {{Root: {{Type: String, Default: {default}}}}}
Resources:
  Notebook: {{Type: AWS::SageMaker::NotebookInstance, Properties: {{RootAccess: !Ref Root}}}}
"""
    assert [match.rule.id for match in check_template(text, only="E9602")] == found


def test_a_bucket_policy_that_may_be_absent_does_not_protect_a_bucket_that_always_exists() -> None:
    text = (Path(__file__).parent / "examples" / "storage.passes.yaml").read_text("utf-8")
    head, resources, rest = text.partition("Resources:\n")
    text = f"{head}Conditions: {{Sometimes: !Equals [!Ref ProtectData, 'true']}}\n{resources}{rest}"
    policy = text.replace("    Type: AWS::S3::BucketPolicy\n", "    Type: AWS::S3::BucketPolicy\n    Condition: Sometimes\n")
    both = policy.replace("    Type: AWS::S3::Bucket\n", "    Type: AWS::S3::Bucket\n    Condition: Sometimes\n")
    assert [match.rule.id for match in check_template(policy, today="2026-11-01")] == ["E9303"]
    assert check_template(both, today="2026-11-01") == []
