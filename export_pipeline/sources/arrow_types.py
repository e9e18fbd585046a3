"""From what a driver hands over to the Arrow types of the columns that were asked for.

A cell that no column of its kind can hold (SQLite keeps anything anywhere; PostgreSQL has infinite times, and
NaN where integers are declared) is left empty, bytes that are no UTF-8 become U+FFFD, and digits are rounded
off that a float or a time cannot keep. All of it is told, never silent.
A number with more digits than its column declares fails the read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.special_numbers import finite_decimals, plain_numbers

Damaged: TypeAlias = Callable[[str, str, int], None]
"""Told of cells that could not be read as they are stored: the reason, the column's name, how many."""

NO_TEXT = "bytes that are no UTF-8 replaced by U+FFFD"
NO_TIME = "no time of the years 1 to 9999, left empty"
NO_NUMBER = "no number that its column can hold, left empty"
NO_BOOLEAN = "neither true nor false, left empty"
ROUNDED = "more digits than a float keeps, rounded"
CUT = "more digits than microseconds, cut"

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
            if column.has_special:  # the others must have no more digits than declared
                finite_decimals(made, replace(column, has_special=False).arrow_type)
        except pa.ArrowException as error:
            raise pa.ArrowInvalid(misfit(column, error)) from error
        if made.null_count > found.null_count:
            damaged(reason, column.name, made.null_count - found.null_count)
        if column.has_special:
            made = plain_numbers(made)
        if pa.types.is_floating(made.type) and (rounded := _rounded(found)):
            damaged(ROUNDED, column.name, rounded)
        arrays.append(made)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def misfit(column: Column, error: Exception) -> str:
    """What to say of a column whose values do not fit its declared type."""
    word = str(column.kind)
    if pa.types.is_decimal(column.arrow_type):
        word += f"({column.arrow_type.precision},{column.arrow_type.scale})"
    return f"column {column.name!r} holds a value that is no {word}: {error}"


def _convert(array: pa.Array, column: Column) -> tuple[pa.Array, str]:
    """The array with the column's type, and why cells of it may be empty that were not."""
    wanted = column.arrow_type
    if isinstance(array, pa.ExtensionArray):  # uuid arrives as 16 bytes
        array = array.storage
    if column.kind is Kind.UUID:
        return (_spelled(array) if pa.types.is_fixed_size_binary(array.type) else canonical(array)), ""
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(array.type):
        micros = array.cast(pa.timestamp("us", tz=array.type.tz)).view(pa.int64())
        return _inside(micros, _FIRST_MICROSECOND, _LAST_MICROSECOND).view(wanted), NO_TIME
    if pa.types.is_date32(wanted) and pa.types.is_date32(array.type):
        return _inside(array.view(pa.int32()), _FIRST_DAY, _LAST_DAY).view(wanted), NO_TIME
    if pa.types.is_string(array.type) and (pa.types.is_decimal(wanted) or pa.types.is_integer(wanted)):
        exact = wanted if pa.types.is_decimal(wanted) else _INTEGER_WITH_ZEROS
        try:
            array = array.cast(exact)
        except pa.ArrowInvalid:  # NaN or infinite, or more digits than fit, which fails again
            finite = pc.match_substring_regex(array, r"^-?[0-9.]+$")
            array = pc.if_else(finite, array, pa.scalar(None, pa.string())).cast(exact)
    return (array if array.type == wanted else array.cast(wanted)), NO_NUMBER


# At most 15 digits between the first and the last that count: a double gives them all back.
_KEPT = r"^-?[0.]*([1-9]\.?(\d\.?){0,13}\d?|)0*(\.0*)?$|[a-zA-Z]"


def _rounded(numbers: pa.Array) -> int:
    """How many numbers, given as texts or integers, a double does not give back digit by digit."""
    if pa.types.is_floating(numbers.type):
        return 0
    texts = (numbers.storage if isinstance(numbers, pa.ExtensionArray) else numbers).cast(pa.string())
    return sum(map(loses_digits, texts.filter(pc.invert(pc.match_substring_regex(texts, _KEPT))).to_pylist()))


def loses_digits(number: Any) -> bool:
    """Whether the nearest double is printed as another number; False of what is no finite number."""
    try:
        exact = Decimal(number)
        return exact.is_finite() and exact != Decimal(repr(float(number)))
    except (ArithmeticError, TypeError, ValueError):
        return False  # it is no number, which is told otherwise


_INTEGER_WITH_ZEROS = pa.decimal128(38, 18)  # of a numeric like 12.00


def _inside(numbers: pa.Array, first: int, last: int) -> pa.Array:
    """The numbers of this range; null for the others."""
    kind = numbers.type
    low, high = pa.scalar(first, kind), pa.scalar(last, kind)
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    return numbers if pc.all(inside).as_py() else pc.if_else(inside, numbers, pa.scalar(None, kind))


_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
_UUID_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_CANONICAL = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_ANY_UUID = r"^\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$"


def _spelled(array: pa.Array) -> pa.Array:
    """16 bytes each as canonical lower-case uuids."""
    rows = len(array)
    raw = np.frombuffer(array.buffers()[1], np.uint8, rows * 16, array.offset * 16)
    digits = _HEX[raw].view(np.uint8).reshape(rows, 32)
    text = np.full((rows, 36), ord("-"), np.uint8)
    for number, (start, end) in enumerate(_UUID_GROUPS):
        text[:, start + number : end + number] = digits[:, start:end]
    offsets = np.arange(rows + 1, dtype=np.int32) * 36
    made = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.if_else(array.is_valid(), made, pa.scalar(None, pa.string())) if array.null_count else made


def canonical(array: pa.Array) -> pa.Array:
    """Texts; those that are uuids in any spelling in the canonical lower-case one."""
    if pc.all(pc.match_substring_regex(array, _CANONICAL)).as_py() is not False:
        return array
    lowered = pc.utf8_lower(array)
    spelled = pc.replace_substring_regex(lowered, _ANY_UUID, r"\1-\2-\3-\4-\5")
    return pc.if_else(pc.match_substring_regex(lowered, _ANY_UUID), spelled, array)
