"""Reads table exports: the rows of a spec and a request, from one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

from export_pipeline import tabular
from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import Column
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.tables import Table
from export_pipeline.sources.snapshot import Query, Snapshot, SourceError, visible
from export_pipeline.sources.tables import drift
from export_pipeline.sources.tables.consistency import ConsistencyCheck, Facts
from export_pipeline.sources.tables.database_tables import Catalogue, MissingError
from export_pipeline.sources.tables.key_ranges import split_by_key
from export_pipeline.sources.tables.previous_totals import read_previous_totals
from export_pipeline.sources.tables.query import TableQuery
from export_pipeline.sources.tables.scopes import (
    find_values,
    read_recipients,
    read_scope_name,
    read_scope_names,
)
from export_pipeline.sources.tables.totals import Count, count_and_totals
from export_pipeline.tabular.column_selection import find_needed_columns, select_columns, spec_of
from export_pipeline.tabular.columns import column_of
from export_pipeline.tabular.spec import Readers, Scope, TableSpec

DRIFT = "The source differs from what is declared: "


def scopes(snapshot: Snapshot, spec: Mapping[str, Any]) -> dict[str, str]:
    """Return all scopes, names by id, ordered by name, then id; empty for an unscoped spec.

    Raises:
        SourceError: The table of scopes differs from its declaration; for an unscoped spec, its own table is
            missing.
    """
    declared, table = spec_of(spec).scope, spec_of(spec).source.table
    snapshot = visible(snapshot, spec_of(spec).source.row_security)
    try:
        if declared is not None:
            return read_scope_names(snapshot, declared)
        if table is not None:
            Catalogue.of(snapshot).table(table)
        return {}
    except MissingError as error:
        raise SourceError(f"{DRIFT}{'scope: ' * (declared is not None)}{error}") from None


def recipients(snapshot: Snapshot, spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the mail addresses of each scope; empty for a spec without `scope.recipients`.

    Raises:
        SourceError: A table differs from its declaration.
    """
    declared = spec_of(spec).scope
    if declared is None or declared.recipients is None:
        return {}
    try:
        return read_recipients(visible(snapshot, spec_of(spec).source.row_security), declared)
    except MissingError as error:
        raise SourceError(f"{DRIFT}scope: {error}") from None


def read(snapshot: Snapshot, request: Request) -> ExportData:
    """Read the requested rows: only those of the request's scope and window.

    Returns:
        One table, "rows", with the columns that come from the database. It can be streamed once, while the
        snapshot is open.

    Raises:
        SourceError: The scope does not exist, a filter's value is not allowed, or the database differs from
            the declaration.
    """
    spec = spec_of(request.spec)
    snapshot = visible(snapshot, spec.source.row_security)
    try:
        return TableReader(snapshot, spec, request, _scope_name(snapshot, spec.scope, request)).read()
    except MissingError as error:
        raise SourceError(f"{DRIFT}{error}") from None


def _scope_name(snapshot: Snapshot, declared: Scope | None, request: Request) -> str | None:
    """Return the name of the request's scope; None for a dataset without scopes."""
    if declared is None:
        if request.scope is not None:
            raise SourceError(f"{request.dataset} has no scopes, so {request.scope!r} cannot be one.")
        return None
    if request.scope is None:
        raise SourceError(f"{request.dataset} needs a scope: an id of {declared.table}.")
    name = read_scope_name(snapshot, declared, request.scope)
    if name is None:
        raise SourceError(
            f"There is no such scope of {request.dataset}: {request.scope!r} is not in {declared.table}."
        )
    return name


