"""Quality on real radiographs: our training beside the reference recipe, on the same five folds that share no patient.

Each image is judged once, by a network that has not seen its patient; no network chooses anything on what it is judged by. The
reference learns for its own number of epochs, and for ours. A linear model on thumbnails of 16 x 16 pixels shows how much can
be had without any network: what does not beat it has learned nothing but brightness. Intervals are over resampled patients.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import quality_channel
import reference_recipe
import torch

from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.evaluation import metrics, predictions
from dicom_workflow.learning.evaluation.bootstrap import interval, patient_weights
from dicom_workflow.learning.evaluation.comparison import compare
from dicom_workflow.learning.training import cross_validation
from dicom_workflow.learning.training.script_run import run_training

FOLDS = 5
RESAMPLES = 2000
THUMBNAIL_PX, RIDGE = 16, 0.3
# What docs/training.md recommends for sets of a few hundred images, and by what figures.
FLAGS: dict[str, Any] = {
    "mode": "single-label",
    "size_px": 80,
    "epochs": 15,
    "batch_size": 8,
    "learning_rate": 5e-4,
}
CAUTION = "COVID-19 images come from another collection than the others: telling them apart may be telling sources apart."

OURS, OWN_EPOCHS, SAME_EPOCHS, LINEAR = "ours", "reference", "reference_same_epochs", "linear_thumbnails"
EVERYONE = (OURS, LINEAR, SAME_EPOCHS, OWN_EPOCHS)


def measure(
    data: Path, folder: Path, *, initial: Path | None, seed: int = 7, flags: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return accuracy and AUROC of everyone who answers, and by how much ours is above the reference.

    Parameters
    ----------
    data : Path
        Folder of DICOM files with ``labels.csv`` (file, patient_id, label).
    folder : Path
        For channels and training.
    initial : Path, optional
        Bundle that our training starts from; random weights when not given.
    seed : int
        Of folds, weights and changes.
    flags : mapping, optional
        Settings of the training script instead of those in `FLAGS`.
    """
    began = time.perf_counter()
    settings = {**FLAGS, "init_weights": initial or "", **(flags or {})}
    lines = read_lines(data)
    labels, patients = lines[0]["labels"], [line["patient_id"] for line in lines]
    truth = np.array([[line["states"][label] == "positive" for label in labels] for line in lines], dtype=np.float64)
    quality_channel.write(folder / "all", lines, data)
    fold_of = cross_validation.assign_folds(read_channel(folder / "all").samples, FOLDS, seed=seed)
    held = np.array([fold_of[patient] for patient in patients])
    scores = {name: np.zeros_like(truth) for name in EVERYONE}
    thumbnails = read_thumbnails(data, lines)
    torch.set_num_threads(1)  # the reference takes one processor, ours the other
    for fold in range(FOLDS):
        learned, judged = np.flatnonzero(held != fold), np.flatnonzero(held == fold)
        with ThreadPoolExecutor(1) as beside:
            theirs = beside.submit(reference, data, lines, truth, learned, judged, epochs=int(settings["epochs"]), seed=seed)
            scores[OURS][judged] = ours(data, folder / f"fold-{fold}", lines, judged, seed=seed, settings=settings)
            scores[OWN_EPOCHS][judged], scores[SAME_EPOCHS][judged] = theirs.result()
        scores[LINEAR][judged] = linear(thumbnails[learned], truth[learned], thumbnails[judged])
        right = {name: is_right(truth[judged], answers[judged]).mean() for name, answers in scores.items()}
        print(f"fold {fold + 1} of {FOLDS}, accuracy: {', '.join(f'{name} {share:.3f}' for name, share in right.items())}")
    found = {name: figures(truth, answers, labels, patients, seed) for name, answers in scores.items()}
    gains = {name: gain(truth, scores[name], scores[OURS], labels, patients, seed) for name in scores if name != OURS}
    return {
        "images": len(lines),
        "patients": len(set(patients)),
        "folds": FOLDS,
        "per_label": {label: int(count) for label, count in zip(labels, truth.sum(axis=0), strict=True)},
        **found,
        "ours_above": gains,
        "holds": {
            f"{measure}_above_{name}": each["interval"] is not None and each["interval"][0] > 0
            for name in (OWN_EPOCHS, SAME_EPOCHS)
            for measure, each in gains[name].items()
        },
        "reference_epochs": {OWN_EPOCHS: reference_recipe.EPOCHS, SAME_EPOCHS: int(settings["epochs"])},
        "reference_reader": reference_recipe.reader(),
        "caution": CAUTION,
        "seconds": round(time.perf_counter() - began, 1),
        "settings": {**settings, "init_weights": "the phantoms' bundle" if initial else str(settings["init_weights"])},
    }


