"""What training costs beside the published reference: its recipe and ours on the same files, machine and thread, in one run.

    python benchmarks/training.py                    # ten minutes on a quiet machine; the last line is JSON
    python benchmarks/training.py --parts loader     # one part of it: epochs, loader, share, cache or memory
    python benchmarks/training.py --tiny             # seconds: the same path on small images; its figures mean nothing

epoch_ratio_raw, _jpegls, _j2k
    An epoch of the reference (`reference_recipe`: every file decoded and changed in Python, 108 x 96 pixels, float32) over one
    of ours (`source/monai_dicom.py` itself, images from its cache), both training DenseNet121 with batches of 16. Ours are
    square: 102 x 102 pixels, a few more than the reference's. `twenty_epoch_ratio_*` has the building of our cache in it, once.
    `epoch_ratio_limit_*` is what the ratio would be if nothing but our network's bare step took time: how far a processor lets
    it go. That depends on its bfloat16: the bars are for 500 GFLOP/s a core (`conv_gflops` has this machine's).
loader_ratio
    The data of an epoch alone, at 224 x 224, changes at random included: the reference's loader over our loader, plain files.
model_share
    The bare step of our network, on tensors that lie ready, over the script's whole step with reading, changes at random,
    clipping and averaging; the lower of the two sizes. After each step of the script comes a bare one, and the medians count.
cache_ms_per_j2k_image, correlation
    What a JPEG 2000 radiograph costs on its way into the cache at 224 pixels with `--reduced true`, and how alike the image is
    to one decoded whole.
rss_growth_mb
    How much more memory a process takes at its peak, building a cache of 10,000 images and reading it twice, than with 1,000.

Times are CPU time of this process on one thread, so a busy machine bends them less; the parties take turns, and the best of
their rounds count.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import made_radiographs
import numpy as np
import reference_recipe
import script_steps
import torch

from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.data.cache.folder import load_cached
from dicom_workflow.learning.training import hardware
from dicom_workflow.learning.training.batches import Augmentation, BatchLoader

LABELS = load_label_set("chest").labels

AT_LEAST = {
    "epoch_ratio_raw": 8.0,
    "epoch_ratio_jpegls": 11.0,
    "epoch_ratio_j2k": 30.0,
    "loader_ratio": 300.0,
    "model_share": 0.95,
    "correlation": 0.999,
}
PARTS = ("epochs", "loader", "share", "cache", "memory")
AT_MOST = {"cache_ms_per_j2k_image": 40.0, "rss_growth_mb": 50.0}


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    files: int = 48
    distinct: int = 4
    rows: int = made_radiographs.ROWS
    columns: int = made_radiographs.COLUMNS
    reference_px: tuple[int, int] = reference_recipe.SIZE
    size_px: int = 102
    """The smallest square with at least as many pixels as the reference's input."""
    loader_px: int = 224
    batch: int = 16
    rounds: int = 2
    epochs: int = 2
    """Of each run of the script; the last one counts."""
    share_epochs: int = 5
    images: tuple[int, int] = (1_000, 10_000)


