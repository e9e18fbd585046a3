"""Expressions as the readers of each dialect take them: exact, and cast only where that loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import sqlalchemy as sa
import sqlalchemy.ext.compiler

from export_pipeline.core.columns import Column, Kind

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A select of any columns."""

MYSQL = ("mysql", "mariadb")
"""SQLAlchemy's names of MySQL's dialects, where texts are equal in whatever case and with any accents."""
BYTE_ORDER = {"postgresql": "C", "sqlite": "BINARY", **dict.fromkeys(MYSQL, "utf8mb4_bin")}
"""The collation of a dialect that orders and compares texts by code point."""


def labelled(select: Query, columns: Sequence[Column]) -> Query:
    """The select with its expressions cast to the columns' kinds and named as they are."""
    expressions = list(select.selected_columns)
    if len(expressions) != len(columns):
        raise ValueError(f"{len(expressions)} expressions for {len(columns)} columns")
    return select.with_only_columns(
        *(_cast(e, c).label(c.name) for e, c in zip(expressions, columns, strict=True)),
        maintain_column_froms=True,
    )


def _cast(expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
    wanted = column.arrow_type
    if column.kind is Kind.UUID:
        return _Native(expression)
    if pa.types.is_string(wanted):
        return sa.cast(expression, sa.Text)
    # A cast would round a numeric; its digits are read, and must be those of an integer, or are counted.
    if pa.types.is_floating(wanted):
        return _Decimal(expression) if type(expression.type) is sa.Numeric else _Float(expression)
    if pa.types.is_integer(wanted):
        return _Decimal(expression) if type(expression.type) is sa.Numeric else _Integer(expression)
    if pa.types.is_timestamp(wanted) or pa.types.is_date(wanted):
        return _Moment(expression)
    if pa.types.is_decimal(wanted):
        return _Decimal(expression)
    # As stored: SQLAlchemy would take the text 'false' in a SQLite column for true.
    return sa.type_coerce(expression, sa.types.NullType())


class _Float(sa.sql.functions.GenericFunction[Any]):
    """A double. SQLite's own value, whatever it is: its CAST would make 0 of a text that is no number."""

    inherit_cache = True
    name = "export_float"
    type = sa.Double()


class _Integer(sa.sql.functions.GenericFunction[Any]):
    """A 64-bit integer; of SQLite the value as it is, as for `_Float`."""

    inherit_cache = True
    name = "export_integer"
    type = sa.BigInteger()


class _Decimal(sa.sql.functions.GenericFunction[Any]):
    """Every digit of a number: of SQLite the value as it is, elsewhere its text.

    PostgreSQL could send a numeric as it is, but its driver makes texts of those, at four times the cost.
    """

    inherit_cache = True
    name = "export_decimal"
    type = sa.types.NullType()


class _Native(sa.sql.functions.GenericFunction[Any]):
    """A uuid: of PostgreSQL and SQLite the bytes or text that are stored, elsewhere its text."""

    inherit_cache = True
    name = "export_native"
    type = sa.types.NullType()


@sa.ext.compiler.compiles(_Decimal)
@sa.ext.compiler.compiles(_Native)
def _as_text(element: Any, compiler: Any, **options: Any) -> str:
    return _as(sa.Text(), element, compiler, options)


@sa.ext.compiler.compiles(_Decimal, "postgresql")
def _decimal_in_postgres(element: _Decimal, compiler: Any, **options: Any) -> str:
    return f"CAST(CAST({compiler.process(element.clauses, **options)} AS NUMERIC) AS TEXT)"


@sa.ext.compiler.compiles(_Native, "postgresql")
def _native_in_postgres(element: _Native, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@sa.ext.compiler.compiles(_Float)
def _float_cast(element: _Float, compiler: Any, **options: Any) -> str:
    return _as(sa.Double(), element, compiler, options)


@sa.ext.compiler.compiles(_Integer)
def _integer_cast(element: _Integer, compiler: Any, **options: Any) -> str:
    return _as(sa.BigInteger(), element, compiler, options)


@sa.ext.compiler.compiles(_Float, "sqlite")
@sa.ext.compiler.compiles(_Integer, "sqlite")
@sa.ext.compiler.compiles(_Decimal, "sqlite")
@sa.ext.compiler.compiles(_Native, "sqlite")
def _number_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


class _Moment(sa.sql.functions.GenericFunction[Any]):
    """A time as the reader of its dialect takes it: PostgreSQL's own type, elsewhere the stored text."""

    inherit_cache = True
    name = "export_moment"
    type = sa.Text()


@sa.ext.compiler.compiles(_Moment)
def _moment_as_text(element: _Moment, compiler: Any, **options: Any) -> str:
    return _as(sa.Text(), element, compiler, options)


@sa.ext.compiler.compiles(_Moment, "postgresql")
def _moment_in_postgres(element: _Moment, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@sa.ext.compiler.compiles(_Moment, "sqlite")
def _moment_in_sqlite(element: _Moment, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS TEXT)"


def ordered(expression: sa.ColumnElement[Any], *, down: bool = False) -> sa.ColumnElement[Any]:
    """What to order rows by: this expression, rows without a value last."""
    return (_Down if down else _Up)(expression)


class _Up(sa.sql.functions.GenericFunction[Any]):
    inherit_cache = True
    name = "export_up"
    type = sa.types.NullType()


class _Down(sa.sql.functions.GenericFunction[Any]):
    inherit_cache = True
    name = "export_down"
    type = sa.types.NullType()


@sa.ext.compiler.compiles(_Up)
@sa.ext.compiler.compiles(_Down)
def _nulls_last(element: Any, compiler: Any, **options: Any) -> str:
    (expression,) = element.clauses
    return str(compiler.process(_directed(element, expression).nulls_last(), **options))


@sa.ext.compiler.compiles(_Up, *MYSQL, "mssql")
@sa.ext.compiler.compiles(_Down, *MYSQL, "mssql")
def _nulls_last_in_two(element: Any, compiler: Any, **options: Any) -> str:
    """These have no NULLS LAST."""
    (expression,) = element.clauses
    terms = (sa.case((expression.is_(None), 1), else_=0), _directed(element, expression))
    return ", ".join(compiler.process(term, **options) for term in terms)


def _directed(element: Any, expression: sa.ColumnElement[Any]) -> sa.UnaryExpression[Any]:
    return expression.desc() if isinstance(element, _Down) else expression.asc()


def _as(type_: sa.types.TypeEngine[Any], element: Any, compiler: Any, options: dict[str, Any]) -> str:
    """A cast in the dialect's own words: MySQL, for one, knows no VARCHAR there."""
    (expression,) = element.clauses
    return str(compiler.process(sa.cast(expression, type_), **options))
