"""The last act of a training run: calibrate, choose thresholds, judge on other images, and say it all in one object.

Everything that is fitted is fitted on validation images: calibration first, then the thresholds of calibrated probabilities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_workflow.errors import DatasetError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.learning import evaluation
from dicom_workflow.learning.data.images import Channel, Sample, load_images, read_channel, to_targets
from dicom_workflow.learning.evaluation import no_finding
from dicom_workflow.learning.evaluation.report import RESAMPLES, SPECIFICITY
from dicom_workflow.learning.model import calibration
from dicom_workflow.learning.model.calibration import Calibration
from dicom_workflow.storage import to_uri

if TYPE_CHECKING:  # torch takes seconds to import
    from dicom_workflow.learning.model.bundle import Bundle


def settle(
    targets: np.ndarray, logits: np.ndarray, labels: Sequence[str], *, mode: str, method: str, rule: evaluation.Rule
) -> tuple[Calibration, dict[str, float]]:
    """Return calibration and thresholds, both from validation images.

    Parameters
    ----------
    targets, logits : ndarray, shape (n, labels)
        Of validation images; with none of them, nothing is calibrated and every threshold is 0.5.
    labels : sequence of str
    mode, method : str
        See `calibration.fit`.
    rule : evaluation.Rule
    """
    fitted = calibration.fit(targets, logits, labels, mode=mode, method=method)
    scores = fitted.probabilities(logits, labels, mode)
    return fitted, evaluation.choose_thresholds(targets, scores, labels, rule)


def assess(
    channel: Channel,
    samples: Sequence[Sample],
    logits: np.ndarray,
    *,
    split: str,
    mode: str,
    calibration: Calibration,
    thresholds: Mapping[str, float],
    resamples: int,
    seed: int,
    specificity: float = SPECIFICITY,
) -> dict[str, Any]:
    """Return the object of ``evaluation.json``, as far as the images tell.

    Parameters
    ----------
    channel : Channel
        Where the samples come from; its manifests are read again for groups and single readers' answers.
    samples : sequence of Sample
        The images that are judged.
    logits : ndarray, shape (n, labels)
    split : str
        Which images they are; for ``train`` and ``validation`` a caution says that the model knows them.
    mode, calibration, thresholds
        As in the bundle.
    resamples, seed : int
        For the intervals.
    specificity : float
        At which `sensitivity_at_specificity` is read off the ROC curve.

    Returns
    -------
    dict
        `evaluation.summarize`, and `calibration`, `subgroups`, `readers`, `no_finding`, `splits` and `cautions`.
    """
    labels = channel.labels
    patients = [sample.patient_id for sample in samples]
    scores = calibration.probabilities(logits, labels, mode)
    against = {"states": to_targets(samples, labels)}
    truth = to_targets(samples, labels, of="truth")
    if not np.isnan(truth).all():
        against["truth"] = truth
    reports = {
        name: evaluation.evaluate(
            known,
            scores,
            labels=labels,
            patients=patients,
            thresholds=thresholds,
            uncalibrated=Calibration().probabilities(logits, labels, mode) if calibration.scales else None,
            mode=mode,
            specificity=specificity,
            resamples=resamples,
            seed=seed,
        )
        for name, known in against.items()
    }
    summary = evaluation.summarize(reports, split=split, mode=mode)
    groups, answers, unreadable = _facts(channel, samples)
    called = scores >= np.array([thresholds[label] for label in labels])
    if mode == "single-label":
        called = scores == scores.max(axis=1, keepdims=True)
    known = against[summary["measured_against"]].astype(np.float64)
    return {
        **summary,
        "calibration": calibration.to_json(),
        "subgroups": evaluation.by_subgroup(
            known, scores, groups, labels=labels, patients=patients, resamples=min(resamples, 500), seed=seed
        ),
        "readers": evaluation.against_readers(called, answers, labels=labels, targets=against.get("truth")),
        "reader_answers_unreadable": unreadable,
        "no_finding": no_finding.report(called, labels),
        "splits": split_counts(channel.samples, labels),
        "cautions": _cautions(split, summary),
    }


def assess_bundle(
    bundle: Bundle,
    folder: str | Path,
    *,
    split: str = "test",
    specificity: float = SPECIFICITY,
    resamples: int = RESAMPLES,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
    cache_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Return how good a bundle is on the images of a channel, as ``evaluation.json`` has it.

    Parameters
    ----------
    bundle : Bundle
        Its own thresholds and calibration are judged; nothing is fitted.
    folder : str or Path
        See `dataset.read_channel`; its images need not be those of the run that made the bundle.
    split : str
        Which images.
    specificity, resamples, seed
        See `assess`.
    workers, progress, cache_dir
        See `dataset.load_images`.

    Returns
    -------
    dict
        `assess`, and `bundle` (its identifier) and `left_out` (images that could not be used).

    Raises
    ------
    DatasetError
        The split has no usable image, or no label of the bundle.
    """
    from dicom_workflow.learning.model.network import logits_of

    channel = read_channel(folder)
    if not set(channel.labels) & set(bundle.labels):
        wanted, got = ", ".join(bundle.labels), ", ".join(channel.labels)
        raise DatasetError(f"{folder}: expected at least one label of the bundle, {wanted}, got {got}.")
    loaded = load_images(
        [sample for sample in channel.samples if sample.split == split],
        size_px=bundle.size_px,
        version=bundle.preprocessing_version,
        workers=workers,
        progress=progress,
        cache_dir=cache_dir,
    )
    if not loaded.samples:
        raise DatasetError(f"{folder}: expected at least one usable {split} image, got none of {len(loaded.problems)}.")
    logits = logits_of(bundle.network, loaded.images, mean=bundle.input_mean, std=bundle.input_std)
    report = assess(
        replace(channel, labels=bundle.labels),
        loaded.samples,
        logits.numpy(),
        split=split,
        mode=bundle.mode,
        calibration=bundle.calibration,
        thresholds=bundle.thresholds,
        resamples=resamples,
        seed=seed,
        specificity=specificity,
    )
    return {**report, "bundle": bundle.identifier, "left_out": len(loaded.problems)}


