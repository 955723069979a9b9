"""A labeling job and what comes out of it: `label`, `parse`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this room."""
    label = command("label", _label, "run a labeling job and wait for its output manifest")
    label.add_argument("manifest", help="input manifest, path or URI")
    label.add_argument("--job-name", default="", help="1 to 63 letters, digits and hyphens (default: from the time)")
    label.add_argument("--workers-per-object", type=int, default=3, help="answers per image, 1 to 9 (default: 3)")
    label.add_argument("--simulated-readers", type=int, default=0, help="how many simulated readers (default: people answer)")
    label.add_argument("--truth", default="", help="CSV table the simulated readers answer from")
    label.add_argument("--predictions", default="", help="predictions.jsonl of a model for the readers to see")
    label.add_argument(
        "--assistance",
        choices=("after-first-read", "shown", "off"),
        default="after-first-read",
        help="when readers see the model (default: after their own first reading)",
    )
    label.add_argument("--assets-url", default="", help="public address of the folder worker-ui (default: presigned ones)")
    label.add_argument("--output", default="", help="folder or s3:// URI the job writes to (default: the workspace)")
    label.add_argument("--workteam-arn", default="", help="private work team, on AWS")
    label.add_argument("--role-arn", default="", help="execution role of the job, on AWS")
    label.add_argument("--pre-annotation-arn", default="", help="Lambda function, on AWS")
    label.add_argument("--post-annotation-arn", default="", help="Lambda function, on AWS")
    label.add_argument("--seed", type=int, default=0)

    parse = command("parse", _parse, "read an output manifest and write the manifest that training reads")
    parse.add_argument("manifest", help="output.manifest, or a batch file of consolidation requests")
    parse.add_argument("--instances", default="", help="instances.jsonl, to know the patient of each image")
    parse.add_argument("--truth", default="", help="CSV table to compare the readers with")
    parse.add_argument("--attribute", default="", help="label attribute, where a line has several")
    parse.add_argument("--output", type=Path, help="the manifest (default: training.manifest in the workspace)")
    parse.add_argument("--seed", type=int, default=0, help="for the split by patient")


def _label(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from datetime import datetime

    from dicom_workflow.formats import manifests
    from dicom_workflow.labeling import jobs, suggestions, templates
    from dicom_workflow.labeling.client import job_arns
    from dicom_workflow.labeling.reference_standard import ReferenceStandard
    from dicom_workflow.pipeline import local_services
    from dicom_workflow.simulation import run
    from dicom_workflow.storage import Storage, join, to_uri

    settings = local_services.attach(settings)
    storage = Storage(settings)
    manifest_uri = to_uri(options.manifest)
    output_uri = to_uri(options.output or settings.workspace / "labeling")
    client = jobs.client(settings)
    team = run.assemble(
        settings, client, simulated_readers=options.simulated_readers, seed=options.seed, workteam_arn=options.workteam_arn
    )
    accepted_uri = join(output_uri, "accepted.manifest")
    accepted = manifests.accept(manifest_uri, accepted_uri, storage=storage)
    for error in accepted.errors:
        say(f"  left out: {error}")
    predictions_uri = to_uri(options.predictions) if options.predictions else ""
    suggested_uri = join(output_uri, "suggested.manifest")
    template_uri = join(output_uri, "radiograph.liquid.html")
    labeling_job = jobs.LabelingJob(
        name=options.job_name or f"chest-{datetime.now():%Y%m%d-%H%M%S}",
        manifest_uri=suggestions.suggest(
            accepted_uri, predictions_uri, suggested_uri, mode=options.assistance, storage=storage
        ),
        output_uri=output_uri,
        template_uri=templates.publish_template(template_uri, storage, assets_url=options.assets_url or None),
        label_categories_uri=templates.publish_label_categories(join(output_uri, "labels.json"), accepted.labels, storage),
        workteam_arn=team.arn,
        workers_per_object=options.workers_per_object,
        **job_arns(
            settings,
            role=options.role_arn,
            pre_annotation=options.pre_annotation_arn,
            post_annotation=options.post_annotation_arn,
        ),
    )
    jobs.create(client, labeling_job, storage=storage)
    say(f"{labeling_job.name}: {team.invitation(settings)}")
    truth = ReferenceStandard.read(to_uri(options.truth) if options.truth else "", storage=storage)
    state, _ = run.label(settings, client, labeling_job.name, team, truth=truth.by_instance() if truth else None)
    say(f"{state.status}: {state.labeled} of {state.total} labeled, {state.failed} failed: {state.output_manifest_uri}")
    return {
        "ok": state.status == "Completed" and not state.failed and not accepted.refused,
        "job": labeling_job.name,
        "status": state.status,
        "labeled": state.labeled,
        "failed": state.failed,
        "lines_refused": accepted.refused,
        "output_manifest_uri": state.output_manifest_uri,
    }


def _parse(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.formats import manifests
    from dicom_workflow.labeling import agreement, output, summary
    from dicom_workflow.labeling.reference_standard import ReferenceStandard
    from dicom_workflow.storage import Storage, to_uri

    storage = Storage(settings)
    objects = list(output.read_output(to_uri(options.manifest), attribute=options.attribute, storage=storage))
    failed = [item for item in objects if item.failure_reason]
    refused = sum(len(item.refused) for item in objects)
    for item in failed:
        say(f"  line {item.number}: {item.failure_reason}")
    instances = manifests.read_instances(to_uri(options.instances), storage=storage) if options.instances else []
    truth = ReferenceStandard.read(to_uri(options.truth) if options.truth else "", storage=storage)
    found = summary.summarize(objects, truth=agreement.truth_by_source(truth, instances) if truth else None)
    uri = to_uri(options.output or settings.workspace / "training" / "training.manifest")
    lines = output.augmented_lines(objects, instances, truth=truth, seed=options.seed)
    count = manifests.write(uri, lines, storage=storage, limits=False)
    say(f"{count} of {len(objects)} objects have a label, {refused} answers refused, kappa {found.overall_kappa}: {uri}")
    return {
        "ok": not failed,
        "training_manifest_uri": uri,
        "labeled": count,
        "failed": len(failed),
        "answers_refused": refused,
        "agreement": found.overall_kappa,
        "consolidated_accuracy": found.consolidated_accuracy,
        "best_single_reader_accuracy": found.best_single_reader_accuracy,
    }
