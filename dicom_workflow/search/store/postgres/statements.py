"""SQL of a query: conditions of filters, facets, and upserts. Values are parameters; names are those of our tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from dicom_workflow.search.query import And, AnyOf, FieldType, Or, Range, Where

Statement = sql.SQL | sql.Composed
TRUE, FALSE = sql.SQL("TRUE"), sql.SQL("FALSE")


@dataclass(frozen=True)
class Condition:
    """A condition on a row, with its parameters."""

    text: Statement
    values: tuple[Any, ...] = ()

    def __and__(self, other: Condition) -> Condition:
        """Return the condition that both hold."""
        if self.text is TRUE:
            return other
        return self if other.text is TRUE else joined(" AND ", [self, other])


def joined(word: str, parts: Sequence[Condition]) -> Condition:
    """Return the conditions with a word between, in parentheses."""
    text = sql.SQL("({})").format(sql.SQL(word).join(part.text for part in parts))
    return Condition(text, tuple(value for part in parts for value in part.values))


def condition_of(where: Where | None, filters: Mapping[str, FieldType]) -> Condition:
    """Return the condition of a filter on the columns of one table.

    Parameters
    ----------
    where : Where or None
        Its fields are of `filters`.
    filters : mapping
        `IMAGE_FILTERS` or `REPORT_FILTERS`.
    """
    match where:
        case None:
            return Condition(TRUE)
        case And(parts):
            return joined(" AND ", [condition_of(part, filters) for part in parts]) if parts else Condition(TRUE)
        case Or(parts):
            return joined(" OR ", [condition_of(part, filters) for part in parts]) if parts else Condition(FALSE)
        case AnyOf(name, values):
            given = [value for value in values if value != ""]  # an empty text is no value
            form = "{} && %s::text[]" if filters[name] == "keywords" else "{} = ANY(%s)"
            return Condition(sql.SQL(form).format(sql.Identifier(name)), (given,))
        case Range(name, low, high):
            column = sql.Identifier(name)
            limits = [(form, at) for form, at in (("{} >= %s", low), ("{} <= %s", high)) if at is not None]
            if filters[name] != "integer":
                limits.append(("{} <> %s", ""))
            parts_of = [Condition(sql.SQL(form).format(column), (at,)) for form, at in limits]
            return joined(" AND ", parts_of) if parts_of else Condition(TRUE)
        case _:
            inner = condition_of(where.part, filters)
            return Condition(sql.SQL("NOT ({})").format(inner.text), inner.values)


def facets_statement(table: str, condition: Condition, names: Sequence[str], lists: Sequence[str], size: int) -> Condition:
    """Return the statement whose rows are field, value and count: the most frequent values, equal counts by value.

    Parameters
    ----------
    table : str
        One of our own.
    condition : Condition
        Which rows count.
    names : sequence of str
        The fields.
    lists : sequence of str
        Those fields of the table that hold several values.
    size : int
        Most values of a field.
    """
    everything = condition.text is TRUE
    source = sql.Identifier(table if everything else "matched")
    parts = []
    for name in names:
        value = sql.SQL("unnest({})" if name in lists else "{}").format(sql.Identifier(name))
        parts.append(
            sql.SQL(
                "(SELECT {field} AS field, value, count(*) AS documents FROM (SELECT {value} AS value FROM {source}) one "
                "WHERE value <> '' GROUP BY value ORDER BY documents DESC, value COLLATE \"C\" LIMIT {size})"
            ).format(field=sql.Literal(name), value=value, source=source, size=sql.Literal(size))
        )
    statement = sql.SQL(" UNION ALL ").join(parts)
    if everything:
        return Condition(statement)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    matched = sql.SQL("WITH matched AS MATERIALIZED (SELECT {} FROM {} WHERE {}) ")
    return Condition(matched.format(columns, sql.Identifier(table), condition.text) + statement, condition.values)


def upsert_statement(table: str, key: str, columns: Sequence[str], source: Statement, compared: Mapping[str, str]) -> Statement:
    """Return an upsert that leaves a row alone when nothing of it changes.

    Rows are written in the order of their keys, so that processes with the same keys wait for each other without a deadlock.

    Parameters
    ----------
    table : str
        One of our own.
    key : str
        Its unique column.
    columns : sequence of str
        To write.
    source : Composable
        A FROM item with these columns.
    compared : mapping
        The columns that tell whether a row changes, and the type to compare each as, or an empty text.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    own, new = (
        sql.SQL(", ").join(
            sql.Identifier(place, name) + sql.SQL(f"::{kind}" if kind else "") for name, kind in compared.items()
        )
        for place in (table, "excluded")
    )
    setting = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("excluded", name)) for name in columns if name != key
    )
    return sql.SQL(
        "INSERT INTO {table} ({names}) SELECT {names} FROM {source} ORDER BY {key} "
        "ON CONFLICT ({key}) DO UPDATE SET {setting} WHERE ({own}) IS DISTINCT FROM ({new})"
    ).format(
        table=sql.Identifier(table), names=names, source=source, key=sql.Identifier(key), setting=setting, own=own, new=new
    )
