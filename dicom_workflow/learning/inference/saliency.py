"""Saliency maps by Grad-CAM and occlusion, over the DICOM image's own pixels.

Two methods, because each is blind where the other sees. Grad-CAM is one pass through the network and as coarse as the layer it
looks at: a value for each 16 or 32 pixels of the network's square. Occlusion covers one patch after the other and looks what
that does to the answer: finer and without assumptions, but hundreds of passes, and a finding that shows in two places may
survive the loss of either.

Neither shows where a finding *is*: a network may be right for a reason that stands elsewhere in the image, a drain beside a
pneumothorax, and the map then shows the drain.

References
----------
Selvaraju et al. 2017, ICCV, "Grad-CAM"; Zeiler, Fergus 2014, ECCV (occlusion); Saporta et al. 2022, Nature Machine
Intelligence 4:867 (how far saliency is from localization on chest radiographs).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.letterbox import Framing
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import LearningError
from dicom_workflow.learning.data.images import decode
from dicom_workflow.learning.inference.predict import predict_images
from dicom_workflow.learning.model.architectures import Layer, architecture_of
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.network import logits_of, normalize

METHODS = ("grad-cam", "occlusion")
_SHARE_OF_SIDE = 8
"""An occluding patch is this part of the square: 28 of 224 pixels, about the size of a heart chamber or a lobe's segment."""


_FEWEST_PLACES = 7
"""Along a side. With fewer, a map tells the left lung from the right one, and hardly more."""


@dataclass(frozen=True)
class Saliency:
    """Saliency map of one image and label by one method."""

    label: str
    method: str
    """One of `METHODS`."""
    values: NDArray[np.float32]
    """Shape (rows, columns) of the DICOM image, in [0, 1]: 1 is the place that speaks most for the label in this image, 0 one
    that says nothing or speaks against it. Images cannot be compared by it; all zero where nothing speaks for the label."""
    probability: float
    """Of the label, as `predict.predict_images` gives it."""
    strength: float
    """What a value of 1 stands for, in log-odds before calibration. Grad-CAM: what this place would add if the whole image
    looked like it (exactly so for the layer before the logits, to first order for others); occlusion: what is lost, on average,
    while this place is covered."""


def explain(bundle: Bundle, source: Any, label: str, *, method: str = "grad-cam") -> Saliency:
    """Return the map of one of `METHODS` with its usual settings; see `grad_cam` and `occlusion`.

    Parameters
    ----------
    bundle : Bundle
    source : path, bytes or pydicom.Dataset
    label : str
    method : {'grad-cam', 'occlusion'}

    Raises
    ------
    LearningError
        Another method, or as `grad_cam`.
    """
    if method not in METHODS:
        raise LearningError(f"method: expected one of {', '.join(METHODS)}, got {method!r}.")
    return (grad_cam if method == "grad-cam" else occlusion)(bundle, source, label)


