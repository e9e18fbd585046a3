"""Reads the rows of many scopes in one select, and splits them by scope."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.tables import Table
from export_pipeline.sources.casts import BYTE_ORDER, Query, order_by
from export_pipeline.sources.database_types import Family
from export_pipeline.sources.snapshot import Snapshot, SourceError, visible
from export_pipeline.sources.tables import drift
from export_pipeline.sources.tables.database_tables import Catalogue, MissingError
from export_pipeline.sources.tables.operands import Condition
from export_pipeline.sources.tables.query import Share, TableQuery
from export_pipeline.sources.tables.read import DRIFT, TableReader
from export_pipeline.sources.tables.relations import Expression, Frame
from export_pipeline.sources.tables.scopes import match_scopes, read_scope_names
from export_pipeline.sources.tables.sql_file import parameters
from export_pipeline.sources.tables.totals import count_by_group
from export_pipeline.tabular.column_selection import spec_of
from export_pipeline.tabular.spec import ColumnSpec, Scope, TableSpec

SCOPE = Column("export scope", "Scope", Kind.TEXT)
"""The first column of the tables that `read_rows_by_scope` yields. Names of other columns have no space."""

_EXACT = (Family.INTEGER, Family.TEXT, Family.UUID)
"""Types whose equal values print alike, so that rows can be told apart by the printed scope."""


def read_rows_by_scope(snapshot: Snapshot, request: Request, scopes: Collection[str]) -> Iterator[ExportData]:
    """Read the rows of each scope as `read` would, but all in one select that is ordered by scope.

    Args:
        request: Its own scope is not used.
        scopes: Scopes to read; those that their own read would refuse are left out.

    Returns:
        An export for each scope, also for one without rows. Its table has the column `SCOPE` first, and must
        be read before the next export is taken.

    Raises:
        SourceError: The rows cannot be read together, or not at all.
    """
    spec = spec_of(request.spec)
    snapshot = visible(snapshot, spec.source.row_security)
    try:
        yield from _read(snapshot, spec, request, scopes)
    except MissingError as error:
        raise SourceError(f"{DRIFT}{error}") from None


class _ScopesQuery(TableQuery):
    """Builds the selects of a request for several scopes."""

    def __init__(
        self,
        snapshot: Snapshot,
        spec: TableSpec,
        request: Request,
        hidden: frozenset[str],
        scope: Scope,
        scopes: Collection[str],
    ) -> None:
        super().__init__(snapshot, spec, request, hidden)
        self.declared, self.scopes = scope, scopes
        self.group = (SCOPE,)

    def rows(self, columns: Sequence[ColumnSpec], share: Share | None = None) -> Query:
        frame = Frame(self.relations)
        scope = self._printed(frame)
        expressions = [scope, *(self.value(frame, column) for column in columns)]
        order = self._order(frame)
        return self._restrict(frame, expressions).order_by(order_by(scope), *order)

    def facts(self, make: Callable[[Frame], Sequence[Expression]]) -> Query:
        frame = Frame(self.relations)
        scope = self._printed(frame)
        return self._restrict(frame, [scope, *make(frame)]).group_by(scope)

    def _scope(self, frame: Frame) -> list[Condition]:
        field = frame.field(self.declared.column)
        return [match_scopes(field.expression, field.stored, self.snapshot.dialect, self.scopes)]

    def _printed(self, frame: Frame) -> Expression:
        text = sa.cast(frame.field(self.declared.column).expression, sa.Text)
        return sa.collate(text, BYTE_ORDER[self.snapshot.dialect])


def _read(
    snapshot: Snapshot, spec: TableSpec, request: Request, scopes: Collection[str]
) -> Iterator[ExportData]:
    declared = _ensure_together(snapshot, spec, request)
    names = read_scope_names(snapshot, declared, scopes)
    scopes = list(names)
    reader = TableReader(snapshot, spec, request, None)
    query = _ScopesQuery(snapshot, spec, request, reader.hidden_columns(), declared, scopes)
    _ensure_comparable(snapshot, declared, Frame(query.relations).field(declared.column).stored.family)
    drift.check_drift(spec, query.relations, typed=snapshot.dialect != "sqlite")
    reader.ensure_values_exist(query)
    counts = count_by_group(snapshot, query, reader.columns)

    if any(special for _, _, special, _ in counts.values()):
        raise SourceError("Cells are NaN or infinite, so a column of some scopes has another type.")
    columns = (SCOPE, *reader.staged_columns(()))

    def export(scope: str, rows: Callable[[], Iterator[pa.RecordBatch]]) -> ExportData:
        count = counts.get(scope, counts[None])
        mine = TableReader(snapshot, spec, replace(request, scope=scope), names[scope])
        mine.warnings.extend(reader.warnings)
        check = mine.consistency_check(
            count[:2], lambda: count_by_group(snapshot, query, reader.columns).get(scope, counts[None])[:2]
        )
        return mine.export(count, Table("rows", columns, count[0], lambda: check.watch(rows())))

    left = set(scopes)
    batches = snapshot.batches(query.rows(reader.columns), columns, _refuse_damage)
    for scope, parts in groupby(_split(batches), key=itemgetter(0)):
        if scope not in left:
            raise SourceError(f"The rows of scope {scope!r} were not asked for, or do not come together.")
        left.remove(scope)
        yield export(scope, partial(_slices, parts))
    for scope in sorted(left):
        yield export(scope, lambda: iter(()))


def _slices(parts: Iterable[tuple[str, pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    return (batch for _, batch in parts)


def _split(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield the runs of rows with the same scope, each at most a batch, with that scope."""
    for batch in batches:
        runs, start = pc.run_end_encode(batch.column(0)), 0
        for scope, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
            yield scope, batch.slice(start, end - start)
            start = end


