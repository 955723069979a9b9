"""The training script's own loop under a watch: what its steps cost, and what the network alone would have cost beside each."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "source"))

import monai_dicom

from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.learning.data.images import TrainingSet
from dicom_workflow.learning.model import network
from dicom_workflow.learning.training import hardware, optimization
from dicom_workflow.learning.training.distributed import Group
from dicom_workflow.learning.training.optimization import Loss

LABELS = load_label_set("chest").labels


class Watch:
    """Takes the CPU time of each step of the script, from asking for its images to its last update, while it is entered.

    Parameters
    ----------
    after_step : callable, optional
        Called between steps, outside what is timed.
    """

    def __init__(self, after_step: Callable[[], Any] = lambda: None) -> None:
        self.seconds: list[float] = []
        self._after_step, self._stack = after_step, contextlib.ExitStack()

    def __enter__(self) -> Watch:
        watch = self

        class TimedTuner(hardware.ThreadTuner):
            def begin(self) -> None:
                super().begin()
                self.began = time.process_time()

            def end(self, images: int) -> None:
                watch.seconds.append(time.process_time() - self.began)
                super().end(images)
                watch._after_step()

        before, hardware.ThreadTuner = hardware.ThreadTuner, TimedTuner  # type: ignore[misc]
        self._stack.callback(setattr, hardware, "ThreadTuner", before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()


@contextlib.contextmanager
def results_of(data: TrainingSet, *, device: str = "cpu", threads: int = 1, **settings: Any) -> Iterator[Path]:
    """Train with the script, and give the folder of what it leaves until the context ends; what it prints is dropped.

    Parameters
    ----------
    data : TrainingSet
        Without validation and test images, so that an epoch is its steps alone.
    **settings
        Fields of the script's `Config`.
    """
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        config = monai_dicom.Config(
            model_dir=where / "model",
            output_dir=where,
            checkpoint_dir=str(where / "checkpoints"),
            resamples=0,
            device=device,
            threads=threads,
            **settings,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            code = monai_dicom.learn(config, Group(device=network.choose_device(device)), data)
        if code:
            raise RuntimeError(f"expected the training script to end with code 0, got {code}.")
        yield where


class BareStep:
    """One training step of the network on tensors that lie ready: forward, loss, backward, optimizer, and nothing else.

    Parameters
    ----------
    batch : int
    size_px : int
    device : str
    compiled : str
        As the script's `--compile`.
    """

    def __init__(self, batch: int, size_px: int, *, device: str = "cpu", compiled: str = "off") -> None:
        self.device = network.choose_device(device)
        self.precision = hardware.choose_precision("auto", self.device)
        made = network.build(LABELS, seed=0).to(self.device)
        model: nn.Module = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self.forward = hardware.compiled(model, compiled, self.device)
        self.optimizer = torch.optim.AdamW(optimization.parameter_groups(model, 0.01), lr=1e-3, fused=True)
        draws = torch.Generator().manual_seed(0)
        images = torch.randn(batch, 1, size_px, size_px, generator=draws)
        self.images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        self.wanted = (torch.rand(batch, len(LABELS), generator=draws) < 0.3).float().to(self.device)
        self.loss_of = Loss()

    def __call__(self) -> None:
        with network.autocast(self.device, self.precision):
            logits = self.forward(self.images)
        loss = self.loss_of(logits.float(), self.wanted)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
