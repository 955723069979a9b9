"""The classifier: MONAI's DenseNet121 for one grey channel, how it is averaged and run, and what its numbers mean."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.data.cache import take

PRECISIONS = ("auto", "float32", "bfloat16")


def build(labels: Sequence[str], *, dropout: float = 0.0, seed: int | None = None, members: int = 1) -> nn.Module:
    """Return a DenseNet121 for two-dimensional grey images, or an ensemble of them, with random weights.

    Parameters
    ----------
    labels : sequence of str
        One logit each, in this order.
    dropout : float
        Probability after each dense layer.
    seed : int, optional
        The same seed gives the same weights; the global random state is left as it was.
    members : int
        Networks; more than one make an `Ensemble`.

    Returns
    -------
    torch.nn.Module
        (B, 1, S, S) float32, normalized → logits (B, labels). `features` and `class_layers` are MONAI's.
    """
    if members > 1:
        return Ensemble([build(labels, dropout=dropout, seed=seed) for _ in range(members)])
    # MONAI imports MLflow where it is installed, which reports its use to its makers unless it is told not to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from monai.networks.nets.densenet import DenseNet121  # takes seconds to import

    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return DenseNet121(spatial_dims=2, in_channels=1, out_channels=len(labels), dropout_prob=dropout)


class Ensemble(nn.Module):
    """Several networks of the same labels, whose logits are averaged.

    Each was trained with a normalization of its own and keeps it: an ensemble takes images as they are, in [0, 1].

    Parameters
    ----------
    members : sequence of nn.Module
        From `build`.
    normalization : sequence of (mean, std), optional
        One for each member; (0, 1) for all by default.
    """

    means: Tensor
    stds: Tensor

    def __init__(self, members: Sequence[nn.Module], normalization: Sequence[tuple[float, float]] | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        pairs = torch.tensor(normalization or [(0.0, 1.0)] * len(members), dtype=torch.float32)
        self.register_buffer("means", pairs[:, 0].clone())
        self.register_buffer("stds", pairs[:, 1].clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return the mean logits, (B, labels), of images, (B, 1, S, S) in [0, 1]."""
        each = zip(self.members, self.means, self.stds, strict=True)
        return torch.stack([member((images - mean) / std).float() for member, mean, std in each]).mean(dim=0)


def normalize(images: Tensor, mean: float, std: float) -> Tensor:
    """Return images as the network wants them: (value - mean) / std, with the constants of the training images."""
    return (images.float() - mean).div_(std)


def mean_and_std(images: np.ndarray, rows: np.ndarray | None = None) -> tuple[float, float]:
    """Return the mean and standard deviation of all pixels of images, or of some rows of them, for `normalize`."""
    rows = np.arange(len(images)) if rows is None else rows
    if not images.size or not len(rows):
        raise LearningError("expected at least one image to take the mean of, got none.")
    sums = np.zeros(2)
    for row in rows:  # one at a time: a training set may be larger than memory
        image = take(images, np.array([row])).astype(np.float32)
        sums += np.mean(image, dtype=np.float64), np.mean(np.square(image), dtype=np.float64)
    mean, square = map(float, sums / len(rows))
    return round(mean, 6), round(max(square - mean**2, 1e-6) ** 0.5, 6)


def parse_normalization(text: str) -> tuple[float, float] | None:
    """Return mean and standard deviation for `normalize` from ``MEAN,STD`` in units of [0, 1]; None for ``auto``.

    Raises
    ------
    LearningError
        The text is neither.
    """
    if text == "auto":
        return None
    try:
        mean, std = map(float, text.split(","))
    except ValueError:
        mean, std = math.nan, math.nan
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise LearningError(
            f"--normalization: expected auto or two numbers like 0.45,0.23 with the second above 0, got {text[:40]!r}."
        )
    return mean, std


