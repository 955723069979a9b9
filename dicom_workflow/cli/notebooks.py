"""Notebooks and the services they need: `run`, `demo`, `up`, `down`, `lab`."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.errors import SettingsError, UnknownParameterError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.settings import ARCHIVE_KINDS, Settings


def add(command: Command) -> None:
    """Add the commands of this module."""
    run = command(
        "run",
        _run,
        "run notebooks, each reading what the one before left in the workspace",
        after_interrupt="Run it again to go on with the first unfinished notebook.",
    )
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="names such as 02_create_manifest (default: all seven)")
    run.add_argument("--parameters", type=Path, help="YAML file of parameters, by notebook")
    run.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter, of each notebook that has it"
    )

    demo = command(
        "demo",
        _demo,
        "run all seven notebooks, from DICOM files to a trained model",
        after_interrupt="The finished notebooks are kept in the run's folder; running it again starts a new run.",
    )
    demo.add_argument("--data", type=Path, help="folder of DICOM files (default: synthetic phantoms)")
    demo.add_argument("--truth", type=Path, help="CSV table that the simulated readers answer from")
    demo.add_argument("--archive", choices=ARCHIVE_KINDS, default="", help="kind of archive (default: orthanc)")
    demo.add_argument("--seed", type=int, default=7, help="of phantoms, readers, splits and training (default: 7)")
    demo.add_argument(
        "--search", action="store_true", help="train on phantoms, then run the search notebook on them, or on --data"
    )
    demo.add_argument("--drill", default="", help="kill-portal: kill the labeling portal in the middle of the labeling")
    demo.add_argument("--runs", type=Path, help="folder for the run's own folder (default: runs in the workspace)")

    again = "Run `dicom-workflow down` to stop what was started."
    command("up", _up, "start Orthanc, the labeling portal and search, and leave them running", after_interrupt=again)
    command("down", _down, "stop what `up` started", after_interrupt="Run it again.")
    command(
        "lab",
        _lab,
        "open JupyterLab on copies of the notebooks, with the local services running",
        after_interrupt="Your copies of the notebooks are kept in the workspace.",
    )


def _run(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import notebooks

    def on_step(step: str, output: Path, done: bool) -> None:
        say(f"{step}: finished by the interrupted run" if done else f"{step} → {output}")

    steps = [Path(name).stem for name in options.notebooks] or list(notebooks.STEPS)
    types = {step: notebooks.parameters_of(notebooks.folder() / f"{step}.ipynb") for step in steps}
    by_notebook = _read_parameters(options.parameters) if options.parameters else {}
    values = {step: _typed(by_notebook.get(step, {}), types[step], str(options.parameters), step) for step in steps}
    for name, text in options.p:
        takers = [step for step in steps if name in types[step]]
        if not takers:
            known = ", ".join(sorted({known for step in steps for known in types[step]}))
            which = f"{steps[0]} has no" if len(steps) == 1 else "None of the notebooks has a"
            raise UnknownParameterError(f"{which} parameter {name}. Its parameters are {known}.")
        for step in takers:
            values[step][name] = _value(text, types[step][name], f"-p {name}")
    records = notebooks.run_steps(settings, steps, values, on_step=on_step)
    return {"ok": True, "records": {step: record.to_json() for step, record in records.items()}}


def _typed(given: Mapping[str, Any], types: Mapping[str, str], path: str, step: str) -> dict[str, Any]:
    """Return the values of one notebook in a file of parameters, by the types of its parameters."""
    unknown = [name for name in given if name not in types]
    if unknown:
        raise UnknownParameterError(
            f"{path}: {step} has no parameter {', '.join(unknown)}. Its parameters are {', '.join(sorted(types))}."
        )
    return {name: _value(value, types[name], f"{path}: {step}: {name}") for name, value in given.items()}


def _value(given: Any, kind: str, where: str) -> Any:
    """Return a value by the type of its parameter: a ``str`` takes the text as it was typed, ``list[…]`` a list in YAML."""
    import yaml

    try:
        if kind.startswith("list"):
            items = yaml.load(given, yaml.BaseLoader) if isinstance(given, str) else given  # noqa: S506  # it makes texts only
            if not isinstance(items, list):
                raise TypeError
            return [_scalar(item, kind.removeprefix("list[").removesuffix("]")) for item in items]
        return _scalar(given, kind)
    except (TypeError, ValueError, yaml.YAMLError):
        example = {"str": "text", "int": "12", "float": "0.5", "bool": "true or false"}.get(kind, "[a, b]")
        raise SettingsError(f"{where}: expected a value of type {kind}, such as {example}, got {shown(given)}.") from None


def _scalar(given: Any, kind: str) -> Any:
    """Return one value; a TypeError or ValueError where the text is none of that type."""
    import yaml

    if not isinstance(given, str):
        raise TypeError
    if kind == "bool":
        value = yaml.safe_load(given)
        if not isinstance(value, bool):
            raise TypeError
        return value
    if kind == "float" and not math.isfinite(float(given)):
        raise ValueError
    return {"int": int, "float": float}.get(kind, str)(given)


def _read_parameters(path: Path) -> dict[str, dict[str, Any]]:
    """Return notebook → parameter → value as a text or a list of texts."""
    import yaml

    from dicom_workflow.pipeline import records

    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), yaml.BaseLoader) or {}  # noqa: S506  # it makes texts only
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: cannot be read as a YAML file of parameters by notebook: {error}") from None
    by_notebook = {step: value or {} for step, value in values.items()} if isinstance(values, dict) else {}
    wrong = [f"{step}: {shown(value)}" for step, value in by_notebook.items() if not isinstance(value, dict)]
    if wrong or not isinstance(values, dict):
        got = wrong[0] if wrong else shown(values)
        raise SettingsError(f"{path}: expected names of notebooks with their parameters below each, got {got}.")
    unknown = [step for step in by_notebook if step not in records.NOTEBOOKS]
    if unknown:
        known = ", ".join(records.NOTEBOOKS)
        raise SettingsError(f"{path}: there is no notebook {', '.join(unknown)}. The notebooks are {known}.")
    return by_notebook


def _demo(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline.demo import Demo, new_run_folder

    if options.archive:
        settings = settings.with_(archive=options.archive)
    if options.search:
        if options.data and not options.data.is_dir():
            raise SettingsError(f"DATA: there is no folder {options.data}. Check the path.")
        folder = new_run_folder((options.runs or settings.make_workspace() / "runs").resolve())
        found = Demo(settings.with_(workspace=folder), seed=options.seed).run_search(options.data)
        say(f"{found['seconds']:.0f} seconds. Look at {found['report']}")
        workspace = f"DICOM_WORKFLOW_WORKSPACE={folder}"
        say(f"To search in a browser: {workspace} dicom-workflow up (and {workspace} dicom-workflow down to stop it)")
        return {"ok": True, **found}
    Demo(settings, data=options.data, truth=options.truth, drill=options.drill)  # a wrong flag leaves no folder
    folder = new_run_folder((options.runs or settings.make_workspace() / "runs").resolve())
    demo = Demo(
        settings.with_(workspace=folder), data=options.data, truth=options.truth, seed=options.seed, drill=options.drill
    )
    summary = demo.run()
    say(f"macro AUROC {summary['macro_auroc']}; consolidated accuracy {summary['consolidated_accuracy']}")
    say(f"{summary['seconds']['total']:.0f} seconds. Look at {folder / 'report.html'}")
    return summary


def _up(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.labeling.client import client
    from dicom_workflow.pipeline import local_services
    from dicom_workflow.simulation import teams

    before, given = local_services.State.read(settings.make_workspace()), settings
    state, state_path = local_services.up(settings), local_services.state_path(settings.workspace)
    settings = state.apply_to(settings)
    team = teams.assemble(settings, client(settings))
    if settings.archive == "folder":
        say(f"Archive: the folder {settings.archive_address} (Orthanc is not installed here, or ARCHIVE=folder)")
    elif local_services.serves_local_archive(settings):
        say(f"Orthanc: {settings.orthanc_url}, user {settings.orthanc_user}, password in {state_path}")
    else:
        say(f"Archive: {settings.archive_address}, as the environment names it")
    say(f"Labeling portal: {settings.groundtruth_url}. {team.invitation(settings)}")
    if not state.search.url:
        say(f"Search: {state.search.problem}")
    elif given.search_token or given.search_oidc_issuer:
        say(f"Search: {state.search.url}, signed in to as the environment says")
    elif before and before.search.url:
        say(f"Search: {state.search.url}, with the token that was printed when it started; it is in {state_path}")
    else:
        say(f"Search: {state.search.url}#token={state.settings.search_token.reveal()}")
    say("They run until `make down`.")
    addresses = {"orthanc_url": settings.orthanc_url, "groundtruth_url": settings.groundtruth_url}
    return {"ok": True, **addresses, "search_url": state.search.url, "search_problem": state.search.problem}


def _down(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import local_services

    was_running = local_services.down(settings)
    say("Stopped." if was_running else "Nothing was running.")
    return {"ok": True, "was_running": was_running}


def _lab(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import local_services, notebooks

    folder = notebooks.copy_to_workspace(settings)
    say(f"Your copies of the notebooks: {folder}")
    local_services.attach(settings)
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(folder)]
    if os.geteuid() == 0:
        command.append("--allow-root")  # else it refuses; a container has no other user
    try:
        code = subprocess.call(command)
    finally:
        local_services.detach(settings)
    return {"ok": code == 0}
