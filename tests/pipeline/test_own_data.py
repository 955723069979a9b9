"""What must not happen to a person's own data: nothing is overwritten, deleted, mixed with phantoms or left in the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from support.archive import dicom

from dicom_workflow import cli
from dicom_workflow.errors import NotebookError, SettingsError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.labeling import jobs
from dicom_workflow.labeling.client import client
from dicom_workflow.pipeline import labeling_step, local_services, notebooks, records, steps
from dicom_workflow.pipeline.labeling_step import Readers
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

CHECKOUT = notebooks.folder().parent
make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ARCHIVE", "folder")
    return Settings.from_env()


# ---- notebooks --------------------------------------------------------------------------------------------------------------


def test_jupyterlab_works_on_copies_in_the_workspace(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "call", lambda command: started.append(command) or 0)
    monkeypatch.setattr(local_services, "attach", lambda settings: settings)
    assert cli.main(["lab"]) == 0
    folder = Path(started[0][started[0].index("--notebook-dir") + 1])
    assert folder.is_relative_to(settings.workspace)
    assert {path.name for path in folder.glob("*.ipynb")} == {f"{step}.ipynb" for step in records.NOTEBOOKS}
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.glob("*.ipynb"))


def test_a_copy_that_was_worked_on_is_kept(settings: Settings) -> None:
    folder = notebooks.copy_to_workspace(settings)
    mine = folder / f"{records.UPLOAD}.ipynb"
    mine.write_text("worked on")
    assert notebooks.copy_to_workspace(settings) == folder
    assert mine.read_text() == "worked on"


def test_a_run_that_was_interrupted_goes_on_with_the_first_unfinished_notebook(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    interruptions = iter([KeyboardInterrupt()])

    def run(notebook: Path, output: Path, parameters: Any = None, **_: Any) -> list[records.Record]:
        if notebook.stem == records.MANIFEST and (interruption := next(interruptions, None)):
            raise interruption
        ran.append(notebook.stem)
        made = records.Record(notebook.stem, "file:///artifact")
        bundle = {records.RECORD_MIME_TYPE: made.to_json()}
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")])
        book.cells[0].outputs = [nbformat.v4.new_output("display_data", bundle)]
        nbformat.write(book, output)
        return [made]

    monkeypatch.setattr(notebooks, "run", run)
    with pytest.raises(KeyboardInterrupt):
        notebooks.run_steps(settings, records.STEPS[:3], {})
    seen: list[tuple[str, bool]] = []
    found = notebooks.run_steps(settings, records.STEPS[:3], {}, on_step=lambda step, _, done: seen.append((step, done)))
    assert seen == [(records.UPLOAD, True), (records.MANIFEST, False), (records.LABEL, False)]
    assert list(found) == list(records.STEPS[:3])
    assert ran == list(records.STEPS[:3]), "the finished notebook did not run again"
    notebooks.run_steps(settings, records.STEPS[:3], {})
    assert len(ran) == 6, "a run that was finished begins anew"


@pytest.mark.parametrize(("command", "says"), [("run", "first unfinished notebook"), ("train", "--resume true")])
def test_ctrl_c_says_what_running_again_does(
    command: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local_services, "attach", interrupt)
    monkeypatch.setattr(notebooks, "run_steps", interrupt)
    assert cli.main([command, *(["training.manifest"] if command == "train" else [])]) == 130
    assert says in capsys.readouterr().err


# ---- the checkout -----------------------------------------------------------------------------------------------------------


def test_the_demo_runs_in_the_workspace(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dicom_workflow.pipeline.demo import Demo

    monkeypatch.chdir(tmp_path)
    folders: list[Path] = []
    summary = {"macro_auroc": None, "consolidated_accuracy": None, "seconds": {"total": 0.0}}
    monkeypatch.setattr(Demo, "run", lambda self: folders.append(self.settings.workspace) or summary)
    assert cli.main(["demo"]) == 0
    assert folders[0].parent == settings.workspace / "runs"
    assert folders[0].stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]


@make
def test_make_clean_deletes_no_run_and_no_model(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    kept = [tmp_path / "runs/a/model/model.safetensors", tmp_path / "work/runs/a/model/model.safetensors"]
    for path in (*kept, tmp_path / ".mypy_cache/x"):
        path.parent.mkdir(parents=True)
        path.touch()
    environment = {**os.environ, "DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "work")}
    for target, answer in (("clean", ""), ("clean-runs", ""), ("clean-runs", "no\n")):
        subprocess.run(["make", "-s", target], cwd=tmp_path, env=environment, input=answer, text=True, check=True, timeout=60)
    assert all(path.is_file() for path in kept)
    assert not (tmp_path / ".mypy_cache").exists()
    subprocess.run(
        ["make", "-s", "clean-runs"], cwd=tmp_path, env=environment, input="yes\n", text=True, check=True, timeout=60
    )
    assert [path.is_file() for path in kept] == [True, False]


def test_what_a_command_writes_is_this_users_alone_also_in_a_folder_that_was_there(settings: Settings, tmp_path: Path) -> None:
    settings.workspace.mkdir(mode=0o755)
    settings.workspace.chmod(0o755)
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd" / "0.dcm").write_bytes(dicom(0))
    try:
        assert cli.main(["upload", str(tmp_path / "cd")]) == 0
        assert cli.main(["manifest"]) == 0
    finally:
        local_services.detach(settings)
    files = [path for path in settings.workspace.rglob("*") if path.is_file()]
    assert {"instances.jsonl", "input.manifest", "01_upload_to_orthanc.json"} <= {path.name for path in files}
    readable = [str(path) for path in files if path.stat().st_mode & 0o077]
    assert not readable


# ---- workspaces of earlier versions -----------------------------------------------------------------------------------------


def test_a_folder_archive_of_an_earlier_version_is_refused_with_the_command_that_moves_it(settings: Settings) -> None:
    name = "-".join(["0123abcd"] * 5)
    path = settings.workspace / "folder-archive" / "instances" / "01" / f"{name}.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(dicom(0))
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(SettingsError, match=r"folder archive of an earlier version.*mv .* && dicom-workflow upload") as refused:
        local_services.attach(settings)
    move, upload = str(refused.value).partition("again: ")[2].partition(" (its")[0].split(" && ")
    subprocess.run(move.split(), check=True)
    try:
        assert cli.main(upload.split()[1:]) == 1, "the .json files are no images"
        uri = records.find_input(settings, records.UPLOAD)
        assert [instance.sop_instance_uid for instance in manifests.read_instances(uri)] == ["1.2.826.0.1.99.3.0"]
    finally:
        local_services.detach(settings)


def test_the_records_of_an_earlier_version_are_read(settings: Settings) -> None:
    """As version 0.1.0 of November wrote them, without `uris` for an upload of one's own images."""
    path = settings.workspace / "records" / f"{records.MANIFEST}.json"
    path.parent.mkdir(parents=True)
    left = {
        "step": records.MANIFEST,
        "artifact_uri": "file:///w/input.manifest",
        "metrics": {"lines": 1},
        "later": "unknown key",
    }
    path.write_text(json.dumps(left))
    assert records.find_input(settings, records.MANIFEST) == "file:///w/input.manifest"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 50_000,
        '{"step": "02_create_manifest"}',
        '{"step": "02_create_manifest", "artifact_uri": ["file:///w/input.manifest"]}',
        '{"step": "02_create_manifest", "artifact_uri": "file:///w/input.manifest", "uris": []}',
    ],
)
def test_a_damaged_record_is_named(settings: Settings, text: str) -> None:
    path = settings.workspace / "records" / f"{records.MANIFEST}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(NotebookError, match=r"records/02_create_manifest\.json is damaged .* Delete it and run"):
        records.find_input(settings, records.MANIFEST)