def probabilities(logits: Tensor, mode: str) -> Tensor:
    """Return (B, labels) probabilities: a sigmoid per label, or a softmax over labels in mode ``single-label``."""
    return torch.softmax(logits.float(), dim=1) if mode == "single-label" else torch.sigmoid(logits.float())


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return optimizer groups in which biases and normalization weights are not decayed."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Move a running average of a network's weights and normalization statistics towards the network, in place.

    Parameters
    ----------
    decay : float
        How much of the average is kept: 0.99 averages over about a hundred steps; 0 copies the network.
    step : int
        0-based; over the first steps less is kept, so that the random weights of the start are forgotten.
    """
    keep = min(decay, (1 + step) / (10 + step))
    mine = [*average.parameters(), *average.buffers()]
    theirs = [*network.parameters(), *network.buffers()]
    numbers = [tensor.is_floating_point() for tensor in mine]
    torch._foreach_lerp_(list(compress(mine, numbers)), list(compress(theirs, numbers)), 1 - keep)
    counts = [not is_number for is_number in numbers]
    torch._foreach_copy_(list(compress(mine, counts)), list(compress(theirs, counts)))


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name, or the GPU if there is one for ``auto``."""
    if name != "auto":
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise LearningError(f"device: expected one that is here, got {name!r} without a usable GPU. Use auto or cpu.")
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """Return ``bfloat16`` or ``float32``: for ``auto``, bfloat16 where the hardware multiplies it faster than float32.

    On a CPU that is AVX512-BF16 or AMX: there a training step with channels last took 0.44 of the float32 time; without
    them bfloat16 is emulated and slower.
    """
    if name not in PRECISIONS:
        raise LearningError(f"precision: expected one of {', '.join(PRECISIONS)}, got {name!r}.")
    if name != "auto":
        return name
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def choose_kernels(*, deterministic: bool) -> None:
    """Let torch take the fastest kernels of a GPU, or only those that give the same sums every time."""
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic or torch.are_deterministic_algorithms_enabled():  # the call itself imports a compiler: seconds
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # where cuBLAS reads it, before its first call
        torch.use_deterministic_algorithms(deterministic)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which convolutions run at `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compiled(network: nn.Module, choice: str, device: torch.device) -> nn.Module:
    """Return a network that computes the same, compiled where that pays.

    On a GPU compiling fuses what is bound by memory. On a CPU it took minutes and gained nothing: ``auto`` leaves it there.
    """
    if choice == "off" or (choice == "auto" and device.type != "cuda"):
        return network
    # Parts of a batch differ by an image, and each size is compiled anew.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 32)
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]  # the stubs say it is a function


@contextlib.contextmanager
def memory_advice(batch: int, parts: int, size_px: int) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into one that says what to change."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise LearningError(
            f"expected a batch of {batch} images of {size_px} px in {parts} parts to fit into the GPU's memory, it does not: "
            f"{str(error).splitlines()[0][:160]} Use --microbatches {2 * parts}, which changes little in what is learned, or a "
            "smaller --batch_size or --size_px."
        ) from None


@torch.inference_mode()
def logits_of(
    network: nn.Module,
    images: Tensor | np.ndarray,
    *,
    mean: float,
    std: float,
    batch_size: int = 32,
    precision: str = "float32",
    rows: np.ndarray | None = None,
) -> Tensor:
    """Return the logits of images, with the network in evaluation mode during the call.

    Parameters
    ----------
    images : shape (N, 1, S, S), float16 or float32 in [0, 1]
        On any device, or mapped from disk; batches go to the network's.
    mean, std : float
        For `normalize`.
    rows : ndarray of int, optional
        Which images; all by default.

    Returns
    -------
    Tensor, shape (N, labels), float32, on the CPU
    """
    device = next(network.parameters()).device
    rows = np.arange(len(images)) if rows is None else rows
    was_training = network.training
    network.eval()
    parts = []
    with autocast(device, precision):
        for start in range(0, len(rows), batch_size):
            wanted = rows[start : start + batch_size]
            taken = images[torch.from_numpy(wanted)] if isinstance(images, Tensor) else torch.from_numpy(take(images, wanted))
            batch = normalize(taken.to(device), mean, std)  # (B, 1, S, S)
            parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float())
    network.train(was_training)
    return torch.cat(parts).cpu() if parts else torch.empty(0, 0)
