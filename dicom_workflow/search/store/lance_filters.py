"""Filters as the expressions that Lance reads: a value becomes a quoted literal, a field one of the known names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.query import IMAGE_FILTERS, And, AnyOf, FieldType, Not, Or, Range, Where
from dicom_workflow.search.store.lance_schema import storable


def to_expression(where: Where, filters: Mapping[str, FieldType] = IMAGE_FILTERS) -> str:
    """Return the expression that is true of the rows that match.

    Parameters
    ----------
    where : Where
        The filter.
    filters : mapping
        Field → type: the fields that may be named.

    Raises
    ------
    RecordError
        A field that cannot be filtered by, or a range of texts.
    """
    match where:
        case AnyOf(field, values):
            if known_field(field, filters) == "keywords":
                return f"array_has_any({field}, [{_list(values)}])" if values else "false"
            return one_of(field, values)
        case Range(field, low, high):
            kind = known_field(field, filters)
            if kind not in ("date", "integer"):
                raise RecordError(f"{field} holds texts, so it has no range. Give the values to look for.")
            limits = [f"{field} {sign} {_literal(at)}" for sign, at in ((">=", low), ("<=", high)) if at is not None]
            return "(" + " AND ".join([*limits, f"{field} <> ''" if kind == "date" else "true"]) + ")"
        case And(parts):
            return "(" + " AND ".join([to_expression(part, filters) for part in parts] or ["true"]) + ")"
        case Or(parts):
            return "(" + " OR ".join([to_expression(part, filters) for part in parts] or ["false"]) + ")"
        case Not(part):
            return f"(NOT {to_expression(part, filters)})"


def one_of(field: str, values: Iterable[str]) -> str:
    """Return the expression that a column holds one of the values."""
    listed = _list(values)
    return f"{field} IN ({listed})" if listed else "false"


def known_field(field: str, filters: Mapping[str, FieldType]) -> FieldType:
    """Return the type of a field.

    Raises
    ------
    RecordError
        There is no such field to filter by.
    """
    if field not in filters:
        raise RecordError(f"There is no field {shown(field)} to filter by. The fields are {', '.join(sorted(filters))}.")
    return filters[field]


def _list(values: Iterable[str]) -> str:
    return ", ".join(_literal(value) for value in values)


def _literal(value: str | int) -> str:
    return str(int(value)) if isinstance(value, int) else "'" + storable(value).replace("'", "''") + "'"
