"""Charts of a table: their categories and series, from the sums of its groups."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.charts import Chart, Series, is_drawable
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Number, Presentation
from export_pipeline.core.tables import Table
from export_pipeline.tabular.chart_spec import ChartSpec, Period
from export_pipeline.tabular.chart_sums import ChartSums, Key, Sums, add_all, add_numbers, check_sums
from export_pipeline.tabular.columns import make_header, shown_column
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum

MAX_SLICES = 12
"""Most slices of a pie: more would have no colours of their own."""
MAX_PARTS = 6
"""Most series of a chart with `split_by`; the last one may be the rest."""
_ROWS = Column("rows", "Rows", Kind.INTEGER)
_FAR = date(2099, 1, 1)
"""Dates from this one on may stand for "no end"."""

_EXTREME = "The chart {!r} is left out: its sums are too large or too small to be drawn."


def make_charts(
    table: Table,
    charts: Sequence[ChartSpec],
    columns: Mapping[str, ColumnSpec],
    totals: Mapping[str, Sum],
    presentation: Presentation,
) -> tuple[list[Chart], list[str]]:
    """Return the charts of a table, and a sentence for each that is left out.

    Args:
        table: The rows.
        charts: The charts.
        columns: The columns that they use, by name, with the look that people see.
        totals: The exact sum of each measure over all rows.
        presentation: How money and labels are shown.

    Raises:
        ValueError: The groups of a chart do not add up to the total, which the proof compares with the
            database's.
    """
    all_sums = [ChartSums(chart, columns) for chart in charts]
    for batch in table.open():
        for chart_sums in all_sums:
            chart_sums.add(batch)
    made, notes = [], []
    for chart_sums in all_sums:
        title, sums = chart_sums.title, chart_sums.sums()
        if sums is None:
            notes.append(f"The chart {title!r} is left out: {chart_sums.excess}.")
        elif not all(is_drawable(number) for numbers in sums.values() for number in numbers):
            notes.append(_EXTREME.format(title))
        elif sums:
            check_sums(chart_sums, sums, table.rows, totals)
            chart = _Drawer(chart_sums.chart, columns, presentation).draw(title, sums)
            # What is left of numbers that nearly cancel each other can be too small.
            if all(map(is_drawable, chart.values)):
                made.append(chart)
            else:
                notes.append(_EXTREME.format(title))
    return made, notes


class _Drawer:
    """Chooses and names the categories and series of a chart."""

    def __init__(
        self, chart: ChartSpec, columns: Mapping[str, ColumnSpec], presentation: Presentation
    ) -> None:
        self._chart, self._columns, self._presentation = chart, columns, presentation
        self._group = columns[chart.group]
        self._measures = [columns[name] for name in chart.measure]

    def draw(self, title: str, sums: Sums) -> Chart:
        """Return the chart."""
        chart = self._chart
        by_group: dict[Key, list[Number]] = {}
        for (group, _), numbers in sums.items():
            before = by_group.get(group)
            by_group[group] = numbers if before is None else list(map(add_numbers, before, numbers))
        labels, home = self._categories({key: numbers[0] for key, numbers in by_group.items()})
        if chart.split_by is not None:
            series = self._parts(sums, len(labels), home)
        else:
            shown: Sequence[ColumnSpec | None] = self._measures or [None]
            series = [
                self._series(make_header(one) if one else "Rows", one, index, by_group, len(labels), home)
                for index, one in enumerate(shown)
            ]
        type = chart.type
        if type == "pie" and min(series[0].values) < 0:
            type = "bar"  # a slice cannot be negative
        stacked = chart.split_by is not None and type != "line"
        return Chart(type, title, make_header(self._group), tuple(labels), tuple(series), stacked)

    def _categories(self, sums: Mapping[Key, Number]) -> tuple[list[str], dict[Key, int]]:
        """Return the labels of the categories, and the category of each group."""
        dates = sorted(key for key in sums if isinstance(key, date))
        limit = self._chart.limit
        if self._chart.type == "pie":
            limit = min(limit, MAX_SLICES - (bool(dates) and None in sums))
        if dates:
            later = _cut_far(dates, self._chart.by, limit)
            periods = _periods(dates[0], dates[-1], self._chart.by, limit - bool(later))
            earlier = [key for key in dates if key < periods[0]]
            labels = [_name(period, self._chart.by) for period in periods]
            newest = labels[-1]
            home: dict[Key, int] = {period: index for index, period in enumerate(periods)}
            if earlier:
                labels.insert(0, f"Before {labels[0]}")
                home = {key: index + 1 for key, index in home.items()} | dict.fromkeys(earlier, 0)
            if later:
                home |= dict.fromkeys(later, len(labels))
                labels.append(f"After {newest}")
            if None in sums:
                home[None] = len(labels)
                labels.append(self._missing())
            return labels, home
        return _largest(sums, limit, self._missing())

    def _parts(self, sums: Sums, width: int, home: Mapping[Key, int]) -> list[Series]:
        """Return a series for each value of the column `split_by`."""
        assert self._chart.split_by is not None
        column = self._columns[self._chart.split_by]
        by_part: dict[Key, Number] = {}
        for (_, part), numbers in sums.items():
            by_part[part] = add_numbers(by_part.get(part, 0), numbers[0])
        named: dict[Key, Number] = {_part_name(key, self._chart.by): one for key, one in by_part.items()}
        labels, place = _largest(named, MAX_PARTS, column.null_text or "None")
        # Declared values keep their order, so that charts of one column have equal legends.
        declared = list(column.labels.values()) if column.parsed.kind is Kind.ENUM else []
        order = sorted(range(len(labels)), key=lambda i: _index(declared, labels[i]))
        rank = {old: new for new, old in enumerate(order)}
        labels, place = [labels[i] for i in order], {key: rank[i] for key, i in place.items()}
        measure = self._measures[0] if self._measures else None
        series = []
        for index, label in enumerate(labels):
            chosen: dict[Key, list[Number]] = {}
            for (group, part), numbers in sums.items():
                if place[_part_name(part, self._chart.by)] == index:
                    chosen[group] = [add_numbers(chosen.get(group, [0])[0], numbers[0])]
            if column.parsed.kind is Kind.BOOLEAN:
                label = f"{make_header(column)}: {label}"  # "Yes" alone would say nothing in a legend
            one = self._series(label, measure, 0, chosen, width, home)
            series.append(Series(one.name, one.column, one.values, one.total))
        return series

    def _series(
        self,
        name: str,
        measure: ColumnSpec | None,
        index: int,
        sums: Mapping[Key, Sequence[Number]],
        width: int,
        home: Mapping[Key, int],
    ) -> Series:
        values: list[Number] = [0] * width
        for key, numbers in sums.items():
            values[home[key]] = add_numbers(values[home[key]], numbers[index])
        total = add_all(numbers[index] for numbers in sums.values())
        if measure is None:
            return Series(name, _ROWS, tuple(values), total)
        places = measure.minor_digits if measure.parsed.minor else 0
        if places:
            values = [Decimal(value).scaleb(-places) for value in values]
            total = Decimal(total).scaleb(-places)
        return Series(name, shown_column(measure, self._presentation), tuple(values), total, measure.name)

    def _missing(self) -> str:
        return self._group.null_text or "None"


def _largest(sums: Mapping[Key, Number], limit: int, missing: str) -> tuple[list[str], dict[Key, int]]:
    """Return the labels of the largest values in order, and the place of each; the others share the last."""
    missing = _mark(missing, "empty", sums)
    ranked = sorted(sums, key=lambda key: (-abs(Fraction(sums[key])), key is None, str(key)))
    kept, others = (ranked, []) if len(ranked) <= limit else (ranked[: limit - 1], ranked[limit - 1 :])
    kept.sort(key=lambda key: (-Fraction(sums[key]), key is None, str(key)))
    labels = [missing if key is None else str(key) for key in kept]
    home = {key: index for index, key in enumerate(kept)}
    if others:
        home |= dict.fromkeys(others, len(labels))
        labels.append(_mark(f"Other ({len(others):,})", "together", labels))
    return labels, home


def _index(declared: Sequence[str], label: str) -> int:
    """Return the place of a label among the declared ones; behind them if it is another."""
    return declared.index(label) if label in declared else len(declared)


def _mark(name: str, mark: str, names: Container[Key]) -> str:
    """Return a name that no value has: with a mark, if one has it."""
    while name in names:
        name = f"{name} ({mark})"
    return name


def _cut_far(dates: list[date], by: Period, limit: int) -> list[date]:
    """Take the far dates that stand alone, e.g. 9999-12-31 for "no end", from the end of sorted dates.

    As the newest periods, they would leave no room for those of all other rows.
    """
    later = []
    # A chart of two categories has room for the newest period and those before.
    while limit > 2 and len(dates) > 1 and dates[-1] >= _FAR:
        if _periods(dates[-2], dates[-1], by, limit)[0] <= dates[-2]:
            break
        later.append(dates.pop())
    return later


def _periods(first: date, last: date, by: Period, limit: int) -> list[date]:
    """Return the newest periods in order, without gaps; one fewer than the limit if others are earlier."""
    periods = [last]
    while periods[-1] > first and len(periods) < limit:
        periods.append(_floor(periods[-1] - timedelta(days=1), by))
    if periods[-1] > first:
        periods.pop()
    return periods[::-1]


def _floor(day: date, by: Period) -> date:
    """Return the first day of a day's period."""
    floored = pc.floor_temporal(pa.scalar(day, pa.date32()), unit=by)
    made: date = floored.as_py()
    return made


def _name(period: date, by: Period) -> str:
    """Return the name of a period by its first day: 2026-10-05, Oct 2026, 2026 Q4 or 2026."""
    match by:
        case "month":
            return f"{period:%b} {period.year:04}"
        case "quarter":
            return f"{period.year:04} Q{(period.month + 2) // 3}"
        case "year":
            return f"{period.year:04}"
    return period.isoformat()


def _part_name(key: Key, by: Period) -> str | None:
    return _name(key, by) if isinstance(key, date) else key
