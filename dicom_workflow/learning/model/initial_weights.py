"""Initial weights for a network from a file: this package's bundles, or a DenseNet121 of MONAI, torchvision or TorchXRayVision.

The four are the same network under different names. What differs is the stem, the first convolution, because each saw its
images on a scale of its own:

=================  ========  =============================  ==========================================
layout             channels  an image v in [0, 1] became    normalization that gives the same numbers
=================  ========  =============================  ==========================================
dicom-workflow     any       (v - mean) / std               the bundle's
monai              any       the file does not say          none is known
torchvision        3         (v - mean_c) / std_c, RGB      0.449, 0.226: the channels' averages
torchxrayvision    1         2048 v - 1024                  0.5, 1 / 2048
=================  ========  =============================  ==========================================

In a network for gray images, three channels of one gray image become one by adding their kernels, each divided by its
channel's deviation. The means move into `norm0`, whose running mean follows the convolution. A scale moves exactly. A shift
does so wherever the kernel sees image only: at the border it also sees padding, which is 0 after normalization and so another
gray when the mean is another. One-channel layouts that keep their normalization change nothing and agree everywhere.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dicom_workflow import storage as stores
from dicom_workflow.errors import WeightsError
from dicom_workflow.learning.model import weight_files
from dicom_workflow.learning.model.bundle_json import DESCRIPTION_NAME, MAX_DESCRIPTION_BYTES, WEIGHTS_NAME, parse_description

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and deviations, by channel, of what torchvision's weights were trained on."""
XRAY_VISION = ((0.5,), (1 / 2048,))
"""TorchXRayVision scales black and white to -1024 and 1024."""

_STEM, _HEAD = "features.conv0.weight", "class_layers."
_CHUNK = 2**20


@dataclass(frozen=True)
class Origin:
    """Origin of a network's initial weights, for the provenance of the bundle."""

    uri: str
    sha256: str
    """Of the file, whether one was asked for or not."""
    layout: str
    """``dicom-workflow``, ``monai``, ``torchvision`` or ``torchxrayvision``."""
    normalization: tuple[float, float] | None
    """Mean and deviation that the network now expects of its images; None when the file does not say."""
    loaded: tuple[str, ...]
    """The network's tensors that were taken from the file."""
    left: tuple[str, ...]
    """The network's tensors that stayed as they were."""
    unused: tuple[str, ...]
    """The file's tensors that have no place in the network, by their names there."""

    def to_json(self) -> dict[str, Any]:
        """Return the record for a bundle's provenance: everything but the names of what was loaded, which are counted."""
        return {
            "uri": self.uri,
            "sha256": self.sha256,
            "layout": self.layout,
            "normalization": list(self.normalization) if self.normalization else None,
            "loaded": len(self.loaded),
            "left": list(self.left),
            "unused": list(self.unused),
        }

    def __str__(self) -> str:
        left = ", ".join(self.left) or "none"
        return (
            f"{self.uri} ({self.layout}, SHA-256 {self.sha256[:12]}…): {len(self.loaded)} tensors loaded, "
            f"{len(self.left)} left as they were ({left}), {len(self.unused)} of the file unused"
        )


