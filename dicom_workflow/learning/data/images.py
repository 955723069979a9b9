"""A training channel as samples, images and targets: a folder of manifests and DICOM files in, arrays out.

The way in to three rooms: `samples` reads the channel, `targets` says what a network should answer, and here every image is
decoded once, through the same `archive.pixels.to_model_input` that serves inference and search; `learning.cache` keeps it for
the runs that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dicom_workflow.errors import CacheError, DicomError
from dicom_workflow.learning.data.channel import Channel, Sample, read_channel
from dicom_workflow.learning.data.decoder_pool import described
from dicom_workflow.learning.data.targets import MODES, UncertainPolicy, has_one_label, to_targets

__all__ = [
    "MODES",
    "Channel",
    "LoadedImages",
    "Sample",
    "UncertainPolicy",
    "decode",
    "has_one_label",
    "load_images",
    "preprocessing_version",
    "preprocessing_versions",
    "read_channel",
    "to_targets",
]


@dataclass(frozen=True)
class LoadedImages:
    """The decoded images of some samples, in their order."""

    images: np.ndarray
    """Shape (N, 1, size_px, size_px), float16 in [0, 1]; mapped from disk with a cache: read rows with `cache.take`."""
    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    """Images that were left out, each with its path and reason."""
    decoded: int = 0
    """How many files were decoded this time; the others came from the cache."""
    note: str = ""
    """Why there is no cache although one was asked for; empty otherwise."""


def decode(source: Any, size_px: int, version: str = "") -> np.ndarray:
    """Return one image as every network of this package sees it.

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

    dataset = pixels.read_dataset(source) if isinstance(source, str | Path | bytes) else source
    return pixels.to_model_input(dataset, size_px=size_px, version=version or preprocessing_version()).astype(np.float16)


def preprocessing_version(*, reduced: bool = False) -> str:
    """Return the version of the one preprocessing path, which every bundle keeps.

    Parameters
    ----------
    reduced : bool
        The one that decodes JPEG 2000 only as far as the network needs: see `archive.pixels.to_model_input`.
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
    workers : int
        Files that are decoded at a time: by threads, and into a cache by processes where there are many.
    progress : bool
        Show a progress bar on standard error.
    version : str
        Preprocessing version, as for `decode`.
    cache_dir : str or Path, optional
        Folder that keeps decoded images for the next run, see `learning.cache`; None or empty keeps them in memory only.
    cache_gb : float
        How large that folder may grow, in 10^9 bytes.
    decode : callable
        ``decode(path, size_px, version)``; the function of the same name in this module. What a cache holds was decoded by it.

    Returns
    -------
    LoadedImages
        An image that is missing or cannot be decoded is left out and described in `problems`. Where the cache cannot be used
        the images are decoded into memory and `note` says why.
    """
    version, note = version or preprocessing_version(), ""
    if cache_dir:
        from dicom_workflow.learning.data import cache

        try:
            found = cache.load(
                [sample.image for sample in samples],
                cache_dir,
                size_px=size_px,
                version=version,
                decode=decode,
                workers=workers,
                progress=progress,
                limit_gb=cache_gb,
            )
            return _kept(samples, found.images, found.problems, decoded=found.decoded)
        except CacheError as error:
            note = f"decoded into memory: {error}"
    images, problems = _in_memory(samples, size_px, version, workers, progress, decode)
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
    samples: Sequence[Sample], size_px: int, version: str, workers: int, progress: bool, decode: Callable[..., np.ndarray]
) -> tuple[np.ndarray, list[str]]:
    """Return the images, those of bad files undefined, and for each sample its problem or nothing."""
    from tqdm import tqdm

    images = np.empty((len(samples), 1, size_px, size_px), dtype=np.float16)

    def load(row: int) -> str:
        path = samples[row].image
        try:
            images[row] = decode(path, size_px, version)
        except (DicomError, OSError) as error:
            return described(path, error)
        return ""

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        outcomes = pool.map(load, range(len(samples)))
        problems = list(tqdm(outcomes, total=len(samples), desc="decoding", unit="image", disable=not progress))
    return images, problems
