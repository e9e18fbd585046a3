"""Sums of the groups of charts: exact, in one pass over the rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, TypeAlias

from export_pipeline.core.arrow import pa, pc
from export_pipeline.core.columns import Kind
from export_pipeline.core.layout import Number
from export_pipeline.core.local_time import to_local
from export_pipeline.core.special_numbers import to_finite_decimals
from export_pipeline.tabular.chart_spec import ChartSpec, Period
from export_pipeline.tabular.columns import apply_labels, make_header
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum, add_exactly

MAX_VALUES = 10_000
"""Most different values of a chart's columns; more are not held in memory, and the chart is left out."""
MAX_KEY_BYTES = 16 << 20
"""Most bytes of these values, which may be long texts."""
WIDEST_MEASURE = 66
"""Digits of the widest decimals that are added: their sums fit into 76 digits."""
_DAYS = (date.min - date(1970, 1, 1)).days, (date.max - date(1970, 1, 1)).days
_DAY = 86_400_000_000  # microseconds

Key: TypeAlias = date | str | None
Sums: TypeAlias = dict[tuple[Key, Key], list[Number]]


class ChartSums:
    """Adds up the groups of one chart, batch after batch.

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


def check_sums(chart: ChartSums, sums: Sums, rows: int, totals: Mapping[str, Sum]) -> None:
    """Raise ValueError if the groups do not add up to the rows."""
    expected = [*(totals[name] for name in chart.chart.measure), Sum(rows)]
    for index, total in enumerate(expected):
        added = add_all(numbers[index] for numbers in sums.values())
        if isinstance(total.total, float):
            agrees = abs(float(added) - total.total) <= 1e-9 * max(total.size, 1.0)
        else:
            agrees = added == total.total
        if not agrees:
            raise ValueError(
                f"The groups of the chart {chart.title!r} add up to {added}, not to {total.total}."
            )


def add_numbers(one: Number, other: Number) -> Number:
    """Return a sum; of exact numbers with every digit."""
    if isinstance(one, float) or isinstance(other, float):
        return float(one) + float(other)
    return add_exactly(one, other)


def add_all(numbers: Iterator[Number]) -> Number:
    """Return the sum of many numbers; see `add_numbers`."""
    total: Number = 0
    for number in numbers:
        total = add_numbers(total, number)
    return total
