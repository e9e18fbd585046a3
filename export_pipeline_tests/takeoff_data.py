"""Takeoff projects for tests: a tiny one whose every number is known, and the sample application."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline import takeoff as shape
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.layout import Layout
from export_pipeline.core.sanitize import sanitize
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.takeoff import build, layout, options, source
from export_pipeline.takeoff.source_tables import (
    ASSEMBLIES,
    CONDITIONS,
    DOCUMENTS,
    MEASUREMENTS,
    METADATA,
    PAGES,
    PROJECTS,
)

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def uid(number: int) -> str:
    """A UUID that a reader of a failing test recognises."""
    return str(uuid.UUID(int=number))


class Application:
    """A takeoff database that a test fills row by row; each `add_…` gives the new row's id."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        METADATA.create_all(self.engine)
        self.next = 1

    def close(self) -> None:
        self.engine.dispose()

    def ids(self, table: str) -> set[str]:
        with self.engine.begin() as connection:
            return set(connection.scalars(sa.select(METADATA.tables[table].c.id)))

    def add(self, table: sa.Table, **values: Any) -> str:
        row = {
            "id": uid(self.next),
            "created_at": T0 + timedelta(minutes=self.next),
            "updated_at": T0,
        } | values
        self.next += 1
        with self.engine.begin() as connection:
            connection.execute(sa.insert(table), [row])
        return str(row["id"])

    def project(self, name: str = "P", **values: Any) -> str:
        return self.add(PROJECTS, **{"name": name, "status": "draft"} | values)

    def document(self, project: str, name: str = "a.pdf", **values: Any) -> str:
        return self.add(
            DOCUMENTS, **{"project_id": project, "filename": name, "original_filename": name} | values
        )

    def page(self, document: str, number: int = 1, **values: Any) -> str:
        defaults = {
            "width": 3000,
            "height": 2000,
            "dpi": 150,
            "scale_value": 50.0,
            "sheet_number": f"S-{number}",
        }
        return self.add(PAGES, **{"document_id": document, "page_number": number} | defaults | values)

    def condition(self, project: str, name: str = "C", kind: str = "linear", **values: Any) -> str:
        unit = {"linear": "LF", "area": "SF", "volume": "CY", "count": "EA"}[kind]
        return self.add(
            CONDITIONS,
            **{"project_id": project, "name": name, "measurement_type": kind, "unit": unit} | values,
        )

    def measurement(self, condition: str, page: str, quantity: float | None = 1.0, **values: Any) -> str:
        line = {"start": {"x": 0, "y": 0}, "end": {"x": 100, "y": 0}}
        defaults = {"geometry_type": "line", "geometry_data": line, "quantity": quantity, "unit": "LF"}
        flags = {"is_verified": True, "is_rejected": False, "is_modified": False, "is_ai_generated": False}
        return self.add(
            MEASUREMENTS, **{"condition_id": condition, "page_id": page} | defaults | flags | values
        )

    def assembly(self, condition: str, **values: Any) -> str:
        return self.add(ASSEMBLIES, **{"condition_id": condition} | values)

    def export(self, project: str, as_of: datetime | None = None, **given: Any) -> ExportData:
        """The project's export through every stage, held in memory."""
        with open_snapshot(self.url) as snapshot:
            window = Window("until", T0, as_of) if as_of else None
            request = Request("takeoff", shape, {}, project, options({})(**given), window)
            fetched = in_memory(source.read(snapshot, request))
        return in_memory(sanitize(in_memory(build(fetched))))

    def layout(self, project: str, **given: Any) -> Layout:
        return layout(self.export(project, **given))


def in_memory(data: ExportData) -> ExportData:
    """The same export with its tables read, as staging them on disk would."""
    tables = {name: Table.of(name, table.columns, table.arrow()) for name, table in data.tables.items()}
    return replace(data, tables=tables)


def rows(data: ExportData, table: str = "measurements") -> list[dict[str, Any]]:
    return data.tables[table].arrow().to_pylist()


Make = Callable[[], Application]
