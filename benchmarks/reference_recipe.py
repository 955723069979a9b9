"""The published reference's way to train, said again in our own words, so that ours can be measured beside it.

    python benchmarks/reference_recipe.py FILE.dcm [FILE.dcm ...]      # its input for each file: shape, least and most

Every file is read, scaled from its own least to its most, turned, flipped, zoomed and made small, in this order, by MONAI's
transforms, in Python, again in every epoch. One class per image; a new DenseNet121; Adam at a rate of 1e-5; nothing is
validated. What looks odd is kept, because it is what was published:

- the angle of 15 is in radians since MONAI 0.4, so almost every second rotated image has its head anywhere but up;
- the flip along the first axis turns the chest upside down;
- making the image small comes last, so each change is made on five million pixels.

Two things differ, both in its favor. Its files no longer load with today's MONAI, whose reader puts the channel last: the
reader is asked for the old layout. And a seed fixes all its draws, so that two runs agree.

ITK reads the files, as in the reference; where it is not installed (`pip install -r requirements-bench.txt`) MONAI's reader on
pydicom does, which does not invert MONOCHROME1. `reader()` says which.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SIZE = (108, 96)
"""Rows and columns of the network's input, in pixels."""
BATCH_SIZE = 16
"""As on the small sets of a benchmark; the published default of 100 would be one step per epoch."""
EPOCHS = 5
LEARNING_RATE = 1e-5
GPU_WORKERS = 10
"""Loader processes beside a GPU; on a CPU it uses none."""

Batch = tuple[Tensor, Tensor]


def reader() -> str:
    """Return what reads the files here: ``itk``, as published, or ``pydicom``."""
    return "itk" if importlib.util.find_spec("itk") else "pydicom"


def transforms(*, augmented: bool, size: tuple[int, int] = SIZE, seed: int = 1) -> Callable[[Path], Tensor]:
    """Return what makes a file the network's input, shape (1, rows, columns), float32 in [0, 1].

    Parameters
    ----------
    augmented : bool
        With rotation, flip and zoom, as for training.
    size : (int, int)
        Rows and columns.
    seed : int
        Of rotation, flip and zoom.
    """
    from monai import transforms as monai  # takes seconds to import

    changes = (
        monai.RandRotate(range_x=15, prob=0.5, keep_size=True),
        monai.RandFlip(spatial_axis=0, prob=0.5),
        monai.RandZoom(min_zoom=0.9, max_zoom=1.1, prob=0.5, keep_size=True),
    )
    steps = (_load_image(), monai.ScaleIntensity(), *(changes if augmented else ()), monai.Resize(size), monai.ToTensor())
    composed = monai.Compose(steps)
    composed.set_random_state(seed)

    def apply(path: Path) -> Tensor:
        with warnings.catch_warnings():
            # A radiograph has no orientation in space; MONAI's reader on pydicom says so of each.
            warnings.simplefilter("ignore")
            return composed(path)

    return apply


def _load_image() -> Callable[[Path], Any]:
    """Return the reading of a file as (1, rows, columns): the layout the reference was written for."""
    from monai.data import ITKReader, PydicomReader
    from monai.transforms import LoadImage

    with warnings.catch_warnings():
        # It makes all of its readers, and one of them misses a GPU library.
        warnings.simplefilter("ignore")
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
        if reader() == "itk":
            return LoadImage(image_only=True, reader=ITKReader(reverse_indexing=True))
        return LoadImage(image_only=True, reader=PydicomReader(swap_ij=False), ensure_channel_first=True)


class Files(Dataset[tuple[Tensor, int]]):
    """Files and their classes; each is read when it is asked for."""

    def __init__(self, paths: Sequence[Path], class_indices: Sequence[int], apply: Callable[[Path], Tensor]) -> None:
        if len(paths) != len(class_indices):
            raise ValueError(f"expected a class for each of {len(paths)} files, got {len(class_indices)}.")
        self.paths, self.class_indices, self.apply = paths, class_indices, apply

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.apply(self.paths[number]), int(self.class_indices[number])


