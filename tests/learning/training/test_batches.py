"""Training batches: the same from memory, from the device and from the thread that reads ahead for a GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dicom_workflow.learning.training.batches import Augmentation, BatchLoader

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(5).random((9, 1, 8, 8)).astype(np.float16)


def plan(*parts: tuple[int, ...]) -> Iterator[tuple[np.ndarray, torch.Generator]]:
    return ((np.array(rows), torch.Generator().manual_seed(number)) for number, rows in enumerate(parts))


def batch_loader(*, resident: bool) -> BatchLoader:
    return BatchLoader(IMAGES, device=CPU, augment=Augmentation(), mean=0.5, std=0.25, resident=resident)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "batch-loader"]


@pytest.fixture
def unpinned(monkeypatch):
    """Stand in for pinned memory, which only a machine with a GPU has."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)


def test_images_on_the_device_give_the_batches_of_those_in_memory():
    parts = ((3, 1), (8, 0, 2))
    for ours, theirs in zip(
        batch_loader(resident=True).batches(plan(*parts)), batch_loader(resident=False).batches(plan(*parts)), strict=True
    ):
        assert torch.equal(ours, theirs)
        assert ours.is_contiguous(memory_format=torch.channels_last)


def test_what_is_read_ahead_comes_in_the_order_of_the_plan(unpinned):
    parts = [(number % 9, (number + 4) % 9) for number in range(20)]
    sent = list(batch_loader(resident=False)._sent(IMAGES, plan(*parts)))
    assert [generator.initial_seed() for _, generator in sent] == list(range(20))
    for rows, (batch, _) in zip(parts, sent, strict=True):
        assert np.array_equal(batch.numpy(), IMAGES[list(rows)])
    assert not readers()


def test_a_run_that_stops_in_the_middle_leaves_no_reader_behind(unpinned):
    stream = batch_loader(resident=False)._sent(IMAGES, plan(*[(0, 1)] * 50))
    next(stream)
    assert readers()
    stream.close()
    assert not readers()


def test_an_error_while_reading_ahead_is_raised_where_the_batch_is_wanted(unpinned):
    stream = batch_loader(resident=False)._sent(IMAGES, plan((0, 1), (2, 99)))
    next(stream)
    with pytest.raises(IndexError, match="99"):
        next(stream)
    assert not readers()
