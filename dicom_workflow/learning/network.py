"""The classifier: MONAI's DenseNet121 for one grey channel, its losses, and how its numbers become probabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.cache import take

PRECISIONS = ("auto", "float32", "bfloat16")


def build(labels: Sequence[str], *, dropout: float = 0.0, seed: int | None = None) -> nn.Module:
    """Return a DenseNet121 for two-dimensional grey images, with random weights.

    Parameters
    ----------
    labels : sequence of str
        One logit each, in this order.
    dropout : float
        Probability after each dense layer.
    seed : int, optional
        The same seed gives the same weights; the global random state is left as it was.

    Returns
    -------
    torch.nn.Module
        (B, 1, S, S) float32, normalized → logits (B, labels). `features` and `class_layers` are MONAI's.
    """
    from monai.networks.nets.densenet import DenseNet121  # takes seconds to import

    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return DenseNet121(spatial_dims=2, in_channels=1, out_channels=len(labels), dropout_prob=dropout)


def normalize(images: Tensor, mean: float, std: float) -> Tensor:
    """Return images as the network wants them: (value - mean) / std, with the constants of the training images."""
    return (images.float() - mean) / std


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


def masked_bce(logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy over the known targets.

    Parameters
    ----------
    logits, targets : Tensor, shape (B, labels)
        A target of NaN is unknown and takes no part.
    pos_weight : Tensor, shape (labels,), optional

    Returns
    -------
    Tensor, scalar
        0 when nothing is known.
    """
    known = ~torch.isnan(targets)
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, targets, 0.0), pos_weight=pos_weight, reduction="none"
    )  # (B, labels)
    return (losses * known).sum() / known.sum().clamp(min=1)


def cross_entropy(logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Return the cross-entropy for rows with exactly one positive target; `pos_weight` weighs the classes."""
    return nn.functional.cross_entropy(logits, torch.nan_to_num(targets).argmax(dim=1), weight=pos_weight)


def positive_weights(targets: np.ndarray, cap: float) -> np.ndarray:
    """Return how much more a positive counts than a negative: the square root of negatives / positives, in [1, cap].

    Parameters
    ----------
    targets : ndarray, shape (samples, labels), float32 with NaN for unknown
    cap : float
        Upper bound: a label with three positives must not drown the others.

    Returns
    -------
    ndarray, shape (labels,), float32
    """
    positives, negatives = np.nansum(targets == 1, axis=0), np.nansum(targets == 0, axis=0)
    return np.clip(np.sqrt(negatives / np.maximum(positives, 1)), 1.0, max(cap, 1.0)).astype(np.float32)


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
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    numbers = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
    torch._foreach_lerp_([mine for mine, _ in numbers], [theirs for _, theirs in numbers], 1 - keep)
    for mine, theirs in pairs:
        if not mine.is_floating_point():
            mine.copy_(theirs)


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


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which convolutions run at `precision`."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


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
