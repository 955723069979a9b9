"""Prediction with a model bundle: DICOM files or decoded images in, one probability per label out.

`model_fn`, `input_fn`, `predict_fn` and `output_fn` are the four handlers that SageMaker's PyTorch serving calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom.dataset import Dataset

from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import LearningError, WorkflowError, printable
from dicom_workflow.formats.json_schema import encoded
from dicom_workflow.learning.data.channel import Sample, read_channel
from dicom_workflow.learning.data.images import decode, load_images
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.network import logits_of, probabilities
from dicom_workflow.storage import Storage, to_uri


def predict(bundle: Bundle, datasets: Iterable[Any], *, batch_size: int = 16) -> list[dict[str, float]]:
    """Return the probability of each label for each image.

    Parameters
    ----------
    bundle : Bundle
    datasets : iterable of pydicom.Dataset, path or bytes
        DICOM instances.
    batch_size : int
        Images per pass through the network.

    Returns
    -------
    list of dict
        Label → probability, in the bundle's order of labels.

    Raises
    ------
    DicomError
        An image cannot be used.
    """
    images = [decode(dataset, bundle.size_px, bundle.preprocessing_version) for dataset in datasets]
    if not images:
        return []
    scores = predict_images(bundle, np.stack(images), batch_size=batch_size)
    return [to_record(bundle, row) for row in scores]


def predict_images(bundle: Bundle, images: np.ndarray, *, batch_size: int = 16, precision: str = "float32") -> np.ndarray:
    """Return the calibrated probabilities of decoded images.

    Parameters
    ----------
    bundle : Bundle
    images : ndarray, shape (N, channels, size_px, size_px), float16 or float32 in [0, 1]
    batch_size : int
        Images per pass through the network.
    precision : {'float32', 'bfloat16'}
        Of the convolutions.

    Returns
    -------
    ndarray, shape (N, labels), float32

    Raises
    ------
    LearningError
        Images of another shape.
    """
    if not len(images):
        return np.empty((0, len(bundle.labels)), dtype=np.float32)
    bundle.check_images(images)
    logits = logits_of(
        bundle.network, images, mean=bundle.input_mean, std=bundle.input_std, batch_size=batch_size, precision=precision
    )
    if bundle.is_calibrated:
        logits = torch.from_numpy(bundle.calibration.apply(logits.numpy(), bundle.labels))
    scores: np.ndarray = probabilities(logits, bundle.mode).numpy()
    return scores


def to_record(bundle: Bundle, scores: np.ndarray) -> dict[str, float]:
    """Return one row of probabilities, ndarray of shape (labels,), float32, by label."""
    return {label: round(float(score), 6) for label, score in zip(bundle.labels, scores, strict=True)}


def to_prediction(bundle: Bundle, scores: np.ndarray) -> dict[str, Any]:
    """Return the prediction of one image: its probabilities and what they mean at the bundle's thresholds.

    Parameters
    ----------
    bundle : Bundle
    scores : ndarray, shape (labels,), float32
        Probabilities, from `predict_images`.

    Returns
    -------
    dict
        `probabilities` by label; `positive`, the labels at or above their threshold (in mode single-label, the most probable
        one); `conflicts`, the positive labels that another positive label excludes; `consistent`, the positive labels without
        those that exclude another, see `Bundle.consistent`; and, where the bundle has such, `untaught`, the labels that are not
        predicted because no training image teaches them.
    """
    if bundle.mode == "single-label":
        positive = [bundle.labels[int(np.argmax(scores))]]
    else:
        positive = [label for label, score in zip(bundle.labels, scores, strict=True) if score >= bundle.thresholds[label]]
    return {
        "probabilities": to_record(bundle, scores),
        "positive": positive,
        "conflicts": bundle.label_set.conflicts(positive),
        "consistent": bundle.consistent(positive),
        **({"untaught": list(bundle.untaught)} if bundle.untaught else {}),
    }


def write_predictions(path: str | Path, bundle: Bundle, samples: Sequence[Sample], scores: np.ndarray) -> Path:
    """Write ``predictions.jsonl``: one line per sample with its source, patient, split, states, truth and `to_prediction`.

    Parameters
    ----------
    path : str or Path
        Written whole or not at all.
    bundle : Bundle
    samples : sequence of Sample
    scores : ndarray, shape (samples, labels), float32 or float64 in [0, 1]
        Their probabilities, in the same order.
    """
    with Storage().writer(to_uri(path)) as stream:
        for sample, row in zip(samples, scores, strict=True):
            line = {
                "source": sample.identifier,
                "image": sample.image.name,
                "patient_id": sample.patient_id,
                "split": sample.split,
                **to_prediction(bundle, row),
                "states": dict(sample.states),
                **({"truth": dict(sample.truth)} if sample.truth else {}),
            }
            stream.write(encoded(json.dumps(line, ensure_ascii=False, allow_nan=False)) + b"\n")
    return Path(path)


def predict_channel(
    bundle: Bundle,
    channel: str | Path,
    output: str | Path,
    *,
    splits: Sequence[str] = ("test",),
    workers: int = 2,
    progress: bool = True,
    cache_dir: str | Path | None = None,
    cache_gb: float = 20.0,
) -> tuple[Path, tuple[str, ...]]:
    """Predict every image of some splits of a training channel.

    Parameters
    ----------
    bundle : Bundle
    channel : str or Path
        Folder of `channel.read_channel`.
    output : str or Path
        The file to write.
    splits : sequence of str
    workers, progress, cache_dir, cache_gb
        See `images.load_images`; with the cache of a training run of the same image size nothing is decoded again.

    Returns
    -------
    Path
        ``predictions.jsonl``, see `write_predictions`.
    tuple of str
        Images that were left out, each with its path and reason.
    """
    samples = [sample for sample in read_channel(channel).samples if sample.split in splits]
    loaded = load_images(
        samples,
        size_px=bundle.size_px,
        channels=bundle.channels,
        workers=workers,
        progress=progress,
        version=bundle.preprocessing_version,
        cache_dir=cache_dir,
        cache_gb=cache_gb,
    )
    scores = predict_images(bundle, loaded.images)
    return write_predictions(output, bundle, loaded.samples, scores), loaded.problems


_AT_A_TIME = 64
"""Images decoded before they go through the network together."""
_FIRST_PIXELS_GROUP = 0x7FE00000
"""Elements from this tag on hold pixels, which a report does not need."""

Image = tuple[str, Callable[[], str | Path | bytes]]
"""What an image is called in predictions and messages, and what gets its file or the content of it."""


def files_below(paths: Iterable[str | Path]) -> list[Image]:
    """Return files as images for `predict_files`; a folder stands for every file below it, in the order of their names."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return [(str(path), partial(Path, path)) for path in found]


