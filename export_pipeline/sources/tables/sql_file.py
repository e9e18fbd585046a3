"""The text of a .sql file as a FROM clause, with its `:name` parameters bound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

# An unterminated token extends to the end of the text: retrying at each position would be far too slow.
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
    """Split the statement into (name of the parameter or None, text); comments become blanks."""
    parts: list[tuple[str | None, str]] = []
    for match in _TOKENS.finditer(sql):
        if match["line"] or match["block"]:
            parts.append((None, " "))
        else:
            parts.append((match["word"], match[0]))
    return parts


def parameters(sql: str) -> set[str]:
    """Return the names of the parameters, without those in strings, identifiers, comments and casts."""
    return {name for name, _ in _parts(sql) if name}


def bind_parameters(sql: str, values: Mapping[str, Any]) -> sa.TextClause:
    """Return the statement with its parameters bound; `values` has an entry for each, None for NULL."""
    text = "".join(part if name else part.replace(":", r"\:") for name, part in _parts(sql))
    text = text.strip().rstrip(";").rstrip()
    binds = [sa.bindparam(name, *_type(values[name])) for name in sorted(parameters(sql))]
    return sa.text(text).bindparams(*binds)


def _type(value: Any) -> tuple[Any, sa.types.TypeEngine[Any]]:
    """Return a value and its type. Strings are rendered without a cast, so that the database infers their
    type from the comparison: a scope's id may be a string, a number or a UUID there.
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
