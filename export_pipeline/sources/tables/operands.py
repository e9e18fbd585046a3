"""Operands: fields that compare with typed values by the same rules on every database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, auto
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from export_pipeline.core.columns import Kind
from export_pipeline.sources.casts import BYTE_ORDER, MYSQL, as_text
from export_pipeline.sources.database_types import Family, Stored
from export_pipeline.sources.snapshot import SourceError
from export_pipeline.sources.tables import sqlite_operands
from export_pipeline.tabular.types import ColumnType

Expression = sa.ColumnElement[Any]
Condition = sa.ColumnElement[bool]


class Domain(Enum):
    """The kinds of values that are compared."""

    TEXT = auto()
    NUMBER = auto()
    BOOLEAN = auto()
    DATE = auto()
    TIME = auto()
    UUID = auto()


_OF_KIND = {
    Kind.BOOLEAN: Domain.BOOLEAN,
    Kind.DATE: Domain.DATE,
    Kind.TIMESTAMP: Domain.TIME,
    Kind.UUID: Domain.UUID,
}
_OF_FAMILY = {
    **dict.fromkeys((Family.INTEGER, Family.NUMERIC, Family.FLOAT), Domain.NUMBER),
    Family.BOOLEAN: Domain.BOOLEAN,
    Family.DATE: Domain.DATE,
    **dict.fromkeys((Family.WALL_CLOCK, Family.INSTANT), Domain.TIME),
    Family.UUID: Domain.UUID,
}
_LARGEST = 2**63
_INTEGER_DIGITS = 20
_LEAST_INTEGER: Expression = sa.literal_column(str(-(2**63)), sa.types.NullType())
_LARGEST_INTEGER: Expression = sa.literal_column(str(2**63 - 1), sa.types.NullType())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Operand:
    """A field as an operand of comparisons.

    Attributes:
        expression: The SQL expression to compare.
        domain: The kind of its values.
        stored: The field's type in the database.
        dialect: SQLAlchemy's name of the database's dialect.
        zone: For times: the zone of days and of times without a zone; None for local times.
    """

    expression: Expression
    domain: Domain
    stored: Stored
    dialect: str
    zone: str | None = "UTC"

    def literal(self, value: Any) -> Expression | None:
        """Return a value as an expression comparable with this operand; None if nothing can equal it."""
        match self.domain:
            case Domain.TEXT:
                text = str(value)
                return sa.literal(text, sa.Text()) if can_store(text, self.stored, self.dialect) else None
            case Domain.NUMBER:
                return self._number(value)
            case Domain.BOOLEAN:
                flag = bool(value)
                return sa.literal(int(flag)) if self.dialect == "sqlite" else sa.literal(flag)
            case Domain.DATE:
                day = value.date() if isinstance(value, datetime) else value
                if self.dialect == "sqlite":
                    return sa.literal(day.isoformat())
                return sa.cast(sa.literal(day.isoformat(), sa.Text()), sa.Date)
            case Domain.TIME:
                return self._time(value)
            case Domain.UUID:
                return self._uuid(str(value))

    def one_of(self, values: Sequence[Any]) -> Condition:
        """Return the condition that the operand equals one of the values."""
        literals = [literal for value in values if (literal := self.literal(value)) is not None]
        if not literals:
            return sa.false()
        if self.domain is Domain.TEXT and self.dialect in MYSQL:
            # The column's own comparison can use an index, but treats A, a and ä as equal, and fails on
            # characters that the column's encoding lacks.
            as_bytes = [sa.cast(literal, sa.LargeBinary) for literal in literals]
            # Convert to text first: the column's own encoding may have other bytes.
            exactly = sa.cast(sa.cast(self.expression, sa.Text), sa.LargeBinary).in_(as_bytes)
            is_plain = all(str(value).isascii() for value in values)
            return sa.and_(self.expression.in_(literals), exactly) if is_plain else exactly
        if self.domain is Domain.TEXT and self.dialect == "postgresql":
            # As above: the column's own comparison can use an index, but its collation may ignore case.
            exact = sa.collate(self.expression, BYTE_ORDER[self.dialect])
            return sa.and_(self.expression.in_(literals), exact.in_(literals))
        if len(literals) == 1:
            return self.expression == literals[0]
        bare = [literal.value for literal in literals if isinstance(literal, sa.BindParameter)]
        if self.dialect == "sqlite" and len(bare) == len(literals) and _fit_json(bare):
            # One parameter for all values: SQLite limits the number of parameters.
            listed = sa.func.json_each(sa.literal(json.dumps(bare))).table_valued("value")
            return self.expression.in_(sa.select(listed.c.value))
        return self.expression.in_(literals)

    def day(self, day: date) -> tuple[datetime, datetime | None]:
        """Return the first moment of a day in the zone, and that of the next day; None after the last day."""
        after = self._midnight(day + timedelta(days=1)) if day < date.max else None
        return self._midnight(day), after

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), ZoneInfo(self.zone) if self.zone else None)

    def _number(self, value: Any) -> Expression | None:
        if isinstance(value, str):
            value = Decimal(value)
        if value != value:
            return None
        if self.dialect == "sqlite":
            if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _INTEGER_DIGITS:
                # More digits are never an integer of SQLite, and 1e999999999 would fill the memory as int.
                value = int(value) if value == value.to_integral_value() else value
            exact = isinstance(value, int) and -_LARGEST <= value < _LARGEST
            return sa.literal(value if exact else _double(value))
        if isinstance(value, bool | int):
            return sa.literal(int(value), sa.BigInteger())
        if isinstance(value, float) and self.stored.family is Family.FLOAT:
            return sa.cast(sa.literal(repr(value).replace("inf", "Infinity"), sa.Text()), sa.Double)
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return None
        exact_text = str(value) if isinstance(value, Decimal) else repr(value)
        return sa.cast(sa.literal(exact_text, sa.Text()), sa.Numeric)

    def _time(self, value: datetime) -> Expression:
        naive_stored = self.stored.family is not Family.INSTANT
        if self.zone is None:
            moment = value.replace(tzinfo=UTC)
        else:
            moment = value if value.tzinfo else value.replace(tzinfo=ZoneInfo(self.zone))
            try:
                moment = moment.astimezone(UTC)
            except OverflowError:
                moment = (datetime.min if moment.year < 5000 else datetime.max).replace(tzinfo=UTC)
        if self.dialect == "sqlite":
            return sa.literal((moment - _EPOCH) // timedelta(microseconds=1))
        if naive_stored:
            moment = moment.replace(tzinfo=None)
        if self.dialect != "postgresql":
            return sa.literal(moment, sa.DateTime(timezone=not naive_stored))
        return sa.cast(sa.literal(moment.isoformat(), sa.Text()), sa.DateTime(timezone=not naive_stored))

    def _uuid(self, text: str) -> Expression | None:
        try:
            known = uuid.UUID(text)
        except ValueError:
            if self.dialect == "postgresql" and self.stored.family is Family.UUID:
                return None
            bare = text.lower().replace("-", "").replace("{", "").replace("}", "")
            return sa.literal(bare, sa.Text()) if can_store(text, self.stored, self.dialect) else None
        if self.dialect == "postgresql" and self.stored.family is Family.UUID:
            return sa.cast(sa.literal(str(known), sa.Text()), sa.Uuid)
        return sa.literal(known.hex, sa.Text())


def make_operand(
    expression: Expression,
    stored: Stored,
    dialect: str,
    type_: ColumnType | None = None,
    zone: str | None = "UTC",
    byte_order: str = "C",
) -> Operand:
    """Return a field as an operand, of the declared type if there is one, else of the database's."""
    if type_ is None:
        domain = _OF_FAMILY.get(stored.family, Domain.TEXT)
    else:
        domain = Domain.NUMBER if type_.kind.is_number else _OF_KIND.get(type_.kind, Domain.TEXT)
    integer = type_ is not None and (type_.kind is Kind.INTEGER or type_.minor)
    if dialect == "sqlite":
        shaped = _in_sqlite(expression, stored, domain, integer)
    else:
        shaped = _elsewhere(expression, stored, domain, dialect)
        if integer and dialect in MYSQL and stored.family is Family.NUMERIC:
            # As its cells are read: those beyond 64 bits, as of BIGINT UNSIGNED, are left empty.
            shaped = sa.case((sa.and_(shaped >= _LEAST_INTEGER, shaped <= _LARGEST_INTEGER), shaped))
    return Operand(shaped, domain, stored, dialect, zone)


