"""Bad images and reports: each is counted with what was expected and what to do, and the rest goes through."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from support.archive import multi_frame
from support.search_ingest import REPORT, IndexFolder, reasons, write_image, write_images, write_reports

from dicom_workflow.errors import ReportError, SearchError
from dicom_workflow.search.ingest.report_files import MAX_REPORT_BYTES, read_reports
from dicom_workflow.storage import Storage


@pytest.fixture
def target(tmp_path: Path) -> IndexFolder:
    return IndexFolder(tmp_path)


def test_bad_images_are_counted_with_their_reason_and_the_good_ones_go_through(tmp_path: Path, target: IndexFolder) -> None:
    folder = tmp_path / "images"
    write_images(folder, 2)
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "frames.dcm").write_bytes(multi_frame(3, number=7)[0])
    whole = folder / "cut.dcm"
    write_image(whole, 8)
    whole.write_bytes(whole.read_bytes()[:-100])
    write_image(folder / "black.dcm", 9, PhotometricInterpretation="PALETTE COLOR")
    write_image(folder / "no uid.dcm", 10, StudyInstanceUID="")
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    found = target.index(folder)
    assert found.report.to_json()["image"] == {"indexed": 2, "skipped": 7}
    why = reasons(found)
    assert set(why) == {"notes.txt", "empty.dcm", "frames.dcm", "cut.dcm", "black.dcm", "no uid.dcm", "gone.dcm"}
    assert "not a DICOM file" in why["notes.txt"]
    assert "expected one frame, got 3" in why["frames.dcm"]
    assert "Study Instance UID (0020,000D) is missing" in why["no uid.dcm"]
    assert "Fetch the file again" in why["cut.dcm"]
    assert not any(str(tmp_path) in reason for reason in why.values())
    assert not found.report.ok


def test_unusual_images_go_through_and_what_is_no_gray_image_is_named(tmp_path: Path, target: IndexFolder) -> None:
    folder = tmp_path / "images"
    write_images(folder, 1)
    write_image(folder / "no patient.dcm", 20, patient="")
    write_image(folder / "no view.dcm", 21, ViewPosition="")
    write_image(folder / "inverted.dcm", 22, PhotometricInterpretation="MONOCHROME1")
    utf8 = write_image(folder / "utf8.dcm", 23, patient="Müller", SpecificCharacterSet="ISO_IR 192")
    latin = write_image(folder / "latin.dcm", 24, patient="Müller", SpecificCharacterSet="ISO_IR 100")
    color = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "PixelData": bytes(24 * 24 * 3),
    }
    shutil.copy(folder / "000.dcm", folder / "sent again.dcm")
    for name, number, elements in (("color.dcm", 25, color), ("sr.dcm", 26, {"Modality": "SR"})):
        write_image(folder / name, number)
        changed = pydicom.dcmread(folder / name)
        for element, value in elements.items():
            setattr(changed, element, value)
        if name == "sr.dcm":
            del changed.PixelData
        changed.save_as(folder / name)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    found = target.index(folder)
    assert found.report.to_json()["image"] == {"indexed": 6, "skipped": 3, "unchanged": 1}
    why = reasons(found)
    assert why["color.dcm"] == "expected a gray image, got 3 samples a pixel. Export it as MONOCHROME2, or leave it out."
    assert why["sr.dcm"].endswith("got an object of modality SR. Export its text, and give it as a report (--reports).")
    assert why["picture.png"].endswith("got a PNG image. Correct the file, or leave it out.")
    images = target.images()
    assert images[utf8].patient_key == images[latin].patient_key != ""
    assert sum(not image.patient_key for image in images.values()) == 1


def test_bad_reports_are_counted_with_their_line_and_the_good_ones_go_through(tmp_path: Path, target: IndexFolder) -> None:
    write_images(tmp_path / "images", 1)
    lines = [
        b'{"report_id": "A0", "text": "Large left pleural effusion."}',
        b"",
        b"not JSON",
        b"[1, 2]",
        b'{"text": "no id"}',
        b'{"report_id": "empty", "text": "   "}',
        b'{"report_id": "latin", "text": "caf\xe9"}',
        b'{"report_id": "A0", "text": "another text under the same id"}',
        b'{"report_id": "big", "text": "' + b"x" * 5_000_000 + b'"}',
        b'{"report_id": "plain", "text": "No sections here. No pneumothorax."}',
        b'{"report_id": "' + b"n" * 300 + b'", "text": "an id like a novel"}',
    ]
    (tmp_path / "reports.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    found = target.index(tmp_path / "images", reports=[str(tmp_path / "reports.jsonl")])
    assert found.report.to_json()["report"] == {"indexed": 2, "noted": 1, "skipped": 8}
    why = reasons(found, "report")
    assert "expected a JSON object" in why["reports.jsonl, line 3"]
    assert "expected a JSON object" in why["reports.jsonl, line 4"]
    assert "id" in why["reports.jsonl, line 5"]
    assert "it is empty" in why["reports.jsonl, line 6"]
    assert "expected UTF-8 text, got byte 0xe9" in why["reports.jsonl, line 7"]
    assert "an earlier line has this report id" in why["reports.jsonl, line 8 (A0)"]
    assert f"at most {MAX_REPORT_BYTES:,} bytes, got 5,000,0" in why["reports.jsonl, line 9"]
    assert why["plain"] == "no image of the index belongs to it."
    assert not any("novel" in reason or "no id" in reason for reason in why.values()), "messages hold no text of a report"
    assert set(target.reports()) == {"A0", "plain"}


def test_reports_as_text_files_and_as_tables(tmp_path: Path, target: IndexFolder) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "T1.txt").write_text(REPORT, encoding="utf-8-sig")
    (folder / "T2.txt").write_bytes(REPORT.encode("utf-16"))
    (folder / "T3.txt").write_bytes(b"x" * 5_000_000)
    (folder / "table.csv").write_text(
        'report_id,findings,impression,study_date\nC1,"Lungs clear, no effusion.",Normal.,2024-03-01\nC2,,,\n', encoding="utf-8"
    )
    (folder / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (folder / "readme.md").write_text("not a report", encoding="utf-8")
    found = target.index(reports=[str(folder)])
    assert set(target.reports()) == {"T1", "C1"}
    report = target.reports()["C1"]
    assert report.sections == {"findings": "Lungs clear, no effusion.", "impression": "Normal."}
    assert report.study_date == "20240301"
    why = reasons(found)
    assert set(why) == {"T1", "C1", "T2.txt", "T3.txt", "table.csv, line 3", "other.csv"}
    assert "UTF-8" in why["T2.txt"]
    assert "at most 1,000,000 bytes" in why["T3.txt"]
    assert "a column 'text' or of a section" in why["other.csv"]


def test_no_reports_and_no_images_are_messages(tmp_path: Path, target: IndexFolder) -> None:
    with pytest.raises(ReportError, match=r"there are no reports\. Expected \*\.jsonl"):
        list(read_reports(str(tmp_path / "nowhere"), Storage(), lambda *_: None))
    with pytest.raises(SearchError, match=r"there is no such folder of DICOM files\. Check the path"):
        target.index(tmp_path / "nowhere")
    with pytest.raises(SearchError, match="expected images as a folder, s3://"):
        target.index("ftp://host/images")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("one,two\n1,2\n", encoding="utf-8")
    with pytest.raises(SearchError, match="expected the columns sop_instance_uid and report_id, got 2 columns"):
        target.index(pairs=str(pairs))


def test_a_black_image_has_no_direction_and_is_said(
    tmp_path: Path, target: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 2)
    real = "dicom_workflow.search.embeddings.Embedder.of_images"
    from dicom_workflow.search.embeddings import Embedder

    before = Embedder.of_images

    def first_is_zero(self: Embedder, images):  # type: ignore[no-untyped-def]
        found = before(self, images)
        found[0] = 0
        return found

    monkeypatch.setattr(real, first_is_zero)
    found = target.index(tmp_path / "images")
    assert found.report.to_json()["image"] == {"indexed": 1, "skipped": 1}
    assert "its embedding is zero" in reasons(found)["000.dcm"]


def test_a_salt_that_was_cut_short_is_refused(tmp_path: Path, target: IndexFolder) -> None:
    target.index(reports=[str(write_reports(tmp_path / "r.jsonl", [{"report_id": "A", "text": REPORT}]))])
    Path(f"{target.url}.patient_key.salt").write_text("abc\n", encoding="ascii")
    with pytest.raises(SearchError, match=r"expected a salt of 64 hexadecimal digits, got 4 bytes\. Copy it from a backup"):
        target.index(reports=[str(tmp_path / "r.jsonl")])


FULL_DISK = """
import resource, signal, sys
from dicom_workflow import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(cli.main(["search", "index", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("what", ["model", "decoded images", "store"])
def test_a_full_disk_is_a_message_and_the_next_run_goes_on(what: str, tmp_path: Path, target: IndexFolder) -> None:
    """A limit on the size of files stands for the end of the disk: writing beyond it fails in the same call."""
    write_images(tmp_path / "images", 40)
    noise = random.Random(1)  # so that it cannot be compressed away
    lines = [{"report_id": f"R{number}", "text": f"No pneumothorax. {noise.randbytes(1000).hex()}"} for number in range(190)]
    reports = write_reports(tmp_path / "reports.jsonl", lines)
    if what == "decoded images":
        target.index(write_images(tmp_path / "first", 1, first=90) and tmp_path / "first")  # keeps the model
    given = ["--reports", str(reports)] if what == "store" else [str(tmp_path / "images"), "--model", target.model]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *given, "--store", target.url],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.strip().splitlines()[-1].startswith("dicom-workflow search: "), ran.stderr
    assert "Traceback" not in ran.stderr
    assert target.index(tmp_path / "images", reports=[str(reports)]).report.ok
    assert len(target.images()) == 40 + (what == "decoded images")
    assert len(target.reports()) == 190
