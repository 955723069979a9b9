"""Evaluation of a model: calibration and thresholds from validation images, then every figure from other images.

Everything that is fitted is fitted on validation images: calibration first, then the thresholds of calibrated probabilities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dicom_workflow.errors import DatasetError
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.learning.data.channel import Channel, Sample, read_channel
from dicom_workflow.learning.data.images import load_images
from dicom_workflow.learning.data.targets import to_targets
from dicom_workflow.learning.evaluation import breakdown, metrics
from dicom_workflow.learning.evaluation.metrics import RESAMPLES, SPECIFICITY
from dicom_workflow.learning.evaluation.report import Evaluation, SplitCounts
from dicom_workflow.learning.evaluation.thresholds import Rule, choose_thresholds
from dicom_workflow.learning.model import calibration
from dicom_workflow.learning.model.calibration import Calibration

if TYPE_CHECKING:  # torch takes seconds to import
    from dicom_workflow.learning.model.bundle import Bundle


def calibrate_and_threshold(
    targets: np.ndarray, logits: np.ndarray, labels: Sequence[str], *, mode: str, method: str, rule: Rule
) -> tuple[Calibration, dict[str, float]]:
    """Return calibration and thresholds, both from validation images.

    Parameters
    ----------
    targets, logits : ndarray, shape (n, labels), float32
        Of validation images; with none of them, nothing is calibrated and every threshold is 0.5.
    labels : sequence of str
    mode, method : str
        See `calibration.fit`.
    rule : Rule
        Rule by which a threshold is chosen.
    """
    fitted = calibration.fit(targets, logits, labels, mode=mode, method=method)
    scores = fitted.probabilities(logits, labels, mode)
    return fitted, choose_thresholds(targets, scores, labels, rule)


def evaluate_model(
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
) -> Evaluation:
    """Return the evaluation of a model on some samples.

    Parameters
    ----------
    channel : Channel
        Where the samples come from; its labels are the columns, its label set says which labels exclude each other.
    samples : sequence of Sample
        The images that are evaluated.
    logits : ndarray, shape (n, labels), float32
    split : str
        Which images they are; for ``train`` and ``validation`` a caution says that the model knows them.
    mode, calibration, thresholds
        As in the bundle.
    resamples, seed : int
        For the intervals.
    specificity : float
        At which `sensitivity_at_specificity` is read off the ROC curve.
    """
    labels = channel.labels
    patients = [sample.patient_id for sample in samples]
    scores = calibration.probabilities(logits, labels, mode)
    targets = {"states": to_targets(samples, labels)}
    truth = to_targets(samples, labels, of="truth")
    if not np.isnan(truth).all():
        targets["truth"] = truth
    against = {
        name: metrics.evaluate(
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
        for name, known in targets.items()
    }
    measured_against = "truth" if "truth" in targets else "states"
    called = scores >= np.array([thresholds[label] for label in labels])
    if mode == "single-label":
        called = scores == scores.max(axis=1, keepdims=True)
    groups = [breakdown.groups_of(sample.attributes) for sample in samples]
    readers = [sample.readers for sample in samples]
    known = targets[measured_against].astype(np.float64)
    few = min(resamples, 500)
    return Evaluation(
        split=split,
        mode=mode,
        measured_against=measured_against,
        against=against,
        calibration=calibration.to_json(),
        subgroups=breakdown.by_subgroup(known, scores, groups, labels=labels, patients=patients, resamples=few, seed=seed),
        readers=breakdown.against_readers(called, readers, labels=labels, targets=targets.get("truth")),
        exclusions=breakdown.exclusion_counts(called, labels, channel.label_set),
        nothing_called=int((~called.any(axis=1)).sum()),
        untaught=channel.untaught,
        splits=split_counts(channel.samples, labels),
        cautions=tuple(_cautions(split, measured_against, len(set(patients)))),
    )


def evaluate_bundle(
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
) -> Evaluation:
    """Return the evaluation of a bundle on the images of a channel.

    Parameters
    ----------
    bundle : Bundle
        Its own thresholds and calibration are used; nothing is fitted.
    folder : str or Path
        See `channel.read_channel`; its images need not be those of the run that made the bundle.
    split : str
        Which images.
    specificity, resamples, seed
        See `evaluate_model`.
    workers, progress, cache_dir
        See `images.load_images`.

    Raises
    ------
    DatasetError
        The split has no usable image, or no label of the bundle.
    """
    from dicom_workflow.learning.model.network import logits_of

    channel = read_channel(folder)
    if not set(channel.labels) & set(bundle.labels):
        wanted, got = ", ".join(bundle.labels), ", ".join(channel.labels)
        raise DatasetError(f"{folder}: the channel has no label of the bundle: it has {got}, the bundle {wanted}.")
    loaded = load_images(
        [sample for sample in channel.samples if sample.split == split],
        size_px=bundle.size_px,
        channels=bundle.channels,
        version=bundle.preprocessing_version,
        workers=workers,
        progress=progress,
        cache_dir=cache_dir,
    )
    if not loaded.samples:
        raise DatasetError(f"{folder}: none of {len(loaded.problems)} {split} images is usable.")
    logits = logits_of(bundle.network, loaded.images, mean=bundle.input_mean, std=bundle.input_std)
    report = evaluate_model(
        replace(channel, labels=bundle.labels, label_set=bundle.label_set, untaught=bundle.untaught),
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
    return replace(report, bundle=bundle.identifier, left_out=len(loaded.problems))


def split_counts(samples: Sequence[Sample], labels: Sequence[str]) -> dict[str, SplitCounts]:
    """Return the size of each split and its positive images by label, by the consolidated states."""
    found = {}
    for split in SPLITS:
        here = [sample for sample in samples if sample.split == split]
        positives = Counter(label for sample in here for label in labels if sample.states.get(label) == LabelState.POSITIVE)
        counts = {label: positives[label] for label in labels}
        found[split] = SplitCounts(len(here), len({sample.patient_id for sample in here}), counts)
    return found


def _cautions(split: str, measured_against: str, patients: int) -> list[str]:
    found = []
    if split == "validation":
        found.append(
            "These are figures of validation images, which chose the model's epoch, calibration and thresholds: they are "
            "optimistic."
        )
    if split == "train":
        found.append("These are figures of training images: they say nothing about other images.")
    if measured_against == "states":
        found.append("Measured against the readers' consolidated states, not against a reference standard.")
    if patients < 100:
        found.append(f"Only {patients} patients were evaluated: the intervals are wide; do not over-interpret differences.")
    return found
