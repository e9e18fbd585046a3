"""Sums that the database itself computes, in the statement that counts the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.database_types import Family
from export_pipeline.sources.snapshot import Snapshot
from export_pipeline.sources.tables.operands import Operand
from export_pipeline.sources.tables.query import TableQuery
from export_pipeline.sources.tables.relations import Expression, Frame
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.types import ColumnType

_LARGEST = 1.7976931348623157e308  # beyond it are the infinities, and NaN in PostgreSQL
_WIDE = Context(prec=400)
_SCALE = 2.0**64
_DOUBLES = (Kind.FLOAT, Kind.PERCENT)
_LOW_BITS = 2**32
# With up to four sums each. PostgreSQL takes 1,664 expressions. SQLite compares each sum with all others
# before it begins, which takes seconds for 300 columns and a tenth of a second for 60.
_COLUMNS = {"postgresql": 300, "sqlite": 60}
_INEXACT = 1e-9
"""Maximum rounding error of a database's sum of doubles, relative to the sum of absolute values."""


Count = tuple[int, dict[str, float], frozenset[str], dict[str, str]]
"""The number of rows; the sums by column, with the sum of absolute values as `|column|` and, if the database
adds doubles, the maximum rounding error as `±column`; the decimal columns that hold NaN or infinities; and
the exact sums by column, if the database does not add doubles."""


def count_and_totals(snapshot: Snapshot, dataset: TableQuery, columns: Sequence[ColumnSpec]) -> Count:
    """Count the rows and sum the numeric columns.

    Cells that are not finite numbers are left out. No sum overflows in the database: large doubles are
    added in a smaller unit, apart from the others.
    """
    return count_by_group(snapshot, dataset, columns)[None]


def count_by_group(
    snapshot: Snapshot, dataset: TableQuery, columns: Sequence[ColumnSpec]
) -> dict[str | None, Count]:
    """Do as `count_and_totals` for each group of rows.

    Returns:
        Counts by the value of the query's group; under None that of a group without rows, or of all rows if
        the query has no group.
    """
    numbers = [column for column in columns if _is_summed(column, dataset)]
    most = _COLUMNS.get(snapshot.dialect, 60)
    counts = _count(snapshot, dataset, numbers[:most])
    for start in range(most, len(numbers), most):
        more = _count(snapshot, dataset, numbers[start : start + most])
        for group, (rows, totals, special, exact) in counts.items():
            _, more_totals, others, more_exact = more[group]
            counts[group] = rows, totals | more_totals, special | others, exact | more_exact
    return counts


def _count(snapshot: Snapshot, dataset: TableQuery, numbers: Sequence[ColumnSpec]) -> dict[str | None, Count]:
    may_be_special = [
        column for column in numbers if column.parsed.precision and snapshot.dialect == "postgresql"
    ]
    parts: list[tuple[str, bool, float, Kind]] = []
    inexact: set[str] = set()

    def make(frame: Frame) -> list[Expression]:
        expressions: list[Expression] = [sa.func.count()]
        for column in numbers:
            about = dataset.operand(frame, column)
            exactly = _is_sqlite_integer(about, column.parsed)
            if not exactly and (about.dialect == "sqlite" or about.stored.family is Family.FLOAT):
                inexact.add(column.name)
            # SQLite would print only 15 digits of a double.
            kind = (Kind.INTEGER if exactly else Kind.FLOAT) if about.dialect == "sqlite" else Kind.TEXT
            for negative, unit, expression in _parts(about, column.parsed):
                parts.append((column.name, negative, unit, kind))
                expressions.append(expression)
        for column in may_be_special:
            expressions.append(_special(dataset.operand(frame, column)))
        return expressions

    select = dataset.facts(make)
    kinds = [*dataset.group, Column("rows", "Rows", Kind.INTEGER)]
    kinds += [Column(f"sum_{place}", "Sum", kind) for place, (*_, kind) in enumerate(parts)]
    kinds += [Column(f"special_{column.name}", "Special", Kind.BOOLEAN) for column in may_be_special]

    def counted(row: Mapping[str, Any]) -> Count:
        special = frozenset(column.name for column in may_be_special if row.get(f"special_{column.name}"))
        totals: dict[str, Fraction] = {}
        for place, (name, negative, unit, _) in enumerate(parts):
            value = Fraction(Decimal(row.get(f"sum_{place}") or 0)) * Fraction(unit)
            totals[name] = totals.get(name, Fraction()) + value
            totals[f"|{name}|"] = totals.get(f"|{name}|", Fraction()) + (-value if negative else value)
        doubles = {name: _double(total) for name, total in totals.items()}
        lost = {f"±{name}": _INEXACT * doubles[f"|{name}|"] for name in inexact}
        exact = {one.name: _decimal(totals[one.name]) for one in numbers if one.name not in inexact}
        return row.get("rows", 0), doubles | lost, special, exact

    key = dataset.group[0].name if dataset.group else None
    return {None: counted({})} | {key and row[key]: counted(row) for row in snapshot.rows(select, kinds)}


