"""Exact sums of columns over all rows, in one pass, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.layout import Number
from export_pipeline.core.special_numbers import to_finite_decimals
from export_pipeline.core.tables import Table

_WIDE = Context(prec=120)
_UNIT = 2.0**64
_SAFE_DIGITS = 66
"""Decimals up to this precision cannot overflow 76 digits when all rows of a batch are added."""


@dataclass(slots=True)
class Sum:
    """A column's sum.

    Attributes:
        total: Exact for integers (int) and decimals (Decimal); for floats the sum of finite values, as a
            double.
        size: The approximate sum of absolute values.
    """

    total: Number = 0
    size: float = 0.0


def sum_columns(table: Table, columns: Sequence[str]) -> dict[str, Sum]:
    """Return the sums of these number columns; without columns the rows are not read."""
    sums = {name: Sum() for name in columns}
    floats: dict[str, Fraction] = {}
    if not columns:
        return sums
    for batch in table.open():
        for name, one in sums.items():
            cells = batch.column(name)
            if pa.types.is_floating(cells.type):
                cells = cells.filter(pc.fill_null(pc.is_finite(cells), False))
                floats[name] = floats.get(name, Fraction()) + _float_sum(cells)
                one.size += pc.sum(pc.abs(cells)).as_py() or 0.0
            else:
                cells = to_finite_decimals(cells)
                one.total = add_exactly(one.total, _exact(cells))
                one.size += pc.sum(pc.abs(cells.cast(pa.float64(), safe=False))).as_py() or 0.0
    for name, total in floats.items():
        sums[name].total = _double(total)
    return sums


def _float_sum(cells: pa.Array) -> Fraction:
    """Return the sum of a batch's finite floats; if it overflows, they are added in a larger unit."""
    total = pc.sum(cells).as_py() or 0.0
    if math.isfinite(total):
        return Fraction(total)
    return Fraction(pc.sum(pc.multiply(cells, 1 / _UNIT)).as_py()) * int(_UNIT)


def _double(total: Fraction) -> float:
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def add_exactly(total: Number, more: int | Decimal) -> Number:
    """Return the sum of exact numbers, with every digit."""
    return _WIDE.add(Decimal(total), more) if isinstance(more, Decimal) else total + more


def _exact(cells: pa.Array) -> int | Decimal:
    """Return the sum of a batch's integers or decimals."""
    if pa.types.is_integer(cells.type):
        # Add the upper and lower 32 bits separately, because the sum of integers may need more than 64 bits.
        wide = cells.cast(pa.int64())
        high = pc.shift_right(wide, 32)
        low = pc.bit_wise_and(wide, 0xFFFFFFFF)
        return ((pc.sum(high).as_py() or 0) << 32) + (pc.sum(low).as_py() or 0)
    if cells.type.precision <= _SAFE_DIGITS:
        return pc.sum(cells.cast(pa.decimal256(76, cells.type.scale))).as_py() or Decimal(0)
    total = Decimal(0)
    for value in cells.drop_null().to_pylist():
        total = _WIDE.add(total, value)
    return total
