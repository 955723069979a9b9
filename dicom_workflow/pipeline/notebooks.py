"""Notebooks as steps: run one with parameters, keep what it found, read it back in the next.

A notebook ends with `record`; the record is shown in the notebook, written beside its artifact and kept in the workspace, so
that the next step finds its input whether a person, papermill or a test runs it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from dicom_workflow import __version__
from dicom_workflow.errors import NotebookError, ObjectNotFoundError, UnknownParameterError, WorkflowError
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, to_uri

RECORD_MIME_TYPE = "application/vnd.dicom-workflow.result+json"

STEPS = (
    "01_upload_to_orthanc",
    "02_create_manifest",
    "03_run_labeling_job",
    "04_parse_output_manifest",
    "05_visualize_samples",
    "06_train_densenet",
    "07_evaluate_and_predict",
)


@dataclass(frozen=True)
class Record:
    """What one step left: its artifact, its figures, and what made it."""

    step: str
    artifact_uri: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name → URI of everything the step read."""
    uris: Mapping[str, str] = field(default_factory=dict)
    """Name → URI of further artifacts."""
    made_by: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Record:
        """Return the record of one JSON object.

        Raises
        ------
        NotebookError
            It has no step or no artifact.
        """
        if not data.get("step") or not data.get("artifact_uri"):
            raise NotebookError(f"expected a record with 'step' and 'artifact_uri', got keys {sorted(data)[:8]}.")
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def record(
    step: str,
    *,
    artifact_uri: str,
    settings: Settings,
    metrics: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    uris: Mapping[str, str] | None = None,
) -> Record:
    """Keep the result of a step: show it, write it beside its artifact and into the workspace, and return it.

    Parameters
    ----------
    step : str
        Name of the notebook, for example ``01_upload_to_orthanc``.
    artifact_uri : str
        What the step leaves for the next one.
    settings : Settings
        Its workspace keeps the latest record of each step.
    metrics : mapping
        Figures; JSON values.
    inputs : mapping of str to str
        Name → URI of what was read. The SHA-256 of each file is written into the record.
    uris : mapping of str to str
        Further artifacts.
    """
    storage = Storage(settings)
    made_by = {
        "dicom_workflow": __version__,
        "commit": _commit(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "input_sha256": {name: digest for name, uri in (inputs or {}).items() if (digest := _sha256(storage, uri))},
    }
    result = Record(step, artifact_uri, dict(metrics or {}), dict(inputs or {}), dict(uris or {}), made_by)
    text = json.dumps(result.to_json(), indent=2, ensure_ascii=False)
    storage.write_text(f"{artifact_uri.rstrip('/')}.record.json", text)
    storage.write_text(_latest_uri(settings, step), text)
    _display(result)
    return result


def latest(settings: Settings, step: str) -> Record | None:
    """Return the newest record of a step in this workspace, or None."""
    try:
        return Record.parse(json.loads(Storage(settings).read_text(_latest_uri(settings, step))))
    except ObjectNotFoundError:
        return None


def find_input(settings: Settings, step: str, given: str = "", *, name: str = "", required: bool = True) -> str:
    """Return the URI a notebook reads: the one given, else what an earlier step left in this workspace.

    When the step has not run in this workspace, it is run first, with its defaults: a notebook opened alone works.

    Parameters
    ----------
    settings : Settings
        Its workspace holds the records.
    step : str
        The earlier notebook.
    given : str
        The parameter's value; empty means not given.
    name : str
        One of the record's further `uris` instead of its artifact.
    required : bool
        When False, a step that did not run or left no such URI gives an empty text.

    Raises
    ------
    NotebookError
        The earlier step could not be run, or left no such URI.
    """
    if given:
        return to_uri(given)
    found = latest(settings, step)
    if not required:
        return found.uris.get(name, "") if found and name else found.artifact_uri if found else ""
    if found is None:
        print(f"{step} has not run in {settings.workspace}: running it first, with its defaults.")
        _run_elsewhere(settings, step)
        found = latest(settings, step)
    if found is None:
        raise NotebookError(f"{step} ran and left no record in {settings.workspace}. Open its output notebook there.")
    if name and name not in found.uris:
        raise NotebookError(f"expected {step} to leave '{name}', it left {', '.join(found.uris) or 'only its artifact'}.")
    return found.uris[name] if name else found.artifact_uri


def run(notebook: Path, output: Path, parameters: Mapping[str, Any] | None = None, *, progress: bool = False) -> list[Record]:
    """Run a notebook with parameters and return its records.

    Parameters
    ----------
    notebook : Path
        Notebook with a cell tagged ``parameters``.
    output : Path
        Where the executed copy goes; it is written also when the run fails.
    parameters : mapping
        Values for some of its parameters.
    progress : bool
        Show papermill's progress bar over the cells.

    Raises
    ------
    UnknownParameterError
        A parameter that the notebook does not have. papermill alone would only warn.
    NotebookError
        A cell failed; the message is that of the cell.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    if not notebook.is_file():
        raise NotebookError(f"expected a notebook at {notebook}, found none. The steps are {', '.join(STEPS)}.")
    given = dict(parameters or {})
    known = papermill.inspect_notebook(str(notebook))
    strange = sorted(set(given) - set(known))
    if strange:
        raise UnknownParameterError(
            f"{notebook.name}: expected some of its parameters {', '.join(sorted(known))}, got {', '.join(strange)}."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            parameters=given,
            progress_bar=progress,
            kernel_name="python3",
            cwd=str(output.parent),
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # else it warns of its own local connection, and at its end
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\nThe run is kept in {output}."
        ) from None
    return read_records(output)


def read_records(path: Path) -> list[Record]:
    """Return the records that an executed notebook shows, in order."""
    import nbformat

    shown = [
        output["data"][RECORD_MIME_TYPE]
        for cell in nbformat.read(str(path), as_version=4).cells
        for output in cell.get("outputs", ())
        if RECORD_MIME_TYPE in output.get("data", {})
    ]
    return [Record.parse(data) for data in shown]


def folder() -> Path:
    """Return the folder of the project's notebooks.

    Raises
    ------
    NotebookError
        The package is installed without them.
    """
    path = Path(__file__).resolve().parents[2] / "notebooks"
    if not path.is_dir():
        raise NotebookError(f"expected the notebooks in {path}. Clone the project and install it with `pip install -e .`.")
    return path


def _latest_uri(settings: Settings, step: str) -> str:
    return to_uri(settings.workspace / "records" / f"{step}.json")


def _run_elsewhere(settings: Settings, step: str) -> None:
    """Run a step in a process of its own: a kernel cannot wait for another kernel inside its own event loop."""
    output = settings.workspace / "notebooks" / f"{step}.ipynb"
    command = [sys.executable, "-m", "dicom_workflow.pipeline.notebooks", str(folder() / f"{step}.ipynb"), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotebookError(f"{step} failed:\n{done.stderr.strip()[-2000:]}")


def _display(result: Record) -> None:
    lines = [f"{result.step} → {result.artifact_uri}", *(f"  {name} = {value}" for name, value in result.metrics.items())]
    text = "\n".join(line if len(line) <= 200 else f"{line[:197]}…" for line in lines)
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(text)
        return
    display({RECORD_MIME_TYPE: result.to_json(), "text/plain": text}, raw=True)


def _sha256(storage: Storage, uri: str) -> str:
    digest = hashlib.sha256()
    try:
        with storage.open(uri) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except WorkflowError:
        return ""  # a folder or an archive, not one object
    return digest.hexdigest()


@cache
def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _main() -> int:
    source, output = map(Path, sys.argv[1:3])
    try:
        run(source, output)
    except WorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
