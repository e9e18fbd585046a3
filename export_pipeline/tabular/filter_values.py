"""Types of filter values: the accepted values for a column of each type, and the refused ones."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from export_pipeline.core.columns import Kind
from export_pipeline.tabular.spec import ColumnSpec, FilterSpec, TableSpec
from export_pipeline.tabular.types import ColumnType, parse_type

MAX_CHARACTERS = 10_000
MAX_VALUES = 10_000

OPERATORS: Mapping[Kind, tuple[str, ...]] = {
    **dict.fromkeys((Kind.TEXT, Kind.UUID, Kind.ENUM, Kind.URL), ("equals", "in", "contains", "is_null")),
    **dict.fromkeys(
        (Kind.INTEGER, Kind.DECIMAL, Kind.MONEY, Kind.PERCENT, Kind.FLOAT, Kind.DATE, Kind.TIMESTAMP),
        ("equals", "in", "range", "is_null"),
    ),
    Kind.BOOLEAN: ("equals", "in", "is_null"),
    Kind.JSON: ("contains", "is_null"),
}
"""The operators that a column supports, by its kind."""


@dataclass(frozen=True, slots=True)
class FilterType:
    """The type of the values a filter compares.

    Attributes:
        type: The type of its values.
        zone: For timestamps: the zone of days and local times; None for local times without a zone.
        values: For an enum with declared labels: its values. Empty for others.
    """

    type: ColumnType
    zone: str | None = "UTC"
    values: tuple[str, ...] = ()


def find_column(spec: TableSpec, name: str, filter: FilterSpec) -> ColumnSpec | None:
    """Return the column that a filter refers to, by its name or by its field; None if there is none."""
    if filter.parameter:
        return None
    for column in spec.columns:
        if column.name == name if filter.column is None else (column.from_ or column.name) == filter.column:
            return column
    return None


def describe_filter(spec: TableSpec, name: str, filter: FilterSpec) -> FilterType:
    """Return the type of the values a filter compares; text by default."""
    column = find_column(spec, name, filter)
    zone = column.zone if column else "UTC"
    if filter.type is not None:
        return FilterType(parse_type(filter.type), zone)
    if column is None:
        return FilterType(ColumnType(Kind.TEXT))
    values = tuple(column.labels) if column.parsed.kind is Kind.ENUM else ()
    return FilterType(column.parsed, zone, values)


@cache
def value_field(about: FilterType) -> Any:
    """Return the annotation of a field that holds one value, or None."""
    lax, strict = _value(about)
    return _field(lax, strict)


@cache
def values_field(about: FilterType) -> Any:
    """Return the annotation of a field that holds several values, or None."""
    lax, strict = _value(about)
    listed = Annotated[tuple[strict, ...], Field(min_length=1, max_length=MAX_VALUES)]  # type: ignore[valid-type]
    return _field(tuple[lax, ...], listed)  # type: ignore[valid-type]


@cache
def text_field() -> Any:
    """Return the annotation of a field that holds a string, or None."""
    return _field(str, _TEXT)


def _field(lax: Any, strict: Any) -> Any:
    """Return the annotation of a field that is declared with the plain type, for forms, and validated with
    the strict one.
    """
    # Most filters are never used in a process, so their validators are made when they are needed.
    adapter: TypeAdapter[Any] = TypeAdapter(strict | None, config=ConfigDict(defer_build=True))
    return Annotated[
        lax | None,
        PlainValidator(lambda value: adapter.validate_python(value)),
        PlainSerializer(lambda value: adapter.dump_python(value, mode="json"), when_used="json"),
    ]


def _value(about: FilterType) -> tuple[Any, Any]:
    """Return two types of one value: a plain one, and a strict one with all constraints."""
    match about.type.kind:
        case Kind.INTEGER:
            return int, _INTEGER
        case Kind.MONEY if about.type.minor:
            return int, _MINOR
        case Kind.DECIMAL | Kind.MONEY:
            return Decimal, Annotated[Decimal, Field(max_digits=76)]
        case Kind.FLOAT | Kind.PERCENT:
            return float, Annotated[float, Field(allow_inf_nan=False)]
        case Kind.BOOLEAN:
            return bool, bool
        case Kind.DATE:
            return date, date
        case Kind.TIMESTAMP:
            iso = PlainSerializer(_iso, when_used="json")
            return datetime, Annotated[datetime, PlainValidator(_moment(about.zone)), iso]
        case Kind.UUID:
            return str, Annotated[str, AfterValidator(_uuid)]
        case Kind.ENUM if about.values:
            return Literal[about.values], Literal[about.values]
    return str, _TEXT


def _check_text(text: str) -> str:
    if "\0" in text or (not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise ValueError("a text must not hold the character NUL or half of a surrogate pair")
    return text


_TEXT = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_check_text)]
_INTEGER = Annotated[int, Field(ge=-(2**63), lt=2**63)]


def _in_minor_units(value: Any, parsed: ValidatorFunctionWrapHandler) -> Any:
    try:
        return parsed(value)
    except ValidationError:
        message = f"it must be a whole number of the currency's minor unit (cents), not {str(value)[:50]!r}"
        raise ValueError(message) from None


_MINOR = Annotated[_INTEGER, WrapValidator(_in_minor_units)]


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError(f"{text[:50]!r} is not a UUID such as {uuid.UUID(int=1)}") from None


_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def _moment(zone: str | None) -> Callable[[Any], date]:
    """Return a validator of dates and times: a day stays a day; a time without a zone gets this zone."""

    def parsed(value: Any) -> date:
        try:
            if isinstance(value, str):
                text = value.strip()
                value = date.fromisoformat(text) if _DAY.fullmatch(text) else datetime.fromisoformat(text)
        except ValueError:
            value = None
        if not isinstance(value, date):
            raise ValueError("write a day as 2026-11-21 or a time as 2026-11-21T08:30:00+01:00")
        if not isinstance(value, datetime):
            return value
        if zone is None and value.tzinfo:
            raise ValueError("this column's times name no zone; write the time without one")
        return value.replace(tzinfo=ZoneInfo(zone)) if zone is not None and value.tzinfo is None else value

    return parsed


def _iso(value: date) -> str:
    return value.isoformat()
