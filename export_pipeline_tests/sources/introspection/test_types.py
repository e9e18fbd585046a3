"""Every type of a database becomes one that can be exported, filtered and sorted."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline_tests.hostile import file_readers, introspected
from export_pipeline_tests.sources.introspection.schemas import attributes, execute, sqlite, types

EXOTIC = """
CREATE TYPE mood AS ENUM ('happy', 'so "so"', 'Ärger');
CREATE DOMAIN positive AS numeric(8,3) CHECK (value > 0);
CREATE DOMAIN more AS positive CHECK (value > 1);
CREATE DOMAIN stamp AS timestamp(2) with time zone;
CREATE TABLE exotic (
    a smallint, b bigint, c numeric(76,10), d numeric, e numeric(5,-2), f numeric(3,5), g real, h double precision,
    i boolean, j date, k timestamp, l timestamptz, m json, n jsonb, o uuid, p mood, q positive, r text[], s int4range,
    t inet, u bytea, v interval, w time, x macaddr, y money, z "char", aa bit(3), ab timetz, ac oid, ad varchar(10)[],
    ae cidr, af tsvector, ag point, ah name, ai character(5), aj int[][], ak mood[], al more, am stamp);
INSERT INTO exotic VALUES (
    -32768, 9223372036854775807, 123456789012345678901234567890123456789012345678901234567890.0123456789,
    -1234567890123456789012345.000000001, 12345, 0.00123, 0.1, 0.1, true, '0001-01-01', '2026-03-29 02:30:00.000001',
    '2026-03-29 02:30:00+05:30', '{"b": 1, "a": [1.10, null]}', '{"b": 1, "a": 12345678901234567890}',
    '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', 'so "so"', 1.5, '{"a","b,c",NULL}', '[1,5)', '192.168.0.1/24', '\\xDEADBEEF',
    '1 year 2 days 03:04:05.6', '23:59:59.999999', '08:00:2b:01:02:03', '1234.56', 'x', '101', '12:00:00+01', 4294967295,
    '{x}', '10.0.0.0/8', 'a fat cat', '(1.5,2)', 'nm', 'ab', '{{1,2},{3,4}}', '{happy}', 2.125, '2026-03-29 02:30:00.25+00');
INSERT INTO exotic (a) VALUES (NULL);
"""


@pytest.mark.slow
def test_every_type_of_postgres_is_exported_as_it_is_or_as_it_is_printed(
    postgres_url: str, tmp_path: Path
) -> None:
    execute(postgres_url, EXOTIC)
    declared = attributes(postgres_url, "exotic")

    assert types(declared) == {
        "a": "integer", "b": "integer", "c": "decimal(76,10)", "d": "decimal(38,9)", "e": "decimal(38,0)",
        "f": "decimal(5,5)", "g": "float", "h": "float", "i": "boolean", "j": "date", "k": "timestamp", "l": "timestamp",
        "m": "json", "n": "json", "o": "uuid", "p": "enum", "q": "decimal(8,3)", "al": "decimal(8,3)", "am": "timestamp", "ah": "text", "ai": "text",
        **dict.fromkeys(("r", "s", "t", "u", "v", "w", "x", "y", "z", "aa", "ab", "ac", "ad", "ae"), "text"),
        **dict.fromkeys(("af", "ag", "aj", "ak"), "text"),
    }  # fmt: skip
    columns = {column["name"]: column for column in declared["columns"]}
    assert (columns["k"]["zone"], columns["l"]["zone"]) == (None, "UTC")
    assert [*columns["p"]["labels"]] == ["happy", 'so "so"', "Ärger"]
    made = introspected.export(postgres_url, "exotic", tmp_path / "made")
    assert introspected.differences(postgres_url, "exotic", made) == []


@pytest.mark.slow
def test_everything_that_is_offered_works(shop: str) -> None:
    assert introspected.use_everything(shop, "orders") > 30
    assert introspected.use_everything(shop, "customers") > 10


@pytest.mark.slow
def test_filters_and_orders_work_for_every_type(postgres_url: str, tmp_path: Path) -> None:
    execute(postgres_url, EXOTIC)
    assert introspected.use_everything(postgres_url, "exotic") > 100
    assert introspected.use_everything(sqlite(tmp_path, STORED), "stored") > 50


def test_numerics_without_limits_get_the_digits_that_their_values_need(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE sums (few numeric, wide numeric, huge numeric, odd numeric, none numeric);"
        f"INSERT INTO sums VALUES (1.25, {'9' * 40}.5, {'9' * 90}, 'NaN', NULL), (-100, 0, 0, 'Infinity', NULL)",
    )
    declared = attributes(postgres_url, "sums")

    assert types(declared) == {
        "few": "decimal(38,2)", "wide": "decimal(76,1)", "huge": "text", "odd": "decimal(38,10)", "none": "decimal(38,10)",
    }  # fmt: skip


STORED = """
CREATE TABLE stored (
    whole INTEGER, mixed INTEGER, price DECIMAL(10,2), deep DECIMAL(10,2), loose NUMERIC, wordy NUMERIC, flag BOOLEAN,
    yes BOOLEAN, day DATE, late DATE, moment DATETIME, zoned TIMESTAMP WITH TIME ZONE, epoch DATETIME, shipped_at TEXT,
    code UUID, doc JSON, broken JSON, picture BLOB, part BLOB, bare, "empty" DATE, name TEXT, ratio REAL, big NUMERIC);
