"""Report files as other systems export them: delimiters, encodings, broken rows, dates, ids; no message shows their text."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support.search_ingest import IndexFolder, reasons

SECRET = "ZEBRA"


@pytest.fixture
def target(tmp_path: Path) -> IndexFolder:
    return IndexFolder(tmp_path)


def indexed(target: IndexFolder, path: Path, content: str | bytes) -> dict[str, str]:
    """Return the reasons of one file of reports, without those that say that no image belongs to a report."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = reasons(target.index(reports=[str(path)]), "report")
    assert SECRET not in "".join(found.values())
    return {name: reason for name, reason in found.items() if not reason.startswith("no image")}


def test_tables_with_semicolons_a_byte_order_mark_windows_lines_and_other_capitals(tmp_path: Path, target: IndexFolder) -> None:
    table = '\ufeffReport ID;Text\r\nS1;No effusion\r\nS2;"a; b\r\nsecond line"\r\nS3;too;many ZEBRA\r\n'
    why = indexed(target, tmp_path / "a.csv", table)
    assert list(why) == ["a.csv, line 5"]
    assert "expected 2 columns, got more. Put fields that hold the delimiter into quotes." in why["a.csv, line 5"]
    assert indexed(target, tmp_path / "b.csv", "id\treport\nT1\tCardiomegaly.\n") == {}
    assert {name: report.text for name, report in target.reports().items()} == {
        "S1": "No effusion",
        "S2": "a; b\r\nsecond line",
        "T1": "Cardiomegaly.",
    }


def test_a_broken_row_is_said_and_the_others_go_through(tmp_path: Path, target: IndexFolder) -> None:
    latin = "report_id,text\nL1,No effusion\nL2,Größe ZEBRA\nL3,Cardiomegaly\n".encode("latin-1")
    assert list(indexed(target, tmp_path / "latin.csv", latin).values()) == [
        "column text: expected UTF-8 text. Save the table as UTF-8."
    ]
    huge = f"report_id,text\nH1,{'x' * 3_000_000}\nH2,Clear.\n"
    assert "at most 1,000,000 bytes" in indexed(target, tmp_path / "huge.csv", huge)["huge.csv, line 2"]
    why = indexed(target, tmp_path / "quote.csv", 'report_id,text\nQ0,Clear.\nQ1,"never closed ZEBRA\nQ2,Clear.\n')
    assert "not a row of a CSV table" in next(iter(why.values()))
    assert set(target.reports()) == {"L1", "L3", "H2", "Q0"}, "a quote that is not closed must not put two reports into one"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "ZEBRA,effusion\nb,c\n", "expected a first line with a column 'text'"),
        ("b.csv", "report_id,text\nL1,ZEBRA\n".encode("utf-16"), "as UTF-8 text"),
        ("c.csv", "", "got 0 columns"),
        ("d.jsonl", "", "got an empty file"),
        ("e.txt", "", "with words in them"),
        ("f.json", '[{"report_id": "J1",\n"text": "ZEBRA"}]', "got a JSON array"),
        ("g.jsonl", '{"report_id": "J1", "text": "ZEBRA', "expected a JSON object, got something else"),
        ("h.jsonl", '"ZEBRA"', "expected a JSON object, got str"),
        ("i.jsonl", '{"report_id": ["ZEBRA"], "text": "a"}', "got list"),
        ("j.jsonl", '{"report_id": "\\ud800", "text": "a"}', "printable characters"),
    ],
)
def test_what_is_no_file_of_reports_is_said_once(
    name: str, content: str | bytes, said: str, tmp_path: Path, target: IndexFolder
) -> None:
    (reason,) = indexed(target, tmp_path / name, content).values()
    assert said in reason
    assert target.reports() == {}


def test_unusual_ids_texts_and_dates(tmp_path: Path, target: IndexFolder) -> None:
    lines = [
        {"report_id": "a/b/../c", "text": "No effusion.", "study_date": "2024-01-31T10:00:00"},
        {"report_id": "<script>", "text": "<p>No <b>effusion</b>.</p>Cardiomegaly.", "study_date": "2024.01.31"},
        {"report_id": "halves", "text": "A lone \ud800 effusion.", "patient_id": "P\ud800", "study_date": 20240131},
        {"report_id": "nul", "text": "An\0effusion."},
        {"report_id": "right to left", "text": "\u202eאין תפליט\u202c No effusion.", "study_date": "31.01.2024"},
        {"report_id": "no day", "text": "Clear.", "study_date": "20240199"},
        {"report_id": "no uid", "text": "Clear.", "study_instance_uid": "'; DROP TABLE reports"},
    ]
    why = indexed(target, tmp_path / "r.jsonl", "\r\n".join(map(json.dumps, lines)))
    assert list(why) == ["r.jsonl, line 5 (right to left)", "r.jsonl, line 6 (no day)", "r.jsonl, line 7 (no uid)"]
    assert "study_date: expected YYYYMMDD or YYYY-MM-DD" in why["r.jsonl, line 5 (right to left)"]
    found = target.reports()
    assert {name: report.study_date for name, report in found.items() if report.study_date} == {
        "a/b/../c": "20240131",
        "<script>": "20240131",
        "halves": "20240131",
    }
    assert {name: report.label_states().get("Pleural Effusion") for name, report in found.items()} == {
        "a/b/../c": "negative",
        "<script>": "negative",
        "halves": "positive",
        "nul": "positive",
        "right to left": "negative",
        "no day": None,
        "no uid": None,
    }
    again = target.index(reports=[str(tmp_path / "r.jsonl")])
    assert again.report.to_json()["report"]["unchanged"] == 7


def test_a_large_field_of_a_report_leaves_the_limit_for_other_tables(tmp_path: Path, target: IndexFolder) -> None:
    before = csv.field_size_limit()
    assert indexed(target, tmp_path / "large.csv", f"report_id,text\nH1,{'No effusion. ' * 20_000}\n") == {}
    assert csv.field_size_limit() == before
