"""Memory follows the size of a batch, not of the export, also where every row has a very long note."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from export_pipeline import takeoff
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.demo.takeoff import fill, sized
from export_pipeline.orchestration.runs import staging
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.takeoff import build, layout, source
from export_pipeline.takeoff.options import TakeoffOptions

NOTE = 40_000
ROWS = 2_500


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A project whose every measurement has a note of 40,000 characters, ready to be rendered."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    (project,) = fill(engine, [sized(ROWS)])
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE measurements SET notes = hex(zeroblob({NOTE // 2}))")
    engine.dispose()
    with open_snapshot(f"sqlite:///{tmp_path}/a.db") as snapshot:
        request = Request("takeoff", takeoff, {}, project, TakeoffOptions())
        staging.save(source.read(snapshot, request), tmp_path / "fetched")
    staging.save(build(load(tmp_path / "fetched")), tmp_path / "built")
    staging.save(sanitize(load(tmp_path / "built")), tmp_path / "clean")
    return tmp_path / "clean"


def load(folder: Path) -> ExportData:
    return staging.load(folder, {"takeoff": Request("takeoff", takeoff, {}, None, TakeoffOptions())})


@pytest.mark.slow
def test_a_layout_keeps_no_batch(staged: Path) -> None:
    before = pa.total_allocated_bytes()
    made = layout(load(staged))
    assert made.main.rows * NOTE > 90_000_000
    assert pa.total_allocated_bytes() - before < 5_000_000


@pytest.mark.slow
def test_batches_of_long_rows_have_few_rows(staged: Path) -> None:
    data = load(staged)
    sizes = [(batch.num_rows, batch.nbytes) for batch in data.tables["measurements"].open()]
    assert sum(rows for rows, _ in sizes) == data.tables["measurements"].rows
    assert max(size for _, size in sizes) < 20_000_000
    measurements = data.tables["measurements"]
    backwards = measurements.reordered(np.arange(measurements.rows)[::-1], "backwards")
    assert max(batch.nbytes for batch in backwards.open()) < 20_000_000
