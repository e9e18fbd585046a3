"""Numbers, dates and booleans as the text of `<v>` elements, and which of them no cell can hold."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

KEEP_DIGITS = "written as text to keep every digit"
NOT_A_NUMBER = "not a number a cell can hold, written as text"
DATE_OUT_OF_RANGE = "date outside Excel's range, written as text"

MAX_DIGITS = 15
_FIRST_LONG = 10**MAX_DIGITS
_LARGEST = 9.99999999999999e307
_SMALLEST = 2.2250738585072014e-308
_EPOCH = 25_569  # serial number of 1970-01-01
_FIRST_DAY = 61  # 1900-03-01: before it the serial numbers of spreadsheet programs disagree
_LAST_DAY = 2_958_465  # 9999-12-31
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column's cells as text.

    Attributes:
        text: What the cells say; null where the source is null.
        odd: Where `text` must be written as a text cell; None if nowhere. Never null.
        reason: Why, for counting.
    """

    text: pa.StringArray
    odd: pa.BooleanArray | None = None
    reason: str = ""


def booleans(array: pa.Array) -> Numbers:
    """Booleans: 1 and 0."""
    return Numbers(pc.if_else(array, "1", "0"))


def integers(array: pa.Array) -> Numbers:
    """Integers; those with more than 15 significant digits are odd."""
    text = array.cast(pa.string())
    bounds = pc.min_max(array)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low > -_FIRST_LONG and high < _FIRST_LONG):
        return Numbers(text)
    return _numbers(text, _too_many_digits(text), KEEP_DIGITS)


def decimals(array: pa.Array) -> Numbers:
    """Decimals, or floats that stand for them; decimals with more than 15 significant digits are odd."""
    if not pa.types.is_decimal(array.type):
        return floats(array)
    text = array.cast(pa.string())
    if array.type.scale > 0:
        trimmed = pc.ascii_rtrim(pc.ascii_rtrim(text, "0"), ".")
        # Arrow writes numbers below 1e-6 with an exponent, and their last zeros belong to it.
        tiny = pc.match_substring(text, "E")
        if pc.any(tiny).as_py():
            trimmed = pc.if_else(tiny, pc.if_else(pc.starts_with(text, "0E"), "0", text), trimmed)
        text = trimmed
    if array.type.precision <= MAX_DIGITS:
        return Numbers(text)
    longest = pc.max(pc.binary_length(text)).as_py()
    if longest is None or longest <= MAX_DIGITS:
        return Numbers(text)
    return _numbers(text, _too_many_digits(text), KEEP_DIGITS)


def floats(array: pa.Array) -> Numbers:
    """Floats in the shortest form that reads back equal; NaN, infinities and extremes are odd."""
    array = array.cast(pa.float64())
    text = array.cast(pa.string())
    size = pc.abs(array)
    ordinary = pc.and_(
        pc.less_equal(size, _LARGEST), pc.or_(pc.greater_equal(size, _SMALLEST), pc.equal(size, 0.0))
    )
    if pc.all(ordinary).as_py() is not False:
        return Numbers(text)
    odd = pc.fill_null(pc.invert(ordinary), False)
    for arrow, name in (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity")):
        text = pc.if_else(pc.equal(text, arrow), name, text)
    return Numbers(text, odd, NOT_A_NUMBER)


def dates(array: pa.Array) -> Numbers:
    """Dates as serial numbers; days before 1900-03-01 or after 9999 are odd, in ISO form."""
    days = pc.add(array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), _EPOCH)
    text = days.cast(pa.string())
    odd = _outside(days)
    if odd is None:
        return Numbers(text)
    return Numbers(pc.if_else(odd, array.cast(pa.string()), text), odd, DATE_OUT_OF_RANGE)


def timestamps(array: pa.Array) -> Numbers:
    """Instants as serial numbers in UTC; those before 1900-03-01 or after 9999 are odd, in ISO form."""
    micros = array.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    # Whole days and the rest apart: their sum is then rounded once, to less than a microsecond.
    days = pc.divide(micros, _DAY)
    rest = pc.subtract(micros, pc.multiply(days, _DAY))
    serial = pc.add(pc.add(days, _EPOCH).cast(pa.float64()), pc.divide(rest.cast(pa.float64()), float(_DAY)))
    text = serial.cast(pa.string())
    odd = _outside(serial)
    if odd is None:
        return Numbers(text)
    iso = pc.replace_substring(array.cast(pa.timestamp("us"), safe=False).cast(pa.string()), " ", "T")
    return Numbers(pc.if_else(odd, pc.replace_substring(iso, ".000000", ""), text), odd, DATE_OUT_OF_RANGE)


def _outside(serial: pa.Array) -> pa.BooleanArray | None:
    bounds = pc.min_max(serial)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low >= _FIRST_DAY and high < _LAST_DAY + 1):
        return None
    return pc.fill_null(pc.or_(pc.less(serial, _FIRST_DAY), pc.greater_equal(serial, _LAST_DAY + 1)), False)


def _too_many_digits(text: pa.StringArray) -> pa.BooleanArray:
    digits = pc.replace_substring_regex(text, r"[-.]|E.*$", "")
    significant = pc.ascii_rtrim(pc.ascii_ltrim(digits, "0"), "0")
    return pc.fill_null(pc.greater(pc.binary_length(significant), MAX_DIGITS), False)


def _numbers(text: pa.StringArray, odd: pa.BooleanArray, reason: str) -> Numbers:
    return Numbers(text, odd, reason) if pc.any(odd).as_py() else Numbers(text)
