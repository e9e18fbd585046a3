"""Aggregation of rows for charts: exact sums of a few groups, in one pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.charts import Chart, Series, is_drawable
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Number, Presentation
from export_pipeline.core.local_time import to_local
from export_pipeline.core.special_numbers import to_finite_decimals
from export_pipeline.core.tables import Table
from export_pipeline.tabular.chart_spec import ChartSpec, Period
from export_pipeline.tabular.columns import apply_labels, make_header, shown_column
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum, add_exactly

MAX_VALUES = 10_000
"""Most different values of a chart's columns; more are not held in memory, and the chart is left out."""
MAX_KEY_BYTES = 16 << 20
"""Most bytes of these values, which may be long texts."""
MAX_SLICES = 12
"""Most slices of a pie: more would have no colours of their own."""
MAX_PARTS = 6
"""Most series of a chart with `split_by`; the last one may be the rest."""
WIDEST_MEASURE = 66
"""Digits of the widest decimals that are added: their sums fit into 76 digits."""
_ROWS = Column("rows", "Rows", Kind.INTEGER)
_DAYS = (date.min - date(1970, 1, 1)).days, (date.max - date(1970, 1, 1)).days
_DAY = 86_400_000_000  # microseconds
_FAR = date(2099, 1, 1)
"""Dates from this one on may stand for "no end"."""

_EXTREME = "The chart {!r} is left out: its sums are too large or too small to be drawn."

Key: TypeAlias = date | str | None
Sums: TypeAlias = dict[tuple[Key, Key], list[Number]]


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
    collectors = [_Collector(chart, columns) for chart in charts]
    for batch in table.open():
        for collector in collectors:
            collector.add(batch)
    made, notes = [], []
    for collector in collectors:
        title, sums = collector.title, collector.sums()
        if sums is None:
            notes.append(f"The chart {title!r} is left out: {collector.excess}.")
        elif not all(is_drawable(number) for numbers in sums.values() for number in numbers):
            notes.append(_EXTREME.format(title))
        elif sums:
            _check(collector, sums, table.rows, totals)
            chart = _Drawer(collector.chart, columns, presentation).draw(title, sums)
            # What is left of numbers that nearly cancel each other can be too small.
            if all(map(is_drawable, chart.values)):
                made.append(chart)
            else:
                notes.append(_EXTREME.format(title))
    return made, notes


class _Collector:
    """The sums of one chart, batch after batch.

    Attributes:
        excess: Why the chart is given up, after `sums` returned None.
    """

    def __init__(self, chart: ChartSpec, columns: Mapping[str, ColumnSpec]) -> None:
        self.chart = chart
        self._keys = [(columns[chart.group], chart.by)]
        if chart.split_by is not None:
            self._keys.append((columns[chart.split_by], chart.by))
        self._measures = [columns[name] for name in chart.measure]
        self._partial: list[pa.Table] = []
        self._rows = 0
        self._bytes = 0
        self.excess = ""
        what = " and ".join(make_header(column) for column in self._measures) or "Rows"
        by = " and ".join(make_header(column) for column, _ in self._keys)
        self.title = chart.title or f"{what} by {by}"

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        if self.excess or not batch.num_rows:
            return
        arrays = {f"k{i}": _key(batch.column(one.name), one, by) for i, (one, by) in enumerate(self._keys)}
        arrays |= {f"m{i}": _addable(batch.column(one.name), one) for i, one in enumerate(self._measures)}
        arrays["rows"] = pa.repeat(pa.scalar(1, pa.int64()), batch.num_rows)
        self._partial.append(self._aggregate(pa.table(arrays)))
        self._rows += self._partial[-1].num_rows
        self._bytes += self._key_bytes(self._partial[-1])
        if self._rows > MAX_VALUES or self._bytes > MAX_KEY_BYTES:
            self._merge()

    def sums(self) -> Sums | None:
        """Return the sums of each pair of keys, with the count of rows last; None for too many groups."""
        self._merge()
        if self.excess:
            return None
        sums: Sums = {}
        width = len(self._keys)
        for row in (row for part in self._partial for row in part.to_pylist()):
            first, *second = (row[f"k{i}"] for i in range(width))
            numbers = [_number(row[f"m{i}"], one) for i, one in enumerate(self._measures)]
            sums[first, second[0] if second else None] = [*numbers, row["rows"]]
        return sums

    def _merge(self) -> None:
        if len(self._partial) > 1:
            self._partial = [self._aggregate(pa.concat_tables(self._partial))]
        self._rows = sum(part.num_rows for part in self._partial)
        self._bytes = sum(map(self._key_bytes, self._partial))
        if self._rows > MAX_VALUES:
            self.excess, self._partial = f"it would have more than {MAX_VALUES:,} groups", []
        elif self._bytes > MAX_KEY_BYTES:
            self.excess = f"the names of its groups would have more than {MAX_KEY_BYTES:,} bytes"
            self._partial = []

    def _key_bytes(self, part: pa.Table) -> int:
        return sum(part.column(f"k{i}").nbytes for i in range(len(self._keys)))

    def _aggregate(self, rows: pa.Table) -> pa.Table:
        keys = [f"k{i}" for i in range(len(self._keys))]
        names = [*(f"m{i}" for i in range(len(self._measures))), "rows"]
        zero = pc.ScalarAggregateOptions(min_count=0)
        grouped = pa.TableGroupBy(rows, keys, use_threads=False)
        added = grouped.aggregate([(name, "sum", zero) for name in names])
        return added.rename_columns([*keys, *names])