# ---- labeling ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def manifest_uri(settings: Settings, tmp_path: Path) -> str:
    """An input manifest of two uploaded images and two labels."""
    (tmp_path / "cd").mkdir()
    for number in (0, 1):
        (tmp_path / "cd" / f"{number}.dcm").write_bytes(dicom(number))
    uploaded = steps.upload(tmp_path / "cd", to_uri(settings.workspace / "archive" / "instances.jsonl"), settings)
    uri = to_uri(tmp_path / "input.manifest")
    return steps.create_manifest(uploaded.instances_uri, uri, settings, labels=["Edema", "Fracture"]).uri


def table(folder: Path, *rows: str) -> str:
    path = folder / "truth.csv"
    path.write_text("\n".join(rows) + "\n")
    return to_uri(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "Simulated readers answer from a table of what is true, and there is none"),
        (("uid,Edema", "1,1"), "sop_instance_uid"),
        (("sop_instance_uid,Edema", "1,maybe"), "expected 1 or 0"),
        (("sop_instance_uid,Nodule", "1,1"), "knows none of the labels of the manifest"),
    ],
)
def test_a_table_that_cannot_be_used_leaves_no_job(
    rows: tuple[str, ...], message: str, settings: Settings, manifest_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_workflow.errors import WorkflowError

    monkeypatch.setattr(jobs, "create", lambda *_, **__: pytest.fail("a job was created"))
    readers = Readers(simulated=2, truth_uri=table(tmp_path, *rows) if rows else "")
    with pytest.raises(WorkflowError, match=message):
        labeling_step.start(manifest_uri, to_uri(tmp_path / "out"), settings, readers=readers)


@pytest.mark.timeout(120)
def test_what_the_table_does_not_know_is_unknown_and_said(settings: Settings, manifest_uri: str, tmp_path: Path) -> None:
    attached = local_services.attach(settings)
    try:
        readers = Readers(simulated=3, truth_uri=table(tmp_path, "sop_instance_uid,Edema", "1.2.826.0.1.99.3.0,1"))
        started = labeling_step.start(manifest_uri, to_uri(settings.workspace / "out"), attached, readers=readers)
        labeled = labeling_step.finish(started, attached)
    finally:
        local_services.detach(settings)
    assert started.notes == ("The table does not know Fracture: the simulated readers leave it unanswered.",)
    assert labeled.images_without_truth == 1
    [known, other] = [
        line.data["findings"]["labels"] for line in manifests.read(labeled.state.output_manifest_uri, limits=False)
    ]
    assert known["Edema"]["state"] != "unknown"
    assert known["Fracture"]["state"] == "unknown"
    assert {vote["state"] for vote in other.values()} == {"unknown"}


@pytest.mark.timeout(120)
def test_label_goes_on_with_the_job_that_was_interrupted(settings: Settings, manifest_uri: str, tmp_path: Path) -> None:
    rows = ["sop_instance_uid,Edema,Fracture", "1.2.826.0.1.99.3.0,1,0", "1.2.826.0.1.99.3.1,0,1"]
    readers = Readers(simulated=3, truth_uri=table(tmp_path, *rows))
    output_uri = to_uri(settings.workspace / "out")
    attached = local_services.attach(settings)
    try:
        first = labeling_step.start(manifest_uri, output_uri, attached, readers=readers)  # and then Ctrl-C
        again = labeling_step.start(manifest_uri, output_uri, attached, readers=readers)
        assert again.job_name == first.job_name
        assert again.notes == (f"Labeling job {first.job_name} of this manifest is not finished; it goes on.",)
        finished = labeling_step.finish(again, attached)
        listed = client(attached).list_labeling_jobs()["LabelingJobSummaryList"]
        assert [(job["LabelingJobName"], job["LabelingJobStatus"]) for job in listed] == [(first.job_name, "Completed")]
        new = labeling_step.start(manifest_uri, output_uri, attached, readers=readers, job_name="another")
    finally:
        local_services.detach(settings)
    assert finished.state.labeled == 2
    assert new.job_name == "another", "a finished job is not waited for again"
    assert records.find_input(settings, records.LABEL) == finished.state.output_manifest_uri


@pytest.mark.timeout(120)
def test_readers_of_the_command_mark_regions_as_those_of_the_notebook(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    attached = local_services.attach(settings)
    try:
        folder, known = records.source_images("", attached, patients=3, size_px=64, seed=3)
        uri = to_uri(settings.workspace / "archive" / "instances.jsonl")
        steps.upload(folder, uri, attached, known_uris=known)
        assert cli.main(["manifest"]) == 0
        manifest = records.find_input(settings, records.MANIFEST)
        assert cli.main(["label", manifest, "--simulated-readers", "3"]) == 0, capsys.readouterr().err
    finally:
        local_services.detach(settings)
    lines = list(manifests.read(records.find_input(settings, records.LABEL), limits=False))
    assert sum(len(line.data["findings"].get("regions", ())) for line in lines) > 0


# ---- adjudication -----------------------------------------------------------------------------------------------------------


def test_adjudicate_writes_the_second_job_and_joins_its_decisions(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(worker: str, state: str) -> dict[str, Any]:
        said = Answer({"Edema": LabelState(state)}).to_json()
        return {"workerId": worker, "annotationData": {"content": json.dumps({"annotation": json.dumps(said)})}}

    def output(path: Path, states: dict[str, str], job: str) -> str:
        annotations = [answer(worker, state) for worker, state in states.items()]
        line = {"source": "studies/1.2/series/1.3/instances/1.4", **default_label_set(("Edema",)).to_line()}
        label = {"annotationsFromAllWorkers": annotations}
        manifests.write(
            to_uri(path), [{**line, "findings": label, "findings-metadata": {"job-name": f"labeling-job/{job}"}}], limits=False
        )
        return to_uri(path)

    first = output(tmp_path / "first", {"a": "positive", "b": "negative"}, "first")
    assert cli.main(["adjudicate", first, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out.splitlines()[-1])
    assert (found["objects"], found["disputed"]) == (1, 1)
    assert "dicom-workflow label" in captured.err
    [line] = manifests.read(found["manifest_uri"])
    assert [earlier["reader"] for earlier in line.data["earlier_answers"]] == ["A", "B"]
    second = output(tmp_path / "second", {"c": "positive"}, "second")
    assert cli.main(["adjudicate", first, "--decisions", second, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    [line] = manifests.read(found["manifest_uri"], limits=False)
    assert line.data["findings"]["labels"]["Edema"]["state"] == "positive"
    assert line.data["findings"]["adjudication"]["labels"] == ["Edema"]
    assert records.find_input(settings, records.LABEL) == found["manifest_uri"], "parse and notebook 4 read the decided one"


def test_readers_who_agree_need_no_second_job(tmp_path: Path, settings: Settings) -> None:
    label = {"labels": {"Edema": {"state": "positive", "confidence": 1.0}}}
    uri = to_uri(tmp_path / "output.manifest")
    manifests.write(uri, [{"source": "a", "findings": label, "findings-metadata": {}}], limits=False)
    found = labeling_step.adjudicate(uri, to_uri(tmp_path / "second"), settings)
    assert (found.uri, found.disputed) == ("", 0)
    assert not (tmp_path / "second").exists()
