"""Several processes learn what one learns, and parts of a batch teach what the batch teaches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.learning import write_channel

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.model import network
from dicom_workflow.learning.training import distributed, script_run
from dicom_workflow.learning.training.distributed import Group
from dicom_workflow.learning.training.optimization import Loss

torch.set_num_threads(1)
SETTINGS = {"size_px": 32, "batch_size": 8, "epochs": 2, "threads": 1, "workers": 1, "resamples": 20, "precision": "float32"}


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("channel")
    write_channel(folder, 50)  # 26 to learn from: batches of unequal size
    return folder


def run_script(channel: Path, folder: Path, *launcher: str, **more: object) -> str:
    flags = {**SETTINGS, "channel": channel, "output_dir": folder, "model_dir": folder / "model", "progress": False, **more}
    command = [sys.executable, *launcher, str(script_run.SCRIPT), *(f"--{name}={value}" for name, value in flags.items())]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SM_")} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(600)  # three times, a process imports torch and MONAI
def test_two_processes_learn_what_one_learns(channel, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    together = run_script(channel, tmp_path / "two", *torchrun)
    alone = run_script(channel, tmp_path / "one", microbatches=2)
    two, one = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("two", "one"))
    assert max(float((two[name].float() - one[name].float()).abs().max()) for name in one) < 1e-4
    assert together.count("epoch=2 ") == alone.count("epoch=2 ") == 1, "only the first process prints"
    histories = [
        [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()] for name in ("two", "one")
    ]
    for ours, theirs in zip(*histories, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-4)
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=1e-3)


def test_the_parts_of_a_batch_add_up_to_its_loss_and_its_gradient():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 3, generator=generator, requires_grad=True)
    targets = torch.randint(0, 2, (7, 3), generator=generator).float()
    targets[0], targets[4, 1] = float("nan"), float("nan")
    for loss in (Loss(pos_weight=torch.tensor([1.0, 2.0, 3.0])), Loss("single-label", torch.tensor([1.0, 2.0, 0.5]))):
        wanted = targets if loss.mode == "multi-label" else torch.eye(3)[[0, 1, 2, 2, 1, 0, 2]]
        [whole] = torch.autograd.grad(loss(logits, wanted), logits)
        divisor = loss.divisor(wanted)
        parts = [loss(logits[rows], wanted[rows], divisor) for rows in (slice(0, 3), slice(3, 7))]
        [summed] = torch.autograd.grad(sum(parts), logits)
        assert sum(parts).item() == pytest.approx(loss(logits, wanted).item(), rel=1e-6)
        torch.testing.assert_close(summed, whole)


def test_running_statistics_move_once_per_step_by_the_mean_of_the_parts():
    layer = torch.nn.BatchNorm2d(2)
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(2)) * 3 + 1
    statistics = distributed.Statistics(layer, 2)
    statistics.begin()
    for part in images.split([2, 4]):
        layer(part)
        statistics.add()
    statistics.end(lambda total: total, step=0)
    expected = np.mean([part.mean(dim=(0, 2, 3)).numpy() for part in images.split([2, 4])], axis=0)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * expected, rtol=1e-5)
    variance = np.mean([part.var(dim=(0, 2, 3)).numpy() for part in images.split([2, 4])], axis=0)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * variance, rtol=1e-5)
    assert layer.num_batches_tracked.item() == 1


def test_one_part_leaves_normalization_as_torch_has_it():
    layer, same = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    statistics = distributed.Statistics(layer, 1)
    statistics.begin()
    layer(images)
    statistics.add()
    statistics.end(lambda total: total, step=0)
    same(images)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(layer.buffers(), same.buffers(), strict=True))


def test_each_process_has_its_share_with_the_numbers_of_the_whole():
    shares = [Group(rank=rank, size=2).share(["a", "b", "c", "d"]) for rank in (0, 1)]
    assert shares == [[(0, "a"), (1, "b")], [(2, "c"), (3, "d")]]


@pytest.mark.parametrize(
    ("wanted", "processes", "smallest", "expected"),
    [(0, 1, 2, 1), (0, 4, 8, 4), (6, 2, 12, 6), (3, 2, 99, "multiple of the 2 processes"), (4, 1, 7, "at least 2 images")],
)
def test_parts_fit_processes_and_batches(wanted, processes, smallest, expected):
    if isinstance(expected, int):
        assert distributed.count_parts(wanted, processes=processes, smallest_batch=smallest) == expected
    else:
        with pytest.raises(LearningError, match=expected):
            distributed.count_parts(wanted, processes=processes, smallest_batch=smallest)


def test_an_ensemble_answers_the_mean_of_its_members_each_with_its_own_normalization():
    first, second = (network.build(("a", "b"), seed=seed).eval() for seed in (1, 2))
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    together = network.Ensemble([first, second], [(0.4, 0.2), (0.5, 0.3)]).eval()
    with torch.inference_mode():
        expected = (first((images - 0.4) / 0.2) + second((images - 0.5) / 0.3)) / 2
        torch.testing.assert_close(together(images), expected)
    again = network.build(("a", "b"), members=2)
    again.load_state_dict(together.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.eval()(images), together(images))
