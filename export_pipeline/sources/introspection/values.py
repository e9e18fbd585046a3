"""Examines values where types are not enough: all of SQLite, numerics without limits, booleans of MySQL.

All columns of a table are examined in one pass over its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from export_pipeline.sources.database_types import Family, Stored, parse_declared_type
from export_pipeline.sources.introspection.naming import find_time
from export_pipeline.sources.introspection.schema import FieldFacts, TableFacts
from export_pipeline.sources.introspection.types import (
    INSTANT,
    WALL_CLOCK,
    Typed,
    decimal,
    declared_type,
    is_flag,
    is_unlimited,
    widest,
)

_NUMBERS = Typed("integer", "TINYINT(1), but not all values are 0 or 1")
_EXPRESSIONS = 1500  # SQLite allows 2,000 in a select
_LAST_DIGIT = "5e-16"  # less than half a unit of the last of the 15 digits that SQLite shows of a double


def typed_fields(connection: sa.Connection, table: TableFacts) -> dict[str, Typed]:
    """Return the declared type of each column of a table, by name.

    Raises:
        SourceError: The values cannot be read; see `schema.connected`.
    """
    if table.dialect == "sqlite":
        return _of_sqlite(connection, table)
    digits = _digits(connection, table) if table.dialect == "postgresql" else {}
    types = {field.name: declared_type(field.type, digits.get(field.name)) for field in table.fields}
    return types | dict.fromkeys(_flags_with_numbers(connection, table), _NUMBERS)


def _flags_with_numbers(connection: sa.Connection, table: TableFacts) -> list[str]:
    """Return the columns of MySQL's type BOOLEAN that hold other numbers than 0 and 1."""
    names = [field.name for field in table.fields if is_flag(field.type)]
    if not names:
        return []
    cells: list[sa.ColumnElement[int]] = [
        sa.column(sa.quoted_name(name, True), sa.Integer()) for name in names
    ]
    tests = [sa.func.max(sa.case((cell.in_([0, 1]), 0), (cell.is_not(None), 1))) for cell in cells]
    row = connection.execute(sa.select(*tests).select_from(table.clause)).one()
    return [name for name, other in zip(names, row, strict=True) if other]


def _digits(connection: sa.Connection, table: TableFacts) -> dict[str, tuple[int, int]]:
    """Return the maximum digits before and after the point of numerics without limits, if they have any."""
    names = [field.name for field in table.fields if is_unlimited(field.type)]
    if not names:
        return {}
    expressions: list[sa.ColumnElement[Any]] = []
    for name in names:
        cell: sa.ColumnElement[Any] = sa.column(sa.quoted_name(name, True), sa.Numeric())
        scale = sa.func.scale(cell)  # null for NaN and the infinities, which have no digits
        whole = sa.func.length(sa.cast(sa.func.trunc(sa.func.abs(cell)), sa.Text))
        expressions += [sa.func.max(whole).filter(scale.is_not(None)), sa.func.max(scale)]
    row = connection.execute(sa.select(*expressions).select_from(table.clause)).one()
    digits = {name: (row[2 * i], row[2 * i + 1]) for i, name in enumerate(names)}
    return {name: (whole, behind) for name, (whole, behind) in digits.items() if whole is not None}


# --- SQLite -----------------------------------------------------------------------------------------

_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_DIGITS = "ltrim(CAST({x} AS TEXT), '+-')"
_HEX = "lower(replace({x}, '-', ''))"
_ODD, _IS_DAY, _IS_MOMENT, _IS_ZONED = range(4)

# Over all values of a column: the minimum of a condition means "holds for all", the maximum "for any".
_KINDS = {"low": "min(nullif(typeof({x}), 'null'))", "high": "max(nullif(typeof({x}), 'null'))"}
_TIME = (
    f"CASE WHEN typeof({{x}}) <> 'text' OR julianday({{x}}) IS NULL THEN {_ODD}"
    f" WHEN {{x}} GLOB '{_DAY}' THEN {_IS_DAY}"
    f" WHEN {{x}} NOT GLOB '{_DAY}[ T][0-9][0-9]:[0-9][0-9]*' THEN {_ODD}"
    f" WHEN substr({{x}}, 17) GLOB '*[Z+-]*' THEN {_IS_ZONED} ELSE {_IS_MOMENT} END"
)
_CONDITIONS: dict[Family, str] = {
    Family.BOOLEAN: "CASE WHEN typeof({x}) = 'text' THEN lower({x}) IN ('true', 'false', 't', 'f')"
    " ELSE typeof({x}) = 'integer' AND {x} IN (0, 1) END",
    **dict.fromkeys((Family.DATE, Family.WALL_CLOCK, Family.INSTANT), _TIME),
    Family.UUID: "CASE typeof({x}) WHEN 'blob' THEN length({x}) = 16"
    f" ELSE length({_HEX}) = 32 AND length({{x}}) IN (32, 36) AND {_HEX} NOT GLOB '*[^0-9a-f]*' END",
    Family.JSON: "typeof({x}) = 'text' AND json_valid({x})",
}
_NUMBER = f"{_DIGITS} GLOB '[0-9]*' AND {_DIGITS} NOT GLOB '*[^0-9.]*' AND {_DIGITS} NOT GLOB '*.*.*'"
_MEASURES = {
    "least": f"CASE WHEN typeof({{x}}) = 'blob' THEN 0 ELSE {_NUMBER} END",
    "whole": f"instr({_DIGITS} || '.', '.') - 1",
    "behind": f"CASE WHEN instr({_DIGITS}, '.')"
    f" THEN length(rtrim({_DIGITS}, '0')) - instr({_DIGITS}, '.') ELSE 0 END",
}


