"""A training channel as samples, images and targets: a folder of manifests and DICOM files in, arrays out.

A channel is what a training job is given: ``train.manifest``, ``validation.manifest`` and ``test.manifest``, or one manifest
with a `split` on every line, and beside them the images that the lines name. Every image is decoded once, through the same
`archive.pixels.to_model_input` that serves inference and search; `learning.cache` keeps it for the runs that follow.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dicom_workflow import manifest
from dicom_workflow.errors import CacheError, DatasetError, DicomError, ManifestError, RecordError, WorkflowError
from dicom_workflow.learning.decoders import described
from dicom_workflow.records import LabelState, parse_label_list
from dicom_workflow.storage import to_uri

MODES = ("multi-label", "single-label")
UNCERTAIN_POLICIES = ("ignore", "ones", "zeros", "soft")
SOFT_TARGET = 0.5
"""What an uncertain label counts under the policy `soft`."""

_MAKER = "Notebook 04_parse_output_manifest makes the channel."


@dataclass(frozen=True)
class Sample:
    """One labeled image of a channel."""

    identifier: str
    """Its `source` (Orthanc instance id) or `source-ref` (URI)."""
    patient_id: str
    split: str
    """``train``, ``validation`` or ``test``."""
    image: Path
    states: Mapping[str, LabelState]
    """What the consolidated answer says of each label."""
    truth: Mapping[str, LabelState] | None = None
    """What is known of each label from elsewhere; only evaluation may look at it."""


@dataclass(frozen=True)
class Channel:
    """All samples of one training channel, whose patients are in one split each."""

    folder: Path
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[str, ...]
    """Lines that were left out, each with its manifest, number and reason."""
    sha256: Mapping[str, str]
    """SHA-256 of each manifest, by file name."""


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


def read_channel(folder: str | Path) -> Channel:
    """Return the samples of a training channel.

    Parameters
    ----------
    folder : str or Path
        Folder with ``*.manifest`` files. A line needs `patient_id`, `states` (or `labels` and `states`), `image` (a path
        relative to the folder) and a `split`, unless its file is named after the split.

    Returns
    -------
    Channel
        A broken line is left out and described in `problems`.

    Raises
    ------
    DatasetError
        There is no manifest or no usable line; a patient or an image is in two splits; two lines disagree on the label list; a
        line has no split; not one image is there.
    """
    folder = Path(folder)
    manifests = sorted(folder.glob("*.manifest")) if folder.is_dir() else []
    if not manifests:
        raise DatasetError(f"{folder}: expected a folder with *.manifest files, found none. {_MAKER}")
    problems: list[str] = []
    samples: list[Sample] = []
    labels: tuple[str, ...] = ()
    for path in manifests:
        uri = to_uri(path)
        split_of_file = path.stem if len(manifests) > 1 and path.stem in manifest.SPLITS else ""
        lines = _lines(uri, problems)
        for number, data in lines:
            where = f"{path.name}, line {number}"
            try:
                here = _labels_of(data)
                sample = _sample(data, folder, here, split_of_file)
            except RecordError as error:
                problems.append(f"{where}: {error}")
                continue
            labels = labels or here
            if set(here) != set(labels):
                raise DatasetError(
                    f"{where}: expected the label list of the lines before ({', '.join(labels)}), got {', '.join(here)}. "
                    "Train on the lines of one labeling job at a time."
                )
            if not sample.split:
                raise DatasetError(f"{where}: expected 'split' as one of {', '.join(manifest.SPLITS)}, got none. {_MAKER}")
            samples.append(sample)
    if not samples:
        first = f" The first: {problems[0]}" if problems else ""
        raise DatasetError(f"{folder}: expected at least one usable line, got none of {len(problems)}.{first} {_MAKER}")
    _check_disjoint(samples)
    if not any(sample.image.is_file() for sample in samples):
        raise DatasetError(
            f"{folder}: expected the images beside the manifests, found none of {len(samples)}; the first should be "
            f"{samples[0].image}. {_MAKER}"
        )
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in manifests}
    return Channel(folder=folder, labels=labels, samples=tuple(samples), problems=tuple(problems), sha256=hashes)


def to_targets(
    samples: Sequence[Sample], labels: Sequence[str], *, uncertain: str = "ignore", of: str = "states"
) -> np.ndarray:
    """Return what a network should answer.

    Parameters
    ----------
    samples : sequence of Sample
    labels : sequence of str
        Columns, in order.
    uncertain : {'ignore', 'ones', 'zeros', 'soft'}
        What an uncertain label counts: NaN, 1, 0 or `SOFT_TARGET`. Evaluation always ignores.
    of : {'states', 'truth'}
        The consolidated answers, or the known truth; a sample without truth gives a row of NaN.

    Returns
    -------
    ndarray, shape (samples, labels), float32
        1 positive, 0 negative, NaN unknown: unknown is masked, never negative.
    """
    if uncertain not in UNCERTAIN_POLICIES:
        raise DatasetError(f"uncertain: expected one of {', '.join(UNCERTAIN_POLICIES)}, got {uncertain!r}.")
    doubt = {"ignore": np.nan, "ones": 1.0, "zeros": 0.0, "soft": SOFT_TARGET}[uncertain]
    values = {
        LabelState.POSITIVE: 1.0,
        LabelState.NEGATIVE: 0.0,
        LabelState.UNCERTAIN: doubt,
        LabelState.UNKNOWN: np.nan,
    }
    rows = [
        [values[states.get(label, LabelState.UNKNOWN)] for label in labels]
        for states in ((sample.truth or {}) if of == "truth" else sample.states for sample in samples)
    ]
    return np.array(rows, dtype=np.float32).reshape(len(samples), len(labels))


def has_one_label(targets: np.ndarray) -> np.ndarray:
    """Return which rows can teach a single-label network: those with exactly one positive.

    Parameters
    ----------
    targets : ndarray, shape (samples, labels), float32
        From `to_targets`.

    Returns
    -------
    ndarray, shape (samples,), bool
    """
    return (targets == 1.0).sum(axis=1) == 1


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
    from dicom_workflow.archive import pixels  # pydicom and its decoders are only needed here

    try:
        dataset = pixels.read_dataset(source) if isinstance(source, str | Path | bytes) else source
        return pixels.to_model_input(dataset, size_px=size_px, version=version or preprocessing_version()).astype(np.float16)
    except (WorkflowError, OSError, MemoryError):
        raise
    except Exception as error:  # pydicom reads each element when it is asked for, and lets through whatever its parsers raise
        where = source if isinstance(source, str | Path) else "this DICOM file"
        raise DicomError(f"{where}: expected elements that can be read, got what cannot: {type(error).__name__}.") from error


def preprocessing_version(*, reduced: bool = False) -> str:
    """Return the version of the one preprocessing path, which every bundle keeps.

    Parameters
    ----------
    reduced : bool
        The one that decodes JPEG 2000 only as far as the network needs: see `archive.pixels.to_model_input`.
    """
    from dicom_workflow.archive.pixels import PREPROCESSING_VERSION, REDUCED_VERSION

    return REDUCED_VERSION if reduced else PREPROCESSING_VERSION


def preprocessing_versions() -> tuple[str, ...]:
    """Return every version that `decode` can follow; a bundle of another one needs another package."""
    from dicom_workflow.archive.pixels import PREPROCESSING_VERSIONS

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
        from dicom_workflow.learning import cache

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


def _lines(uri: str, problems: list[str]) -> Iterable[manifest.Line]:
    # A split without images may well have an empty manifest; a channel without any line is refused by the caller.
    with contextlib.suppress(ManifestError):
        yield from manifest.read(
            uri, check=manifest.any_object, limits=False, on_error=lambda error: problems.append(str(error))
        )


def _labels_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    states = data.get("states")
    if not isinstance(states, Mapping) or not states:
        raise RecordError(f"expected 'states' as an object of label to state, got {type(states).__name__}. {_MAKER}")
    return parse_label_list(data["labels"]) if "labels" in data else parse_label_list(list(states))


def _sample(data: Mapping[str, Any], folder: Path, labels: Sequence[str], split_of_file: str) -> Sample:
    split = str(data.get("split") or split_of_file)
    if split and split not in manifest.SPLITS:
        raise RecordError(f"expected 'split' as one of {', '.join(manifest.SPLITS)}, got {split[:40]!r}.")
    if split_of_file and split != split_of_file:
        raise RecordError(f"expected the split of this file, {split_of_file}, got {split}.")
    patient_id = data.get("patient_id")
    if not isinstance(patient_id, str) or not patient_id:
        raise RecordError("expected 'patient_id' as a text that is not empty: without it the splits may share a patient.")
    image = data.get("image")
    if not isinstance(image, str) or not image:
        raise RecordError("expected 'image' as a path relative to the manifest's folder.")
    relative = PurePosixPath(image)
    if relative.is_absolute() or ".." in relative.parts:
        raise RecordError(f"expected 'image' as a path below the manifest's folder, got {image[:80]!r}.")
    truth = data.get("truth")
    return Sample(
        identifier=manifest.source_of(data) or image,
        patient_id=patient_id,
        split=split,
        image=folder / relative,
        states=_states(data["states"], labels, "states"),
        truth=_states(truth, labels, "truth") if truth else None,
    )


def _states(value: object, labels: Sequence[str], key: str) -> dict[str, LabelState]:
    if not isinstance(value, Mapping):
        raise RecordError(f"expected {key!r} as an object of label to state, got {type(value).__name__}.")
    strange = sorted(set(map(str, value)) - set(labels))
    if strange and key == "states":
        raise RecordError(f"expected only labels of the line's list in {key!r}, got {', '.join(strange)[:200]}.")
    try:
        return {label: LabelState(str(value.get(label, LabelState.UNKNOWN))) for label in labels}
    except ValueError as error:
        raise RecordError(f"{key!r}: expected states as {', '.join(LabelState)}: {error}.") from None


def _check_disjoint(samples: Sequence[Sample]) -> None:
    for what, key in (("patient", lambda s: s.patient_id), ("image", lambda s: str(s.image))):
        splits: dict[str, set[str]] = {}
        for sample in samples:
            splits.setdefault(key(sample), set()).add(sample.split)
        shared = sorted(name for name, where in splits.items() if len(where) > 1)
        if shared:
            shown = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
            raise DatasetError(
                f"expected each {what} in one split, but {shown} is in several: "
                f"{', '.join(sorted(splits[shared[0]]))}. Split by patient with manifest.assign_splits()."
            )
