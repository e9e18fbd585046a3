"""Numbers, dates and booleans as the text of `<v>` elements; finds values that no cell can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.local_time import is_ambiguous, to_local
from export_pipeline.core.special_numbers import is_special, to_finite_decimals

KEEP_DIGITS = "written as text to keep every digit"
NOT_A_NUMBER = "not a number a cell can hold, written as text"
DATE_OUT_OF_RANGE = "date outside Excel's range, written as text"
DOUBLED_HOUR = "ambiguous time in the hour after clocks were put back"
TO_THE_SECOND = "cut to the second"
LESS_EXACT = "time kept to 0.1 ms: no number of a cell holds its microseconds"

MAX_DIGITS = 15
_FIRST_LONG = 10**MAX_DIGITS
_LARGEST = 9.99999999999999e307
_SMALLEST = 2.2250738585072014e-308
_SECOND = 1_000_000
_EPOCH = 25_569  # serial number of 1970-01-01
_FIRST_DAY = 61  # 1900-03-01: spreadsheet programs disagree about earlier serial numbers
_LAST_DAY = 2_958_465  # 9999-12-31
_DAY = 86_400_000_000  # microseconds
_MAX_SHARP = 65_536  # serial numbers from this one on are further apart than a microsecond
_FIRST_MICROSECOND, _LAST_MICROSECOND = -62_135_596_800_000_000, 253_402_300_799_999_999  # years 1 to 9999
_UTC = frozenset({"UTC", "Etc/UTC"})


@dataclass(frozen=True, slots=True)
class Numbers:
    """The cells of a numeric column as strings.

    Attributes:
        text: Cell content; null where the source is null.
        odd: Mask, without nulls, of cells where `text` must be written as text; None if there are none.
        reason: Why they are odd, for counting.
        lost: Number of ordinary cells that do not hold their source value exactly, by reason.
    """

    text: pa.StringArray
    odd: pa.BooleanArray | None = None
    reason: str = ""
    lost: Mapping[str, int] = field(default_factory=dict)


def booleans(array: pa.Array) -> Numbers:
    """Convert booleans to 1 and 0."""
    return Numbers(pc.if_else(array, "1", "0"))


def integers(array: pa.Array) -> Numbers:
    """Convert integers; those with more than 15 significant digits are odd."""
    text = array.cast(pa.string())
    bounds = pc.min_max(array)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low > -_FIRST_LONG and high < _FIRST_LONG):
        return Numbers(text)
    return _numbers(text, _too_many_digits(text), KEEP_DIGITS)


def decimals(array: pa.Array) -> Numbers:
    """Convert decimals, or floats that stand for them; more than 15 significant digits are odd."""
    if pa.types.is_string(array.type):
        return _with_special(array)
    if not pa.types.is_decimal(array.type):
        return floats(array)
    text = array.cast(pa.string())
    if array.type.scale > 0:
        trimmed = pc.ascii_rtrim(pc.ascii_rtrim(text, "0"), ".")
        # Arrow writes numbers below 1e-6 with an exponent, which keeps their trailing zeros.
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


def _with_special(array: pa.Array) -> Numbers:
    """Return numbers given as strings; NaN and infinite ones are odd."""
    cells, special = decimals(to_finite_decimals(array)), is_special(array)
    if not pc.any(special).as_py():
        return cells
    text = pc.if_else(special, array, cells.text)
    if cells.odd is None:
        return Numbers(text, special, NOT_A_NUMBER)
    return Numbers(text, pc.or_(special, cells.odd), f"{NOT_A_NUMBER}, or {KEEP_DIGITS}")


def floats(array: pa.Array) -> Numbers:
    """Convert floats to their shortest round-trip form; NaN, infinities and extreme values are odd."""
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


def is_ordinary(number: float) -> bool:
    """True if a cell can hold this float."""
    return number == 0.0 or _SMALLEST <= abs(number) <= _LARGEST


def dates(array: pa.Array) -> Numbers:
    """Convert dates to serial numbers; days before 1900-03-01 or after 9999 are odd, in ISO form."""
    days = pc.add(array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), _EPOCH)
    text = days.cast(pa.string())
    odd = _outside(days)
    if odd is None:
        return Numbers(text)
    return Numbers(pc.if_else(odd, array.cast(pa.string()), text), odd, DATE_OUT_OF_RANGE)


def timestamps(array: pa.Array, zone: str | None = "UTC", *, whole_seconds: bool = False) -> Numbers:
    """Convert times to serial numbers of local time; those outside 1900-03-01 to 9999 are odd, in ISO form.

    Args:
        array: Instants. Without a zone of their own they are UTC, unless `zone` is None.
        zone: IANA zone of the local time; None if the cells already are local times.
        whole_seconds: True if fractions of a second are cut. Programs round a time to the second that they
            show, so the last microsecond of a year would be shown as the next year.
    """
    wall, doubled = _to_local(array, zone)
    micros = wall.cast(pa.int64())
    rests = None
    if whole_seconds:
        # Integer division rounds towards zero: before 1970 that would be up.
        rests = pc.subtract(micros, pc.multiply(pc.divide(micros, _SECOND), _SECOND))
        rests = pc.if_else(pc.less(rests, 0), pc.add(rests, _SECOND), rests)
        micros = pc.subtract(micros, rests)
    # Whole days and the remainder apart: their sum is rounded only once, to less than a microsecond.
    days = pc.divide(micros, _DAY)
    rest = pc.subtract(micros, pc.multiply(days, _DAY))
    serial = pc.add(pc.add(days, _EPOCH).cast(pa.float64()), pc.divide(rest.cast(pa.float64()), float(_DAY)))
    text = serial.cast(pa.string())
    odd = _outside(serial)
    lost = {
        DOUBLED_HOUR: doubled,
        LESS_EXACT: _less_exact(serial, micros),
        TO_THE_SECOND: _count_cut(rests, odd),
    }
    if odd is None:
        return Numbers(text, lost=lost)
    iso = pc.replace_substring(wall.cast(pa.string()), " ", "T")
    text = pc.if_else(odd, pc.replace_substring(iso, ".000000", ""), text)
    return Numbers(text, odd, DATE_OUT_OF_RANGE, lost)


def _count_cut(rests: pa.Array | None, odd: pa.BooleanArray | None) -> int:
    """Return how many cells, other than odd ones, lost a fraction of a second."""
    if rests is None:
        return 0
    cut = pc.not_equal(rests, 0)
    return pc.sum(cut if odd is None else pc.and_(cut, pc.invert(odd))).as_py() or 0


def _to_local(array: pa.Array, zone: str | None) -> tuple[pa.TimestampArray, int]:
    """Return the local times in this zone, and how many of them are ambiguous."""
    naive = pa.timestamp("us")
    if zone is None or zone in _UTC:
        return array.cast(naive, safe=False), 0
    instants = array.cast(pa.timestamp("us", tz="UTC"), safe=False)
    micros = instants.cast(pa.int64())
    # Far outside years 1 to 9999, as a database's infinities are, the conversion would overflow.
    known = pc.and_(
        pc.greater_equal(micros, _FIRST_MICROSECOND - _DAY), pc.less_equal(micros, _LAST_MICROSECOND + _DAY)
    )
    local = to_local(pc.if_else(known, instants, None), zone)
    doubled: int = pc.sum(is_ambiguous(local, zone)).as_py() or 0
    if pc.all(known).as_py() is False:
        local = pc.coalesce(local, instants.cast(naive))
    return local, doubled


def _less_exact(serial: pa.FloatArray, micros: pa.IntegerArray) -> int:
    """Return how many serial numbers round to another microsecond; none before the year 2079."""
    latest = pc.max(serial).as_py()
    if latest is None or latest < _MAX_SHARP:
        return 0
    in_range = pc.and_(pc.greater_equal(serial, _MAX_SHARP), pc.less(serial, _LAST_DAY + 1))
    numbers, exact = pc.filter(serial, in_range), pc.filter(micros, in_range)
    whole = pc.floor(numbers)
    rest = pc.round(pc.multiply(pc.subtract(numbers, whole), float(_DAY))).cast(pa.int64())
    again = pc.add(pc.multiply(pc.subtract(whole.cast(pa.int64()), _EPOCH), _DAY), rest)
    return pc.sum(pc.not_equal(again, exact)).as_py() or 0


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
