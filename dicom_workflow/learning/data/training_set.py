"""Everything a training run reads, in one object: images, what they teach, what they are judged by, and their splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dicom_workflow.errors import DatasetError
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.data.images import Channel, Sample


@dataclass(frozen=True)
class TrainingSet:
    """The usable images of a channel."""

    channel: Channel
    images: np.ndarray
    """Shape (N, 1, size_px, size_px), float16 in [0, 1]; mapped from disk with a cache: read rows with `cache.take`."""
    samples: tuple[Sample, ...]
    targets: np.ndarray
    """Shape (N, labels), float32: 1, 0, or NaN where a label is unknown or uncertain. What is judged."""
    taught: np.ndarray
    """The same, as the policy for uncertain labels and readers' shares have it. What is learned."""
    rows: Mapping[str, np.ndarray]
    """Split → positions of its images."""
    preprocessing_version: str
    problems: tuple[str, ...]
    """What was left out, and why."""
    note: str = ""
    """Why there is no cache although one was asked for; empty otherwise."""

    def usable(self, split: str, mode: str) -> np.ndarray:
        """Return the positions of a split's images that can teach: those with a label, in mode ``single-label`` exactly one."""
        rows = self.rows[split]
        taught = self.taught[rows]
        kept = dataset.has_one_label(taught) if mode == "single-label" else ~np.isnan(taught).all(axis=1)
        found: np.ndarray = rows[kept]
        return found

    def of(self, split: str) -> list[Sample]:
        """Return the samples of a split."""
        return [self.samples[row] for row in self.rows[split]]

    def lines(self, train_rows: Sequence[int] | np.ndarray, about: str) -> list[str]:
        """Return what is printed at the start of a run: what was left out, and how much of everything there is."""
        counts = ", ".join(f"{len(self.rows[split])} {split}" for split in SPLITS)
        silent = len(self.rows["train"]) - len(train_rows)
        why = "teach nothing: without a label, or for single-label without exactly one positive label"
        return [
            *([self.note] if self.note else []),
            *(f"left out: {problem}" for problem in self.problems[:20]),
            f"images: {counts}; left out: {len(self.problems)}; usable for training: {len(train_rows)}; "
            f"labels: {len(self.channel.labels)}; {about}",
            *([f"{silent} of {len(self.rows['train'])} training images {why}"] if silent else []),
        ]


def read(
    channel: Channel,
    *,
    size_px: int,
    mode: str = "multi-label",
    uncertain: str = "ignore",
    soft: bool = False,
    reduced: bool = False,
    **loading: Any,
) -> TrainingSet:
    """Return the images of a channel with what they teach.

    Parameters
    ----------
    channel : Channel
    size_px : int
    mode : str
        ``single-label`` knows no shares: an image teaches its one positive label or nothing.
    uncertain, soft
        See `dataset.to_targets`.
    reduced : bool
        See `dataset.preprocessing_version`.
    **loading
        `workers`, `progress`, `cache_dir`, `cache_gb` of `dataset.load_images`.

    Raises
    ------
    DatasetError
        Fewer than 2 training images can teach.
    """
    version = dataset.preprocessing_version(reduced=reduced)
    dataset.UncertainPolicy.parse(uncertain, channel.labels)  # a mistake shows now, not when every image is decoded
    decoded = dataset.load_images(channel.samples, size_px=size_px, version=version, **loading)
    splits = np.array([sample.split for sample in decoded.samples])
    found = TrainingSet(
        channel=channel,
        images=decoded.images,
        samples=decoded.samples,
        targets=dataset.to_targets(decoded.samples, channel.labels),
        taught=dataset.to_targets(decoded.samples, channel.labels, uncertain=uncertain, soft=soft and mode != "single-label"),
        rows={split: np.flatnonzero(splits == split) for split in SPLITS},
        preprocessing_version=version,
        problems=(*channel.problems, *decoded.problems),
        note=decoded.note,
    )
    usable = len(found.usable("train", mode))
    if usable < 2:
        reasons = "; ".join(found.problems[:3])
        raise DatasetError(
            f"{channel.folder}: expected at least 2 training images with a label, got {usable} of {len(found.rows['train'])}; "
            f"{len(found.problems)} were left out{': ' + reasons if reasons else ''}. Label more images."
        )
    return found