def _in_sqlite(expression: Expression, stored: Stored, domain: Domain, integer: bool) -> Expression:
    match domain:
        case Domain.NUMBER:
            return sqlite_operands.integer(expression) if integer else sqlite_operands.number(expression)
        case Domain.BOOLEAN:
            return sqlite_operands.boolean(expression)
        case Domain.DATE:
            return sqlite_operands.day(expression)
        case Domain.TIME:
            return sqlite_operands.microseconds(expression)
        case Domain.UUID:
            return sqlite_operands.uuid(expression)
        case Domain.TEXT:
            # A column declared as text holds strings, and the comparison may use its index.
            text = expression if stored.family is Family.TEXT else as_text(expression)
            return sa.collate(text, "BINARY")


def _elsewhere(expression: Expression, stored: Stored, domain: Domain, dialect: str) -> Expression:
    if domain is Domain.TEXT:
        is_plain_text = stored.family is Family.TEXT and stored.type_name != "bpchar"
        return expression if is_plain_text else sa.cast(expression, sa.Text)
    if domain is Domain.UUID and not (dialect == "postgresql" and stored.family is Family.UUID):
        text = sa.func.lower(sa.cast(expression, sa.Text))
        for sign in "-{}":
            text = sa.func.replace(text, sa.literal(sign, sa.Text()), sa.literal("", sa.Text()))
        return text
    return expression


