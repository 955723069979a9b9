"""What training makes small, and how much a rare finding counts in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """What training makes small: binary cross-entropy over the known targets, or cross-entropy in mode ``single-label``.

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
        """Return over how much the loss of these targets is a mean: known targets, or the weights of the rows' classes."""
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
    """Return how much more a positive counts than a negative: the square root of negatives / positives, in [1, cap].

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
