"""The command line: a command that has a notebook calls the same function and leaves the same record.

Exit code 0 when everything went through, 1 when something did not (the message says what), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from dicom_workflow import __version__
from dicom_workflow.cli import images, labeling, models, notebooks, search, serving, stacks, training
from dicom_workflow.cli.common import Run, say
from dicom_workflow.errors import WorkflowError
from dicom_workflow.settings import Settings

_EXAMPLES = """\
examples:
  dicom-workflow upload ~/images
  dicom-workflow manifest --labels "Pneumonia,COVID-19,Fracture"
  dicom-workflow label input.manifest --job-name chest-1 --truth truth.csv --simulated-readers 3
  dicom-workflow parse output.manifest
  dicom-workflow adjudicate output.manifest
  dicom-workflow train training.manifest --epochs 15
  dicom-workflow train training.manifest --train-on sagemaker --channel-uri s3://b/channel --model-uri s3://b/m --role-arn ARN
  dicom-workflow predict model image.dcm
  dicom-workflow predict model --manifest input.manifest --sr reports
  dicom-workflow evaluate model channel --specificity 0.95
  dicom-workflow compare one/predictions.jsonl other/predictions.jsonl
  dicom-workflow search index ~/images --reports ~/reports.jsonl
  dicom-workflow serve local model.tar.gz
  dicom-workflow serve endpoint s3://b/model/job/output/model.tar.gz --image REGISTRY/dicom-workflow:1 --role-arn ARN
  dicom-workflow run --parameters notebooks/parameters/aws.yaml
  dicom-workflow deploy --dry-run --parameters deployment.yaml
  dicom-workflow deploy --parameters deployment.yaml
  dicom-workflow status --write aws.yaml
  dicom-workflow demo
  dicom-workflow demo --data ~/images --truth ~/truth.csv

The addresses of the archive and of the labeling service come from the environment or a .env file (ORTHANC_URL, ORTHANC_USER,
ORTHANC_PASSWORD, GROUNDTRUTH_URL, S3_URL, …). Where none is given, local services are started in the workspace
(DICOM_WORKFLOW_WORKSPACE, default: ~/dicom-workflow).
"""


_WITHOUT_PATIENTS = ("serve", "deploy", "status", "destroy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # A closed terminal or `kill` ends like Ctrl-C: services are stopped, partial results stay whole.
    signal.signal(signal.SIGTERM, _interrupt)
    # What the other commands write may name or show patients, so only this user may read it, wherever the workspace lies.
    umask = os.umask(0o077)
    if options.command in _WITHOUT_PATIENTS:
        os.umask(umask)
    try:
        result = options.run(Settings.from_env(), options)
    except WorkflowError as error:
        say(f"dicom-workflow {options.command}: {error}")
        return 1
    except KeyboardInterrupt:
        say(f"\ndicom-workflow {options.command}: interrupted. {options.after_interrupt}")
        return 130
    finally:
        os.umask(umask)
    if options.json:
        print(_json_line(result))
    return 0 if result.get("ok", True) else 1


def _json_line(result: dict[str, Any]) -> str:
    """Return the result as one line of JSON, in escapes where the output's encoding cannot hold a name."""
    text = json.dumps(result, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(result)
    return text


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

    def command(name: str, run: Run, text: str, *, after_interrupt: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.add_argument("--json", action="store_true", help="print the result as one JSON object on the last line")
        sub.set_defaults(run=run, after_interrupt=after_interrupt)
        return sub

    for module in (images, labeling, training, models, search, serving, notebooks, stacks):
        module.add(command)
    return parser
