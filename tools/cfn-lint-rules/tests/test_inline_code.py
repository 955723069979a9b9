"""Inline code of Lambda functions."""

from __future__ import annotations

import json

import pytest

from cfn_lint_medical_imaging import check_template

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


def reported(code: str, runtime: str) -> list[str]:
    """Return the ids of the rules that report the code."""
    text = FUNCTION.format(runtime=runtime, code=code)
    return sorted({match.rule.id for match in check_template(text, today="2026-11-01")})


@pytest.mark.parametrize(
    ("source", "rules"),
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
def test_python(source: str, rules: list[str]) -> None:
    assert reported(json.dumps(source), "python3.13") == rules


@pytest.mark.parametrize(
    ("source", "rules"),
    [
        ("exports.handler = async (event) => { try { f(event) } catch (error) {} }", ["E9502"]),
        ("exports.handler = async (event) => { try { f(event) } catch (error) { throw error } }", []),
        ("exports.handler = async (event) => { console.log('event', JSON.stringify(event)) }", ["E9503"]),
        ("exports.handler = async (event) => { console.log(event.Records.length) }", []),
        ("response.headers['access-control-allow-origin'] = [{key: 'Access-Control-Allow-Origin', value: '*'}]", ["E9505"]),
        ("response.headers['access-control-allow-origin'] = [{value: process.env.ORIGIN}]", []),
    ],
)
def test_javascript(source: str, rules: list[str]) -> None:
    assert reported(json.dumps(source), "nodejs24.x") == rules


def test_a_placeholder_in_the_code_is_not_a_syntax_error() -> None:
    assert reported('!Sub "BUCKET = ${Answer}"', "python3.13") == []
