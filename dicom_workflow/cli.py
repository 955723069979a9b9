"""The command line: the nouns of the notebooks, and the same functions underneath.

Exit code 0 when everything went through, 1 when something did not (the message says what), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dicom_workflow import __version__
from dicom_workflow.errors import WorkflowError
from dicom_workflow.settings import Settings

_EXAMPLES = """\
examples:
  dicom-workflow upload ~/images
  dicom-workflow manifest --labels "Pneumonia,COVID-19,No Finding"
  dicom-workflow label input.manifest --job-name chest-1 --truth truth.csv --simulated-readers 3
  dicom-workflow parse output.manifest --instances instances.jsonl
  dicom-workflow train training.manifest --epochs 15
  dicom-workflow predict model image.dcm
  dicom-workflow demo
  dicom-workflow demo --data ~/images --truth ~/truth.csv

Where the archive and the labeling service are comes from the environment or a .env file (ORTHANC_URL, ORTHANC_USER,
ORTHANC_PASSWORD, GROUNDTRUTH_URL, S3_URL, …); where they name none, local ones are started in the workspace
(DICOM_WORKFLOW_WORKSPACE, ~/dicom-workflow).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # A closed terminal or `kill` ends like Ctrl-C: services are stopped, partial results stay whole.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = options.run(Settings.from_env(), options)
    except WorkflowError as error:
        print(f"dicom-workflow {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"dicom-workflow {options.command}: interrupted. Run it again to go on.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0 if result.get("ok", True) else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dicom-workflow",
        description="From a PACS to a trained, explainable classifier.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dicom-workflow {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Settings, argparse.Namespace], dict[str, Any]], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.add_argument("--json", action="store_true", help="print the result as one JSON object on the last line")
        sub.set_defaults(run=run)
        return sub

    upload = command("upload", _upload, "store a folder of DICOM files in the archive and read each one back")
    upload.add_argument("folder", type=Path, help="folder of DICOM files, searched below")
    upload.add_argument("--workers", type=int, default=8, help="files sent at once (default: 8)")
    upload.add_argument("--output", type=Path, help="where instances.jsonl goes (default: the workspace)")

    manifest = command("manifest", _manifest, "write the input manifest of a labeling job")
    manifest.add_argument("--instances", default="", help="instances.jsonl (default: everything the archive holds)")
    manifest.add_argument("--labels", default="", help="labels, with commas between (default: the fourteen of CheXpert)")
    manifest.add_argument("--by", choices=("source", "source-ref"), default="source", help="what a line points at")
    manifest.add_argument("--output", type=Path, help="the manifest (default: input.manifest in the workspace)")
    manifest.add_argument("--validate", default="", metavar="MANIFEST", help="check this manifest instead of writing one")

    label = command("label", _label, "run a labeling job and wait for its output manifest")
    label.add_argument("manifest", help="input manifest, path or URI")
    label.add_argument("--job-name", default="", help="1 to 63 letters, digits and hyphens (default: from the time)")
    label.add_argument("--workers-per-object", type=int, default=3, help="answers per image, 1 to 9 (default: 3)")
    label.add_argument("--simulated-readers", type=int, default=0, help="answer with so many simulated readers (default: people)")
    label.add_argument("--truth", default="", help="CSV table the simulated readers answer from")
    label.add_argument("--seed", type=int, default=0)

    parse = command("parse", _parse, "read an output manifest and write the manifest that training reads")
    parse.add_argument("manifest", help="output.manifest, or a batch file of consolidation requests")
    parse.add_argument("--instances", default="", help="instances.jsonl, to know the patient of each image")
    parse.add_argument("--truth", default="", help="CSV table to compare the readers with")
    parse.add_argument("--attribute", default="", help="label attribute, where a line has several")
    parse.add_argument("--output", type=Path, help="the manifest (default: training.manifest in the workspace)")
    parse.add_argument("--seed", type=int, default=0, help="for the split by patient")

    train = command("train", _train, "train a DenseNet on an augmented manifest and write a model bundle")
    train.add_argument("manifest", help="augmented manifest, as `parse` writes it")
    train.add_argument("--instances", default="", help="instances.jsonl (default: everything the archive holds)")
    train.add_argument("--output", type=Path, help="folder for the run (default: training in the workspace)")
    train.add_argument("--epochs", type=int, default=15)
    train.add_argument("--image-size-px", type=int, default=224)
    train.add_argument("--batch-size", type=int, default=16)
    train.add_argument("--seed", type=int, default=0)

    predict = command("predict", _predict, "give the probability of each label for DICOM files")
    predict.add_argument("bundle", type=Path, help="model bundle folder")
    predict.add_argument("files", type=Path, nargs="+", help="DICOM files")

    demo = command("demo", _demo, "run all six notebooks, from DICOM files to a trained model")
    demo.add_argument("--data", type=Path, help="folder of DICOM files (default: synthetic phantoms)")
    demo.add_argument("--truth", type=Path, help="CSV table the simulated readers answer from")
    demo.add_argument("--archive", choices=("orthanc", "folder"), default="", help="which archive to use")
    demo.add_argument("--seed", type=int, default=7)
    demo.add_argument("--drill", default="", help="kill-portal: kill the labeling portal in the middle of the labeling")
    demo.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the run's own folder (default: runs)")

    command("up", _up, "start Orthanc and the labeling portal, and leave them running")
    command("down", _down, "stop what `up` started")
    command("lab", _lab, "open JupyterLab on the notebooks, with the local services running")
    return parser


def _upload(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow import services, steps
    from dicom_workflow.archive import open_archive

    settings = services.attach(settings)
    output = options.output or settings.workspace / "archive"
    result = steps.upload(settings, open_archive(settings), options.folder, output, workers=options.workers)
    print(result.summary(), file=sys.stderr)
    return {"ok": result.ok, **result.to_json()}
