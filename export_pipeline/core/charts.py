"""Charts of an export as small aggregated tables, independent of any format."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from export_pipeline.core.columns import Column

ChartType: TypeAlias = Literal["bar", "column", "line", "pie"]

_SMALLEST, _LARGEST = 1e-300, 1e306
"""Sizes that every program draws. Axes are a little longer than their values, and doubles end at 1.8e308."""


def is_drawable(value: int | float | Decimal) -> bool:
    """True if a number is 0, or neither too small nor too large to be drawn; NaN is not drawable."""
    return value == 0 or _SMALLEST <= value <= _LARGEST or -_LARGEST <= value <= -_SMALLEST


@dataclass(frozen=True, slots=True)
class Series:
    """One value for each category of a chart.

    Attributes:
        name: Name in the legend.
        column: How a value is printed: kind, digits, currency, grouping.
        values: Exact for integers (int) and decimals (Decimal); a double for floats. Money is in whole units.
        total: The same sum as added over the rows themselves; equals the sum of `values`, for floats within
            the rounding of doubles.
        source: Name of the column that was added; None if rows were counted, or if it is one of several
            series of that column.
    """

    name: str
    column: Column
    values: tuple[int | float | Decimal, ...]
    total: int | float | Decimal
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a few categories.

    Attributes:
        type: bar (horizontal), column (vertical), line or pie. A pie has one series without negative values.
        title: Its heading.
        group: Header of the categories.
        categories: One label for each value of a series, in the order to be shown.
        series: At least one.
        stacked: True if bars or columns of the series stand on each other.
    """

    type: ChartType
    title: str
    group: str
    categories: tuple[str, ...]
    series: tuple[Series, ...]
    stacked: bool = False

    @property
    def values(self) -> tuple[float, ...]:
        """All values as doubles, series by series."""
        return tuple(float(value) for series in self.series for value in series.values)
