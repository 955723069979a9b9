"""Notebooks and the services they need: `run`, `demo`, `up`, `down`, `lab`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say, values_of
from dicom_workflow.errors import SettingsError
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this room."""
    run = command("run", _run, "run notebooks, each reading what the one before left in the workspace")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="names such as 02_create_manifest (default: all seven)")
    run.add_argument("--parameters", type=Path, help="YAML file of parameters, by notebook")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter")

    demo = command("demo", _demo, "run all seven notebooks, from DICOM files to a trained model")
    demo.add_argument("--data", type=Path, help="folder of DICOM files (default: synthetic phantoms)")
    demo.add_argument("--truth", type=Path, help="CSV table the simulated readers answer from")
    demo.add_argument("--archive", choices=("orthanc", "folder"), default="", help="which archive to use")
    demo.add_argument("--seed", type=int, default=7)
    demo.add_argument("--drill", default="", help="kill-portal: kill the labeling portal in the middle of the labeling")
    demo.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the run's own folder (default: runs)")

    command("up", _up, "start Orthanc and the labeling portal, and leave them running")
    command("down", _down, "stop what `up` started")
    command("lab", _lab, "open JupyterLab on the notebooks, with the local services running")


def _run(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import notebooks

    by_notebook = _read_parameters(options.parameters) if options.parameters else {}
    given = values_of(options.p)
    steps = [Path(name).stem for name in options.notebooks] or list(notebooks.STEPS)
    records = {}
    for step in steps:
        output = settings.workspace / "notebooks" / f"{step}.ipynb"
        say(f"{step} → {output}")
        source = notebooks.folder() / f"{step}.ipynb"
        records[step] = notebooks.run(source, output, {**by_notebook.get(step, {}), **given}, progress=True)[-1].to_json()
    return {"ok": True, "records": records}


def _read_parameters(path: Path) -> dict[str, dict[str, Any]]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: expected a YAML file of parameters by notebook: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise SettingsError(f"{path}: expected notebook names with parameters below each, got {type(values).__name__}.")
    return values


def _demo(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline.demo import Demo, new_run_folder

    if options.archive:
        settings = settings.with_(archive=options.archive)
    folder = new_run_folder(options.runs.resolve())
    demo = Demo(
        settings.with_(workspace=folder), data=options.data, truth=options.truth, seed=options.seed, drill=options.drill
    )
    summary = demo.run()
    say(f"macro AUROC {summary['macro_auroc']}; consolidated accuracy {summary['consolidated_accuracy']}")
    say(f"{summary['seconds']['total']:.0f} seconds. Look at {folder / 'report.html'}")
    return summary


def _up(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.labeling import jobs
    from dicom_workflow.pipeline import local_services
    from dicom_workflow.simulation import run as teams

    settings = local_services.up(settings).apply_to(settings)
    team = teams.assemble(settings, jobs.client(settings))
    if settings.archive == "folder":
        say("Archive: the embedded folder archive (Orthanc is not installed here, or ARCHIVE=folder)")
    else:
        password_in = local_services.state_path(settings.workspace)
        say(f"Orthanc: {settings.orthanc_url}, user {settings.orthanc_user}, password in {password_in}")
    say(f"Labeling portal: {settings.groundtruth_url}. {team.invitation(settings)}")
    say("They run until `make down`.")
    return {"ok": True, "orthanc_url": settings.orthanc_url, "groundtruth_url": settings.groundtruth_url}


def _down(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import local_services

    was_running = local_services.down(settings)
    say("Stopped." if was_running else "Nothing was running.")
    return {"ok": True, "was_running": was_running}


def _lab(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import local_services, notebooks

    local_services.attach(settings)
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(notebooks.folder())]
    if os.geteuid() == 0:
        command.append("--allow-root")  # else it refuses; a container has no other user
    try:
        code = subprocess.call(command)
    finally:
        local_services.detach(settings)
    return {"ok": code == 0}
