"""SQL of a query: conditions of filters, ranking of words, and facets. Values are parameters; names are those of our tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from dicom_workflow.search.query import And, AnyOf, FieldType, Or, Range, Where

Statement = sql.SQL | sql.Composed
TRUE, FALSE = sql.SQL("TRUE"), sql.SQL("FALSE")
K1, B = 1.2, 0.75
"""Of BM25 (Robertson and Zaragoza 2009)."""
LIKE_TERMS = 12
"""Words of a report that stand for it when others like it are wanted."""
MAX_POSITION = 16_383
"""Of a word in a tsvector."""
MAX_RANKED_TERMS = 32
"""The rarest words of a query, which decide the order; all of them have to match."""


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


@dataclass(frozen=True)
class Term:
    """A stemmed word and how many reports have it."""

    lexeme: str
    documents: int


@dataclass(frozen=True)
class Statistics:
    """Of all reports, for BM25."""

    reports: int
    average_words: float


def as_tsvector(stems: Sequence[str]) -> str:
    """Return words in their order in the input syntax of a tsvector; positions beyond its limits are one."""
    positions: dict[str, list[int]] = {}
    for at, stem in enumerate(stems, 1):
        positions.setdefault(stem, []).append(min(at, MAX_POSITION))
    return " ".join(f"{quoted(stem)}:{','.join(map(str, at))}" for stem, at in positions.items())


def as_tsquery(parts: Sequence[Sequence[str]], operator: str = " & ") -> str:
    """Return words and phrases in the input syntax of a tsquery."""
    return operator.join("(" + " <-> ".join(map(quoted, part)) + ")" for part in parts)


def quoted(stem: str) -> str:
    """Return a word as a lexeme in the input syntax of a tsvector and a tsquery."""
    return "'" + stem.replace("\\", "\\\\").replace("'", "''") + "'"


def inverse_frequency(term: Term, statistics: Statistics) -> float:
    """Return BM25's weight of a word; it is positive."""
    reports = max(statistics.reports, term.documents)
    return math.log(1 + (reports - term.documents + 0.5) / (term.documents + 0.5))


def scored(condition: Condition, terms: Sequence[Term], statistics: Statistics) -> Condition:
    """Return a query with the columns number, report_id and score, the BM25 score of the reports that fulfil a condition.

    ``ts_rank`` of one word with equal weights is sum(1/i², i = 1 … n) / (π²/6) for n occurrences. With the rest x of
    that sum, n is 1/x - 1/2 - x/12 to within one percent.

    Parameters
    ----------
    condition : Condition
        On search_reports.
    terms : sequence of Term
        The words of the query; a report need not have all of them.
    statistics : Statistics
        Of all reports.
    """
    ranked = sorted(terms, key=lambda term: term.documents)[:MAX_RANKED_TERMS]
    ranks, scores, values = [], [], []
    per_word = K1 * B / max(statistics.average_words, 1.0)
    for at, term in enumerate(ranked):
        rank = sql.Identifier(f"rank_{at}")
        ranks.append(sql.SQL("ts_rank('{{1,1,1,1}}', words, %s::tsquery)::float8 AS {}").format(rank))
        values.append(quoted(term.lexeme))
        scores.append(
            sql.SQL(
                "CASE WHEN {rank} > 0 THEN {weight} * (1 - {rest} / 2 - {rest} * {rest} / 12) / "
                "(1 + ({plain} + {per_word} * word_count - 0.5) * {rest} - {rest} * {rest} / 12) ELSE 0 END"
            ).format(
                rank=rank,
                weight=sql.Literal(inverse_frequency(term, statistics) * (K1 + 1)),
                rest=sql.SQL("(1.6449340668 * (1 - {}))").format(rank),
                plain=sql.Literal(K1 * (1 - B)),
                per_word=sql.Literal(per_word),
            )
        )
    # OFFSET 0 keeps the ranks from being computed again at each use.
    text = sql.SQL(
        "SELECT number, report_id, {} AS score FROM "
        "(SELECT number, report_id, word_count{} FROM search_reports WHERE {} OFFSET 0) ranked"
    ).format(
        sql.SQL(" + ").join(scores) if scores else sql.SQL("0::float8"),
        sql.SQL("").join(sql.SQL(", {}").format(rank) for rank in ranks),
        condition.text,
    )
    return Condition(text, (*values, *condition.values))


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
