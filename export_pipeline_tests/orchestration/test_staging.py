from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from export_pipeline.model.bundle import join
from export_pipeline.model.columns import Column, Kind
from export_pipeline.model.export_data import ExportData
from export_pipeline.model.tables import Table
from export_pipeline.orchestration.staging import load, save


def export(dataset: str, **tables: Table) -> ExportData:
    facts: dict[str, Any] = {"options": {}, "subject": {}, "source_totals": {}, "changed": Counter()}
    return ExportData(
        dataset=dataset, model="", scope=None, title=dataset, tables=tables, window=None, spec={},
        snapshot_at=datetime(2026, 1, 1, tzinfo=UTC), source_rows=0, **facts,
    )  # fmt: skip


def test_tables_of_one_name_stay_apart_in_a_bundle(tmp_path: Path) -> None:
    """Every table dataset calls its table rows; one may come in shares, which count what they change."""
    letters = (Column("letter", "Letter", Kind.TEXT),)
    numbers = (Column("number", "Number", Kind.INTEGER),)
    shared = export("numbers")

    def share(first: int) -> Iterator[pa.RecordBatch]:
        shared.changed["cut", "rows.number"] += 1
        yield pa.record_batch({"number": pa.array([first, first + 1], pa.int64())})

    def whole() -> Iterator[pa.RecordBatch]:
        raise AssertionError("it is read by shares")

    shared.tables["rows"] = Table("rows", numbers, 4, whole, parts=(lambda: share(1), lambda: share(3)))
    plain = export("letters", rows=Table.of("rows", letters, pa.table({"letter": ["a", "b"]})))
    for members in ({"l": plain, "n": shared}, {"n": shared, "l": plain}):
        shared.changed.clear()
        save(join(export("both"), members), tmp_path)
        both = load(tmp_path)
        assert both.tables["l.rows"].arrow().to_pydict() == {"letter": ["a", "b"]}
        assert both.tables["n.rows"].arrow().to_pydict() == {"number": [1, 2, 3, 4]}
        assert both.changed == {("cut", "n: rows.number"): 2}
