"""Made radiographs in DICOM files, and a training channel of them: what the training benchmarks run on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    generate_uid,
)

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.learning.data.channel import Channel, Sample

LABELS = load_label_set("chest").labels

SYNTAXES = {"raw": ExplicitVRLittleEndian, "jpegls": JPEGLSLossless, "j2k": JPEG2000Lossless}
ROWS, COLUMNS = 2500, 2048


def radiograph(seed: int, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Return a radiograph of 12 bits, 5 megapixels, with as much noise as leaves 6 bits per pixel: (rows, columns)."""
    y, x = np.mgrid[:rows, :columns] / rows
    fields = sum(np.exp(-(((x - at) / 0.13) ** 2) - ((y - 0.42) / 0.28) ** 2) for at in (0.22 + 0.01 * seed, 0.6))
    ribs = 120 * np.sin(70 * y + 12 * (x - 0.4) ** 2)
    return np.clip(2700 - 1800 * fields + ribs + np.random.default_rng(seed).normal(0, 12, (rows, columns)), 0, 4095)


def dicom_bytes(values: np.ndarray, syntax: str) -> bytes:
    """Return an instance of 12 bits as a file, in a transfer syntax."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.PhotometricInterpretation, made.SamplesPerPixel, made.PixelRepresentation = "MONOCHROME2", 1, 0
    made.Rows, made.Columns = values.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = values.astype("<u2").tobytes()
    if syntax != ExplicitVRLittleEndian:
        made.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write(folder: Path, name: str, *, images: int, distinct: int, rows: int = ROWS, columns: int = COLUMNS) -> list[Path]:
    """Write radiographs of one of `SYNTAXES` and return their paths.

    Only `distinct` of them are made; the others are further names of these. Nothing that is measured knows: each name is read
    and decoded by itself.
    """
    folder.mkdir()
    paths = [folder / f"{number:04}.dcm" for number in range(images)]
    for number, path in enumerate(paths):
        if number < distinct:
            path.write_bytes(dicom_bytes(radiograph(number, rows, columns), SYNTAXES[name]))
        else:
            path.symlink_to(paths[number % distinct])
    return paths


def channel(folder: Path, paths: Sequence[Path], seed: int = 0) -> Channel:
    """Return images as a training channel, each of another patient, with fourteen random labels."""
    seen = np.random.default_rng(seed).random((len(paths), len(LABELS))) < 0.3
    samples = []
    for number, (path, row) in enumerate(zip(paths, seen, strict=True)):
        states = {
            label: LabelState.POSITIVE if is_seen else LabelState.NEGATIVE for label, is_seen in zip(LABELS, row, strict=True)
        }
        samples.append(Sample(path.stem, f"patient-{number}", "train", path, states))
    return Channel(folder=folder, labels=LABELS, samples=tuple(samples), problems=(), sha256={})
