"""`search`: fill, serve, examine and maintain a search index of images and reports."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dicom_workflow.cli import search_audit
from dicom_workflow.cli.common import Command, Run, say
from dicom_workflow.settings import Settings

_EXAMPLES = """\
examples:
  dicom-workflow search index ~/images --reports ~/reports.jsonl
  dicom-workflow search index archive --store s3://bucket/search --model model/model --watch
  dicom-workflow search index sqs:https://sqs.eu-central-1.amazonaws.com/123456789012/uploads --watch
  dicom-workflow search index --store s3://bucket/search --vectors embeddings.npz
  dicom-workflow search serve
  dicom-workflow search read-reports reports.jsonl --output findings.jsonl
  dicom-workflow search evaluate --truth labels.csv
  dicom-workflow search audit --truth labels.csv
  dicom-workflow search label --where '{"uncertain_labels": ["Pneumonia"]}'
  dicom-workflow search maintain

A store is a folder, s3://bucket/prefix, postgresql://… (pgvector) or https://… (OpenSearch); the default is a folder of the
workspace. Everything is done again without harm: what is in the index already is not read twice.
"""
_SERVICE = "let Amazon Comprehend Medical read the reports, which sends their text to AWS (default: the local engine)"


def add(command: Command) -> None:
    """Add the commands of this module."""
    parser = command(
        "search",
        _index,
        "search similar images, and findings in reports",
        after_interrupt="Run it again to go on: what is in the index already is not done twice.",
    )
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    def kind(name: str, run: Run, text: str, *, store: bool = True) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the result as one JSON object")
        if store:
            sub.add_argument(
                "--store", default="", metavar="URL", help="the search store (default: search/index in the workspace)"
            )
        sub.set_defaults(run=run)
        return sub

    index = kind("index", _index, "put images and reports into the index; again, it does nothing twice")
    index.add_argument("source", nargs="?", default="", help="folder, s3://bucket/prefix, 'archive', or sqs:QUEUE_URL")
    index.add_argument(
        "--model",
        default="",
        metavar="BUNDLE",
        help="bundle that makes the embeddings (default: that of the index, else that of the workspace; 'none': no embeddings)",
    )
    index.add_argument(
        "--reports",
        action="append",
        default=[],
        metavar="PLACE",
        help="JSON lines, CSV, text, or a folder of these; repeatable",
    )
    index.add_argument("--comprehend-medical", action="store_true", help=_SERVICE)
    index.add_argument("--pairs", default="", metavar="CSV", help="table of sop_instance_uid and report_id")
    index.add_argument("--vectors", default="", metavar="FILE", help="embeddings of another network: .npz, .parquet or .csv")
    index.add_argument("--workers", type=int, default=0, help="images decoded at a time (default: one a CPU)")
    index.add_argument("--report", type=Path, metavar="FILE", help="what was left out and why (default: in the workspace)")
    index.add_argument("--watch", action="store_true", help="go on with what comes, until Ctrl-C or SIGTERM")
    index.add_argument("--poll-seconds", type=float, default=5.0, help="between two looks, with --watch (default: 5)")

    serve = kind("serve", _serve, "serve the page and the GraphQL interface until Ctrl-C or SIGTERM")
    serve.add_argument("--model", default="", metavar="BUNDLE", help="for uploaded images (default: that of the index)")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=8600, help="default: 8600")
    serve.add_argument(
        "--access",
        choices=("token", "oidc", "off"),
        default="",
        help="token: SEARCH_TOKEN, or one that is printed once; oidc: of SEARCH_OIDC_ISSUER, the default where that is set; "
        "off: on this machine alone",
    )
    serve.add_argument("--hosts", action="append", default=[], metavar="NAME", help="host name that is accepted; repeatable")
    serve.add_argument(
        "--trust-proxy", action="append", default=[], metavar="NETWORK", help="whose X-Forwarded-Proto is believed"
    )

    search_audit.add(kind)

    maintain = kind("maintain", _maintain, "compact the index, and measure its recall and duplicates")
    maintain.add_argument("--whiten", action="store_true", help="whiten the embeddings, and let the whitened ones serve")
    maintain.add_argument(
        "--truth", default="", metavar="TABLE", help="with --whiten: within these labels; measure on other patients' images"
    )
    maintain.add_argument("--serve", default="", metavar="SPACE", help="let this embedding space serve, whole or not")
    maintain.add_argument("--drop", default="", metavar="SPACE", help="delete the embeddings of this space")

    read = kind("read-reports", _read_reports, "read findings, codes and labels out of reports", store=False)
    read.add_argument("file", type=Path, metavar="FILE.jsonl", help="a JSON object a line: report_id, and text or sections")
    read.add_argument("--comprehend-medical", action="store_true", help=_SERVICE)
    read.add_argument("--output", type=Path, metavar="FILE", help="a JSON line a report (default: in the workspace)")
    read.set_defaults(after_interrupt="Run it again: it goes on where it was.")

    evaluate = kind("evaluate", _evaluate, "measure retrieval against a table of labels, patient-disjoint, with baselines")
    evaluate.add_argument(
        "--truth", required=True, metavar="TABLE", help="CSV: sop_instance_uid, label or labels; source, view"
    )
    evaluate.add_argument("--space", default="", help="embedding space (default: the one that serves)")
    evaluate.add_argument("--weights", default="", metavar="FILE", help="weights of a DenseNet121 as one more baseline")
    evaluate.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of patients (default: 1000)")
    evaluate.add_argument("--seed", type=int, default=0, help="of resamples and random baselines (default: 0)")
    evaluate.add_argument("--report", type=Path, metavar="FILE", help="all figures as JSON (default: in the workspace)")


def _store(settings: Settings, options: argparse.Namespace) -> str:
    return options.store or str(settings.make_workspace() / "search" / "index")


def _index(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import search_steps

    request = search_steps.IndexRequest(
        source=options.source,
        model=options.model,
        reports=tuple(options.reports),
        comprehend_medical=options.comprehend_medical,
        pairs=options.pairs,
        vectors=options.vectors,
        workers=options.workers,
        report_path=options.report,
        watch=options.watch,
        poll_seconds=options.poll_seconds,
    )
    store = _store(settings, options)
    found = search_steps.index(store, settings, request)
    for line in found.report.lines():
        say(line)
    for space_id, missing in found.spaces.items():
        if missing:
            say(
                f"{missing:,} images have no embedding in the space {space_id}; {found.serving} serves until none is missing. "
                "Index the images again, or see `search maintain --help`."
            )
    return {
        "ok": found.report.ok,
        "store": store,
        "counts": found.report.to_json(),
        "report": str(found.report.path),
        "serving": found.serving,
        "missing": dict(found.spaces),
    }


def _maintain(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from dicom_workflow.pipeline import search_steps, search_whitening

    if options.whiten:
        whitened = search_whitening.whiten(_store(settings, options), settings, truth=options.truth)
        say(f"{whitened.serving} serves")
    found = search_steps.maintain(_store(settings, options), settings, serve=options.serve, drop=options.drop)
    say(f"{found.images:,} images, {found.reports:,} reports; {found.bytes_before:,} → {found.bytes_after:,} bytes")
    for name, share in found.recall.items():
        say(f"recall@10 under the filter {name}: {share:.3f}")
    twice = found.duplicate_images + found.duplicate_reports
    if twice:
        say(f"{found.duplicate_images:,} images and {found.duplicate_reports:,} reports were stored twice. Index them again.")
    return {"ok": not twice, **asdict(found)}


def _read_reports(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.search.radiology_reports import ComprehendMedical, read_reports

    output = options.output or settings.make_workspace() / "search" / "findings.jsonl"
    output.parent.mkdir(parents=True, exist_ok=True)
    found = read_reports(options.file, output, nlp=ComprehendMedical() if options.comprehend_medical else None, tell=say)
    kept = f", {found.kept:,} of them as an earlier run had read them" if found.kept else ""
    say(f"{found.findings:,} findings in {found.read:,} reports{kept}; {len(found.problems):,} refused: {output}")
    return {
        "ok": not found.problems,
        "findings_path": str(output),
        "reports": found.read,
        "kept": found.kept,
        "findings": found.findings,
        "refused": list(found.problems),
    }


def _evaluate(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import search_evaluation

    output = options.report or settings.make_workspace() / "search" / "retrieval.json"
    found = search_evaluation.evaluate(
        options.truth,
        _store(settings, options),
        settings,
        space_id=options.space,
        weights=options.weights,
        resamples=options.resamples,
        seed=options.seed,
        output=output,
    )
    say(found.to_markdown())
    return {"ok": True, "report": str(output), "retrieval": found.to_json()}


def _serve(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.pipeline import search_steps
    from dicom_workflow.search.service.server import ServeOptions

    asked = ServeOptions(
        host=options.host,
        port=options.port,
        access=options.access or ("oidc" if settings.search_oidc_issuer else "token"),
        token=settings.search_token,
        issuer=settings.search_oidc_issuer,
        audience=settings.search_oidc_audience,
        client_secret=settings.search_oidc_client_secret,
        hosts=tuple(options.hosts),
        trusted_proxies=(*ServeOptions.trusted_proxies, *options.trust_proxy),
    )
    search_steps.serve(_store(settings, options), settings, asked, model=options.model)
    return {"ok": True}
