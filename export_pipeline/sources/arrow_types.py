"""From what a driver hands over to the Arrow types of the columns that were asked for.

A cell that no column of its kind can hold (SQLite keeps anything anywhere; PostgreSQL has infinite times and
numerics that are NaN) is left empty, and bytes that are no UTF-8 become U+FFFD. Both are told, never silent.
A number with more digits than its column declares fails the read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.model.columns import Column, Kind

Damaged: TypeAlias = Callable[[str, str, int], None]
"""Told of cells that could not be read as they are stored: the reason, the column's name, how many."""

NO_TEXT = "bytes that are no UTF-8 replaced by U+FFFD"
NO_TIME = "no time of the years 1 to 9999, left empty"
NO_NUMBER = "no number that its column can hold, left empty"
NO_BOOLEAN = "neither true nor false, left empty"

# 0001-01-01 and 9999-12-31T23:59:59.999999 as microseconds; PostgreSQL's infinities lie outside.
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896


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
        try:
            made, reason = _convert(found, column)
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(_misfit(column, error)) from error
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
        try:
            made, reason, count = _read(cells, column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ValueError(_misfit(column, error)) from error
        if count:
            damaged(reason, column.name, count)
        arrays.append(made)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def _misfit(column: Column, error: Exception) -> str:
    word = str(column.kind)
    if pa.types.is_decimal(column.arrow_type):
        word += f"({column.arrow_type.precision},{column.arrow_type.scale})"
    return f"column {column.name!r} holds a value that is no {word}: {error}"


def _convert(array: pa.Array, column: Column) -> tuple[pa.Array, str]:
    """The array with the column's type, and why cells of it may be empty that were not."""
    wanted = column.arrow_type
    if isinstance(array, pa.ExtensionArray):  # numeric arrives as its exact text, uuid as 16 bytes
        array = array.storage
    if column.kind is Kind.UUID:
        return (_spelled(array) if pa.types.is_fixed_size_binary(array.type) else _canonical(array)), ""
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(array.type):
        micros = array.cast(pa.timestamp("us", tz=array.type.tz)).view(pa.int64())
        return _inside(micros, _FIRST_MICROSECOND, _LAST_MICROSECOND).view(wanted), NO_TIME
    if pa.types.is_date32(wanted) and pa.types.is_date32(array.type):
        return _inside(array.view(pa.int32()), _FIRST_DAY, _LAST_DAY).view(wanted), NO_TIME
    if pa.types.is_string(array.type) and (pa.types.is_decimal(wanted) or pa.types.is_integer(wanted)):
        finite = pc.match_substring_regex(array, r"^-?[0-9.]+$")
        if not pc.all(finite).as_py():
            array = pc.if_else(finite, array, pa.scalar(None, pa.string()))
        if pa.types.is_integer(wanted):
            array = array.cast(_INTEGER_WITH_ZEROS)
    return (array if array.type == wanted else array.cast(wanted)), NO_NUMBER


_INTEGER_WITH_ZEROS = pa.decimal128(38, 18)  # of a numeric like 12.00


def _inside(numbers: pa.Array, first: int, last: int) -> pa.Array:
    """The numbers of this range; null for the others."""
    kind = numbers.type
    low, high = pa.scalar(first, kind), pa.scalar(last, kind)
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    return numbers if pc.all(inside).as_py() else pc.if_else(inside, numbers, pa.scalar(None, kind))


_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)
_UUID_GROUPS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 16))
_CANONICAL = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_ANY_UUID = r"^\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$"


def _spelled(array: pa.Array) -> pa.Array:
    """16 bytes each as canonical lower-case uuids."""
    rows = len(array)
    raw = np.frombuffer(array.buffers()[1], np.uint8, rows * 16, array.offset * 16).reshape(rows, 16)
    text = np.full((rows, 36), ord("-"), np.uint8)
    place = 0
    for start, end in _UUID_GROUPS:
        width = 2 * (end - start)
        text[:, place : place + width] = _HEX[raw[:, start:end]].reshape(rows, width)
        place += width + 1
    offsets = np.arange(rows + 1, dtype=np.int32) * 36
    made = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.if_else(array.is_valid(), made, pa.scalar(None, pa.string())) if array.null_count else made


