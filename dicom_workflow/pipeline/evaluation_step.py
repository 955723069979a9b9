"""Evaluation and prediction: what a training run left, read back for a closer look, and what its model says of other images.

`predict` and `evaluate` are steps: each is one function under both its notebook and its command, and leaves a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import LearningError
from dicom_workflow.formats.json_schema import encoded
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.evaluation import run
from dicom_workflow.learning.evaluation.predictions import Case, Predictions, read_predictions
from dicom_workflow.learning.evaluation.report import Evaluation, LabelFigures, read_evaluation
from dicom_workflow.learning.inference import predict as inference
from dicom_workflow.learning.inference import saliency as explain
from dicom_workflow.learning.inference.saliency import Saliency
from dicom_workflow.learning.model import bundle as bundles
from dicom_workflow.learning.model import bundle_archive
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.pipeline import records
from dicom_workflow.pipeline.records import Record
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, join, to_path, to_uri

_FILES = ("evaluation.json", "predictions.jsonl")


@dataclass(frozen=True)
class Results:
    """A trained model and how it did on images it had never seen."""

    bundle: Bundle
    evaluation: Evaluation
    predictions: Predictions
    predictions_uri: str
    files: Mapping[str, Path]
    """Identifier of each predicted image → its DICOM file, in the order of the predictions."""

    def cautions(self) -> list[str]:
        """Return what is to be known before any figure is read: on what it was measured, and the run's own cautions."""
        found = self.evaluation
        images = f"{found.figures.images:,} {found.split} images of {found.figures.patients:,} patients"
        calibrated = "calibrated" if self.bundle.is_calibrated else "not calibrated"
        first = f"Measured on {images}, against {found.measured_against}; probabilities are {calibrated}."
        untaught = [f"{label} is not predicted: {why}." for label, why in self.bundle.untaught.items()]
        return [first, *untaught, *found.cautions]

    def some_files(self, count: int = 16) -> list[Path]:
        """Return the files of the first predicted images."""
        return list(self.files.values())[:count]

    def metrics(self) -> dict[str, Any]:
        """Return the headline figures for a record."""
        return _headline(self.evaluation)


@dataclass(frozen=True)
class Explained:
    """A case with its image and what speaks for its label there."""

    case: Case
    image: NDArray[np.float32]
    """Shape (rows, columns), in [0, 1]: as it is to be displayed."""
    saliency: Saliency


def read_results(model_uri: str, output_uri: str, folder: Path, *, storage: Storage | None = None) -> Results:
    """Return what a training run left, wherever it ran.

    Parameters
    ----------
    model_uri : str
        The model bundle: a folder on this machine, or ``model.tar.gz`` of a training job; then ``output.tar.gz`` is expected
        beside it.
    output_uri : str
        Folder of the run on this machine, with ``channel/`` and, for a model that is a folder, ``evaluation.json`` and
        ``predictions.jsonl``.
    folder : Path
        Where the archives of a training job are unpacked.
    storage : Storage, optional

    Raises
    ------
    LearningError
        Nothing was evaluated, because the run had neither test nor validation images; or an archive is not what it should be.
    BundleError, DatasetError, StorageError
        The model, the channel or a file cannot be read.
    """
    run = to_path(output_uri)
    model, outputs = to_path(model_uri) if not model_uri.endswith(".tar.gz") else folder / "model", run
    if model_uri.endswith(".tar.gz"):
        bundle_archive.unpack_model(model_uri, model, storage=storage)
        outputs = folder / "output"
        archive = join(model_uri.rpartition("/")[0], "output.tar.gz")
        bundle_archive.take_output(archive, _FILES, outputs, storage=storage)
    missing = [name for name in _FILES if not (outputs / name).is_file()]
    if missing:
        raise LearningError(
            f"{outputs} has no {' and no '.join(missing)}. An unfinished run leaves none, and neither does one "
            "without test and validation images: label more images, then train again."
        )
    predictions = read_predictions(outputs / "predictions.jsonl")
    images = {sample.identifier: sample.image for sample in read_channel(run / "channel").samples}
    return Results(
        bundle=bundles.load(model),
        evaluation=read_evaluation(outputs / "evaluation.json"),
        predictions=predictions,
        predictions_uri=to_uri(outputs / "predictions.jsonl"),
        files={name: images[name] for name in predictions.identifiers if name in images},
    )


def explain_cases(
    results: Results, cases: Mapping[str, Sequence[Case]], *, method: str = "grad-cam"
) -> dict[str, list[Explained]]:
    """Return the cases of each outcome with their images and maps, for `viz.saliency.right_and_wrong_figure`.

    Parameters
    ----------
    results : Results
    cases : mapping of str to sequence of Case
        From `evaluation.predictions.choose_cases`. One whose image is not on this machine is left out.
    method : {'grad-cam', 'occlusion'}
    """
    return {
        outcome: [explain_case(results, case, method=method) for case in chosen if case.identifier in results.files]
        for outcome, chosen in cases.items()
    }


