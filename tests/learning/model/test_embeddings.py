"""Embeddings: the features the classifier is computed from, the same bits whatever images come with an image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.learning import LABELS, tiny_bundle

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle, network
from dicom_workflow.learning.model.bundle import Bundle

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model() -> Bundle:
    return tiny_bundle(LABELS, mode="multi-label")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((19, 1, 40, 40)).astype(np.float16)


def test_an_image_has_one_embedding_whatever_images_come_with_it(model: Bundle, images: np.ndarray) -> None:
    together = model.embed(images)
    assert (together.shape, together.dtype) == ((19, 1024), np.float32)
    alone = np.concatenate([model.embed(images[row : row + 1]) for row in range(len(images))])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(model.embed(images[::-1])[::-1], together)
    np.testing.assert_array_equal(model.embed(images), together)


def test_another_batch_size_differs_in_the_last_digits_at_most(model: Bundle, images: np.ndarray) -> None:
    np.testing.assert_allclose(model.embed(images, batch_size=3), model.embed(images), rtol=1e-4, atol=1e-5)


def test_the_classifier_is_computed_from_the_embedding(model: Bundle, images: np.ndarray) -> None:
    classifier = model.network.class_layers[-1]
    with torch.no_grad():
        logits = classifier(torch.from_numpy(model.embed(images)))
    np.testing.assert_allclose(torch.sigmoid(logits).numpy(), predict.predict_images(model, images), atol=1e-5)


def test_no_image_has_no_embedding_and_training_mode_is_left_as_it_was(model: Bundle, images: np.ndarray) -> None:
    assert model.embed(images[:0]).shape == (0, 1024)
    training = replace(model, network=network.build(LABELS, seed=3, dropout=0.5).train())
    training.embed(images[:1])
    assert training.network.training
    assert training.network.features.norm0.num_batches_tracked == 0


@pytest.mark.parametrize("shape", [(2, 3, 40, 40), (2, 1, 32, 32), (1, 40, 40)])
def test_images_of_another_shape_are_refused(model: Bundle, shape: tuple[int, ...]) -> None:
    with pytest.raises(LearningError, match=r"expected images of shape \(n, 1, 40, 40\), got"):
        model.embed(np.zeros(shape, np.float16))


def test_values_that_are_not_finite_are_refused(model: Bundle) -> None:
    with pytest.raises(LearningError, match="not finite"):
        model.embed(np.full((1, 1, 40, 40), np.nan, np.float32))


def test_the_space_is_named_by_weights_and_preprocessing(model: Bundle, tmp_path) -> None:
    saved = bundle.load(bundle.save(model, tmp_path / "model"))
    assert saved.embedding_space == model.embedding_space
    assert saved.embedding_space.startswith(saved.weights_sha256)
    assert f"/{model.preprocessing_version}/40px/0.3,0.2" in model.embedding_space
    others = [
        replace(model, network=network.build(LABELS, seed=4)),
        replace(model, preprocessing_version="0"),
        replace(model, input_mean=0.4),
        replace(model, size_px=48),
    ]
    assert len({model.embedding_space, *(other.embedding_space for other in others)}) == 5


def test_an_ensemble_embeds_as_its_first_member(images: np.ndarray) -> None:
    members = [network.build(LABELS, seed=seed).eval() for seed in (3, 4)]
    ensemble = network.Ensemble(members, [(0.3, 0.2), (0.5, 0.1)]).eval()
    base = tiny_bundle(LABELS, mode="multi-label")
    together = replace(base, network=ensemble, input_mean=0.0, input_std=1.0, network_arguments={"members": 2})
    np.testing.assert_allclose(together.embed(images[:3]), base.embed(images[:3]), atol=1e-6)


def test_color_images_have_a_network_of_three_channels(tmp_path) -> None:
    labels = ("tumor", "stroma")
    color = replace(
        tiny_bundle(labels, mode="multi-label"),
        network=network.build(labels, architecture="densenet121-rgb", seed=1).eval(),
        architecture="densenet121-rgb",
    )
    loaded = bundle.load(bundle.save(color, tmp_path / "model"))
    assert (loaded.architecture, loaded.channels) == ("densenet121-rgb", 3)
    tiles = np.random.default_rng(1).random((2, 3, 40, 40)).astype(np.float16)
    assert loaded.embed(tiles).shape == (2, 1024)
    np.testing.assert_array_equal(predict.predict_images(loaded, tiles), predict.predict_images(color, tiles))
    with pytest.raises(LearningError, match=r"expected images of shape \(n, 3, 40, 40\)"):
        predict.predict_images(loaded, tiles[:, :1])


def test_a_network_that_is_not_registered_is_refused_by_name() -> None:
    with pytest.raises(LearningError, match="expected one of densenet121-gray, densenet121-rgb, got 'resnet'"):
        network.build(LABELS, architecture="resnet")
