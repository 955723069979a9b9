"""Training loss, positive-class weights, weight decay groups and the running average of weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """Training loss: binary cross-entropy over the known targets, or cross-entropy in mode ``single-label``.

    A loss is a sum divided by what it was summed over. Where a batch goes through the network in parts, the whole batch's
    divisor makes the losses of the parts add up to that of the whole.
    """

    mode: str = "multi-label"
    pos_weight: Tensor | None = None
    """Shape (labels,): what a positive counts over a negative, or the weight of each class in mode ``single-label``."""

    def __call__(self, logits: Tensor, targets: Tensor, divisor: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        logits, targets : Tensor, shape (B, labels)
            A target in [0, 1], or NaN where it is unknown: that takes no part. In mode ``single-label`` each row has exactly
            one positive.
        divisor : Tensor, scalar, optional
            That of all parts of the batch; the mean of this part by default.
        """
        if self.mode == "single-label":
            losses = nn.functional.cross_entropy(logits, _classes(targets), weight=self.pos_weight, reduction="sum")
        else:
            known = ~torch.isnan(targets)
            each = nn.functional.binary_cross_entropy_with_logits(
                logits, torch.where(known, targets, 0.0), pos_weight=self.pos_weight, reduction="none"
            )  # (B, labels)
            losses = (each * known).sum()
        return losses / (self.divisor(targets) if divisor is None else divisor)

    def divisor(self, targets: Tensor) -> Tensor:
        """Return the number that the loss of these targets is divided by, a scalar, float32.

        Known targets, or in mode ``single-label`` the weights of the rows' classes.

        Parameters
        ----------
        targets : Tensor, shape (B, labels), float32
            As for the loss.
        """
        if self.mode != "single-label":
            return (~torch.isnan(targets)).sum().clamp(min=1).float()
        classes = _classes(targets)
        return self.pos_weight[classes].sum() if self.pos_weight is not None else torch.tensor(float(len(classes)))

    def to(self, device: torch.device | str) -> Loss:
        """Return the same loss with its weights on a device."""
        return replace(self, pos_weight=None if self.pos_weight is None else self.pos_weight.to(device))


def _classes(targets: Tensor) -> Tensor:
    return torch.nan_to_num(targets).argmax(dim=1)


def positive_weights(targets: np.ndarray, cap: float) -> np.ndarray:
    """Return the weight of positives over negatives: the square root of negatives / positives, in [1, cap].

    Parameters
    ----------
    targets : ndarray, shape (samples, labels), float32 in [0, 1] with NaN for unknown
        A share of readers counts as that much of an image.
    cap : float
        Upper bound: a label with three positives must not drown the others.

    Returns
    -------
    ndarray, shape (labels,), float32
    """
    positives, negatives = np.nansum(targets, axis=0), np.nansum(1 - targets, axis=0)
    return np.clip(np.sqrt(negatives / np.maximum(positives, 1)), 1.0, max(cap, 1.0)).astype(np.float32)


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
