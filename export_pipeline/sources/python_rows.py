"""Converts rows of Python values from SQLAlchemy's drivers to Arrow batches of the requested columns.

SQLite stores any value in any column, and times only as text. Values that do not fit their column's type
become null or are truncated, and are reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.arrow_types import (
    CUT,
    NO_BOOLEAN,
    NO_NUMBER,
    NO_TEXT,
    NO_TIME,
    ROUNDED,
    ROUNDED_DOUBLE,
    Damaged,
    MisfitError,
    ignore,
    loses_digits,
    to_canonical,
)


def build_batch(
    rows: Sequence[Sequence[Any]], columns: Sequence[Column], damaged: Damaged = ignore
) -> pa.RecordBatch:
    """Convert rows of Python values to the declared types; strings that hold numbers or times are parsed.

    A string may contain surrogates for bytes that are not UTF-8 (Python's "surrogateescape").

    Raises:
        MisfitError: A cell does not fit its column's kind.
    """
    arrays = []
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        try:
            made, reason, count = _read(cells, column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise MisfitError(column) from None
        if count:
            damaged(reason, column.name, count)
        if pa.types.is_floating(made.type) and (rounded := sum(map(loses_digits, _inexact(cells)))):
            damaged(ROUNDED, column.name, rounded)
        if pa.types.is_decimal(made.type) and (rounded := _rounded_doubles(cells, made)):
            damaged(ROUNDED_DOUBLE, column.name, rounded)
        if pa.types.is_timestamp(made.type) and (cut := sum(map(_is_finer, cells))):
            damaged(CUT, column.name, cut)
        arrays.append(made)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def _inexact(cells: Sequence[Any]) -> Iterator[Any]:
    """Yield the cells that a conversion to double may round: integers, strings and decimals."""
    return (cell for cell in cells if isinstance(cell, int | str | Decimal))


def _rounded_doubles(cells: Sequence[Any], made: pa.Array) -> int:
    """Return the number of doubles of which `_exact` has kept only the digits that SQLite shows."""
    longer = (i for i, cell in enumerate(cells) if isinstance(cell, float) and float(f"{cell:.15g}") != cell)
    return sum(made[i].is_valid and float(made[i].as_py()) != cells[i] for i in longer)


_FINER = re.compile(r"\.\d{6}\d*[1-9]")


def _is_finer(cell: Any) -> bool:
    """Return whether a string is a time with digits below the microsecond."""
    return isinstance(cell, str) and len(cell) > _TO_MICROSECONDS and _FINER.search(cell) is not None


_TO_MICROSECONDS = len("2026-01-01T00:00:00.000000")


Read: TypeAlias = tuple[pa.Array, str, int]
"""The array, the reason for changed values, and the number of changed cells."""


def _read(cells: Sequence[Any], column: Column) -> Read:
    if column.kind is Kind.UUID:
        return _uuids(cells)
    if column.precision and pa.types.is_decimal(column.arrow_type):
        exact = [_exact(cell, column.precision[1]) for cell in cells]
        made = pa.array(exact, column.arrow_type)
        return made, NO_NUMBER, made.null_count - list(cells).count(None)
    return _array(cells, column.arrow_type)


def _array(cells: Sequence[Any], target: pa.DataType) -> Read:
    if pa.types.is_string(target):
        return _texts(cells, target)
    if pa.types.is_boolean(target):
        flags = [_boolean(cell) for cell in cells]
        return pa.array(flags, target), NO_BOOLEAN, flags.count(None) - list(cells).count(None)
    if pa.types.is_timestamp(target):
        return _times([_text(cell) for cell in cells], target)
    if pa.types.is_date(target):
        days = [_day(cell) for cell in cells]
        return pa.array(days, target), NO_TIME, days.count(None) - list(cells).count(None)
    if pa.types.is_decimal(target):
        exact = [_exact(cell, target.scale) for cell in cells]
        with suppress(pa.ArrowException):
            return pa.array(exact, target), NO_NUMBER, exact.count(None) - list(cells).count(None)
    with suppress(pa.ArrowException, TypeError, ValueError, InvalidOperation, OverflowError):
        if not pa.types.is_integer(target) or float not in set(map(type, cells)):
            return pa.array(cells, target), "", 0
    # Arrow would silently truncate the fraction of a float.
    numbers = [_number(cell, target) for cell in cells]
    return pa.array(numbers, target), NO_NUMBER, numbers.count(None) - list(cells).count(None)


def _exact(cell: Any, scale: int) -> Decimal | None:
    """Return a number with the digits that SQLite shows; None for anything else.

    SQLite shows 15 digits of a double. The shortest exact digits are used instead if they fit the column's
    scale: 123456789012345.67 keeps its cents.
    """
    if cell is None or isinstance(cell, int):
        return None if cell is None else Decimal(cell)
    try:
        if isinstance(cell, float):
            shown, full = Decimal(f"{cell:.15g}"), Decimal(repr(cell))
            fits = full.is_finite() and -int(full.as_tuple().exponent) <= scale
            number = full if fits else shown
        else:
            number = _decimal(cell)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _decimal(cell: Any) -> Decimal:
    """Return the number that a cell holds.

    Raises:
        InvalidOperation: It holds none, or one so large or small that no column can hold it. As an integer or
            as digits, 1e999999999 would fill the memory.
    """
    number = Decimal(str(cell).strip())
    if number.is_finite() and abs(number.adjusted()) > _MAX_DIGITS:
        raise InvalidOperation
    return number


_MAX_DIGITS = 1000


_MIDNIGHT = re.compile(r"^(\d{4}-\d\d-\d\d)(?:[ T]00:00(?::00(?:\.0+)?)?)?$")


def _day(cell: Any) -> date | None:
    """Return the date of an ISO 8601 date or midnight; None for anything else."""
    if isinstance(cell, date):
        return cell.date() if isinstance(cell, datetime) else cell
    match = _MIDNIGHT.match(cell) if isinstance(cell, str) else None
    with suppress(ValueError):
        return date.fromisoformat(match[1]) if match else None
    return None


def _uuids(cells: Sequence[Any]) -> Read:
    """Convert UUIDs to strings; SQLite stores them as text in any spelling, or as 16 bytes."""
    stored = [c.hex() if isinstance(c, bytes) and len(c) == 16 else c for c in cells]
    made, reason, count = _texts(stored, pa.string())
    return to_canonical(made), reason, count


def _boolean(cell: Any) -> bool | None:
    """Return a boolean from a number or another database's boolean word; None for anything else."""
    if isinstance(cell, int | float):
        return cell != 0
    return _WORDS.get(str(cell).strip().lower())


_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _texts(cells: Sequence[Any], type: pa.DataType) -> Read:
    try:
        return pa.array(cells, type), "", 0
    except (pa.ArrowException, TypeError, UnicodeEncodeError):  # SQLite stores any type in any column
        stored = [_text(cell) for cell in cells]
        sound = [None if text is None else _is_sound(text) for text in stored]
        return pa.array(sound, type), NO_TEXT, sum(a != b for a, b in zip(stored, sound, strict=True))


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return str(cell)


def _is_sound(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _number(cell: Any, type: pa.DataType) -> Any:
    """Return the cell as a number of the wanted type; None if it does not fit."""
    try:
        if pa.types.is_floating(type):
            return float(cell)
        # A double's shortest digits may be another integer than it is.
        is_double = isinstance(cell, float) and pa.types.is_integer(type)
        exact = Decimal(cell) if is_double else _decimal(cell)
        number = int(exact) if pa.types.is_integer(type) else exact
        pa.scalar(number, type)
        return number if number == exact else None
    except (pa.ArrowException, TypeError, ValueError, InvalidOperation, OverflowError):
        return None


def _times(texts: list[str | None], type: pa.DataType) -> Read:
    try:
        return _parsed_times(pa.array(texts, pa.string())).cast(type), "", 0
    except (pa.ArrowInvalid, UnicodeEncodeError):
        times = [_time(text) for text in texts]
        return pa.array(times, type), NO_TIME, times.count(None) - texts.count(None)


def _parsed_times(texts: pa.Array) -> pa.Array:
    """Parse ISO 8601 strings as UTC times; a string without a zone is UTC, as SQLAlchemy stores it."""
    zoned = pc.fill_null(pc.match_substring_regex(texts, r":.*(Z|[+-]\d\d:?\d\d)$"), False)
    nothing = pa.scalar(None, pa.string())
    if not pc.any(zoned).as_py():
        return pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
    with_zone = pc.if_else(zoned, texts, nothing).cast(pa.timestamp("us", tz="UTC"))
    return pc.coalesce(with_zone, _parsed_times(pc.if_else(zoned, nothing, texts)))


def _time(text: str | None) -> int | None:
    """Return the microseconds since 1970 of an ISO 8601 string; None for anything else."""
    try:
        moment = datetime.fromisoformat(text or "")
        utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (utc - _EPOCH) // _MICROSECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = datetime.resolution
