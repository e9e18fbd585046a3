"""Convert cells to strings, a whole Arrow array at a time. Shared by the text formats."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import find_cells, pack_mask
from export_pipeline.core.special_numbers import is_special, to_finite_decimals
from export_pipeline.formats import times

_EXACT_INTEGER = 2.0**53
_MAX_DIGITS = 76
"""Precision of Arrow's widest decimal type."""
_MAX_SCALED = 15
"""Most decimal places at which doubles are rounded as 64-bit integers."""
_WIDE = Context(prec=800)  # more digits than any double has before and after its point


def format_exact(array: pa.Array) -> pa.Array:
    """Return the cells as strings without loss: shortest round-trip floats, ISO 8601 times in UTC.

    Nulls stay null. Non-finite floats become "NaN", "Infinity" and "-Infinity".
    """
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_boolean(kind):
        return pc.if_else(array, "true", "false")
    if pa.types.is_timestamp(kind):
        return times.format_iso(array, "UTC" if kind.tz else None)
    if pa.types.is_date(kind):
        return times.format_iso_days(array)
    if pa.types.is_floating(kind):
        return _floats(array)
    if pa.types.is_decimal(kind):
        return _trim(array.cast(pa.string()), kind.scale)
    return array.cast(pa.string())


def format_rounded(array: pa.Array, digits: int) -> tuple[pa.Array, int]:
    """Round numbers to this many decimal places; return them with the number of cells that changed.

    Ties are rounded away from zero. A float is rounded by its shortest decimal form: 0.00015 becomes
    0.0002 with 4 places, as in spreadsheets, though the double is slightly less.
    """
    if pa.types.is_string(array.type):
        texts, changes = format_rounded(to_finite_decimals(array), digits)
        return pc.if_else(is_special(array), array, texts), changes
    if pa.types.is_integer(array.type):
        array = array.cast(pa.decimal128(19, 0))
    if pa.types.is_decimal(array.type):
        return _rounded_decimals(array, digits)
    values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)
    power = 10.0**digits
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = values * power
        # If the scaled value is near a tie, or beyond exact integers, only decimal arithmetic is correct.
        near = 1e-4 + np.abs(scaled) * 2.0**-51
        hard = ~(np.abs(scaled) < _EXACT_INTEGER / 4) | (np.abs(scaled - np.floor(scaled) - 0.5) < near)
        hard &= np.isfinite(values)
    if digits > _MAX_SCALED:
        hard = np.isfinite(values)
    units = np.rint(np.where(hard | ~np.isfinite(values), 0.0, scaled)).astype(np.int64)
    changed = np.isfinite(values) & ~hard & (units / power != values)
    texts = _scaled_text(units, min(digits, _MAX_SCALED))
    special = hard | ~np.isfinite(values)
    if special.any():
        replacements = []
        for position in np.flatnonzero(special):
            value = float(values[position])
            text = _half_up(value, digits) if hard[position] else _special(value)
            changed[position] = hard[position] and float(text) != value
            replacements.append(text)
        texts = pc.replace_with_mask(texts, pa.array(special), pa.array(replacements, pa.string()))
    if array.null_count:
        texts = pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.string()))
        changed &= np.asarray(array.is_valid())
    return texts, int(changed.sum())


def _rounded_decimals(array: pa.Array, digits: int) -> tuple[pa.Array, int]:
    kind = array.type
    if digits >= kind.scale:
        text = _plain_decimals(array.cast(pa.string()), kind.scale)
        zeros = "0" * (digits - kind.scale)
        padding = zeros if kind.scale or not zeros else f".{zeros}"
        return (pc.binary_join_element_wise(text, padding, "") if padding else text), 0
    if kind.precision == _MAX_DIGITS:  # rounding may carry into one more digit
        return _rounded_one_by_one(array, digits)
    wide = array.cast(_decimal(kind.precision + 1, kind.scale))
    near = pc.round(wide, ndigits=digits, round_mode="half_towards_infinity")
    lost = pc.sum(pc.not_equal(near, wide)).as_py() or 0
    text = near.cast(_decimal(wide.type.precision, digits)).cast(pa.string())
    return _plain_decimals(text, digits), lost


def _rounded_one_by_one(array: pa.Array, digits: int) -> tuple[pa.Array, int]:
    rounded: list[Decimal | None] = array.to_pylist()
    unit = Decimal(1).scaleb(-digits)
    near = [None if one is None else one.quantize(unit, ROUND_HALF_UP, _WIDE) for one in rounded]
    lost = sum(a != b for a, b in zip(rounded, near, strict=True))
    texts = [None if one is None else f"{one.copy_abs() if one.is_zero() else one:f}" for one in near]
    return pa.array(texts, pa.string()), lost


def _half_up(value: float, digits: int) -> str:
    """Format one number with this many decimal places, rounding its shortest form half away from zero."""
    rounded = Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, _WIDE)
    return f"{rounded.copy_abs() if rounded.is_zero() else rounded:f}"


def not_finite(array: pa.Array) -> int:
    """Return the number of NaN or infinite cells of a float array."""
    if not pa.types.is_floating(array.type):
        return 0
    total = pc.sum(array).as_py()
    if total is None or math.isfinite(total):  # a non-finite value would make the sum non-finite
        return 0
    return pc.sum(pc.invert(pc.is_finite(array))).as_py() or 0


def _floats(array: pa.Array) -> pa.Array:
    text = array.cast(pa.string())
    if not not_finite(array):
        return text
    for old, new in (("nan", "NaN"), ("-inf", "-Infinity"), ("inf", "Infinity")):
        text = pc.if_else(pc.equal(text, old), new, text)
    return text


def _special(value: float) -> str:
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _scaled_text(units: np.ndarray, digits: int) -> pa.Array:
    """Format integers in units of 10**-digits as decimal strings: 12345 with 4 digits is "1.2345"."""
    numbers = pa.array(units)
    if digits == 0:
        return numbers.cast(pa.string())
    power = 10**digits
    magnitude = np.abs(units)
    whole = pa.array(magnitude // power).cast(pa.string())
    fraction = pc.utf8_lpad(pa.array(magnitude % power).cast(pa.string()), digits, "0")
    sign = pc.if_else(pa.array(units < 0), "-", "")
    return pc.binary_join_element_wise(pc.binary_join_element_wise(sign, whole, ""), fraction, ".")


def _decimal(digits: int, scale: int) -> pa.DataType:
    return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)


_MAX_PLAIN_SCALE = 6  # Arrow writes small numbers with an exponent from the seventh decimal place on


def _plain_decimals(text: pa.Array, scale: int) -> pa.Array:
    """Expand the exponents that Arrow writes for decimals near zero."""
    if scale <= _MAX_PLAIN_SCALE:
        return text
    marks = find_cells(text, b"E")
    if marks is None:
        return text
    selected = pack_mask(marks)
    fixed = [None if t is None else f"{Decimal(t):f}" for t in text.filter(selected).to_pylist()]
    return pc.replace_with_mask(text, selected, pa.array(fixed, pa.string()))


def _trim(text: pa.Array, scale: int) -> pa.Array:
    """Strip trailing zeros and expand exponents: "1.500" is "1.5", "2.000" is "2"."""
    if scale <= 0:
        return text
    return pc.ascii_rtrim(pc.ascii_rtrim(_plain_decimals(text, scale), "0"), ".")
