"""An ingest that is killed goes on where it was: every image and report is found once, with its embedding."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from support.search_ingest import REPORT, IndexFolder, write_images, write_reports

KILLS = 3
INDEX = """
import sys
from dicom_workflow.search.ingest import images
images.BATCH, images.CHUNK = 3, 12
from dicom_workflow import cli
sys.exit(cli.main(["search", "index", *sys.argv[1:]]))
"""


def test_after_kills_every_image_and_report_is_found_once(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    uids = write_images(tmp_path / "images", 36)
    lines = [{"report_id": f"A{number}", "text": REPORT} for number in range(36)]
    reports = write_reports(tmp_path / "reports.jsonl", lines)
    command = [
        *(sys.executable, "-c", INDEX, str(tmp_path / "images"), "--reports", str(reports)),
        *("--store", target.url, "--model", target.model, "--workers", "1"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace"),
    }
    moments = random.Random(5)
    reached = 0
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
            wanted = reached + moments.randint(1, 8)
            while process.poll() is None and reached < wanted:
                time.sleep(0.05)
                reached = _images_in(target)
            process.kill()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert reached > 0, "at least one image was in the store when the process was killed"
    with target.store() as store:
        images, found = list(store.scan_images()), list(store.scan_reports())
        assert np.isfinite(store.vectors(uids)).all()
    assert Counter(each.image_id for each in images) == Counter(uids)
    assert Counter(each.report_id for each in found) == Counter(line["report_id"] for line in lines)
    assert all(each.labels_positive == ("Pleural Effusion",) for each in images)


def _images_in(target: IndexFolder) -> int:
    from dicom_workflow.errors import SearchError

    try:
        return len(target.images())
    except SearchError:
        return 0  # not there yet
