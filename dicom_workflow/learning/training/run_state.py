"""Where a training run stands, kept on disk so that it goes on after whatever ends it.

A run is a row of steps, and each of them follows from the seed, the epoch and the step alone: the order of images, their
random changes, dropout, the learning rate. So a checkpoint needs no state of a random generator, of a sampler or of a schedule;
weights, moments of the optimizer and a place are enough, and a run that was killed ends with the same weights bit by bit.

Only the first of several processes writes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.training import checkpoint
from dicom_workflow.learning.training.distributed import Group

_PLACE = ("epoch", "step", "loss_sum", "history", "best")
"""What a checkpoint says of where the run stands, beside its tensors."""


@dataclass
class Journal:
    """The place, the history and the checkpoints of one run."""

    output_dir: Path
    """Gets ``history.jsonl``, one line per epoch."""
    checkpoint_dir: Path
    """Gets ``last.safetensors``, where the run goes on, and ``best.safetensors``, the averaged weights of the best epoch."""
    fingerprint: Mapping[str, Any]
    """Everything that the weights follow from; a checkpoint of another fingerprint is refused."""
    networks: Mapping[str, nn.Module]
    """`network`, which learns, and `average`, which is judged."""
    optimizer: torch.optim.Optimizer
    group: Group
    every_seconds: float = math.inf
    """How long at most between two checkpoints within an epoch."""
    epoch: int = 0
    """0-based, the one that runs."""
    step: int = 0
    """0-based, the one that comes next in it."""
    loss_sum: float = 0.0
    """Of the steps before it, over all processes."""
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    """`epoch`, `validation_auroc` and the `score` that chose it; empty before the first epoch's end."""
    stopped_by: int = 0
    """The signal that asked for an end, in any of the processes."""

    def __post_init__(self) -> None:
        self._saved_at = time.monotonic()
        self._signals: list[int] = []

    @property
    def last_path(self) -> Path:
        """The checkpoint that a run goes on from."""
        return self.checkpoint_dir / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """The averaged weights of the best epoch so far."""
        return self.checkpoint_dir / "best.safetensors"

    def open(self, *, resume: bool) -> bool:
        """Go to where the last checkpoint was, if there is one and it is wanted; say whether there was.

        Raises
        ------
        LearningError
            The checkpoint cannot be read, or belongs to a run with other settings or data.
        """
        if not resume and self.last_path.is_file():
            self.group.print(f"starting anew: an earlier run's checkpoints in {self.checkpoint_dir} are replaced")
        with self.group.from_first(self.last_path) if resume else contextlib.nullcontext() as last:
            state = checkpoint.load(last, self.networks, self.optimizer) if last else {}
        if last:
            before = state.get("fingerprint", {})
            if not state.keys() >= set(_PLACE):
                raise LearningError(f"{self.last_path}: expected {', '.join(_PLACE)} in the checkpoint. Use --resume false.")
            different = sorted(key for key in self.fingerprint if before.get(key) != self.fingerprint[key])
            if different:
                raise LearningError(
                    f"{self.last_path}: expected a checkpoint of this run, but {', '.join(different)} differ. "
                    "Use the same settings and data, another --checkpoint_dir, or --resume false."
                )
            for name in _PLACE:
                setattr(self, name, state[name])
        if self.group.is_first:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps(line) + "\n" for line in self.history)
            self._history_path.write_text(text, encoding="utf-8")
        return last is not None

    def is_spent(self, patience: int) -> bool:
        """Say whether the last `patience` epochs were all no better than the best before them."""
        return 0 < patience < len(self.history) and not any(line["is_best"] for line in self.history[-patience:])

    def is_due(self) -> bool:
        """Say whether to `end_step` here: it is time to, or a stop was asked for, in any of the processes."""
        asked = max(self._signals, default=0)
        is_time = time.monotonic() - self._saved_at > self.every_seconds
        found = self.group.largest(2 * asked + int(is_time))
        self.stopped_by = found // 2
        return bool(found)

    def end_step(self, step: int, loss_sum: Tensor) -> None:
        """Keep a checkpoint behind a step.

        Parameters
        ----------
        step : int
            0-based, in its epoch.
        loss_sum : Tensor, scalar
            Of the steps of this epoch in this process.
        """
        self.step, self.loss_sum = step + 1, self.group.sum(loss_sum.double().cpu()).item()
        self.save()

    def end_epoch(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Add an epoch to the history and keep its weights; return its line, with `is_best`.

        The best epoch has the highest validation AUROC; where there is none, because a label has one value only, the lowest
        validation loss; without validation images, the newest is the best.
        """
        auroc, loss = line.get("validation_auroc"), line.get("validation_loss")
        score = auroc if auroc is not None else -loss if loss is not None else float(self.epoch)
        is_best = not self.best or score > self.best["score"]
        line = {**line, "is_best": is_best}
        self.history.append(line)
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        if is_best:
            self.best = {"epoch": self.epoch, "validation_auroc": line.get("validation_auroc"), "score": score}
            if self.group.is_first:
                about = {"epoch": self.epoch, "fingerprint": dict(self.fingerprint)}
                checkpoint.save(self.best_path, {"average": self.networks["average"]}, state=about)
        self.save()
        if self.group.is_first:
            with self._history_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        return line

    def save(self) -> None:
        """Write the checkpoint."""
        if self.group.is_first:
            state = {name: getattr(self, name) for name in (*_PLACE, "fingerprint")}
            checkpoint.save(self.last_path, self.networks, self.optimizer, state=state)
        self._saved_at = time.monotonic()

    def load_best(self) -> None:
        """Put the averaged weights of the best epoch into `average`."""
        with self.group.from_first(self.best_path) as best:
            if best is None:
                raise LearningError(f"{self.best_path}: expected the weights of epoch {self.best['epoch']}. Train again.")
            checkpoint.load(best, {"average": self.networks["average"]})

    @property
    def _history_path(self) -> Path:
        return self.output_dir / "history.jsonl"

    @contextlib.contextmanager
    def listening(self, *, stop_with_stdin: bool) -> Iterator[None]:
        """Take SIGTERM and SIGINT as wishes to stop after the running step, while the context lasts.

        Parameters
        ----------
        stop_with_stdin : bool
            Take the end of standard input for one too: the process that started this one is gone.
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
        self._signals.append(number)


def _stop_when_stdin_closes() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def seeded(*numbers: int) -> torch.Generator:
    """Return a random generator that depends on these numbers alone."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
