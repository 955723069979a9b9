"""Images and manifests: `upload`, `manifest`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this module."""
    upload = command(
        "upload",
        _upload,
        "store a folder of DICOM files in the archive and read each one back",
        after_interrupt="Run it again to go on: files that are in the archive already are only verified.",
    )
    upload.add_argument("folder", type=Path, help="folder of DICOM files, searched with its subfolders")
    upload.add_argument("--workers", type=int, default=16, help="files sent at once (default: 16)")
    upload.add_argument("--resume-log", type=Path, metavar="FILE", help="log of finished files, to go on from after Ctrl-C")
    upload.add_argument("--copies", default="", help="s3:// folder for copies of the images, for readers on AWS")
    upload.add_argument("--output", type=Path, help="list that the verified instances are added to (default: in the workspace)")

    manifest = command(
        "manifest",
        _manifest,
        "write the input manifest of a labeling job",
        after_interrupt="Nothing was written. Run it again.",
    )
    manifest.add_argument("--instances", default="", help="instances.jsonl (default: that of `upload`, else the whole archive)")
    manifest.add_argument(
        "--labels", default="", help="labels, as CSV: 'Fracture,\"Opacity, left\"' (default: the chest label set)"
    )
    manifest.add_argument("--by", choices=("source", "source-ref"), default="source", help="what a line points at")
    manifest.add_argument("--output", type=Path, help="the manifest (default: input.manifest in the workspace)")
    manifest.add_argument("--validate", default="", metavar="MANIFEST", help="check this manifest instead of writing one")


def _upload(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.archive.upload_report import NothingStoredError, UploadReport
    from dicom_workflow.pipeline import local_services, steps
    from dicom_workflow.storage import to_uri

    def say_problems(report: UploadReport) -> None:
        say(", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count))
        for outcome in report.problems().itertuples():
            say(f"  {outcome.path}: {outcome.outcome}: {outcome.reason}")
        for item in report.outcomes:
            if item.instance in report.without_patient_id:
                say(f"  {item.path}: {item.outcome}, without PatientID: it can be labeled, but not be split for training")

    settings = local_services.attach(settings)
    uri = to_uri(options.output or settings.workspace / "archive" / "instances.jsonl")
    try:
        uploaded = steps.upload(
            options.folder, uri, settings, workers=options.workers, resume_log=options.resume_log, copies_uri=options.copies
        )
    except NothingStoredError as error:
        say_problems(error.report)
        say("0 instances verified; no list was written")
        return {"ok": False, "instances_uri": "", **error.report.metrics()}
    say_problems(uploaded.report)
    for identifier, reason in uploaded.copies_refused.items():
        say(f"  {identifier}: not copied: {reason}")
    listed = uploaded.record.metrics["listed"]
    say(f"{len(uploaded.report.instances)} instances verified, {listed} in the list: {uri}")
    ok = uploaded.report.ok and not uploaded.copies_refused
    return {"ok": ok, "instances_uri": uri, "listed": listed, **uploaded.report.metrics()}


def _manifest(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.formats import manifest_validation
    from dicom_workflow.formats.labels import parse_label_list
    from dicom_workflow.pipeline import local_services, records, steps
    from dicom_workflow.storage import Storage, to_uri

    left_out: dict[str, int] = {}
    if options.validate:
        uri = to_uri(options.validate)
        found = manifest_validation.validate(uri, storage=Storage(settings))
    else:
        uri = to_uri(options.output or settings.workspace / "labeling" / "input.manifest")
        instances_uri = to_uri(options.instances) if options.instances else ""
        if not instances_uri:
            instances_uri = records.find_instances(local_services.attach(settings), make=False)
        labels = parse_label_list(options.labels) if options.labels else ()
        written = steps.create_manifest(instances_uri, uri, settings, labels=labels, by=options.by)
        found, left_out = written.validation, dict(written.left_out)
    for error in found.errors:
        say(f"  {error}")
    for modality, count in left_out.items():
        say(f"  {count} {modality} objects are no images: left out")
    say(f"{found.accepted} of {found.lines} lines are good: {uri}")
    return {
        "ok": not found.refused,
        "manifest_uri": uri,
        "lines": found.lines,
        "refused": found.refused,
        "left_out": left_out,
    }
