"""Notebooks as steps of the workflow: run one with parameters, run several in order, read back what they recorded."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dicom_workflow.errors import NotebookError, UnknownParameterError, WorkflowError
from dicom_workflow.pipeline.records import RECORD_MIME_TYPE, STEPS, Record
from dicom_workflow.settings import Settings

PROGRESS_FILE = "run.json"
"""In ``<workspace>/notebooks``: which notebooks of an unfinished run are done."""


def run(notebook: Path, output: Path, parameters: Mapping[str, Any] | None = None, *, progress: bool = False) -> list[Record]:
    """Run a notebook with parameters and return its records.

    Parameters
    ----------
    notebook : Path
        Notebook with a cell tagged ``parameters``.
    output : Path
        Where the executed copy goes, readable by this user alone: it may show patients. It is written also when the run fails.
    parameters : mapping
        Values for some of its parameters.
    progress : bool
        Show papermill's progress bar over the cells.

    Raises
    ------
    UnknownParameterError
        A parameter that the notebook does not have. papermill alone would only warn.
    NotebookError
        There is no such notebook, or a cell failed; the message is that of the cell.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    given = dict(parameters or {})
    known = parameters_of(notebook)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UnknownParameterError(
            f"{notebook.name} has no parameter {', '.join(unknown)}. Its parameters are {', '.join(sorted(known))}."
        )
    output.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    output.touch(mode=0o600)
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


def parameters_of(notebook: Path) -> dict[str, str]:
    """Return name → type of the parameters of a notebook.

    Raises
    ------
    NotebookError
        There is no such notebook.
    """
    import papermill

    if not notebook.is_file():
        raise NotebookError(f"There is no notebook {notebook}. The steps are {', '.join(STEPS)}.")
    found = papermill.inspect_notebook(str(notebook))
    return {name: str(parameter["inferred_type_name"]) for name, parameter in found.items()}


def run_steps(
    settings: Settings,
    steps: Sequence[str],
    parameters: Mapping[str, Mapping[str, Any]],
    *,
    on_step: Callable[[str, Path, bool], None] | None = None,
) -> dict[str, Record]:
    """Run notebooks in order and return their records; a run that was interrupted goes on with its first unfinished notebook.

    Parameters
    ----------
    settings : Settings
        Its workspace gets the executed copies.
    steps : sequence of str
        Names of notebooks.
    parameters : mapping of str to mapping
        Notebook → name → value.
    on_step : callable, optional
        Called before each notebook with its name, its output, and whether it was finished by the interrupted run.

    Raises
    ------
    NotebookError
        As `run`.
    """
    outputs = settings.make_workspace() / "notebooks"
    outputs.mkdir(mode=0o700, exist_ok=True)
    progress_file = outputs / PROGRESS_FILE
    asked = json.dumps([list(steps), {step: dict(parameters.get(step, {})) for step in steps}], sort_keys=True, default=str)
    key = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
    finished = _finished(progress_file, key)
    records: dict[str, Record] = {}
    for step in steps:
        output = outputs / f"{step}.ipynb"
        done = step in finished and output.is_file()
        if on_step:
            on_step(step, output, done)
        found = read_records(output) if done else run(folder() / f"{step}.ipynb", output, parameters.get(step), progress=True)
        if not found:
            raise NotebookError(f"{step} ran and showed no record. Open {output}.")
        records[step] = found[-1]
        progress_file.write_text(json.dumps({"run": key, "finished": list(records)}), encoding="utf-8")
    progress_file.unlink(missing_ok=True)
    return records


def _finished(progress_file: Path, key: str) -> list[str]:
    try:
        data = json.loads(progress_file.read_text(encoding="utf-8"))
        return list(data["finished"]) if data["run"] == key else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


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
        raise NotebookError(f"There are no notebooks in {path}. Clone the project and install it with `pip install -e .`.")
    return path


def copy_to_workspace(settings: Settings) -> Path:
    """Copy the project's notebooks into the workspace to work on, and return the folder; a copy that is there is kept.

    Pictures of patients end up in the outputs of a notebook that is worked on, so it must not be one that git tracks.
    """
    target = settings.make_workspace() / "lab"
    target.mkdir(mode=0o700, exist_ok=True)
    for source in sorted(folder().glob("*.ipynb")):
        if not (target / source.name).exists():
            shutil.copyfile(source, target / source.name)
            (target / source.name).chmod(0o600)
    return target


def _main() -> int:
    step, output = sys.argv[1], Path(sys.argv[2])
    try:
        run(folder() / f"{step}.ipynb", output)
    except WorkflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
