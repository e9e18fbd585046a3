"""The text of a .sql file as something to select from, its `:name` parameters bound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

# What has no end goes on to the end of the text: to look for it again from each place would take for ever.
_TOKENS = re.compile(
    r"""
      (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*+(?:'|\Z))
    | (?P<text>'(?:[^']|'')*+(?:'|\Z))
    | (?P<name>"(?:[^"]|"")*+(?:"|\Z)|`[^`]*+(?:`|\Z))
    | (?P<dollar>(?<![\w$])\$(?P<tag>(?:[A-Za-z_]\w*+)?)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<line>--[^\n]*+)
    | (?P<block>/\*.*?(?:\*/|\Z))
    | (?P<cast>::)
    | (?P<parameter>(?<![\w:\\]):(?P<word>[A-Za-z_]\w*))
    | (?P<other>.)
    """,
    re.S | re.X,
)


def _parts(sql: str) -> list[tuple[str | None, str]]:
    """The statement as (name of the parameter or None, its text); comments become blanks."""
    parts: list[tuple[str | None, str]] = []
    for found in _TOKENS.finditer(sql):
        if found["line"] or found["block"]:
            parts.append((None, " "))
        else:
            parts.append((found["word"], found[0]))
    return parts


def parameters(sql: str) -> set[str]:
    """The names of the parameters in it; what stands in texts, names, comments and casts is none."""
    return {name for name, _ in _parts(sql) if name}


def bound(sql: str, values: Mapping[str, Any]) -> sa.TextClause:
    """The statement with its parameters bound; `values` has one for each, None for NULL."""
    text = "".join(part if name else part.replace(":", r"\:") for name, part in _parts(sql))
    text = text.strip().rstrip(";").rstrip()
    binds = [sa.bindparam(name, *_typed(values[name])) for name in sorted(parameters(sql))]
    return sa.text(text).bindparams(*binds)


def _typed(value: Any) -> tuple[Any, sa.types.TypeEngine[Any]]:
    """A value and its type. Texts are written without a cast, so that the database takes each for what it is
    compared with: a scope's id may be a text, a number or a uuid there.
    """
    if isinstance(value, bool):
        return value, sa.Boolean()
    if isinstance(value, int):
        return value, sa.BigInteger()
    if isinstance(value, float | Decimal):
        return (float(value), sa.Double()) if isinstance(value, float) else (str(value), sa.Text())
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).isoformat(sep=" "), sa.Text()
    return (None if value is None else str(value)), sa.Text()
