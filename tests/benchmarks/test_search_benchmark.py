"""The benchmark of search on a small store: every figure is there, and recall is what a plain scan says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import search
import search_data


def test_the_last_line_has_every_figure(capfd: pytest.CaptureFixture[str]) -> None:
    code = search.main(["--rows", "1000", "--queries", "5"])
    lines = capfd.readouterr().out.splitlines()
    figures = json.loads(lines[-1])
    assert code in (0, 1) and ("All targets are met." in lines) == (code == 0)
    assert set(figures["recall_at_10"]) == set(figures["sampled_recall"]) - {"none", "one cluster"} | {"plain", "corr"}
    assert min(figures["recall_at_10"].values()) == 1, "so few images are compared one by one"
    assert set(figures["p95_ms"]) == {"image", "text", "facets", "all"}
    assert {"cpu_ms", "ratio_exact", "ratio_reference", "build_s", "disk_ratio", "peak_mb", "load"} <= set(figures)
    assert 1 < figures["disk_ratio"] < 3


def test_what_is_made_is_the_same_each_time_and_of_unit_length() -> None:
    vectors, cluster = search_data.vectors(3000)
    again, _ = search_data.vectors(3000)
    assert np.array_equal(vectors, again)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    names = search_data.tags(3000, cluster)
    assert 0.25 < np.mean(["30 %" in tag for tag in names]) < 0.35
    assert [("corr" in tag) for tag in names] == list(np.isin(cluster, search_data.CORRELATED))
    assert search_data.queries(8).shape == (8, search_data.DIMENSIONS)
    report = search_data.reports(3000)[7]
    assert all(report.text[found.begin : found.end] == found.concept for found in report.findings)


def test_missed_targets_are_named() -> None:
    figures = {
        "rows": 100_000, "recall_at_10": {"plain": 0.995, "corr": 0.6},
        "p95_ms": {"image": 25, "text": 5, "facets": 9, "all": 50},
        "ratio_exact": 4.0, "disk_ratio": 1.4, "peak_mb": 900,
    }  # fmt: skip
    assert search.missed(figures) == ["recall corr 0.6", "p95 image 25 ms"]
    assert search.missed({**figures, "rows": 1_000_000}) == ["recall corr 0.6", "ratio_exact 4.0"]
    assert search.share_found([[1, 2], [3]], [[1, 9], [3]]) == pytest.approx(2 / 3)
