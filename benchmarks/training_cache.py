"""What decoding once saves: time per image, memory, and how near a lower resolution of JPEG 2000 comes to the whole image.

    python benchmarks/training_cache.py

All times are CPU time of this process on one thread, the best of several; what is compared was measured in the same run.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dicom_workflow.archive import pixels
from dicom_workflow.learning import cache, dataset

SIZE_PX = 224
ROWS, COLUMNS = 2500, 2048
REPEATS = 5


def film(seed: int) -> np.ndarray:
    """A made radiograph of 12 bits and 5 megapixels, with as much noise as leaves 6 bits per pixel."""
    y, x = np.mgrid[:ROWS, :COLUMNS] / ROWS
    fields = sum(np.exp(-(((x - at) / 0.13) ** 2) - ((y - 0.42) / 0.28) ** 2) for at in (0.22 + 0.01 * seed, 0.6))
    ribs = 120 * np.sin(70 * y + 12 * (x - 0.4) ** 2)
    return np.clip(2700 - 1800 * fields + ribs + np.random.default_rng(seed).normal(0, 12, (ROWS, COLUMNS)), 0, 4095)


def dicom_bytes(values: np.ndarray, syntax: str) -> bytes:
    """An instance of 12 bits in a file."""
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


def cpu_ms(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The best CPU time of several calls."""
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return 1000 * best


def jpeg2000(folder: Path, films: int) -> dict[str, float]:
    """What one JPEG 2000 file costs on its way into the cache, whole and at a lower resolution, and how alike they are."""
    reduced = dataset.preprocessing_version(reduced=True)
    paths = []
    for number in range(films):
        paths.append(folder / f"j2k-{number}.dcm")
        paths[-1].write_bytes(dicom_bytes(film(number), JPEG2000Lossless))
    alike = [
        np.corrcoef(
            *(pixels.to_model_input(pixels.read_dataset(path), size_px=SIZE_PX, version=v).ravel() for v in ("1", reduced))
        )[0, 1]
        for path in paths
    ]

    def build(version: str) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            cache.load(paths, empty, size_px=SIZE_PX, version=version, decode=dataset.decode, workers=1, progress=False)

    return {
        "cache_ms_per_j2k_image": round(cpu_ms(lambda: build(reduced)) / films, 1),
        "whole_ms_per_j2k_image": round(cpu_ms(lambda: build("1"), 1) / films, 1),
        "correlation": round(float(min(alike)), 6),
    }


def loader(folder: Path) -> dict[str, float]:
    """The data of an epoch at 224: every file decoded again, against rows taken from the cache."""
    paths = []
    for number in range(4):
        paths.append(folder / f"raw-{number}.dcm")
        paths[-1].write_bytes(dicom_bytes(film(number), ExplicitVRLittleEndian))
    names = [folder / f"{number}-{path.name}" for number in range(16) for path in paths]
    for number, name in enumerate(names):
        name.symlink_to(paths[number % 4])
    found = cache.load(names, folder / "cache", size_px=SIZE_PX, version="1", decode=dataset.decode, workers=1, progress=False)
    order = np.random.default_rng(0).permutation(len(names))
    decoded = cpu_ms(lambda: [dataset.decode(path, SIZE_PX) for path in paths], 3) / len(paths)
    taken = cpu_ms(lambda: [cache.take(found.images, rows) for rows in np.array_split(order, 4)], 20) / len(names)
    return {
        "decode_ms": round(decoded, 2),
        "take_ms": round(taken, 4),
        "loader_ratio": round(decoded / taken, 0),
    }


RSS = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
import numpy as np
from dicom_workflow.learning import cache
def made(path, size_px, version):
    return np.full((1, size_px, size_px), int(path.stem) / 10000, np.float16)
paths = sorted(Path({folder!r}).glob("*.raw"))[:{images}]
images = cache.load(paths, {cache!r}, size_px={size}, version="1", decode=made, workers=2, progress=False).images
for epoch in range(2):
    order = np.random.default_rng(epoch).permutation(len(images))
    for rows in np.array_split(order, len(order) // 16):
        cache.take(images, rows)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(images), peak.split()[1])
"""


def memory(folder: Path) -> dict[str, float]:
    """How much more memory a process takes at its peak, building and reading 10,000 images, than with 1,000."""
    files = folder / "files"
    files.mkdir()
    for number in range(10_000):
        (files / f"{number:05}.raw").write_bytes(number.to_bytes(8, "big"))
    peaks = []
    for images in (1_000, 10_000):
        code = RSS.format(
            root=sys.path[0], folder=str(files), images=images, cache=str(folder / f"cache-{images}"), size=SIZE_PX
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found, peak_kib = map(int, done.stdout.split())
        assert found == images
        peaks.append(peak_kib / 1024)
    few, many = peaks
    return {"rss_mb_1000": round(few, 1), "rss_mb_10000": round(many, 1), "rss_growth_mb": round(many - few, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=4, help="JPEG 2000 films to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {"size_px": SIZE_PX, **jpeg2000(Path(folder), options.films), **loader(Path(folder)), **memory(Path(folder))}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