def _key(cells: pa.Array, column: ColumnSpec, by: Period) -> pa.Array:
    """Return the group of each cell: the first day of its period, or its text with its label."""
    kind = column.parsed.kind
    if kind is Kind.DATE:
        days = cells.cast(pa.date32()).cast(pa.int32())
        known = pc.and_(pc.greater_equal(days, _DAYS[0]), pc.less_equal(days, _DAYS[1]))
        return pc.floor_temporal(pc.if_else(known, days, None).cast(pa.date32()), unit=by)
    if kind is Kind.TIMESTAMP:
        micros = cells.cast(pa.int64())
        # The first and the last day have other dates in some zones: they stay in years 1 to 9999.
        first, last = _DAYS[0] * _DAY, (_DAYS[1] + 1) * _DAY - 1
        known = pc.and_(pc.greater_equal(micros, first), pc.less_equal(micros, last))
        cells = pc.if_else(known, cells, None)
        local = to_local(cells, column.zone) if column.zone is not None else cells
        micros = local.cast(pa.timestamp("us")).cast(pa.int64())
        micros = pc.max_element_wise(
            pc.min_element_wise(micros, last, skip_nulls=False), first, skip_nulls=False
        )
        return pc.floor_temporal(micros.cast(pa.timestamp("us")), unit=by).cast(pa.date32())
    if kind is Kind.BOOLEAN:
        return pc.if_else(cells, column.labels.get("true", "Yes"), column.labels.get("false", "No"))
    texts = cells.cast(pa.string())
    return apply_labels(texts, column.labels) if column.labels else texts


def _addable(cells: pa.Array, column: ColumnSpec) -> pa.Array:
    """Return numbers in a type whose sum cannot overflow; NaN and infinite ones are missing."""
    cells = to_finite_decimals(cells)
    if pa.types.is_floating(cells.type):
        cells = cells.cast(pa.float64())
        return pc.if_else(pc.is_finite(cells), cells, None)
    if pa.types.is_integer(cells.type):
        return cells.cast(pa.decimal128(38, 0))
    assert column.parsed.precision
    precision, scale = column.parsed.precision
    narrow = precision <= 28  # ten digits of room: for 10,000,000,000 rows
    return cells.cast(pa.decimal128(38, scale) if narrow else pa.decimal256(76, scale))


def _number(value: Any, column: ColumnSpec) -> Number:
    is_whole = column.parsed.minor or column.parsed.kind is Kind.INTEGER
    return int(value) if is_whole else value


def _check(collector: _Collector, sums: Sums, rows: int, totals: Mapping[str, Sum]) -> None:
    """Raise ValueError if the groups do not add up to the rows."""
    expected = [*(totals[name] for name in collector.chart.measure), Sum(rows)]
    for index, total in enumerate(expected):
        added = _add(numbers[index] for numbers in sums.values())
        if isinstance(total.total, float):
            agrees = abs(float(added) - total.total) <= 1e-9 * max(total.size, 1.0)
        else:
            agrees = added == total.total
        if not agrees:
            raise ValueError(
                f"The groups of the chart {collector.title!r} add up to {added}, not to {total.total}."
            )


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
            by_group[group] = numbers if before is None else list(map(_plus, before, numbers))
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
            by_part[part] = _plus(by_part.get(part, 0), numbers[0])
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
                    chosen[group] = [_plus(chosen.get(group, [0])[0], numbers[0])]
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
            values[home[key]] = _plus(values[home[key]], numbers[index])
        total = _add(numbers[index] for numbers in sums.values())
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


def _plus(one: Number, other: Number) -> Number:
    """Return a sum; of exact numbers with every digit."""
    if isinstance(one, float) or isinstance(other, float):
        return float(one) + float(other)
    return add_exactly(one, other)


def _add(numbers: Iterator[Number]) -> Number:
    total: Number = 0
    for number in numbers:
        total = _plus(total, number)
    return total