def read_lines(data: Path) -> list[dict[str, Any]]:
    """Return a manifest line for each row of ``labels.csv``; an image has exactly one label."""
    with (data / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = sorted({row["label"] for row in rows})
    return [
        quality_channel.line(row["file"], row["patient_id"], "train", Path("images", row["file"]), labels, [row["label"]])
        for row in rows
    ]


def ours(
    data: Path, folder: Path, lines: Sequence[Mapping[str, Any]], judged: np.ndarray, *, seed: int, settings: Mapping[str, Any]
) -> np.ndarray:
    """Train on all other images with the script and return its probabilities of the judged ones."""
    tested = set(judged.tolist())
    here = [{**line, "split": "test" if row in tested else "train"} for row, line in enumerate(lines)]
    quality_channel.write(folder, here, data)
    cache = str(folder.parent / "image-cache")
    run = run_training(folder, folder / "training", seed=seed, threads=1, resamples=0, cache_dir=cache, **settings)
    found = predictions.read_predictions(run.predictions)
    rows = [found.identifiers.index(lines[row]["source"]) for row in judged]
    columns = [found.labels.index(label) for label in lines[0]["labels"]]
    return found.scores[np.ix_(rows, columns)]


def reference(
    data: Path,
    lines: Sequence[Mapping[str, Any]],
    truth: np.ndarray,
    learned: np.ndarray,
    judged: np.ndarray,
    *,
    epochs: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the reference recipe answers after its own number of epochs, and after `epochs`."""
    paths = [data / line["source"] for line in lines]
    network = reference_recipe.build(truth.shape[1], seed)
    optimizer = reference_recipe.optimizer_of(network)
    classes = truth[learned].argmax(axis=1).tolist()
    batches = reference_recipe.loader([paths[row] for row in learned], classes, seed=seed)
    answers = {}
    for epoch in range(1, max(epochs, reference_recipe.EPOCHS) + 1):
        reference_recipe.train_epoch(network, optimizer, batches)
        if epoch in (epochs, reference_recipe.EPOCHS):
            answers[epoch] = reference_recipe.predict(network, [paths[row] for row in judged])
    return answers[reference_recipe.EPOCHS], answers[epochs]


def read_thumbnails(data: Path, lines: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return each image as a few numbers, by the one preprocessing path: shape (n, THUMBNAIL_PX squared), float64."""
    images = [dataset.decode(data / line["source"], 4 * THUMBNAIL_PX) for line in lines]
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(np.stack(images).astype(np.float64)), THUMBNAIL_PX)
    return small.flatten(1).numpy()


def linear(learned: np.ndarray, truth: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Return ridge regression's answers, cut to [0, 1]; as many unknowns as images, so it is solved by their products."""
    mean, spread = learned.mean(axis=0), learned.std(axis=0) + 1e-3
    known, asked = ((images - mean) / spread / THUMBNAIL_PX for images in (learned, judged))
    weights = np.linalg.solve(known @ known.T + RIDGE * np.eye(len(known)), truth - truth.mean(axis=0))
    return np.clip(asked @ known.T @ weights + truth.mean(axis=0), 0.0, 1.0)


def figures(truth: np.ndarray, scores: np.ndarray, labels: Sequence[str], patients: Sequence[str], seed: int) -> dict[str, Any]:
    """Return accuracy, AUROC and calibration of one who answers."""
    named = {"labels": labels, "patients": patients, "mode": "single-label", "resamples": RESAMPLES, "seed": seed}
    report = metrics.evaluate(truth, scores, **named)
    return {
        "accuracy": report.accuracy,
        "accuracy_interval": interval(resampled(is_right(truth, scores), patients, seed)),
        **{name: getattr(report, name) for name in ("macro_auroc", "macro_auroc_interval", "macro_brier", "macro_ece")},
        "confusion": report.confusion,
        "auroc": {label: each.auroc for label, each in report.labels.items()},
    }


def gain(
    truth: np.ndarray, theirs: np.ndarray, mine: np.ndarray, labels: Sequence[str], patients: Sequence[str], seed: int
) -> dict[str, Any]:
    """Return by how much mine is better; both are judged on the same resamples of patients."""
    macro = compare(truth, theirs, mine, labels=labels, patients=patients, resamples=RESAMPLES, seed=seed)["macro"]
    gained = is_right(truth, mine) - is_right(truth, theirs)
    return {
        "accuracy": {"difference": round(float(gained.mean()), 6), "interval": interval(resampled(gained, patients, seed))},
        "macro_auroc": {"difference": macro["difference"], "interval": macro["difference_interval"]},
    }


def is_right(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return 1 for each image whose likeliest label is the true one, else 0."""
    return (truth.argmax(axis=1) == scores.argmax(axis=1)).astype(np.float32)


def resampled(values: np.ndarray, patients: Sequence[str], seed: int) -> np.ndarray:
    """Return the mean of an image's value in each resample of patients."""
    means = [weights @ values / weights.sum(axis=1) for weights in patient_weights(patients, RESAMPLES, seed)]
    return np.concatenate(means)


def figure(found: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy and AUROC side by side, with their intervals."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 2.8), layout="constrained")
    for axes, measure in zip(picture.subplots(1, 2, sharey=True), ("accuracy", "macro_auroc"), strict=True):
        values = np.array([found[name][measure] for name in EVERYONE])
        # Where every resample gives the same there is no interval, and no bar is drawn.
        low, high = np.array([found[name][f"{measure}_interval"] or [found[name][measure]] * 2 for name in EVERYONE]).T
        places = np.arange(len(EVERYONE))[::-1]
        axes.barh(places, values, xerr=(values - low, high - values), color=["#0072b2", *["0.75"] * 3], capsize=3)
        for place, value in zip(places, values, strict=True):
            axes.text(0.02, place, f"{value:.2f}", va="center", color="white" if place == places[0] else "black")
        axes.set_yticks(places, [name.replace("_", " ") for name in EVERYONE])
        axes.set(xlim=(0, 1), xlabel=f"{measure.replace('_', ' ')}, 95 % interval over patients")
    picture.suptitle(f"{found['images']} radiographs of {found['patients']} patients, {found['folds']} folds")
    picture.savefig(path, dpi=150)
