"""`search audit` and `search label`: what follows a search."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from dicom_workflow.cli.common import Run, say
from dicom_workflow.settings import Settings

Kind = Callable[[str, Run, str], argparse.ArgumentParser]


def add(kind: Kind) -> None:
    """Add the commands of this module to those of `search`."""
    audit = kind("audit", _audit, "list near duplicates, and labels at odds with neighbors or reports, for review")
    audit.add_argument("--truth", default="", metavar="TABLE", help="CSV of labels to check (default: what the reports state)")
    audit.add_argument("--no-duplicates", action="store_true", help="check labels alone: no image is read")
    audit.add_argument("--least-score", type=float, default=0.7, help="from which a label is doubted, 0 to 1 (default: 0.7)")
    audit.add_argument("--space", default="", help="embedding space (default: the one that serves)")
    audit.add_argument(
        "--output", default="", metavar="FOLDER", help="gets review.jsonl, .csv and .manifest (default: workspace)"
    )

    label = kind("label", _label, "let readers label the images of a search, pre-annotated from their reports")
    label.add_argument("text", nargs="?", default="", help="words of reports")
    label.add_argument("--where", default="", metavar="JSON", help='filter of reports: {"uncertain_labels": ["Pneumonia"]}')
    label.add_argument("--similar-to", default="", metavar="UID", help="this image and the most similar ones")
    label.add_argument("--image", action="append", default=[], metavar="UID", help="this image; repeatable")
    label.add_argument("--limit", type=int, default=100, help="images at most (default: 100)")
    label.add_argument(
        "--suggest", choices=("report", "neighbors", "none"), default="report", help="pre-annotations (default: of the report)"
    )
    label.add_argument("--manifest-only", action="store_true", help="write the manifest and create no job")
    label.add_argument("--workers-per-object", type=int, default=3, help="answers per image, 1 to 9 (default: 3)")
    label.add_argument("--simulated-readers", type=int, default=0, help="number of simulated readers (default: people answer)")
    label.add_argument("--truth", default="", help="CSV table that simulated readers answer from")
    label.add_argument("--output", default="", help="folder or s3:// URI the job writes to (default: the workspace)")


def _store(settings: Settings, options: argparse.Namespace) -> str:
    return options.store or str(settings.make_workspace() / "search" / "index")


def _audit(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import search_selection
    from dicom_workflow.storage import to_uri

    found = search_selection.audit(
        _store(settings, options),
        settings,
        output_uri=to_uri(options.output) if options.output else "",
        truth=options.truth,
        duplicates=not options.no_duplicates,
        least_score=options.least_score,
        space_id=options.space,
    )
    metrics = found.review.metrics()
    for name, number in metrics.items():
        say(f"{name.replace('_', ' ')}: {number:,}")
    for image_id, reason in list(found.review.duplicates.refused.items())[:20]:
        say(f"{image_id}: {reason}")
    say(f"The list: {found.uri}" + (f"; to label it: dicom-workflow label {found.manifest_uri}" if found.manifest_uri else ""))
    return {"ok": True, "review": found.uri, "manifest": found.manifest_uri, **metrics}


def _label(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.errors import SearchError
    from dicom_workflow.pipeline import labeling_step, local_services, search_selection
    from dicom_workflow.storage import join, to_uri

    try:
        where = json.loads(options.where) if options.where else None
    except ValueError:
        raise SearchError(f"--where: expected a filter as JSON, got {options.where[:80]!r}.") from None
    selection = search_selection.Selection(tuple(options.image), options.similar_to, options.text, where, options.limit)
    output_uri = to_uri(options.output or settings.make_workspace() / "search" / "labeling")
    if options.manifest_only:
        manifest_uri = join(output_uri, "selected.manifest")
        lines = search_selection.select(_store(settings, options), selection, manifest_uri, settings, origin=options.suggest)
        say(f"{lines:,} images: {manifest_uri}")
        return {"ok": True, "manifest": manifest_uri, "images": lines}
    settings = local_services.attach(settings)
    started = search_selection.label(
        _store(settings, options),
        selection,
        output_uri,
        settings,
        readers=labeling_step.Readers(
            simulated=options.simulated_readers, truth_uri=to_uri(options.truth) if options.truth else ""
        ),
        origin=options.suggest,
        workers_per_object=options.workers_per_object,
    )
    say(f"{started.job_name}: {started.team.invitation(settings)}")
    labeled = labeling_step.finish(started, settings)
    return {"ok": not labeled.state.failed, "output_manifest": labeled.record.artifact_uri, **labeled.record.metrics}