def loader(
    paths: Sequence[Path],
    class_indices: Sequence[int],
    *,
    batch_size: int = BATCH_SIZE,
    size: tuple[int, int] = SIZE,
    seed: int = 1,
    workers: int = 0,
) -> Iterable[Batch]:
    """Return batches for training, in a new order each time they are gone through.

    Parameters
    ----------
    paths : sequence of Path
        DICOM files.
    class_indices : sequence of int
        The class of each file.
    workers : int
        Loader processes; the reference has none on a CPU and `GPU_WORKERS` beside a GPU.

    Returns
    -------
    iterable of (Tensor, Tensor)
        (B, 1, rows, columns) float32 and (B,) int64.
    """
    files = Files(paths, class_indices, transforms(augmented=True, size=size, seed=seed))
    order = torch.Generator().manual_seed(seed)
    return DataLoader(
        files, batch_size=batch_size, shuffle=True, generator=order, num_workers=workers, pin_memory=torch.cuda.is_available()
    )


def build(classes: int, seed: int = 1) -> nn.Module:
    """Return its network with random weights: (B, 1, rows, columns) → (B, classes)."""
    from monai.networks.nets.densenet import DenseNet121

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DenseNet121(spatial_dims=2, in_channels=1, out_channels=classes)


def optimizer_of(network: nn.Module) -> torch.optim.Optimizer:
    """Return its optimizer; the published script takes other settings on the command line and does not use them."""
    return torch.optim.Adam(network.parameters(), LEARNING_RATE)


def train_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> float:
    """Train for one pass over the batches, in place; return the mean of the losses of the steps."""
    device = next(network.parameters()).device
    loss_of = nn.CrossEntropyLoss()
    network.train()
    losses = []
    for images, wanted in batches:
        optimizer.zero_grad()
        loss = loss_of(network(images.to(device)), wanted.to(device))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def train(
    paths: Sequence[Path],
    class_indices: Sequence[int],
    classes: int,
    epochs: int = EPOCHS,
    seed: int = 1,
    *,
    batch_size: int = BATCH_SIZE,
    size: tuple[int, int] = SIZE,
) -> nn.Module:
    """Return its network, trained on the CPU.

    Parameters
    ----------
    paths : sequence of Path
        DICOM files.
    class_indices : sequence of int, each in [0, classes)
        The first positive label of each file: the reference knows only one.
    classes : int
        How many labels there are.
    epochs : int
    seed : int
        Of weights, order and changes.
    """
    network = build(classes, seed)
    optimizer = optimizer_of(network)
    batches = loader(paths, class_indices, batch_size=batch_size, size=size, seed=seed)
    for _ in range(epochs):
        train_epoch(network, optimizer, batches)
    return network


@torch.inference_mode()
def predict(
    network: nn.Module, paths: Sequence[Path], *, batch_size: int = BATCH_SIZE, size: tuple[int, int] = SIZE
) -> np.ndarray:
    """Return the probability of each class for each file, a softmax: shape (N, classes), float64.

    The reference does not predict; this is its input without the random changes, and its loss's view of the logits.
    """
    network.eval()
    apply = transforms(augmented=False, size=size)
    parts = [torch.softmax(network(batch).double(), dim=1).numpy() for batch in _batched(map(apply, paths), batch_size)]
    return np.concatenate(parts) if parts else np.empty((0, 0))


def _batched(images: Iterator[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Yield tensors of at most `batch_size` images, so that no more than these are in memory."""
    waiting: list[Tensor] = []
    for image in images:
        waiting.append(torch.as_tensor(np.asarray(image)))
        if len(waiting) == batch_size:
            yield torch.stack(waiting)
            waiting = []
    if waiting:
        yield torch.stack(waiting)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.dcm")
    apply = transforms(augmented=False)
    for path in parser.parse_args().files:
        image = apply(path)
        print(f"{path}: {tuple(image.shape)}, {float(image.min()):.3f} to {float(image.max()):.3f}, read by {reader()}")


if __name__ == "__main__":
    main()
