"""The commands of search: the same functions, exit codes and JSON as everywhere, and a quick --help."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.search_ingest import REPORT, write_bundle, write_images, write_reports

from dicom_workflow import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    code = cli.main(["search", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out.splitlines()[-1]) if captured.out else {}, captured.err


def test_index_maintain_and_evaluate_with_the_store_of_the_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = write_images(tmp_path / "images", 4)
    reports = write_reports(tmp_path / "reports.jsonl", [{"report_id": f"A{number}", "text": REPORT} for number in range(4)])
    model = write_bundle(tmp_path / "bundle")
    code, found, _ = run(capsys, "index", tmp_path / "images", "--reports", reports, "--model", model)
    assert (code, found["counts"]) == (0, {"image": {"indexed": 4}, "report": {"indexed": 4}})
    assert found["missing"] == {found["serving"]: 0}
    (tmp_path / "images" / "notes.txt").write_text("no image", encoding="utf-8")
    code, found, said = run(capsys, "index", tmp_path / "images")
    assert (code, found["counts"]) == (1, {"image": {"skipped": 1, "unchanged": 4}})
    assert "image notes.txt: skipped: not a DICOM file" in said
    rows = [json.loads(line) for line in Path(found["report"]).read_text(encoding="utf-8").splitlines()]
    assert rows[1]["outcome"] == "skipped"
    assert rows[-1] == {"counts": found["counts"]}
    assert Path(found["report"]).stat().st_mode & 0o077 == 0, "it names files of patients"
    code, found, said = run(capsys, "maintain")
    assert (code, found["images"], found["reports"], found["duplicate_images"]) == (0, 4, 4, 0)
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "sop_instance_uid,label\n" + "".join(f"{uid},{'ab'[n % 2]}\n" for n, uid in enumerate(uids)), encoding="utf-8"
    )
    code, found, said = run(capsys, "evaluate", "--truth", truth, "--resamples", 20)
    assert code == 0
    assert set(found["retrieval"]["figures"]) == {"index", "untrained network", "random"}
    assert "| index |" in said


def test_read_reports_writes_what_each_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reports = write_reports(tmp_path / "reports.jsonl", [{"report_id": "R1", "text": REPORT}])
    with reports.open("a", encoding="utf-8") as stream:
        stream.write("no JSON\n")
    code, found, said = run(capsys, "read-reports", reports)
    assert (code, found["reports"], len(found["refused"])) == (1, 1, 1)
    [line] = map(json.loads, Path(found["findings_path"]).read_text(encoding="utf-8").splitlines())
    assert line["labels"]["Pleural Effusion"] == "positive"
    for each in line["findings"]:
        assert line["text"][each["begin"] : each["end"]].lower() in each["sentence"].lower()
    assert "findings in 1 reports; 1 refused" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("index", "nowhere"), "No model is given"),
        (("index", "nowhere", "--model", "none"), "there is no such folder of DICOM files"),
        (("index", "--reports", "nowhere.jsonl"), "there are no reports"),
        (("maintain", "--store", "nowhere"), "There is no search store at nowhere. Make one"),
        (("evaluate", "--truth", "nowhere.csv"), "nowhere.csv"),
        (("index", "--store", "mongodb://host/x", "--reports", "x"), "expected a search store as a folder"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_next_step(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["search", *arguments]) == 1
    [line] = [each for each in capsys.readouterr().err.splitlines() if each.startswith("dicom-workflow search:")]
    assert said in line


@pytest.mark.parametrize("what", [(), ("index",), ("maintain",), ("evaluate",), ("read-reports",)])
def test_help_loads_no_engine(what: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    heavy = {"torch", "lancedb", "pyarrow", "psycopg", "strawberry", "tantivy", "pydicom", "boto3"}
    before = heavy & set(sys.modules)
    with pytest.raises(SystemExit) as ended:
        cli.main(["search", *what, "--help"])
    assert ended.value.code == 0
    assert heavy & set(sys.modules) == before
    assert capsys.readouterr().out.startswith("usage: dicom-workflow search")
