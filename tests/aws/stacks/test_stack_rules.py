"""Our cfn-lint rules: each has an example that breaks it and one that keeps it, and a page that explains it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.templates import CFN, DAY, ROOT, RULES, STACKS, lint, pack, said

EXAMPLES = RULES / "examples"
IDS = sorted(pack())
CFN_LINT = str(Path(sys.executable).with_name("cfn-lint"))


def marked(path: Path, rule: str) -> list[int]:
    """The lines of an example that end in `# <rule>`."""
    lines = path.read_text("utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith(f"# {rule}")]


@pytest.mark.parametrize("rule", IDS)
def test_the_failing_example_gives_exactly_that_rule_at_the_marked_lines(rule: str) -> None:
    path = EXAMPLES / rule / "fails.yaml"
    wanted = marked(path, rule)
    found = lint(path.read_text("utf-8"))
    assert wanted, f"{path} marks no line with '# {rule}'"
    assert sorted({(match.rule.id, match.linenumber) for match in found}) == [(rule, line) for line in wanted], said(found)


@pytest.mark.parametrize("rule", IDS)
def test_the_passing_example_gives_none_of_ours(rule: str) -> None:
    assert said(lint((EXAMPLES / rule / "passes.yaml").read_text("utf-8"))) == []


def test_every_rule_says_what_goes_wrong_and_how_to_mend_it() -> None:
    for rule in pack().values():
        assert re.fullmatch(r"[EW]9[1-9]\d\d", rule.id), "E9 and W9 are cfn-lint's ranges for rules of others"
        assert rule.shortdesc and not rule.shortdesc.endswith(".")
        assert len(rule.description.split(". ")) >= 2, f"{rule.id}: the consequence, then the cure"
        assert rule.source_url == f"docs/cfn-rules.md#{rule.id.lower()}"
        assert rule.tags[0] == "resources" and len(rule.tags) > 1


def test_there_is_an_example_for_every_rule_and_no_other() -> None:
    assert sorted(folder.name for folder in EXAMPLES.iterdir()) == IDS


def documented() -> str:
    """The part of docs/cfn-rules.md that is the rules."""
    parts = []
    for rule in (pack()[name] for name in IDS):
        parts.append(f"### {rule.id}\n\n**{rule.shortdesc}.** {rule.description}")
    return "\n\n".join(parts) + "\n"


def test_the_page_lists_every_rule_in_its_own_words() -> None:
    page = (ROOT / "docs" / "cfn-rules.md").read_text("utf-8")
    marker = "## The rules\n\n"
    assert page.partition(marker)[2] == documented(), "run `python tests/aws/stacks/test_stack_rules.py` to write the list anew"


@pytest.mark.parametrize("fault", ["a rule raises"])
def test_a_rule_that_raises_is_not_passed_over(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(view: object) -> None:
        raise ValueError(fault)

    monkeypatch.setattr(pack()["E9101"], "faults", raises)
    assert said(lint("Resources: {Topic: {Type: 'AWS::SNS::Topic'}}"))[0].startswith("E0002")


def test_the_command_of_the_page_works_and_exits_with_the_faults() -> None:
    command = [CFN_LINT, "--append-rules", str(RULES), "--format", "json", "--"]
    done = subprocess.run([*command, str(EXAMPLES / "E9101" / "fails.yaml")], capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert done.returncode == 2 and [match["Rule"]["Id"] for match in found] == ["E9101"]
    assert found[0]["Rule"]["Source"] == "docs/cfn-rules.md#e9101" and "4242" in found[0]["Message"]


def test_a_resource_can_waive_a_rule_with_cfn_lints_own_metadata() -> None:
    text = (EXAMPLES / "E9101" / "fails.yaml").read_text("utf-8")
    waived = text.replace("    Properties:", "    Metadata: {cfn-lint: {config: {ignore_checks: [E9101]}}}\n    Properties:", 1)
    assert waived != text and lint(waived) == []


def test_our_templates_pass_cfn_lint_with_our_pack() -> None:
    templates = [str(CFN / f"{stack}.yaml") for stack in STACKS if (CFN / f"{stack}.yaml").is_file()]
    day = [part for rule in ("E9504", "E9701") for part in ("--configure-rule", f"{rule}:today={DAY}")]
    command = [CFN_LINT, "--append-rules", str(RULES), *day, "--format", "parseable", "--", *templates]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("rule", "day", "reported"),
    [
        ("E9504", "2024-10-14", False),
        ("E9504", "2024-10-15", True),
        ("E9701", "2024-02-29", False),
        ("E9701", "2024-03-01", True),
    ],
)
def test_support_ends_the_day_after_its_last(rule: str, day: str, reported: bool) -> None:
    """python3.8 and PostgreSQL 11, by the dates of AWS."""
    found = lint((EXAMPLES / rule / "fails.yaml").read_text("utf-8"), day=day)
    assert [match.rule.id for match in found] == [rule] * reported


def test_the_dates_name_the_page_they_come_from() -> None:
    table = json.loads((RULES / "_stack_rules" / "lifetimes.json").read_text("utf-8"))
    parts = [table["runtimes"], *table["engines"].values()]
    assert all(part["source"].startswith("https://docs.aws.amazon.com/") for part in parts)
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) for part in parts for day in part["ends"].values())


class TestReading:
    """Values that hide behind functions, parameters and conditions."""

    GROUP = """
