"""The state of a training run in one file, so that a run that was stopped goes on as if it had not been.

A checkpoint is one ``.safetensors`` file: tensors of network and optimizer, and in its header the JSON state (epoch, step,
history, settings). One file is replaced in one step, so the two never disagree; nothing in it can run when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.model.bundle import write_atomically

CHECKPOINT_SCHEMA = "dicom-workflow/checkpoint/1"


def save(
    path: str | Path,
    networks: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    state: Mapping[str, Any],
) -> Path:
    """Write the run's state and return the path.

    Parameters
    ----------
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


def load(path: str | Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Put a saved state back into the named networks and the optimizer, and return the JSON state.

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
        raise LearningError(f"{path}: expected a checkpoint of this network: {reason} Start with --resume false.") from None


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
