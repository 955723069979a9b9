"""The same ingest into every kind of store: nothing twice, reports linked, a new space beside the old one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from support.search_ingest import REPORT, IndexFolder, write_bundle, write_images, write_reports
from support.search_stores import StoreKind


def test_an_ingest_and_its_repetition(tmp_path: Path, store_kind: StoreKind, store_url: str) -> None:
    target = IndexFolder(tmp_path, store_url, s3_url=os.environ.get("S3_URL", ""))
    uids = write_images(tmp_path / "images", 3)
    reports = write_reports(tmp_path / "reports.jsonl", [{"report_id": f"A{number}", "text": REPORT} for number in range(2)])
    first = target.index(tmp_path / "images", reports=[str(reports)])
    assert first.report.to_json() == {"image": {"indexed": 3}, "report": {"indexed": 2}}
    again = target.index(tmp_path / "images", reports=[str(reports)])
    assert again.report.to_json() == {"image": {"unchanged": 3}, "report": {"unchanged": 2}}
    images = target.images()
    assert [images[uid].labels_positive for uid in uids] == [("Pleural Effusion",)] * 2 + [()]
    assert target.reports()["A1"].patient_key == images[uids[1]].patient_key
    late = write_reports(tmp_path / "late.jsonl", [{"report_id": "A2", "text": REPORT}])
    assert target.index(reports=[str(late)]).report.to_json() == {"image": {"linked": 1}, "report": {"indexed": 1}}
    found = target.index(tmp_path / "images", model=str(write_bundle(tmp_path / "new", input_mean=0.4)))
    assert found.spaces == {found.serving: 0}
    assert found.serving != first.serving
    with target.store() as store:
        both = [store.vectors(uids, each) for each in (first.serving, found.serving)]
        assert len(store.spaces()) == 2
    for vectors in both:
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=store_kind.vector_tolerance)
