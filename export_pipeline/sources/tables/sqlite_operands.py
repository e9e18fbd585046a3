"""Operands over the stored values of SQLite.

SQLite stores any value in any column: numbers as text, times as text in several spellings, UUIDs as text or
bytes. Each expression gives the value that the reader of cells gives, or null where it leaves a cell empty.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
import sqlalchemy.ext.compiler

from export_pipeline.sources.database_types import Family

_TEXT: sa.types.TypeEngine[Any] = sa.Text()
_NUMERIC: sa.types.TypeEngine[Any] = sa.Double()


class _Template(sa.sql.functions.FunctionElement[Any]):
    """An expression inserted into a template in place of {x}."""

    inherit_cache = False

    def __init__(self, template: str, expression: sa.ColumnElement[Any], type_: Any = _TEXT) -> None:
        super().__init__(expression)
        self.template, self.type = template, type_


@sa.ext.compiler.compiles(_Template)
def _fill(element: _Template, compiler: Any, **options: Any) -> str:
    return element.template.replace("{x}", compiler.process(element.clauses, **options))


_IS_NUMBER = "trim({x}) GLOB '*[0-9]*' AND trim({x}) NOT GLOB '*[^0-9.eE+-]*'"
_NUMBER = (
    "(CASE typeof({x}) WHEN 'integer' THEN {x} WHEN 'real' THEN {x}"
    f" WHEN 'text' THEN CASE WHEN {_IS_NUMBER} THEN CAST(trim({{x}}) AS NUMERIC) END END)"
)
_INTEGER = (
    "(CASE typeof({x}) WHEN 'integer' THEN {x}"
    " WHEN 'real' THEN CASE WHEN {x} = CAST({x} AS INTEGER) THEN CAST({x} AS INTEGER) END"
    f" WHEN 'text' THEN CASE WHEN {_IS_NUMBER}"
    # Not at once: the text '1e3' as an integer is 1.
    " AND CAST(trim({x}) AS NUMERIC) = CAST(CAST(trim({x}) AS NUMERIC) AS INTEGER)"
    " THEN CAST(CAST(trim({x}) AS NUMERIC) AS INTEGER) END END)"
)
_BOOLEAN = (
    "(CASE WHEN typeof({x}) IN ('integer', 'real') THEN {x} <> 0"
    " WHEN lower(trim({x})) IN ('true', 't', '1') THEN 1"
    " WHEN lower(trim({x})) IN ('false', 'f', '0') THEN 0 END)"
)
_IS_DAY = (
    "typeof({x}) = 'text' AND {x} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
    " AND substr({x}, 1, 4) > '0000' AND date(substr({x}, 1, 10), '+0 days') = substr({x}, 1, 10)"
)
_DAY = f"(CASE WHEN {_IS_DAY} AND trim(substr({{x}}, 11), ' T0:.') = '' THEN substr({{x}}, 1, 10) END)"
_ZONE = "ltrim(substr({x}, 20), '.0123456789')"
_ZONE_WITH_COLON = (
    f"CASE WHEN length({_ZONE}) = 5 THEN substr({_ZONE}, 1, 3) || ':' || substr({_ZONE}, 4) ELSE {_ZONE} END"
)
_MICROSECONDS = (
    f"(CASE WHEN {_IS_DAY} THEN coalesce("
    f"CAST(strftime('%s', substr({{x}}, 1, 19) || {_ZONE_WITH_COLON}) AS INTEGER) * 1000000"
    " + CASE WHEN substr({x}, 20, 1) = '.' THEN"
    f" CAST(substr(substr({{x}}, 21, length({{x}}) - 20 - length({_ZONE})) || '000000', 1, 6) AS INTEGER)"
    " ELSE 0 END, CAST(strftime('%s', {x}) AS INTEGER) * 1000000) END)"
)
_UUID = (
    "(CASE WHEN typeof({x}) = 'blob' AND length({x}) = 16 THEN lower(hex({x}))"
    " ELSE lower(replace(replace(replace({x}, '-', ''), '{', ''), '}', '')) END)"
)


def number(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the value as an integer or a double."""
    return _Template(_NUMBER, expression, _NUMERIC)


def integer(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the value as a 64-bit integer."""
    return _Template(_INTEGER, expression, _NUMERIC)


def boolean(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the value as 1 or 0."""
    return _Template(_BOOLEAN, expression, _NUMERIC)


def day(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the value as a date `yyyy-mm-dd`."""
    return _Template(_DAY, expression)


def microseconds(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a time in microseconds since 1970, as written; a time without a zone counts as UTC."""
    return _Template(_MICROSECONDS, expression, _NUMERIC)


def uuid(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a UUID as 32 lower-case hexadecimal digits."""
    return _Template(_UUID, expression)


_ANY_JSON = (
    "(CASE typeof({x}) WHEN 'blob' THEN json_quote(lower(hex({x}))) WHEN 'real' THEN"
    " CASE WHEN {x} > 1.7976931348623157e308 THEN '\"Infinity\"'"
    " WHEN {x} < -1.7976931348623157e308 THEN '\"-Infinity\"'"
    " WHEN CAST(printf('%!.15g', {x}) AS REAL) = {x} THEN json_quote({x}) ELSE printf('%!.17g', {x}) END"
    " ELSE json_quote({x}) END)"
)
_BOOLEAN_JSON = f"(CASE {_BOOLEAN} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE {_ANY_JSON} END)"
_RAW_JSON = f"(CASE WHEN typeof({{x}}) = 'text' AND json_valid({{x}}) THEN {{x}} ELSE {_ANY_JSON} END)"
_TIME_JSON = (
    f"(CASE WHEN {_IS_DAY} AND length({{x}}) > 10 THEN json_quote(replace("
    f"CASE WHEN substr({{x}}, 20, 1) = '.' AND {_ZONE} = ''"
    " THEN rtrim(rtrim({x}, '0'), '.') ELSE {x} END, ' ', 'T'))"
    f" ELSE {_ANY_JSON} END)"
)
_UUID_JSON = (
    "(CASE WHEN typeof({x}) = 'blob' AND length({x}) = 16 THEN json_quote(lower("
    "substr(hex({x}), 1, 8) || '-' || substr(hex({x}), 9, 4) || '-' || substr(hex({x}), 13, 4) || '-'"
    f" || substr(hex({{x}}), 17, 4) || '-' || substr(hex({{x}}), 21))) ELSE {_ANY_JSON} END)"
)
_JSON = {
    Family.BOOLEAN: _BOOLEAN_JSON,
    Family.JSON: _RAW_JSON,
    Family.WALL_CLOCK: _TIME_JSON,
    Family.INSTANT: _TIME_JSON,
    Family.UUID: _UUID_JSON,
}


def json_text(expression: sa.ColumnElement[Any], family: Family) -> sa.ColumnElement[Any]:
    """Return the value as JSON text, by its own type; booleans, times and json by the column's type."""
    return _Template(_JSON.get(family, _ANY_JSON), expression)
