"""Initial weights: whose they are, what was taken of them, and that they compute what they computed at home."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import boto3
import pytest
import safetensors.torch
import torch
from moto import mock_aws
from support.learning import LABELS, tiny_bundle
from torch import Tensor
from torch.nn import functional

from dicom_workflow.errors import ObjectNotFoundError, WeightsError
from dicom_workflow.learning.model import bundle, initial_weights, network
from dicom_workflow.learning.training import run_state
from dicom_workflow.storage import Storage

torch.set_num_threads(1)
BLOCKS, GROWTH, START = (6, 12, 24, 16), 32, 64
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
LARGEST = 2e-5  # of 1, the size of the activations below: float32 in another order of summation


def torchvision_state(channels: int, classes: int, *, variance: float = 1.0) -> OrderedDict[str, Tensor]:
    """Random weights of a DenseNet121 under torchvision's names and shapes; `variance` is that of the stem's output."""
    generator = torch.Generator().manual_seed(11)
    state: OrderedDict[str, Tensor] = OrderedDict()

    def convolution(name: str, inputs: int, outputs: int, side: int) -> None:
        deviation = (2 / (inputs * side * side)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, side, side, generator=generator) * deviation

    def norm(name: str, channels: int, variance: float = 1.0) -> None:
        state[f"{name}.weight"] = 0.5 + torch.rand(channels, generator=generator)
        state[f"{name}.bias"] = 0.2 * torch.randn(channels, generator=generator)
        state[f"{name}.running_mean"] = 0.3 * torch.randn(channels, generator=generator) * variance**0.5
        state[f"{name}.running_var"] = (0.5 + torch.rand(channels, generator=generator)) * variance
        state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    convolution("features.conv0", channels, START, 7)
    norm("features.norm0", START, variance)
    width = START
    for block, layers in enumerate(BLOCKS, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm1", width)
            convolution(f"{name}.conv1", width, 4 * GROWTH, 1)
            norm(f"{name}.norm2", 4 * GROWTH)
            convolution(f"{name}.conv2", 4 * GROWTH, GROWTH, 3)
            width += GROWTH
        if block < len(BLOCKS):
            norm(f"features.transition{block}.norm", width)
            convolution(f"features.transition{block}.conv", width, width // 2, 1)
            width //= 2
    norm("features.norm5", width)
    state["classifier.weight"] = 0.05 * torch.randn(classes, width, generator=generator)
    state["classifier.bias"] = torch.zeros(classes)
    return state


def forward(state: OrderedDict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """What the original computes, written from the paper: after the first normalization, and before the classifier."""

    def activated(x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return functional.relu(functional.batch_norm(x, *(state[f"{name}.{key}"] for key in keys)))

    x = functional.conv2d(images, state["features.conv0.weight"], stride=2, padding=3)
    keys = ("running_mean", "running_var", "weight", "bias")
    first = functional.batch_norm(x, *(state[f"features.norm0.{key}"] for key in keys))
    x = functional.max_pool2d(functional.relu(first), 3, stride=2, padding=1)
    for block, layers in enumerate(BLOCKS, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            new = functional.conv2d(activated(x, f"{name}.norm1"), state[f"{name}.conv1.weight"])
            new = functional.conv2d(activated(new, f"{name}.norm2"), state[f"{name}.conv2.weight"], padding=1)
            x = torch.cat([x, new], dim=1)
        if block < len(BLOCKS):
            name = f"features.transition{block}"
            x = functional.conv2d(activated(x, f"{name}.norm"), state[f"{name}.conv.weight"])
            x = functional.avg_pool2d(x, 2)
    return first, activated(x, "features.norm5").mean(dim=(2, 3))


@torch.no_grad()
def ours(net: torch.nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The same two of a network of this package."""
    net.eval()
    first = net.features.norm0(net.features.conv0(images))
    return first, net.class_layers.relu(net.features(images)).mean(dim=(2, 3))


