"""Sums of the period before an export's window, and of its groups, with which its own are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from export_pipeline import tabular
from export_pipeline.core.export_data import PreviousGroup, Request
from export_pipeline.core.tables import Table
from export_pipeline.expressions.operators import BY_ZERO
from export_pipeline.expressions.types import ComputeError
from export_pipeline.sources.arrow_types import ROUNDED, ROUNDED_DOUBLE
from export_pipeline.sources.snapshot import Snapshot, SourceError, SourceUnavailableError
from export_pipeline.sources.tables.query import TableQuery
from export_pipeline.sources.tables.totals import count_and_totals
from export_pipeline.tabular.column_selection import find_needed_columns, select_columns
from export_pipeline.tabular.columns import column_of
from export_pipeline.tabular.groups import MAX_GROUPS, add_by_group
from export_pipeline.tabular.previous_period import is_compared
from export_pipeline.tabular.spec import ColumnSpec, TableSpec
from export_pipeline.tabular.sums import sum_columns

Previous: TypeAlias = tuple[dict[str, str], list[PreviousGroup] | None, list[str]]
_HARMLESS = frozenset({ROUNDED, ROUNDED_DOUBLE, BY_ZERO})
"""Changes of cells that make no sum wrong: all digits of a float are kept, and a division by zero is null."""


def read_previous_totals(
    snapshot: Snapshot, spec: TableSpec, request: Request, hidden: frozenset[str]
) -> Previous:
    """Return exact sums of the period before the window, by column; the same by group, if the export is
    grouped; and warnings about what has none.

    A column with cells that cannot be added has no sum, as it would be too small; the export is made
    without its comparison.

    Args:
        hidden: Columns that the requester may not read.

    Raises:
        SourceUnavailableError: the database is unavailable.
    """
    previous = request.window and request.window.previous
    compared = [one for one in select_columns(spec, request.options) if is_compared(one)]
    if spec.compare is None or not previous or not compared:
        return {}, None, []
    dataset = TableQuery(snapshot, spec, replace(request, window=previous), hidden)
    try:
        with snapshot.savepoint():
            totals, lost = _add(snapshot, dataset, spec, compared)
    except SourceUnavailableError:
        raise
    except (SourceError, ComputeError) as error:
        names = ", ".join(column.name for column in compared)
        return {}, None, [f"{names}: not compared with the previous period, which cannot be added. {error}"]
    warnings = []
    for column in compared:
        reasons: Counter[str] = Counter()
        for one in find_needed_columns(spec, [column]):
            reasons += lost.get(one.name, Counter())
        if reasons:
            del totals[column.name]
            cells = ", ".join(f"{count:,} ({reason})" for reason, count in reasons.items())
            warnings.append(
                f"{column.name}: not compared with the previous period, whose sum would lack cells: {cells}."
            )
    groups = None
    if totals and spec.group_by:
        try:
            with snapshot.savepoint():
                groups = _add_groups(snapshot, dataset, spec, request, [*totals])
        except SourceUnavailableError:
            raise
        except (SourceError, ComputeError, ValueError) as error:
            warnings.append(f"Groups are not compared with those of the previous period: {error}")
    return totals, groups, warnings


def _add_groups(
    snapshot: Snapshot, dataset: TableQuery, spec: TableSpec, request: Request, names: Sequence[str]
) -> list[PreviousGroup] | None:
    """Return the sums of these columns by group; None if the export lacks the column that groups its rows.

    Raises:
        ValueError: There are too many groups.
    """
    selected = {column.name: column for column in select_columns(spec, request.options)}
    by = [selected[name] for name in spec.group_by if name in selected]
    if not by or by[0].name != spec.group_by[0]:
        return None
    columns = [*by, *(selected[name] for name in names if selected[name] not in by)]
    read = _read_columns(spec, columns)
    count, _, special, _ = count_and_totals(snapshot, dataset, read)
    kinds = tuple(replace(column_of(one), has_special=one.name in special) for one in read)
    batches = partial(snapshot.batches, dataset.rows(read), kinds, lambda *_: None)
    rows = tabular.add_computed(Table("rows", kinds, count, batches), spec, columns, Counter())
    groups = add_by_group(rows, [column.name for column in by], names)
    if groups is None:
        raise ValueError(f"it has more than {MAX_GROUPS} of them.")
    return groups


def _add(
    snapshot: Snapshot, dataset: TableQuery, spec: TableSpec, compared: Sequence[ColumnSpec]
) -> tuple[dict[str, str], dict[str, Counter[str]]]:
    """Return sums by column, and counts of cells that are missing in them by column and reason.

    The database adds columns that it adds exactly. Rows are read for the others, as computed ones and floats,
    and for all of SQLite, which keeps any value in any column.
    """
    read = _read_columns(spec, compared)
    count, _, special, exact = count_and_totals(snapshot, dataset, read)
    if snapshot.dialect == "sqlite":
        exact = {}
    lost: dict[str, Counter[str]] = {name: Counter({"NaN or infinity": 1}) for name in special}
    totals = {column.name: exact[column.name] for column in compared if column.name in exact}
    others = [column for column in compared if column.name not in exact]
    if others:

        def count_lost(reason: str, column: str, cells: int) -> None:
            if reason not in _HARMLESS:
                lost.setdefault(column, Counter())[reason] += cells

        columns = tuple(
            replace(column_of(one), has_special=one.name in special) for one in _read_columns(spec, others)
        )
        select = dataset.rows(_read_columns(spec, others))
        changed: Counter[tuple[str, str]] = Counter()
        table = Table("rows", columns, count, partial(snapshot.batches, select, columns, count_lost))
        rows = tabular.add_computed(table, spec, others, changed)
        sums = sum_columns(rows, [column.name for column in others])
        totals |= {name: str(one.total) for name, one in sums.items()}
        for (reason, place), cells in changed.items():
            count_lost(reason, place.removeprefix("rows."), cells)
    return totals, lost


def _read_columns(spec: TableSpec, columns: Sequence[ColumnSpec]) -> list[ColumnSpec]:
    return [one for one in find_needed_columns(spec, columns) if one.compute is None]
