"""Format cells for print: Arrow columns as strings, a whole column at a time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Number
from export_pipeline.core.special_numbers import is_special, to_finite_decimals
from export_pipeline.formats.pdf import times
from export_pipeline.formats.pdf.arrays import booleans, integers, join

_EXACT = float(2**53)


@dataclass(frozen=True, slots=True)
class Printed:
    """A column's cells as strings without nulls, and how many show less than the source, by reason."""

    strings: pa.Array
    changed: Counter[str]


def print_cells(column: Column, values: pa.Array) -> Printed:
    """Return every cell of a column as a string; `values` must cast to the column's Arrow type."""
    changed: Counter[str] = Counter()
    if pa.types.is_null(values.type):
        strings = pc.cast(values, pa.string())
    elif column.kind.is_number:
        strings = _numbers(column, values, changed)
    elif column.kind is Kind.BOOLEAN:
        strings = pc.if_else(pc.cast(values, pa.bool_()), *column.labels)
    elif column.kind is Kind.TIMESTAMP and pa.types.is_timestamp(values.type):
        strings = times.timestamps(column, values, changed)
    elif column.kind is Kind.DATE and pa.types.is_date(values.type):
        strings = times.dates(column, values, changed)
    else:
        strings = values if pa.types.is_string(values.type) else pc.cast(values, pa.string())
    if strings.null_count:
        strings = pc.fill_null(strings, column.null)
    return Printed(strings, changed)


def heading(column: Column) -> str:
    """Return the text above a column: its header, and the zone of its times."""
    zoned = column.kind is Kind.TIMESTAMP and column.zone is not None
    return f"{column.header} ({column.zone})" if zoned else column.header


def count_decimals(column: Column) -> int | None:
    """Return the decimal places to print; None for all that a value has."""
    if column.digits is None and column.kind is Kind.MONEY:
        return 2
    return 0 if column.kind is Kind.INTEGER else column.digits


def number_text(column: Column, value: Number) -> str:
    """Format one number, e.g. a total, like the column's cells."""
    digits = count_decimals(column)
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not exact.is_finite():
        return _unusual(float(exact))
    if digits is not None:
        exact = _round(exact, digits)
    text = f"{exact.copy_abs():{',' if column.grouping else ''}f}"
    if digits is None and "." in text:
        text = text.rstrip("0").rstrip(".")
    before, after = affixes(column)
    return ("-" if exact < 0 else "") + before + text + after


def affixes(column: Column) -> tuple[str, str]:
    """Return the prefix (after the minus sign) and suffix of a column's numbers."""
    if column.kind is Kind.MONEY:
        return (column.currency + " " if column.currency[-1:].isalpha() else column.currency), ""
    return "", "%" if column.kind is Kind.PERCENT else ""


def _numbers(column: Column, values: pa.Array, changed: Counter[str]) -> pa.Array:
    if pa.types.is_string(values.type):
        finite = _numbers(column, to_finite_decimals(values), changed)
        return pc.if_else(is_special(values), values, finite)
    digits = count_decimals(column)
    valid = values.is_valid() if values.null_count else None
    if pa.types.is_decimal(values.type):
        negative, text, rounded = _decimals(values, digits)
    elif pa.types.is_integer(values.type):
        whole = _numpy(pc.cast(values, pa.int64())) if not pa.types.is_uint64(values.type) else _numpy(values)
        negative, text, rounded = _to_fixed(whole, 0, digits)
    elif pa.types.is_floating(values.type):
        negative, text, rounded = _floats(_numpy(pc.cast(values, pa.float64())), digits)
    else:
        return pc.cast(values, pa.string())
    if valid is not None:
        rounded = rounded & np.asarray(valid.to_numpy(zero_copy_only=False), bool)
    if rounded.any():
        changed[f"rounded to {digits} decimals"] += int(rounded.sum())
    if not column.grouping:
        text = pc.replace_substring(text, ",", "")
    before, after = affixes(column)
    if after:
        text = join(text, after)
    if before or negative.any():
        text = join(pc.if_else(booleans(negative), f"-{before}", before), text)
    return text if valid is None else pc.if_else(valid, text, pa.scalar(None, pa.string()))


def _numpy(values: pa.Array) -> NDArray[Any]:
    """Return the fixed-width values of an array, nulls as zero."""
    filled = pc.fill_null(values, 0) if values.null_count else values
    return np.asarray(filled.to_numpy(zero_copy_only=True))


Formatted = tuple[NDArray[np.bool_], pa.Array, NDArray[np.bool_]]
"""Mask of negative values, their strings without the sign, and mask of rounded values."""