def match_value(expression: Expression, stored: Stored, value: Any, dialect: str, name: str) -> Condition:
    """Return a condition of the spec's `where`: a value, null, or a list of which one must match.

    Raises:
        SourceError: A value does not have the column's type.
    """
    values = list(value) if isinstance(value, list | tuple) else [value]
    there = [one for one in values if one is not None]
    conditions: list[Condition] = [expression.is_(None)] if len(there) < len(values) else []
    if there:
        about = make_operand(expression, stored, dialect)
        numbers = all(isinstance(one, int | float) for one in there)
        if numbers and dialect == "sqlite" and stored.family is Family.OTHER:
            about = make_operand(expression, stored, dialect, ColumnType(Kind.FLOAT))
        try:
            conditions.append(about.one_of([_to_type(about.domain, one) for one in there]))
        except (ValueError, ArithmeticError):
            raise SourceError(f"where: {name} is {stored.type_name}, but {there!r} is not.") from None
    return sa.or_(*conditions)


def _to_type(domain: Domain, value: Any) -> Any:
    """Convert a value from YAML to the type that the domain needs."""
    if domain is Domain.DATE:
        return date.fromisoformat(str(value)[:10])
    if domain is Domain.TIME:
        return datetime.fromisoformat(str(value))
    if domain is Domain.BOOLEAN and isinstance(value, str):
        return (
            {"true": True, "false": False}[value.lower()]
            if value.lower() in ("true", "false")
            else int(value)
        )
    if domain is Domain.TEXT and isinstance(value, bool):
        return str(value).lower()
    return value


def can_store(text: str, stored: Stored, dialect: str) -> bool:
    """Return whether a column of a database can hold this string."""
    return ("\x00" not in text or dialect == "sqlite") and stored.holds(text)


def _double(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _fit_json(values: Sequence[Any]) -> bool:
    """Return whether SQLite's JSON preserves these values: it changes some doubles, and cuts at NUL."""
    return all(isinstance(v, int) or (isinstance(v, str) and "\x00" not in v) for v in values)
