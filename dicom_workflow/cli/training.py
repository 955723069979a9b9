"""Training: `train`, with every flag that the training script has."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

from dicom_workflow.cli.common import Command, say, values_of
from dicom_workflow.learning.training.dataclass_flags import to_bool
from dicom_workflow.learning.training.script_run import SCRIPT
from dicom_workflow.settings import Settings

_OURS = {"channel", "model_dir", "output_dir", "stop_with_stdin"}
"""Flags of the script that this command fills in itself."""
_FLAG = "flag of the script: "
_FURTHER_NAMES = {"size_px": "--image-size-px"}


def add(command: Command) -> None:
    """Add the commands of this module."""
    train = command(
        "train",
        _train,
        "train a network on an augmented manifest and write a model bundle",
        after_interrupt="Run it again with --resume true to go on from the last checkpoint, without it to begin anew.",
    )
    train.add_argument("manifest", help="augmented manifest, as `parse` writes it")
    train.add_argument("--instances", default="", help="instances.jsonl (default: that of `upload`, else the whole archive)")
    train.add_argument("--output", type=Path, help="folder for the run (default: model in the workspace)")
    train.add_argument("--train-on", choices=("local", "sagemaker"), default="local", help="this machine or a training job")
    aws = train.add_argument_group("with --train-on sagemaker")
    aws.add_argument("--role-arn", default="", help="execution role of the job")
    aws.add_argument("--channel-uri", default="", help="s3:// folder for the manifests and images")
    aws.add_argument("--model-uri", default="", help="s3:// folder for the model")
    aws.add_argument("--instance-type", default="ml.g5.xlarge", help="machine (default: ml.g5.xlarge)")
    aws.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="one more field of TrainingRequest, such as --set instance_count 2 or --set spot false",
    )
    _add_flags(train)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the script's flags as the script itself says them, so that a new one there is one here."""
    script = _script()
    if script is None:  # installed without its checkout: `train` then says where it looked for the script
        return
    hints = get_type_hints(script.Config, include_extras=True)
    group = parser.add_argument_group("settings of the training script")
    for field in fields(script.Config):
        if field.name in _OURS:
            continue
        kind, reason = get_args(hints[field.name])
        names = dict.fromkeys([f"--{field.name.replace('_', '-')}", f"--{field.name}", _FURTHER_NAMES.get(field.name, "")])
        group.add_argument(
            *filter(None, names),
            dest=f"{_FLAG}{field.name}",
            type=to_bool if kind is bool else kind,
            choices=script.CHOICES.get(field.name),
            default=argparse.SUPPRESS,
            metavar=None if field.name in script.CHOICES else kind.__name__.upper(),
            help=f"{reason.replace('%', '%%')} (default: {str(field.default) or 'none'})",
        )


def _script() -> ModuleType | None:
    """Return the training script as a module; it imports nothing heavy before it trains."""
    if not SCRIPT.is_file():
        return None
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    if spec is None or spec.loader is None:
        return None
    module = sys.modules[SCRIPT.stem] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def _train(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.archive import open_archive
    from dicom_workflow.formats import manifests
    from dicom_workflow.pipeline import local_services, records, training
    from dicom_workflow.storage import Storage, to_uri

    flags = {name.removeprefix(_FLAG): value for name, value in vars(options).items() if name.startswith(_FLAG)}
    script = _script()
    if script is not None:  # what does not fit together shows now, not after the images were fetched
        script.parse([f"--{name}={value}" for name, value in flags.items()], {})
    settings = local_services.attach(settings)
    archive, storage = open_archive(settings), Storage(settings)
    folder = (options.output or settings.workspace / "model").resolve()
    manifest_uri = to_uri(options.manifest)
    instances_uri = to_uri(options.instances) if options.instances else records.find_instances(settings, make=False)
    instances = manifests.read_instances(instances_uri, storage=storage)
    staged = training.stage(manifest_uri, instances, archive, folder / "channel", storage=storage)
    for source, reason in staged.refused.items():
        say(f"  {source}: {reason}")
    result = training.train(
        settings,
        staged.folder,
        folder,
        train_on=options.train_on,
        on_line=say,
        flags=flags,
        role_arn=options.role_arn,
        instance_type=options.instance_type,
        channel_uri=options.channel_uri,
        model_uri=options.model_uri,
        job=values_of(options.set),
    )
    records.keep(training.record(result, staged, folder, manifest_uri, instances_uri), settings)
    say(f"model bundle: {result.model_uri}")
    return {
        "ok": not staged.refused,
        "model": result.model_uri if options.train_on == "sagemaker" else str(folder / "model"),
        "images": staged.images,
        "evaluation": result.evaluation.to_json() if result.evaluation else {},
    }
