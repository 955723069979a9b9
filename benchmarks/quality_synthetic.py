"""Quality on phantoms: one training run on what `dicom-workflow demo` draws, judged on patients it has not seen.

The labels are the generator's own truth. No simulated reader errs here, so the figures are of images and network alone; the
demo's are lower, because its labels come from readers who make mistakes, on a fifth of the images.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import quality_channel
from pydicom.uid import ExplicitVRLittleEndian

from dicom_workflow.formats.splits import assign_splits
from dicom_workflow.learning.training.script_run import run_training
from dicom_workflow.synthetic import dataset

PATIENTS, IMAGE_PX = 2000, 320
SPLIT = (0.8, 0.1, 0.1)
FLAGS: dict[str, Any] = {
    "size_px": 112,
    "epochs": 8,
    "batch_size": 16,  # thousands of images: steps enough, and twice as fast as batches of 8
    "learning_rate": 2e-3,
    "rotation_degrees": 4.0,  # phantoms differ less than patients do
    "translation": 0.03,
    "scale": 0.04,
    "contrast": 0.1,
}
BARS = {"macro_auroc": 0.97, "training_seconds": 600.0, "macro_ece": 0.05}


def measure(folder: Path, *, patients: int = PATIENTS, seed: int = 7, flags: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the figures of one run, the bars, and which of them hold.

    Parameters
    ----------
    folder : Path
        For images, channel and training; the bundle is in ``training/model``.
    patients : int
        About 1.6 images each.
    seed : int
        Of phantoms, split and training.
    flags : mapping, optional
        Settings of the training script instead of those in `FLAGS`.
    """
    began = time.perf_counter()
    images = write_channel(folder, patients, seed)
    making_seconds = time.perf_counter() - began
    settings = {**FLAGS, **(flags or {})}
    run = run_training(folder, folder / "training", on_line=quality_channel.show, seed=seed, **settings)
    found, report = run.evaluation, run.evaluation.against["truth"]
    macro = ("macro_brier", "macro_ece", "macro_brier_uncalibrated", "macro_ece_uncalibrated")
    figures = {
        "images": images,
        "test_images": report.images,
        "test_patients": report.patients,
        "labels_from": "the generator's truth",
        "macro_auroc": report.macro_auroc,
        "macro_auroc_interval": report.macro_auroc_interval,
        **{name: getattr(report, name) for name in macro},  # uncalibrated: only where there was something to calibrate on
        "largest_ece": max(each.ece for each in report.labels.values()),
        "auroc": {label: each.auroc for label, each in report.labels.items()},
        "best_epoch": found.best_epoch,
        "making_seconds": round(making_seconds, 1),
        "training_seconds": round(found.seconds["training"], 1),
        "settings": settings,
    }
    holds = {
        "macro_auroc": figures["macro_auroc"] >= BARS["macro_auroc"],
        "training_seconds": figures["training_seconds"] <= BARS["training_seconds"],
        "macro_ece": figures["macro_ece"] <= BARS["macro_ece"],
    }
    return {**figures, "bars": BARS, "holds": holds}


def write_channel(folder: Path, patients: int, seed: int) -> int:
    """Draw phantoms, write the channel around them, patients in one split each, and return the number of images."""
    made = dataset.make_dataset(
        folder, patients=patients, seed=seed, size_px=IMAGE_PX, transfer_syntaxes=[ExplicitVRLittleEndian], progress=False
    )
    positives: dict[str, list[str]] = {}
    for uid, patient in made.patient_id.items():
        positives.setdefault(patient, []).extend(sorted(made.positive[uid]))
    split_of = assign_splits(positives, seed=seed, fractions=SPLIT)
    lines = [
        quality_channel.line(uid, patient, split_of[patient], path.relative_to(folder), made.labels, sorted(made.positive[uid]))
        for path, (uid, patient) in zip(made.paths, made.patient_id.items(), strict=True)
    ]
    quality_channel.write(folder, lines)
    return len(lines)
