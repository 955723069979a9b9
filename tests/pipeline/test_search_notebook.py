"""What the search notebook and its demo say: tables and sentences for a person, and the labels that an audit checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dicom_workflow.pipeline import records, search_notebook
from dicom_workflow.pipeline.demo import said_of_search
from dicom_workflow.pipeline.records import Record
from dicom_workflow.pipeline.search_selection import Audited
from dicom_workflow.search.audit.duplicates import Duplicate, DuplicateReport
from dicom_workflow.search.audit.labels import LabelDoubt
from dicom_workflow.search.audit.review import Review
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri

UID = "1.2.826.0.1.3680043.8.498.1234567890"


def audited(doubts: tuple[LabelDoubt, ...] = (), pairs: tuple[Duplicate, ...] = (), **refused: str) -> Audited:
    return Audited(Review(DuplicateReport(pairs, 12, 0.9, refused), doubts, 12), "file:///review.jsonl", "")


def test_what_was_selected_on_the_page_is_labeled_and_otherwise_what_reports_state() -> None:
    selected = pd.DataFrame({"image_id": ["1.2", "1.3"]})
    assert search_notebook.chosen(selected, "Edema", most=5).image_ids == ("1.2", "1.3")
    nothing = search_notebook.chosen(selected[:0], "Edema", most=5)
    assert (nothing.image_ids, nothing.where, nothing.limit) == ((), {"positive_labels": ["Edema"]}, 5)


def test_the_labels_of_readers_become_the_table_that_an_audit_checks(tmp_path: Path) -> None:
    settings = Settings(workspace=tmp_path, archive="folder")
    assert search_notebook.labels_to_check(to_uri(tmp_path / "labels.csv"), settings) == ""
    assert search_notebook.labels_to_check(to_uri(tmp_path / "labels.csv"), settings, "given.csv") == "given.csv"
    lines = [
        {"source-ref": "s3://b/1", "image": f"images/{UID}.dcm", "patient_id": "P1", "states": {"Edema": "positive"}},
        {"source-ref": "s3://b/2", "image": "images/1.2.dcm", "patient_id": "P2", "states": {"Edema": "uncertain"}},
        {"source-ref": "s3://b/3", "failure": "nobody answered"},
    ]
    manifest = tmp_path / "training.manifest"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    records.keep(Record(records.PARSE, to_uri(manifest), {}, {}, {}), settings)
    table = search_notebook.labels_to_check(to_uri(tmp_path / "labels.csv"), settings)
    truth = read_truth(table, Storage(settings))
    assert (truth.image_ids, truth.patients) == ((UID, "1.2"), ("P1", "P2"))
    assert truth.labels == (frozenset({"Edema"}), frozenset())


def test_doubted_labels_are_a_table_in_plain_words() -> None:
    doubts = (
        LabelDoubt(UID, "Edema", "positive", 0.0, 1.0, "report", (), "No edema."),
        LabelDoubt(UID, "Fracture", "negative", 0.934, 0.934, "neighbors", ("1.2",)),
    )
    table = search_notebook.doubt_table(audited(doubts))
    assert table["image"].tolist() == ["…1234567890"] * 2
    assert table["but"].tolist() == ["its report differs", "similar images differ"]
    assert table["probability of the finding"].tolist() == ["0%", "93%"]
    assert table["sentence of the report"].tolist() == ["No edema.", ""]
    assert list(search_notebook.doubt_table(audited()).columns) == list(table.columns)


def test_an_audit_is_said_in_sentences() -> None:
    pairs = (Duplicate("1", "2", "near", 0.97, same_patient=False),)
    said = search_notebook.report_of_audit(audited(pairs=pairs, one="cut short"))
    assert "Images that were compared with each other: 12" in said
    assert "Pairs that look like one exposure stored twice: 1" in said
    assert "  of these under the names of two patients: 1" in said
    assert "Images that could not be read: 1" in said
    assert len(search_notebook.report_of_audit(audited())) == 4


@pytest.mark.parametrize("queries", [0, 90])
def test_the_demo_says_what_its_figures_mean(queries: int) -> None:
    found: dict[str, Any] = {"queries": queries, "duplicates": 2, "labels_at_odds_with_report": 3, "selected": 24}
    found |= {"labels_at_odds_with_neighbors": 4, "suggested": 24, "answers": 0}
    if queries:
        found |= {"precision_at_1": 0.7, "precision_at_1_by_chance": 0.083}
    text = "\n".join(said_of_search(found))
    expected = "for 70% of 90 images" if queries else "too few images are known to be alike"
    assert expected in text
    assert "24 with suggestions; it waits for its readers" in text