def _to_fixed(values: NDArray[np.integer], scale: int, digits: int | None) -> Formatted:
    """Format values / 10**scale with `digits` decimal places (None: all but trailing zeros)."""
    negative = values < 0
    size = values.astype(np.uint64)
    np.negative(size, out=size, where=negative)
    rounded = np.zeros(values.size, bool)
    shown = scale if digits is None else min(scale, digits)
    if shown < scale:
        if scale - shown > 18:
            return _slow([Decimal(v).scaleb(-scale) for v in values.tolist()], digits)
        unit = np.uint64(10 ** (scale - shown))
        size, rest = np.divmod(size, unit)
        size += rest >= unit // np.uint64(2)
        rounded = rest != 0
        negative = negative & (size != 0)
    whole, fraction = np.divmod(size, np.uint64(10**shown))
    text = _group_digits(whole)
    if shown:
        places = pc.utf8_slice_codeunits(pc.cast(integers(fraction + np.uint64(10**shown)), pa.string()), 1)
        if digits is None:
            text = pc.utf8_rtrim(pc.utf8_rtrim(join(text, ".", places), "0"), ".")
        else:
            text = join(text, ".", places, "0" * (digits - shown))
    elif digits:
        text = join(text, "." + "0" * digits)
    return negative, text, rounded


@cache
def _thousands() -> pa.Array:
    return pa.array([f"{n:03d}" for n in range(1000)], pa.string())


def _group_digits(whole: NDArray[np.uint64]) -> pa.Array:
    """Format integers with a comma between groups of three digits."""
    digits = pc.cast(integers(whole), pa.string())
    if not whole.size or int(whole.max()) < 1000:
        return digits
    upper, lower = np.divmod(whole, np.uint64(1000))
    parted = join(_group_digits(upper), ",", _thousands().take(integers(lower.astype(np.int64))))
    return pc.if_else(booleans(whole < 1000), digits, parted)


def _decimals(values: pa.Array, digits: int | None) -> Formatted:
    scale = values.type.scale
    wide = pc.cast(values, pa.decimal128(38, scale)) if values.type.bit_width < 128 else values
    if wide.type.bit_width == 128 and 0 <= scale <= 18:
        filled = pc.fill_null(wide, pa.scalar(Decimal(0), wide.type)) if wide.null_count else wide
        words = np.frombuffer(filled.buffers()[1], np.int64).reshape(-1, 2)
        words = words[filled.offset : filled.offset + len(filled)]
        low = np.ascontiguousarray(words[:, 0])
        if np.array_equal(words[:, 1], low >> 63):
            return _to_fixed(low, scale, digits)
    return _slow([scalar.as_py() or Decimal(0) for scalar in wide], digits)


def _floats(values: NDArray[np.float64], digits: int | None) -> Formatted:
    size = np.abs(values)
    if digits is None:
        return _shortest(values, size)
    unit = 10.0**digits
    with np.errstate(invalid="ignore", over="ignore"):
        fits = size * unit < _EXACT
    if digits > 15 or not fits.all():
        rough = [Decimal(repr(v)) for v in values.tolist()]
        return _slow(rough, digits)
    shifted = size * unit + 0.5
    scaled = np.floor(shifted)
    # Near a tie the shortest decimal form decides, not the double: 0.285 is 0.29, as in spreadsheets.
    near = np.abs(shifted - np.rint(shifted)) < 1e-4 + scaled * 2.0**-51
    for place in np.flatnonzero(near):
        scaled[place] = float(_round(Decimal(repr(float(size[place]))), digits).scaleb(digits))
    negative, text, _ = _to_fixed(np.where(values < 0, -scaled, scaled).astype(np.int64), digits, digits)
    return negative, text, scaled / unit != size


def _shortest(values: NDArray[np.float64], size: NDArray[np.float64]) -> Formatted:
    """Format floats in their shortest round-trip form; with commas only if no exponent is printed."""
    text = pc.cast(pa.Array.from_buffers(pa.float64(), size.size, [None, pa.py_buffer(size)]), pa.string())
    finite = np.isfinite(size)
    is_grouped = finite & (size < 1e15) & (size >= 1000)
    if is_grouped.any():
        is_grouped &= ~np.asarray(pc.match_substring(text, "e").to_numpy(zero_copy_only=False), bool)
        fractions = pc.replace_substring_regex(text.filter(booleans(is_grouped)), "^[0-9]+", "")
        grouped = join(_group_digits(size[is_grouped].astype(np.uint64)), fractions)
        text = pc.replace_with_mask(text, booleans(is_grouped), grouped)
    if not finite.all():
        text = pc.if_else(booleans(np.isinf(size)), "Infinity", text)
        text = pc.if_else(booleans(np.isnan(size)), "NaN", text)
    return values < 0, text, np.zeros(values.size, bool)


def _slow(values: list[Decimal], digits: int | None) -> Formatted:
    """Format any numbers one by one: those too long for machine words, infinities, NaN."""
    column = Column("", "", Kind.DECIMAL, digits)
    texts = [number_text(column, value) for value in values]
    rounded = [
        digits is not None and value.is_finite() and _round(value, digits) != value for value in values
    ]
    return (
        np.array([text.startswith("-") for text in texts], bool),
        pa.array([text.removeprefix("-") for text in texts], pa.string()),
        np.array(rounded, bool),
    )


def _round(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, Context(prec=400 + digits))


def _unusual(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