@dataclass(frozen=True)
class PredictedFiles:
    """The predictions of some files."""

    path: Path
    """``predictions.jsonl``: a line per usable file, each with its `file` and `predict.to_prediction`."""
    lines: tuple[Mapping[str, Any], ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """File → why it could not be used."""
    untaught: Mapping[str, str] = field(default_factory=dict)
    """Label that the model does not predict → why."""

    def refusals(self) -> list[str]:
        """Return a line with the number of files, and one for each label and file that was left out."""
        total = len(self.lines) + len(self.refused)
        whole = f"{len(self.lines):,} of {total:,} files predicted"
        not_predicted = [f"not predicted: {label}: {why}" for label, why in self.untaught.items()]
        return [whole, *not_predicted, *(f"{name}: refused: {reason}" for name, reason in self.refused.items())]

    def metrics(self) -> dict[str, Any]:
        """Return the figures for a record."""
        reports = sum("report" in line for line in self.lines)
        return {"images_predicted": len(self.lines), "images_refused": len(self.refused), "reports_written": reports}


def predict_files(
    bundle: Bundle,
    images: Iterable[Image],
    output: str | Path,
    *,
    reports: str | Path | None = None,
    progress: bool = True,
) -> PredictedFiles:
    """Predict DICOM files and write the predictions.

    Parameters
    ----------
    bundle : Bundle
    images : iterable of (str, callable)
        The name of each image, and a function that returns its path or the content of its file; see `files_below`.
    output : str or Path
        The file that gets a line per image; it is written whole or not at all.
    reports : str or Path, optional
        Folder that gets a DICOM Structured Report of each image.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    PredictedFiles
        A file that cannot be used is in `refused`, and the others go on.

    Raises
    ------
    LearningError
        There is no file at all, or not one can be used.
    """
    from pydicom.uid import generate_uid
    from tqdm import tqdm

    wanted = list(images)
    refused: dict[str, str] = {}
    lines: list[dict[str, Any]] = []
    run_uid = str(generate_uid())
    with tqdm(total=len(wanted), desc="predicting", unit="image", disable=not progress) as bar:
        for start in range(0, len(wanted), _AT_A_TIME):
            some = wanted[start : start + _AT_A_TIME]
            for name, header, scores in _scored(bundle, some, refused):
                line = {"file": name, **to_prediction(bundle, scores)}
                if reports is not None:
                    try:
                        line["report"] = str(_report(bundle, header, line, Path(reports), run_uid, len(lines) + 1))
                    except WorkflowError as error:
                        refused[printable(name)] = printable(error)
                        continue
                lines.append(line)
            bar.update(len(some))
    if not lines:
        reason = f" The first: {next(iter(refused.values()))}" if refused else ""
        raise LearningError(f"none of {len(wanted)} files is a usable DICOM file.{reason}")
    with Storage().writer(to_uri(output)) as stream:
        for line in lines:
            stream.write(encoded(json.dumps(line, ensure_ascii=False, allow_nan=False)) + b"\n")
    return PredictedFiles(Path(output), tuple(lines), refused, bundle.untaught)


def _scored(bundle: Bundle, images: Sequence[Image], refused: dict[str, str]) -> Iterator[tuple[str, Dataset, np.ndarray]]:
    """Yield the name, the header and the probabilities of each usable image; the others are put into `refused`."""
    tensors: list[np.ndarray] = []
    usable: list[tuple[str, Dataset]] = []
    for name, content in images:
        try:
            dataset = read_dataset(content())
            tensors.append(decode(dataset, bundle.size_px, bundle.preprocessing_version))
            # The pixels of a whole batch would be a gigabyte.
            usable.append((name, dataset[:_FIRST_PIXELS_GROUP]))
        except (WorkflowError, OSError) as error:
            refused[printable(name)] = printable(error)
    if tensors:
        for (name, header), scores in zip(usable, predict_images(bundle, np.stack(tensors)), strict=True):
            yield name, header, scores


def _report(bundle: Bundle, header: Dataset, prediction: Mapping[str, Any], folder: Path, run_uid: str, number: int) -> Path:
    from dicom_workflow.learning.inference import structured_report

    return structured_report.write_report(bundle, header, prediction, folder, run_uid=run_uid, number=number)
