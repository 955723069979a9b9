"""Tensors out of a file of weights, without running code.

A safetensors file is a table and numbers. PyTorch's own files (``.pt``, ``.pth``, ``.bin``) are pickles, which can run code.
Those are opened only when the caller knows the file's SHA-256, and then by `torch.load` with ``weights_only``.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from dicom_workflow.errors import WeightsError

MAX_BYTES = 2**30
"""A DenseNet121 has 28 MB, the largest ensemble 0.9 GB. What is larger is not read."""
SAFETENSORS = (".safetensors",)
PICKLES = (".pt", ".pth", ".bin")

_MAX_TABLE_BYTES = 4 * 2**20
"""Of a safetensors header or a pickle's program; a DenseNet121's has 0.1 MB."""
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
# A file that was damaged or made up can fail anywhere in a reader; each of these is the file's fault.
_READER_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError),
    *(RuntimeError, TypeError, ValueError, UnpicklingError, struct.error, zipfile.BadZipFile),
)


def parse(data: bytes, where: str, *, is_pinned: bool) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        Its URI, whose ending says which kind it is: `SAFETENSORS` or `PICKLES`.
    is_pinned : bool
        Whether the caller knew the file's SHA-256 beforehand. A pickle is not opened otherwise.

    Returns
    -------
    dict of str to Tensor, each of the shape and dtype that the file gives it
        Of a nested checkpoint, those of its state dict.

    Raises
    ------
    WeightsError
        Another kind of file, a damaged one, or a pickle that is not pinned or holds more than a state dict.
    """
    ending = where[where.rfind(".") :].lower()
    if ending in SAFETENSORS:
        return _safetensors(data, where)
    if ending not in PICKLES:
        raise WeightsError(
            f"{where}: expected a file of weights ending with {', '.join(SAFETENSORS + PICKLES)}, or a bundle's folder."
        )
    if not is_pinned:
        raise WeightsError(
            f"{where}: a pickled file is only opened with its SHA-256 given. PyTorch's own files are pickles, which can run "
            "programs when they are read: one is opened only when it is, to the last bit, the file that its publisher "
            "describes. Give that hash, or convert the file to safetensors, which needs none."
        )
    return _state_dict(_unpickled(data, where), where)


def _safetensors(data: bytes, where: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    table_bytes = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or table_bytes > min(_MAX_TABLE_BYTES, len(data) - 8):
        raise WeightsError(f"{where}: expected a safetensors file, got one that starts with {data[:16]!r}.")
    try:
        return dict(load(data))
    except (SafetensorError, *_READER_ERRORS) as error:
        raise WeightsError(f"{where}: a damaged safetensors file: {str(error)[:160]}") from None


def _unpickled(data: bytes, where: str) -> Any:
    """Return what a pickled file holds, by PyTorch's own reader of tensors and plain containers."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of old storages in what it refuses
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _READER_ERRORS as error:
        # torch's own text would advise to switch its check off; only what kind of error it was is passed on.
        raise WeightsError(
            f"{where}: expected a state dict saved by torch.save, got {type(error).__name__} while it was read. A whole "
            "pickled model is not opened here: on a machine that trusts it, load it and write "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors'), and give that file."
        ) from None


def _state_dict(found: Any, where: str) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or of the one inside a checkpoint."""
    if not isinstance(found, Mapping):
        raise WeightsError(f"{where}: expected a state dict, got {type(found).__name__}.")
    inner = next((found[key] for key in _STATE_DICT_KEYS if isinstance(found.get(key), Mapping)), found)
    tensors = {name: value for name, value in inner.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{where}: expected tensors by name, got {list(map(str, inner))[:5]!r:.200}.")
    # A view may say that one number is a billion: adding them up takes hours, copying them all memory.
    if blown := [name for name, tensor in tensors.items() if tensor.nbytes > tensor.untyped_storage().nbytes()]:
        raise WeightsError(f"{where}: expected tensors with all their numbers in the file, got {blown[:3]!r:.120} with fewer.")
    return tensors