def _refuse_damage(reason: str, column: str, cells: int) -> None:
    raise SourceError(f"{cells:,} cells of {column} change when they are read ({reason}); whose is unknown.")


def _ensure_together(snapshot: Snapshot, spec: TableSpec, request: Request) -> Scope:
    """Return the declared scope of a dataset whose rows can be read for many scopes at once.

    Raises:
        SourceError: They cannot: something other than the scope's column depends on the scope.
    """
    options = request.options.model_dump(by_alias=True, exclude_none=True)
    filters = {*options.get("filters", {})}
    if preset := spec.presets.get(options.get("preset", "")):
        filters |= {*preset.filters}
    among = [spec.filters[name].among for name in filters]
    statements = [spec.source.sql or "", *(view.sql for view in spec.source.views.values())]
    if spec.scope is None or spec.scope.shared:
        raise SourceError("A row belongs to several scopes, or to none.")
    if snapshot.dialect not in ("postgresql", "sqlite"):
        raise SourceError("This database may print equal scopes in several ways.")
    if any("scope" in parameters(sql) for sql in statements):
        raise SourceError("A .sql file has the parameter :scope.")
    if any(one is not None and one.scope is not None for one in among):
        raise SourceError("The values of a filter depend on the scope.")
    if any(rule.scope is not None for rule in spec.readers.values()):
        raise SourceError("Who may read a column depends on the scope.")
    if spec.compare and request.window:
        raise SourceError("The sums of the previous period are read for one scope.")
    return spec.scope


def _ensure_comparable(snapshot: Snapshot, declared: Scope, family: Family) -> None:
    """Reject scopes whose ids are not printed alike in both tables.

    Raises:
        SourceError: They may not be.
    """
    stored: Any = Catalogue.of(snapshot).table(declared.table).column(declared.id)
    if family not in _EXACT or stored.family is not family:
        raise SourceError(f"Scopes are {stored.type_name} in {declared.table}, and {family} in the rows.")