def grad_cam(bundle: Bundle, source: Any, label: str, *, layer: Layer | None = None) -> Saliency:
    """Return the Grad-CAM map of a label at a layer.

    Parameters
    ----------
    bundle : Bundle
        Also of an ensemble: its map is the mean of its members'.
    source : path, bytes or pydicom.Dataset
        DICOM instance.
    label : str
        One of the bundle's.
    layer : Layer, optional
        By default the first of the architecture's `saliency_layers` that has seven places or more along a side; for a
        DenseNet121 the last one from 224 pixels on.

    Returns
    -------
    Saliency

    Raises
    ------
    LearningError
        The bundle has no such label, or its network no such layer.
    DicomError
        The image cannot be used.

    Notes
    -----
    The same numbers as MONAI's ``visualize.GradCAM``, which is not used here because it leaves its hooks and gradients in the
    network and stretches the grid over the whole square: where 32 does not divide the side, places come out beside the truth,
    by up to 15 pixels in a square of 112.
    """
    column = _column(bundle, label)
    layer = layer or _layer_for(bundle)
    image, framing = _read(bundle, source)
    device = next(bundle.network.parameters()).device
    with (
        _evaluating(bundle.network),
        _watched(bundle.network, layer.name) as seen,
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        # The input asks for a gradient and not the weights: nothing is left in them, and frozen ones are explained as well.
        batch = normalize(torch.from_numpy(image[None]).to(device), bundle.input_mean, bundle.input_std).requires_grad_()
        score = _log_odds(bundle.network(batch).float(), column, bundle.mode).sum()
        gradients = torch.autograd.grad(score, seen)
    grid = torch.zeros(())
    for values, gradient in zip(seen, gradients, strict=True):  # (1, C, h, w) each, one per member
        weights = gradient.sum(dim=(2, 3), keepdim=True)  # what one more everywhere would add: (1, C, 1, 1)
        grid = grid + (weights * values).sum(dim=(0, 1)).detach().cpu()
    places = framing.to_image(grid.clamp(min=0).numpy(), step_px=layer.step_px, first_px=layer.first_px)
    return _saliency(bundle, image, label, "grad-cam", places)


def occlusion(
    bundle: Bundle, source: Any, label: str, *, patch_px: int = 0, step_px: int = 0, batch_size: int = 32
) -> Saliency:
    """Return the occlusion map of a label: how much the logit falls while a place is covered.

    Parameters
    ----------
    bundle, source, label
        As for `grad_cam`.
    patch_px : int
        Side of the square that is covered, in pixels of the network's square, with the image's mean in each
        channel; an eighth of the side when not given.
    step_px : int
        How far it moves; half of the patch when not given.
    batch_size : int
        Covered images per pass through the network.

    Returns
    -------
    Saliency
        At each pixel the mean of what was lost under all patches that covered it.

    Raises
    ------
    LearningError, DicomError
        As `grad_cam`; or a patch or a step that cannot be.
    """
    column = _column(bundle, label)
    patch = patch_px or max(1, bundle.size_px // _SHARE_OF_SIDE)
    step = step_px or max(1, patch // 2)
    if not 0 < step <= patch <= bundle.size_px:
        raise LearningError(f"expected 0 < step_px ≤ patch_px ≤ {bundle.size_px}, got {step} and {patch}.")
    image, framing = _read(bundle, source)
    top, left, rows, columns = *framing.corner, *framing.inner
    inner = image[:, top : top + rows, left : left + columns]
    mean = inner.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float16)  # (channels, 1, 1)
    # From half outside to half outside: the edge of the image is covered as often as its middle.
    windows = [
        np.ix_(
            range(bundle.channels),
            range(max(y, top), min(y + patch, top + rows)),
            range(max(x, left), min(x + patch, left + columns)),
        )
        for y in range(top - patch + step, top + rows, step)
        for x in range(left - patch + step, left + columns, step)
    ]
    whole = _scores(bundle, image[None], column, batch_size)[0]
    lost, covered = np.zeros((2, bundle.size_px, bundle.size_px))
    for start in range(0, len(windows), batch_size):
        some = windows[start : start + batch_size]
        batch = np.repeat(image[None], len(some), axis=0)
        for one, window in zip(batch, some, strict=True):
            one[window] = mean
        for window, score in zip(some, _scores(bundle, batch, column, batch_size), strict=True):
            lost[window[1:]] += whole - score
            covered[window[1:]] += 1
    inside = lost[top : top + rows, left : left + columns] / covered[top : top + rows, left : left + columns]
    places = framing.to_image(np.pad(inside, _margins(framing), mode="edge"))  # padding must not bleed into the edge
    return _saliency(bundle, image, label, "occlusion", np.maximum(places, 0))


def _layer_for(bundle: Bundle) -> Layer:
    layers = architecture_of(bundle.architecture).saliency_layers
    return next((layer for layer in layers if bundle.size_px >= _FEWEST_PLACES * layer.step_px), layers[-1])


def _saliency(bundle: Bundle, image: NDArray[Any], label: str, method: str, places: NDArray[np.float32]) -> Saliency:
    strength = float(places.max())
    values = places / places.max() if strength > 0 else np.zeros_like(places)
    with _evaluating(bundle.network):
        probability = float(predict_images(bundle, image[None])[0, bundle.labels.index(label)])
    return Saliency(label, method, values.astype(np.float32), probability, strength)


def _column(bundle: Bundle, label: str) -> int:
    if label not in bundle.labels:
        raise LearningError(f"expected a label of the model, one of {', '.join(bundle.labels)}, got {label!r}.")
    return bundle.labels.index(label)


def _read(bundle: Bundle, source: Any) -> tuple[NDArray[np.float16], Framing]:
    """Return the image as the network sees it, shape (channels, size_px, size_px), and where it lies there."""
    dataset = read_dataset(source) if isinstance(source, str | Path | bytes) else source
    image = decode(dataset, bundle.size_px, bundle.preprocessing_version)
    bundle.check_images(image[None])
    return image, pixels.framing_of(dataset, bundle.size_px)


def _log_odds(logits: Tensor, column: int, mode: str) -> Tensor:
    """Return the log-odds of a label: its logit, or where labels exclude each other, its logit over all others."""
    if mode != "single-label" or logits.shape[1] == 1:
        return logits[:, column]
    others = [each for each in range(logits.shape[1]) if each != column]
    return logits[:, column] - torch.logsumexp(logits[:, others], dim=1)


def _scores(bundle: Bundle, images: NDArray[Any], column: int, batch_size: int) -> NDArray[np.float64]:
    with _evaluating(bundle.network):
        logits = logits_of(bundle.network, images, mean=bundle.input_mean, std=bundle.input_std, batch_size=batch_size)
    return _log_odds(logits, column, bundle.mode).double().numpy()


def _margins(framing: Framing) -> list[tuple[int, int]]:
    """Return how much padding is before and after the image, along rows and columns."""
    sides = zip(framing.corner, framing.inner, strict=True)
    return [(before, framing.size_px - before - inner) for before, inner in sides]


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within the context; each module gets its former mode back."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@contextlib.contextmanager
def _watched(network: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Yield a list that collects the outputs of the layers of that name, in a network or each member of an ensemble."""
    layers = [module for path, module in network.named_modules() if path == name or path.endswith(f".{name}")]
    if not layers:
        raise LearningError(f"the network has no layer {name!r}. Give another Layer.")
    seen: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda _module, _input, output: seen.append(output)) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
