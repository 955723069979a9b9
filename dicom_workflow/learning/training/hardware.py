"""Precision, kernels, compilation and CPU threads of a training run.

Two threads of one step wait for each other a thousand times. On a quiet machine of two cores that is 1.5 times as fast as one
thread; beside another busy process, which takes one of the cores away in slices, it was seen five times slower than one.
So the speed of both is measured while training goes on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from dicom_workflow.errors import LearningError

_FIRST_PROBE, _LAST_PROBE = 16, 256


class ThreadTuner:
    """Sets torch's number of threads before each step, by the measured speed of earlier steps.

    Parameters
    ----------
    threads : int
        A fixed number of threads; 0 chooses between one and all CPUs as it goes. Only a fixed number gives the same weights
        bit by bit, because sums are split among threads.
    clock : callable
        Seconds, for tests.
    """

    def __init__(self, threads: int, *, cpus: int | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        # One thread goes first: on a busy machine the very first step, with all of them, took 24 seconds.
        self._choices = (threads,) if threads else tuple(sorted({1, cpus or os.cpu_count() or 1}))
        self._clock = clock
        self._speed: dict[int, float] = {}
        self._left_to_probe, self._probe_after = _FIRST_PROBE, _FIRST_PROBE
        self._warm = False
        self.threads = self._choices[0]
        torch.set_num_threads(self.threads)

    def begin(self) -> None:
        """Choose the number of threads for the next step."""
        untried = [choice for choice in self._choices if choice not in self._speed]
        by_speed = sorted(self._speed, key=lambda choice: self._speed[choice])
        if untried:
            chosen = untried[0]
        elif self._left_to_probe <= 0 and len(by_speed) > 1:
            chosen = by_speed[0]
        else:
            chosen = by_speed[-1]
        if chosen != self.threads:
            torch.set_num_threads(chosen)
            self.threads = chosen
        self._started = self._clock()

    def end(self, images: int) -> None:
        """Measure the step that has just ended, of so many images."""
        speed = images / max(self._clock() - self._started, 1e-9)
        if not self._warm:  # the very first step also builds every convolution; it says nothing of the threads
            self._warm = True
            return
        before = max(self._speed, key=lambda choice: self._speed[choice], default=None)
        was_probe = self._left_to_probe <= 0 and self.threads != before
        # A probe counts in full: what is known of the slower choice is old.
        old = self._speed.get(self.threads)
        self._speed[self.threads] = speed if old is None or was_probe else 0.5 * old + 0.5 * speed
        after = max(self._speed, key=lambda choice: self._speed[choice])
        self._left_to_probe -= 1
        if after != before:
            self._probe_after = _FIRST_PROBE
        elif was_probe:
            # Still slower: a slow step costs much, so it is tried again half as often.
            self._probe_after = min(2 * self._probe_after, _LAST_PROBE)
        if was_probe or after != before:
            self._left_to_probe = self._probe_after


PRECISIONS = ("auto", "float32", "bfloat16")


def choose_precision(name: str, device: torch.device) -> str:
    """Return ``bfloat16`` or ``float32``: for ``auto``, bfloat16 where the hardware multiplies it faster than float32.

    On a CPU that is AVX512-BF16 or AMX: there a training step with channels last took 0.44 of the float32 time; without
    them bfloat16 is emulated and slower.

    Raises
    ------
    LearningError
        The name is none of `PRECISIONS`.
    """
    if name not in PRECISIONS:
        raise LearningError(f"precision: expected one of {', '.join(PRECISIONS)}, got {name!r}.")
    if name != "auto":
        return name
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def choose_kernels(*, deterministic: bool) -> None:
    """Choose the fastest GPU kernels, or only deterministic ones."""
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic or torch.are_deterministic_algorithms_enabled():  # the call itself imports a compiler: seconds
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # where cuBLAS reads it, before its first call
        torch.use_deterministic_algorithms(deterministic)


def compiled(network: nn.Module, choice: str, device: torch.device) -> nn.Module:
    """Return the network, compiled where that is faster.

    On a GPU compiling fuses what is bound by memory. On a CPU it took minutes and gained nothing: ``auto`` leaves it there.

    Parameters
    ----------
    network : nn.Module
    choice : {'auto', 'on', 'off'}
    device : torch.device
    """
    if choice == "off" or (choice == "auto" and device.type != "cuda"):
        return network
    # Parts of a batch differ by an image, and each size is compiled anew.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 32)
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]  # the stubs say it is a function


@contextlib.contextmanager
def memory_advice(batch: int, parts: int, size_px: int) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into one that names the flags to change.

    Parameters
    ----------
    batch, parts, size_px : int
        Images of a batch, into how many parts it is cut, and the side of an image.

    Raises
    ------
    LearningError
        The GPU is out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise LearningError(
            f"a batch of {batch} images of {size_px} px in {parts} parts does not fit into the GPU's memory: "
            f"{str(error).splitlines()[0][:160]} Use --microbatches {2 * parts}, which changes little in what is learned, or a "
            "smaller --batch_size or --size_px."
        ) from None
