"""End of support of Lambda runtimes and database engines."""

from __future__ import annotations

import re
from datetime import date

import pytest

from cfn_lint_medical_imaging import check_template
from cfn_lint_medical_imaging.support_dates import engine_end_of_support, runtime_end_of_support, support_dates

FUNCTION = """Resources:
  Function:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: python3.8
"""
DATABASE = """Resources:
  Database:
    Type: AWS::RDS::DBCluster
    Properties:
      Engine: aurora-postgresql
      EngineVersion: "11.9"
"""


@pytest.mark.parametrize(
    ("template", "rule", "today", "reported"),
    [
        (FUNCTION, "E9504", "2024-10-14", False),
        (FUNCTION, "E9504", "2024-10-15", True),
        (DATABASE, "E9701", "2024-02-29", False),
        (DATABASE, "E9701", "2024-03-01", True),
    ],
)
def test_a_version_is_reported_from_the_day_after_its_last_day_of_support(
    template: str, rule: str, today: str, reported: bool
) -> None:
    assert [match.rule.id for match in check_template(template, today=today, only=rule)] == [rule] * reported


def test_the_current_date_applies_by_default() -> None:
    assert [match.rule.id for match in check_template(FUNCTION, only="E9504")] == ["E9504"]


def test_an_engine_version_is_found_by_its_major_version() -> None:
    assert engine_end_of_support("aurora-mysql", "8.0.mysql_aurora.3.05.2") == date(2028, 4, 30)
    assert engine_end_of_support("postgres", "16.6") == date(2029, 2, 28)


def test_unknown_versions_are_not_judged_and_older_ones_have_ended() -> None:
    assert engine_end_of_support("postgres", "99.1") is None
    assert engine_end_of_support("other-engine", "1.0") is None
    assert runtime_end_of_support("python9.9") is None
    assert engine_end_of_support("postgres", "8.4") == date.min
    found = check_template(DATABASE.replace("11.9", "8.4"), only="E9701")
    assert [match.message for match in found] == ["Database uses aurora-postgresql 8.4, out of support. Set a current version."]


def test_every_date_has_a_source() -> None:
    tables = [support_dates()["runtimes"], *support_dates()["engines"].values()]
    assert all(table["source"].startswith("https://docs.aws.amazon.com/") for table in tables)
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) for table in tables for day in table["end_of_support"].values())
