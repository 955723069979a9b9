"""Tensors out of a file of weights, of which nothing may run.

A safetensors file is a table and numbers. PyTorch's own files (``.pt``, ``.pth``, ``.bin``) are pickles: programs for a small
machine that can call whatever Python has. Those are opened only when the caller knows the file's SHA-256, and then behind two
locks: here the program is read, without being run, and refused when it has a step or a name that a state dict does not need;
only then `torch.load` runs it, with ``weights_only``.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Set
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
_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number of PyTorch before 1.6, pickled
_LEGACY_PICKLES = 5  # magic number, protocol, machine, the object, its storages' keys; the numbers follow
# What a pickled state dict is made of. Anything else that could name or build something is missing on purpose.
_STEPS = frozenset(
    {
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND"),
        *("APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
    }
)
_NAMES = frozenset(
    {
        "collections OrderedDict",
        *(f"torch._utils {name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")),
        *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")),
    }
)
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
_RECORD = re.compile(r"[^/]+/(data\.pkl|byteorder|version|data/\d+)")
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
    dict of str to Tensor
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
            f"{where}: expected the SHA-256 of this file beside its name. PyTorch's own files are pickles, which can run "
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
        raise WeightsError(f"{where}: expected a whole safetensors file: {str(error)[:160]}") from None


def _unpickled(data: bytes, where: str) -> Any:
    """Return what a pickled file holds, after its program was found to be a state dict's."""
    try:
        with warnings.catch_warnings(action="ignore"):  # both readers warn of odd text and old storages in what they refuse
            if data.startswith(b"PK\x03\x04"):
                data = _checked_zip(data, where)
            elif data.startswith(_LEGACY_START):
                stream = io.BytesIO(data)
                for _ in range(_LEGACY_PICKLES):
                    _check_program(stream, where)
            else:
                raise WeightsError(f"{where}: expected a file saved by torch.save, got one that starts with {data[:16]!r}.")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _READER_ERRORS as error:
        # torch's own text would advise to switch its lock off; only what kind of error it was is passed on.
        raise WeightsError(
            f"{where}: expected a whole file saved by torch.save, got {type(error).__name__} while it was read. Copy it again."
        ) from None


def _checked_zip(data: bytes, where: str) -> bytes:
    """Return the archive written anew from the members that were checked, so that torch finds what was looked at here."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
        programs = [name for name in names if name.endswith("/constants.pkl") or "/code/" in name]
        folders = {name.partition("/")[0] for name in names}
        if packed or programs or len(set(names)) < len(names) or len(folders) != 1:
            found = packed or programs or names
            raise WeightsError(
                f"{where}: expected an archive of torch.save, each member once, unpacked, below one folder and without "
                f"TorchScript, got {found[:3]!r:.120}."
            )
        if sum(member.file_size for member in members) > len(data):
            raise WeightsError(f"{where}: expected members of at most {len(data):,} bytes, as many as the file has.")
        folder = folders.pop()
        if f"{folder}/data.pkl" not in names:
            raise WeightsError(f"{where}: expected a member data.pkl, got {names[:3]!r:.120}.")
        kept = {name: archive.read(name) for name in names if _RECORD.fullmatch(name)}
    _check_program(io.BytesIO(kept[f"{folder}/data.pkl"]), where)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in kept.items():
            archive.writestr("archive/" + name.partition("/")[2], content)
    return out.getvalue()


def _check_program(stream: io.BytesIO, where: str) -> None:
    """Read one pickle up to its end without running it, and refuse it when it is not a state dict's."""
    start, was_tuple = stream.tell(), False
    names: set[str] = set()
    tuples: set[Any] = set()
    for step, argument, position in pickletools.genops(stream):
        if step.name not in _STEPS or (step.name == "PROTO" and argument != 2):  # torch.save writes protocol 2 only
            what = f"with the step {step.name}" + (f", for {_listed(names)}" if names - _NAMES else "")
            raise WeightsError(f"{where}: expected a state dict, got a pickle {what}. {_CONVERT}")
        if (position or 0) - start > _MAX_TABLE_BYTES:
            raise WeightsError(f"{where}: expected a pickle of at most {_MAX_TABLE_BYTES >> 20} MB before the numbers.")
        if step.name == "GLOBAL":
            names.add(str(argument))
        if step.name.endswith("BINPUT") and was_tuple:
            tuples.add(argument)
        if step.name.endswith("BINGET") and argument in tuples:
            # Thirty tuples, each holding the one before twice, take a billion steps to hash.
            raise WeightsError(f"{where}: expected a state dict, got a pickle that uses a tuple twice. {_CONVERT}")
        was_tuple = step.name.startswith("TUPLE")
    if names - _NAMES:
        raise WeightsError(f"{where}: expected a state dict, got a pickle that calls for {_listed(names)}. {_CONVERT}")


def _listed(names: Set[str]) -> str:
    return ", ".join(name.replace(" ", ".") for name in sorted(names - _NAMES)[:5])[:200]


_CONVERT = (
    "A whole pickled model, or a checkpoint with more than tensors, is not opened here: on a machine that trusts it, load it "
    "and write safetensors.torch.save_file(model.state_dict(), 'model.safetensors'), and give that file."
)


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
