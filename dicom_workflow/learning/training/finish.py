"""What a training run leaves: a bundle, and how well it does on images that it has never seen.

The same for one network and for an ensemble: calibration and thresholds from images that were not learned from, then the
figures of other images, then the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dicom_workflow.learning.data.images import Channel, Sample
from dicom_workflow.learning.evaluation import Rule, model_card, run
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle
from dicom_workflow.learning.model.bundle import Bundle


@dataclass(frozen=True)
class Held:
    """Images that were held back from learning, and what a network said of them."""

    samples: Sequence[Sample]
    logits: np.ndarray
    """Shape (samples, labels), float32."""
    split: str = "test"


@dataclass(frozen=True)
class Facts:
    """What a run knows of itself, for its bundle and its report."""

    settings: Mapping[str, Any]
    """The script's settings as JSON values; `mode`, `size_px`, `calibration`, `threshold`, `resamples` and `seed` are used."""
    channel: Channel
    preprocessing_version: str
    normalization: tuple[float, float]
    """Mean and standard deviation that the network was trained with."""
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    """`epoch` and `validation_auroc` of the weights."""
    initial_weights: Mapping[str, Any] = field(default_factory=dict)
    """Where they came from; empty for random ones."""


def settled(network: nn.Module, facts: Facts, targets: np.ndarray, logits: np.ndarray) -> Bundle:
    """Return a network as a bundle, calibrated and with thresholds chosen on validation images.

    Parameters
    ----------
    network : nn.Module
        The trained weights.
    facts : Facts
    targets, logits : ndarray, shape (n, labels)
        Of the validation images; `targets` is NaN where unknown.
    """
    settings, channel = facts.settings, facts.channel
    calibration, thresholds = run.settle(
        targets,
        logits,
        channel.labels,
        mode=settings["mode"],
        method=settings["calibration"],
        rule=Rule.parse(settings["threshold"]),
    )
    made_by = bundle.provenance(manifests=channel.sha256, parameters=settings, commit=settings["commit"])
    mean, std = facts.normalization
    return Bundle(
        network=network,
        labels=channel.labels,
        mode=settings["mode"],
        size_px=settings["size_px"],
        preprocessing_version=facts.preprocessing_version,
        input_mean=mean,
        input_std=std,
        thresholds=thresholds,
        calibration=calibration,
        network_arguments=facts.network_arguments,
        metrics={"best_epoch": facts.best.get("epoch"), "validation_auroc": facts.best.get("validation_auroc")},
        provenance={**made_by, **({"initial_weights": dict(facts.initial_weights)} if facts.initial_weights else {})},
    )


def judge(trained: Bundle, facts: Facts, held: Held) -> dict[str, Any]:
    """Return the report of held-back images, as ``evaluation.json`` has it.

    Parameters
    ----------
    trained : Bundle
    facts : Facts
    held : Held
    """
    return run.assess(
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


def conclude(
    network: nn.Module,
    facts: Facts,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    held: Held,
    model_dir: Path,
    output_dir: Path,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Save a trained network as a bundle, judge it on held-back images and write everything down; return the report.

    Parameters
    ----------
    network : nn.Module
    facts : Facts
    validation : (targets, logits)
        See `settled`.
    held : Held
        Without images the bundle is saved, not judged, and the report is empty: a run that was stopped.
    model_dir, output_dir : Path
    more : mapping
        What else the run has to say in ``evaluation.json``.
    """
    trained = settled(network, facts, *validation)
    if not held.samples:
        bundle.save(trained, model_dir)
        return {}
    report = {**judge(trained, facts, held), **more}
    trained = replace(trained, metrics={**trained.metrics, held.split: run.headline(report)})
    bundle.save(trained, model_dir)
    scores = trained.calibration.probabilities(held.logits, trained.labels, trained.mode)
    write(trained, report, held, scores, model_dir=model_dir, output_dir=output_dir)
    return report


def write(
    trained: Bundle, report: Mapping[str, Any], held: Held, scores: np.ndarray, *, model_dir: Path, output_dir: Path
) -> None:
    """Write ``evaluation.json`` and ``predictions.jsonl`` of held-back images, and the model card beside the bundle.

    Parameters
    ----------
    trained : Bundle
        Saved already.
    report : mapping
        From `judge`, with whatever else the run has to say.
    held : Held
    scores : ndarray, shape (samples, labels)
        Calibrated probabilities.
    model_dir, output_dir : Path
    """
    predictions = predict.write_predictions(output_dir / "predictions.jsonl", trained, held.samples, scores)
    report = {**report, "predictions": predictions.name, "provenance": dict(trained.provenance)}
    write_report(output_dir / "evaluation.json", report)
    card = model_card.to_markdown(bundle.read_description(model_dir), report)
    bundle.write_atomically(model_dir / model_card.NAME, card.encode("utf-8"))


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, in one step."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    bundle.write_atomically(path, text.encode("utf-8") + b"\n")
