"""Data-parallel training: sharing batches among processes, and combining their results.

A step's batch is cut into parts. Each part goes through the network by itself and is normalized by its own statistics; what the
parts teach is added up, and one step is taken. Whether one process takes the parts in turn (gradient accumulation) or several
take one each (data parallel), the sums are the same, so the result is too, but for the rounding of sums.

`torchrun` starts the processes and says in the environment which one this is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.model.network import choose_device

_TIMEOUT = timedelta(hours=12)
"""For a process to wait for another, which may still decode images or evaluate a fold. `torchrun` sees at once if one died."""


@dataclass(frozen=True)
class Group:
    """The processes of one training run, seen from one of them."""

    rank: int = 0
    """Which one this is; the first one prints and writes."""
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0

    def share(self, parts: Sequence[Any]) -> list[tuple[int, Any]]:
        """Return this process's parts of a batch, each with its number among all of them."""
        each = len(parts) // self.size
        return list(enumerate(parts))[self.rank * each : (self.rank + 1) * each]

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes of a tensor, of any shape and float dtype, that has one shape in all of them."""
        if self.size > 1:
            values = values.clone()
            torch.distributed.all_reduce(values)
        return values

    def largest(self, number: int) -> int:
        """Return the largest number over all processes, each of which calls it at the same place."""
        if self.size == 1:
            return number
        value = torch.tensor(number)
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
        return int(value.item())

    def gathered(self, mine: Tensor, rows: int, columns: int) -> Tensor:
        """Return all rows of a table of which each process has every `size`-th, starting with its rank.

        Parameters
        ----------
        mine : Tensor, shape (rows of this process, columns), float32
        rows, columns : int
            Of the whole table.

        Returns
        -------
        Tensor, shape (rows, columns), float32
        """
        if self.size == 1:
            return mine.reshape(rows, columns)
        table = torch.zeros(rows, columns)
        table[self.rank :: self.size] = mine.reshape(-1, columns)
        return self.sum(table)

    @contextlib.contextmanager
    def from_first(self, path: Path) -> Iterator[Path | None]:
        """Yield a file of the first process's machine in every process; None when there is no such file.

        Only the first process writes files, and others may run on machines that do not see them.
        """
        if self.size == 1:
            yield path if path.is_file() else None
            return
        mine = path.read_bytes() if self.is_first and path.is_file() else None
        size = torch.tensor(-1 if mine is None else len(mine))
        torch.distributed.broadcast(size, 0)
        if size < 0:
            yield None
            return
        data = (
            torch.empty(int(size), dtype=torch.uint8) if mine is None else torch.frombuffer(bytearray(mine), dtype=torch.uint8)
        )
        torch.distributed.broadcast(data, 0)
        if self.is_first:
            yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, path.name)
            copy.write_bytes(data.numpy().tobytes())
            yield copy

    def print(self, *lines: str) -> None:
        """Print lines, once for all processes."""
        if self.is_first:
            for line in lines:
                print(line, flush=True)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return the network for the forward pass; its backward pass adds up the gradients of all processes."""
        if self.size == 1:
            return network
        # Statistics of normalization are not handed around by torch: `Statistics` averages them over all parts.
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices, forward_sync_buffers=False)

    def without_sum(self, network: nn.Module, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a part that is not this process's last: gradients are only summed once per step."""
        return contextlib.nullcontext() if self.size == 1 or is_last else network.no_sync()  # type: ignore[operator]


@contextlib.contextmanager
def open_group(device: str = "auto") -> Iterator[Group]:
    """Join the processes that `torchrun` started, or be the only one; inside another such context, stay in its group.

    Parameters
    ----------
    device : str
        As for `network.choose_device`; with several processes on GPUs, each takes the one of its local rank.

    Raises
    ------
    LearningError
        More processes than GPUs on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield Group(device=chosen)
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise LearningError(
                f"torchrun: expected at most {torch.cuda.device_count()} processes on this machine, one for each GPU, "
                f"got at least {local + 1}. Use --nproc_per_node={torch.cuda.device_count()}."
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if torch.distributed.is_initialized():  # processes that have parted do not find each other again
        yield Group(rank=torch.distributed.get_rank(), size=size, device=chosen)
        return
    # Small messages between processors go through gloo, so that asking for a stop does not wait for the GPU.
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Group(rank=torch.distributed.get_rank(), size=size, device=chosen)
    finally:
        torch.distributed.destroy_process_group()


class StopSignals:
    """SIGTERM and SIGINT as requests to stop after the running step, instead of an end at once."""

    def __init__(self) -> None:
        self._received: list[int] = []

    @property
    def received(self) -> int:
        """The highest number of the signals that this process received; 0 for none."""
        return max(self._received, default=0)

    @contextlib.contextmanager
    def listening(self, *, stop_with_stdin: bool) -> Iterator[None]:
        """Collect signals while the context lasts.

        Parameters
        ----------
        stop_with_stdin : bool
            Take the end of standard input for SIGTERM: the process that started this one is gone.
        """
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        if stop_with_stdin:
            threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self._received.append(number)


def _stop_when_stdin_closes() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


class Statistics:
    """Running means and variances of normalization, when each batch goes through the network in several parts.

    Every part is normalized by itself. A step then moves the running statistics once, by the mean of its parts, wherever the
    parts were computed: so one process and several keep the same.

    Parameters
    ----------
    network : nn.Module
        Its normalization layers are told to leave each part's own statistics behind.
    parts : int
        Of a step, in all processes together.
    """

    def __init__(self, network: nn.Module, parts: int) -> None:
        layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        self._layers = layers if parts > 1 else []  # the whole batch's statistics need no help
        self._parts = parts
        self._momentum = self._layers[0].momentum if self._layers else 0.0
        for layer in self._layers:
            layer.momentum = 1.0
        self._running = [
            buffer for layer in self._layers for buffer in (layer.running_mean, layer.running_var) if buffer is not None
        ]
        self._sums = [torch.zeros_like(buffer) for buffer in self._running]

    def begin(self) -> None:
        """Keep the statistics that earlier steps left."""
        self._kept = [buffer.clone() for buffer in self._running]
        if self._sums:
            torch._foreach_zero_(self._sums)

    @torch.no_grad()
    def add(self) -> None:
        """Add the statistics of the part that has just gone through the network."""
        if self._sums:
            torch._foreach_add_(self._sums, self._running)

    @torch.no_grad()
    def end(self, add_up: Callable[[Tensor], Tensor], *, step: int) -> None:
        """Move the running statistics of normalization by the mean of the parts.

        Parameters
        ----------
        add_up : callable
            Sums a Tensor, shape (values,), float32, over processes: `Group.sum`.
        step : int
            0-based number of the step in the run.
        """
        if not self._layers:
            return
        total = add_up(torch.cat([part.flatten() for part in self._sums])) / self._parts
        sizes = [kept.numel() for kept in self._kept]
        means = [mean.view_as(kept) for mean, kept in zip(total.split(sizes), self._kept, strict=True)]
        torch._foreach_lerp_(self._kept, means, self._momentum or 0.0)
        torch._foreach_copy_(self._running, self._kept)
        for layer in self._layers:
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.fill_(step + 1)


def count_parts(wanted: int, *, processes: int, smallest_batch: int) -> int:
    """Return into how many parts each batch is cut.

    Parameters
    ----------
    wanted : int
        What the user asked for; 0 for one part per process.
    processes : int
    smallest_batch : int
        Images of the smallest batch of an epoch.

    Raises
    ------
    LearningError
        The processes cannot share them evenly, or a part would have fewer than two images, which cannot be normalized.
    """
    parts = wanted or processes
    if parts % processes:
        raise LearningError(f"--microbatches: expected a multiple of the {processes} processes, got {parts}.")
    if smallest_batch < 2 * parts:
        raise LearningError(
            f"--microbatches: expected at least 2 images in each part of a batch, got batches of {smallest_batch} in {parts} "
            "parts. Use a larger --batch_size or fewer parts or processes."
        )
    return parts
