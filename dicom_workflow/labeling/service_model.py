"""Check a request against an AWS service model: lengths, patterns, enumerations and ranges, which boto3 leaves to the server.

The limits are read from the model that comes with botocore, so they are those that AWS published. Used on both sides of the
labeling interface, and for training jobs, endpoints and batch transforms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

# Python's re has no Unicode properties; these are the ones the model uses, wide enough to refuse nothing AWS accepts.
_PROPERTIES = {
    "\\p{L}": "\\w",
    "\\p{N}": "\\w",
    "\\p{Z}": "\\s",
    "\\p{M}": "\\u0300-\\u036f",
    "\\p{S}": "$+<=>^`|~\\u00a2-\\u00bf",
    "\\p{P}": "!-/:-@\\[-`{-~\\u00a1-\\u00bf",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "structure": (dict,),
    "list": (list,),
    "map": (dict,),
    "timestamp": (int, float, str),
    "float": (int, float),
    "double": (int, float),
}


@dataclass(frozen=True)
class Problem:
    """One limit that a request breaks."""

    member: str
    """Where, as AWS writes it: ``humanTaskConfig.taskKeywords.1.member``; empty for the whole request."""
    value: object
    """What stands there; None where a required member is missing."""
    constraint: str
    """What has to be, in AWS's words: ``Member must have length less than or equal to 63``; the type where that is wrong."""
    limits: Mapping[str, Any]
    """The member's shape in the service model: ``type``, ``min``, ``max``, ``pattern``, ``enum``."""
    is_type: bool = False
    """The type is wrong; AWS calls that a serialization error, not a validation error."""

    def __str__(self) -> str:
        if self.is_type:
            return f"expected {self.member or 'the request'} as {self.constraint}, got {type(self.value).__name__}."
        if self.value is None:
            return f"Value null at '{self.member}' failed to satisfy constraint: {self.constraint}"
        text = str(self.value)
        short = text if len(text) <= 80 else text[:77] + "…"
        return f"Value '{short}' at '{self.member}' failed to satisfy constraint: {self.constraint}"


def problems(
    operation: str, request: object, *, service: str = "sagemaker", file_uris: bool = False, side: str = "input"
) -> list[Problem]:
    """Return every limit that a request breaks; empty when it keeps them all.

    Parameters
    ----------
    operation : str
        Name in the service model: ``CreateLabelingJob``.
    request : object
        The JSON object of the operation's input.
    service : str
        Name that botocore has for the service.
    file_uris : bool
        Let ``file:///`` pass where the model asks for an S3 URI, as the self-hosted labeling service does.
    side : str
        ``input``, or ``output`` to check an answer.
    """
    model = _model(service)
    return _Check(model["shapes"], file_uris).of(model["operations"][operation][side]["shape"], request, "")


@cache
def _model(service: str) -> Mapping[str, Any]:
    from botocore.loaders import Loader

    return Loader().load_service_model(service, "service-2")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    for name, wide in _PROPERTIES.items():
        text = text.replace(name, wide)
    return re.compile(text)


class _Check:
    """Walks a value beside the shapes of a model."""

    def __init__(self, shapes: Mapping[str, Any], file_uris: bool) -> None:
        self._shapes, self._file_uris = shapes, file_uris

    def of(self, name: str, value: object, where: str) -> list[Problem]:
        shape = self._shapes[name]
        kind = shape["type"]
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            return [Problem(where, value, kind, shape, is_type=True)]
        if kind == "structure" and isinstance(value, dict):
            return self._structure(shape, value, where)
        if kind == "list" and isinstance(value, list):
            found = _limits(shape, len(value), value, where, "length")
            for position, item in enumerate(value, start=1):
                found += self.of(shape["member"]["shape"], item, f"{where}.{position}.member")
            return found
        if kind == "map" and isinstance(value, dict):
            found = _limits(shape, len(value), value, where, "length")
            for key, item in value.items():
                found += self.of(shape["key"]["shape"], key, f"{where}.{key}.key")
                found += self.of(shape["value"]["shape"], item, f"{where}.{key}.member")
            return found
        if kind == "string" and isinstance(value, str):
            return self._text(name, shape, value, where)
        if kind in ("integer", "long") and isinstance(value, int):
            return _limits(shape, value, value, where, "value")
        return []

    def _structure(self, shape: Mapping[str, Any], value: Mapping[str, Any], where: str) -> list[Problem]:
        missing = [member for member in shape.get("required", ()) if value.get(member) is None]
        found = [Problem(_join(where, member), None, "Member must not be null", {}) for member in missing]
        for member, reference in shape.get("members", {}).items():
            if value.get(member) is not None:
                found += self.of(reference["shape"], value[member], _join(where, member))
        return found

    def _text(self, name: str, shape: Mapping[str, Any], value: str, where: str) -> list[Problem]:
        found = _limits(shape, len(value), value, where, "length")
        allowed = shape.get("enum")
        if allowed and value not in allowed:
            found.append(Problem(where, value, f"Member must satisfy enum value set: [{', '.join(allowed)}]", shape))
        # Where a file:// URI may point is decided by the service (groundtruth.access).
        if name == "S3Uri" and self._file_uris and value.startswith("file:///"):
            return found
        if "pattern" in shape and not _pattern(shape["pattern"]).fullmatch(value):
            found.append(Problem(where, value, f"Member must satisfy regular expression pattern: {shape['pattern']}", shape))
        return found


def _limits(shape: Mapping[str, Any], size: int, value: object, where: str, what: str) -> list[Problem]:
    found = []
    if "max" in shape and size > shape["max"]:
        found.append(Problem(where, value, f"Member must have {what} less than or equal to {shape['max']}", shape))
    if "min" in shape and size < shape["min"]:
        found.append(Problem(where, value, f"Member must have {what} greater than or equal to {shape['min']}", shape))
    return found


def _join(where: str, member: str) -> str:
    name = member[0].lower() + member[1:]
    return f"{where}.{name}" if where else name
