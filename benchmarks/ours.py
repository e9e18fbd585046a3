"""The whole path of one export, by the functions that the ops use, without Dagster around them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

COLUMNS = {
    "id": "integer", "order_uuid": "uuid", "customer": "text", "email": "text", "amount_cents": "integer",
    "unit_price": "decimal(12,4)", "tax": "decimal(12,4)", "weight": "float", "score": "float",
    "paid": "boolean", "gift": "boolean", "ordered_on": "date", "created_at": "timestamp",
    "updated_at": "timestamp", "comment": "text", "status": "enum", "country": "text",
    "attributes": "json", "notes": "text", "sku": "text",
}  # fmt: skip
PDF_COLUMNS = (
    "id", "customer", "email", "amount_cents", "unit_price", "weight", "paid", "ordered_on", "status", "sku",
)  # fmt: skip


def export(name: str, url: str, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Export all orders in one format; {"rows": int, "stages": {stage: [wall seconds, CPU seconds]}}."""
    from export_pipeline.formats.options import FormatOptions
    from export_pipeline.formats.registry import FORMATS
    from export_pipeline.model.sanitize import sanitize
    from export_pipeline.orchestration.staging import load, save
    from export_pipeline.sources.snapshot import open_snapshot
    from export_pipeline.store.manifest import Manifest
    from export_pipeline.store.opening import open_store
    from export_pipeline.store.publish import publish

    format = FORMATS[name]
    path = folder / f"orders{format.extension}"
    with _Laps() as lap:
        with open_snapshot(url) as snapshot:
            save(_fetched(snapshot, name), folder / "fetched")
        lap("fetch")
        save(sanitize(load(folder / "fetched")), folder / "clean")
        lap("sanitize")
        layout = _layout(load(folder / "clean"))
        with path.open("wb") as out:
            rendered = format.render(layout, out, FormatOptions(**options).of(name))
        lap("render")
        facts = format.read_back(path)
        assert (facts.rows, facts.problems) == (rendered.rows, ()), facts
        lap("read back")

        def manifest(stored: Any) -> Manifest:
            return Manifest(
                name=f"orders-{name}", path=stored.key.rpartition("/")[2], bytes=stored.bytes,
                hash=f"sha256:{stored.sha256}", format=name, mediatype=format.media_type.partition(";")[0],
                rows=rendered.rows, dataset="orders", snapshot_at=layout.created,
            )  # fmt: skip

        publish(
            open_store(str(folder / "store")), path, f"exports/orders{format.extension}", manifest,
            media_type=format.media_type, file_name=path.name,
        )  # fmt: skip
        lap("publish")
    return {"rows": rendered.rows, "bytes": path.stat().st_size if path.exists() else 0, "stages": lap.laps}


class _Laps:
    """Wall and CPU seconds of what came between two calls."""

    def __init__(self) -> None:
        self.laps: dict[str, list[float]] = {}

    def __enter__(self) -> _Laps:
        self._last = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *raised: object) -> None:
        return None

    def __call__(self, stage: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.laps[stage] = [now[0] - self._last[0], now[1] - self._last[1]]
        self._last = now


def _fetched(snapshot: Any, format: str) -> Any:
    import sqlalchemy as sa

    from export_pipeline.model.columns import Column
    from export_pipeline.model.export_data import ExportData
    from export_pipeline.model.tables import Table
    from export_pipeline.model.tabular.types import parse_type

    names = PDF_COLUMNS if format == "pdf" else tuple(COLUMNS)
    types = {name: parse_type(COLUMNS[name]) for name in names}
    columns = tuple(
        Column(name, name.replace("_", " ").title(), types[name].kind, precision=types[name].precision)
        for name in names
    )
    orders = sa.table("orders", *(sa.column(name) for name in COLUMNS))
    select = sa.select(*(orders.c[name] for name in names)).order_by(orders.c.id)
    (counted,) = snapshot.rows(
        sa.select(sa.func.count()).select_from(orders), [Column("n", "N", parse_type("integer").kind)]
    )
    rows = Table("rows", columns, counted["n"], lambda: snapshot.batches(select, columns))
    return ExportData(
        "orders", "", None, "Orders", {}, {}, {"rows": rows}, datetime.now(UTC), None, counted["n"], {}
    )


def _layout(data: Any) -> Any:
    from export_pipeline.model.layout import Layout, Section

    rows = data.tables["rows"]
    section = Section("rows", "Orders", rows, counts=True, sums=("unit_price", "amount_cents"))
    return Layout("Orders", data.snapshot_at, rows, rows, (section,), (section,), tables=data.tables)
