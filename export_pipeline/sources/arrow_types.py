"""From what a driver hands over to the Arrow types of the columns that were asked for.

A cell that no column of its kind can hold (SQLite keeps anything anywhere; PostgreSQL has infinite times and
numerics that are NaN) is left empty, and bytes that are no UTF-8 become U+FFFD. Both are told, never silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.columns import Column

Damaged: TypeAlias = Callable[[str, str, int], None]
"""Told of cells that could not be read as they are stored: the reason, the column's name, how many."""

NO_TEXT = "bytes that are no UTF-8 replaced by U+FFFD"
NO_TIME = "no time of the years 1 to 9999, left empty"
NO_NUMBER = "no number that its column can hold, left empty"
NO_BOOLEAN = "neither true nor false, left empty"

# 0001-01-01 and 9999-12-31T23:59:59.999999 as microseconds; PostgreSQL's infinities lie outside.
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999


def ignore(reason: str, column: str, cells: int) -> None:
    """A `Damaged` for reads whose rows are not exported."""


def to_kind(batch: pa.RecordBatch, columns: Sequence[Column], damaged: Damaged = ignore) -> pa.RecordBatch:
    """A driver's batch with the declared types, field by field in order.

    Raises:
        pa.ArrowException: a cell does not fit, e.g. a number with more digits than its decimal type.
    """
    arrays = []
    for index, column in enumerate(columns):
        found = batch.column(index)
        made, reason = _convert(found, column.arrow_type)
        if made.null_count > found.null_count:
            damaged(reason, column.name, made.null_count - found.null_count)
        arrays.append(made)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def from_rows(
    rows: Sequence[Sequence[Any]], columns: Sequence[Column], damaged: Damaged = ignore
) -> pa.RecordBatch:
    """Rows of Python values with the declared types; texts that hold numbers or times are parsed.

    A text may hold surrogates for bytes that are no UTF-8, as Python's "surrogateescape" makes them.

    Raises:
        ValueError: a cell cannot be read as its column's kind; the message names both.
    """
    arrays = []
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        wanted = column.arrow_type
        try:
            made, reason, count = _array(cells, wanted)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"column {column.name!r} holds a value that is no {column.kind}: {error}"
            ) from error
        if count:
            damaged(reason, column.name, count)
        arrays.append(made)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def _convert(array: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, str]:
    """The array with the wanted type, and why cells of it may be empty that were not."""
    if isinstance(array, pa.ExtensionArray):  # numeric arrives as its exact text
        array = array.storage
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(array.type):
        micros = array.cast(pa.timestamp("us", tz=array.type.tz)).view(pa.int64())
        inside = pc.and_(
            pc.greater_equal(micros, pa.scalar(_FIRST_MICROSECOND)),
            pc.less_equal(micros, pa.scalar(_LAST_MICROSECOND)),
        )
        return pc.if_else(inside, micros, pa.scalar(None, pa.int64())).view(wanted), NO_TIME
    if pa.types.is_decimal(wanted) and pa.types.is_string(array.type):
        finite = pc.match_substring_regex(array, r"^-?[0-9.]+$")
        array = pc.if_else(finite, array, pa.scalar(None, pa.string()))
    return (array if array.type == wanted else array.cast(wanted)), NO_NUMBER


Read: TypeAlias = tuple[pa.Array, str, int]
"""The array, and why and in how many cells it does not say what is stored."""


def _array(cells: Sequence[Any], wanted: pa.DataType) -> Read:
    if pa.types.is_string(wanted):
        return _texts(cells, wanted)
    if pa.types.is_boolean(wanted):
        flags = [_boolean(cell) for cell in cells]
        return pa.array(flags, wanted), NO_BOOLEAN, flags.count(None) - list(cells).count(None)
    if pa.types.is_timestamp(wanted):
        return _times([_text(cell) for cell in cells], wanted)
    with suppress(pa.ArrowException, TypeError, ValueError, InvalidOperation, OverflowError):
        if pa.types.is_decimal(wanted):
            return pa.array([None if cell is None else Decimal(str(cell)) for cell in cells], wanted), "", 0
        if not pa.types.is_integer(wanted) or float not in set(map(type, cells)):
            return pa.array(cells, wanted), "", 0
    # Arrow would cut the fraction off a float without a word.
    numbers = [_number(cell, wanted) for cell in cells]
    return pa.array(numbers, wanted), NO_NUMBER, numbers.count(None) - list(cells).count(None)


def _boolean(cell: Any) -> bool | None:
    """SQLite has no booleans: numbers, and the words of other databases; None for anything else."""
    if isinstance(cell, int | float):
        return cell != 0
    return _WORDS.get(str(cell).strip().lower())


_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _texts(cells: Sequence[Any], wanted: pa.DataType) -> Read:
    try:
        return pa.array(cells, wanted), "", 0
    except (pa.ArrowException, TypeError, UnicodeEncodeError):  # SQLite keeps any type in any column
        stored = [_text(cell) for cell in cells]
        sound = [None if text is None else _sound(text) for text in stored]
        return pa.array(sound, wanted), NO_TEXT, sum(a != b for a, b in zip(stored, sound, strict=True))


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return str(cell)


def _sound(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _number(cell: Any, wanted: pa.DataType) -> Any:
    """The cell as a number of the wanted type; None where it holds none that fits."""
    try:
        if pa.types.is_floating(wanted):
            return float(cell)
        exact = Decimal(str(cell).strip())
        number = int(exact) if pa.types.is_integer(wanted) else exact
        pa.scalar(number, wanted)
        return number if number == exact else None
    except (pa.ArrowException, TypeError, ValueError, InvalidOperation, OverflowError):
        return None


def _times(texts: list[str | None], wanted: pa.DataType) -> Read:
    try:
        return _parsed_times(pa.array(texts, pa.string())).cast(wanted), "", 0
    except (pa.ArrowInvalid, UnicodeEncodeError):
        times = [_time(text) for text in texts]
        return pa.array(times, wanted), NO_TIME, times.count(None) - texts.count(None)


def _parsed_times(texts: pa.Array) -> pa.Array:
    """ISO 8601 texts as UTC times; a text without a zone is UTC, as SQLAlchemy stores it."""
    zoned = pc.fill_null(pc.match_substring_regex(texts, r":.*(Z|[+-]\d\d:?\d\d)$"), False)
    nothing = pa.scalar(None, pa.string())
    if not pc.any(zoned).as_py():
        return pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
    with_zone = pc.if_else(zoned, texts, nothing).cast(pa.timestamp("us", tz="UTC"))
    return pc.coalesce(with_zone, _parsed_times(pc.if_else(zoned, nothing, texts)))


def _time(text: str | None) -> int | None:
    """Microseconds from 1970 of one ISO 8601 text, None for anything else."""
    try:
        moment = datetime.fromisoformat(text or "")
        utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return math.floor((utc - _EPOCH) / _MICROSECOND)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = datetime.resolution