def explain_case(results: Results, case: Case, *, method: str = "grad-cam") -> Explained:
    """Return a case with its image and its saliency map.

    Parameters
    ----------
    results : Results
    case : Case
        Its image is among `results.files`.
    method : {'grad-cam', 'occlusion'}
    """
    dataset = read_dataset(results.files[case.identifier])
    saliency = explain.explain(results.bundle, dataset, case.label, method=method)
    return Explained(case, pixels.to_display(dataset), saliency)


def most_instructive(explained: Mapping[str, Sequence[Explained]]) -> Explained:
    """Return the surest mistake; where there is none, the surest right answer.

    Raises
    ------
    LearningError
        There is no case at all: nothing was known of the images.
    """
    order = ("false positive", "false negative", "true positive", "true negative")
    found = [case for outcome in order for case in explained.get(outcome, ())]
    if not found:
        raise LearningError(
            "Nothing is known of the predicted images, so no case can be shown. Label test images, then train again."
        )
    return found[0]


@dataclass(frozen=True)
class Predicted:
    """Predictions of DICOM files, and the record of the step."""

    files: inference.PredictedFiles
    record: Record


def predict(
    bundle: Bundle,
    images: Iterable[inference.Image],
    output: Path,
    settings: Settings,
    *,
    inputs: Mapping[str, str],
    reports: Path | None = None,
    results: Results | None = None,
    explained: Mapping[str, Sequence[Explained]] | None = None,
    uris: Mapping[str, str] | None = None,
) -> Predicted:
    """Predict DICOM files, write the predictions and keep the record.

    Parameters
    ----------
    bundle : Bundle
    images : iterable of (str, callable)
        See `predict.predict_files`, as also for `reports`.
    output : Path
        ``predictions.jsonl``.
    settings : Settings
        Its workspace gets the record.
    inputs : mapping of str to str
        Name → URI of what is read, the model among them.
    reports : Path, optional
        Folder for a DICOM Structured Report of each image.
    results : Results, optional
        Of the run that trained the model; its headline figures go into the record.
    explained : mapping, optional
        The cases that were shown, from `explain_cases`.
    uris : mapping of str to str, optional
        Further artifacts for the record.

    Raises
    ------
    LearningError
        Not one file can be used.
    """
    found = inference.predict_files(bundle, images, output, reports=reports)
    metrics = {**(results.metrics() if results else {}), **found.metrics()}
    if bundle.untaught:
        metrics["labels_not_predicted"] = ", ".join(bundle.untaught)
    if explained is not None:
        metrics["cases_shown"] = sum(map(len, explained.values()))
    read = {**inputs, **({"predictions": results.predictions_uri} if results else {})}
    record = Record(records.EVALUATE, to_uri(output), metrics, read, dict(uris or {}))
    return Predicted(found, records.keep(record, settings))


def evaluate(
    model_uri: str,
    channel: Path,
    output_uri: str,
    settings: Settings,
    *,
    split: str = "test",
    specificity: float = run.SPECIFICITY,
    resamples: int = run.RESAMPLES,
) -> Evaluation:
    """Evaluate a model on the images of a training channel, write all figures and keep the record.

    Parameters
    ----------
    model_uri : str
        Folder of the model bundle.
    channel : Path
        Folder of `channel.read_channel`.
    output_uri : str
        ``evaluation.json``.
    settings : Settings
        Its workspace gets the record.
    split, specificity, resamples
        See `run.evaluate_bundle`.

    Raises
    ------
    DatasetError
        The split has no usable image, or no label of the bundle.
    """
    bundle = bundles.load(to_path(model_uri))
    found = run.evaluate_bundle(bundle, channel, split=split, specificity=specificity, resamples=resamples)
    text = json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    Storage(settings).write_bytes(output_uri, encoded(text))
    inputs = {"model": model_uri, "channel": to_uri(channel)}
    records.keep(Record(records.EVALUATE, output_uri, _headline(found), inputs), settings)
    return found


def _headline(evaluation: Evaluation) -> dict[str, Any]:
    figures = evaluation.figures
    names = ("macro_auroc", "macro_average_precision", "macro_brier", "macro_ece", "macro_ece_uncalibrated")
    return {
        "measured_on": evaluation.split,
        "measured_images": figures.images,
        **{name: round(value, 4) for name in names if (value := getattr(figures, name)) is not None},
        **{f"mean_{name}": _mean(figures.labels.values(), name) for name in ("sensitivity", "specificity")},
        "readers": len(evaluation.readers),
        **({"labels_not_predicted": ", ".join(evaluation.untaught)} if evaluation.untaught else {}),
    }


def _mean(labels: Iterable[LabelFigures], name: str) -> float | None:
    values = [value for label in labels if (value := getattr(label, name)) is not None]
    return round(float(np.mean(values)), 4) if values else None
