"""A notebook is a step: parameters in, record out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dicom_workflow.errors import NotebookError, UnknownParameterError
from dicom_workflow.pipeline import notebooks, records
from dicom_workflow.pipeline.records import Record
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

RECORDING = """\
from dicom_workflow.pipeline import records
from dicom_workflow.settings import Settings
made = records.Record("01_upload_to_orthanc", output_uri, {"count": count})
records.show(records.keep(made, Settings.from_env()))
"""


def write_notebook(path: Path, *cells: str, parameters: str = "count: int = 1  # how many") -> Path:
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    book = new_notebook(cells=[new_markdown_cell("# A step"), tagged, *map(new_code_cell, cells)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace")})


def test_record_survives_the_notebook_and_stands_beside_its_artifact(tmp_path: Path, settings: Settings) -> None:
    book = write_notebook(tmp_path / "in.ipynb", RECORDING, parameters='count: int = 1  # n\noutput_uri: str = ""  # where')
    artifact = to_uri(tmp_path / "instances.jsonl")
    [record] = notebooks.run(book, tmp_path / "out.ipynb", {"count": 3, "output_uri": artifact})
    assert record.metrics == {"count": 3}
    assert record.artifact_uri == artifact
    assert notebooks.read_records(tmp_path / "out.ipynb") == [record]
    assert json.loads((tmp_path / "instances.jsonl.record.json").read_text()) == record.to_json()
    assert records.latest(settings, "01_upload_to_orthanc") == record


def test_unknown_parameter_is_refused_before_anything_runs(tmp_path: Path) -> None:
    book = write_notebook(tmp_path / "in.ipynb", "raise SystemExit")
    with pytest.raises(UnknownParameterError, match=r"in\.ipynb has no parameter cuont\. Its parameters are count\."):
        notebooks.run(book, tmp_path / "out.ipynb", {"cuont": 3})
    assert not (tmp_path / "out.ipynb").exists()


def test_failing_cell_is_named_and_the_run_is_kept(tmp_path: Path) -> None:
    book = write_notebook(tmp_path / "in.ipynb", "raise ValueError('the images are upside down')")
    with pytest.raises(NotebookError, match=r"in\.ipynb, cell 2: ValueError: the images are upside down"):
        notebooks.run(book, tmp_path / "out.ipynb", {})
    assert "upside down" in (tmp_path / "out.ipynb").read_text()


def test_record_holds_the_hash_of_what_was_read(tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    read = tmp_path / "input.manifest"
    read.write_text('{"source": "x"}\n')
    made = Record("02_create_manifest", to_uri(tmp_path / "a"), inputs={"instances": to_uri(read)})
    result = records.keep(made, settings)
    assert result.made_by["input_sha256"] == {"instances": hashlib.sha256(read.read_bytes()).hexdigest()}
    assert result.made_by["dicom_workflow"]


def test_given_input_wins_over_the_record(tmp_path: Path, settings: Settings) -> None:
    given = tmp_path / "mine.jsonl"
    assert records.find_input(settings, "01_upload_to_orthanc", str(given)) == to_uri(given)


def test_input_is_what_the_earlier_step_left(tmp_path: Path, settings: Settings) -> None:
    left, truth = to_uri(tmp_path / "instances.jsonl"), to_uri(tmp_path / "truth.csv")
    records.keep(Record("01_upload_to_orthanc", left, uris={"truth": truth}), settings)
    assert records.find_input(settings, "01_upload_to_orthanc") == left
    assert records.find_input(settings, "01_upload_to_orthanc", name="truth") == truth
    with pytest.raises(NotebookError, match=r"01_upload_to_orthanc left no 'regions' in .*, only truth"):
        records.find_input(settings, "01_upload_to_orthanc", name="regions")
    assert records.find_input(settings, "01_upload_to_orthanc", name="regions", required=False) == ""
