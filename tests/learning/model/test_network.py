"""The network's numbers: masks, weights, seeds, precision and small changes of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.model import network
from dicom_workflow.learning.training import hardware, optimization
from dicom_workflow.learning.training.batches import Augmentation
from dicom_workflow.learning.training.optimization import Loss, positive_weights

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    return network.build(("a", "b", "c"), seed=1)


def test_the_network_is_monais_densenet121_for_one_channel(model):
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_961_934 - 11 * 1025
    assert model.features.conv0.weight.shape == (64, 1, 7, 7)
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state(model):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again, other = network.build(("a", "b", "c"), seed=1), network.build(("a", "b", "c"), seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(again.features.conv0.weight, model.features.conv0.weight)
    assert not torch.equal(other.features.conv0.weight, model.features.conv0.weight)


def test_unknown_targets_neither_cost_nor_teach():
    logits = torch.tensor([[0.0, 3.0], [1.0, -2.0]], requires_grad=True)
    loss = Loss()(logits, torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]]))
    expected = (np.log(2) + np.log1p(np.exp(-2.0))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0
    assert logits.grad[0, 0] != 0
    nothing = Loss()(logits, torch.full((2, 2), float("nan")))
    assert nothing.item() == 0


def test_positives_weigh_the_root_of_their_rarity_up_to_the_cap():
    targets = np.array([[1, 1, np.nan]] + [[0, 0, 0]] * 4 + [[0, 1, 0]] * 5, dtype=np.float32)
    np.testing.assert_allclose(positive_weights(targets, cap=2.5), [2.5, 1.0, 2.5])
    np.testing.assert_allclose(positive_weights(targets, cap=5.0), [3.0, 1.0, 3.0])
    np.testing.assert_allclose(positive_weights(targets, cap=1.0), [1.0, 1.0, 1.0])


def test_single_label_probabilities_add_up_and_multi_label_ones_do_not():
    logits = torch.tensor([[2.0, 2.0]])
    assert network.probabilities(logits, "single-label").tolist() == [[0.5, 0.5]]
    assert network.probabilities(logits, "multi-label").sum() > 1.7
    targets = torch.tensor([[0.0, 1.0]])
    assert Loss("single-label")(logits, targets).item() == pytest.approx(np.log(2))


def test_mean_and_std_are_those_of_all_pixels():
    images = np.random.default_rng(0).random((5, 1, 8, 8)).astype(np.float16)
    mean, std = network.mean_and_std(images)
    assert mean == pytest.approx(images.astype(np.float64).mean(), abs=1e-5)
    assert std == pytest.approx(images.astype(np.float64).std(), abs=1e-4)
    normal = network.normalize(torch.from_numpy(images), mean, std)
    assert abs(normal.mean().item()) < 1e-3
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    with pytest.raises(LearningError, match="there is no image"):
        network.mean_and_std(images[:0])


def test_logits_do_not_depend_on_the_batch_and_hardly_on_the_precision(model):
    images = np.random.default_rng(1).random((5, 1, 32, 32)).astype(np.float16)
    model.train()
    one = network.logits_of(model, images, mean=0.5, std=0.3, batch_size=5)
    assert model.training
    two = network.logits_of(model, images, mean=0.5, std=0.3, batch_size=2)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    half = network.logits_of(model, images, mean=0.5, std=0.3, precision="bfloat16")
    assert half.dtype == torch.float32
    assert (half - one).abs().max() < 0.05


def test_the_average_forgets_the_start_and_then_keeps_its_share():
    average, model = (torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1)) for _ in range(2))
    torch.nn.init.constant_(average[0].weight, 1.0)
    torch.nn.init.constant_(model[0].weight, 2.0)
    model[1].num_batches_tracked += 7
    optimization.update_average(average, model, decay=0.99, step=0)
    assert average[0].weight.item() == pytest.approx(1.9)
    assert average[1].num_batches_tracked == 7
    optimization.update_average(average, model, decay=0.5, step=1000)
    assert average[0].weight.item() == pytest.approx(1.95)
    optimization.update_average(average, model, decay=0.0, step=1000)
    assert average[0].weight.item() == 2.0


def test_biases_and_normalization_are_not_decayed(model):
    decayed, free = optimization.parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_a_device_or_precision_that_is_not_there_is_refused():
    with pytest.raises(LearningError, match="precision: expected one of auto, float32, bfloat16, got 'fp8'"):
        hardware.choose_precision("fp8", torch.device("cpu"))
    assert hardware.choose_precision("float32", torch.device("cpu")) == "float32"
    if not torch.cuda.is_available():
        with pytest.raises(LearningError, match="'cuda' needs a usable GPU"):
            network.choose_device("cuda")
        assert network.choose_device("auto") == torch.device("cpu")


def test_no_augmentation_changes_nothing_and_the_same_seed_changes_the_same():
    images = torch.from_numpy(np.random.default_rng(2).random((3, 1, 16, 16)).astype(np.float16))
    still = Augmentation(rotation_degrees=0, translation=0, scale=0, contrast=0)
    assert torch.equal(still(images, torch.Generator().manual_seed(0)), images.float())
    one, two, three = (Augmentation()(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert one.min() >= 0
    assert one.max() <= 1


def test_rotation_is_in_degrees_and_nothing_is_ever_mirrored():
    image = torch.zeros(1, 1, 65, 65)
    image[0, 0, 28:37, 50:56] = 1.0  # to the right of the centre
    turn = Augmentation(rotation_degrees=10, translation=0, scale=0, contrast=0)
    for seed in range(200):
        y, x = np.argwhere(turn(image, torch.Generator().manual_seed(seed))[0, 0].numpy() > 0.5).mean(axis=0) - 32
        assert abs(np.degrees(np.arctan2(y, x))) < 10.5
        assert np.hypot(y, x) == pytest.approx(20.5, abs=1.0)


def test_translation_is_a_share_of_the_side_and_padding_stays_black():
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 28:36, 28:36] = 0.5
    shift = Augmentation(rotation_degrees=0, translation=0.1, scale=0, contrast=0.3)
    moved = [shift(image, torch.Generator().manual_seed(seed))[0, 0].numpy() for seed in range(100)]
    centres = np.array([np.argwhere(picture > 0.2).mean(axis=0) - 31.5 for picture in moved])
    assert np.abs(centres).max() <= 6.9
    assert np.abs(centres).max() > 4
    assert all(picture[:10].max() == 0 for picture in moved)