def _special(about: Operand) -> Expression:
    """Return the condition that some cell of a PostgreSQL number column is NaN or infinite."""
    x = about.expression
    if about.stored.family is not Family.NUMERIC:
        return sa.false()
    # Infinity minus itself is NaN; a numeric with limits cannot hold infinity.
    nan = sa.cast(sa.literal("NaN", sa.Text()), sa.Numeric)
    return sa.func.bool_or(x == nan if about.stored.precision else (x - x) != _number("0"))


def _decimal(total: Fraction) -> str:
    """Render a sum of decimals: a fraction whose denominator divides a power of ten."""
    return str(_WIDE.divide(Decimal(total.numerator), Decimal(total.denominator)))


def _double(total: Fraction) -> float:
    try:
        return float(total)
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")


def _is_summed(column: ColumnSpec, dataset: TableQuery) -> bool:
    is_own = column.nested is None and column.separator is None and column.name not in dataset.hidden
    return is_own and column.parsed.kind.is_number


def _parts(about: Operand, type_: ColumnType) -> list[tuple[bool, float, Expression]]:
    """Return the partial sums of a column: (True for negative numbers, unit, sum)."""
    x, zero = about.expression, _number("0")
    below, above = x < zero, x >= zero
    if _is_sqlite_integer(about, type_):
        return [
            (negative, unit, _sum(sa.func.sum, half, where))
            for negative, where in ((True, below), (False, above))
            for unit, half in ((float(_LOW_BITS), x.op(">>")(32)), (1.0, x.op("&")(_LOW_BITS - 1)))
        ]
    add = sa.func.total if about.dialect == "sqlite" else sa.func.sum
    if about.stored.family is Family.FLOAT or (about.dialect == "sqlite" and type_.kind in _DOUBLES):
        return _doubles(x, add)
    if about.stored.family is Family.NUMERIC:
        nan = sa.cast(sa.literal("NaN", sa.Text()), sa.Numeric)
        if about.dialect == "postgresql":
            # Infinity minus itself is NaN; a numeric with limits cannot hold infinity.
            finite = x != nan if about.stored.precision else (x - x) == zero
            below, above = sa.and_(below, finite), sa.and_(above, finite)
    if about.dialect == "sqlite":  # any column may hold an infinity, or a text that is one as a double
        largest = _number(repr(_LARGEST))
        below, above = sa.and_(below, x >= -largest), sa.and_(above, x <= largest)
    return [(True, 1.0, _sum(add, x, below)), (False, 1.0, _sum(add, x, above))]


def _is_sqlite_integer(about: Operand, type_: ColumnType) -> bool:
    """Return whether the cells are 64-bit integers of SQLite, whose halves it adds exactly."""
    return about.dialect == "sqlite" and (type_.kind is Kind.INTEGER or type_.minor)


def _doubles(x: Expression, add: Any) -> list[tuple[bool, float, Expression]]:
    zero, one, less = _number("0"), _number("1.0"), _number("-1.0")
    largest, scaled = _number(repr(_LARGEST)), x / _number(f"{_SCALE:.1f}")
    return [
        (True, _SCALE, _sum(add, scaled, sa.and_(x <= less, x >= -largest))),
        (True, 1.0, _sum(add, x, sa.and_(x < zero, x > less))),
        (False, 1.0, _sum(add, x, sa.and_(x >= zero, x < one))),
        (False, _SCALE, _sum(add, scaled, sa.and_(x >= one, x <= largest))),
    ]


def _sum(add: Any, x: Expression, where: Any) -> Expression:
    total: Expression = add(sa.case((where, x)))
    return total


def _number(digits: str) -> Expression:
    return sa.literal_column(digits, sa.types.NullType())
