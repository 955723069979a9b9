"""Case 17: a reverse proxy takes no large request; that is the outcome of the large files, and the small ones are stored."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from support.archive import dicom, open_dicomweb, open_orthanc, proxy, write_files

from dicom_workflow.archive.orthanc_process import OrthancServer, find_dicomweb_plugin, find_orthanc
from dicom_workflow.archive.upload import upload
from dicom_workflow.archive.upload_report import Outcome

pytestmark = [
    pytest.mark.orthanc,
    pytest.mark.skipif(not find_orthanc(), reason="there is no Orthanc here"),
]


@pytest.mark.parametrize(("kind", "answers"), [("orthanc", True), ("dicomweb", True), ("orthanc", False)])
def test_large_files_are_refused_by_name_and_small_ones_are_stored(kind: str, answers: bool, tmp_path: Path) -> None:
    """Some proxies answer 413, others just close the connection."""
    if kind == "dicomweb" and not find_dicomweb_plugin():
        pytest.skip("Orthanc has no DICOMweb plugin here")
    small = write_files(tmp_path / "data", 10)
    for number in range(6):
        (tmp_path / "data" / f"000-{number}-large.dcm").write_bytes(dicom(100 + number, size_px=900))
    with OrthancServer(tmp_path / "orthanc") as server, proxy(server.url, max_body_bytes=100_000, answers=answers) as between:
        url = f"{between.url}/dicom-web" if kind == "dicomweb" else between.url
        with contextlib.closing((open_dicomweb if kind == "dicomweb" else open_orthanc)(server, url)) as archive:
            report = upload(tmp_path / "data", archive, progress=False)
    assert report.counts == {"stored": len(small), "refused": 6}
    reasons = {item.reason for item in report.outcomes if item.outcome is Outcome.REFUSED}
    assert len(reasons) == 1
    assert ("HTTP 413" if answers else "Does a proxy limit the size of a request?") in reasons.pop()
    assert len(between.too_large) <= 12 * 6, "a file that is too large is not sent until a timeout ends it"