def initialize(
    network: nn.Module,
    uri: str,
    *,
    sha256: str = "",
    labels: Sequence[str] = (),
    normalization: tuple[float, float] | None = None,
    storage: stores.Storage | None = None,
) -> Origin:
    """Load the tensors of a file into a network, and return which ones.

    Parameters
    ----------
    network : torch.nn.Module
        A DenseNet121 as `network.build` makes it, with any number of labels. Unchanged when an error is raised.
    uri : str
        A path, file:// or s3:// of a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file, or of a bundle's folder. Of an
        ensemble the first member is taken.
    sha256 : str
        What the file is to be, in hexadecimal; of a bundle, its model.safetensors. Checked before anything in it is looked at.
        Pickled files (all but safetensors) are refused without it.
    labels : sequence of str
        The network's. A bundle's classifier is taken when its labels are the same, in the same order; no other file's is.
    normalization : (float, float), optional
        Mean and deviation that the images will be normalized with, when they are not to be the file's own: the stem is
        converted to them. Exact where no padding is seen, see above.
    storage : Storage, optional

    Raises
    ------
    WeightsError
        Not the file of that hash, not one that is safe to read, or not a DenseNet121: every tensor of the features must be
        there with its shape. (Counters of training batches may be missing, as they are in files older than PyTorch 0.4.1.)
    StorageError
        There is no such file, or it cannot be read.
    """
    storage = storage or stores.Storage()
    where, beside = _locate(storage, stores.to_uri(uri))
    own = network.state_dict()
    if _STEM not in own:
        raise WeightsError(f"{where}: initial weights can be loaded into a DenseNet121 only. Train this network without them.")
    is_gray = own[_STEM].shape[1] == 1
    data = _read(storage, where, weight_files.MAX_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 and digest != sha256.strip().lower():
        raise WeightsError(f"{where}: expected SHA-256 {sha256[:64]}, got {digest}: it is another file. Do not use it.")
    description = _description(storage, beside, digest) if beside else {}
    tensors = weight_files.parse(data, where, is_pinned=bool(sha256))
    named = _by_our_names(tensors, where)
    found = {name: tensors[theirs] for name, theirs in named.items()}
    layout, scale = _layout(found, tensors, description, where)
    if normalization is None:
        normalization = _own_normalization(scale)
    if scale and normalization:
        found = _with_stem(found, scale, normalization, where, is_gray=is_gray)
    elif found[_STEM].ndim == 4 and is_gray:
        found[_STEM] = found[_STEM].float().sum(dim=1, keepdim=True)  # of equal channels
    has_head = bool(labels) and list(labels) == description.get("labels")
    wanted = {name: tensor for name, tensor in own.items() if has_head or not name.startswith(_HEAD)}
    _check(found, wanted, where, layout)
    taken = {name: found[name] for name in wanted if name in found}
    network.load_state_dict(taken, strict=False)
    return Origin(
        uri=where,
        sha256=digest,
        layout=layout,
        normalization=normalization if scale else None,
        loaded=tuple(taken),
        left=tuple(name for name in own if name not in taken),
        unused=tuple(sorted(set(tensors) - {named[name] for name in taken})),
    )


def find(uri: str, *, storage: stores.Storage | None = None) -> str:
    """Return the URI of the weights that `initialize` would read, without reading them.

    Raises
    ------
    WeightsError
        There are none.
    """
    storage = storage or stores.Storage()
    where, _ = _locate(storage, stores.to_uri(uri))
    if not storage.exists(where):
        raise WeightsError(f"{where}: there is no file of initial weights and no bundle.")
    return where


def _locate(storage: stores.Storage, uri: str) -> tuple[str, str]:
    """Return the URI of the weights, and that of the ``bundle.json`` beside them, empty when there is none."""
    uri = uri.rstrip("/")
    name = uri.rpartition("/")[2].lower()
    if not name.endswith(weight_files.SAFETENSORS + weight_files.PICKLES):
        beside = stores.join(uri, DESCRIPTION_NAME)
        if storage.exists(beside):
            return stores.join(uri, WEIGHTS_NAME), beside
    beside = f"{uri.rpartition('/')[0]}/{DESCRIPTION_NAME}"
    return uri, beside if name == WEIGHTS_NAME and storage.exists(beside) else ""


def _read(storage: stores.Storage, uri: str, most: int) -> bytes:
    """Return an object of at most `most` bytes; a larger one is not read to its end."""
    parts, size = [], 0
    with storage.open(uri) as stream:
        while part := stream.read(_CHUNK):
            size += len(part)
            if size > most:
                raise WeightsError(f"{uri}: expected at most {most >> 20} MB, got more. Is it a file of weights?")
            parts.append(part)
    return b"".join(parts)


def _description(storage: stores.Storage, uri: str, digest: str) -> Mapping[str, Any]:
    """Return a bundle's description, after it was found to be that of the weights with this SHA-256."""
    description = parse_description(_read(storage, uri, MAX_DESCRIPTION_BYTES), uri)
    weights = description.get("weights")
    if not isinstance(weights, Mapping) or weights.get("sha256") != digest:
        raise WeightsError(f"{uri}: it does not hold the SHA-256 of the weights beside it, {digest}. Copy the bundle again.")
    return description


def _by_our_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, str]:
    """Return the network's name of each tensor → the file's.

    What stands before ``features.`` is taken off: ``module.`` of several GPUs, ``model.`` of a wrapper, ``members.0.`` of an
    ensemble's first network, ``average/`` of a checkpoint's running average.
    """
    stems = [name for name in tensors if name.endswith(_STEM)]
    first = [name for name in stems if name.startswith(("members.0.", "average/"))]
    if len(first or stems) != 1:
        raise WeightsError(
            f"{where}: expected one DenseNet121, with one tensor named {_STEM}, got {len(stems)} among {len(tensors)} "
            f"tensors: {(stems or list(tensors))[:3]!r:.200}."
        )
    prefix = (first or stems)[0].removesuffix(_STEM)
    # MONAI puts a dense layer's parts into `layers`; the oldest torchvision files say norm.1 for norm1.
    part = re.compile(r"(denselayer\d+)\.(?:layers\.)?(norm|relu|conv)\.?([12])\.")
    return {part.sub(r"\1.layers.\2\3.", name.removeprefix(prefix)): name for name in tensors if name.startswith(prefix)}


