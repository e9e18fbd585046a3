"""What is stored in columns whose types say too little: SQLite's all, PostgreSQL's numerics without limits.

All columns of a table are looked at in one pass over its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from export_pipeline.sources.introspection.naming import time_among
from export_pipeline.sources.introspection.schema import FieldFacts, TableFacts
from export_pipeline.sources.introspection.types import (
    INSTANT,
    WALL_CLOCK,
    Typed,
    decimal,
    declared_type,
    is_unlimited,
    widest,
)
from export_pipeline.sources.stored import Family, Stored, of_word

_EXPRESSIONS = 1500  # of the 2,000 that SQLite allows a select


def typed_fields(connection: sa.Connection, table: TableFacts) -> dict[str, Typed]:
    """The declared type of each of a table's columns, by name.

    Raises:
        SourceError: the values cannot be read; see `schema.connected`.
    """
    if table.dialect == "sqlite":
        return _of_sqlite(connection, table)
    digits = _digits(connection, table) if table.dialect == "postgresql" else {}
    return {field.name: declared_type(field.type, digits.get(field.name)) for field in table.fields}


def _digits(connection: sa.Connection, table: TableFacts) -> dict[str, tuple[int, int]]:
    """Most digits before and behind the point of PostgreSQL's numerics without limits, if they have any."""
    names = [field.name for field in table.fields if is_unlimited(field.type)]
    if not names:
        return {}
    expressions: list[sa.ColumnElement[Any]] = []
    for name in names:
        cell: sa.ColumnElement[Any] = sa.column(sa.quoted_name(name, True), sa.Numeric())
        scale = sa.func.scale(cell)  # null for NaN and the infinities, as they have no digits
        whole = sa.func.length(sa.cast(sa.func.trunc(sa.func.abs(cell)), sa.Text))
        expressions += [sa.func.max(whole).filter(scale.is_not(None)), sa.func.max(scale)]
    row = connection.execute(sa.select(*expressions).select_from(table.clause)).one()
    found = {name: (row[2 * i], row[2 * i + 1]) for i, name in enumerate(names)}
    return {name: (whole, behind) for name, (whole, behind) in found.items() if whole is not None}


# --- SQLite -----------------------------------------------------------------------------------------

_DAY = (
    "typeof({x}) = 'text' AND {x} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
    " AND substr({x}, 1, 4) > '0000' AND date(substr({x}, 1, 10), '+0 days') = substr({x}, 1, 10)"
)
_CLOCK = "substr({x}, 11) GLOB '[ T][0-9][0-9]:[0-9][0-9]*' AND strftime('%s', {x}) IS NOT NULL"
_ZONE = "substr({x}, 12) GLOB '*[Z+-]*'"
_DIGITS = "ltrim(CAST({x} AS TEXT), '+-')"
_IS_NUMBER = f"{_DIGITS} GLOB '[0-9]*' AND {_DIGITS} NOT GLOB '*[^0-9.]*' AND {_DIGITS} NOT GLOB '*.*.*'"
_WHOLE = f"instr({_DIGITS} || '.', '.') - 1"
_BEHIND = (
    f"CASE WHEN instr({_DIGITS}, '.') THEN length(rtrim({_DIGITS}, '0')) - instr({_DIGITS}, '.') ELSE 0 END"
)
_HEX = "lower(replace({x}, '-', ''))"

_COUNTS = {
    "values": "count({x})",
    "integers": "sum(typeof({x}) = 'integer')",
    "reals": "sum(typeof({x}) = 'real')",
    "blobs": "sum(typeof({x}) = 'blob')",
}
_TIMES = {
    "days": f"sum({_DAY} AND length({{x}}) = 10)",
    "moments": f"sum({_DAY} AND (length({{x}}) = 10 OR {_CLOCK}))",
    "zoned": f"sum({_DAY} AND {_ZONE})",
}
_OF_FAMILY: dict[Family, dict[str, str]] = {
    Family.BOOLEAN: {
        "flags": "sum(CASE WHEN typeof({x}) = 'text' THEN lower({x}) IN ('true', 'false', 't', 'f')"
        " ELSE typeof({x}) = 'integer' AND {x} IN (0, 1) END)"
    },
    Family.NUMERIC: {
        "numbers": f"sum(CASE WHEN typeof({{x}}) = 'blob' THEN 0 ELSE {_IS_NUMBER} END)",
        "whole": f"max(CASE WHEN {_IS_NUMBER} THEN {_WHOLE} END)",
        "behind": f"max(CASE WHEN {_IS_NUMBER} THEN {_BEHIND} END)",
    },
    **dict.fromkeys((Family.DATE, Family.WALL_CLOCK, Family.INSTANT), _TIMES),
    Family.UUID: {
        "uuids": "sum(CASE typeof({x}) WHEN 'blob' THEN length({x}) = 16"
        f" ELSE length({_HEX}) = 32 AND length({{x}}) IN (32, 36) AND {_HEX} NOT GLOB '*[^0-9a-f]*' END)"
    },
    Family.JSON: {"documents": "sum(typeof({x}) = 'text' AND json_valid({x}))"},
}


