"""Converts a driver's values to the Arrow types of the requested columns.

A cell that does not fit its column's type (SQLite stores any value in any column; PostgreSQL has infinite
times, and NaN where integers are declared) becomes null. Bytes that are not UTF-8 become U+FFFD. Digits
beyond the precision of a float or a time are lost. Every such change is counted and reported.
A number with more digits than its column declares fails the read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeAlias

from export_pipeline.core.arrow import np, pa, pc
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.special_numbers import strip_trailing_zeros, to_finite_decimals

Damaged: TypeAlias = Callable[[str, str, int], None]
"""Called for cells that could not be read as stored: the reason, the column's name, their number."""

NO_TEXT = "bytes that are not UTF-8, replaced by U+FFFD"
NO_TIME = "a time outside the years 1 to 9999, left empty"
NO_NUMBER = "a number that its column cannot hold, left empty"
NO_BOOLEAN = "neither true nor false, left empty"
ROUNDED = "more digits than a float keeps, rounded"
ROUNDED_DOUBLE = "a floating-point number, rounded to 15 digits"
CUT = "more digits than microseconds, cut"

# 0001-01-01 and 9999-12-31T23:59:59.999999 in microseconds; PostgreSQL's infinities are outside.
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896


def ignore(reason: str, column: str, cells: int) -> None:
    """Do nothing: a `Damaged` for reads whose rows are not exported."""


class MisfitError(ValueError):
    """Raised when a column holds a value that does not fit its declared type; it is not quoted."""

    def __init__(self, column: Column) -> None:
        name = str(column.kind)
        if pa.types.is_decimal(column.arrow_type):
            name += f"({column.arrow_type.precision},{column.arrow_type.scale})"
        super().__init__(f"column {column.name!r} holds a value that is no {name}")


def to_kind(batch: pa.RecordBatch, columns: Sequence[Column], damaged: Damaged = ignore) -> pa.RecordBatch:
    """Convert a driver's batch to the declared types, field by field in order.

    Raises:
        MisfitError: A cell does not fit, e.g. a number with more digits than its decimal type.
    """
    arrays = []
    for index, column in enumerate(columns):
        cells = batch.column(index)
        try:
            made, reason = _convert(cells, column)
            if column.has_special:  # other columns must not exceed the declared digits
                to_finite_decimals(made, replace(column, has_special=False).arrow_type)
        except pa.ArrowException:
            raise MisfitError(column) from None
        if made.null_count > cells.null_count:
            damaged(reason, column.name, made.null_count - cells.null_count)
        if column.has_special:
            made = strip_trailing_zeros(made)
        if pa.types.is_floating(made.type) and (rounded := _round(cells)):
            damaged(ROUNDED, column.name, rounded)
        arrays.append(made)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def _convert(array: pa.Array, column: Column) -> tuple[pa.Array, str]:
    """Convert an array to the column's type; return it, and the reason why cells may have become null."""
    target = column.arrow_type
    if isinstance(array, pa.ExtensionArray):  # uuid arrives as 16 bytes
        array = array.storage
    if column.kind is Kind.UUID:
        return (_spell(array) if pa.types.is_fixed_size_binary(array.type) else to_canonical(array)), ""
    if pa.types.is_timestamp(target) and pa.types.is_timestamp(array.type):
        micros = array.cast(pa.timestamp("us", tz=array.type.tz)).view(pa.int64())
        return _inside(micros, _FIRST_MICROSECOND, _LAST_MICROSECOND).view(target), NO_TIME
    if pa.types.is_date32(target) and pa.types.is_date32(array.type):
        return _inside(array.view(pa.int32()), _FIRST_DAY, _LAST_DAY).view(target), NO_TIME
    if pa.types.is_string(array.type) and (pa.types.is_decimal(target) or pa.types.is_integer(target)):
        exact = target if pa.types.is_decimal(target) else pa.decimal128(38, 18)  # a numeric like 12.00
        try:
            array = array.cast(exact)
        except pa.ArrowInvalid:  # NaN or infinite; or too many digits, which fails again
            finite = pc.match_substring_regex(array, r"^-?[0-9.]+$")
            array = pc.if_else(finite, array, pa.scalar(None, pa.string())).cast(exact)
    return (array if array.type == target else array.cast(target)), NO_NUMBER


# Numbers with at most 15 significant digits: a double preserves all of them.
_KEPT = r"^-?[0.]*([1-9]\.?(\d\.?){0,13}\d?|)0*(\.0*)?$|[a-zA-Z]"


def _round(numbers: pa.Array) -> int:
    """Count the numbers, given as strings or integers, whose digits a double does not preserve."""
    if pa.types.is_floating(numbers.type):
        return 0
    texts = (numbers.storage if isinstance(numbers, pa.ExtensionArray) else numbers).cast(pa.string())
    return sum(map(loses_digits, texts.filter(pc.invert(pc.match_substring_regex(texts, _KEPT))).to_pylist()))


def loses_digits(number: Any) -> bool:
    """Return whether the nearest double prints as another number; False for anything but finite numbers."""
    try:
        exact = Decimal(number)
        return exact.is_finite() and exact != Decimal(repr(float(number)))
    except (ArithmeticError, TypeError, ValueError):
        return False  # not a number; that is reported elsewhere


def _inside(numbers: pa.Array, first: int, last: int) -> pa.Array:
    """Return the numbers with those outside the range replaced by null."""
    kind = numbers.type
    low, high = pa.scalar(first, kind), pa.scalar(last, kind)
    inside = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    return numbers if pc.all(inside).as_py() else pc.if_else(inside, numbers, pa.scalar(None, kind))


_HEX = b"".join(b"%02x" % byte for byte in range(256))
_UUID_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_CANONICAL = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_ANY_UUID = r"^\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?$"


def _spell(array: pa.Array) -> pa.Array:
    """Convert 16-byte values to canonical lower-case UUIDs."""
    rows = len(array)
    raw = np.frombuffer(array.buffers()[1], np.uint8, rows * 16, array.offset * 16)
    digits = np.frombuffer(_HEX, np.uint16)[raw].view(np.uint8).reshape(rows, 32)
    text = np.full((rows, 36), ord("-"), np.uint8)
    for number, (start, end) in enumerate(_UUID_GROUPS):
        text[:, start + number : end + number] = digits[:, start:end]
    offsets = np.arange(rows + 1, dtype=np.int32) * 36
    made = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.if_else(array.is_valid(), made, pa.scalar(None, pa.string())) if array.null_count else made


def to_canonical(array: pa.Array) -> pa.Array:
    """Convert strings that are UUIDs in any spelling to lower-case canonical form; keep all others."""
    if pc.all(pc.match_substring_regex(array, _CANONICAL)).as_py() is not False:
        return array
    lowered = pc.utf8_lower(array)
    spelled = pc.replace_substring_regex(lowered, _ANY_UUID, r"\1-\2-\3-\4-\5")
    return pc.if_else(pc.match_substring_regex(lowered, _ANY_UUID), spelled, array)
