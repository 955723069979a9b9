"""How near training comes to what a GPU's memory allows, and how far it is from the published reference's loader.

    python benchmarks/training_gpu.py                                   # one NVIDIA GPU; the last line is JSON
    python benchmarks/training_gpu.py --sizes 224 --compile off         # in parts, where time on the GPU is short
    python benchmarks/training_gpu.py --device cpu --tiny               # seconds, without a GPU: only to see that it runs

The training script itself (`source/monai_dicom.py`: DenseNet121, bfloat16, channels last, fused AdamW, 14 labels) trains on
random images from its cache, at each size with each batch, eagerly; with the best batch also compiled, and once more with
images that do not lie on the GPU but are sent from pinned memory while it works. The first epoch of each run, which warms up,
is left out; the fastest of the others counts.

share_of_limit
    DenseNet121 is bound by memory: a training step moves 639 MB per image of 224 x 224 eagerly and 428 MB with normalization,
    ReLU and concatenation fused, and in proportion to the pixels at other sizes. The limit is the card's bandwidth over that.
model_share
    The script's images per second over those of the bare network step on a batch that lies ready, compiled alike.
ratio_to_reference_raw, _j2k
    The best images per second over those of the reference's loader with its ten processes (`reference_recipe`), at the same
    size, on plain and on JPEG 2000 radiographs of 2500 x 2048. Its network is not even run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import made_radiographs
import numpy as np
import reference_recipe
import script_steps
import torch

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.data.images import TrainingSet, read_training_set
from dicom_workflow.learning.training import batches as training_batches

BYTES_AT_224 = {"eager": 639e6, "compiled": 428e6}
"""Moved per image by one training step in bfloat16, counted layer by layer."""
BANDWIDTH = {
    "H200": 4.8e12,
    "H100 PCIe": 2.0e12,
    "H100": 3.35e12,
    "A100-SXM4-80GB": 2.04e12,
    "A100": 1.56e12,
    "L40S": 0.864e12,
    "A10G": 0.6e12,
    "V100": 0.9e12,
    "T4": 0.32e12,
    "L4": 0.3e12,
}
"""Bytes per second, by what a card's name contains, the first that fits; from the makers' data sheets."""
AT_LEAST = {
    "images_per_second_eager_224": 4700.0,  # of an H200, like the next
    "images_per_second_compiled_224": 7000.0,
    "share_of_limit_eager_512": 0.62,
    "share_of_limit_compiled_512": 0.62,
    "model_share": 0.95,
}
NO_GPU = 2


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    batches: tuple[int, ...] = (64, 128, 256, 512)
    largest_pixels: int = 512 * 224 * 224
    """Of a batch: larger images come in smaller batches."""
    steps: int = 20
    """Of an epoch with the largest batch."""
    epochs: int = 4
    bare_steps: int = 30
    reference_images: int = 320
    rows: int = made_radiographs.ROWS
    columns: int = made_radiographs.COLUMNS
    workers: int = reference_recipe.GPU_WORKERS


TINY = Scale(batches=(2,), steps=2, epochs=1, bare_steps=2, reference_images=4, rows=250, columns=205, workers=0)


def noise(path: Path, size_px: int, version: str) -> np.ndarray:
    """Return a random image that depends on the name alone, as `dataset.decode` would return a real one."""
    return np.random.default_rng(int(path.stem)).random((1, size_px, size_px), np.float32).astype(np.float16)


def random_set(folder: Path, images: int, size_px: int) -> TrainingSet:
    """Return random images, mapped from a cache on disk as real ones are."""
    folder.mkdir()
    paths = [folder / f"{number:06}" for number in range(images)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(8, "big"))
    return read_training_set(
        made_radiographs.channel(folder, paths),
        size_px=size_px,
        decode=noise,
        workers=os.cpu_count() or 1,
        progress=False,
        cache_dir=folder / "cache",
        cache_gb=100.0,
    )


def reference_speed(folder: Path, size_px: int, name: str, scale: Scale) -> float:
    """Return the images per second of the reference's loader, once its processes have started."""
    paths = made_radiographs.write(
        folder / f"{name}-{size_px}", name, images=scale.reference_images, distinct=2, rows=scale.rows, columns=scale.columns
    )
    batch = min(reference_recipe.BATCH_SIZE, len(paths) // 2)
    loader = reference_recipe.loader(paths, [0] * len(paths), batch_size=batch, size=(size_px, size_px), workers=scale.workers)
    began, images = 0.0, 0
    for number, (pixels, _) in enumerate(loader):
        # What ten processes have made ready by the time of the first batch is theirs; from then on they are followed.
        if number:
            images += len(pixels)
        else:
            began = time.perf_counter()
    return images / (time.perf_counter() - began)


@contextmanager
def fed(how: str) -> Iterator[None]:
    """Let images lie on the GPU, or have them ``pinned`` and sent, wherever they would fit."""
    before = training_batches.RESIDENT_SHARE
    training_batches.RESIDENT_SHARE = before if how == "resident" else 0.0
    try:
        yield
    finally:
        training_batches.RESIDENT_SHARE = before


def run(data: TrainingSet, size_px: int, batch: int, device: str, scale: Scale, *, how: str, fed_from: str) -> dict[str, Any]:
    """Return what one run of the script reached, `how` being ``eager`` or ``compiled``."""
    compiled = "on" if how == "compiled" else "off"
    row: dict[str, Any] = {"size_px": size_px, "batch": batch, "how": how, "fed_from": fed_from}
    is_gpu = device == "cuda"
    if is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        with (
            fed(fed_from),
            script_steps.results_of(
                data,
                device=device,
                threads=torch.get_num_threads(),
                size_px=size_px,
                batch_size=batch,
                epochs=scale.epochs,
                compile=compiled,
                calibration="none",
                normalization="0.5,0.289",  # of random images; to compute it again for each run is no part of training
            ) as where,
        ):
            lines = [json.loads(line) for line in (where / "history.jsonl").read_text(encoding="utf-8").splitlines()]
        row["images_per_second"] = max(line["images_per_second"] for line in lines[1:] or lines)
        row["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2) if is_gpu else None
        row["bare_images_per_second"] = round(bare_speed(size_px, batch, device, compiled, scale), 1)
    except (LearningError, torch.OutOfMemoryError) as error:
        return {**row, "failed": str(error).splitlines()[0]}
    row["model_share"] = round(row["images_per_second"] / row["bare_images_per_second"], 4)
    limit = limit_of(size_px, how, device)
    row["share_of_limit"] = round(row["images_per_second"] / limit, 4) if limit else None
    return row


def bare_speed(size_px: int, batch: int, device: str, compiled: str, scale: Scale) -> float:
    """Return the images per second of the network's step alone, the better half of its time."""
    step = script_steps.BareStep(batch, size_px, device=device, compiled=compiled)
    for _ in range(3):
        step()
    best = float("inf")
    for _ in range(2):
        wait_for(device)
        began = time.perf_counter()
        for _ in range(scale.bare_steps):
            step()
        wait_for(device)
        best = min(best, time.perf_counter() - began)
    return batch * scale.bare_steps / best


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def limit_of(size_px: int, how: str, device: str) -> float | None:
    """Return the images per second that the card's memory allows, or None for a card that is not in the list."""
    bandwidth = bandwidth_of(device)
    return bandwidth / (BYTES_AT_224[how] * (size_px / 224) ** 2) if bandwidth else None


def bandwidth_of(device: str) -> float | None:
    name = name_of(device)
    words = name.replace("-", " ").split()
    return next((value for part, value in BANDWIDTH.items() if set(part.replace("-", " ").split()) <= set(words)), None)


def name_of(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def measure(folder: Path, options: argparse.Namespace, scale: Scale) -> dict[str, Any]:
    """Return all figures; each run is also told on standard error as soon as it is over."""
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    for size_px in options.sizes:
        # First, because its processes are copies of this one, which then has not touched the GPU yet.
        for name in ("raw", "j2k"):
            figures[f"reference_loader_{name}_{size_px}"] = reference_speed(folder, size_px, name, scale)
    for size_px in options.sizes:
        batches = [
            batch for batch in scale.batches if batch * size_px**2 <= scale.largest_pixels or batch == min(scale.batches)
        ]
        data = random_set(folder / str(size_px), scale.steps * max(batches), size_px)

        def tried(batch: int, how: str, fed_from: str, size_px: int = size_px, data: TrainingSet = data) -> dict[str, Any]:
            rows.append(run(data, size_px, batch, options.device, scale, how=how, fed_from=fed_from))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            return rows[-1]

        eager = [tried(batch, "eager", "resident") for batch in batches]
        best = max(eager, key=lambda row: row.get("images_per_second", 0.0))["batch"]
        tried(best, "eager", "pinned")
        if "on" in options.compile:
            tried(best, "compiled", "resident")
        for how in BYTES_AT_224:
            found = [row for row in rows if (row["size_px"], row["how"]) == (size_px, how) and "failed" not in row]
            for key in ("images_per_second", "share_of_limit") if found else ():
                figures[f"{key}_{how}_{size_px}"] = max(found, key=lambda row: row["images_per_second"])[key]
        fastest = max((row.get("images_per_second", 0.0) for row in rows if row["size_px"] == size_px), default=0.0)
        for name in ("raw", "j2k"):
            figures[f"ratio_to_reference_{name}_{size_px}"] = fastest / figures[f"reference_loader_{name}_{size_px}"]
    # Of each size, way to compile and way to feed, the fastest batch: a small one is bound by what starts it.
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted((row for row in rows if "failed" not in row), key=lambda row: float(row["images_per_second"])):
        groups[row["size_px"], row["how"], row["fed_from"]] = row
    figures["model_share"] = min((row["model_share"] for row in groups.values()), default=0.0)
    return {**{name: _rounded(value) for name, value in figures.items()}, "runs": rows}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def judged(figures: dict[str, Any], name: str) -> dict[str, bool | None]:
    """Say of each bar whether it holds; null for what was not measured or is said of another card."""
    holds: dict[str, bool | None] = {}
    for bar, least in AT_LEAST.items():
        found = figures.get(bar) if "H200" in name or not bar.startswith("images_per_second") else None
        holds[bar] = None if found is None else bool(found >= least)
    return holds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 512], help="sides in pixels")
    parser.add_argument("--compile", nargs="+", choices=("on", "off"), default=["off", "on"], help="on also runs it compiled")
    parser.add_argument("--tiny", action="store_true", help="small images, few steps; the figures mean nothing")
    options = parser.parse_args(arguments)
    scale = TINY if options.tiny else Scale()
    if options.tiny:
        options.sizes, options.compile = [32], ["off"]
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "training_gpu: expected an NVIDIA GPU that torch can use, found none. Run it on a machine with one, or see that it "
            "runs with --device cpu --tiny.",
            file=sys.stderr,
        )
        return NO_GPU
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options, scale)
    name = name_of(options.device)
    about = {
        "benchmark": "training_gpu",
        "device": name,
        "bandwidth_bytes_per_second": bandwidth_of(options.device),
        "reader": reference_recipe.reader(),
        "reference_workers": scale.workers,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
    }
    print(json.dumps({**about, **figures, "at_least": AT_LEAST, "holds": judged(figures, name)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
