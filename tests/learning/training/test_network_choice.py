"""The network that `--network` names: data, weights, bundle, exports and predictions follow it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.learning import LABELS, dicom_file, entry, write_lines

from dicom_workflow.errors import DatasetError, LearningError
from dicom_workflow.learning.data import decoder_pool, images
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.inference import predict, saliency
from dicom_workflow.learning.model import architectures, bundle, network
from dicom_workflow.learning.training.distributed import open_group

RGB = "densenet121-rgb"
SIDE = 32


def colored(path: Path, size_px: int, version: str = "") -> np.ndarray:
    """A stand-in for the decoder of a color modality: another gray in each channel."""
    gray = images.decode(path, size_px, version)
    return np.concatenate([gray, gray / 2, gray / 4]).astype(np.float16)


@pytest.fixture(autouse=True)
def _inductor_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # an optimizer's first step sets it otherwise, for good


@pytest.fixture
def channel(tmp_path) -> Path:
    """Two training images, one positive for each label but the last, which nothing teaches."""
    folder = tmp_path / "channel"
    lines = [entry(0, ["Edema"], "train"), entry(2, ["Fracture"], "train")]
    for number, line in enumerate(lines):
        dicom_file(folder / line["image"], np.full((40, 40), 60 + 90 * number) + np.arange(40))
    write_lines(folder / "train.manifest", lines)
    return folder


def flags(channel: Path, folder: Path, **further: object) -> list[str]:
    values = {"channel": channel, "output_dir": folder, "model_dir": folder / "model", "size_px": SIDE, "batch_size": 2}
    values |= {"epochs": 1, "threads": 1, "workers": 1, "resamples": 0, "progress": False, "cache_dir": ""}
    return [f"--{name}={value}" for name, value in {**values, "network": RGB, **further}.items()]


def trained_in_color(script, channel: Path, folder: Path, **further: object) -> int:
    config = script.parse(flags(channel, folder, **further), {})
    data = images.read_training_set(
        read_channel(channel), size_px=SIDE, channels=3, decode=colored, progress=False, cache_dir=folder / "cache"
    )
    assert data.images.shape == (2, 3, SIDE, SIDE)
    with open_group("cpu") as group:
        return script.learn(config, group, data.taught_labels_only(config.mode))


def test_a_color_network_is_trained_resumed_saved_and_used(script, channel, tmp_path):
    run = tmp_path / "run"
    assert trained_in_color(script, channel, run) == 0
    assert trained_in_color(script, channel, run, epochs=2, resume=True) == 0
    assert [json.loads(line)["epoch"] for line in (run / "history.jsonl").read_text().splitlines()] == [1, 2]
    made = bundle.load(run / "model")
    assert (made.architecture, made.channels, made.labels) == (RGB, 3, LABELS[:2])
    assert made.network.features.conv0.weight.shape[1] == 3
    assert made.provenance["parameters"]["network"] == RGB
    configs = json.loads((run / "model" / "configs" / "metadata.json").read_text())
    assert configs["network_data_format"]["inputs"]["image"]["num_channels"] == 3
    shown = np.stack([colored(sample.image, SIDE) for sample in read_channel(channel).samples])
    assert predict.predict_images(made, shown).shape == (2, 2)
    assert made.embed(shown).shape == (2, 1024)
    with pytest.raises(LearningError, match="not a checkpoint of this network"):
        script.train(script.parse(flags(channel, run, resume=True, network="densenet121-gray"), {}))


def test_images_of_another_number_of_channels_are_refused_in_words(script, channel, tmp_path, capsys):
    assert script.main(flags(channel, tmp_path / "run")) == 1
    said = "images are decoded to 1 channels and the network takes 3. Choose another --network."
    assert f"error: {said}" in capsys.readouterr().err
    samples = read_channel(channel).samples
    for cache_dir in (None, tmp_path / "cache"):
        with pytest.raises(DatasetError, match=said):
            images.load_images(samples, size_px=SIDE, channels=3, progress=False, cache_dir=cache_dir)
    jobs = [decoder_pool.Job(sample.image, b"") for sample in samples]
    with pytest.raises(DatasetError, match=said):
        list(decoder_pool.decode_all(jobs, SIDE, "1", images.decode, channels=3, workers=1, processes=True))


def test_a_gray_image_is_not_predicted_or_explained_by_a_color_network(script, channel, tmp_path):
    trained_in_color(script, channel, tmp_path)
    made, [path, _] = bundle.load(tmp_path / "model"), [sample.image for sample in read_channel(channel).samples]
    said = rf"{RGB}: expected images of shape \(n, 3, 32, 32\), got \(1, 1, 32, 32\)"
    for use in (lambda: predict.predict(made, [path]), lambda: saliency.explain(made, path, "Edema")):
        with pytest.raises(LearningError, match=said):
            use()


def test_the_map_of_a_color_network_covers_all_channels(script, channel, tmp_path, monkeypatch):
    trained_in_color(script, channel, tmp_path)
    made, [path, _] = bundle.load(tmp_path / "model"), [sample.image for sample in read_channel(channel).samples]
    monkeypatch.setattr(saliency, "decode", lambda dataset, size_px, version: colored(path, size_px, version))
    for method in saliency.METHODS:
        assert saliency.explain(made, path, "Edema", method=method).values.shape == (40, 40)


@pytest.mark.parametrize("name", architectures.ARCHITECTURES)
def test_every_network_is_what_its_entry_says(name):
    entry_of = architectures.architecture_of(name)
    made = network.build(LABELS, architecture=name, seed=0)
    images_made = np.zeros((1, entry_of.channels, SIDE, SIDE), np.float16)
    assert network.logits_of(made, images_made, mean=0, std=1).shape == (1, len(LABELS))
    assert network.embeddings_of(made, images_made, mean=0, std=1).shape == (1, made.class_layers[-1].in_features)
    assert {layer.name for layer in entry_of.saliency_layers} <= {path for path, _ in made.named_modules()}
