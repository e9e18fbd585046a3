"""Exports as inputs of downstream assets."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.orchestration.downstream_inputs import load_export
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.formats.tables import rendered, table

COLUMNS = (
    Column("amount", "Amount", Kind.MONEY),
    Column("count", "Count", Kind.INTEGER),
    Column("at", "At", Kind.TIMESTAMP, zone="Europe/Berlin"),
    Column("day", "Day", Kind.DATE),
    Column("paid", "Paid", Kind.BOOLEAN),
)
AT = datetime(2026, 3, 29, 1, 30, 0, 123456, UTC)
ROWS = [[Decimal("12.5000"), 2**62, AT, date(2026, 3, 29), True], [None, None, None, None, None]]
KEY = "exports/a/b.parquet"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    path = tmp_path / "store" / KEY
    path.parent.mkdir(parents=True)
    path.write_bytes(rendered("parquet", table(COLUMNS, ROWS))[0])
    return FolderStore(tmp_path / "store")


def load(store: FolderStore, annotation: Any, key: str = KEY) -> Any:
    return load_export(lambda: store, key, annotation, lambda: Path(store.path("inputs")))


def test_a_table_keeps_decimals_zones_and_missing_integers(store: FolderStore) -> None:
    loaded = load(store, pa.Table)
    assert [list(row.values()) for row in loaded.to_pylist()] == ROWS
    assert loaded.schema.field("count").type == pa.int64()
    assert loaded.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert loaded.schema.field("amount").type == pa.decimal128(18, 4)


def test_a_data_frame_keeps_them_too(store: FolderStore) -> None:
    frame = load(store, pd.DataFrame)
    assert isinstance(frame, pd.DataFrame)
    assert (frame["amount"][0], frame["count"][0], frame["at"][0]) == (
        Decimal("12.5000"),
        2**62,
        pd.Timestamp(AT),
    )
    assert frame.isna().iloc[1].all()
    assert str(frame["count"].dtype) == "int64[pyarrow]"


def test_a_path_is_a_copy_and_anything_else_the_key(store: FolderStore) -> None:
    path = load(store, Path)
    assert path.read_bytes() == rendered("parquet", table(COLUMNS, ROWS))[0]
    assert load(store, str) == load(store, Any) == KEY


def test_a_table_of_a_format_without_types_is_refused(store: FolderStore) -> None:
    with pytest.raises(dg.Failure, match="depend on the dataset's parquet"):
        load(store, pd.DataFrame, "exports/a/b.csv")


def test_two_inputs_whose_keys_end_alike_are_two_files(store: FolderStore) -> None:
    other = Path(store.path("exports/other/b.parquet"))
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of another dataset")
    first, second = load(store, Path), load(store, Path, "exports/other/b.parquet")
    assert first != second
    assert second.read_bytes() == b"of another dataset"
    assert first.read_bytes() == Path(store.path(KEY)).read_bytes()
