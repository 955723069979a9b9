"""The training benchmarks run to their last line, on images too small for their figures to mean anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import made_radiographs
import pytest
import reference_recipe
import torch
import training
import training_gpu

RUN_BOTH = """
import torch, training, training_gpu
torch.set_num_threads(1)
training.main(["--tiny"])
print()
assert training_gpu.main(["--device", "cpu", "--tiny"]) == 0
"""


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, Any]]:
    """The last line of each benchmark, from a process of its own: what reads the reference's files changes its process."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(training.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", RUN_BOTH], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(part.splitlines()[-1]) for part in done.stdout.split("\n\n")]
    return {line["benchmark"]: line for line in lines}


def test_training_tells_every_figure_and_whether_its_bar_holds(said):
    figures = said["training"]
    bars = {*training.AT_LEAST, *training.AT_MOST}
    assert set(figures["holds"]) == bars
    assert all(figures[name] > 0 for name in bars - {"rss_growth_mb"})
    assert all(figures[f"twenty_epoch_ratio_{name}"] > 0 for name in ("raw", "jpegls", "j2k"))
    assert figures["reader"] in ("itk", "pydicom")


def test_training_on_a_gpu_runs_on_a_cpu_too(said):
    figures = said["training_gpu"]
    assert [(row["how"], row["fed_from"]) for row in figures["runs"]] == [("eager", "resident"), ("eager", "pinned")]
    assert all(row["images_per_second"] > 0 and row["model_share"] > 0 for row in figures["runs"])
    assert figures["ratio_to_reference_raw_32"] > 0
    assert figures["holds"]["images_per_second_eager_224"] is None, "said of an H200 only"


def test_a_bar_holds_from_its_figure_on():
    figures = {**training.AT_LEAST, **training.AT_MOST}
    assert all(training.judged(figures).values())
    missed = training.judged({**figures, "epoch_ratio_raw": 7.99, "rss_growth_mb": 50.01})
    assert [name for name, holds in missed.items() if not holds] == ["epoch_ratio_raw", "rss_growth_mb"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_training_on_a_gpu_says_that_there_is_none(capsys):
    assert training_gpu.main([]) == 2
    assert "expected an NVIDIA GPU that torch can use, found none" in capsys.readouterr().err


def test_the_limit_is_bandwidth_over_bytes_per_image(monkeypatch):
    monkeypatch.setattr(training_gpu, "name_of", lambda device: "NVIDIA H200")
    assert round(training_gpu.limit_of(224, "eager", "cuda")) == 7512
    assert round(training_gpu.limit_of(224, "compiled", "cuda")) == 11215
    assert round(training_gpu.limit_of(512, "eager", "cuda")) == 1438
    monkeypatch.setattr(training_gpu, "name_of", lambda device: "a card nobody knows")
    assert training_gpu.limit_of(224, "eager", "cuda") is None


def test_the_reference_recipe_sees_one_channel_of_its_own_size_and_turns_it(monkeypatch, tmp_path):
    monkeypatch.setattr(reference_recipe, "reader", lambda: "pydicom")  # ITK's takes long to import
    path = made_radiographs.write(tmp_path / "raw", "raw", images=1, distinct=1, rows=120, columns=100)[0]
    plain, changed = reference_recipe.transforms(augmented=False)(path), reference_recipe.transforms(augmented=True, seed=3)
    assert plain.shape == (1, 108, 96)
    assert 0 <= plain.min() < plain.max() <= 1
    first = [changed(path) for _ in range(6)]
    again = reference_recipe.transforms(augmented=True, seed=3)
    assert not all(torch.equal(image, plain) for image in first)
    assert all(torch.equal(image, again(path)) for image in first), "a seed fixes all draws"
