"""Steps are taken with as many threads as are faster just now."""

from __future__ import annotations

import pytest
import torch

from dicom_workflow.learning.training.hardware import ThreadTuner


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(tuner: ThreadTuner, clock: list[float], steps: int, seconds: dict[int, float]) -> list[int]:
    taken = []
    for _ in range(steps):
        tuner.begin()
        assert torch.get_num_threads() == tuner.threads
        taken.append(tuner.threads)
        clock[0] += seconds[tuner.threads]
        tuner.end(8)
    return taken


def test_a_fixed_number_is_kept():
    clock = [0.0]
    assert set(run(ThreadTuner(2, clock=lambda: clock[0]), clock, 50, {2: 9.0})) == {2}


def test_all_threads_on_a_quiet_machine_and_one_on_a_busy_one_and_back():
    clock = [0.0]
    tuner = ThreadTuner(0, cpus=2, clock=lambda: clock[0])
    quiet, busy = {2: 0.25, 1: 0.4}, {2: 3.0, 1: 0.5}
    taken = run(tuner, clock, 300, quiet)
    assert taken[:4] == [1, 1, 2, 2]
    assert taken.count(1) < 10
    taken = run(tuner, clock, 300, busy)
    assert 1 in taken[:4]
    assert taken.count(2) < 12
    taken = run(tuner, clock, 600, quiet)
    assert taken[-100:].count(2) > 95


def test_the_first_step_is_not_held_against_anyone():
    clock = [0.0]
    tuner = ThreadTuner(0, cpus=2, clock=lambda: clock[0])
    assert run(tuner, clock, 1, {1: 60.0}) == [1]
    assert run(tuner, clock, 5, {2: 0.5, 1: 0.4}) == [1, 2, 1, 1, 1]