TINY = Scale(
    files=4,
    distinct=2,
    rows=250,
    columns=205,
    reference_px=(32, 32),
    size_px=32,
    loader_px=32,
    batch=2,
    rounds=1,
    epochs=1,
    share_epochs=1,
    images=(20, 40),
)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU time of a call, of all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def epochs(folder: Path, paths: Sequence[Path], scale: Scale) -> dict[str, float]:
    """Return what an image costs in ms: in an epoch of the reference, of ours, of the bare network, and to enter our cache."""
    channel = made_radiographs.channel(folder, paths)
    classes = [next((i for i, s in enumerate(sample.states.values()) if s == "positive"), 0) for sample in channel.samples]
    reference = reference_recipe.build(len(LABELS))
    optimizer = reference_recipe.optimizer_of(reference)
    batches = reference_recipe.loader(paths, classes, batch_size=scale.batch, size=scale.reference_px)
    few = reference_recipe.loader(paths[: scale.batch], classes[: scale.batch], batch_size=scale.batch, size=scale.reference_px)
    reference_recipe.train_epoch(reference, optimizer, few)  # what is built once is built now
    theirs, ours, builds = [], [], []
    for round_ in range(scale.rounds):
        theirs.append(cpu_seconds(lambda: reference_recipe.train_epoch(reference, optimizer, batches)))
        began = time.process_time()
        data = dataset.read_training_set(
            channel, size_px=scale.size_px, reduced=True, workers=1, progress=False, cache_dir=folder / f"cache-{round_}"
        )
        builds.append(time.process_time() - began)
        with (
            script_steps.Watch() as watch,
            script_steps.results_of(
                data, size_px=scale.size_px, batch_size=scale.batch, epochs=scale.epochs, calibration="none"
            ),
        ):
            ours.append(sum(watch.seconds[-(len(watch.seconds) // scale.epochs) :]))
    bare = script_steps.BareStep(scale.batch, scale.size_px)
    bare()
    alone = min(cpu_seconds(bare) for _ in range(3 * scale.rounds)) * 1000 / scale.batch
    each = 1000 / len(paths)
    return {
        "reference_ms": each * min(theirs),
        "ours_ms": each * min(ours),
        "network_ms": alone,
        "cache_build_ms": each * min(builds),
    }


def share(folder: Path, paths: Sequence[Path], size_px: int, scale: Scale) -> dict[str, float]:
    """Return the whole step of the script and the bare step of the network, in ms, and what share the one is of the other."""
    data = dataset.read_training_set(
        made_radiographs.channel(folder, paths),
        size_px=size_px,
        workers=1,
        progress=False,
        cache_dir=folder / f"cache-{size_px}",
    )
    bare = script_steps.BareStep(scale.batch, size_px)
    bare()
    alone: list[float] = []
    with (
        script_steps.Watch(lambda: alone.append(cpu_seconds(bare))) as watch,
        script_steps.results_of(data, size_px=size_px, batch_size=scale.batch, epochs=scale.share_epochs, calibration="none"),
    ):
        pass
    # The first steps also build every convolution.
    first = len(watch.seconds) // scale.share_epochs if scale.share_epochs > 1 else 0
    whole_ms, bare_ms = (1000 * statistics.median(times[first:]) for times in (watch.seconds, alone))
    return {"step_ms": whole_ms, "bare_step_ms": bare_ms, "model_share": bare_ms / whole_ms}


def loader(folder: Path, paths: Sequence[Path], scale: Scale) -> dict[str, float]:
    """Return what an image costs until it is in a batch at `loader_px`, in ms: the reference's loader and our loader."""
    channel = made_radiographs.channel(folder, paths)
    size_px = scale.loader_px
    loading = {"workers": 1, "progress": False, "cache_dir": folder / "cache-loader"}
    images = dataset.read_training_set(channel, size_px=size_px, **loading).images
    loader = BatchLoader(images, device=torch.device("cpu"), augment=Augmentation(), mean=0.5, std=0.2)
    batches = reference_recipe.loader(paths, [0] * len(paths), batch_size=scale.batch, size=(size_px, size_px))

    def plan(epoch: int) -> Iterator[tuple[np.ndarray, torch.Generator]]:
        order = np.random.default_rng(epoch).permutation(len(images))
        for part in np.array_split(order, len(order) // scale.batch):
            yield part, torch.Generator().manual_seed(epoch)

    theirs, ours = [], []
    for round_ in range(scale.rounds):
        theirs.append(cpu_seconds(partial(deque, batches, 0)))
        for epoch in range(10 * round_, 10 * round_ + 10):
            ours.append(cpu_seconds(partial(deque, loader.batches(plan(epoch)), 0)))
    each = 1000 / len(paths)
    return {
        "reference_loader_ms": each * min(theirs),
        "feed_ms": each * min(ours),
        "loader_ratio": min(theirs) / min(ours),
    }


def jpeg2000(folder: Path, paths: Sequence[Path], scale: Scale) -> dict[str, float]:
    """Return the cost of caching a JPEG 2000 radiograph, at a lower resolution and whole, and how alike the images are."""
    reduced, whole = dataset.preprocessing_version(reduced=True), dataset.preprocessing_version()
    size_px = scale.loader_px
    pairs = [[dataset.decode(path, size_px, version).ravel() for version in (whole, reduced)] for path in paths]

    def build(version: str) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            load_cached(paths, empty, size_px=size_px, version=version, decode=dataset.decode, workers=1, progress=False)

    return {
        "cache_ms_per_j2k_image": min(1000 / len(paths) * cpu_seconds(lambda: build(reduced)) for _ in range(5)),
        "whole_ms_per_j2k_image": 1000 / len(paths) * cpu_seconds(lambda: build(whole)),
        "correlation": float(min(np.corrcoef(pair)[0, 1] for pair in pairs)),
    }


RSS = """
from pathlib import Path
import numpy as np
from dicom_workflow.learning.data.cache.folder import load_cached
from dicom_workflow.learning.data.cache.pack import take
def made(path, size_px, version):
    return np.full((1, size_px, size_px), int(path.stem) / 10000, np.float16)
paths = sorted(Path({folder!r}).glob("*.raw"))[:{images}]
images = load_cached(paths, {cache!r}, size_px={size}, version="1", decode=made, workers=2, progress=False).images
for epoch in range(2):
    order = np.random.default_rng(epoch).permutation(len(images))
    for rows in np.array_split(order, len(order) // 16):
        take(images, rows)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(images), peak.split()[1])
"""


def memory(folder: Path, scale: Scale) -> dict[str, float]:
    """Return the peak of memory of a process that builds and reads few images, of one with many, and the difference, in MB."""
    folder.mkdir()
    for number in range(scale.images[1]):
        (folder / f"{number:05}.raw").write_bytes(number.to_bytes(8, "big"))
    peaks = []
    for images in scale.images:
        with tempfile.TemporaryDirectory(dir=folder) as kept:
            code = RSS.format(folder=str(folder), images=images, cache=kept, size=scale.loader_px)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found, peak_kib = map(int, done.stdout.split())
        assert found == images, (found, images)
        peaks.append(peak_kib / 1024)
    few, many = peaks
    return {"rss_mb_few": few, "rss_mb_many": many, "rss_growth_mb": many - few}


def measure(folder: Path, scale: Scale, parts: Sequence[str] = PARTS) -> dict[str, Any]:
    """Return the figures of some parts."""
    made: dict[str, list[Path]] = {}
    for name in made_radiographs.SYNTAXES:
        say(f"{scale.files} radiographs, {name}")
        made[name] = made_radiographs.write(
            folder / name, name, images=scale.files, distinct=scale.distinct, rows=scale.rows, columns=scale.columns
        )
    figures: dict[str, Any] = {}
    for name, paths in made.items() if "epochs" in parts else ():
        say(f"epochs, {name}")
        found = epochs(folder / name, paths, scale)
        figures |= {f"{key}_{name}": value for key, value in found.items()}
        ours = found["ours_ms"]
        figures[f"epoch_ratio_{name}"] = found["reference_ms"] / ours
        figures[f"epoch_ratio_limit_{name}"] = found["reference_ms"] / found["network_ms"]
        say(f"epoch ratio {figures[f'epoch_ratio_{name}']:.1f}, limit {figures[f'epoch_ratio_limit_{name}']:.1f}")
        figures[f"twenty_epoch_ratio_{name}"] = 20 * found["reference_ms"] / (found["cache_build_ms"] + 20 * ours)
    if "loader" in parts:
        say("loader")
        figures |= loader(folder / "raw", made["raw"], scale)
    if "share" in parts:
        sizes = sorted({scale.size_px, scale.loader_px})
        for size_px in sizes:
            say(f"share of the network, {size_px} px")
            figures |= {f"{key}_{size_px}": value for key, value in share(folder / "raw", made["raw"], size_px, scale).items()}
        figures["model_share"] = min(figures[f"model_share_{size_px}"] for size_px in sizes)
    if "cache" in parts:
        say("cache of JPEG 2000")
        figures |= jpeg2000(folder / "j2k", made["j2k"][: scale.distinct], scale)
    if "memory" in parts:
        say("memory")
        figures |= memory(folder / "memory", scale)
    return figures


def convolution_gflops() -> float:
    """Return how much a convolution reaches on one thread, in 10^9 operations per second, with the precision of our step."""
    precision = torch.bfloat16 if hardware.choose_precision("auto", torch.device("cpu")) == "bfloat16" else torch.float32
    layer = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False).to(precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    images = torch.ones(16, 128, 28, 28, dtype=precision).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        layer(images)
        best = min(cpu_seconds(lambda: layer(images)) for _ in range(10))
    return 2 * 16 * 28**2 * 128**2 * 9 / best / 1e9


def judged(figures: dict[str, Any]) -> dict[str, bool]:
    """Say of each bar whether it holds; a figure that was not measured has none."""
    reached = {name: bool(figures[name] >= bar) for name, bar in AT_LEAST.items() if name in figures}
    return reached | {name: bool(figures[name] <= bar) for name, bar in AT_MOST.items() if name in figures}


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="try it in seconds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="measure only these")
    options = parser.parse_args(arguments)
    scale = TINY if options.tiny else Scale()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), scale, options.parts)
    about = {
        "benchmark": "training",
        "images": scale.files,
        "distinct_images": scale.distinct,
        "size_px": scale.size_px,
        "reference_px": scale.reference_px,
        "reader": reference_recipe.reader(),
        "precision": hardware.choose_precision("auto", torch.device("cpu")),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": 1,
    }
    about["conv_gflops"] = round(convolution_gflops())
    rounded = {name: round(value, 6) for name, value in figures.items()}
    print(json.dumps({**about, **rounded, "at_least": AT_LEAST, "at_most": AT_MOST, "holds": judged(figures)}))


if __name__ == "__main__":
    main()