def largest(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.fixture(scope="module")
def grey() -> Tensor:
    """Two smooth grey images, (2, 1, 64, 64) in [0, 1]."""
    coarse = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(2))
    return functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def rgb() -> OrderedDict[str, Tensor]:
    return torchvision_state(3, 1000)


@pytest.fixture(scope="module")
def xray() -> OrderedDict[str, Tensor]:
    """As of TorchXRayVision: one channel, 18 findings, a stem that has seen numbers up to 1024."""
    return torchvision_state(1, 18, variance=4e5)


@pytest.fixture
def net() -> torch.nn.Module:
    return network.build(LABELS, seed=1)


@pytest.fixture(scope="module")
def untouched() -> torch.nn.Module:
    """A network for files that are refused: it stays as it was."""
    return network.build(LABELS, seed=1)


def written(path: Path, state: dict[str, Tensor]) -> str:
    safetensors.torch.save_file(dict(state), path)
    return str(path)


def numbers(net: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def is_same(net: torch.nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


# --- the same numbers as at home ---------------------------------------------------------------------------------------------


def test_torchxrayvision_sees_our_images_as_its_own_at_every_pixel(net, xray, grey, tmp_path):
    origin = initial_weights.initialize(net, written(tmp_path / "xrv.safetensors", xray))
    assert (origin.layout, origin.normalization) == ("torchxrayvision", (0.5, 1 / 2048))
    first, last = ours(net, network.normalize(grey, *origin.normalization))
    theirs_first, theirs_last = forward(xray, 2048 * grey - 1024)
    assert largest(first, theirs_first) < 1e-5
    assert largest(last, theirs_last) < LARGEST


def test_torchxrayvision_with_another_normalization_agrees_away_from_the_border(net, xray, grey, tmp_path):
    origin = initial_weights.initialize(net, written(tmp_path / "xrv.safetensors", xray), normalization=(0.4, 0.25))
    assert origin.normalization == (0.4, 0.25)
    first, last = ours(net, network.normalize(grey, 0.4, 0.25))
    theirs_first, theirs_last = forward(xray, 2048 * grey - 1024)
    assert largest(first[:, :, 2:-1, 2:-1], theirs_first[:, :, 2:-1, 2:-1]) < 1e-5
    # What does not hold: padding is 0 after normalization, for them a grey of 0.5 and here one of 0.4. The difference starts
    # at the border and, as each layer sees farther, reaches the last one.
    assert largest(first, theirs_first) > 1e-2
    assert 1e-4 < largest(last, theirs_last) < 0.2


def test_torchvision_sees_a_grey_image_as_three_channels_of_it_away_from_the_border(net, rgb, grey, tmp_path):
    origin = initial_weights.initialize(net, written(tmp_path / "rgb.safetensors", rgb))
    assert origin.layout == "torchvision"
    assert origin.normalization == pytest.approx((0.449, 0.226))
    first, last = ours(net, network.normalize(grey, *origin.normalization))
    theirs_first, theirs_last = forward(rgb, (grey.expand(-1, 3, -1, -1) - IMAGENET_MEAN) / IMAGENET_STD)
    assert largest(first[:, :, 2:-1, 2:-1], theirs_first[:, :, 2:-1, 2:-1]) < 1e-5
    assert largest(last, theirs_last) < 0.05


def test_the_difference_at_the_border_is_the_means_of_the_kernels_that_see_padding(net, rgb, grey, tmp_path):
    """Exactly that, and nothing else: three means of channels are not one grey, and only padding tells them apart."""
    origin = initial_weights.initialize(net, written(tmp_path / "rgb.safetensors", rgb))
    ours_first, _ = ours(net, network.normalize(grey, *origin.normalization))
    theirs_first, _ = forward(rgb, (grey.expand(-1, 3, -1, -1) - IMAGENET_MEAN) / IMAGENET_STD)
    padding = 1 - functional.pad(torch.ones(1, 1, 64, 64), (3, 3, 3, 3))
    constant = (origin.normalization[0] - IMAGENET_MEAN) / IMAGENET_STD
    seen = functional.conv2d(padding.expand(-1, 3, -1, -1) * constant, rgb["features.conv0.weight"], stride=2)
    scale = rgb["features.norm0.weight"] / (rgb["features.norm0.running_var"] + 1e-5).sqrt()
    expected = seen * scale.reshape(1, -1, 1, 1)
    assert float((ours_first - theirs_first - expected).abs().max()) < 2e-5
    assert float(expected[:, :, 2:-1, 2:-1].abs().max()) == 0.0
    assert 0.01 < largest(ours_first, theirs_first) < 0.1


def test_three_channels_that_are_equal_become_one_at_every_pixel(net, rgb, grey, tmp_path):
    """A MONAI file does not say how its images were normalized: alike in each channel, and then nothing is lost."""
    state = {rename(name): tensor for name, tensor in rgb.items()}
    origin = initial_weights.initialize(net, written(tmp_path / "monai.safetensors", state))
    assert (origin.layout, origin.normalization) == ("monai", None)
    first, last = ours(net, network.normalize(grey, 0.4, 0.25))
    theirs_first, theirs_last = forward(rgb, network.normalize(grey, 0.4, 0.25).expand(-1, 3, -1, -1))
    assert largest(first, theirs_first) < 1e-5
    assert largest(last, theirs_last) < LARGEST


def rename(name: str) -> str:
    """MONAI's name of a tensor, by the parts of torchvision's."""
    parts = name.split(".")
    if len(parts) == 5 and parts[2].startswith("denselayer"):
        parts.insert(3, "layers")
    return ".".join(parts).replace("classifier", "class_layers.out")


# --- what is said of it ------------------------------------------------------------------------------------------------------


def test_the_classifier_of_others_is_left_and_everything_is_named(net, xray, tmp_path):
    head = net.class_layers.out.weight.clone()
    uri = written(tmp_path / "xrv.safetensors", {**xray, "op_threshs": torch.zeros(18)})
    origin = initial_weights.initialize(net, uri)
    assert torch.equal(net.class_layers.out.weight, head)
    assert len(origin.loaded) == 725
    assert origin.left == ("class_layers.out.weight", "class_layers.out.bias")
    assert origin.unused == ("classifier.bias", "classifier.weight", "op_threshs")
    assert origin.sha256 == hashlib.sha256(Path(uri).read_bytes()).hexdigest()
    assert origin.to_json() == {
        "uri": f"file://{uri}",
        "sha256": origin.sha256,
        "layout": "torchxrayvision",
        "normalization": [0.5, 1 / 2048],
        "loaded": 725,
        "left": ["class_layers.out.weight", "class_layers.out.bias"],
        "unused": ["classifier.bias", "classifier.weight", "op_threshs"],
    }
    assert str(origin).endswith(
        "725 tensors loaded, 2 left as they were (class_layers.out.weight, class_layers.out.bias), 3 of the file unused"
    )


@pytest.mark.parametrize("prefix", ["module.", "model.densenet121."])
def test_what_stands_before_the_names_is_taken_off(net, xray, tmp_path, prefix):
    initial_weights.initialize(
        net, written(tmp_path / "w.safetensors", {prefix + name: tensor for name, tensor in xray.items()})
    )
    assert torch.equal(net.features.conv0.weight, xray["features.conv0.weight"])


def test_the_oldest_names_of_torchvision_are_known(net, rgb, tmp_path):
    """Its published file says norm.1 and counts no batches."""
    old = {}
    for name, tensor in rgb.items():
        for part in ("norm", "relu", "conv"):
            name = name.replace(f".{part}1.", f".{part}.1.").replace(f".{part}2.", f".{part}.2.")
        if not name.endswith("num_batches_tracked"):
            old[name] = tensor
    origin = initial_weights.initialize(net, written(tmp_path / "old.safetensors", old))
    assert len(origin.loaded) == 604
    assert len(origin.left) == 121 + 2
    layer = net.features.denseblock4.denselayer16.layers
    assert torch.equal(layer.norm1.running_var, rgb["features.denseblock4.denselayer16.norm1.running_var"])


# --- our own files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return bundle.save(tiny_bundle(LABELS, mode="multi-label"), tmp_path_factory.mktemp("bundle") / "model")


def test_a_bundle_of_the_same_labels_gives_everything(net, model):
    trained = bundle.load(model)
    for uri in (str(model), f"file://{model}", str(model / "model.safetensors")):
        origin = initial_weights.initialize(net, uri, labels=LABELS)
        assert is_same(net, trained.network.state_dict())
        assert (origin.layout, origin.normalization, origin.left) == ("dicom-workflow", (0.3, 0.2), ())
        assert origin.uri == f"file://{model}/model.safetensors"


@pytest.mark.parametrize("labels", [(), tuple(reversed(LABELS)), ("Edema", "Fracture")])
def test_a_bundle_of_other_labels_keeps_its_classifier(model, labels):
    net = network.build(labels or LABELS, seed=5)
    origin = initial_weights.initialize(net, str(model), labels=labels)
    assert origin.left == ("class_layers.out.weight", "class_layers.out.bias")


def test_the_first_of_an_ensemble_is_taken_with_the_normalization_that_it_had(net, tmp_path):
    first, second = network.build(LABELS, seed=7), network.build(LABELS, seed=8)
    both = network.Ensemble([first, second], [(0.25, 0.5), (0.75, 0.5)])
    origin = initial_weights.initialize(net, written(tmp_path / "both.safetensors", both.state_dict()))
    assert torch.equal(net.features.conv0.weight, first.features.conv0.weight)
    assert (origin.layout, origin.normalization) == ("dicom-workflow", (0.25, 0.5))
    assert len(origin.unused) == 727 + 2 + 2  # the second, the first's classifier, and both normalizations


def test_of_a_checkpoint_the_average_is_taken(net, tmp_path):
    trained = network.build(LABELS, seed=8)
    average = network.build(LABELS, seed=7)
    path = run_state.save_checkpoint(tmp_path / "last.safetensors", {"network": trained, "average": average}, state={})
    origin = initial_weights.initialize(net, str(path))
    assert torch.equal(net.features.norm5.weight, average.features.norm5.weight)
    assert torch.equal(net.features.conv0.weight, average.features.conv0.weight)
    assert origin.layout == "monai"  # a checkpoint alone does not say its normalization


def test_a_bundle_comes_from_s3(net, model):
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="models")
        for name in ("bundle.json", "model.safetensors"):
            client.put_object(Bucket="models", Key=f"first/{name}", Body=(model / name).read_bytes())
        origin = initial_weights.initialize(net, "s3://models/first/", labels=LABELS, storage=Storage(client=client))
    assert origin.uri == "s3://models/first/model.safetensors"
    assert origin.left == ()


# --- PyTorch's own files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_zip", "key"), [(True, "state_dict"), (True, ""), (False, "model")])
def test_a_pickled_state_dict_of_a_known_hash_is_read(net, xray, tmp_path, is_zip, key):
    path = tmp_path / "weights.pt"
    torch.save({key: xray, "epoch": 3} if key else xray, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(WeightsError, match=r"a pickled file is only opened with its SHA-256 given.*can run programs"):
        initial_weights.initialize(net, str(path))
    origin = initial_weights.initialize(net, str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest().upper())
    assert len(origin.loaded) == 725
    assert torch.equal(net.features.conv0.weight, xray["features.conv0.weight"])


def test_a_pickled_view_that_makes_one_number_a_billion_is_refused(net, xray, tmp_path):
    torch.save(OrderedDict({**xray, "features.conv0.weight": torch.zeros(1).expand(64, 2**30, 7, 7)}), tmp_path / "weights.pt")
    digest = hashlib.sha256((tmp_path / "weights.pt").read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=r"all their numbers in the file, got \['features.conv0.weight'\] with fewer"):
        initial_weights.initialize(net, str(tmp_path / "weights.pt"), sha256=digest)


def test_a_whole_pickled_model_is_refused_with_the_way_out(net, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Sequential(torch.nn.Linear(1, 1)), path)
    with pytest.raises(WeightsError, match=r"got UnpicklingError .*load it and write safetensors\.torch\.save_file"):
        initial_weights.initialize(net, str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


# --- refusals ----------------------------------------------------------------------------------------------------------------


def test_another_file_than_promised_is_refused_before_it_is_looked_at(untouched, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match=r"expected SHA-256 0000.*got [0-9a-f]{64}: it is another file"):
        initial_weights.initialize(untouched, str(tmp_path / "w.safetensors"), sha256="0" * 64)


def changed(state: dict[str, Tensor], name: str, tensor: Tensor | None) -> dict[str, Tensor]:
    rest = {key: value for key, value in state.items() if key != name}
    return rest if tensor is None else {**rest, name: tensor}


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (
            "features.norm5.weight",
            None,
            r"expected the 604 tensors .* got 603 .* torchxrayvision; features.norm5.weight .* nothing",
        ),
        ("features.norm5.weight", torch.ones(7), r"should have shape \(1024,\) and has shape \(7,\)"),
        (
            "features.norm5.bias",
            torch.full((1024,), float("nan")),
            "the numbers of features.norm5.bias are not all finite",
        ),
        ("features.norm5.bias", torch.ones(1024, dtype=torch.int8), "are not all finite"),
        ("features.norm5.running_var", -torch.ones(1024), "features.norm5.running_var holds negative variances"),
        ("features.norm5.num_batches_tracked", torch.zeros(2, dtype=torch.int64), "expected one whole number in"),
        ("features.conv0.weight", torch.ones(64, 2, 7, 7), "expected a stem with 1 channels and its norm0"),
        ("features.conv0.weight", torch.ones(64), "expected a stem with 1 channels and its norm0"),
        ("features.norm0.running_mean", None, "expected a stem with 1 channels and its norm0"),
        (
            "features.conv0.weight",
            None,
            "expected one DenseNet121, with one tensor named features.conv0.weight, got 0 among 726",
        ),
        ("b.features.conv0.weight", torch.ones(1), "expected one DenseNet121, .* got 2 among 728"),
    ],
)
def test_a_file_of_another_network_is_refused_and_ours_stays_as_it_was(untouched, xray, tmp_path, name, tensor, message):
    before = numbers(untouched)
    uri = written(tmp_path / "w.safetensors", changed(xray, name, tensor))
    with pytest.raises(WeightsError, match=message):
        initial_weights.initialize(untouched, uri)
    assert is_same(untouched, before)


def test_a_smaller_or_larger_densenet_is_refused(untouched, xray, tmp_path):
    deeper = {**xray, "features.transition3.norm.weight": torch.ones(1280)}  # as in DenseNet169
    with pytest.raises(WeightsError, match=r"transition3.norm.weight should have shape \(1024,\) and has shape \(1280,\)"):
        initial_weights.initialize(untouched, written(tmp_path / "w.safetensors", deeper))


def test_files_that_are_missing_too_large_or_of_no_known_kind_are_refused(untouched, model, tmp_path, monkeypatch):
    with pytest.raises(ObjectNotFoundError, match="there is no such object"):
        initial_weights.initialize(untouched, str(tmp_path / "nothing.safetensors"))
    (tmp_path / "weights.h5").write_bytes(b"HDF")
    with pytest.raises(
        WeightsError, match=r"expected a file of weights ending with \.safetensors, \.pt, \.pth, \.bin, or a bundle"
    ):
        initial_weights.initialize(untouched, str(tmp_path / "weights.h5"))
    monkeypatch.setattr(initial_weights.weight_files, "MAX_BYTES", 2**20)
    with pytest.raises(WeightsError, match="expected at most 1 MB, got more"):
        initial_weights.initialize(untouched, str(model))


def test_a_bundle_whose_two_files_do_not_belong_together_is_refused(untouched, model, xray, tmp_path):
    (tmp_path / "bundle.json").write_bytes((model / "bundle.json").read_bytes())
    written(tmp_path / "model.safetensors", xray)
    with pytest.raises(WeightsError, match="it does not hold the SHA-256 of the weights beside it"):
        initial_weights.initialize(untouched, str(tmp_path))