class TableReader:
    """Reads the rows of one request.

    Args:
        scope_name: Name of the request's scope; None without one.
    """

    def __init__(self, snapshot: Snapshot, spec: TableSpec, request: Request, scope_name: str | None) -> None:
        self.snapshot, self.spec, self.request, self.scope_name = snapshot, spec, request, scope_name
        self.changed: Counter[tuple[str, str]] = Counter()
        self._counting = Lock()
        self.warnings: list[str] = []
        self.columns = [
            column
            for column in find_needed_columns(spec, select_columns(spec, request.options))
            if column.compute is None
        ]

    def read(self) -> ExportData:
        """Count the rows, and return the export that streams them."""
        hidden = self.hidden_columns()
        dataset = TableQuery(self.snapshot, self.spec, self.request, hidden)
        drift.check_drift(self.spec, dataset.relations, typed=self.snapshot.dialect != "sqlite")
        self.ensure_values_exist(dataset)
        count = count_and_totals(self.snapshot, dataset, self.columns)
        export = self.export(count, self._rows(dataset, count))
        export.previous_totals, export.previous_groups, warnings = read_previous_totals(
            self.snapshot, self.spec, self.request, hidden
        )
        self.warnings += warnings
        return export

    def export(self, count: Count, rows: Table) -> ExportData:
        """Return the export of rows with this count."""
        return ExportData(
            dataset=self.request.dataset,
            shape=tabular,
            scope=self.request.scope,
            title=getattr(self.request.options, "title", None)
            or self.spec.title
            or self.scope_name
            or self.request.dataset,
            subject={} if self.scope_name is None else {"id": self.request.scope, "name": self.scope_name},
            options=self.request.options.model_dump(mode="json", by_alias=True),
            tables={"rows": rows},
            snapshot_at=self.snapshot.opened_at,
            window=self.request.window,
            source_rows=count[0],
            source_totals=count[1],
            exact_totals=count[3],
            counted=("rows",),
            changed=self.changed,
            warnings=self.warnings,
            spec=self.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        )

    def staged_columns(self, special: Collection[str]) -> tuple[Column, ...]:
        """Return the columns to read, of which some hold NaN or infinities."""
        return tuple(replace(column_of(one), has_special=one.name in special) for one in self.columns)

    def consistency_check(
        self, facts: Facts, recount: Callable[[], Facts], shares: int = 1
    ) -> ConsistencyCheck:
        """Return a check of rows that are read in so many shares."""
        return ConsistencyCheck(self.spec.source.table or "The .sql file", facts, recount, shares)

    def _rows(self, dataset: TableQuery, count: Count) -> Table:
        columns, facts = self.staged_columns(count[2]), count[:2]

        def check(shares: int) -> ConsistencyCheck:
            return self.consistency_check(
                facts, lambda: count_and_totals(self.snapshot, dataset, self.columns)[:2], shares
            )

        def reading(
            snapshot: Snapshot, select: Query, check: ConsistencyCheck
        ) -> Callable[[], Iterator[pa.RecordBatch]]:
            return lambda: check.watch(snapshot.batches(select, columns, self._count_damage))

        key_ranges = split_by_key(self.snapshot, dataset, self.columns, count[0])
        together = check(len(key_ranges))
        select = dataset.rows(self.columns)
        return Table(
            "rows",
            columns,
            count[0],
            lambda: reading(self.snapshot, select, check(1))(),
            parts=tuple(reading(*share, together) for share in key_ranges),
        )

    def _count_damage(self, reason: str, column: str, cells: int) -> None:
        with self._counting:  # shares are read in parallel
            self.changed[reason, f"rows.{column}"] += cells

    def hidden_columns(self) -> frozenset[str]:
        """Return the guarded columns that the requester may not read."""
        guarded = [column for column in self.spec.columns if column.readers is not None]
        user = getattr(self.request.options, "requested_by", None)
        allowed = {
            rule: user is not None and self._may_read(self.spec.readers[rule], user)
            for rule in {column.readers for column in guarded if column.readers is not None}
        }
        hidden = frozenset(c.name for c in guarded if c.readers is not None and not allowed[c.readers])
        read = [column.name for column in self.columns if column.name in hidden]
        if read:
            who = f"{user!r} may" if user is not None else "A request without `requested_by` may"
            self.warnings.append(f"{who} not read {', '.join(read)}: left empty.")
        return hidden

    def _may_read(self, rule: Readers, user: str) -> bool:
        return bool(
            find_values(self.snapshot, rule.table, rule.user, [user], self._scope_condition(rule.scope))
        )

    def _scope_condition(self, column: str | None, shared: bool = False) -> tuple[str, str, bool] | None:
        return None if column is None or self.request.scope is None else (column, self.request.scope, shared)

    def ensure_values_exist(self, dataset: TableQuery) -> None:
        """Reject filter values that are missing, for this scope, in the table that lists them."""
        for name, operator, value in dataset.uses:
            among = self.spec.filters[name].among
            if among is None or operator not in ("equals", "in"):
                continue
            values = [str(one) for one in (value if operator == "in" else [value])]
            scope = self._scope_condition(among.scope, self.spec.scope is not None and self.spec.scope.shared)
            there = find_values(self.snapshot, among.table, among.column, values, scope)
            for one in values:
                if one not in there:
                    raise SourceError(f"filters.{name}: there is no {one!r} in {among.table}.")
