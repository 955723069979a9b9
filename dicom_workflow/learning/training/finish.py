"""The end of a training run: calibrate the network, evaluate it on held-out images, and write bundle, report and predictions.

The same for one network and for an ensemble. Calibration and thresholds come from images that were not trained on, the figures
from other images again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dicom_workflow import provenance, storage
from dicom_workflow.learning.data.channel import Channel, Sample
from dicom_workflow.learning.evaluation import model_card, run
from dicom_workflow.learning.evaluation.report import Evaluation
from dicom_workflow.learning.evaluation.thresholds import Rule
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle, bundle_json
from dicom_workflow.learning.model.bundle import Bundle


@dataclass(frozen=True)
class HeldOut:
    """Images that were held out from training, and a network's logits for them."""

    samples: Sequence[Sample]
    logits: np.ndarray
    """Shape (samples, labels), float32."""
    split: str = "test"


@dataclass(frozen=True)
class Facts:
    """Description of a run, for its bundle and its report."""

    settings: Mapping[str, Any]
    """The script's settings as JSON values; `mode`, `size_px`, `calibration`, `threshold`, `resamples` and `seed` are used."""
    channel: Channel
    architecture: str
    """Name of the network, one of `architectures.ARCHITECTURES`."""
    preprocessing_version: str
    normalization: tuple[float, float]
    """Mean and standard deviation that the network was trained with."""
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    """`epoch` and `validation_auroc` of the weights."""
    initial_weights: Mapping[str, Any] = field(default_factory=dict)
    """Where they came from; empty for random ones."""


def calibrate(network: nn.Module, facts: Facts, targets: np.ndarray, logits: np.ndarray) -> Bundle:
    """Return a network as a bundle, calibrated and with thresholds chosen on validation images.

    Parameters
    ----------
    network : nn.Module
        The trained weights.
    facts : Facts
        Description of the run.
    targets, logits : ndarray, shape (n, labels), float32
        Of the validation images; `targets` is NaN where unknown.
    """
    settings, channel = facts.settings, facts.channel
    calibration, thresholds = run.calibrate_and_threshold(
        targets,
        logits,
        channel.labels,
        mode=settings["mode"],
        method=settings["calibration"],
        rule=Rule.parse(settings["threshold"]),
    )
    made_by = provenance.model_provenance(manifests=channel.sha256, parameters=settings, commit=settings["commit"])
    mean, std = facts.normalization
    return Bundle(
        network=network,
        architecture=facts.architecture,
        labels=channel.labels,
        mode=settings["mode"],
        size_px=settings["size_px"],
        preprocessing_version=facts.preprocessing_version,
        input_mean=mean,
        input_std=std,
        thresholds=thresholds,
        calibration=calibration,
        label_set=channel.label_set,
        untaught=channel.untaught,
        network_arguments=facts.network_arguments,
        metrics={"best_epoch": facts.best.get("epoch"), "validation_auroc": facts.best.get("validation_auroc")},
        provenance={**made_by, **({"initial_weights": dict(facts.initial_weights)} if facts.initial_weights else {})},
    )


def evaluate(trained: Bundle, facts: Facts, held: HeldOut) -> Evaluation:
    """Return the evaluation of a bundle on held-out images.

    Parameters
    ----------
    trained : Bundle
        Calibrated, with its thresholds.
    facts : Facts
        Description of the run.
    held : HeldOut
        The images.
    """
    return run.evaluate_model(
        facts.channel,
        held.samples,
        held.logits,
        split=held.split,
        mode=trained.mode,
        calibration=trained.calibration,
        thresholds=trained.thresholds,
        resamples=facts.settings["resamples"],
        seed=facts.settings["seed"],
    )


def finish(
    network: nn.Module,
    facts: Facts,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    held: HeldOut,
    model_dir: Path,
    output_dir: Path,
    more: Mapping[str, Any],
) -> Evaluation | None:
    """Save a trained network as a bundle, evaluate it on held-out images and write the files; return the evaluation.

    Parameters
    ----------
    network : nn.Module
        The trained weights.
    facts : Facts
        Description of the run.
    validation : (targets, logits), each ndarray, shape (n, labels), float32
        See `calibrate`.
    held : HeldOut
        Without images, as in a run that was stopped, the bundle is saved and not evaluated.
    model_dir, output_dir : Path
        Where the bundle, and the report and predictions, are written.
    more : mapping
        Further fields of the evaluation.
    """
    trained = calibrate(network, facts, *validation)
    if not held.samples:
        bundle.save(trained, model_dir)
        return None
    report = replace(evaluate(trained, facts, held), **more)
    trained = replace(trained, metrics={**trained.metrics, held.split: report.headline()})
    bundle.save(trained, model_dir)
    scores = trained.calibration.probabilities(held.logits, trained.labels, trained.mode)
    write(trained, report, held, scores, model_dir=model_dir, output_dir=output_dir)
    return report


def write(trained: Bundle, report: Evaluation, held: HeldOut, scores: np.ndarray, *, model_dir: Path, output_dir: Path) -> None:
    """Write ``evaluation.json`` and ``predictions.jsonl`` of held-out images, and the model card beside the bundle.

    Parameters
    ----------
    trained : Bundle
        Saved already.
    report : Evaluation
        From `evaluate`, with the run's further fields.
    held : HeldOut
        The images.
    scores : ndarray, shape (samples, labels), float64 in [0, 1]
        Calibrated probabilities.
    model_dir, output_dir : Path
        Of the bundle, and of the other two files.
    """
    predictions = predict.write_predictions(output_dir / "predictions.jsonl", trained, held.samples, scores)
    report = replace(report, predictions=predictions.name, provenance=dict(trained.provenance))
    write_report(output_dir / "evaluation.json", report)
    card = model_card.to_markdown(bundle_json.read_description(model_dir), report)
    storage.write_atomically(model_dir / model_card.NAME, card.encode("utf-8"))


def write_report(path: Path, report: Evaluation) -> None:
    """Write an evaluation as JSON, in one step."""
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    storage.write_atomically(path, text.encode("utf-8") + b"\n")
