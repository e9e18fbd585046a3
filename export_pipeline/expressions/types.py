"""The types of expressions: which types combine, and lossless conversion of cells between them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Kind, arrow_types

MAX_PRECISION = 76
"""Maximum precision of a decimal: that of Arrow's widest decimal type."""
_NARROW = 38
_INT64_DIGITS = 19

NO_NUMBER = "text that is not a number, left empty"
NOT_FINITE = "not a finite number, left empty"

Cells: TypeAlias = "pa.Array"
"""One cell for each row."""


class ComputeError(ValueError):
    """Raised if a row's cells cannot be computed, e.g. on overflow.

    The message is one line; the caller that evaluates the expression adds the column's name.
    """


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an expression.

    Attributes:
        kind: TEXT, INTEGER, DECIMAL, FLOAT, BOOLEAN, DATE or TIMESTAMP; None for `null`, which fits all.
        digits: The precision of a decimal, the most digits of an integer.
        scale: The decimal places of a decimal.
        zone: The zone in which a timestamp is read; None for local time without a zone.
    """

    kind: Kind | None
    digits: int = 0
    scale: int = 0
    zone: str | None = None

    @property
    def number(self) -> bool:
        """True if it is a number that can be calculated with."""
        return self.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of its cells."""
        match self.kind:
            case Kind.DECIMAL:
                return decimal_type(self.digits, self.scale)
            case Kind.TIMESTAMP:
                return pa.timestamp("us", tz=None if self.zone is None else "UTC")
            case None:
                return pa.null()
        return arrow_types()[self.kind]

    def __str__(self) -> str:
        if self.kind is Kind.DECIMAL:
            return f"decimal({self.digits},{self.scale})"
        if self.kind is Kind.TIMESTAMP and self.zone is None:
            return "timestamp without zone"
        return str(self.kind or "null")


TEXT, FLOAT, BOOLEAN, DATE = Type(Kind.TEXT), Type(Kind.FLOAT), Type(Kind.BOOLEAN), Type(Kind.DATE)
INTEGER = Type(Kind.INTEGER, _INT64_DIGITS)
NULL = Type(None)


def decimal(digits: int, scale: int) -> Type:
    """Return a decimal type.

    Raises:
        ValueError: The precision exceeds the maximum.
    """
    if digits > MAX_PRECISION:
        raise ValueError(
            f"this may have {digits} digits, and a decimal holds {MAX_PRECISION}; make its parts narrower "
            "with decimal(x, p, s) or round(x, digits)"
        )
    return Type(Kind.DECIMAL, max(digits, 1), scale)


def decimal_type(digits: int, scale: int) -> pa.DataType:
    """Return Arrow's narrowest decimal type with this precision and scale."""
    return pa.decimal128(digits, scale) if digits <= _NARROW else pa.decimal256(digits, scale)


def common_type(left: Type, right: Type) -> Type:
    """Return the type that holds the values of both types.

    Raises:
        ValueError: There is none; the message names both.
    """
    if left.kind is None or left == right:
        return right
    if right.kind is None:
        return left
    if left.number and right.number:
        if Kind.FLOAT in (left.kind, right.kind):
            return FLOAT
        if left.kind is right.kind is Kind.INTEGER:
            return left if left.digits > right.digits else right
        scale = max(left.scale, right.scale)
        return decimal(max(left.digits - left.scale, right.digits - right.scale) + scale, scale)
    if left.kind is right.kind is Kind.TIMESTAMP and (left.zone is None) == (right.zone is None):
        return left
    raise ValueError(f"{left} and {right} do not go together")


@dataclass(slots=True)
class Env:
    """The rows for which an expression is evaluated.

    Attributes:
        rows: Number of rows.
        columns: The rows' cells by column.
        counted: Cells that became null, by reason; rows of a branch that is not taken never count.
    """

    rows: int
    columns: dict[str, Cells]
    counted: Counter[str] = field(default_factory=Counter)

    def only(self, mask: pa.BooleanArray) -> Env:
        """Return the masked rows; both share their counts."""
        columns = {name: cells.filter(mask) for name, cells in self.columns.items()}
        return Env(pc.sum(mask).as_py() or 0, columns, self.counted)

    def emptied(self, before: Cells, after: Cells, reason: str) -> None:
        """Count the cells that became null."""
        if after.null_count > before.null_count:
            self.counted[reason] += after.null_count - before.null_count


