"""Patients' names, ids and the text of reports: neither in what the commands print, nor in what they write beside the store."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from support.search_ingest import IndexFolder, write_image, write_images, write_reports

from dicom_workflow import cli

NAME, PATIENT, TEXT = "Zzname^Planted", "ZZPATIENTPLANTED", "Zztextplanted"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[IndexFolder, Path]:
    """Return a store to be filled, and a folder of images and reports with the planted words, some of them broken."""
    for name, value in (("DICOM_WORKFLOW_WORKSPACE", "workspace"), ("TMPDIR", "temporary")):
        (tmp_path / value).mkdir()
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setattr(tempfile, "tempdir", None)
    given = tmp_path / "given"
    write_images(given / "images", 3)
    write_image(given / "images" / "planted.dcm", 20, patient=PATIENT, accession="R1", PatientName=NAME)
    write_image(given / "images" / "cut.dcm", 21, patient=PATIENT, accession="R2", PatientName=NAME)
    cut = given / "images" / "cut.dcm"
    cut.write_bytes(cut.read_bytes()[:-50])
    report = {"report_id": "R1", "text": f"{TEXT} small left effusion.", "patient_id": PATIENT, "patient_name": NAME}
    path = write_reports(
        given / "reports.jsonl", [report, {**report, "text": f"{TEXT} again"}, {**report, "report_id": [TEXT]}]
    )
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps([TEXT]) + f'\n{{"report_id": "R9", "text": "{TEXT}\n{TEXT}\n')
    return IndexFolder(tmp_path), given


def test_what_the_commands_print_and_write_names_no_patient(
    tmp_path: Path, planted: tuple[IndexFolder, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    target, given = planted
    images, reports, store = str(given / "images"), str(given / "reports.jsonl"), ["--store", target.url]
    findings = tmp_path / "findings.jsonl"
    runs = {
        ("index", images, "--reports", reports, "--model", target.model, *store): 1,
        ("read-reports", reports, "--output", str(findings)): 1,
        ("audit", *store): 0,
        ("label", TEXT, "--manifest-only", "--suggest", "none", *store): 1,
        ("label", "effusion", "--manifest-only", *store): 0,
        ("maintain", *store): 0,
        ("evaluate", "--truth", reports, *store): 1,
    }
    for run, expected in runs.items():
        code = cli.main(["search", run[0], "--json", *run[1:]])
        printed = "".join(capfd.readouterr())
        assert code == expected or run[:2] == ("label", TEXT), printed
        assert "Traceback" not in printed
        words = [NAME, PATIENT] if TEXT in run else [NAME, PATIENT, TEXT]
        assert not [word for word in words if word.lower() in printed.lower()], (run[0], printed)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(given)]
    assert len(written) > 10
    holds_text = [path for path in written if TEXT.encode().lower() in path.read_bytes().lower()]
    assert findings in holds_text
    assert all(path == findings or path.is_relative_to(target.url) for path in holds_text), (
        "only what is asked for, and the store"
    )
    for path in written:
        assert not [word for word in (NAME, PATIENT) if word.encode().lower() in path.read_bytes().lower()], path
        assert not [word for word in (NAME, PATIENT, TEXT) if word.lower() in str(path).lower()]
        assert path.is_relative_to(target.url) or path.is_relative_to(target.model) or not path.stat().st_mode & 0o077, path
    assert list((tmp_path / "temporary").iterdir()) == [], "temporary files are gone"
