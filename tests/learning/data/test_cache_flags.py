"""The script's flags cache_dir, cache_gb and reduced: what they do to files and pixels, and what they leave as it is."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom.uid import JPEG2000Lossless
from safetensors.torch import load_file
from support.learning import write_channel

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.learning.data import images
from dicom_workflow.learning.data.cache.folder import load_cached
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle
from dicom_workflow.learning.training import script_run
from dicom_workflow.learning.training.script_run import TrainingResult

torch.set_num_threads(1)
SIDE, IMAGES = 32, 40
SMALL = {
    "size_px": SIDE, "batch_size": 8, "threads": 1, "workers": 1, "resamples": 0, "precision": "float32", "epochs": 1,
    "calibration": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel whose images are JPEG 2000 and four times as large as the network's input."""
    folder = tmp_path_factory.mktemp("channel")
    for line in write_channel(folder, IMAGES):
        path = folder / line["image"]
        dataset = read_dataset(path)
        values = np.kron(dataset.pixel_array, np.ones((4, 4), np.uint8))
        dataset.Rows, dataset.Columns = values.shape
        dataset.PixelData = np.clip(values + np.random.default_rng(0).normal(0, 9, values.shape), 0, 255).astype("u1").tobytes()
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
    return folder


def run(channel: Path, folder: Path, **flags: Any) -> TrainingResult:
    return script_run.run_training(channel, folder, **{**SMALL, "reduced": "true", **flags})


@pytest.fixture(scope="module")
def first(channel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    """A run of lower resolutions that makes a cache, and the cache."""
    folder = tmp_path_factory.mktemp("first")
    return run(channel, folder / "run", cache_dir=folder / "cache"), folder / "cache"


def packs(folder: Path) -> list[tuple[str, int, int]]:
    """Name, inode and size of each pack: another inode is another file."""
    return [(path.name, path.stat().st_ino, path.stat().st_size) for path in sorted(folder.glob("*.images"))]


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(result.model_dir / "model.safetensors")
    return found


def assert_same_weights(one: TrainingResult, other: TrainingResult) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_cache_dir_keeps_one_image_per_file_at_the_resolution_asked_for(
    first: tuple[TrainingResult, Path], channel: Path
) -> None:
    _, folder = first
    files = [sample.image for sample in read_channel(channel).samples]
    assert len(packs(folder)) == 1
    found = load_cached(files, folder, size_px=SIDE, version=pixels.REDUCED_VERSION, decode=refuse, progress=False)
    assert (len(found.images), found.decoded) == (IMAGES, 0)
    lower, whole = (
        np.stack([images.decode(path, SIDE, version) for path in files])
        for version in (pixels.REDUCED_VERSION, pixels.PREPROCESSING_VERSION)
    )
    np.testing.assert_array_equal(found.images, lower)
    assert not np.array_equal(lower, whole)


def refuse(path: Path, size_px: int, version: str) -> np.ndarray:
    raise AssertionError(f"{path} was decoded again")


def test_a_bundle_of_a_reduced_run_predicts_through_the_same_path(first: tuple[TrainingResult, Path], channel: Path) -> None:
    result, _ = first
    trained = bundle.load(result.model_dir)
    assert trained.preprocessing_version == pixels.REDUCED_VERSION
    assert trained.provenance["parameters"]["reduced"] is True
    seen: list[torch.Tensor] = []
    trained.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    written = {line["image"]: line for line in map(json.loads, result.predictions.read_text().splitlines())}
    files = [sample.image for sample in read_channel(channel).samples if sample.image.name in written]
    assert len(files) == len(written) > 0
    predicted = predict.predict(trained, files)
    lower = np.stack([images.decode(path, SIDE, pixels.REDUCED_VERSION) for path in files])
    np.testing.assert_array_equal(
        torch.cat(seen).numpy(), ((torch.from_numpy(lower).float() - trained.input_mean) / trained.input_std).numpy()
    )
    for path, probabilities in zip(files, predicted, strict=True):
        assert probabilities == pytest.approx(written[path.name]["probabilities"], abs=2e-6)


def test_the_next_run_decodes_nothing_and_learns_the_same(
    first: tuple[TrainingResult, Path], channel: Path, tmp_path: Path
) -> None:
    before, folder = first
    kept = packs(folder)
    again = run(channel, tmp_path / "run", cache_dir=folder)
    assert packs(folder) == kept
    assert_same_weights(before, again)


def test_a_run_whose_cache_may_not_grow_says_so_and_learns_the_same_without(
    first: tuple[TrainingResult, Path], channel: Path, tmp_path: Path
) -> None:
    result = run(channel, tmp_path / "run", cache_gb=1e-6)
    assert "not enough space for 40 images of 32 px" in result.log.read_text()
    assert packs(tmp_path / "image-cache") == []  # beside the run's folder, unless another one is named
    assert_same_weights(first[0], result)


@pytest.mark.parametrize(("flags", "expected"), [
    ([], "{beside}/image-cache"),
    (["--cache_dir="], ""),
    (["--cache_dir=/elsewhere"], "/elsewhere"),
])  # fmt: skip
def test_cache_dir_is_beside_the_output_unless_it_is_said(tmp_path: Path, flags: list[str], expected: str) -> None:
    specification = importlib.util.spec_from_file_location("monai_dicom_flags", script_run.SCRIPT)
    assert specification
    assert specification.loader
    script = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = script
    specification.loader.exec_module(script)
    try:
        config = script.parse([f"--output_dir={tmp_path / 'run'}", *flags], {})
    finally:
        del sys.modules[specification.name]
    assert config.cache_dir == expected.format(beside=tmp_path)
    assert (config.cache_gb, config.reduced) == (20.0, False)
