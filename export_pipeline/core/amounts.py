"""Sums of columns as people read them: decimals at the column's scale, with their unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

_WIDE = Context(prec=400, rounding=ROUND_HALF_EVEN)
_SURE_DIGITS = 15
"""Significant digits of a double that survive addition."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Formatting of a column's sum, whatever unit a format counts in.

    Attributes:
        column: The column's name, the same for every format.
        digits: Decimal places; None for as many as a double holds reliably.
        unit: E.g. "$"; None without one.
        minor_digits: The format's numbers count 10 to minus this of the unit: 2 for cents, 0 for whole units.
        exact: The sum as the source added it, in units; None if it is only known as a double.
        is_private: The cells are personal, or only some people may read them; a sum of few rows reveals them.
    """

    column: str
    digits: int | None = None
    unit: str | None = None
    minor_digits: int = 0
    exact: Decimal | None = None
    is_private: bool = False

    def value(self, total: float) -> str:
        """Return a sum found in a file as a decimal string, e.g. "219.30".

        Args:
            total: In the unit the format counts in. If it equals the source's sum within the accuracy of a
                double, the source's exact sum is returned.
        """
        if not math.isfinite(total):
            return str(total)
        scaled = Decimal(repr(float(total))).scaleb(-self.minor_digits, _WIDE)
        if self.exact is not None and math.isclose(scaled, self.exact, rel_tol=1e-14):
            scaled = self.exact
        if self.digits is None:
            return f"{Decimal(f'{float(scaled):.{_SURE_DIGITS}g}'):f}"
        return f"{scaled.quantize(Decimal(1).scaleb(-self.digits), context=_WIDE):f}"

    def text(self, total: float) -> str:
        """Return a sum found in a file with its unit, e.g. "219.30 $"."""
        return with_unit(self.value(total), self.unit)


def with_unit(value: str, unit: str | None) -> str:
    """Return a value followed by its unit, if it has one."""
    return f"{value} {unit}" if unit else value