Parameters:
  Who: {{Type: String, Default: {default}}}
  Kind: {{Type: String, Default: closed, AllowedValues: [open, closed]}}
Mappings: {{Networks: {{all: {{Cidr: 0.0.0.0/0}}, office: {{Cidr: 10.0.0.0/8}}}}}}
Conditions: {{IsOpen: !Equals [!Ref Kind, open]}}
Resources:
  Group:
    Type: AWS::EC2::SecurityGroup
    {condition}
    Properties:
      GroupDescription: archive
      SecurityGroupIngress: {rules}
"""

    def ids(self, rules: str, default: str = "10.0.0.0/8", condition: str = "") -> list[str]:
        text = self.GROUP.format(rules=rules, default=default, condition=condition)
        return [match.rule.id for match in lint(text)]

    @pytest.mark.parametrize(
        "cidr",
        [
            "!If [IsOpen, 0.0.0.0/0, 10.0.0.0/8]",
            '!Sub "${All}"',
            "!FindInMap [Networks, all, Cidr]",
            '!Join ["/", [0.0.0.0, 0]]',
            "!Select [1, [10.0.0.0/8, 0.0.0.0/0]]",
            "!Sub ['${a}/0', {a: 0.0.0.0}]",
            "0.0.0.0/1",
        ],
    )
    def test_the_world_is_seen_through(self, cidr: str) -> None:
        rule = f"[{{IpProtocol: tcp, FromPort: 4242, ToPort: 4242, CidrIp: {cidr.replace('${All}', '${Who}')}}}]"
        assert self.ids(rule, default="0.0.0.0/0") == ["E9101"]

    @pytest.mark.parametrize(
        "cidr", ["!Ref Who", "!FindInMap [Networks, office, Cidr]", "192.168.0.0/16", "!ImportValue x", "2001:db8::/32"]
    )
    def test_a_network_of_ones_own_is_fine(self, cidr: str) -> None:
        assert self.ids(f"[{{IpProtocol: tcp, FromPort: 4242, ToPort: 4242, CidrIp: {cidr}}}]") == []

    def test_a_rule_that_only_one_branch_adds_is_seen(self) -> None:
        rule = "[!If [IsOpen, {IpProtocol: '-1', CidrIpv6: '::/0'}, !Ref AWS::NoValue]]"
        assert self.ids(rule) == ["E9101", "E9102", "E9103", "E9104", "E9105"]

    def test_a_branch_that_cannot_be_reached_is_not_followed(self) -> None:
        rule = "[{IpProtocol: tcp, FromPort: 4242, ToPort: 4242, CidrIp: !If [IsOpen, 10.0.0.0/8, 0.0.0.0/0]}]"
        assert self.ids(rule) == ["E9101"]
        assert self.ids(rule, condition="Condition: IsOpen") == []

    def test_a_policy_that_exists_only_sometimes_does_not_protect_a_bucket_that_always_does(self) -> None:
        text = (EXAMPLES / "E9303" / "passes.yaml").read_text("utf-8")
        conditions = "Parameters: {Kind: {Type: String, Default: a}}\nConditions: {Sometimes: !Equals [!Ref Kind, a]}\n"
        policy = text.replace("    Type: AWS::S3::BucketPolicy", "    Type: AWS::S3::BucketPolicy\n    Condition: Sometimes")
        both = policy.replace("    Type: AWS::S3::Bucket\n", "    Type: AWS::S3::Bucket\n    Condition: Sometimes\n")
        assert [match.rule.id for match in lint(conditions + policy)] == ["E9303"]
        assert said(lint(conditions + both)) == []


class TestCode:
    """Inline code of functions, as its rules read it."""

    FUNCTION = """
