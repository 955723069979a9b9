"""Planted duplicates: further files of an exposure, as archives collect them, with the truth about each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset

KINDS = ("window", "size", "polarity", "inverted", "transfer syntax", "crop", "all")
"""What can be changed; ``inverted`` shows black for white, ``polarity`` stores it so and says so; ``all`` is most at once."""


@dataclass(frozen=True)
class Planted:
    """One planted duplicate: the file of the original, the new file, and what was changed."""

    original: Path
    copy: Path
    kind: str


def plant_duplicates(
    paths: Sequence[Path], folder: Path, *, count: int, seed: int = 0, kinds: Sequence[str] = KINDS
) -> list[Planted]:
    """Write further files of some exposures, with a new SOP Instance UID each, and return what was planted.

    Parameters
    ----------
    paths : sequence of Path
        DICOM files; each gets at most one duplicate.
    folder : Path
        Gets ``00001.dcm``, ``00002.dcm``, …
    count : int
        How many duplicates.
    seed : int
        Of the choice of images and of all changes.
    kinds : sequence of str
        Of `KINDS`, used by turns.

    Raises
    ------
    ValueError
        More duplicates than images, or an unknown kind.
    """
    if count > len(paths) or not set(kinds) <= set(KINDS) or not kinds:
        raise ValueError(f"expected at most {len(paths)} duplicates of {', '.join(KINDS)}, got {count} of {', '.join(kinds)}.")
    rng = np.random.default_rng([seed, 12])
    folder.mkdir(parents=True, exist_ok=True)
    planted = []
    for number, place in enumerate(rng.permutation(len(paths))[:count]):
        original, kind = paths[place], kinds[number % len(kinds)]
        target = folder / f"{number + 1:05d}.dcm"
        changed(read_dataset(original), kind, rng).save_as(target, enforce_file_format=True)
        planted.append(Planted(original, target, kind))
    return planted


def changed(dataset: Dataset, kind: str, rng: np.random.Generator) -> Dataset:
    """Return another instance of the same exposure: its display image, changed, in 8 bits.

    Parameters
    ----------
    dataset : Dataset
        A single-frame radiograph.
    kind : str
        One of `KINDS`.
    rng : Generator
        Decides how much is changed.
    """
    image = pixels.to_display(dataset)
    does = ("crop", "window", "size", "polarity", "transfer syntax") if kind == "all" else (kind,)
    for change in does:
        image = _CHANGES.get(change, lambda given, _: given)(image, rng)
    syntax = (RLELossless, JPEGLSLossless, JPEG2000Lossless)[int(rng.integers(3))] if "transfer syntax" in does else ""
    return _instance(dataset, image, is_monochrome1="polarity" in does, syntax=syntax, rng=rng)


def _other_window(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    low, high = np.quantile(image, [rng.uniform(0.0, 0.08), rng.uniform(0.92, 1.0)])
    return np.clip((image - low) / max(float(high - low), 0.05), 0.0, 1.0).astype(np.float32)


def _other_size(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    share = rng.uniform(0.45, 0.8)
    rows, columns = (max(64, round(side * share)) for side in image.shape)
    return np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))


def _cropped(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    rows, columns = image.shape
    top, bottom, left, right = (
        int(share * side) for share, side in zip(rng.uniform(0, 0.05, 4), (rows, rows, columns, columns), strict=True)
    )
    return image[top : rows - bottom, left : columns - right]


def _shown_inverted(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return 1.0 - image


_CHANGES: dict[str, Any] = {"window": _other_window, "size": _other_size, "crop": _cropped, "inverted": _shown_inverted}


def _instance(
    source: Dataset, image: NDArray[np.float32], *, is_monochrome1: bool, syntax: str, rng: np.random.Generator
) -> Dataset:
    """Return an instance with other pixels and the identity of the source, but for its SOP Instance UID."""
    made = copy.deepcopy(source)
    for name in ("ModalityLUTSequence", "VOILUTSequence", "RescaleSlope", "RescaleIntercept", "RescaleType", "WindowCenter",
                 "WindowWidth", "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestImagePixelValue",
                 "LargestImagePixelValue"):  # fmt: skip
        made.pop(name, None)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[rng.bytes(16).hex()])
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stored = np.rint(np.clip(1.0 - image if is_monochrome1 else image, 0.0, 1.0) * 255).astype(np.uint8)
    made.PhotometricInterpretation = "MONOCHROME1" if is_monochrome1 else "MONOCHROME2"
    if "PresentationLUTShape" in made:
        made.PresentationLUTShape = "INVERSE" if is_monochrome1 else "IDENTITY"
    made.Rows, made.Columns = stored.shape
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = 0, 1, "US"
    made.WindowCenter, made.WindowWidth = 128, 256
    made.PixelData = stored.tobytes() + b"\0" * (stored.size % 2)
    made["PixelData"].VR = "OB"
    if syntax:
        plugin = "pydicom" if syntax == RLELossless else ""  # GDCM ends the process when rows and columns are odd
        made.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return made
