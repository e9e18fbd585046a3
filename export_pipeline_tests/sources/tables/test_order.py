"""Rows come in the order that the database has for the types of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline.sources.tables.type_order import TypeOrder, find_type_order
from export_pipeline_tests.hostile import plain_driver
from export_pipeline_tests.sources.introspection.schemas import execute

KEYS = {
    "oid": ["9", "10", "100", "4294967295"],
    "inet": ["9.0.0.1", "10.0.0.0/8", "10.0.0.1", "192.168.1.5/24", "::1"],
    "cidr": ["9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16"],
    "interval": ["-1 day", "1 us", "1 day", "29 days", "1 mon", "100:00:00", "1 year"],
    "time": ["00:00", "09:00", "10:00", "24:00"],
    "timetz": ["10:00+14", "09:00-12"],
    "int4range": ["[1,2)", "[2,12)", "[10,12)", "empty"],
    "numrange": ["[9,10)", "[10,11)", "[-1,0)"],
    "tstzrange": ["[2024-01-01,infinity)", "[0900-01-01,2024-01-01)"],
    "int4multirange": ["{[9,10)}", "{[10,12)}", "{}"],
    "macaddr": ["08:00:2b:01:02:03", "ff:00:2b:01:02:03"],
    "money": ["-5", "9", "10", "1000"],
    "bit(3)": ["001", "010", "111"],
    "bit varying(9)": ["1", "01", "101", "0"],
    "mood": ["sad", "ok", "happy", ""],
    "int[]": ["{9}", "{10}", "{9,1}", "{-1}"],
    "mood[]": ["{happy}", "{sad}", "{ok,sad}"],
    "numeric[]": ["{9.5}", "{10}", "{NaN}"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000001"],
    "jsonb": ["9", "10", '"a"', "[]", "{}", "null"],
    "bytea": ["\\xff", "\\x00", "\\x0100"],
    "tid": ["(9,1)", "(10,1)"],
    "pg_lsn": ["9/0", "10/0"],
    "xid8": ["9", "10"],
    "regtype": ["int4", "text"],
    "pair": ["(9,b)", "(10,a)", "(9,a)"],
    "days": ["9", "10"],
    "date": ["0009-01-01", "2024-01-01", "infinity"],
    "numeric": ["9", "10", "NaN", "-Infinity"],
    "boolean": ["true", "false"],
    '"char"': ["a", "B"],
}  # fmt: skip
TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', '');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN days AS oid;
"""
UNORDERED = {
    "json": ["9", "10"], "xml": [], "point": ["(9,1)", "(10,1)"], "box": ["((9,9),(0,0))", "((10,10),(0,0))"],
    "circle": ["<(0,0),9>", "<(0,0),10>"], "xid": ["9", "10"], "polygon": ["((9,9),(0,0))"], "refcursor": ["b", "a"],
    "point[]": ['{"(9,1)"}', '{"(10,1)"}'], "text": ["b", "B", "a"], "text[]": ["{b}", "{B}", "{a}"],
}  # fmt: skip


def exported(url: str, spec: dict[str, Any], **asked: Any) -> list[Any]:
    """The numbers of the rows, in the order of their export."""
    options, _ = parse_options(asked, tabular.options(spec), FormatOptions)
    with open_snapshot(url) as snapshot:
        data = source.read(snapshot, Request("t", tabular, spec, None, options, None))
        return [row["n"] for batch in data.tables["rows"].open() for row in batch.to_pylist()]


def declared(key: str = "k", **more: Any) -> dict[str, Any]:
    columns = [{"name": "n", "type": "integer"}, {"name": "k"}]
    return TableModel.model_validate(
        {"dataset": "t", "description": "t", "formats": ["csv"], "source": {"table": "t", "key": [key]}}
        | {"columns": columns, "sort": ["k"], **more}
    ).spec()


@pytest.mark.slow
def test_keys_of_every_type_have_the_databases_order(postgres_url: str) -> None:
    execute(postgres_url, TYPES)
    for type_, values in KEYS.items():
        with plain_driver.connect(postgres_url) as connection:
            cursor = connection.cursor()
            cursor.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (n int, k {type_} UNIQUE)")
            for number, value in enumerate([*reversed(values), None]):
                cursor.execute(f"INSERT INTO t VALUES (%s, %s::{type_})", (number, value))
            connection.commit()
            cursor.execute("SELECT n FROM t ORDER BY k NULLS LAST")
            up = [row[0] for row in cursor.fetchall()]
            cursor.execute("SELECT n FROM t ORDER BY k DESC NULLS LAST")
            down = [row[0] for row in cursor.fetchall()]

        assert exported(postgres_url, declared()) == up, type_
        assert exported(postgres_url, declared("n"), sort=["k"]) == up, type_
        assert exported(postgres_url, declared("n"), sort=["-k"]) == down, type_


@pytest.mark.slow
def test_types_without_an_order_and_texts_are_sorted_by_code_point(postgres_url: str) -> None:
    for type_, values in UNORDERED.items():
        with plain_driver.connect(postgres_url) as connection:
            cursor = connection.cursor()
            cursor.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (n int, k {type_})")
            for number, value in enumerate([*values, None]):
                cursor.execute(f"INSERT INTO t VALUES (%s, %s::{type_})", (number, value))
            connection.commit()
            cursor.execute('SELECT n FROM t ORDER BY k::text COLLATE "C" NULLS LAST')
            by_text = [row[0] for row in cursor.fetchall()]

        assert exported(postgres_url, declared()) == by_text, type_


def test_equal_values_of_a_key_that_repeats_come_in_one_order(postgres_url: str) -> None:
    spellings = ["1 mon", "30 days", "720:00:00", "29 days 24:00:00"]
    for values in (spellings, spellings[::-1]):
        rows = ", ".join(f"({spellings.index(value)}, '{value}')" for value in values)
        execute(
            postgres_url,
            f"DROP TABLE IF EXISTS t; CREATE TABLE t (n int, k interval); INSERT INTO t VALUES {rows}",
        )
        assert exported(postgres_url, declared()) == [0, 3, 1, 2]


def test_a_name_that_several_schemas_have_is_ordered_where_all_are(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TYPE size AS ENUM ('s', 'l'); CREATE SCHEMA other; CREATE TYPE other.size AS (p point);",
    )
    with open_snapshot(postgres_url) as snapshot:
        assert find_type_order(snapshot, "size") is TypeOrder.NONE
    execute(postgres_url, "DROP TYPE other.size")
    with open_snapshot(postgres_url) as snapshot:
        assert find_type_order(snapshot, "size") is TypeOrder.OWN
        assert find_type_order(snapshot, "_size") is TypeOrder.OWN
        assert find_type_order(snapshot, "_text") is TypeOrder.COLLATED


def test_sqlite_orders_each_cell_by_what_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with plain_driver.connect(url) as connection:
        connection.execute("CREATE TABLE t (n INTEGER, k)")
        cells = [b"\x00", "b", "B", 10, 9.5, 9, None, "", -1]
        connection.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(cells)))
        connection.commit()
    assert exported(url, declared()) == [8, 5, 4, 3, 7, 2, 1, 0, 6]