def _of_sqlite(connection: sa.Connection, table: TableFacts) -> dict[str, Typed]:
    stored = {field.name: _expected(field) for field in table.fields}
    answers = _ask(connection, table, {name: _questions(one) for name, one in stored.items()})
    # Measure only numbers whose digits differ from the declared ones, because measuring is slow.
    unsure = [n for n, one in stored.items() if one.family is Family.NUMERIC and not answers[n].get("least")]
    for name, measured in _ask(connection, table, dict.fromkeys(unsure, _measures())).items():
        answers[name] |= measured
    return {name: _stored_type(stored[name], facts) for name, facts in answers.items()}


def _ask(
    connection: sa.Connection, table: TableFacts, questions: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """Return the results of SQL tests of columns, by column and test; None if there are no values."""
    selected = [(name, what, sql) for name, own in questions.items() for what, sql in own.items()]
    answers: dict[str, dict[str, Any]] = {name: {} for name in questions}
    for start in range(0, len(selected), _EXPRESSIONS):
        part = selected[start : start + _EXPRESSIONS]
        expressions: list[sa.ColumnElement[Any]] = [
            sa.literal_column(sql.replace("{x}", _quote(name))) for name, _, sql in part
        ]
        row = connection.execute(sa.select(*expressions).select_from(table.clause)).one()
        for (name, what, _), answer in zip(part, row, strict=True):
            answers[name][what] = answer
    return answers


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _expected(field: FieldFacts) -> Stored:
    """Return the declared type; a text column with a time's name is tested as a time."""
    stored = parse_declared_type(field.type_name)
    if stored.family is Family.TEXT and find_time([field.name]):
        return Stored(stored.type_name, Family.WALL_CLOCK)
    return stored


def _questions(stored: Stored) -> dict[str, str]:
    """Return the tests to apply to the values of a column with this declared type."""
    condition = _CONDITIONS.get(stored.family)
    if stored.family is Family.NUMERIC and stored.precision is not None:
        precision, scale = stored.precision
        limit = f"1e{precision - scale}"
        condition = (
            f"CASE typeof({{x}}) WHEN 'integer' THEN abs({{x}} + 0.0) < {limit}"
            f" WHEN 'real' THEN abs({{x}}) < {limit}"
            f" AND abs({{x}} - round({{x}}, {scale})) <= {_LAST_DIGIT} * abs({{x}}) ELSE 0 END"
        )
    if condition is None:
        return dict(_KINDS)
    present = f"CASE WHEN {{x}} IS NOT NULL THEN {condition} END"
    most = {"most": f"max({present})"} if condition is _TIME else {}
    return {**_KINDS, "least": f"min({present})", **most}


def _measures() -> dict[str, str]:
    number = f"CASE WHEN {{x}} IS NOT NULL THEN {_MEASURES['least']} END"
    digits = {what: f"max(CASE WHEN {_NUMBER} THEN {_MEASURES[what]} END)" for what in ("whole", "behind")}
    return {"numbers": f"min({number})", **digits}


def _stored_type(stored: Stored, facts: Mapping[str, Any]) -> Typed:
    """Return the type of a column from its declaration and its values."""
    low, high = facts["low"], facts["high"]
    empty, number = low is None, low in ("integer", "real") and high in ("integer", "real")
    holds = empty or bool(facts.get("least"))
    if stored.family is Family.UUID and holds:
        return Typed("uuid")
    if low == "blob" and high == low:
        return Typed(None, "bytes, which no format can hold")
    if low == "blob":
        return Typed("text", "some values are bytes; what of them is not UTF-8 becomes U+FFFD")
    if parse_declared_type(stored.type_name).family is Family.TEXT and (
        empty or not holds or stored.family is Family.TEXT
    ):
        return Typed("text")
    match stored.family:
        case Family.BOOLEAN | Family.JSON if holds:
            return Typed(stored.family.value)
        case Family.NUMERIC if empty or holds or facts.get("numbers"):
            return _numeric(stored, facts, holds)
        case Family.FLOAT if empty or number:
            return Typed("float")
        case Family.INTEGER if empty:
            return Typed("integer")
        case Family.DATE | Family.WALL_CLOCK | Family.INSTANT if holds:
            return _time(stored, facts)
    note = f"declared {stored.type_name}, but not all values are"
    if number:
        return Typed(
            "integer" if high == "integer" else "float",
            "" if stored.family in (Family.INTEGER, Family.OTHER) else note,
        )
    return Typed("text", "" if stored.family is Family.OTHER else note)


def _numeric(stored: Stored, facts: Mapping[str, Any], holds: bool) -> Typed:
    if stored.precision is not None:
        digits, declared = stored.precision
        if holds or (facts["whole"] <= digits - declared and facts["behind"] <= declared):
            return decimal(digits - declared, declared)
        scale = max(facts["behind"], declared)
        return widest(facts["whole"], scale, f"declared {stored.type_name}, but values have more digits")
    if facts["low"] is None:
        return widest(0, 10, "a number without limits and no values yet; say how many digits it needs")
    if facts["high"] == "integer":
        return Typed("integer")
    scale = facts["behind"]
    return widest(facts["whole"], scale, f"a number without limits; its values have up to {scale} decimals")


def _time(stored: Stored, facts: Mapping[str, Any]) -> Typed:
    only_days = facts["most"] is None or facts["most"] == _IS_DAY
    if stored.family is Family.DATE:
        if only_days:
            return Typed("date")
        note = "declared date, but values have a time of day"
        return Typed(
            "timestamp", note, INSTANT.settings if facts["most"] == _IS_ZONED else WALL_CLOCK.settings
        )
    if only_days and facts["most"] is not None:
        return Typed("date", "all values are days")
    return INSTANT if facts["most"] == _IS_ZONED or stored.family is Family.INSTANT else WALL_CLOCK
