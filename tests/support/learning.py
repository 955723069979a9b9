"""Tiny seeded training channels for the tests of learning: a bright square or a bright disc on a grey ground."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import monai.networks.nets.densenet  # noqa: F401  sets environment variables when it is imported: here, not inside a test
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.learning.data import images
from dicom_workflow.learning.model import network
from dicom_workflow.learning.model.bundle import Bundle

LABELS = ("Edema", "Fracture", "No Finding")


def tiny_bundle(labels: Sequence[str], **rest: Any) -> Bundle:
    """A seeded, untrained network of 40 pixels in a bundle; keywords are further fields of the bundle."""
    return Bundle(
        network=network.build(tuple(labels), seed=3).eval(),
        labels=tuple(labels),
        label_set=default_label_set(labels),
        size_px=40,
        preprocessing_version=images.preprocessing_version(),
        input_mean=0.3,
        input_std=0.2,
        thresholds=dict.fromkeys(labels, 0.5),
        **rest,
    )


def dicom_file(path: Path, pixels: np.ndarray) -> Path:
    """Write 8-bit pixels as a minimal DX instance and return its path."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    uid = generate_uid(entropy_srcs=[path.name])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.Modality = "DX"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def picture(positive: Sequence[str], generator: np.random.Generator, side: int = 48) -> np.ndarray:
    """Return a grey picture with a bright square for Edema and a bright disc for Fracture, somewhere."""
    pixels = generator.normal(80, 12, (side, side))
    y, x = np.mgrid[:side, :side]
    for label in positive:
        row, column = generator.integers(10, side - 10, 2)
        if label == "Edema":
            pixels[(abs(y - row) < 8) & (abs(x - column) < 8)] += 110
        if label == "Fracture":
            pixels[(y - row) ** 2 + (x - column) ** 2 < 30] -= 70
    return np.clip(pixels, 0, 255)


def entry(number: int, positive: Sequence[str], split: str, *, patient: str = "", **extra: Any) -> dict[str, Any]:
    """Return one line of a training manifest."""
    identifier = "-".join([f"{number:08x}"] * 5)
    return {
        "source": identifier,
        "labels": list(LABELS),
        "patient_id": patient or f"P{number // 2:03d}",
        "states": {label: "positive" if label in positive else "negative" for label in LABELS},
        "split": split,
        "image": f"images/{identifier}.dcm",
        **extra,
    }


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> Path:
    """Write JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_channel(folder: Path, images: int = 40, *, one_label: bool = False, truth: bool = True) -> list[dict[str, Any]]:
    """Write a channel of seeded pictures, two per patient, about 60 % train, 20 % validation and 20 % test."""
    generator = np.random.default_rng(7)
    lines = []
    for number in range(images):
        kind = (number // 2) % (3 if one_label else 4)
        positive = (("Edema",), ("Fracture",), ("No Finding",), ("Edema", "Fracture"))[kind]
        split = ("train", "train", "train", "validation", "test")[(number // 2) // 4 % 5]
        line = entry(number, positive, split)
        if truth:
            line["truth"] = dict(line["states"])
        dicom_file(folder / line["image"], picture(positive, generator))
        lines.append(line)
    for split in ("train", "validation", "test"):
        write_lines(folder / f"{split}.manifest", [line for line in lines if line["split"] == split])
    return lines