def headline(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a report that a bundle keeps."""
    return {key: report[key] for key in ("measured_against", "macro_auroc", "macro_auroc_interval", "auroc")}


def split_counts(samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return `images`, `patients` and `positives` (label → images) of each split, by the consolidated answers."""
    found = {}
    for split in SPLITS:
        here = [sample for sample in samples if sample.split == split]
        positives = Counter(label for sample in here for label in labels if sample.states.get(label) == "positive")
        found[split] = {
            "images": len(here),
            "patients": len({sample.patient_id for sample in here}),
            "positives": {label: positives[label] for label in labels},
        }
    return found


def _facts(
    channel: Channel, samples: Sequence[Sample]
) -> tuple[list[dict[str, str]], list[dict[str, evaluation.reader_comparison.States]], int]:
    """Return the groups and the readers' answers of each sample, out of its manifest line, and how many were unreadable."""
    wanted = {str(sample.image): row for row, sample in enumerate(samples)}
    groups: list[dict[str, str]] = [{} for _ in samples]
    answers: list[dict[str, evaluation.reader_comparison.States]] = [{} for _ in samples]
    unreadable = 0
    for name in channel.sha256:
        uri = to_uri(Path(channel.folder) / name)
        if not Path(channel.folder, name).stat().st_size:
            continue
        # Broken lines were named when the channel was read.
        for _, line in manifests.read(uri, check=manifests.any_object, limits=False, on_error=lambda _: None):
            row = wanted.get(str(Path(channel.folder) / str(line.get("image"))))
            if row is not None:
                groups[row] = evaluation.read_groups(line, samples[row].image)
                answers[row], lost = evaluation.read_readers(line)
                unreadable += lost
    return groups, answers, unreadable


def _cautions(split: str, summary: Mapping[str, Any]) -> list[str]:
    found = []
    if split == "validation":
        found.append(
            "The figures are of validation images, on which the model's run chose the epoch, the calibration and the "
            "thresholds. They flatter."
        )
    if split == "train":
        found.append("The figures are of training images, from which the model's run learned. They say nothing of others.")
    if summary["measured_against"] == "states":
        found.append("Measured against the readers' consolidated answers, not against a truth known from elsewhere.")
    if summary["patients"] < 100:
        found.append(f"Only {summary['patients']} patients were judged: the intervals are wide, and they mean it.")
    return found
