"""The state of a training run, and its checkpoints.

Each step of a run follows from the seed, the epoch and the step alone: the order of images, their random changes, dropout, the
learning rate. So a checkpoint needs no state of a random generator, of a sampler or of a schedule: weights, moments of the
optimizer and the position are enough, and a run that was killed ends with the same weights, bit by bit.

A checkpoint is one ``.safetensors`` file: tensors of network and optimizer, and in its header the JSON state (epoch, step,
history, settings). The file is replaced in one step, so the two never disagree, and reading it runs no code. Only the first of
several processes writes.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.training.distributed import Group, StopSignals
from dicom_workflow.storage import write_atomically

_PLACE = ("epoch", "step", "loss_sum", "history", "best")
"""The position of the run, which a checkpoint keeps beside its tensors."""


@dataclass
class RunState:
    """Position, history and checkpoints of one run."""

    output_dir: Path
    """Gets ``history.jsonl``, one line per epoch."""
    checkpoint_dir: Path
    """Gets ``last.safetensors``, from which the run resumes, and ``best.safetensors``, the best epoch's averaged weights."""
    fingerprint: Mapping[str, Any]
    """Everything that the weights follow from; a checkpoint of another fingerprint is refused."""
    networks: Mapping[str, nn.Module]
    """`network`, which is trained, and `average`, which is evaluated."""
    optimizer: torch.optim.Optimizer
    group: Group
    signals: StopSignals = field(default_factory=StopSignals)
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
    """The signal that requested a stop, in any of the processes; 0 for none. Set by `poll`."""
    is_due: bool = False
    """Whether to call `end_step` after this step: it is time to, or a stop was requested. Set by `poll`."""

    def __post_init__(self) -> None:
        self._saved_at = time.monotonic()

    @property
    def last_path(self) -> Path:
        """The checkpoint that a run resumes from."""
        return self.checkpoint_dir / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """The averaged weights of the best epoch so far."""
        return self.checkpoint_dir / "best.safetensors"

    def open(self, *, resume: bool) -> bool:
        """Resume from the last checkpoint, if there is one and it is wanted, and return whether there was.

        Raises
        ------
        LearningError
            The checkpoint cannot be read, or belongs to a run with other settings or data.
        """
        if not resume and self.last_path.is_file():
            self.group.print(f"starting anew: an earlier run's checkpoints in {self.checkpoint_dir} are replaced")
        with self.group.from_first(self.last_path) if resume else contextlib.nullcontext() as last:
            state = load_checkpoint(last, self.networks, self.optimizer) if last else {}
        if last:
            before = state.get("fingerprint", {})
            if not state.keys() >= set(_PLACE):
                raise LearningError(f"{self.last_path}: the checkpoint lacks some of {', '.join(_PLACE)}. Use --resume false.")
            different = sorted(key for key in self.fingerprint if before.get(key) != self.fingerprint[key])
            if different:
                raise LearningError(
                    f"{self.last_path}: the checkpoint belongs to another run: {', '.join(different)} differ. "
                    "Use the same settings and data, another --checkpoint_dir, or --resume false."
                )
            for name in _PLACE:
                setattr(self, name, state[name])
        if self.group.is_first:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            text = "".join(json.dumps(line) + "\n" for line in self.history)
            self._history_path.write_text(text, encoding="utf-8")
        return last is not None

    def is_spent(self, epochs: int) -> bool:
        """Return whether none of the last `epochs` was better than the best before them (early stopping); never for 0."""
        return 0 < epochs < len(self.history) and not any(line["is_best"] for line in self.history[-epochs:])

    def poll(self) -> None:
        """Set `is_due` and `stopped_by` from this process's clock and signals, and from those of all others.

        Every process of the group calls it at the same place.
        """
        is_time = time.monotonic() - self._saved_at > self.every_seconds
        found = self.group.largest(2 * self.signals.received + int(is_time))
        self.stopped_by, self.is_due = found // 2, bool(found)

    def end_step(self, step: int, loss_sum: Tensor) -> None:
        """Write a checkpoint after a step.

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
        """Add an epoch to the history, write its weights, and return its line with `is_best`.

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
                save_checkpoint(self.best_path, {"average": self.networks["average"]}, state=about)
        self.save()
        if self.group.is_first:
            with self._history_path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        return line

    def save(self) -> None:
        """Write the checkpoint."""
        if self.group.is_first:
            state = {name: getattr(self, name) for name in (*_PLACE, "fingerprint")}
            save_checkpoint(self.last_path, self.networks, self.optimizer, state=state)
        self._saved_at = time.monotonic()

    def load_best(self) -> None:
        """Load the averaged weights of the best epoch into `average`.

        Raises
        ------
        LearningError
            Their checkpoint is missing or cannot be read.
        """
        with self.group.from_first(self.best_path) as best:
            if best is None:
                raise LearningError(f"{self.best_path}: the weights of epoch {self.best['epoch']} are missing. Train again.")
            load_checkpoint(best, {"average": self.networks["average"]})

    @property
    def _history_path(self) -> Path:
        return self.output_dir / "history.jsonl"


CHECKPOINT_SCHEMA = "dicom-workflow/checkpoint/1"


def save_checkpoint(
    path: str | Path,
    networks: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    state: Mapping[str, Any],
) -> Path:
    """Write networks, optimizer and JSON state as one file, and return its path.

    Parameters
    ----------
    path : str or Path
        The ``.safetensors`` file; its folder is made when it is missing.
    networks : mapping of str to nn.Module
        By name.
    optimizer : torch.optim.Optimizer, optional
        Its moments are kept; its settings are not, they come from the run's own.
    state : mapping
        Anything JSON can hold.
    """
    from safetensors.torch import save as to_bytes

    tensors = {f"{key}/{name}": tensor for key, network in networks.items() for name, tensor in network.state_dict().items()}
    for index, moments in (optimizer.state_dict()["state"] if optimizer else {}).items():
        tensors.update({f"optimizer/{index}/{name}": value for name, value in moments.items()})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"checkpoint": json.dumps({"schema": CHECKPOINT_SCHEMA, "state": state}, allow_nan=False)}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, to_bytes(tensors, metadata=header))
    return path


def load_checkpoint(
    path: str | Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Load a checkpoint into the named networks and the optimizer, and return its JSON state.

    Parameters
    ----------
    path : str or Path
    networks : mapping of str to nn.Module
        Those to load, by name; the file may hold more.
    optimizer : torch.optim.Optimizer, optional

    Raises
    ------
    LearningError
        Not a checkpoint of this kind, or one of another network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("checkpoint", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if not isinstance(header, dict) or header.get("schema") != CHECKPOINT_SCHEMA:
            schema = header.get("schema") if isinstance(header, dict) else None
            raise LearningError(f"{path}: expected a checkpoint of schema {CHECKPOINT_SCHEMA!r}, got {str(schema)[:60]!r}.")
        for name, network in networks.items():
            network.load_state_dict(_under(tensors, f"{name}/"))
        if optimizer:
            _load_optimizer(optimizer, _under(tensors, "optimizer/"))
        return dict(header["state"])
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        reason = str(error)[:200]
        raise LearningError(f"{path}: not a checkpoint of this network: {reason} Start with --resume false.") from None


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, moment = name.split("/", 1)
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # The fused optimizer walks both in memory order: a moment must lie there as its parameter does (channels last).
            tensor = torch.empty_like(parameter).copy_(tensor)
        moments.setdefault(int(index), {})[moment] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
