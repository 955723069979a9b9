"""Images of a training channel, each decoded once, and the training set of images and targets.

Every image goes through the same `dicom.pixels.to_model_input` that serves inference and search; `data.cache` keeps the results
for later runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.errors import CacheError, DatasetError, DicomError
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.learning.data.cache.folder import load_cached
from dicom_workflow.learning.data.channel import Channel, Sample
from dicom_workflow.learning.data.decoder_pool import check_channels, described
from dicom_workflow.learning.data.targets import UncertainPolicy, has_one_label, to_targets, untaught_labels


@dataclass(frozen=True)
class LoadedImages:
    """The decoded images of some samples, in their order."""

    images: np.ndarray
    """Shape (N, channels, size_px, size_px), float16 in [0, 1]; mapped from disk with a cache: read rows with `pack.take`."""
    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    """Images that were left out, each with its path and reason."""
    decoded: int = 0
    """How many files were decoded this time; the others came from the cache."""
    note: str = ""
    """Why there is no cache although one was asked for; empty otherwise."""


def decode(source: Any, size_px: int, version: str = "") -> np.ndarray:
    """Return one image as every network for gray images sees it.

    Parameters
    ----------
    source : path, bytes or pydicom.Dataset
    size_px : int
        Side of the square.
    version : str
        Preprocessing version of the model, one of `preprocessing_versions`; empty for the usual one.

    Returns
    -------
    ndarray, shape (1, size_px, size_px), float16 in [0, 1]
        Half precision keeps eleven bits, and training and inference round alike.

    Raises
    ------
    DicomError
        The file cannot be used.
    """
    from dicom_workflow.dicom import pixels  # pydicom and its decoders are only needed here
    from dicom_workflow.dicom.reading import read_dataset

    dataset = read_dataset(source) if isinstance(source, str | Path | bytes) else source
    return pixels.to_model_input(dataset, size_px=size_px, version=version or preprocessing_version()).astype(np.float16)


def preprocessing_version(*, reduced: bool = False) -> str:
    """Return the version of the preprocessing, which every bundle keeps.

    Parameters
    ----------
    reduced : bool
        The one that decodes JPEG 2000 only as far as the network needs: see `dicom.pixels.to_model_input`.
    """
    from dicom_workflow.dicom.pixels import PREPROCESSING_VERSION, REDUCED_VERSION

    return REDUCED_VERSION if reduced else PREPROCESSING_VERSION


def preprocessing_versions() -> tuple[str, ...]:
    """Return every version that `decode` can follow; a bundle of another one needs another package."""
    from dicom_workflow.dicom.pixels import PREPROCESSING_VERSIONS

    return PREPROCESSING_VERSIONS


def load_images(
    samples: Sequence[Sample],
    *,
    size_px: int,
    channels: int = 1,
    workers: int = 2,
    progress: bool = True,
    version: str = "",
    cache_dir: str | Path | None = None,
    cache_gb: float = 20.0,
    decode: Callable[..., np.ndarray] = decode,
) -> LoadedImages:
    """Return the images of samples, each decoded once.

    Parameters
    ----------
    samples : sequence of Sample
    size_px : int
        Side of the square network input.
    channels : int
        Of the network input, see `architectures.Architecture`.
    workers : int
        Files that are decoded at a time: by threads, and into a cache by processes where there are many.
    progress : bool
        Show a progress bar on standard error.
    version : str
        Preprocessing version, as for `decode`.
    cache_dir : str or Path, optional
        Folder that keeps decoded images for the next run, see `data.cache.folder`; None or empty keeps them in memory only.
    cache_gb : float
        How large that folder may grow, in 10^9 bytes.
    decode : callable
        ``decode(path, size_px, version)``; the function of the same name in this module. What a cache holds was decoded by it.

    Returns
    -------
    LoadedImages
        An image that is missing or cannot be decoded is left out and described in `problems`. Where the cache cannot be used
        the images are decoded into memory and `note` says why.

    Raises
    ------
    DatasetError
        `decode` returns another number of channels than the network takes.
    """
    version, note = version or preprocessing_version(), ""
    if cache_dir:
        try:
            found = load_cached(
                [sample.image for sample in samples],
                cache_dir,
                size_px=size_px,
                channels=channels,
                version=version,
                decode=decode,
                workers=workers,
                progress=progress,
                limit_gb=cache_gb,
            )
            return _kept(samples, found.images, found.problems, decoded=found.decoded)
        except CacheError as error:
            note = f"decoded into memory: {error}"
    images, problems = _in_memory(samples, (channels, size_px, size_px), version, workers, progress, decode)
    kept = [row for row, problem in enumerate(problems) if not problem]
    if len(kept) < len(samples):
        images = images[kept]
    return _kept(samples, images, problems, decoded=len(samples), note=note)


def _kept(samples: Sequence[Sample], images: np.ndarray, problems: Sequence[str], **more: Any) -> LoadedImages:
    return LoadedImages(
        images=images,
        samples=tuple(sample for sample, problem in zip(samples, problems, strict=True) if not problem),
        problems=tuple(problem for problem in problems if problem),
        **more,
    )


def _in_memory(
    samples: Sequence[Sample],
    shape: tuple[int, int, int],
    version: str,
    workers: int,
    progress: bool,
    decode: Callable[..., np.ndarray],
) -> tuple[np.ndarray, list[str]]:
    """Return the images, those of bad files undefined, and for each sample its problem or nothing."""
    from tqdm import tqdm

    images = np.empty((len(samples), *shape), dtype=np.float16)

    def load(row: int) -> str:
        path = samples[row].image
        try:
            image = decode(path, shape[1], version)
        except (DicomError, OSError) as error:
            return described(path, error)
        check_channels(image, shape[0])
        images[row] = image
        return ""

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        outcomes = pool.map(load, range(len(samples)))
        problems = list(tqdm(outcomes, total=len(samples), desc="decoding", unit="image", disable=not progress))
    return images, problems


@dataclass(frozen=True)
class TrainingSet:
    """The usable images of a channel."""

    channel: Channel
    images: np.ndarray
    """Shape (N, channels, size_px, size_px), float16 in [0, 1]; mapped from disk with a cache: read rows with `pack.take`."""
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

    def taught_labels_only(self, mode: str) -> TrainingSet:
        """Return the set without the labels that no training image teaches; its channel says why each was left out.

        Raises
        ------
        DatasetError
            No label is left.
        """
        untaught = untaught_labels(self.taught[self.usable("train", mode)], self.channel.labels)
        if not untaught:
            return self
        channel = self.channel.without(untaught)
        if not channel.labels:
            raise DatasetError(
                f"{channel.folder}: every label lacks positive or negative training images: "
                f"{'; '.join(f'{label}: {why}' for label, why in untaught.items())}. Label more images."
            )
        kept = [column for column, label in enumerate(self.channel.labels) if label in channel.labels]
        return replace(self, channel=channel, targets=self.targets[:, kept], taught=self.taught[:, kept])

    def usable(self, split: str, mode: str) -> np.ndarray:
        """Return the positions of a split's images that have a target, ndarray of shape (images,), int64.

        In mode ``single-label`` those with exactly one positive label.
        """
        rows = self.rows[split]
        taught = self.taught[rows]
        kept = has_one_label(taught) if mode == "single-label" else ~np.isnan(taught).all(axis=1)
        found: np.ndarray = rows[kept]
        return found

    def of(self, split: str) -> list[Sample]:
        """Return the samples of a split."""
        return [self.samples[row] for row in self.rows[split]]

    def lines(self, train_rows: Sequence[int] | np.ndarray, about: str) -> list[str]:
        """Return the lines that are printed at the start of a run: what was left out, and how many images there are.

        Parameters
        ----------
        train_rows : ndarray, shape (images,), int64
            Positions of the training images that have a target.
        about : str
            Device and precision.
        """
        counts = ", ".join(f"{len(self.rows[split])} {split}" for split in SPLITS)
        silent = len(self.rows["train"]) - len(train_rows)
        why = "teach nothing: without a label, or for single-label without exactly one positive label"
        return [
            *([self.note] if self.note else []),
            *(f"left out: {problem}" for problem in self.problems[:20]),
            f"images: {counts}; left out: {len(self.problems)}; usable for training: {len(train_rows)}; "
            f"labels: {len(self.channel.labels)}; {about}",
            *(f"not predicted: {label}: {why}" for label, why in self.channel.untaught.items()),
            *([f"{silent} of {len(self.rows['train'])} training images {why}"] if silent else []),
        ]


def read_training_set(
    channel: Channel,
    *,
    size_px: int,
    mode: str = "multi-label",
    uncertain: str = "ignore",
    soft: bool = False,
    reduced: bool = False,
    **loading: Any,
) -> TrainingSet:
    """Return the images of a channel with their targets.

    Parameters
    ----------
    channel : Channel
    size_px : int
    mode : str
        ``single-label`` ignores shares: the target of an image is its one positive label.
    uncertain, soft
        See `targets.to_targets`.
    reduced : bool
        See `preprocessing_version`.
    **loading
        `channels`, `workers`, `progress`, `cache_dir`, `cache_gb`, `decode` of `load_images`.

    Raises
    ------
    DatasetError
        Fewer than 2 training images have a target; or the images have another number of channels than the network takes.
    """
    version = preprocessing_version(reduced=reduced)
    # A mistake shows now, not when every image is decoded.
    policy = UncertainPolicy.parse(uncertain, (*channel.labels, *channel.untaught))
    decoded = load_images(channel.samples, size_px=size_px, version=version, **loading)
    splits = np.array([sample.split for sample in decoded.samples])
    found = TrainingSet(
        channel=channel,
        images=decoded.images,
        samples=decoded.samples,
        targets=to_targets(decoded.samples, channel.labels),
        taught=to_targets(decoded.samples, channel.labels, uncertain=policy, soft=soft and mode != "single-label"),
        rows={split: np.flatnonzero(splits == split) for split in SPLITS},
        preprocessing_version=version,
        problems=(*channel.problems, *decoded.problems),
        note=decoded.note,
    )
    usable = len(found.usable("train", mode))
    if usable < 2:
        reasons = "; ".join(found.problems[:3])
        raise DatasetError(
            f"{channel.folder}: training needs at least 2 images with a label, there are {usable} of "
            f"{len(found.rows['train'])}; {len(found.problems)} were left out{': ' + reasons if reasons else ''}. "
            "Label more images."
        )
    return found