def _canonical(array: pa.Array) -> pa.Array:
    """Texts, those that are uuids in any spelling in the canonical lower-case one."""
    if pc.all(pc.match_substring_regex(array, _CANONICAL)).as_py() is not False:
        return array
    lowered = pc.utf8_lower(array)
    spelled = pc.replace_substring_regex(lowered, _ANY_UUID, r"\1-\2-\3-\4-\5")
    return pc.if_else(pc.match_substring_regex(lowered, _ANY_UUID), spelled, array)


Read: TypeAlias = tuple[pa.Array, str, int]
"""The array, and why and in how many cells it does not say what is stored."""


def _read(cells: Sequence[Any], column: Column) -> Read:
    if column.kind is Kind.UUID:
        return _uuids(cells)
    if column.precision and pa.types.is_decimal(column.arrow_type):
        exact = [_exact(cell, column.precision[1]) for cell in cells]
        made = pa.array(exact, column.arrow_type)
        return made, NO_NUMBER, made.null_count - list(cells).count(None)
    return _array(cells, column.arrow_type)


def _array(cells: Sequence[Any], wanted: pa.DataType) -> Read:
    if pa.types.is_string(wanted):
        return _texts(cells, wanted)
    if pa.types.is_boolean(wanted):
        flags = [_boolean(cell) for cell in cells]
        return pa.array(flags, wanted), NO_BOOLEAN, flags.count(None) - list(cells).count(None)
    if pa.types.is_timestamp(wanted):
        return _times([_text(cell) for cell in cells], wanted)
    if pa.types.is_date(wanted):
        days = [_day(cell) for cell in cells]
        return pa.array(days, wanted), NO_TIME, days.count(None) - list(cells).count(None)
    if pa.types.is_decimal(wanted):
        exact = [_exact(cell, wanted.scale) for cell in cells]
        with suppress(pa.ArrowException):
            return pa.array(exact, wanted), NO_NUMBER, exact.count(None) - list(cells).count(None)
    with suppress(pa.ArrowException, TypeError, ValueError, InvalidOperation, OverflowError):
        if not pa.types.is_integer(wanted) or float not in set(map(type, cells)):
            return pa.array(cells, wanted), "", 0
    # Arrow would cut the fraction off a float without a word.
    numbers = [_number(cell, wanted) for cell in cells]
    return pa.array(numbers, wanted), NO_NUMBER, numbers.count(None) - list(cells).count(None)


def _exact(cell: Any, scale: int) -> Decimal | None:
    """A number with the digits that SQLite shows; None for what is none.

    Of a double it shows 15 digits. Where these are another double, and the shortest digits that are not fit
    into the column, those are taken: 123456789012345.67 keeps its cents.
    """
    if cell is None or isinstance(cell, int):
        return None if cell is None else Decimal(cell)
    try:
        if isinstance(cell, float):
            shown, full = Decimal(f"{cell:.15g}"), Decimal(repr(cell))
            fits = full.is_finite() and -int(full.as_tuple().exponent) <= scale
            number = full if fits else shown
        else:
            number = Decimal(str(cell).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


_MIDNIGHT = re.compile(r"^(\d{4}-\d\d-\d\d)(?:[ T]00:00(?::00(?:\.0+)?)?)?$")


def _day(cell: Any) -> date | None:
    """An ISO 8601 date, also as the first moment of its day; None for anything else."""
    if isinstance(cell, date):
        return cell.date() if isinstance(cell, datetime) else cell
    found = _MIDNIGHT.match(cell) if isinstance(cell, str) else None
    with suppress(ValueError):
        return date.fromisoformat(found[1]) if found else None
    return None


def _uuids(cells: Sequence[Any]) -> Read:
    """Uuids as text; SQLite keeps them as text in any spelling, or as 16 bytes."""
    stored = [c.hex() if isinstance(c, bytes) and len(c) == 16 else c for c in cells]
    made, reason, count = _texts(stored, pa.string())
    return _canonical(made), reason, count


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
    return (utc - _EPOCH) // _MICROSECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = datetime.resolution
