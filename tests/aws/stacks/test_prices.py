"""The price table: complete, traceable, and added up through its tiers."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_workflow.aws.stacks import prices
from dicom_workflow.aws.stacks.prices import Line, Price, PriceError

ROOT = Path(__file__).resolve().parents[3]
TABLE = prices.load()
RAW = json.loads((ROOT / "dicom_workflow/aws/stacks/prices.json").read_text(encoding="utf-8"))
ENTRY = {
    "service": "S3",
    "unit": "GB-month",
    "region": "us-east-1",
    "usd": 0.5,
    "source": "https://aws.amazon.com/s3/pricing/",
    "read": "2026-11-21",
    "status": "secondary",
    "read_in": "https://example.org",
}


@pytest.mark.parametrize("name", TABLE)
def test_each_price_says_where_and_when_it_was_read(name: str) -> None:
    price = TABLE[name]
    assert price.name == name and price.unit and price.service
    assert price.source.startswith(("https://aws.amazon.com/", "https://docs.aws.amazon.com/"))
    assert date(2026, 1, 1) <= price.read <= date.today()
    if price.status == "unconfirmed":
        assert price.note or price.read_in or name.startswith("spot"), "a price that nobody confirmed says so in words"
    else:
        assert price.read_in.startswith(("https://", "a public", "public")), price.read_in


def test_the_table_has_every_service_that_the_stacks_use() -> None:
    services = {price.service for price in TABLE.values()}
    assert services >= {
        *("S3", "KMS", "Fargate", "Aurora Serverless v2", "ALB", "VPC", "EFS", "HealthImaging", "Lambda", "Ground Truth"),
        *("SageMaker training", "SageMaker hosting", "SageMaker notebooks", "OpenSearch", "CloudWatch Logs"),
        *("Secrets Manager", "data transfer", "ECR"),
    }


def test_known_prices_have_known_values() -> None:
    assert [TABLE[name].usd for name in ("s3_standard", "alb", "secret", "kms_key", "healthimaging_archive")] == [
        *(0.023, 0.0225, 0.4, 1.0, 0.006)
    ]
    assert TABLE["groundtruth_own_workforce"].cost(1e9) == 0.0


def test_tiers_are_paid_one_after_the_other() -> None:
    assert TABLE.cost("s3_standard", 600_000) == pytest.approx(51_200 * 0.023 + 460_800 * 0.022 + 88_000 * 0.021)
    assert TABLE.cost("groundtruth_object", 377_110) == pytest.approx(50_000 * 0.08 + 327_110 * 0.04)


@given(st.sampled_from(sorted(TABLE)), st.floats(0, 1e12), st.floats(0, 1e12))
def test_more_never_costs_less_and_never_more_than_the_first_price(name: str, one: float, other: float) -> None:
    price = TABLE[name]
    less, more = sorted((one, other))
    assert price.cost(less) <= price.cost(more) * (1 + 1e-12)
    assert price.cost(more) <= more * max(tier.usd for tier in price.tiers) * (1 + 1e-12)
    assert price.cost(more) >= more * min(tier.usd for tier in price.tiers) * (1 - 1e-12)


@pytest.mark.parametrize("quantity", [-1.0, math.nan, math.inf])
def test_a_quantity_that_is_none_is_refused(quantity: float) -> None:
    with pytest.raises(PriceError, match="kms_key: expected a finite quantity of at least 0 key-month"):
        TABLE.cost("kms_key", quantity)


def test_a_missing_price_fails_by_name() -> None:
    with pytest.raises(PriceError, match=r"There is no price 's3_gold' in us-east-1\. Known prices: s3_standard, "):
        TABLE["s3_gold"]
    assert "s3_gold" not in TABLE and "s3_standard" in TABLE


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TABLE.region = "eu-central-1"  # type: ignore[misc]
    with pytest.raises(TypeError):
        TABLE.table["alb"] = TABLE["secret"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        TABLE["alb"].status = "vendor"  # type: ignore[misc]


def test_another_table_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "frankfurt.json"
    entries = {"s3_standard": {**ENTRY, "usd": 0.0245, "region": "eu-central-1"}}
    path.write_text(json.dumps({"region": "eu-central-1", "hours_per_month": 730, "prices": entries}))
    table = prices.load(path)
    assert (table.region, table.cost("s3_standard", 100)) == ("eu-central-1", pytest.approx(2.45))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "rumor"}, "expected a status of vendor, secondary, unconfirmed, got 'rumor'"),
        ({"read": "yesterday"}, "expected service, unit, region, usd or tiers, source, read and status; ValueError"),
        ({"source": None, "unit": ...}, "KeyError: 'unit'"),
        ({"usd": -1}, "expected non-negative prices in increasing tiers"),
        ({"usd": "nan"}, "expected non-negative prices in increasing tiers"),
        ({"tiers": [{"up_to": 10, "usd": 1}]}, "increasing tiers, the last without an end"),
        ({"tiers": [{"up_to": 10, "usd": 1}, {"up_to": 5, "usd": 1}, {"up_to": None, "usd": 1}]}, "in increasing tiers"),
        ({"tiers": []}, "increasing tiers"),
        ({"read_in": ""}, "a secondary price needs read_in, the place where it was read"),
    ],
)
def test_an_entry_that_is_not_complete_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not ...}
    with pytest.raises(PriceError, match=f"prices, 'mine': .*{re.escape(message)}"):
        Price.parse("mine", entry)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"region": "x", "hours_per_month": "many", "prices": {}}'])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(PriceError, match="expected JSON with region, hours_per_month and prices"):
        prices.load(path)
    with pytest.raises(PriceError, match=r"missing\.json"):
        prices.load(tmp_path / "missing.json")


def test_a_line_of_a_note_multiplies() -> None:
    line = Line.of(TABLE, "network", "one NAT gateway", "nat_gateway", TABLE.hours_per_month)
    assert line.usd == pytest.approx(730 * 0.045) and line.unit == "hour" and line.status == "secondary"
    assert prices.total([line, line]) == pytest.approx(2 * line.usd)
    assert json.loads(json.dumps(line.to_json()))["usd"] == pytest.approx(32.85)


def test_every_price_that_the_code_names_exists() -> None:
    named = set()
    for path in [*(ROOT / "dicom_workflow/aws/stacks").glob("*.py"), *(ROOT / "benchmarks/capacity").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r'\bp(?:rices)?(?:\.cost\(|\[)"([a-z0-9_]+)"', text))
    assert len(named) > 15
    assert named <= set(TABLE), named - set(TABLE)


def test_the_file_has_no_entry_twice() -> None:
    names = re.findall(r'^  "([^"]+)": \{', (ROOT / "dicom_workflow/aws/stacks/prices.json").read_text(encoding="utf-8"), re.M)
    assert sorted(set(names) & set(RAW["prices"])) == sorted(name for name in names if name in RAW["prices"])
    assert set(RAW["statuses"]) == set(prices.STATUSES)
