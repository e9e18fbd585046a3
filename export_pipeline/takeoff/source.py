"""Reads one takeoff project from a snapshot: its facts, conditions, pages and measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline import takeoff
from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import Column, Kind, arrow_types
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.sources.arrow_types import Damaged
from export_pipeline.sources.snapshot import Query, Snapshot, SourceError, visible
from export_pipeline.takeoff import fields
from export_pipeline.takeoff.options import TakeoffOptions
from export_pipeline.takeoff.source_tables import (
    ASSEMBLIES,
    CONDITIONS,
    DOCUMENTS,
    MEASUREMENTS,
    PAGES,
    PROJECTS,
)

_LARGEST = 1.7976931348623157e308  # beyond it: infinities; a comparison excludes NaN too


def scopes(snapshot: Snapshot, spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of all projects by id, in order of creation."""
    select = sa.select(PROJECTS.c.id, PROJECTS.c.name).order_by(PROJECTS.c.created_at, PROJECTS.c.id)
    columns = [Column("id", "Id", Kind.UUID), Column("name", "Name", Kind.TEXT)]
    snapshot = visible(snapshot, spec.get("row_security"))
    return {row["id"]: row["name"] for row in snapshot.rows(select, columns)}


def read(snapshot: Snapshot, request: Request) -> ExportData:
    """Read a project's rows; every query is restricted to the project.

    Args:
        snapshot: An open snapshot; everything is read from it, so the tables are consistent.
        request: Its scope is the project's id. With a window, only rows created before its end are read.

    Returns:
        The tables "conditions", "pages" and "measurements". The last streams, once and while the snapshot
        is open.

    Raises:
        SourceError: There is no such project, or a requested condition or page is not part of it.
    """
    assert request.scope is not None
    assert isinstance(request.options, TakeoffOptions)
    snapshot = visible(snapshot, request.spec.get("row_security"))
    return _Reader(snapshot, request.scope, request.options, request.window).read()


