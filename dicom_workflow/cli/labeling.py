"""A labeling job, its output, and adjudication: `label`, `parse`, `adjudicate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.settings import Settings

_ON_AWS = ("assets_url", "role_arn", "pre_annotation_arn", "post_annotation_arn")


def add(command: Command) -> None:
    """Add the commands of this module."""
    label = command(
        "label",
        _label,
        "run a labeling job and wait for its output manifest",
        after_interrupt="The job, if it was created, is still there. Run it again to wait for the same job.",
    )
    label.add_argument("manifest", help="input manifest, path or URI")
    label.add_argument("--job-name", default="", help="1 to 63 letters, digits and hyphens (default: from task and time)")
    label.add_argument("--task", default="", help="kind of labeling task (default: radiograph)")
    label.add_argument("--workers-per-object", type=int, default=3, help="answers per image, 1 to 9 (default: 3)")
    label.add_argument("--simulated-readers", type=int, default=0, help="number of simulated readers (default: people answer)")
    label.add_argument(
        "--truth", default="", help="CSV table that simulated readers answer from (default: that of the phantoms)"
    )
    label.add_argument("--predictions", default="", help="predictions.jsonl of a model for the readers to see")
    label.add_argument(
        "--assistance",
        choices=("after-first-read", "shown", "off"),
        default="after-first-read",
        help="when readers see the model (default: after their own first reading)",
    )
    label.add_argument("--assets-url", default="", help="public address of the folder worker-ui (default: presigned addresses)")
    label.add_argument("--output", default="", help="folder or s3:// URI the job writes to (default: the workspace)")
    label.add_argument("--workteam-arn", default="", help="private work team, on AWS")
    label.add_argument("--role-arn", default="", help="execution role of the job, on AWS")
    label.add_argument("--pre-annotation-arn", default="", help="pre-annotation Lambda function, on AWS")
    label.add_argument("--post-annotation-arn", default="", help="post-annotation Lambda function, on AWS")
    label.add_argument("--seed", type=int, default=0, help="of the simulated readers' errors (default: 0)")

    parse = command(
        "parse",
        _parse,
        "read an output manifest and write the manifest that training reads",
        after_interrupt="Nothing was written. Run it again.",
    )
    parse.add_argument("manifest", help="output.manifest, or a batch file of consolidation requests")
    parse.add_argument(
        "--instances", default="", help="instances.jsonl, for the patient of each image (default: that of `upload`)"
    )
    parse.add_argument("--truth", default="", help="CSV table to compare the readers with")
    parse.add_argument("--attribute", default="", help="label attribute, where a line has several")
    parse.add_argument("--output", type=Path, help="the manifest (default: training.manifest in the workspace)")
    parse.add_argument("--seed", type=int, default=0, help="of the split by patient (default: 0)")

    adjudicate = command(
        "adjudicate",
        _adjudicate,
        "write the manifest of a second job for what readers disagree on, or join its decisions to the first output",
        after_interrupt="Nothing was written. Run it again.",
    )
    adjudicate.add_argument("manifest", help="output.manifest of the first job")
    adjudicate.add_argument("--decisions", default="", help="output.manifest of the adjudication job, to join to the first")
    adjudicate.add_argument("--attribute", default="", help="label attribute of the first job, where a line has several")
    adjudicate.add_argument("--ties-only", action="store_true", help="only images without a majority (default: any difference)")
    adjudicate.add_argument("--output", type=Path, help="the manifest (default: in the workspace)")
    adjudicate.add_argument("--seed", type=int, default=0, help="of the letters that stand for the readers (default: 0)")


def _label(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import labeling_step, local_services, records
    from dicom_workflow.storage import to_uri

    settings = local_services.attach(settings)
    given = to_uri(options.truth) if options.truth else ""
    started = labeling_step.start(
        to_uri(options.manifest),
        to_uri(options.output or settings.workspace / "labeling"),
        settings,
        readers=labeling_step.Readers(
            simulated=options.simulated_readers,
            truth_uri=records.find_input(settings, records.UPLOAD, given, name="truth", required=False),
            seed=options.seed,
            workteam_arn=options.workteam_arn,
        ),
        job_name=options.job_name,
        workers_per_object=options.workers_per_object,
        predictions_uri=to_uri(options.predictions) if options.predictions else "",
        assistance=options.assistance,
        options={name: getattr(options, name) for name in _ON_AWS},
        task=options.task,
    )
    for error in started.accepted.errors:
        say(f"  left out: {error}")
    for note in started.notes:
        say(note)
    say(f"{started.job_name}: {started.team.invitation(settings)}")
    labeled = labeling_step.finish(started, settings)
    state = labeled.state
    unmatched = 0 < state.total == labeled.images_without_truth
    if unmatched:
        say(f"The table matches 0 of {state.total} images. Compare its 'sop_instance_uid' column with the images.")
    elif labeled.images_without_truth:
        say(f"{labeled.images_without_truth} images are not in the table of the simulated readers: left unanswered")
    say(f"{state.status}: {state.labeled} of {state.total} labeled, {state.failed} failed: {state.output_manifest_uri}")
    return {
        "ok": state.status == "Completed" and not state.failed and not started.accepted.refused and not unmatched,
        "job": started.job_name,
        "status": state.status,
        "labeled": state.labeled,
        "failed": state.failed,
        "lines_refused": started.accepted.refused,
        "images_without_truth": labeled.images_without_truth,
        "output_manifest_uri": state.output_manifest_uri,
    }


def _parse(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import records, steps
    from dicom_workflow.storage import to_uri

    given = to_uri(options.instances) if options.instances else ""
    parsed = steps.parse(
        to_uri(options.manifest),
        to_uri(options.output or settings.workspace / "training" / "training.manifest"),
        settings,
        instances_uri=records.find_input(settings, records.UPLOAD, given, required=False),
        truth_uri=to_uri(options.truth) if options.truth else "",
        attribute=options.attribute,
        seed=options.seed,
    )
    for number, reason in parsed.failed:
        say(f"  line {number}: {reason}")
    for number, answer in parsed.refused:
        worker = answer.get("workerId") or "a worker without id"
        say(f"  line {number}: answer of {worker} refused: {answer.get('reason', '')}")
    for read_as in dict.fromkeys(item.read_as for item in parsed.objects if item.read_as):
        say(f"  {read_as}")
    counts = f"{len(parsed.labeled)} of {len(parsed.objects)} objects have a label, {len(parsed.refused)} answers refused"
    say(f"{counts}, kappa {parsed.summary.overall_kappa}: {parsed.uri}")
    return {
        "ok": not parsed.failed,
        "training_manifest_uri": parsed.uri,
        "labeled": len(parsed.labeled),
        "failed": len(parsed.failed),
        "answers_refused": len(parsed.refused),
        "agreement": parsed.summary.overall_kappa,
        "consolidated_accuracy": parsed.summary.consolidated_accuracy,
        "best_single_reader_accuracy": parsed.summary.best_single_reader_accuracy,
    }


def _adjudicate(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import labeling_step
    from dicom_workflow.storage import to_uri

    name = "adjudicated.manifest" if options.decisions else "adjudication.manifest"
    found = labeling_step.adjudicate(
        to_uri(options.manifest),
        to_uri(options.output or settings.workspace / "labeling" / name),
        settings,
        decisions_uri=to_uri(options.decisions) if options.decisions else "",
        attribute=options.attribute,
        any_difference=not options.ties_only,
        seed=options.seed,
    )
    what = "were decided" if options.decisions else "need an adjudicator"
    say(f"{found.disputed} of {found.objects} objects {what}{': ' if found.uri else ''}{found.uri}")
    if found.uri and not options.decisions:
        say(f"To let one reader decide: dicom-workflow label {found.uri} --workers-per-object 1")
    return {"ok": True, "manifest_uri": found.uri, "objects": found.objects, "disputed": found.disputed}
