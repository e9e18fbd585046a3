"""Checks of what people read of a table export: printed columns, groups, charts and highlights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from export_pipeline.core.columns import Kind
from export_pipeline.core.strict_model import describe_unknown_name
from export_pipeline.tabular.chart_sums import WIDEST_MEASURE
from export_pipeline.tabular.column_selection import find_needed_columns
from export_pipeline.tabular.previous_period import is_compared
from export_pipeline.tabular.spec import ColumnSpec, TableSpec

Place: TypeAlias = tuple[str | int, ...]
SpecProblem: TypeAlias = tuple[Place, str]
Columns: TypeAlias = Mapping[str, ColumnSpec]

DIGITS = frozenset({Kind.DECIMAL, Kind.MONEY, Kind.PERCENT, Kind.FLOAT, Kind.INTEGER})
_GROUPING = frozenset({Kind.TEXT, Kind.ENUM, Kind.UUID})
TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP})
_CATEGORIES = _GROUPING | TIMES | {Kind.BOOLEAN}


def find_report_problems(spec: TableSpec) -> Iterator[SpecProblem]:
    """Yield the problems of printed columns, groups, charts and highlights, each at its place."""
    by_name = {column.name: column for column in spec.columns}
    yield from _check_print(spec, by_name)
    yield from _check_comparison(spec)
    yield from _check_charts(spec, by_name)
    yield from _check_highlights(spec, by_name)


def _check_print(spec: TableSpec, by_name: Columns) -> Iterator[SpecProblem]:
    """Check the columns that people read: only columns that an export has without being asked."""
    known = [column.name for column in spec.columns if not column.hidden and not column.extra]
    yield from quote_names(("print",), spec.print or (), known)
    yield from quote_names(("print_order",), spec.print_order, known)
    yield from quote_names(("group_by",), spec.group_by, known)
    if spec.print_order and spec.group_by:
        yield ("print_order",), "`group_by` already sorts the rows; say one of the two"
    first = by_name.get(next(iter(spec.group_by), ""))
    if first is not None and first.parsed.kind not in _GROUPING:
        kinds = ", ".join(sorted(_GROUPING))
        yield ("group_by", 0), f"rows are grouped by {kinds}; {first.name} is {first.type}"


def _check_comparison(spec: TableSpec) -> Iterator[SpecProblem]:
    """Check that windows have periods before them, and that there is money of one currency to compare."""
    if spec.compare is None:
        return
    if spec.window is None:
        yield ("compare",), "this export has no window, so no period before it"
    elif spec.window.mode == "as_of":
        yield ("compare",), "`window: {mode: as_of}` has all rows up to an end, so no period before it"
    compared = [column for column in spec.columns if not column.hidden and is_compared(column)]
    if not compared:
        yield ("compare",), "no column of money has `total: true`"
    for column in compared:
        if column.parsed.precision and column.parsed.precision[0] > WIDEST_MEASURE:
            yield ("compare",), f"{column.name} has more than {WIDEST_MEASURE} digits, too many to add up"
    if len({column.currency for column in compared}) > 1:
        names = ", ".join(f"{column.name} ({column.currency})" for column in compared)
        yield ("compare",), f"sums of several currencies cannot stand in one table: {names}"


def _check_charts(spec: TableSpec, by_name: Columns) -> Iterator[SpecProblem]:
    """Check that charts group by what has names or periods, and add up what has a sum."""
    known = [column.name for column in spec.columns if not column.hidden and not column.extra]
    for index, chart in enumerate(spec.charts):
        place: Place = ("charts", index)
        yield from quote_names((*place, "measure"), chart.measure, known)
        keys = {"group": chart.group} | ({"split_by": chart.split_by} if chart.split_by else {})
        for field, name in keys.items():
            if name not in known:
                yield (*place, field), describe_unknown_name(name, known)
            elif (column := by_name[name]).parsed.kind not in _CATEGORIES:
                kinds = ", ".join(sorted(_CATEGORIES))
                yield (*place, field), f"categories are {kinds}; {name} is {column.type}"
        if "by" in chart.model_fields_set and not any(
            name in known and by_name[name].parsed.kind in TIMES for name in keys.values()
        ):
            yield (*place, "by"), "periods are of a date or timestamp, and none of its columns is one"
        for at, name in enumerate(chart.measure):
            if name in known and (problem := _no_sum(by_name[name])):
                yield (*place, "measure", at), problem
        used = [by_name[name] for name in chart.columns if name in known]
        if guarded := [one.name for one in find_needed_columns(spec, used) if one.readers is not None]:
            yield place, f"{guarded[0]} has readers; a chart would show everybody what it holds"


def _check_highlights(spec: TableSpec, by_name: Columns) -> Iterator[SpecProblem]:
    """Check that highlights are of columns that have what they compare."""
    known = [column.name for column in spec.columns if not column.hidden]
    for index, one in enumerate(spec.highlights):
        place: Place = ("highlights", index)
        if one.column not in known:
            yield (*place, "column"), describe_unknown_name(one.column, known)
            continue
        kind = by_name[one.column].parsed.kind
        if not one.equals and not kind.is_number:
            yield (*place, "column"), f"{one.column} is {kind}; only numbers are compared and drawn"
        for at, value in enumerate(one.equals):
            kinds = {bool: "boolean", str: "text or enum", float: "number"}
            fits = (kind is Kind.BOOLEAN, kind.is_text, kind.is_number)
            if not fits[list(kinds).index(type(value))]:
                yield (
                    (*place, "equals", at),
                    f"{value!r} is a {kinds[type(value)]}, {one.column} {kind}",
                )


def _no_sum(column: ColumnSpec) -> str | None:
    """Return why a chart cannot add up a column; None if it can."""
    if column.parsed.kind not in DIGITS - {Kind.PERCENT}:
        return f"{column.name} is {column.type}; only numbers and money are added up"
    if column.grouping is False:
        return f"{column.name} has no grouping: it identifies something, so its sum means nothing"
    if column.parsed.precision and column.parsed.precision[0] > WIDEST_MEASURE:
        return f"{column.name} has more than {WIDEST_MEASURE} digits, too many to add up"
    return None


def quote_names(place: Place, names: Iterable[str], known: list[str]) -> Iterator[SpecProblem]:
    """Yield a problem for each name that is not known, or there twice."""
    seen = set()
    for index, name in enumerate(names):
        if name not in known:
            yield (*place, index), describe_unknown_name(name, known)
        elif name in seen:
            yield (*place, index), f"{name!r} is named twice"
        seen.add(name)
