"""The command line: the nouns of the notebooks, and the same functions underneath.

Exit code 0 when everything went through, 1 when something did not (the message says what), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dicom_workflow import __version__
from dicom_workflow.errors import SettingsError, WorkflowError
from dicom_workflow.settings import Settings

_EXAMPLES = """\
examples:
  dicom-workflow upload ~/images
  dicom-workflow manifest --labels "Pneumonia,COVID-19,No Finding"
  dicom-workflow label input.manifest --job-name chest-1 --truth truth.csv --simulated-readers 3
  dicom-workflow parse output.manifest --instances instances.jsonl
  dicom-workflow train training.manifest --epochs 15
  dicom-workflow predict model image.dcm
  dicom-workflow predict model --manifest input.manifest --sr reports
  dicom-workflow run --parameters notebooks/parameters/aws.yaml
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

    train = command("train", _train, "train a DenseNet on an augmented manifest and write a model bundle")
    train.add_argument("manifest", help="augmented manifest, as `parse` writes it")
    train.add_argument("--instances", default="", help="instances.jsonl (default: everything the archive holds)")
    train.add_argument("--output", type=Path, help="folder for the run (default: model in the workspace)")
    train.add_argument("--epochs", type=int, default=15)
    train.add_argument("--image-size-px", type=int, default=224)
    train.add_argument("--batch-size", type=int, default=16)
    train.add_argument("--seed", type=int, default=0)

    predict = command("predict", _predict, "give the probability of each label for DICOM files")
    predict.add_argument("bundle", type=Path, help="model bundle folder")
    predict.add_argument("files", type=Path, nargs="*", help="DICOM files")
    predict.add_argument("--manifest", default="", help="manifest whose images are predicted, out of the archive or from URIs")
    predict.add_argument("--sr", type=Path, metavar="FOLDER", help="write a DICOM Structured Report for each image here")
    predict.add_argument("--onnx", type=Path, metavar="FILE", help="write the model as an ONNX file, checked against it")

    run = command("run", _run, "run notebooks, each reading what the one before left in the workspace")
    run.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="names such as 02_create_manifest (default: all six)")
    run.add_argument("--parameters", type=Path, help="YAML file of parameters, by notebook")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter")

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
    from dicom_workflow import manifest, services
    from dicom_workflow.archive import copies, open_archive, transfer
    from dicom_workflow.storage import Storage, to_uri

    settings = services.attach(settings)
    archive, storage = open_archive(settings), Storage(settings)
    try:
        report = transfer.upload(options.folder, archive, workers=options.workers, journal_path=options.journal)
    except transfer.UploadInterruptedError as error:
        _say(str(error))
        raise
    made = copies.copy_to(options.copies, report.instances, archive, storage)
    uri = to_uri(options.output or settings.workspace / "archive" / "instances.jsonl")
    if made.instances:
        manifest.write(uri, (instance.to_json() for instance in made.instances), storage=storage, check=False)
    _say(", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count))
    for outcome in report.problems().itertuples():
        _say(f"  {outcome.path}: {outcome.outcome}: {outcome.reason}")
    for identifier, reason in made.refused.items():
        _say(f"  {identifier}: not copied: {reason}")
    _say(f"{len(report.instances)} instances verified: {uri}")
    return {"ok": report.ok and not made.refused, "instances_uri": uri, **report.metrics()}


def _manifest(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow import manifest, services
    from dicom_workflow.archive import open_archive
    from dicom_workflow.records import LABELS, parse_label_list
    from dicom_workflow.storage import Storage, to_uri

    storage = Storage(settings)
    uri = to_uri(options.validate or options.output or settings.workspace / "labeling" / "input.manifest")
    if not options.validate:
        if options.instances:
            instances = iter(manifest.read_instances(to_uri(options.instances), storage=storage))
        else:
            instances = open_archive(services.attach(settings)).search_for_instances()
        labels = parse_label_list(options.labels) if options.labels else LABELS
        manifest.write(uri, manifest.entries_for(instances, labels, by=options.by), storage=storage)
    found = manifest.validate(uri, storage=storage)
    for error in found.errors:
        _say(f"  {error}")
    _say(f"{found.accepted} of {found.lines} lines are good: {uri}")
    return {"ok": not found.refused, "manifest_uri": uri, "lines": found.lines, "refused": found.refused}


def _label(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from datetime import datetime

    from dicom_workflow import manifest, services
    from dicom_workflow.groundtruth import teams
    from dicom_workflow.labeling import job, suggestions, templates
    from dicom_workflow.labeling.truth import Truth
    from dicom_workflow.storage import Storage, join, to_uri

    settings = services.attach(settings)
    storage = Storage(settings)
    manifest_uri = to_uri(options.manifest)
    output_uri = to_uri(options.output or settings.workspace / "labeling")
    client = job.client(settings)
    team = teams.assemble(
        settings, client, simulated_readers=options.simulated_readers, seed=options.seed, workteam_arn=options.workteam_arn
    )
    accepted_uri = join(output_uri, "accepted.manifest")
    accepted = manifest.accept(manifest_uri, accepted_uri, storage=storage)
    for error in accepted.errors:
        _say(f"  left out: {error}")
    predictions_uri = to_uri(options.predictions) if options.predictions else ""
    suggested_uri = join(output_uri, "suggested.manifest")
    template_uri = join(output_uri, "radiograph.liquid.html")
    labeling_job = job.LabelingJob(
        name=options.job_name or f"chest-{datetime.now():%Y%m%d-%H%M%S}",
        manifest_uri=suggestions.suggest(
            accepted_uri, predictions_uri, suggested_uri, mode=options.assistance, storage=storage
        ),
        output_uri=output_uri,
        template_uri=templates.publish_template(template_uri, storage, assets_url=options.assets_url or None),
        label_categories_uri=templates.publish_label_categories(join(output_uri, "labels.json"), accepted.labels, storage),
        workteam_arn=team.arn,
        workers_per_object=options.workers_per_object,
        **teams.arns(
            settings,
            role=options.role_arn,
            pre_annotation=options.pre_annotation_arn,
            post_annotation=options.post_annotation_arn,
        ),
    )
    job.create(client, labeling_job, storage=storage)
    _say(f"{labeling_job.name}: {team.invitation(settings)}")
    truth = Truth.read(to_uri(options.truth) if options.truth else "", storage=storage)
    state, _ = teams.label(settings, client, labeling_job.name, team, truth=truth.by_instance() if truth else None)
    _say(f"{state.status}: {state.labeled} of {state.total} labeled, {state.failed} failed: {state.output_manifest_uri}")
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
    from dicom_workflow import manifest
    from dicom_workflow.labeling import agreement, output, summary
    from dicom_workflow.labeling.truth import Truth
    from dicom_workflow.storage import Storage, to_uri

    storage = Storage(settings)
    objects = list(output.read_output(to_uri(options.manifest), attribute=options.attribute, storage=storage))
    failed = [item for item in objects if item.failure_reason]
    refused = sum(len(item.refused) for item in objects)
    for item in failed:
        _say(f"  line {item.number}: {item.failure_reason}")
    instances = manifest.read_instances(to_uri(options.instances), storage=storage) if options.instances else []
    truth = Truth.read(to_uri(options.truth) if options.truth else "", storage=storage)
    found = summary.summarize(objects, truth=agreement.truth_by_source(truth, instances) if truth else None)
    uri = to_uri(options.output or settings.workspace / "training" / "training.manifest")
    lines = output.augmented_lines(objects, instances, truth=truth, seed=options.seed)
    count = manifest.write(uri, lines, storage=storage, limits=False)
    _say(f"{count} of {len(objects)} objects have a label, {refused} answers refused, kappa {found.overall_kappa}: {uri}")
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


def _train(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow import channel, manifest, services
    from dicom_workflow.archive import open_archive
    from dicom_workflow.learning.runner import run_training
    from dicom_workflow.storage import Storage, to_uri

    settings = services.attach(settings)
    archive, storage = open_archive(settings), Storage(settings)
    folder = (options.output or settings.workspace / "model").resolve()
    if options.instances:
        instances = manifest.read_instances(to_uri(options.instances), storage=storage)
    else:
        instances = list(archive.search_for_instances())
    staged = channel.stage(to_uri(options.manifest), instances, archive, folder / "channel", storage=storage)
    for source, reason in staged.refused.items():
        _say(f"  {source}: {reason}")
    result = run_training(
        staged.folder,
        folder,
        on_line=_say,
        epochs=options.epochs,
        size_px=options.image_size_px,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    _say(f"model bundle: {result.model_dir}")
    evaluation = dict(result.evaluation)
    return {"ok": not staged.refused, "model": str(result.model_dir), "images": staged.images, "evaluation": evaluation}


def _predict(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    from pydicom.uid import generate_uid

    from dicom_workflow.learning import bundle, inference, onnx_export, structured_report

    model = bundle.load(options.bundle)
    if options.onnx:
        _say(f"{onnx_export.export(model, options.onnx)}: as torch to {onnx_export.TOLERANCE}")
    elif not options.files and not options.manifest:
        raise SettingsError("predict: expected DICOM files, --manifest or --onnx, got none of them.")
    predictions: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    run_uid = generate_uid()
    for name, content in _images_of(settings, options):
        try:
            image = content()
            [probabilities] = inference.predict(model, [image])
            found: dict[str, Any] = {"file": name, "probabilities": probabilities}
            if options.sr:
                prediction = inference.to_prediction(model, np.array(list(probabilities.values())))
                number = len(predictions) + 1
                path = structured_report.write_report(model, image, prediction, options.sr, run_uid=run_uid, number=number)
                found["report"] = str(path)
        except WorkflowError as error:
            refused[name] = str(error)
            continue
        predictions.append(found)
        likely = sorted(probabilities.items(), key=lambda item: -item[1])
        _say(f"{name}: {', '.join(f'{label} {probability:.2f}' for label, probability in likely[:5])}")
    for name, reason in refused.items():
        _say(f"  {name}: refused: {reason}")
    return {"ok": not refused, "predictions": predictions, "refused": refused}


def _images_of(settings: Settings, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield a name and how to get the file: paths as given, then the images of a manifest, from the archive or from URIs."""
    from dicom_workflow import manifest, services
    from dicom_workflow.archive import open_archive
    from dicom_workflow.storage import Storage, to_uri

    for path in options.files:
        yield str(path), partial(Path, path)
    if not options.manifest:
        return
    storage, archive = Storage(settings), None
    for line in manifest.read(to_uri(options.manifest), storage=storage, limits=False):
        source = manifest.source_of(line.data)
        if not line.data.get("source"):
            yield source, partial(storage.read_bytes, source)
            continue
        archive = archive or open_archive(services.attach(settings))
        yield source, partial(archive.retrieve_instance, source)


def _run(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    import yaml

    from dicom_workflow import notebook

    by_notebook = _read_parameters(options.parameters) if options.parameters else {}
    given = {name: yaml.safe_load(value) for name, value in options.p}
    steps = [Path(name).stem for name in options.notebooks] or list(notebook.STEPS)
    records = {}
    for step in steps:
        output = settings.workspace / "notebooks" / f"{step}.ipynb"
        _say(f"{step} → {output}")
        source = notebook.folder() / f"{step}.ipynb"
        records[step] = notebook.run(source, output, {**by_notebook.get(step, {}), **given}, progress=True)[-1].to_json()
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
    from dicom_workflow.demo import Demo, new_run_folder

    if options.archive:
        settings = settings.with_(archive=options.archive)
    folder = new_run_folder(options.runs.resolve())
    demo = Demo(
        settings.with_(workspace=folder), data=options.data, truth=options.truth, seed=options.seed, drill=options.drill
    )
    summary = demo.run()
    _say(f"macro AUROC {summary['macro_auroc']}; consolidated accuracy {summary['consolidated_accuracy']}")
    _say(f"{summary['seconds']['total']:.0f} seconds. Look at {folder / 'report.html'}")
    return summary


def _up(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow import services
    from dicom_workflow.groundtruth import teams
    from dicom_workflow.labeling import job

    settings = services.up(settings).apply_to(settings)
    team = teams.assemble(settings, job.client(settings))
    if settings.archive == "folder":
        _say("Archive: the embedded folder archive (Orthanc is not installed here, or ARCHIVE=folder)")
    else:
        _say(f"Orthanc: {settings.orthanc_url}, user {settings.orthanc_user}, password in {services.state_path(settings)}")
    _say(f"Labeling portal: {settings.groundtruth_url}. {team.invitation(settings)}")
    _say("They run until `make down`.")
    return {"ok": True, "orthanc_url": settings.orthanc_url, "groundtruth_url": settings.groundtruth_url}


def _down(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow import services

    was_running = services.down(settings)
    _say("Stopped." if was_running else "Nothing was running.")
    return {"ok": True, "was_running": was_running}


def _lab(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow import notebook, services

    services.attach(settings)
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir", str(notebook.folder())]
    if os.geteuid() == 0:
        command.append("--allow-root")  # else it refuses; a container has no other user
    try:
        code = subprocess.call(command)
    finally:
        services.detach(settings)
    return {"ok": code == 0}


def _say(text: str) -> None:
    """What a person reads goes to standard error, so that --json leaves standard output to programs."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