INSERT INTO stored VALUES (
    1, 1, 12.5, 0.125, 7, 7, 1, 'yes', '2026-01-01', '2026-01-01 08:00', '2026-01-01T08:00:00.123456',
    '2026-01-01 08:00:00+05:30', 1767225600, '2026-01-01 10:00:00', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a": 1.10}',
    '{', x'00ff', x'61', 5, '', 'O''Neil', 1, 1e300);
INSERT INTO stored VALUES (
    9223372036854775807, 'two', 99999999.99, 12, 1.25, 'seven', 0, 'no', NULL, '2026-01-02', '2026-01-02', NULL, NULL,
    '2026-01-02', NULL, '[1]', '[]', NULL, 'text', 2, '2026-01-01', NULL, 0.1, 2);
"""


def test_sqlite_is_declared_by_what_it_stores(tmp_path: Path) -> None:
    url = sqlite(tmp_path, STORED)
    declared = attributes(url, "stored")

    assert types(declared) == {
        "whole": "integer", "mixed": "text", "price": "decimal(10,2)", "deep": "decimal(38,3)", "loose": "decimal(38,2)",
        "wordy": "text", "flag": "boolean", "yes": "text", "day": "date", "late": "timestamp", "moment": "timestamp",
        "zoned": "timestamp", "epoch": "integer", "shipped_at": "timestamp", "code": "uuid", "doc": "json",
        "broken": "text", "part": "text", "bare": "integer", "empty": "text", "name": "text", "ratio": "float", "big": "float",
    }  # fmt: skip
    zones = {column["name"]: column.get("zone", "?") for column in declared["columns"]}
    assert (zones["moment"], zones["zoned"]) == (None, "UTC")
    text = introspect(url, "stored").yaml
    assert "# picture is left out: bytes, which no format can hold." in text
    assert "# some values are bytes; what of them is not UTF-8 becomes U+FFFD" in text
    made = introspected.export(url, "stored", tmp_path / "made")
    assert introspected.differences(url, "stored", made) == []


@pytest.mark.slow
def test_bytes_of_postgres_are_in_excel_only_where_they_are_asked_for(
    postgres_url: str, tmp_path: Path
) -> None:
    execute(
        postgres_url,
        "CREATE DOMAIN picture AS bytea; CREATE TABLE photos (id int PRIMARY KEY, photo bytea, small picture, many bytea[]);"
        "INSERT INTO photos VALUES (1, '\\x00ff', '\\xff', ARRAY['\\x01'::bytea]);",
    )
    declared = attributes(postgres_url, "photos")
    assert [c["name"] for c in declared["columns"] if "pdf" not in c.get("formats", ["pdf"])] == [
        "photo",
        "small",
        "many",
    ]
    made = introspected.export(postgres_url, "photos", tmp_path / "made")
    assert introspected.differences(postgres_url, "photos", made) == []
    heads = {name: head_of(tmp_path / "made" / f"export.{name}") for name in ("csv", "xlsx")}
    assert heads == {"csv": ["Id", "Photo", "Small", "Many"], "xlsx": ["Id"]}

    execute(postgres_url, "CREATE TABLE blobs (data bytea); INSERT INTO blobs VALUES ('\\x00ff');")
    assert attributes(postgres_url, "blobs")["formats"] == ["csv", "json", "jsonl", "parquet"]

    named = introspected.export(
        postgres_url, "photos", tmp_path / "named", ["excel", "pdf"], columns=["id", "photo"]
    )
    assert head_of(tmp_path / "named" / "export.xlsx") == ["Id", "Photo"]
    assert named.problems == []


def head_of(path: Path) -> list[str]:
    """The names above the columns of a file."""
    if path.suffix == ".csv":
        return path.read_text("utf-8").splitlines()[0].split(",")
    rows = openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)
    return next([str(cell) for cell in row if cell] for row in rows if row[0] == "Id")


MIXED = """
CREATE TABLE mixed (id INTEGER PRIMARY KEY, texts TEXT, numbers INTEGER, reals REAL, moments DATETIME, flags BOOLEAN, b BLOB);
INSERT INTO mixed VALUES (1, 'a', 1, 1.5, '2026-01-01 10:00:00', 1, x'6162'), (2, x'00ff', x'31', x'ff', x'00', x'01', 'é'),
    (3, x'c3a9', 'two', 'x', 5, 'yes', 3), (4, 7, 2.5, 2, NULL, 0, NULL), (5, NULL, NULL, NULL, NULL, NULL, 0.1);
"""


@pytest.mark.slow
def test_bytes_among_other_values_of_sqlite_are_exported_as_text_and_counted(tmp_path: Path) -> None:
    url = sqlite(tmp_path, MIXED)
    declared = attributes(url, "mixed")
    assert {*types(declared).values()} == {"integer", "text"}
    made = introspected.export(url, "mixed", tmp_path / "made")
    assert introspected.differences(url, "mixed", made) == []
    rows = file_readers.documents(made.files["json"])
    assert [row["texts"] for row in rows] == ["a", "\ufffd\ufffd", "é", "7", None]
    assert [row["numbers"] for row in rows] == ["1", "1", "two", "2.5", None]
    assert [row["b"] for row in rows] == ["ab", "é", "3", None, "0.1"]
    assert dict(made.changed)["bytes that are not UTF-8, replaced by U+FFFD", "rows.reals"] == 1
    assert introspected.use_everything(url, "mixed") > 20
