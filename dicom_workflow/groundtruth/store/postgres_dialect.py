"""How SQLite's SQL and its texts are said to PostgreSQL."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.types.string import StrDumperUnknown

_WORDS = {" WITHOUT ROWID": "", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA", "%": "%%", "?": "%s"}
NOCASE = b"CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
"""What SQLite brings along: texts that differ in nothing but their case are the same."""


@cache
def translated(sql: str) -> str:
    """Return a statement of this package in PostgreSQL's words and psycopg's placeholders."""
    for word, other in _WORDS.items():
        sql = re.sub(rf"\b{word}\b" if word.isalpha() else re.escape(word), other, sql)
    return re.sub(r":([a-z_]+)\b", r"%(\1)s", sql)


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        # PostgreSQL has no place for NUL in a text. No name of ours holds one, so such a text finds nothing.
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


ADAPTERS = AdaptersMap(psycopg.adapters)
ADAPTERS.register_dumper(str, _Text)
