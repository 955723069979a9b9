"""What follows a search: manifest, suggestions, labeling job, and the list of an audit; real files and a real store."""

from __future__ import annotations

import contextlib
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.search_ingest import write_bundle

from dicom_workflow import cli
from dicom_workflow.errors import RecordError, SearchError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.pipeline import local_services, search_selection, search_steps
from dicom_workflow.pipeline.labeling_step import Readers, finish
from dicom_workflow.pipeline.search_selection import Selection
from dicom_workflow.search.store import open_store
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_path, to_uri
from dicom_workflow.synthetic.dataset import Phantoms, make_dataset
from dicom_workflow.synthetic.duplicates import plant_duplicates
from dicom_workflow.synthetic.reports import WrittenReport, write_reports


@dataclass(frozen=True)
class Indexed:
    url: str
    settings: Settings
    phantoms: Phantoms
    reports: tuple[WrittenReport, ...]
    folder: Path

    def lines(self, uri: str) -> list[dict[str, Any]]:
        return [line.data for line in manifests.read(uri, storage=Storage(self.settings))]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Indexed:
    folder = tmp_path_factory.mktemp("after")  # the workspace: the labeling service shows files of it alone
    phantoms = make_dataset(folder / "phantoms", patients=14, seed=9, size_px=128, progress=False)
    reports = write_reports(folder / "phantoms", seed=9, progress=False)
    plant_duplicates(phantoms.paths, folder / "phantoms" / "images" / "again", count=2, seed=1, kinds=("size", "window"))
    settings = Settings(workspace=folder, archive="folder")
    request = search_steps.IndexRequest(
        source=str(folder / "phantoms" / "images"),
        model=str(write_bundle(folder / "bundle")),
        reports=(str(folder / "phantoms" / "reports.jsonl"),),
        workers=1,
    )
    search_steps.index(str(folder / "index"), settings, request, progress=False)
    return Indexed(str(folder / "index"), settings, phantoms, reports, folder)


def test_a_filter_of_reports_becomes_a_manifest_with_what_they_state(indexed: Indexed, tmp_path: Path) -> None:
    uri = to_uri(tmp_path / "selected.manifest")
    where = {"positive_labels": ["Pleural Effusion"]}
    lines = search_selection.select(indexed.url, Selection(where=where), uri, indexed.settings)
    found = indexed.lines(uri)
    assert lines == len(found) > 0
    assert all(line["labels"] == list(default_label_set().labels) for line in found)
    assert all(line["source-ref"].startswith("file://") for line in found)
    assert all(line["suggestions"]["probabilities"]["Pleural Effusion"] == 0.95 for line in found)
    assert {line["suggestions"]["mode"] for line in found} == {"after-first-read"}
    assert {line["suggestions"]["model"] for line in found} == {"report of the study"}
    text = json.dumps(found)
    assert "patient" not in text
    assert not any(report.text[:40] in text for report in indexed.reports)


def test_similar_images_are_suggested_what_their_neighbors_are(indexed: Indexed, tmp_path: Path) -> None:
    uid = next(iter(indexed.phantoms.positive))
    uri = to_uri(tmp_path / "selected.manifest")
    selection = Selection(similar_to=uid, limit=5)
    assert search_selection.select(indexed.url, selection, uri, indexed.settings, origin="neighbors") == 5
    first, *_ = found = indexed.lines(uri)
    assert all(0 <= share <= 1 for line in found for share in line["suggestions"]["probabilities"].values())
    assert first["suggestions"]["model"] == "similar images"


def test_no_suggestion_where_none_is_wanted(indexed: Indexed, tmp_path: Path) -> None:
    uri = to_uri(tmp_path / "selected.manifest")
    ids = list(indexed.phantoms.positive)[:3]
    assert search_selection.select(indexed.url, Selection(image_ids=ids), uri, indexed.settings, origin="none") == 3
    assert not any("suggestions" in line for line in indexed.lines(uri))