def _layout(
    found: Mapping[str, Tensor], tensors: Mapping[str, Tensor], description: Mapping[str, Any], where: str
) -> tuple[str, tuple[Sequence[float], Sequence[float]] | None]:
    """Return the name of a layout, and the means and deviations of its channels where they are known."""
    channels = found[_STEM].shape[1] if found[_STEM].ndim == 4 else 0
    ensemble = [tensors[name].flatten()[:1].tolist() for name in ("means", "stds") if name in tensors]
    if description or len(ensemble) == 2:
        try:
            values = description["preprocessing"]["normalization"] if description else {}
            # An ensemble is given images as they are: its first member's own normalization is a tensor of it.
            mean, std = [numbers[0] for numbers in ensemble] or (float(values["mean"]), float(values["std"]))
        except (LookupError, TypeError, ValueError) as error:
            raise WeightsError(f"{where}: expected mean and std of the bundle's normalization: {error!r:.80}.") from None
        if not math.isfinite(mean) or not 0 < std < math.inf:
            raise WeightsError(f"{where}: expected a finite mean and a std above 0, got {mean} and {std}.")
        return "dicom-workflow", ((mean,) * max(1, channels), (std,) * max(1, channels))
    if any(".layers." in name for name in tensors):
        return "monai", None
    return ("torchvision", IMAGENET) if channels == 3 else ("torchxrayvision", XRAY_VISION)


def _own_normalization(scale: tuple[Sequence[float], Sequence[float]] | None) -> tuple[float, float] | None:
    if scale is None:
        return None
    means, deviations = scale
    return round(sum(means) / len(means), 6), sum(deviations) / len(deviations)


def _with_stem(
    found: Mapping[str, Tensor],
    scale: tuple[Sequence[float], Sequence[float]],
    normalization: tuple[float, float],
    where: str,
    *,
    is_gray: bool,
) -> dict[str, Tensor]:
    """Return the tensors with a stem for images normalized by `normalization` instead of each channel by its `scale`.

    For a gray network the kernels of all channels are added into one.

    With v = std x + mean, channel c saw (v - mean_c) / std_c = (std / std_c) x + (mean - mean_c) / std_c: a factor for its
    kernels, and a constant that `norm0` subtracts again.
    """
    mean, std = normalization
    means, deviations = (torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1) for values in scale)
    kernels, running_mean = found[_STEM].double(), found.get("features.norm0.running_mean")
    if kernels.ndim != 4 or kernels.shape[1] != means.numel() or running_mean is None or len(kernels) != running_mean.numel():
        raise WeightsError(f"{where}: expected a stem with {means.numel()} channels and its norm0, got {tuple(kernels.shape)}.")
    constant = (kernels * (mean - means) / deviations).sum(dim=(1, 2, 3))  # (64,)
    kernels = kernels * (std / deviations)
    return {
        **found,
        _STEM: (kernels.sum(dim=1, keepdim=True) if is_gray else kernels).float(),  # (64, 1 or channels, 7, 7)
        "features.norm0.running_mean": (running_mean.double() - constant).float(),
    }


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str, layout: str) -> None:
    """Refuse a file that lacks a tensor, or holds numbers that no training gives."""
    needed = {name: tensor for name, tensor in wanted.items() if tensor.is_floating_point()}  # the rest counts batches
    wrong = [name for name, tensor in needed.items() if name not in found or found[name].shape != tensor.shape]
    if wrong:
        first = wrong[0]
        got = f"shape {tuple(found[first].shape)}" if first in found else "nothing"
        raise WeightsError(
            f"{where}: expected the {len(needed)} tensors of a DenseNet121, got {len(needed) - len(wrong)} of them in the "
            f"layout {layout}; {first} should have shape {tuple(needed[first].shape)} and has {got}."
        )
    for name in needed:
        if not found[name].is_floating_point() or not torch.isfinite(found[name]).all():
            raise WeightsError(
                f"{where}: the numbers of {name} are not all finite. The file is damaged, or the training diverged."
            )
        if name.endswith("running_var") and (found[name] < 0).any():
            raise WeightsError(f"{where}: {name} holds negative variances. The file is damaged.")
    for name in set(wanted) - set(needed):
        if name in found and (found[name].numel() != 1 or found[name].is_floating_point()):
            raise WeightsError(f"{where}: expected one whole number in {name}, got shape {tuple(found[name].shape)}.")
