"""Images and manifests: `upload`, `manifest`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this room."""
    upload = command("upload", _upload, "store a folder of DICOM files in the archive and read each one back")
    upload.add_argument("folder", type=Path, help="folder of DICOM files, searched below")
    upload.add_argument("--workers", type=int, default=16, help="files sent at once (default: 16)")
    upload.add_argument("--journal", type=Path, help="file to go on from after an interruption")
    upload.add_argument("--copies", default="", help="s3:// folder for copies of the images, for readers on AWS")
    upload.add_argument("--output", type=Path, help="list of the verified instances (default: in the workspace)")

    manifest = command("manifest", _manifest, "write the input manifest of a labeling job")
    manifest.add_argument("--instances", default="", help="instances.jsonl (default: everything the archive holds)")
    manifest.add_argument("--labels", default="", help="labels, with commas between (default: the fourteen of CheXpert)")
    manifest.add_argument("--by", choices=("source", "source-ref"), default="source", help="what a line points at")
    manifest.add_argument("--output", type=Path, help="the manifest (default: input.manifest in the workspace)")
    manifest.add_argument("--validate", default="", metavar="MANIFEST", help="check this manifest instead of writing one")


def _upload(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.archive import mirror, open_archive
    from dicom_workflow.archive import upload as transfer
    from dicom_workflow.formats import manifests as manifest
    from dicom_workflow.pipeline import local_services
    from dicom_workflow.storage import Storage, to_uri

    settings = local_services.attach(settings)
    archive, storage = open_archive(settings), Storage(settings)
    try:
        report = transfer.upload(options.folder, archive, workers=options.workers, journal_path=options.journal)
    except transfer.UploadInterruptedError as error:
        say(str(error))
        raise
    made = mirror.copy_to(options.copies, report.instances, archive, storage)
    uri = to_uri(options.output or settings.workspace / "archive" / "instances.jsonl")
    if made.instances:
        manifest.write(uri, (instance.to_json() for instance in made.instances), storage=storage, check=False)
    say(", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count))
    for outcome in report.problems().itertuples():
        say(f"  {outcome.path}: {outcome.outcome}: {outcome.reason}")
    for identifier, reason in made.refused.items():
        say(f"  {identifier}: not copied: {reason}")
    say(f"{len(report.instances)} instances verified: {uri}")
    return {"ok": report.ok and not made.refused, "instances_uri": uri, **report.metrics()}


def _manifest(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.archive import open_archive
    from dicom_workflow.formats import manifests as manifest
    from dicom_workflow.formats.labels import default_label_set, parse_label_list
    from dicom_workflow.pipeline import local_services
    from dicom_workflow.storage import Storage, to_uri

    storage = Storage(settings)
    uri = to_uri(options.validate or options.output or settings.workspace / "labeling" / "input.manifest")
    if not options.validate:
        if options.instances:
            instances = iter(manifest.read_instances(to_uri(options.instances), storage=storage))
        else:
            instances = open_archive(local_services.attach(settings)).search_for_instances()
        labels = default_label_set(parse_label_list(options.labels) if options.labels else ())
        manifest.write(uri, manifest.entries_for(instances, labels, by=options.by), storage=storage)
    found = manifest.validate(uri, storage=storage)
    for error in found.errors:
        say(f"  {error}")
    say(f"{found.accepted} of {found.lines} lines are good: {uri}")
    return {"ok": not found.refused, "manifest_uri": uri, "lines": found.lines, "refused": found.refused}
