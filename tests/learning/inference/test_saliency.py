"""Saliency points at what the answer depends on, in the image's own pixels, and leaves the network as it was."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.learning import LABELS, dicom_file, picture, tiny_bundle
from torch import nn

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.letterbox import Framing
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import LearningError
from dicom_workflow.learning.inference import predict, saliency
from dicom_workflow.learning.model import network
from dicom_workflow.learning.model.architectures import DENSENET_FINER as FINER
from dicom_workflow.learning.model.architectures import DENSENET_LAST as LAST
from dicom_workflow.learning.model.architectures import Layer
from dicom_workflow.learning.model.bundle import Bundle

torch.set_num_threads(1)

CELLS = Layer("relu", 4, 1.5)
"""Of the hand-made network: a value for each four by four pixels."""


def bright_square_network(labels: int = 3) -> nn.Module:
    """Its first logit is how many cells are nearly white; the others are constant."""
    cells, out = nn.Conv2d(1, 1, 4, stride=4), nn.Linear(1, labels)
    with torch.no_grad():
        cells.weight.fill_(1 / 16)
        cells.bias.fill_(-0.7)
        out.weight.zero_()
        out.weight[0, 0] = 50.0
        out.bias.fill_(-1.0)
    layers = OrderedDict(cells=cells, relu=nn.ReLU(inplace=True), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(1), out=out)
    return nn.Sequential(layers).eval()


def untrained(**rest: Any) -> Bundle:
    return tiny_bundle(LABELS, **{"mode": "multi-label", **rest})


def bright_square_bundle() -> Bundle:
    return replace(untrained(), network=bright_square_network(), size_px=64, input_mean=0.0, input_std=1.0)


def planted(path: Path, shape: tuple[int, int], at: tuple[slice, slice], *, inverted: bool = False) -> Dataset:
    """Grey everywhere, white in one place; the same to the eye as MONOCHROME1."""
    values = np.full(shape, 60)
    values[at] = 255
    dataset = read_dataset(dicom_file(path, 255 - values if inverted else values))
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    return dataset


PLACES = [
    ((64, 64), (slice(8, 20), slice(40, 52))),
    ((300, 200), (slice(240, 290), slice(10, 60))),  # padding left and right
    ((120, 400), (slice(5, 75), slice(310, 380))),  # padding above and below
    ((57, 41), (slice(40, 52), slice(3, 15))),  # enlarged, and no side divides
]


@pytest.mark.parametrize("inverted", [False, True], ids=["monochrome2", "monochrome1"])
@pytest.mark.parametrize(("shape", "at"), PLACES, ids=[f"{rows}x{columns}" for (rows, columns), _ in PLACES])
def test_the_peak_lies_in_the_planted_square_of_the_dicom_image(tmp_path, shape, at, inverted):
    image = planted(tmp_path / "a.dcm", shape, at, inverted=inverted)
    bundle = bright_square_bundle()
    for found in (
        saliency.grad_cam(bundle, image, "Edema", layer=CELLS),
        saliency.occlusion(bundle, image, "Edema"),
    ):
        assert (found.values.shape, found.values.dtype) == (shape, np.float32)
        assert (found.values.min(), found.values.max()) == (0, 1)
        row, column = np.unravel_index(found.values.argmax(), shape)
        assert at[0].start <= row < at[0].stop, found.method
        assert at[1].start <= column < at[1].stop, found.method
        inside = found.values[at].mean()
        assert inside > 0.4
        assert inside > 5 * np.delete(found.values.ravel(), np.ravel_multi_index(np.mgrid[at].reshape(2, -1), shape)).mean()


def test_what_speaks_for_nothing_is_an_empty_map(tmp_path):
    image = planted(tmp_path / "a.dcm", (50, 50), (slice(0, 0), slice(0, 0)))
    bundle = bright_square_bundle()
    for found in (saliency.grad_cam(bundle, image, "Edema", layer=CELLS), saliency.occlusion(bundle, image, "Edema")):
        assert not found.values.any()
        assert found.strength == 0


def test_occlusion_says_how_much_is_lost(tmp_path):
    """A patch over the whole square takes away everything but the bias: what the grey beneath it leaves is below white."""
    image = planted(tmp_path / "a.dcm", (64, 64), (slice(16, 24), slice(16, 24)))
    bundle = bright_square_bundle()
    found = saliency.occlusion(bundle, image, "Edema", patch_px=8, step_px=8)
    # Four of 256 cells are white: each adds 50 × (1 − 0.7) / 256.
    assert found.strength == pytest.approx(4 * 50 * 0.3 / 256, abs=1e-3)
    expected = np.zeros((64, 64))
    expected[16:24, 16:24] = 1
    assert np.array_equal(found.values, expected)


def test_the_last_layer_sums_up_to_the_logit():
    """What makes it the layer to look at: before the cut at zero, the mean of the map and the bias are the logit."""
    model, images = network.build(LABELS, seed=5).eval(), torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    with saliency._watched(model, LAST.name) as seen, torch.no_grad():
        logits = model(images)
    weights, bias = model.class_layers.out.weight, model.class_layers.out.bias
    maps = torch.einsum("kc,nchw->nkhw", weights, seen[0])
    assert torch.allclose(maps.mean(dim=(2, 3)) + bias, logits, atol=1e-5)


def test_grad_cam_is_that_of_monai(tmp_path):
    from monai.visualize import GradCAM

    bundle = replace(untrained(), size_px=96)
    path = dicom_file(tmp_path / "a.dcm", picture(["Edema"], np.random.default_rng(0), side=96))
    found = saliency.grad_cam(bundle, path, "Fracture", layer=LAST)
    image = torch.from_numpy(pixels.to_model_input(read_dataset(path), size_px=96)[None]).half().float()
    theirs = GradCAM(network.build(LABELS, seed=3), LAST.name, postprocessing=lambda x: x, upsampler=lambda _: lambda x: x)
    [[expected]] = theirs((image - bundle.input_mean) / bundle.input_std, class_idx=1).detach().numpy()  # (3, 3)
    assert expected.shape == (3, 3)
    assert expected.max() > 0
    ours = found.values[LAST.first_px :: LAST.step_px, LAST.first_px :: LAST.step_px]
    assert ours == pytest.approx(expected / expected.max(), abs=1e-4)


@pytest.mark.parametrize(("layer", "halvings"), [(LAST, 3), (FINER, 2)], ids=["last", "finer"])
def test_a_dense_network_sees_where_its_layers_say(layer, halvings):
    """A value stands for the middle of what it sees. Convolutions are symmetric, so what halves the image sets the place."""
    image = torch.zeros(1, 1, 224, 224, dtype=torch.float64, requires_grad=True)
    sizes = [(7, 3), (3, 1), *[(2, 0)] * halvings]  # conv0, pool0, and the pooling of each transition: side and padding
    seen = image
    for side, padding in sizes:
        seen = nn.functional.avg_pool2d(seen, side, 2, padding)
    model = network.build(LABELS, seed=0).eval()
    with saliency._watched(model, layer.name) as values, torch.no_grad():
        model(image.detach().float())
    assert values[0].shape[2:] == seen.shape[2:]
    [gradient] = torch.autograd.grad(seen[0, 0, 3, 4], image)
    for axis, at in ((0, 3), (1, 4)):
        weights = gradient[0, 0].sum(dim=1 - axis)
        middle = (weights * torch.arange(224)).sum() / weights.sum()
        assert middle.item() == pytest.approx(layer.first_px + at * layer.step_px)


def test_an_ensembles_map_is_the_mean_of_its_members(tmp_path):
    path = dicom_file(tmp_path / "a.dcm", picture(["Edema"], np.random.default_rng(0), side=80))
    members = [network.build(LABELS, seed=seed).eval() for seed in (1, 2)]
    bundles = [replace(untrained(), network=member, size_px=96) for member in members]
    for member in members:  # every cell speaks for every label, and nothing is cut at zero
        member.class_layers.out.weight.data.abs_()
    together = network.Ensemble(members, [(bundle.input_mean, bundle.input_std) for bundle in bundles]).eval()
    ensemble = replace(bundles[0], network=together, input_mean=0.0, input_std=1.0)
    one, other, both = (saliency.grad_cam(bundle, path, "Edema", layer=LAST) for bundle in (*bundles, ensemble))
    maps = [each.values * each.strength for each in (one, other, both)]
    assert maps[0].min() > 0
    assert maps[2] == pytest.approx((maps[0] + maps[1]) / 2, rel=1e-4)
    assert saliency.occlusion(ensemble, path, "Edema", patch_px=48).values.max() in (0, 1)


@pytest.mark.parametrize("method", [saliency.grad_cam, partial(saliency.occlusion, patch_px=20)], ids=saliency.METHODS)
def test_the_network_is_left_as_it_was(tmp_path, method):
    bundle = untrained()
    path = dicom_file(tmp_path / "a.dcm", picture(["Edema"], np.random.default_rng(0)))
    bundle.network.train()
    bundle.network.features.norm0.eval()  # as when its statistics are frozen
    bundle.network.features.conv0.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in bundle.network.state_dict().items()}
    modes = [module.training for module in bundle.network.modules()]
    first = method(bundle, path, "Edema")
    with torch.inference_mode():
        second = method(bundle, path.read_bytes(), "Edema")
    assert np.array_equal(first.values, second.values)
    assert [module.training for module in bundle.network.modules()] == modes
    assert all(parameter.grad is None for parameter in bundle.network.parameters())
    assert [name for name, parameter in bundle.network.named_parameters() if not parameter.requires_grad] == [
        "features.conv0.weight"
    ]
    assert not any(module._forward_hooks or module._backward_hooks for module in bundle.network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in bundle.network.state_dict().items())


def test_small_squares_are_explained_by_the_finer_layer(tmp_path):
    path = dicom_file(tmp_path / "a.dcm", picture(["Edema"], np.random.default_rng(0)))
    for size_px, layer in ((112, FINER), (224, LAST)):
        bundle = replace(untrained(), size_px=size_px)
        chosen, named = (saliency.grad_cam(bundle, path, "Edema", layer=each) for each in (None, layer))
        assert np.array_equal(chosen.values, named.values)


def test_the_probability_is_that_of_the_prediction(tmp_path):
    bundle = untrained(mode="single-label")
    path = dicom_file(tmp_path / "a.dcm", picture(["Edema"], np.random.default_rng(0)))
    [predicted] = predict.predict(bundle, [path])
    for label in LABELS:
        assert saliency.grad_cam(bundle, path, label).probability == pytest.approx(predicted[label], abs=1e-6)


def test_mistakes_are_named(tmp_path):
    bundle = untrained()
    path = dicom_file(tmp_path / "a.dcm", picture([], np.random.default_rng(0)))
    with pytest.raises(LearningError, match="expected a label of the model, one of Edema, Fracture, No Finding, got 'Mass'"):
        saliency.explain(bundle, path, "Mass")
    with pytest.raises(LearningError, match="method: expected one of grad-cam, occlusion, got 'magic'"):
        saliency.explain(bundle, path, "Edema", method="magic")
    with pytest.raises(LearningError, match="the network has no layer 'relu9'"):
        saliency.grad_cam(bundle, path, "Edema", layer=Layer("relu9", 1, 0))
    with pytest.raises(LearningError, match="expected 0 < step_px ≤ patch_px ≤ 40, got 9 and 8"):
        saliency.occlusion(bundle, path, "Edema", patch_px=8, step_px=9)


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (120, 400), (57, 41), (1, 90)])
def test_the_way_into_the_square_and_back_is_the_identity_for_what_is_smooth(tmp_path, shape):
    """A ramp along each side survives: what was shrunk to a place comes back from it."""
    framing = Framing(shape, 64)
    for axis in (0, 1):
        ramp = np.broadcast_to(np.expand_dims((np.arange(shape[axis]) + 0.5) / shape[axis], 1 - axis), shape)
        dataset = read_dataset(dicom_file(tmp_path / f"{axis}.dcm", np.rint(ramp * 255)))
        square = pixels.to_model_input(dataset, size_px=64)[0]
        (top, left), (rows, columns) = framing.corner, framing.inner
        assert not np.delete(np.delete(square, range(top, top + rows), 0), range(left, left + columns), 1).any()
        inside = np.pad(
            square[top : top + rows, left : left + columns],
            [(top, 64 - top - rows), (left, 64 - left - columns)],
            mode="edge",
        )
        back = framing.to_image(inside)
        assert back.shape == shape
        assert back == pytest.approx(ramp, abs=1.5 / framing.inner[axis] if framing.inner[axis] > 1 else 1)


def test_real_files_are_explained_in_their_own_pixels(sample_data):
    """One file of each size: 1024 by 1024 and whatever else there is."""
    bundle, files = untrained(), {}
    for path in sorted((sample_data / "radiographs").glob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        files.setdefault((header.Rows, header.Columns), path)
    assert len(files) > 1
    for shape, path in list(files.items())[:8]:
        found = saliency.grad_cam(bundle, path, "Edema")
        assert found.values.shape == shape
        assert found.values.min() >= 0
        assert found.values.max() in (0, 1)
