"""The comparison of a window's sums of money with those of the period before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal

import pyarrow as pa

from export_pipeline.core.amounts import Amount
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Presentation, Proof, Section
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.tabular.columns import shown_column
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import add_exactly

_WIDE = Context(prec=400)
_PRECISION = 76
_ROUNDING = 1e-12
"""Error of adding doubles, relative to the sum of absolute values."""


def is_compared(column: ColumnSpec) -> bool:
    """Return whether a column's sum is compared with that of the previous period: of totalled money."""
    return column.total and column.parsed.kind is Kind.MONEY


class Comparison:
    """The sums of a window, those of the previous period, and their change: exact decimals in whole units.

    Args:
        columns: The columns that are compared, as they are printed; all have the same currency.
        sums: Sum of each column in the window, as it is staged: money of minor units as an integer.
        previous: The same of the previous period, as exact decimals.
        window: The window.
        presentation: The format's presentation.
    """

    def __init__(
        self,
        columns: Sequence[ColumnSpec],
        sums: Mapping[str, int | float | Decimal],
        previous: Mapping[str, str],
        window: Window,
        presentation: Presentation,
    ) -> None:
        self._specs, self._window, self._presentation = columns, window, presentation
        self._shown = [shown_column(column, presentation) for column in columns]
        these = [_whole(column, Decimal(sums[column.name])) for column in columns]
        before = [_whole(column, Decimal(previous[column.name])) for column in columns]
        changes = [_WIDE.subtract(this, past) for this, past in zip(these, before, strict=True)]
        self._values = {
            "comparison: this period": these,
            "comparison: previous period": before,
            "comparison: change": changes,
        }
        self._before, self._changes = before, changes

    def section(self, title: str) -> Section:
        """Return the table: a row for each column, with the change also in percent of the previous sum."""
        columns = (
            Column("amount", "Amount", Kind.TEXT, width=40),
            *self._money,
            Column("change_percent", "Change %", Kind.PERCENT, digits=1),
        )
        percents = [
            float(_WIDE.divide(change * 100, abs(past))) if past else None
            for past, change in zip(self._before, self._changes, strict=True)
        ]
        cells = [
            pa.array([column.header for column in self._shown], pa.string()),
            *(pa.array(self._values[column.name], column.arrow_type) for column in self._money),
            pa.array(percents, pa.float64()),
        ]
        table = Table.of("comparison", columns, pa.table(cells, [column.name for column in columns]))
        previous = self._window.previous
        assert previous is not None
        return Section(
            "comparison",
            "Comparison",
            table,
            heading=f"{title}: compared with the previous period",
            lines=(f"This period: {self._window.period()}", f"Previous period: {previous.period()}"),
            sums=tuple(column.name for column in self._money),
            proves=True,
        )

    @property
    def proof(self) -> Proof:
        """The sums over all rows of the table, by which a file is verified."""
        totals, amounts = {}, {}
        is_private = any(column.personal or column.readers is not None for column in self._specs)
        for column in self._money:
            values = self._values[column.name]
            exact: Decimal = Decimal(0)
            for value in values:
                exact = Decimal(add_exactly(exact, value))
            size = float(sum(map(abs, values)))
            cut = column.digits is not None and self._presentation.rounds and self._scale > column.digits
            rounding = 0.5 * 10.0**-column.digits * len(values) if cut and column.digits is not None else 0.0
            totals[column.name] = (float(exact), _ROUNDING * max(size, 1.0) + rounding)
            amounts[column.name] = Amount(
                column.name, self._scale, column.currency, is_private=is_private, exact=exact
            )
        return Proof(0, totals, amounts)

    @property
    def _scale(self) -> int:
        return max(column.precision[1] if column.precision else 0 for column in self._shown)

    @property
    def _money(self) -> tuple[Column, ...]:
        """The columns with money; their names cannot be those of a table's columns, which have no colon."""
        digits = max(column.digits or 0 for column in self._shown)
        return tuple(
            Column(
                name,
                name.partition(": ")[2].capitalize(),
                Kind.MONEY,
                digits=digits,
                currency=self._shown[0].currency,
                precision=(_PRECISION, self._scale),
            )
            for name in self._values
        )


def _whole(column: ColumnSpec, total: Decimal) -> Decimal:
    return _WIDE.scaleb(total, -column.minor_digits) if column.parsed.minor else total