def test_nothing_found_is_said_before_a_job_is_made(indexed: Indexed, tmp_path: Path) -> None:
    uri = to_uri(tmp_path / "selected.manifest")
    with pytest.raises(SearchError, match=r"No image was found"):
        search_selection.select(indexed.url, Selection(text="xylophone"), uri, indexed.settings)
    with pytest.raises(RecordError, match=r"no image '1\.2\.3'"):
        search_selection.select(indexed.url, Selection(image_ids=["1.2.3"]), uri, indexed.settings)
    with pytest.raises(RecordError, match=r"no field 'color'"):
        search_selection.select(indexed.url, Selection(where={"color": "red"}), uri, indexed.settings)
    with pytest.raises(SearchError, match="report, neighbors or none, got 'oracle'"):
        ids = list(indexed.phantoms.positive)[:1]
        search_selection.select(indexed.url, Selection(image_ids=ids), uri, indexed.settings, origin="oracle")  # type: ignore[arg-type]
    assert not (tmp_path / "selected.manifest").exists()


def test_one_call_makes_a_labeling_job_of_the_hits_and_readers_answer_it(indexed: Indexed) -> None:
    settings = local_services.attach(indexed.settings)
    try:
        started = search_selection.label(
            indexed.url,
            Selection(image_ids=list(indexed.phantoms.positive)[:3]),
            to_uri(indexed.folder / "labeling"),
            settings,
            readers=Readers(simulated=1, truth_uri=to_uri(indexed.folder / "phantoms" / "truth.csv")),
            workers_per_object=1,
        )
        labeled = finish(started, settings, poll_seconds=0.1)
    finally:
        local_services.detach(indexed.settings)
    assert (labeled.state.labeled, labeled.state.failed) == (3, 0)


def test_the_audit_lists_planted_duplicates_and_a_label_that_its_report_denies(indexed: Indexed, tmp_path: Path) -> None:
    with (indexed.folder / "phantoms" / "truth.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    report = next(each for each in indexed.reports if "negative" in each.stated.values())
    label = next(name for name, state in report.stated.items() if state == "negative")
    with contextlib.closing(open_store(indexed.url)) as store:
        wrong = search_selection.find_images(store, Selection(where={"report_id": [report.report_id]}))[0].image_id
    for row in rows:
        if row["sop_instance_uid"] == wrong:
            row[label] = "1"
    table = tmp_path / "labels.csv"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = search_selection.audit(
        indexed.url, indexed.settings, truth=str(table), output_uri=to_uri(tmp_path / "audit"), progress=False
    )
    assert found.review.metrics()["duplicates"] == 2
    doubt = next(each for each in found.review.doubts if (each.image_id, each.label) == (wrong, label))
    assert (doubt.evidence, doubt.given, doubt.score) == ("report", "positive", 1.0)
    assert doubt.sentence
    assert doubt.sentence in report.text
    lines = [json.loads(line) for line in to_path(found.uri).read_text().splitlines()]
    assert {line["what"] for line in lines} == {"duplicate", "label"}
    table_text = (tmp_path / "audit" / "review.csv").read_text()
    assert doubt.sentence not in table_text
    assert len(table_text.splitlines()) == len(lines) + 1
    assert len(indexed.lines(found.manifest_uri)) == len(found.review.image_ids())


def test_an_audit_without_a_table_takes_what_the_reports_state(indexed: Indexed, tmp_path: Path) -> None:
    found = search_selection.audit(
        indexed.url, indexed.settings, output_uri=to_uri(tmp_path), duplicates=False, least_score=0.0, progress=False
    )
    assert found.review.labeled > 0
    assert {doubt.evidence for doubt in found.review.doubts} == {"neighbors"}


def test_a_table_of_other_images_is_refused(indexed: Indexed, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("sop_instance_uid,label\n1.2.3,Edema\n")
    with pytest.raises(SearchError, match="none of its 1 images is in the index"):
        search_selection.audit(indexed.url, indexed.settings, truth=str(tmp_path / "labels.csv"), progress=False)


def test_the_commands_say_what_they_found(
    indexed: Indexed, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOM_WORKFLOW_WORKSPACE", str(indexed.settings.workspace))
    output = str(tmp_path / "audit")
    assert cli.main(["search", "audit", "--store", indexed.url, "--no-duplicates", "--output", output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["duplicates"] == 0
    where = json.dumps({"positive_labels": ["Pleural Effusion"]})
    given = [
        "search",
        "label",
        "--store",
        indexed.url,
        "--where",
        where,
        "--manifest-only",
        "--output",
        str(tmp_path),
        "--json",
    ]
    assert cli.main(given) == 0
    assert json.loads(capsys.readouterr().out)["images"] > 0
    assert cli.main(["search", "label", "--store", indexed.url, "--where", "{", "--manifest-only"]) == 1
    assert "--where: expected a filter as JSON" in capsys.readouterr().err
