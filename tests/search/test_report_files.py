"""`search read-reports`: a file with a JSON object a line in, what each report states out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_workflow.errors import ReportError
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.processes import wait_until
from dicom_workflow.search.radiology_reports import LocalNLP, read_reports

GOOD = {"report_id": "R1", "text": "IMPRESSION: Left effusion. No pneumothorax."}


def lines_of(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(folder: Path, *lines: object) -> Path:
    path = folder / "reports.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines))
    return path


def test_a_report_becomes_findings_with_sentence_offsets_and_the_fourteen_labels(tmp_path: Path) -> None:
    done = read_reports(written(tmp_path, GOOD), tmp_path / "out.jsonl", progress=False)
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert (done.read, done.findings, done.problems) == (1, 2, ())
    first = line["findings"][0]
    assert (first["concept"], first["state"]) == ("pleural effusion", "positive")
    assert (first["code"], first["laterality"]) == ("J90", "left")
    assert line["text"][first["begin"] : first["end"]] == first["text"] == "effusion"
    assert line["text"][first["sentence_begin"] : first["sentence_end"]] == first["sentence"] == "Left effusion."
    assert tuple(line["labels"]) == load_label_set("chest").labels
    assert {label: state for label, state in line["labels"].items() if state} == {
        "Pleural Effusion": "positive",
        "Pneumothorax": "negative",
        "No Finding": "negative",
    }


def test_sections_and_other_id_keys_are_accepted(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": 7, "findings": "Clear lungs.", "impression": "Normal.", "history": "Cough.", "mesh": []},
        {"accession_number": "A1", "report": "No effusion."},
    )
    assert read_reports(path, tmp_path / "out.jsonl", progress=False).read == 2
    first, second = lines_of(tmp_path / "out.jsonl")
    assert (first["report_id"], second["report_id"]) == ("7", "A1")
    assert [(found["concept"], found["section"]) for found in first["findings"]][:2] == [
        ("cough", "indication"),
        ("lung opacity", "findings"),
    ]


def test_bad_lines_are_told_with_their_place_and_the_rest_goes_through(tmp_path: Path) -> None:
    secret = "Smith has an effusion"
    path = written(
        tmp_path,
        GOOD,
        b'{"report_id": "R2", "text": "Smith has an effusion"',
        ["no", secret],
        {"text": secret},
        {"report_id": "R5"},
        {"report_id": "R6", "text": 7},
        {"report_id": "R7", "text": "  "},
        {"report_id": "R8", "text": "a" * 5_000_000},
        b'{"report_id": "R9", "text": "Gr\xf6\xdfe"}',
        b"",
        {"report_id": "R1", "text": secret},
        {"report_id": "R12", "text": "Cardiomegaly."},
    )
    told: list[str] = []
    done = read_reports(path, tmp_path / "out.jsonl", progress=False, tell=told.append)
    assert [line["report_id"] for line in lines_of(tmp_path / "out.jsonl")] == ["R1", "R12"]
    assert told == list(done.problems)
    places = [problem.split(":")[0] for problem in told]
    assert places == [f"line {number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 11)]
    for problem, expected in zip(
        told,
        (
            "expected a JSON object", "expected a JSON object, got list", "expected the report's id", "got none", "got int",
            "the text is empty", "at most 1,000,000 characters", "byte 32 is not UTF-8", "stands in an earlier line",
        ),
        strict=True,
    ):  # fmt: skip
        assert expected in problem
    assert "Smith" not in "".join(told)


def test_several_processes_give_the_same_file(tmp_path: Path) -> None:
    reports = [{"report_id": f"R{n}", "text": f"Nodule of {n} mm. No effusion."} for n in range(40)]
    path = written(tmp_path, *reports[:20], b"broken", *reports[20:])
    one = read_reports(path, tmp_path / "one.jsonl", processes=1, progress=False)
    three = read_reports(path, tmp_path / "three.jsonl", processes=3, progress=False)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "three.jsonl").read_bytes()
    assert one == three
    assert one.problems == ("line 21: expected a JSON object, got something else. Write one object a line.",)


def test_without_a_target_lines_go_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_reports(written(tmp_path, GOOD), progress=False)
    assert json.loads(capsys.readouterr().out)["report_id"] == "R1"


def test_a_missing_file_and_a_target_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="expected a file with a JSON object a line"):
        read_reports(tmp_path / "none.jsonl", progress=False)
    with pytest.raises(ReportError, match="cannot be written"):
        read_reports(written(tmp_path, GOOD), tmp_path / "none" / "out.jsonl", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["reports.jsonl"]


def many(folder: Path, number: int) -> Path:
    words = ("No effusion.", "Stable cardiomegaly.", "Small left pneumothorax, which may be larger.")
    return written(folder, *({"report_id": f"R{n}", "text": f"Nodule of {n} mm. " + words[n % 3] * 3} for n in range(number)))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_ends_early_goes_on_where_it_was_and_gives_the_same_file(tmp_path: Path, how: signal.Signals) -> None:
    path, target = many(tmp_path, 3000), tmp_path / "out.jsonl"
    part, earlier = Path(f"{target}.part"), Path(f"{target}.earlier")
    command = [sys.executable, "-m", "dicom_workflow.cli", "search", "read-reports", str(path), "--output", str(target)]
    for run in range(2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_until(
            lambda: part.is_file() and part.stat().st_size > 20_000 and earlier.is_file() == bool(run),  # noqa: B023
            process,
            name="read-reports",
            log_path=path,
        )
        process.send_signal(how)
        output = process.communicate(timeout=60)[0].decode()
        assert not target.exists()
        if how == signal.SIGTERM:
            assert "it goes on where it was" in output
    whole = read_reports(path, target, progress=False)
    assert (whole.read, whole.problems) == (3000, ())
    assert whole.kept >= 8
    read_reports(path, tmp_path / "at once.jsonl", progress=False)
    assert target.read_bytes() == (tmp_path / "at once.jsonl").read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["at once.jsonl", "out.jsonl", "reports.jsonl"]


def test_a_last_line_that_was_cut_short_is_read_again(tmp_path: Path) -> None:
    path, target = many(tmp_path, 10), tmp_path / "out.jsonl"
    read_reports(path, target, progress=False)
    whole = target.read_bytes()
    target.with_name("out.jsonl.part").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]) + whole[:25])
    target.unlink()
    assert read_reports(path, target, progress=False).kept == 4
    assert target.read_bytes() == whole


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, target = many(tmp_path, 10), tmp_path / "out.jsonl"
    first = read_reports(path, target, progress=False)
    assert read_reports(path, target, progress=False) == replace(first, kept=10)
    lines = path.read_bytes().splitlines()
    lines[7] = json.dumps({"report_id": "R7", "text": "Left effusion."}).encode()
    written(tmp_path, *lines, {"report_id": "R10", "text": "Clear lungs."})
    done = read_reports(path, target, processes=1, progress=False)
    assert (done.read, done.kept) == (11, 9)
    assert [line["report_id"] for line in lines_of(target)] == [f"R{n}" for n in range(11)]
    assert lines_of(target)[7]["text"] == "Left effusion."
    monkeypatch.setattr(LocalNLP, "model_version", "another")
    assert read_reports(path, target, progress=False).kept == 0
    assert {line["language_model"] for line in lines_of(target)} == {"another"}


def test_the_reports_themselves_are_no_target(tmp_path: Path) -> None:
    path = many(tmp_path, 2)
    before = path.read_bytes()
    with pytest.raises(ReportError, match="expected another file"):
        read_reports(path, path, progress=False)
    assert path.read_bytes() == before
