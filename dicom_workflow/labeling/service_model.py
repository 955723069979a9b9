"""Hold a request to the limits of SageMaker's own service model: the check that boto3 leaves to the server.

boto3 looks at required members, types and minimums; lengths, patterns and enumerations it does not. They are read from the
model that comes with botocore, so they are the ones AWS published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from dicom_workflow.groundtruth.api.requests import ApiError

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


@cache
def _model() -> Mapping[str, Any]:
    from botocore.loaders import Loader

    return Loader().load_service_model("sagemaker", "service-2")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    for name, wide in _PROPERTIES.items():
        text = text.replace(name, wide)
    return re.compile(text)


def check(operation: str, request: object) -> dict[str, Any]:
    """Return the request of one operation when it keeps every limit of the model.

    Raises
    ------
    ApiError
        ``ValidationException`` listing every limit that is broken; ``SerializationException`` for a wrong type.
    """
    if not isinstance(request, dict):
        raise ApiError("SerializationException", f"expected a JSON object, got {type(request).__name__}.")
    problems: list[str] = []
    _walk(_model()["operations"][operation]["input"]["shape"], request, "", problems)
    if problems:
        plural = "error" if len(problems) == 1 else "errors"
        raise ApiError("ValidationException", f"{len(problems)} validation {plural} detected: {'; '.join(problems)}")
    return request


def _walk(name: str, value: object, where: str, problems: list[str]) -> None:
    shape = _model()["shapes"][name]
    kind = shape["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise ApiError("SerializationException", f"expected {where or 'the request'} as {kind}, got {type(value).__name__}.")
    if kind == "structure" and isinstance(value, dict):
        for member in shape.get("required", ()):
            if value.get(member) is None:
                problems.append(f"Value null at '{_join(where, member)}' failed to satisfy constraint: Member must not be null")
        for member, reference in shape.get("members", {}).items():
            if value.get(member) is not None:
                _walk(reference["shape"], value[member], _join(where, member), problems)
    elif kind == "list" and isinstance(value, list):
        _limits(shape, len(value), value, where, "length", problems)
        for position, item in enumerate(value, start=1):
            _walk(shape["member"]["shape"], item, f"{where}.{position}.member", problems)
    elif isinstance(value, str):
        _text(name, shape, value, where, problems)
    elif kind in ("integer", "long") and isinstance(value, int):
        _limits(shape, value, value, where, "value", problems)


def _text(name: str, shape: Mapping[str, Any], value: str, where: str, problems: list[str]) -> None:
    if shape["type"] != "string":
        return
    _limits(shape, len(value), value, where, "length", problems)
    allowed = shape.get("enum")
    if allowed and value not in allowed:
        problems.append(_problem(value, where, f"Member must satisfy enum value set: [{', '.join(allowed)}]"))
    # The self-hosted service also takes file:// URIs; where they may point is decided in access.py.
    if name == "S3Uri" and value.startswith("file:///"):
        return
    if "pattern" in shape and not _pattern(shape["pattern"]).fullmatch(value):
        problems.append(_problem(value, where, f"Member must satisfy regular expression pattern: {shape['pattern']}"))


def _limits(shape: Mapping[str, Any], size: int, value: object, where: str, what: str, problems: list[str]) -> None:
    of = f"{what} " if what == "value" else "length "
    if "max" in shape and size > shape["max"]:
        problems.append(_problem(value, where, f"Member must have {of}less than or equal to {shape['max']}"))
    if "min" in shape and size < shape["min"]:
        problems.append(_problem(value, where, f"Member must have {of}greater than or equal to {shape['min']}"))


def _problem(value: object, where: str, constraint: str) -> str:
    text = str(value)
    return f"Value '{text if len(text) <= 80 else text[:77] + '…'}' at '{where}' failed to satisfy constraint: {constraint}"


def _join(where: str, member: str) -> str:
    name = member[0].lower() + member[1:]
    return f"{where}.{name}" if where else name
