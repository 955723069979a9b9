"""Strict JSON: parsing, numbers, and a validator for the subset of JSON Schema that this package's schemas use.

Standard library only: this module ships inside the Lambda functions.

The worker's page validates against the same schema files with a full implementation. `Schema` refuses a schema with a keyword
that it does not know, so that no rule is ignored silently.

References
----------
JSON Schema draft-07, core and validation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),  # type: ignore[arg-type]
}
_NAMES = {
    "object": "a JSON object",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "number": "a finite number",
    "integer": "a whole number",
}
_BOUNDS: Mapping[str, tuple[str, str, str, int]] = {
    # keyword: type it is about, in words, unit, sign of (value - bound) that is refused
    "minimum": ("number", "at least", "", -1),
    "maximum": ("number", "at most", "", 1),
    "minLength": ("string", "at least", " characters", -1),
    "maxLength": ("string", "at most", " characters", 1),
    "minItems": ("array", "at least", " items", -1),
    "maxItems": ("array", "at most", " items", 1),
}
_STRUCTURE = frozenset(
    ("type", "const", "enum", "required", "properties", "additionalProperties", "propertyNames", "items", "allOf", "if", "then")
)
_WORDS = frozenset(("$schema", "$id", "title", "description", "definitions"))


class Schema:
    """A schema that values are validated against.

    Parameters
    ----------
    schema : mapping
        JSON Schema, draft-07, with ``$ref`` to its own ``#/definitions`` only.

    Raises
    ------
    ValueError
        It uses a keyword that is not known here.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._check_keywords(schema)

    def problem(self, value: object) -> str:
        """Return the first violation of a value in words, with its place; empty when the value is valid.

        Numbers that are not finite are never valid: JSON has none.
        """
        return next(self._problems(self.schema, value, ""), "")

    def _check_keywords(self, schema: Mapping[str, Any]) -> None:
        unknown = schema.keys() - _STRUCTURE - _WORDS - _BOUNDS.keys() - {"$ref"}
        if unknown:
            raise ValueError(f"expected keywords of JSON Schema that are known here, got {', '.join(sorted(unknown))}.")
        if "$ref" in schema:
            self._at(schema["$ref"])
        below = [*schema.get("definitions", {}).values(), *schema.get("properties", {}).values(), *schema.get("allOf", ())]
        below += [schema[name] for name in ("items", "propertyNames", "if", "then", "additionalProperties") if schema.get(name)]
        for part in below:
            self._check_keywords(part)

    def _at(self, reference: str) -> Mapping[str, Any]:
        return self.schema["definitions"][reference.removeprefix("#/definitions/")]

    def _problems(self, schema: Mapping[str, Any], value: object, place: str) -> Iterator[str]:
        if "$ref" in schema:  # draft-07: its neighbours do not count
            yield from self._problems(self._at(schema["$ref"]), value, place)
            return
        if "type" in schema and not _TYPES[schema["type"]](value):
            yield _said(place, _NAMES[schema["type"]], value)
            return
        if "const" in schema and not _same(value, schema["const"]):
            yield _said(place, repr(schema["const"]), value)
        if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
            yield _said(place, f"one of {', '.join(str(choice) for choice in schema['enum'] if choice != '')}", value)
        yield from _bound_problems(schema, value, place)
        if isinstance(value, Mapping):
            yield from self._object_problems(schema, value, place)
        if isinstance(value, list) and "items" in schema:
            for number, item in enumerate(value):
                yield from self._problems(schema["items"], item, f"{place}[{number}]")
        for part in schema.get("allOf", ()):
            yield from self._problems(part, value, place)
        if "if" in schema and next(self._problems(schema["if"], value, place), None) is None:
            yield from self._problems(schema.get("then", {}), value, place)

    def _object_problems(self, schema: Mapping[str, Any], value: Mapping[str, Any], place: str) -> Iterator[str]:
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_inside(place, name)} is missing."
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name, item in value.items():
            if "propertyNames" in schema:
                yield from self._problems(schema["propertyNames"], name, f"{place or 'answer'} name")
            if name in properties:
                yield from self._problems(properties[name], item, _inside(place, name))
            elif others is False:
                yield f"{_inside(place, name)} is not in the schema."
            elif others:
                yield from self._problems(others, item, _inside(place, name))


def parse_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        The text is not JSON: also ``NaN`` and ``Infinity``, which Python would take, and nesting too deep to read. A
        `json.JSONDecodeError` where the place is known.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep to read") from None


def encoded(text: str) -> bytes:
    """Return a JSON text as UTF-8.

    Half of a surrogate pair, which JSON can hold and UTF-8 cannot, and the odd bytes of a file's name that Python keeps as
    such halves, become escapes, which JSON reads back as they were.
    """
    return text.encode("utf-8", "backslashreplace")


def number(value: float, digits: int = 4) -> float | None:
    """Return a number as reports keep it: rounded, and None where it is not finite, which JSON cannot say.

    Parameters
    ----------
    value : float
    digits : int
        Decimals that stay.
    """
    return round(float(value), digits) if math.isfinite(value) else None


def shown(value: object) -> str:
    """Return a short, safe repr for a message: never a whole answer or header."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _bound_problems(schema: Mapping[str, Any], value: object, place: str) -> Iterator[str]:
    for keyword, (kind, words, unit, refused) in _BOUNDS.items():
        if keyword in schema and _TYPES[kind](value):
            size: Any = value if kind == "number" else len(value)  # type: ignore[arg-type]
            if (size - schema[keyword]) * refused > 0:
                got = shown(value) if kind == "number" else f"{size}{unit}"
                yield f"expected {place or 'the value'} with {words} {schema[keyword]}{unit}, got {got}."


def _said(place: str, wanted: str, value: object) -> str:
    return f"expected {place or 'the value'} as {wanted}, got {shown(value)}."


def _inside(place: str, name: str) -> str:
    return f"{place}.{name[:60]}" if place else name[:60]


def _is_number(value: object) -> bool:
    """Whether a value is a number that every reader of JSON can hold: Python's whole numbers have no end."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _same(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
