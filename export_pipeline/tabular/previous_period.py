"""The comparison of a window's sums of money with those of the period before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal

from export_pipeline.core.amounts import Amount
from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Number, Presentation, Proof, Section
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.tabular.columns import shown_column
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import add_exactly

_WIDE = Context(prec=400)
_PRECISION = 76
_ROUNDING = 1e-12
"""Error of adding doubles, relative to the sum of absolute values."""
_TEXT_WIDTH = 40


def is_compared(column: ColumnSpec) -> bool:
    """Return whether a column's sum is compared with that of the previous period: of totalled money."""
    return column.total and column.parsed.kind is Kind.MONEY


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """The sums of rows in a window, and those of the same rows in the period before it.

    Attributes:
        title: Name of the group that the rows are; "" if they are all.
        sums: Sum of each column in the window, as it is staged: money of minor units as an integer.
        previous: The same of the previous period, as exact decimals.
    """

    title: str
    sums: Mapping[str, Number]
    previous: Mapping[str, str]


class Comparison:
    """A table of sums, those of the previous period, and their change: exact decimals in whole units.

    Args:
        columns: The columns that are compared, as they are printed; all have the same currency.
        rows: The sums of all rows, or of each group.
        window: The window.
        presentation: The format's presentation.
        by: Header of the column that the groups have in common; "" for all rows.
        is_named_personally: True if the names of groups are personal data.
    """

    def __init__(
        self,
        columns: Sequence[ColumnSpec],
        rows: Sequence[ComparedRows],
        window: Window,
        presentation: Presentation,
        by: str = "",
        *,
        is_named_personally: bool = False,
    ) -> None:
        self._specs, self._rows, self._by = columns, rows, by
        self._is_named_personally = is_named_personally
        self._window, self._presentation = window, presentation
        self._shown = [shown_column(column, presentation) for column in columns]
        pairs = [(one, column) for one in rows for column in columns]
        these = [_whole(column, Decimal(one.sums[column.name])) for one, column in pairs]
        before = [_whole(column, Decimal(one.previous[column.name])) for one, column in pairs]
        changes = [_WIDE.subtract(this, past) for this, past in zip(these, before, strict=True)]
        # Names that no column of the rows can have, since theirs have no colon.
        prefix = "comparison by group" if by else "comparison"
        self._values = {
            f"{prefix}: this period": these,
            f"{prefix}: previous period": before,
            f"{prefix}: change": changes,
        }
        self._before, self._changes = before, changes

    def section(self, title: str) -> Section:
        """Return the table: a row for each column (of each group), with the change also in percent of the
        previous sum.
        """
        group = Column("group", self._by, Kind.TEXT, width=_TEXT_WIDTH, personal=self._is_named_personally)
        columns = (
            *((group,) if self._by else ()),
            Column("amount", "Amount", Kind.TEXT, width=_TEXT_WIDTH),
            *self._money,
            Column("change_percent", "Change %", Kind.PERCENT, digits=1),
        )
        percents = [
            float(_WIDE.divide(change * 100, abs(past))) if past else None
            for past, change in zip(self._before, self._changes, strict=True)
        ]
        headers = [column.header for column in self._shown]
        groups = [one.title for one in self._rows for _ in headers]
        cells = [
            *([pa.array(groups, pa.string())] if self._by else ()),
            pa.array(headers * len(self._rows), pa.string()),
            *(pa.array(self._values[column.name], column.arrow_type) for column in self._money),
            pa.array(percents, pa.float64()),
        ]
        key = "comparison_by_group" if self._by else "comparison"
        table = Table.of(key, columns, pa.table(cells, [column.name for column in columns]))
        previous = self._window.previous
        assert previous is not None
        by = f" by {self._by}" if self._by else ""
        return Section(
            key,
            f"Comparison{by}",
            table,
            heading=f"{title}: compared with the previous period{by and f',{by}'}",
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
        """The columns with money."""
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


def match_groups(
    these: Mapping[str | None, ComparedRows], previous: Mapping[str | None, ComparedRows]
) -> Iterator[ComparedRows]:
    """Yield the groups of both periods with the sums of both, sorted by value; missing values come last.

    A group that one of the periods lacks has sums of 0 there.

    Args:
        these: The window's groups by value, without sums of the previous period.
        previous: The previous period's groups by value, without sums of the window.
    """
    for key in sorted(these.keys() | previous.keys(), key=lambda key: (key is None, key or "")):
        this, past = these.get(key), previous.get(key)
        named = this or past
        assert named is not None
        names = this.sums if this else named.previous
        yield ComparedRows(
            named.title,
            this.sums if this else dict.fromkeys(names, 0),
            past.previous if past else dict.fromkeys(names, "0"),
        )
