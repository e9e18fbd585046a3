"""SQL expressions in the form that each dialect's reader expects: exact, and cast only without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
import sqlalchemy.ext.compiler

from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import Column, Kind

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A select of any columns."""

MYSQL = ("mysql", "mariadb")
"""SQLAlchemy's names of the MySQL dialects, whose string comparisons ignore case and accents."""
BYTE_ORDER = {"postgresql": "C", "sqlite": "BINARY", **dict.fromkeys(MYSQL, "utf8mb4_bin")}
"""The collation, by dialect, that orders and compares strings by code point."""


def label_columns(select: Query, columns: Sequence[Column]) -> Query:
    """Return the select with its expressions cast to the columns' kinds and labelled with their names."""
    expressions = list(select.selected_columns)
    if len(expressions) != len(columns):
        raise ValueError(f"{len(expressions)} expressions for {len(columns)} columns")
    return select.with_only_columns(
        *(_cast(e, c).label(c.name) for e, c in zip(expressions, columns, strict=True)),
        maintain_column_froms=True,
    )


def _cast(expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
    target = column.arrow_type
    if column.kind is Kind.UUID:
        return _Native(expression)
    if pa.types.is_string(target):
        return as_text(expression)
    # A cast would round a numeric. So all its digits are read; values that are not integers are counted.
    if pa.types.is_floating(target):
        return _Decimal(expression) if type(expression.type) is sa.Numeric else _Float(expression)
    if pa.types.is_integer(target):
        return _Decimal(expression) if type(expression.type) is sa.Numeric else _Integer(expression)
    if pa.types.is_timestamp(target) or pa.types.is_date(target):
        return _Moment(expression)
    if pa.types.is_decimal(target):
        return _Decimal(expression)
    # Read as stored: SQLAlchemy would convert the string 'false' in a SQLite column to true.
    return sa.type_coerce(expression, sa.types.NullType())


def as_text(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a value as text. SQLite's own cast prints only 15 digits of a double, so 0.1 + 0.2 is 0.3."""
    is_text = isinstance(expression.type, sa.String)
    return sa.cast(expression, sa.Text) if is_text else _Text(expression)


class _Text(sa.sql.functions.GenericFunction[Any]):
    """A value as text, doubles with all their digits."""

    inherit_cache = True
    name = "export_text"
    type = sa.Text()


class _Float(sa.sql.functions.GenericFunction[Any]):
    """A double. In SQLite the stored value: its CAST would turn a string that is not a number into 0."""

    inherit_cache = True
    name = "export_float"
    type = sa.Double()


class _Integer(sa.sql.functions.GenericFunction[Any]):
    """A 64-bit integer. In SQLite the stored value, as for `_Float`.

    In MySQL too: its CAST would make -1 of the largest BIGINT UNSIGNED, and 2 of 1.5.
    """

    inherit_cache = True
    name = "export_integer"
    type = sa.BigInteger()


class _Decimal(sa.sql.functions.GenericFunction[Any]):
    """All digits of a number: in SQLite the stored value, elsewhere its text.

    PostgreSQL could send the numeric itself, but its driver makes strings of those, at four times the cost.
    """

    inherit_cache = True
    name = "export_decimal"
    type = sa.types.NullType()


class _Native(sa.sql.functions.GenericFunction[Any]):
    """A UUID: in PostgreSQL and SQLite the stored bytes or text, elsewhere its text."""

    inherit_cache = True
    name = "export_native"
    type = sa.types.NullType()


@sa.ext.compiler.compiles(_Text)
@sa.ext.compiler.compiles(_Decimal)
@sa.ext.compiler.compiles(_Native)
def _cast_to_text(element: Any, compiler: Any, **options: Any) -> str:
    return _as(sa.Text(), element, compiler, options)


@sa.ext.compiler.compiles(_Text, "sqlite")
def _text_in_sqlite(element: _Text, compiler: Any, **options: Any) -> str:
    value = compiler.process(element.clauses, **options)
    text = f"CAST({value} AS TEXT)"
    return (
        f"CASE WHEN typeof({value}) <> 'real' OR CAST({text} AS REAL) = {value} THEN {text}"
        f" WHEN {value} = 9e999 THEN 'Infinity' WHEN {value} = -9e999 THEN '-Infinity'"
        f" ELSE printf('%!.17g', {value}) END"
    )


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
@sa.ext.compiler.compiles(_Integer, "sqlite", *MYSQL)
@sa.ext.compiler.compiles(_Decimal, "sqlite")
@sa.ext.compiler.compiles(_Native, "sqlite")
def _as_stored(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


class _Moment(sa.sql.functions.GenericFunction[Any]):
    """A time in the form that its dialect's reader expects: PostgreSQL's own type, elsewhere stored text."""

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


def order_by(expression: sa.ColumnElement[Any], *, down: bool = False) -> sa.ColumnElement[Any]:
    """Return an ORDER BY expression that sorts nulls last."""
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
    return str(compiler.process(_direct(element, expression).nulls_last(), **options))


@sa.ext.compiler.compiles(_Up, *MYSQL, "mssql")
@sa.ext.compiler.compiles(_Down, *MYSQL, "mssql")
def _nulls_last_in_two(element: Any, compiler: Any, **options: Any) -> str:
    """Render the order in two terms, for dialects without NULLS LAST."""
    (expression,) = element.clauses
    terms = (sa.case((expression.is_(None), 1), else_=0), _direct(element, expression))
    return ", ".join(compiler.process(term, **options) for term in terms)


def _direct(element: Any, expression: sa.ColumnElement[Any]) -> sa.UnaryExpression[Any]:
    return expression.desc() if isinstance(element, _Down) else expression.asc()


def _as(type_: sa.types.TypeEngine[Any], element: Any, compiler: Any, options: dict[str, Any]) -> str:
    """Render a cast with the dialect's type name: MySQL, for example, has no VARCHAR in casts."""
    (expression,) = element.clauses
    return str(compiler.process(sa.cast(expression, type_), **options))