def convert(cells: Cells, old: Type, new: Type) -> Cells:
    """Convert cells to a type that holds all digits they may have.

    Raises:
        ComputeError: A cell does not fit.
    """
    if cells.type == new.arrow:
        return cells
    if old.kind is None:
        return pa.nulls(len(cells), new.arrow)
    try:
        if new.kind is Kind.DECIMAL and old.kind is Kind.INTEGER:
            cells = cells.cast(pa.decimal128(_INT64_DIGITS, 0))
        elif new.kind is Kind.FLOAT and old.kind is Kind.INTEGER:
            return cells.cast(pa.float64(), safe=False)
        elif new.kind is Kind.FLOAT:
            # Cast via strings: Arrow's own cast of a decimal often misses the nearest double.
            return cells.cast(pa.string()).cast(pa.float64())
        if new.kind is Kind.DECIMAL and pa.types.is_decimal(cells.type):
            # Arrow scales in the narrower type first, where a value that fits the wider one may overflow.
            if new.arrow.bit_width > cells.type.bit_width:
                cells = cells.cast(pa.decimal256(cells.type.precision, cells.type.scale))
            elif new.arrow.bit_width < cells.type.bit_width:
                return cells.cast(pa.decimal256(new.digits, new.scale)).cast(new.arrow)
        return cells.cast(new.arrow)
    except pa.ArrowInvalid:
        raise ComputeError(f"a value of {old} does not fit {new}") from None


def round_decimals(cells: Cells, scale: int, digits: int) -> Cells:
    """Round decimals to a scale, half away from zero, with a precision of `digits`.

    Raises:
        ComputeError: A value has more digits before the decimal point than fit.
    """
    have = cells.type
    try:
        if have.scale > scale:
            # A carry may add a digit: 9.95 becomes 10.0.
            cells = cells.cast(decimal_type(min(have.precision + 1, MAX_PRECISION), have.scale))
            cells = pc.round(cells, ndigits=scale, round_mode="half_towards_infinity")
        wide = pa.decimal256(MAX_PRECISION, cells.type.scale)
        return cells.cast(wide).cast(pa.decimal256(MAX_PRECISION, scale)).cast(decimal_type(digits, scale))
    except pa.ArrowInvalid:
        raise ComputeError(f"a value has more digits than decimal({digits},{scale}) holds") from None


_TINY, _HUGE = 1e-19, 1e38
_FLOAT_SCALE = 37


def exact_floats(cells: Cells, env: Env) -> Cells:
    """Convert floats to decimals with the digits that people see (the shortest that round-trip).

    NaN and infinities become null and are counted; values below 1e-19 become zero.

    Raises:
        ComputeError: A float is 1e38 or more.
    """
    size = pc.abs(cells)
    finite = pc.is_finite(cells)
    if pc.any(pc.and_(finite, pc.greater_equal(size, _HUGE))).as_py():
        raise ComputeError("a float of 1e38 or more does not fit a decimal")
    kept = pc.if_else(finite, pc.if_else(pc.less(size, _TINY), 0.0, cells), pa.scalar(None, pa.float64()))
    env.emptied(cells, kept, NOT_FINITE)
    return kept.cast(pa.string()).cast(pa.decimal256(MAX_PRECISION, _FLOAT_SCALE))


_NUMBER = r"^[+-]?([0-9]{1,38}(\.[0-9]{0,37})?|\.[0-9]{1,37})$"


def parse_numbers(cells: Cells, env: Env) -> Cells:
    """Convert strings that are plain numbers to decimals, ignoring surrounding blanks.

    Others become null and are counted.
    """
    trimmed = pc.utf8_trim_whitespace(cells)
    is_number = pc.match_substring_regex(trimmed, _NUMBER)
    kept = pc.if_else(is_number, trimmed, pa.scalar(None, pa.string()))
    env.emptied(cells, kept, NO_NUMBER)
    return kept.cast(pa.decimal256(MAX_PRECISION, _FLOAT_SCALE))
