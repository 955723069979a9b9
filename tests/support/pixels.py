"""Uncompressed and compressed DICOM instances of a few pixels, with the stored values that a test gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless


def dataset_of(values: Any, *, bits: int = 12, signed: bool = False, photometric: str = "MONOCHROME2", **tags: Any) -> Dataset:
    """An uncompressed instance whose stored values are `values`."""
    allocated = 8 if bits <= 8 else 16
    array = np.atleast_2d(np.asarray(values)).astype(f"<{'i' if signed else 'u'}{allocated // 8}")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = array.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    data = array.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def lut(first: int, bits: int, entries: list[int], count: int | None = None) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) if count is None else count, first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def file_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def compressed(dataset: Dataset, syntax: str) -> Dataset:
    """Compress an instance in place, each time by the same library: GDCM ends the process at an RLE image of odd length."""
    plugin = {JPEGLSLossless: "pyjpegls", RLELossless: "pylibjpeg"}.get(UID(syntax), "")
    dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return dataset
