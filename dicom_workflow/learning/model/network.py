"""Networks: construction, ensembles, normalization, logits, probabilities and embeddings."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.data.cache.pack import take
from dicom_workflow.learning.model.architectures import DEFAULT_ARCHITECTURE, architecture_of


def build(
    labels: Sequence[str],
    *,
    architecture: str = DEFAULT_ARCHITECTURE,
    dropout: float = 0.0,
    seed: int | None = None,
    members: int = 1,
) -> nn.Module:
    """Return a network of a registered architecture, or an ensemble of such networks, with random weights.

    Parameters
    ----------
    labels : sequence of str
        One logit each, in this order.
    architecture : str
        One of `architectures.ARCHITECTURES`.
    dropout : float
        Probability after each dense layer.
    seed : int, optional
        The same seed gives the same weights; the global random state is left as it was.
    members : int
        Networks; more than one make an `Ensemble`.

    Returns
    -------
    torch.nn.Module
        (B, channels, S, S) float32, normalized → logits (B, labels). `features` and `class_layers` are MONAI's.

    Raises
    ------
    LearningError
        There is no such architecture.
    """
    kind = architecture_of(architecture)
    if members > 1:
        return Ensemble([build(labels, architecture=architecture, dropout=dropout, seed=seed) for _ in range(members)])
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return kind.construct(len(labels), dropout)


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
        """Return the mean logits, (B, labels) float32, of images, (B, channels, S, S) float32 in [0, 1]."""
        each = zip(self.members, self.means, self.stds, strict=True)
        return torch.stack([member((images - mean) / std).float() for member, mean, std in each]).mean(dim=0)


def normalize(images: Tensor, mean: float, std: float) -> Tensor:
    """Return images as the network expects them: (value - mean) / std.

    Parameters
    ----------
    images : Tensor, shape (B, channels, S, S), float16 or float32 in [0, 1]
    mean, std : float
        Of the pixels of the training images.

    Returns
    -------
    Tensor, shape (B, channels, S, S), float32
    """
    return (images.float() - mean).div_(std)


def mean_and_std(images: np.ndarray, rows: np.ndarray | None = None) -> tuple[float, float]:
    """Return the mean and standard deviation of all pixels of images, for `normalize`.

    Parameters
    ----------
    images : ndarray, shape (N, channels, S, S), float16 in [0, 1]
    rows : ndarray, shape (rows,), int, optional
        Which images; all by default.

    Raises
    ------
    LearningError
        There is no image.
    """
    rows = np.arange(len(images)) if rows is None else rows
    if not images.size or not len(rows):
        raise LearningError("there is no image to take the mean of.")
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
    """Return probabilities, (B, labels) float32, of logits of that shape: a sigmoid each, or a softmax for ``single-label``."""
    return torch.softmax(logits.float(), dim=1) if mode == "single-label" else torch.sigmoid(logits.float())


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of a name, or for ``auto`` the GPU if there is one.

    Raises
    ------
    LearningError
        A GPU is named and none is usable.
    """
    if name != "auto":
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise LearningError(f"device: {name!r} needs a usable GPU, and there is none. Use auto or cpu.")
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
    network : nn.Module
    images : shape (N, channels, S, S), float16 or float32 in [0, 1]
        On any device, or mapped from disk; batches go to the network's.
    mean, std : float
        For `normalize`.
    batch_size : int
        Images per pass through the network.
    precision : {'float32', 'bfloat16'}
        Of the convolutions.
    rows : ndarray, shape (rows,), int, optional
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
            batch = normalize(taken.to(device), mean, std)  # (B, channels, S, S)
            parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float())
    network.train(was_training)
    return torch.cat(parts).cpu() if parts else torch.empty(0, 0)


@torch.inference_mode()
def embeddings_of(network: nn.Module, images: np.ndarray, *, mean: float, std: float, batch_size: int = 8) -> np.ndarray:
    """Return the embedding of each image: what the network's classifier is computed from.

    Every pass through the network has exactly `batch_size` images, the last one filled up with zeros: kernels are chosen by the
    shape of a batch, so an image has the same embedding, bit by bit, whatever images come with it. That holds for one device,
    number of threads and version of torch; others differ in the last digits.

    Parameters
    ----------
    network : nn.Module
        Of an ensemble the first member: features of networks that were trained apart have no common axes.
    images : ndarray, shape (n, channels, S, S), float16 or float32 in [0, 1]
    mean, std : float
        For `normalize`; an ensemble's members have their own.
    batch_size : int

    Returns
    -------
    ndarray, shape (n, features), float32
        Averaged over the image, after the last activation: no value is below 0.
    """
    if isinstance(network, Ensemble):
        mean, std, network = float(network.means[0]), float(network.stds[0]), network.members[0]
    classifier = cast(nn.Sequential, network.class_layers)
    device = next(network.parameters()).device
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    found = []
    try:
        for start in range(0, len(images), batch_size):
            wanted = np.arange(start, min(start + batch_size, len(images)))
            batch = torch.zeros(batch_size, *images.shape[1:])
            batch[: len(wanted)] = torch.from_numpy(take(images, wanted))
            batch = normalize(batch.to(device), mean, std).contiguous(memory_format=torch.channels_last)
            features = classifier[:-1](cast(nn.Module, network.features)(batch))  # (batch_size, features)
            found.append(features[: len(wanted)].float().cpu().numpy())
    finally:
        for module, was_training in before:
            module.training = was_training
    return np.concatenate(found) if found else np.empty((0, cast(int, classifier[-1].in_features)), np.float32)