Resources:
  Answer:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: {runtime}
      Handler: index.handler
      Role: arn:aws:iam::123456789012:role/worker
      DeadLetterConfig: {{TargetArn: "arn:aws:sqs:us-east-1:123456789012:failed"}}
      Code:
        ZipFile: {code}
"""

    def ids(self, code: str, runtime: str = "python3.13") -> list[str]:
        return sorted({match.rule.id for match in lint(self.FUNCTION.format(runtime=runtime, code=json.dumps(code)))})

    @pytest.mark.parametrize(
        ("body", "wanted"),
        [
            ("import json, os, urllib.request", []),
            ("import cfnresponse", []),
            ("from . import helper", ["E9501"]),
            ("import numpy as np", ["E9501"]),
            ("try:\n  f()\nexcept Exception as error:\n  print(error)", []),
            ("try:\n  f()\nexcept Exception:\n  raise", []),
            ("try:\n  f()\nexcept (OSError, ValueError):\n  pass", []),
            ("try:\n  f()\nexcept Exception:\n  pass", ["E9502"]),
            ("try:\n  f()\nexcept (OSError, BaseException):\n  x = 1", ["E9502"]),
            ("try:\n  f()\nexcept:\n  cfnresponse.send(e, c, cfnresponse.FAILED, {})", []),
            ("def handler(incoming, context):\n  print(incoming)", ["E9503"]),
            ("def handler(event, context):\n  log.info(f'got {event}')", ["E9503"]),
            ("def handler(event, context):\n  logging.getLogger().info('%s', event['payload'])", ["E9503"]),
            ("def handler(event, context):\n  print(event['RequestType'], len(event))", []),
            ("def f(event):\n  event.info(event)", []),
            ("answer = {'headers': {'Access-Control-Allow-Origin': '*'}}", ["E9505"]),
            ("client.put(AllowedOrigins=['*'])", ["E9505"]),
            ("headers['Access-Control-Allow-Origin'] = '*'", ["E9505"]),
            ("headers['Access-Control-Allow-Origin'] = ORIGIN", []),
            ("def broken(:", ["E9506"]),
        ],
    )
    def test_python(self, body: str, wanted: list[str]) -> None:
        assert self.ids(body) == wanted

    @pytest.mark.parametrize(
        ("body", "wanted"),
        [
            ("exports.handler = async (event) => { try { f(event) } catch (error) {} }", ["E9502"]),
            ("exports.handler = async (event) => { try { f(event) } catch (error) { throw error } }", []),
            ("exports.handler = async (event) => { console.log('event', JSON.stringify(event)) }", ["E9503"]),
            ("exports.handler = async (event) => { console.log(event.Records.length) }", []),
            ("response.headers['access-control-allow-origin'] = [{key: 'Access-Control-Allow-Origin', value: '*'}]", ["E9505"]),
            ("response.headers['access-control-allow-origin'] = [{value: process.env.ORIGIN}]", []),
        ],
    )
    def test_javascript(self, body: str, wanted: list[str]) -> None:
        assert self.ids(body, "nodejs24.x") == wanted

    def test_what_deployment_fills_in_is_no_syntax_error(self) -> None:
        text = self.FUNCTION.format(runtime="python3.13", code='!Sub "BUCKET = ${Answer}"')
        assert said(lint(text)) == []


if __name__ == "__main__":
    page = ROOT / "docs" / "cfn-rules.md"
    head, marker, _ = page.read_text("utf-8").partition("## The rules\n\n")
    page.write_text(head + marker + documented(), "utf-8")
