"""Shapes of JSON, and that both ways of reading a file back find the same in it."""

import json as stdlib_json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.json import readback as json_reader
from export_pipeline_tests.formats.tables import ANY_TEXT, read_back, rendered

COLUMNS = (
    Column("text", "T", Kind.TEXT, null="N/A"),
    Column("id", "I", Kind.INTEGER),
    Column('odd "key"\n', "O", Kind.DECIMAL, precision=(76, 10)),
    Column("any", "J", Kind.JSON),
    Column("at", "A", Kind.TIMESTAMP, zone="Europe/Berlin", pattern="dd.MM.yyyy"),
    Column("wall", "W", Kind.TIMESTAMP, zone=None),
)
JSON_TEXTS = st.sampled_from(
    ['{"a":\n1}', "[\r\n1,\n2]", '"\\n },\\n{"', "{}", "[]", "5", "null", '{"a": {}}', "{", "NaN", "} null"]
)
ROWS = st.lists(
    st.tuples(
        st.none() | ANY_TEXT | st.sampled_from(["NaN", ":NaN", "} null", "},\n{", "Infinity"]),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.decimals(-(10**60), 10**60, places=10),
        st.none() | JSON_TEXTS,
        st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
        st.none() | st.datetimes(),
    ),
    max_size=10,
)


def typed(rows: list[tuple[Any, ...]]) -> Table:
    arrays = [pa.array([row[i] for row in rows], column.arrow_type) for i, column in enumerate(COLUMNS)]
    return Table.of("t", COLUMNS, pa.table(arrays, [column.name for column in COLUMNS]), 3)


def as_array(rows: Table) -> bytes:
    return rendered("json", rows)[0]


def as_object(rows: Table) -> bytes:
    return rendered("json", rows, {"the rows": rows})[0]


def as_lines(rows: Table) -> bytes:
    return rendered("json", rows, shape="lines")[0]


def parse(data: bytes) -> list[dict[str, Any]]:
    if data.startswith((b"[", b'{"the rows"')):
        value = stdlib_json.loads(data, parse_float=Decimal)
        return value["the rows"] if isinstance(value, dict) else value
    return [stdlib_json.loads(line, parse_float=Decimal) for line in data.split(b"\n") if line]


def read(path: Path, data: bytes) -> FileFacts:
    path.write_bytes(data)
    return read_back("json", path)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [as_array, as_object, as_lines])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_every_shape_comes_back(
    tmp_path: Path, shape: Callable[[Table], bytes], rows: list[tuple[Any, ...]]
) -> None:
    data = shape(typed(rows))
    parsed = parse(data)
    assert len(parsed) == len(rows)
    for row, (text, number, decimal, any_json, at, wall) in zip(parsed, rows, strict=True):
        assert (row["text"], row["id"], row['odd "key"\n']) == (text, number, decimal)
        assert (row["at"] and datetime.fromisoformat(row["at"])) == at
        assert row["at"] is None or row["at"][-6:] in ("+01:00", "+02:00")
        assert (row["wall"] and datetime.fromisoformat(row["wall"])) == wall
        try:
            expected = None if any_json is None else orjson.loads(any_json)
        except orjson.JSONDecodeError:
            expected = any_json
        assert row["any"] == expected
    facts = read(tmp_path / "a.json", data)
    assert (facts.rows, facts.problems) == (len(rows), ())
    if shape is not as_lines and rows:
        events = json_reader._by_events(tmp_path / "a.json")
        assert events.rows == facts.rows
        for key, total in events.totals.items():
            if key != "any":
                assert facts.totals[key] == pytest.approx(total, rel=1e-9, abs=1e50)
        assert facts.totals.get("id", 0.0) == pytest.approx(
            sum(row[1] or 0 for row in rows), abs=1e-9 * sum(abs(row[1] or 0) for row in rows)
        )


def test_jsonl_is_the_flat_table_in_lines() -> None:
    rows = typed([("a", 1, None, None, None, None), ("b", 2, None, None, None, None)])
    data, done = rendered("jsonl", rows)
    assert data == as_lines(rows)
    assert data.count(b"\n") == 2 == done.rows
    assert rendered("jsonl", typed([]))[0] == b""


def lines(count: int) -> list[bytes]:
    return [b'{"n":%d,"t":"x"}' % number for number in range(count)]


@pytest.mark.parametrize(
    ("data", "rows", "total"),
    [
        (b"[" + b", ".join(lines(3)) + b"]", 3, 3),
        (b"[\n" + b",\n".join(lines(3)) + b"]", 3, 3),
        (b'{"title": "t", "rows": [' + b",".join(lines(3)) + b'], "more": [{"n": 9}]}', 3, 3),
        (b"\n".join(lines(3)), 3, 3),
        (b"\n".join(lines(1)) + b"\n", 1, 0),
        (b'{"rows":[\n]}\n', 0, None),
        (b"[\n]\n", 0, None),
        (b"[]", 0, None),
        (stdlib_json.dumps([{"n": 1, "m": {"n": 5}}, {"n": None}], indent=2).encode(), 2, 1),
        (b'[\n{"n":null},\n{"n":"text"},\n{"n":2}\n]', 3, None),
    ],
)
def test_json_of_other_programs_is_read_back(
    tmp_path: Path, data: bytes, rows: int, total: float | None
) -> None:
    facts = read(tmp_path / "a.json", data)
    assert (facts.rows, facts.problems) == (rows, ())
    assert total is None or facts.totals["n"] == total


def test_long_files_cross_the_borders_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "_BLOCK", 1000)
    some = lines(997)
    for data in (b"[\n" + b",\n".join(some) + b"\n]\n", b"\n".join(some) + b"\n", b"\n".join(some)):
        facts = read(tmp_path / "a.json", data)
        assert (facts.rows, dict(facts.totals), facts.problems) == (997, {"n": 996 * 997 / 2}, ())


@pytest.mark.parametrize(
    "line",
    [
        b'{"n":NaN,"t":"x"}',
        b'{"n":1,"t":-Infinity}',
        b'{"n":1} null {"n":2}',
        b'{"n":1}null{}',
        b'{"n":1,}',
        b'{"n":01}',
        b'{"n":1',
        b'{"t":"\xff"}',
        b'{"t":"a\tb"}',
        b"",
        b'{"n":1}{"n":2}',
        b"5",
    ],
)
@pytest.mark.parametrize("shape", ["array", "lines"])
def test_damage_is_noticed(tmp_path: Path, line: bytes, shape: str) -> None:
    some = [*lines(30), line, *lines(30)]
    data = b"[\n" + b",\n".join(some) + b"\n]\n" if shape == "array" else b"\n".join(some) + b"\n"
    facts = read(tmp_path / "a.json", data)
    assert facts.problems or facts.rows != 61


def test_a_cut_file_is_noticed_wherever_it_is_cut(tmp_path: Path) -> None:
    data = as_array(typed([("x", number, None, None, None, None) for number in range(4)]))
    for end in range(len(data) - 1):
        facts = read(tmp_path / "a.json", data[:end])
        assert facts.problems or facts.rows < 4, data[:end]


def test_a_cut_line_is_noticed_wherever_it_is_cut(tmp_path: Path) -> None:
    data = b"\n".join(lines(4))
    for end in range(len(data)):
        facts = read(tmp_path / "a.jsonl", data[:end])
        assert facts.problems or facts.rows < 4, data[:end]
