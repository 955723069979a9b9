"""Trained models: `predict`, `evaluate`, `compare`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dicom_workflow.cli.common import Command, say
from dicom_workflow.errors import ManifestError, RecordError, SettingsError
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.settings import Settings


def add(command: Command) -> None:
    """Add the commands of this module."""
    predict = command(
        "predict",
        _predict,
        "give the probability of each label for DICOM files; + is positive at the label's threshold",
        after_interrupt="Run it again; it begins with the first file.",
    )
    predict.add_argument("bundle", type=Path, help="model bundle folder")
    predict.add_argument("files", type=Path, nargs="*", help="DICOM files, and folders of them")
    predict.add_argument("--manifest", default="", help="manifest whose images are predicted, from the archive or from URIs")
    predict.add_argument("--output", type=Path, metavar="FILE", help="default: predictions.jsonl in the workspace")
    predict.add_argument("--sr", type=Path, metavar="FOLDER", help="write a DICOM Structured Report of each image here")
    predict.add_argument("--onnx", type=Path, metavar="FILE", help="write the model as an ONNX file, checked against it")

    again = "Nothing was written. Run it again."
    evaluate = command("evaluate", _evaluate, "evaluate a model on the images of a training channel", after_interrupt=again)
    evaluate.add_argument("bundle", type=Path, help="model bundle folder")
    evaluate.add_argument("channel", type=Path, help="folder with manifests and the images they name")
    evaluate.add_argument("--split", choices=SPLITS, default="test", help="which of its images (default: test)")
    evaluate.add_argument("--specificity", type=float, default=0.9, help="at which sensitivity is reported (default: 0.9)")
    evaluate.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples of patients (default: 1000)")
    evaluate.add_argument("--report", type=Path, metavar="FILE", help="all figures (default: evaluation.json in the workspace)")

    compare = command("compare", _compare, "compare two models on the images that both predicted", after_interrupt=again)
    compare.add_argument("first", type=Path, help="predictions.jsonl of a model")
    compare.add_argument("second", type=Path, help="predictions.jsonl of another model")
    compare.add_argument(
        "--against",
        choices=("truth", "states"),
        default="",
        help="the reference: a truth table, or the readers' consolidated answers (default: truth where both have it)",
    )
    compare.add_argument("--resamples", type=int, default=2000, help="bootstrap resamples of patients (default: 2000)")


def _predict(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.learning.inference import onnx_export
    from dicom_workflow.learning.model import bundle
    from dicom_workflow.pipeline import evaluation_step
    from dicom_workflow.storage import to_uri

    model = bundle.load(options.bundle)
    if options.onnx:
        say(f"{onnx_export.export(model, options.onnx)}: as torch to {onnx_export.TOLERANCE}")
    if not options.files and not options.manifest:
        if options.onnx:
            return {"ok": True, "onnx": str(options.onnx)}
        raise SettingsError("There is nothing to predict. Give DICOM files, --manifest or --onnx.")
    output = options.output or settings.workspace / "evaluation" / "predictions.jsonl"
    inputs = {"model": to_uri(options.bundle), **({"manifest": to_uri(options.manifest)} if options.manifest else {})}
    predicted = evaluation_step.predict(
        model, _images_of(settings, options), output, settings, inputs=inputs, reports=options.sr
    )
    found = predicted.files
    for line in found.lines:
        called, probabilities = line["consistent"], line["probabilities"]
        # What is called positive comes first and marked: a threshold may lie far below another label's probability.
        likely = sorted(probabilities.items(), key=lambda item: (item[0] not in called, -item[1]))[: max(5, len(called))]
        marked = [f"{'+' if label in called else '−'} {label} {probability:.2f}" for label, probability in likely]
        say(f"{line['file']}: {', '.join(marked)}")
    for refusal in found.refusals():
        say(refusal)
    return {
        "ok": not found.refused,
        "predictions_uri": to_uri(found.path),
        "predictions": [dict(line) for line in found.lines],
        "refused": dict(found.refused),
        "untaught": dict(found.untaught),
    }


def _images_of(settings: Settings, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield a name and how to get the file: paths as given, then the images of a manifest, from the archive or from URIs."""
    from dicom_workflow.archive import open_archive
    from dicom_workflow.formats import manifests
    from dicom_workflow.formats.object_reference import ObjectReference, source_of
    from dicom_workflow.learning.inference.predict import files_below
    from dicom_workflow.pipeline import local_services
    from dicom_workflow.storage import Storage, to_uri

    yield from files_below(options.files)
    if not options.manifest:
        return
    storage, archive = Storage(settings), None
    broken: list[ManifestError] = []
    for line in manifests.read(to_uri(options.manifest), storage=storage, limits=False, on_error=broken.append):
        yield from map(_broken_line, broken)
        broken.clear()
        source = source_of(line.data)
        try:
            reference = ObjectReference.from_line(line.data)
        except RecordError as error:
            yield from map(_broken_line, [ManifestError(to_uri(options.manifest), line.number, str(error))])
            continue
        if reference.uri:
            yield source, partial(storage.read_bytes, reference.uri)
            continue
        archive = archive or open_archive(local_services.attach(settings))
        yield source, partial(archive.retrieve_instance, reference)
    yield from map(_broken_line, broken)


def _broken_line(error: ManifestError) -> tuple[str, Callable[[], Any]]:
    """A line as one of the images: refused by its number where its file would be read, and the others go on."""

    def refuse() -> Any:
        raise error

    return f"line {error.line}", refuse


def _evaluate(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.learning.evaluation import model_card
    from dicom_workflow.learning.training import script_run
    from dicom_workflow.pipeline import evaluation_step
    from dicom_workflow.storage import to_uri

    if not 0 < options.specificity < 1:
        raise SettingsError(f"--specificity: expected a value above 0 and below 1, as 0.95, got {options.specificity:g}.")
    uri = to_uri(options.report or settings.workspace / "evaluation" / "evaluation.json")
    report = evaluation_step.evaluate(
        to_uri(options.bundle),
        options.channel,
        uri,
        settings,
        split=options.split,
        specificity=options.specificity,
        resamples=options.resamples,
    )
    say(model_card.figures_to_markdown(report))
    for label, why in report.untaught.items():
        say(f"not predicted: {label}: {why}")
    for caution in report.cautions:
        say(caution)
    say(script_run.outcome_line(report))
    return {"ok": True, "evaluation_uri": uri, "evaluation": report.to_json()}


def _compare(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    from dicom_workflow.learning.evaluation import comparison, model_card

    found = comparison.compare_predictions(options.first, options.second, against=options.against, resamples=options.resamples)
    say(model_card.comparison_to_markdown(found))
    return {"ok": True, "comparison": found}
