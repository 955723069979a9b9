"""The registry of networks: what training, bundles, exports and saliency maps need to know of each.

A new network is one entry in `ARCHITECTURES` and nothing else. Importing this module imports no torch, so that the training
script's ``--help`` can list the names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dicom_workflow.errors import LearningError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Layer:
    """A layer for Grad-CAM, and the positions of its values in the input."""

    name: str
    """In the network, or in each member of an ensemble."""
    step_px: float
    """Pixels of the input between two values."""
    first_px: float
    """Where the center of what the first value sees lies, counted from the center of the first pixel."""


@dataclass(frozen=True)
class Architecture:
    """One kind of network, as ``bundle.json`` names it."""

    name: str
    title: str
    """For people: model card and reports."""
    channels: int
    """Of the input: 1 for gray images, 3 for color."""
    construct: Callable[[int, float], nn.Module]
    """``construct(outputs, dropout)``: a network with `features`, then `class_layers`, whose last layer is the classifier."""
    monai_config: Callable[[int, float], Mapping[str, Any]]
    """``monai_config(outputs, dropout)``: the same network for MONAI's ``ConfigParser``."""
    saliency_layers: tuple[Layer, ...]
    """Layers that Grad-CAM may use, the one nearest to the logits first; the last one serves the smallest inputs."""


DENSENET_LAST = Layer("class_layers.relu", 32, 14)
"""What the network averages and weighs into its logits, so that nothing is lost on the way: the mean of this layer's weighted
values *is* the logit, but for its bias. After `features.denseblock4` a normalization still follows."""
DENSENET_FINER = Layer("features.denseblock3", 16, 6)
"""Twice as fine, for small inputs, but a whole block away from the answer."""


def _densenet121(name: str, channels: int) -> Architecture:
    def arguments(outputs: int, dropout: float) -> dict[str, Any]:
        return {"spatial_dims": 2, "in_channels": channels, "out_channels": outputs, "dropout_prob": dropout}

    def construct(outputs: int, dropout: float) -> nn.Module:
        # MONAI imports MLflow where it is installed, which reports its use to its makers unless it is told not to.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from monai.networks.nets.densenet import DenseNet121  # takes seconds to import

        return DenseNet121(**arguments(outputs, dropout))

    return Architecture(
        name=name,
        title="DenseNet121",
        channels=channels,
        construct=construct,
        monai_config=lambda outputs, dropout: {"_target_": "DenseNet121", **arguments(outputs, dropout)},
        saliency_layers=(DENSENET_LAST, DENSENET_FINER),
    )


ARCHITECTURES: Mapping[str, Architecture] = {
    each.name: each for each in (_densenet121("densenet121-gray", 1), _densenet121("densenet121-rgb", 3))
}
"""Name → architecture, for ``--network`` of the training script and for ``bundle.json``."""
DEFAULT_ARCHITECTURE = "densenet121-gray"


def architecture_of(name: str) -> Architecture:
    """Return the architecture of a name.

    Raises
    ------
    LearningError
        There is no such architecture.
    """
    if name not in ARCHITECTURES:
        raise LearningError(f"network: expected one of {', '.join(ARCHITECTURES)}, got {name[:60]!r}.")
    return ARCHITECTURES[name]