def _of_sqlite(connection: sa.Connection, table: TableFacts) -> dict[str, Typed]:
    families = {field.name: _family(field) for field in table.fields}
    wanted = [
        (name, count, template)
        for name, stored in families.items()
        for count, template in {**_COUNTS, **_OF_FAMILY.get(stored.family, {})}.items()
    ]
    found: dict[str, dict[str, int]] = {name: {} for name in families}
    for start in range(0, len(wanted), _EXPRESSIONS):
        part = wanted[start : start + _EXPRESSIONS]
        expressions: list[sa.ColumnElement[Any]] = [
            sa.literal_column(template.replace("{x}", _quoted(name))) for name, _, template in part
        ]
        row = connection.execute(sa.select(*expressions).select_from(table.clause)).one()
        for (name, count, _), value in zip(part, row, strict=True):
            found[name][count] = value or 0
    return {name: _stored_type(families[name], counts) for name, counts in found.items()}


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _family(field: FieldFacts) -> Stored:
    """What the declaration says; a text whose name is a time's is looked at as one."""
    stored = of_word(field.word)
    if stored.family is Family.TEXT and time_among([field.name]):
        return Stored(stored.word, Family.WALL_CLOCK)
    return stored


def _stored_type(stored: Stored, counts: Mapping[str, int]) -> Typed:
    """The type of a column, from its declaration and what is in it."""
    values, blobs = counts["values"], counts["blobs"]
    if stored.family is Family.UUID and counts["uuids"] == values:
        return Typed("uuid")
    if blobs:
        return Typed(
            None, "bytes, which no format can hold" if blobs == values else "bytes among other values"
        )
    number = values == counts["integers"] + counts["reals"]
    written = of_word(stored.word).family
    if written is Family.TEXT and not (values and values == counts.get("moments")):
        return Typed("text")
    match stored.family:
        case Family.BOOLEAN if counts["flags"] == values:
            return Typed("boolean")
        case Family.NUMERIC if counts["numbers"] == values:
            return _numeric(stored, counts)
        case Family.FLOAT if number:
            return Typed("float")
        case Family.DATE | Family.WALL_CLOCK | Family.INSTANT if counts["moments"] == values:
            return _time(stored, counts)
        case Family.JSON if counts["documents"] == values:
            return Typed("json")
        case Family.JSON | Family.UUID if not number:
            return Typed("text", f"declared {stored.word}, but not all values are")
    if values and number:
        note = "" if stored.family in (Family.INTEGER, Family.OTHER) else f"declared {stored.word}"
        return Typed("integer" if not counts["reals"] else "float", note)
    if not values and stored.family is Family.INTEGER:
        return Typed("integer")
    odd = "" if stored.family is Family.OTHER else f"declared {stored.word}, but not all values are"
    return Typed("text", odd)


def _numeric(stored: Stored, counts: Mapping[str, int]) -> Typed:
    whole, behind = counts["whole"], counts["behind"]
    if stored.precision is not None:
        digits, declared = stored.precision
        if whole <= digits - declared and behind <= declared:
            return decimal(digits - declared, declared)
        return widest(whole, max(behind, declared), f"declared {stored.word}, but values have more digits")
    if not counts["values"]:
        return widest(0, 10, "a number without limits and no values yet; say how many digits it needs")
    if not counts["reals"] and not behind and counts["integers"] == counts["values"]:
        return Typed("integer")
    return widest(whole, behind, f"a number without limits; its values have up to {behind} decimals")


def _time(stored: Stored, counts: Mapping[str, int]) -> Typed:
    only_days = counts["days"] == counts["values"]
    if stored.family is Family.DATE:
        if only_days:
            return Typed("date")
        return Typed(WALL_CLOCK.word, "declared date, but values have a time of day", WALL_CLOCK.settings)
    if only_days and counts["values"]:
        return Typed("date", "all values are days")
    return INSTANT if counts["zoned"] or stored.family is Family.INSTANT else WALL_CLOCK