class _Reader:
    def __init__(
        self, snapshot: Snapshot, project_id: str, options: TakeoffOptions, window: Window | None
    ) -> None:
        self.snapshot, self.project_id, self.options, self.window = snapshot, project_id, options, window
        self.changed: Counter[tuple[str, str]] = Counter()

    def read(self) -> ExportData:
        project = self._project()
        conditions = self._small("conditions", self._conditions(), fields.CONDITION_FIELDS)
        pages = self._small("pages", self._pages(), fields.PAGE_FIELDS)
        self._must_hold("condition_ids", self.options.condition_ids, conditions)
        self._must_hold("page_ids", self.options.page_ids, pages)
        count, quantity = self._proof()
        measurements = self._measurements()
        columns = fields.MEASUREMENT_FIELDS
        return ExportData(
            dataset="takeoff",
            shape=takeoff,
            scope=self.project_id,
            title=project["name"],
            subject={k: v.isoformat() if isinstance(v, datetime) else v for k, v in project.items()},
            options=self.options.model_dump(mode="json"),
            tables={
                "conditions": conditions,
                "pages": pages,
                "measurements": Table(
                    "measurements",
                    columns,
                    count,
                    lambda: self.snapshot.batches(measurements, columns, self._count_damage("measurements")),
                ),
            },
            snapshot_at=self.snapshot.opened_at,
            window=self.window,
            source_rows=count,
            source_totals={"quantity": quantity},
            counted=("measurements",),
            changed=self.changed,
        )

    def _project(self) -> dict[str, Any]:
        select = sa.select(*(PROJECTS.c[c.name] for c in fields.PROJECT_FIELDS)).where(
            PROJECTS.c.id == self.project_id
        )
        batches = self.snapshot.rows(select, fields.PROJECT_FIELDS, self._count_damage("takeoff"))
        if not batches:
            raise SourceError(
                f"There is no project with id {self.project_id!r}. "
                "`export-pipeline datasets --scopes takeoff` lists the projects there are."
            )
        return batches[0]

    def _conditions(self) -> Query:
        # An application without costs may have no table for them.
        with_costs = self.snapshot.has_table(ASSEMBLIES.name)
        costs = {c.name for c in fields.COST_FIELDS}
        expressions: list[Any] = [
            CONDITIONS.c[c.name] if c.name not in costs else ASSEMBLIES.c[c.name] if with_costs else sa.null()
            for c in fields.CONDITION_FIELDS[:-1]
        ]
        select = sa.select(*expressions, ASSEMBLIES.c.id.is_not(None) if with_costs else sa.false())
        tables: sa.FromClause = CONDITIONS
        if with_costs:
            tables = CONDITIONS.outerjoin(ASSEMBLIES, ASSEMBLIES.c.condition_id == CONDITIONS.c.id)
        select = select.select_from(tables)
        select = select.where(
            CONDITIONS.c.project_id == self.project_id, *self._existing_by(CONDITIONS)
        ).order_by(CONDITIONS.c.sort_order, self._by_bytes(CONDITIONS.c.name), CONDITIONS.c.id)
        if self.options.condition_ids:
            select = select.where(CONDITIONS.c.id.in_(self.options.condition_ids))
        return select

    def _pages(self) -> Query:
        return (
            sa.select(
                *(
                    DOCUMENTS.c.original_filename if c.name == "document" else PAGES.c[c.name]
                    for c in fields.PAGE_FIELDS
                )
            )
            .select_from(PAGES.join(DOCUMENTS, DOCUMENTS.c.id == PAGES.c.document_id))
            .where(DOCUMENTS.c.project_id == self.project_id, *self._existing_by(PAGES))
            .order_by(
                self._by_bytes(DOCUMENTS.c.original_filename), DOCUMENTS.c.id, PAGES.c.page_number, PAGES.c.id
            )
        )

    def _measurements(self) -> Query:
        # Unsorted: sorting wide rows would make the application's database spill to disk; `build` sorts
        # them.
        return self._restrict(sa.select(*(MEASUREMENTS.c[c.name] for c in fields.MEASUREMENT_FIELDS)))

    def _proof(self) -> tuple[int, float]:
        """Return the database's own count and sum over the rows that `_measurements` reads."""
        finite = sa.case(
            (MEASUREMENTS.c.quantity.between(-_LARGEST, _LARGEST), MEASUREMENTS.c.quantity), else_=0.0
        )
        select = self._restrict(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(finite), 0.0)))
        columns = [Column("rows", "Rows", Kind.INTEGER), Column("quantity", "Quantity", Kind.FLOAT)]
        (row,) = self.snapshot.rows(select, columns)
        return row["rows"], row["quantity"]

    def _restrict(self, select: Query) -> Query:
        """Select this project's measurements that match the options."""
        select = select.select_from(
            MEASUREMENTS.join(CONDITIONS, CONDITIONS.c.id == MEASUREMENTS.c.condition_id)
        ).where(
            CONDITIONS.c.project_id == self.project_id,
            *self._existing_by(CONDITIONS),
            *self._existing_by(MEASUREMENTS),
        )
        if not self.options.include_unverified:
            select = select.where(MEASUREMENTS.c.is_verified.is_(True))
        if not self.options.include_rejected:
            select = select.where(MEASUREMENTS.c.is_rejected.is_not(True))
        if self.options.condition_ids:
            select = select.where(CONDITIONS.c.id.in_(self.options.condition_ids))
        if self.options.page_ids:
            select = select.where(MEASUREMENTS.c.page_id.in_(self.options.page_ids))
        return select

    def _existing_by(self, table: sa.Table) -> list[sa.ColumnElement[bool]]:
        return [] if self.window is None else [table.c.created_at < self.window.end.astimezone(UTC)]

    def _by_bytes(self, expression: Any) -> sa.ColumnElement[Any]:
        """Order by code point, whatever the database's collation: the same order everywhere."""
        return sa.collate(expression, self.snapshot.byte_order)

    def _small(self, name: str, select: Query, columns: Sequence[Column]) -> Table:
        schema = pa.schema([(c.name, arrow_types()[c.kind]) for c in columns])
        batches = self.snapshot.batches(select, columns, self._count_damage(name))
        return Table.of(name, columns, pa.Table.from_batches(batches, schema))

    def _count_damage(self, table: str) -> Damaged:
        """Return a callback that counts cells of a table which cannot be read as stored."""

        def count(reason: str, column: str, cells: int) -> None:
            self.changed[reason, f"{table}.{column}"] += cells

        return count

    def _must_hold(self, option: str, ids: Sequence[str] | None, rows: Table) -> None:
        missing = set(ids or ()) - set(rows.arrow()["id"].to_pylist())
        if missing:
            raise SourceError(
                f"{option}: {', '.join(sorted(missing)[:5])} "
                f"{'is' if len(missing) == 1 else 'are'} not part of project {self.project_id}."
            )
