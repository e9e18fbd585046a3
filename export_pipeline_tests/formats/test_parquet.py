"""Parquet read back by DuckDB, and by ourselves."""

import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as arrow_parquet

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import RenderError
from export_pipeline.formats.parquet import write
from export_pipeline_tests.formats.tables import ANY_TEXT, CREATED, read_back, rendered

COLUMNS = (
    Column("t", "Text", Kind.TEXT, null="N/A"),
    Column("i", "Integer", Kind.INTEGER),
    Column("d", "Decimal", Kind.DECIMAL, precision=(38, 6)),
    Column("f", "Float", Kind.FLOAT),
    Column("b", "Boolean", Kind.BOOLEAN),
    Column("on", "On", Kind.DATE, pattern="dd.MM.yyyy"),
    Column("at", "At", Kind.TIMESTAMP, zone="Europe/Berlin"),
    Column("wall", "Wall", Kind.TIMESTAMP, zone=None),
    Column("j", "Json", Kind.JSON),
)
ROWS = st.lists(
    st.tuples(
        st.none() | ANY_TEXT,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.decimals(-(10**31), 10**31, places=6),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.booleans(),
        st.none() | st.dates(),
        st.none() | st.datetimes(timezones=st.just(UTC)),
        st.none() | st.datetimes(),
        st.none() | st.just('{"a":  1.10}'),
    ),
    max_size=10,
)


def typed(columns: tuple[Column, ...], rows: list[tuple[Any, ...]]) -> Table:
    arrays = [pa.array([row[i] for row in rows], column.arrow_type) for i, column in enumerate(columns)]
    return Table.of("t", columns, pa.table(arrays, [column.name for column in columns]), 3)


@pytest.mark.slow
@given(ROWS)
def test_every_cell_comes_back(rows: list[tuple[Any, ...]]) -> None:
    data, done = rendered("parquet", typed(COLUMNS, rows))
    assert done.rows == len(rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.parquet"
        file.write_bytes(data)
        # Times as their microseconds: DuckDB's own conversion to Python needs a package for zones.
        cells = duckdb.sql(
            f'SELECT t, i, d, f, b, "on", epoch_us("at"), epoch_us(wall), j FROM read_parquet(\'{file}\')'
        ).fetchall()
        facts = read_back("parquet", file)

    def micros(moment: datetime | None) -> int | None:
        if moment is None:
            return None
        since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    assert cells == [(*row[:6], micros(row[6]), micros(row[7]), row[8]) for row in rows]
    assert (facts.rows, facts.problems) == (len(rows), ())
    assert set(facts.totals) == {"i", "d", "f"}
    size = sum(abs(row[1] or 0) for row in rows)
    assert facts.totals["i"] == pytest.approx(sum(row[1] or 0 for row in rows), abs=1e-9 * size)


def test_types_and_what_the_file_says_of_itself() -> None:
    row = ("x", 1, Decimal("1.5"), 0.5, True, date(2026, 1, 2), CREATED, datetime(2026, 1, 2), "{}")
    data, _ = rendered("parquet", typed(COLUMNS, [row]))
    schema = arrow_parquet.read_schema(pa.BufferReader(data))
    assert [str(field.type) for field in schema] == [
        "string", "int64", "decimal128(38, 6)", "double", "bool", "date32[day]", "timestamp[us, tz=UTC]",
        "timestamp[us]", "string",
    ]  # fmt: skip
    metadata = schema.field("at").metadata
    assert (metadata[b"header"], metadata[b"kind"], metadata[b"zone"]) == (
        b"At",
        b"timestamp",
        b"Europe/Berlin",
    )
    assert schema.field("j").metadata[b"kind"] == b"json"
    assert schema.metadata[b"title"] == b"T"
    assert schema.metadata[b"created"] == CREATED.isoformat().encode()


def test_the_same_rows_give_the_same_bytes() -> None:
    rows = [("x", n, None, None, None, None, None, None, None) for n in range(50)]
    assert rendered("parquet", typed(COLUMNS, rows))[0] == rendered("parquet", typed(COLUMNS, rows))[0]


def test_wide_decimals_are_kept_and_infinities_left_out_of_sums(tmp_path: Path) -> None:
    columns = (Column("w", "W", Kind.DECIMAL, precision=(76, 20)), Column("f", "F", Kind.FLOAT))
    wide = Decimal("9" * 56 + "." + "1" * 20)
    data, _ = rendered(
        "parquet", typed(columns, [(wide, float("nan")), (None, float("inf")), (wide.copy_negate(), 2.0)])
    )
    file = tmp_path / "a.parquet"
    file.write_bytes(data)
    assert arrow_parquet.read_table(file).column("w").to_pylist() == [wide, None, wide.copy_negate()]
    assert dict(read_back("parquet", file).totals) == {"w": 0.0, "f": 2.0}


def test_row_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_GROUP_ROWS", 10)
    data, _ = rendered("parquet", typed((Column("n", "N", Kind.INTEGER),), [(n,) for n in range(100)]))
    metadata = arrow_parquet.ParquetFile(pa.BufferReader(data)).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [12] * 8 + [4]


def test_narrow_numbers_become_the_declared_type_and_wide_ones_are_refused() -> None:
    column = Column("n", "N", Kind.DECIMAL, precision=(4, 1))

    def of(numbers: pa.Array) -> Table:
        return Table.of("t", (column,), pa.table({"n": numbers}))

    data, _ = rendered("parquet", of(pa.array([1, 2], pa.int8())))
    assert arrow_parquet.read_table(pa.BufferReader(data)).column("n").to_pylist() == [Decimal(1), Decimal(2)]
    with pytest.raises(RenderError, match="column n: a cell does not fit its declared type") as caught:
        rendered("parquet", of(pa.array([123456], pa.int64())))
    assert "123456" not in str(caught.value)
    with pytest.raises(RenderError, match="column n: ") as caught:
        rendered("parquet", of(pa.array(["12x456"])))
    assert "12x456" not in str(caught.value)


def test_damage_is_noticed(tmp_path: Path) -> None:
    rows = [(n,) for n in range(5000)]
    data, _ = rendered("parquet", typed((Column("n", "N", Kind.INTEGER),), rows))
    file = tmp_path / "a.parquet"
    for damaged in (data[:-1], data[: len(data) // 2], b"", data[:200] + b"\x00\x01\x02" + data[203:]):
        file.write_bytes(damaged)
        facts = read_back("parquet", file)
        assert facts.problems or (facts.rows, facts.totals["n"]) != (5000, 4999 * 2500.0)
