"""Scopes, windows, nested JSON, readers, drift and sums of table exports, on SQLite and PostgreSQL."""

import copy
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.windows import Window
from export_pipeline.sources.arrow_types import NO_NUMBER, NO_TIME
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options
from export_pipeline_tests.sources.tables.oracle import Oracle
from export_pipeline_tests.sources.tables.shop import ITEMS, NAME, SCOPES, SPEC, fill

Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def shop(database: str) -> tuple[str, Tables]:
    engine = sa.create_engine(database)
    tables = fill(engine)
    engine.dispose()
    return database, tables


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%") if "postgresql" in url else statement)
    engine.dispose()


def export(
    url: str, spec: dict[str, Any], scope: str | None = None, window: Window | None = None, **asked: Any
) -> tuple[ExportData, list[dict[str, Any]]]:
    with open_snapshot(url) as snapshot:
        data = table.read(snapshot, Request("items", tabular, spec, scope, options(spec)(**asked), window))
        return data, data.tables["rows"].arrow().to_pylist()


def plain(**changes: Any) -> dict[str, Any]:
    """A spec of a table t with an id."""
    return {"source": {"table": "t"}, "columns": [{"name": "id", "type": "integer"}], **changes}


def test_scopes_are_listed_and_others_refused(shop: tuple[str, Tables]) -> None:
    url, _ = shop
    with open_snapshot(url) as snapshot:
        assert list(table.scopes(snapshot, SPEC).items()) == sorted(
            SCOPES.items(), key=lambda s: (s[1], s[0])
        )
        unscoped = plain(source={"table": "shops"})
        assert table.scopes(snapshot, unscoped) == {}
        with pytest.raises(SourceError, match="no table 'shopz'"):
            table.scopes(snapshot, plain(source={"table": "shopz"}))
    for scope in ("nobody", "s1 ", "' OR ''='", "s\x00", "\ud800", "s%"):
        with pytest.raises(SourceError, match="no such scope"):
            export(url, SPEC, scope)
    with pytest.raises(SourceError, match="items needs a scope: an id of shops"):
        export(url, SPEC)


@pytest.mark.parametrize("value", [13, 4, 999])
def test_values_of_nobody_and_of_others_are_refused_alike(shop: tuple[str, Tables], value: int) -> None:
    """Client 4 belongs to the scope "s1"; asked for by another scope it does not exist."""
    url, tables = shop
    owner = {client["id"]: client["Shop"] for client in tables["Clients"]}
    if value == 4:
        data, rows = export(url, SPEC, owner[4], filters={"client_id": {"in": [4]}})
        mine = [r for r in Oracle(tables).chosen(owner[4], {}, []) if r["client_id"] == 4]
        assert data.source_rows == len(rows) == len(mine)
    with pytest.raises(SourceError) as caught:
        export(url, SPEC, "S1", filters={"client_id": {"in": [value]}})
    assert str(caught.value) == f"filters.client_id: there is no '{value}' in Clients."


def test_nested_json_is_exact(shop: tuple[str, Tables]) -> None:
    url, tables = shop
    _, rows = export(url, SPEC, "s1", columns=["id", "tags", "data"])
    expected = {row["id"]: row for row in Oracle(tables).rows}
    for row in rows:
        parsed = json.loads(row["tags"], parse_float=Decimal)
        tags = expected[row["id"]]["tags"]
        assert len(parsed) == len(tags)
        assert row["data"] is None or json.loads(row["data"]) == expected[row["id"]]["data"]
        for one, right in zip(parsed, tags, strict=True):
            assert [one[k] for k in ("label", "big", "hot")] == [right[k] for k in ("label", "big", "hot")]
            assert type(one["hot"]) in (bool, type(None))
            assert one["amount"] == right["amount"]
            assert one["at"] == (right["at"] and right["at"].isoformat().rstrip("0").rstrip(".")) or (
                datetime.fromisoformat(one["at"]) == right["at"]
            )
            client = expected[row["id"]]["clients"].get(right["client_id"])
            assert one["client"] == (client and {"name": client["Full Name"]})


def test_sums_are_the_databases_own_and_never_overflow(shop: tuple[str, Tables]) -> None:
    url, tables = shop
    data, _ = export(url, SPEC, "s'1")
    rows = Oracle(tables).chosen("s'1", {}, [])
    for name in ("id", "quantity", "price", "cents", "ratio"):
        cells = [row[name] for row in rows if row[name] is not None]
        size = float(sum(map(abs, cells)))
        assert math.isclose(data.source_totals[name], float(sum(cells)), rel_tol=0, abs_tol=1e-9 * size)
        assert math.isclose(data.source_totals[f"|{name}|"], size, rel_tol=1e-9)
        adds_doubles = name == "ratio" or ("sqlite" in shop[0] and name == "price")
        assert data.source_totals.get(f"±{name}") == (pytest.approx(1e-9 * size) if adds_doubles else None)
        exact = data.exact_totals.get(name)
        assert (exact and Decimal(exact)) == (None if adds_doubles else sum(cells))


def test_large_small_and_infinite_doubles_are_added(database: str) -> None:
    execute(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, x double precision)",
        "INSERT INTO t VALUES (1, 1.7e308), (2, -1.7e308), (3, 1e-300), (4, 5e-324), (5, NULL), (6, 0.25)",
        f"INSERT INTO t VALUES (7, {'9e999' if 'sqlite' in database else chr(39) + 'NaN' + chr(39)})",
    )
    spec = plain(columns=[{"name": "x", "type": "float"}])
    data, rows = export(database, spec)
    assert (data.source_totals["x"], data.source_rows) == (0.25, 7)
    assert data.source_totals["|x|"] == math.inf
    assert [row["x"] for row in rows][:4] == [1.7e308, -1.7e308, 1e-300, 5e-324]


@pytest.mark.slow
def test_a_window_follows_the_clock_of_its_zone(shop: tuple[str, Tables]) -> None:
    url, tables = shop
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 29, tzinfo=berlin)
    window = Window("2026-03-29", start, datetime(2026, 3, 30, tzinfo=berlin))
    assert (window.end.astimezone(UTC) - window.start.astimezone(UTC)) == timedelta(hours=23)
    rows = Oracle(tables).chosen("s1", {}, [])
    ends = [moment.astimezone(UTC) for moment in (window.start, window.end)]
    walls = [moment.replace(tzinfo=None) for moment in (window.start, window.end)]
    cases: list[tuple[dict[str, Any], str, list[Any]]] = [
        ({"column": "at"}, "at", ends),
        ({"column": "wall", "zone": "Europe/Berlin"}, "wall", walls),
        ({"column": "wall"}, "wall", [end.replace(tzinfo=None) for end in ends]),
        ({"column": "day", "type": "date", "zone": "Europe/Berlin"}, "day", [d.date() for d in walls]),
        ({"column": "day", "type": "date", "zone": "UTC"}, "day", [date(2026, 3, 29), date(2026, 3, 30)]),
    ]
    for declared, name, (first, end) in cases:
        for mode in ("within", "as_of"):
            _, ids = export(url, {**SPEC, "window": {**declared, "mode": mode}}, "s1", window)
            there = [row for row in rows if row[name] is not None and row[name] < end]
            expected = [row["id"] for row in there if mode == "as_of" or row[name] >= first]
            assert [row["id"] for row in ids] == expected, (declared, mode)


@pytest.mark.slow
def test_ten_thousand_values_and_long_ones(shop: tuple[str, Tables]) -> None:
    url, tables = shop
    spec = copy.deepcopy(SPEC)
    ids = [row["id"] for row in Oracle(tables).chosen("s1", {}, [])]
    spec["filters"]["id"] = ["in"]
    _, rows = export(url, spec, "s1", filters={"id": {"in": [*ids[:50], *range(10_000, 19_950)]}})
    assert [row["id"] for row in rows] == ids[:50]
    days = [date(1900, 1, 1) + timedelta(days=126 * n) for n in range(366)]
    _, rows = export(
        url, spec, "s1", filters={"at": {"in": days}, "odd": {"in": ["x" * 9_999, "a"]}}, sort=["id"]
    )
    there = Oracle(tables).chosen("s1", {"at": {"in": days}, "odd": {"in": ["a"]}}, ["id"])
    assert [row["id"] for row in rows] == [row["id"] for row in there]
    with pytest.raises(SourceError, match="use a range"):
        export(url, spec, "s1", filters={"at": {"in": [days[0] + timedelta(days=n) for n in range(367)]}})


def test_guarded_columns_are_empty_for_all_but_their_readers(database: str) -> None:
    execute(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, secret text)",
        "CREATE TABLE members (who text, team text)",
        "INSERT INTO t VALUES (1, 'x')",
        "INSERT INTO members VALUES ('ann', 'a')",
    )
    spec = plain(
        columns=[{"name": "id", "type": "integer"}, {"name": "secret", "readers": "team"}],
        readers={"team": {"table": "members", "user": "who"}},
    )
    data, rows = export(database, spec, requested_by="ann")
    assert (rows, data.warnings) == ([{"id": 1, "secret": "x"}], [])
    for who in ("bob", "ANN", "ann' OR 1=1 --", None):
        data, rows = export(database, spec, requested_by=who)
        assert rows == [{"id": 1, "secret": None}]
        assert "secret" in data.warnings[0]


def test_every_difference_is_named(shop: tuple[str, Tables]) -> None:
    url, _ = shop
    spec = copy.deepcopy(SPEC)
    spec["columns"] += [{"name": "quantty"}, {"name": "nick", "from": "client.full name"}]
    spec["source"]["relations"]["gone"] = {"table": "client", "from": "client_id"}
    spec["columns"].append({"name": "lost", "from": "gone.name"})
    with pytest.raises(SourceError) as caught:
        export(url, spec, "s1")
    message = str(caught.value)
    assert f"column quantty: {NAME} has no column 'quantty' (did you mean 'quantity'?" in message
    assert "column nick: Clients has no column 'full name' (did you mean 'Full Name'?" in message
    assert "there is no table 'client' (did you mean 'Clients'?" in message
    assert "\n" not in message
    with pytest.raises(SourceError, match="there is no table 'order items'"):
        export(url, {**SPEC, "source": {**SPEC["source"], "table": "order items"}}, "s1")


@pytest.mark.parametrize(
    ("stored", "declared", "says"),
    [
        ("text", "integer", "text there, which cannot be read as integer"),
        ("numeric(10,6)", "decimal(12,2)", r"numeric\(10,6\) there.*declare decimal\(16,6\)"),
        ("numeric(10,2)", "decimal(12,4)", None),
        ("numeric(14,2)", "decimal(12,4)", r"declare decimal\(16,4\)"),
        ("int4", "decimal(12,2)", None),
        ("numeric(10,2)", "integer", "has decimals"),
        ("numeric", "integer", None),
        ("varchar(10)", "text", None),
        ("float8", "decimal(12,2)", "float8 there"),
        ("int8", "float", "more digits"),
        ("timestamp", "date", "cannot be read as date"),
        ("int4[]", "text", None),
        ("inet", "uuid", "cannot be read as uuid"),
        ("bool", "integer", "cannot be read as integer"),
    ],
)
def test_a_type_that_cannot_be_read_exactly_is_named(
    postgres_url: str, stored: str, declared: str, says: str | None
) -> None:
    execute(postgres_url, f"CREATE TABLE t (id int PRIMARY KEY, x {stored})")
    spec = plain(columns=[{"name": "x", "type": declared}])
    if says is None:
        assert export(postgres_url, spec)[1] == []
    else:
        with pytest.raises(SourceError, match=says):
            export(postgres_url, spec)


def test_values_of_postgresqls_types_are_read_exactly(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE SCHEMA \"My Schema\"",
        """CREATE TABLE "My Schema"."T.x" (id int PRIMARY KEY, big numeric(76,10), n numeric, i int8, u uuid, ut text,
           js json, jb jsonb, at timestamptz, wall timestamp, day date, mood mood, ip inet, iv interval, r int4range,
           arr int[], b bytea, tm time, mo money, bits bit(3))""",
        """INSERT INTO "My Schema"."T.x" VALUES (1, 123456789012345678901234567890123456789012345678901234567890.1234567891,
           12.00, 9223372036854775807, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'A0EEBC999C0B4EF8BB6D6BB9BD380A11',
           '{"a" : 1.10}', '{"a" : 1.10}', '2026-03-01 12:30:00.000001+02', '0001-01-01', '9999-12-31', 'sad', '10.0.0.1',
           '1 day', '[1,3)', '{1,NULL}', '\\x00ff', '12:30', 5, B'101')""",
        """INSERT INTO "My Schema"."T.x" (id, n, at, wall, day) VALUES (2, 'NaN', 'infinity', '-infinity', '0044-03-15 BC')""",
    )  # fmt: skip
    types = {"big": "decimal(76,10)", "n": "integer", "i": "integer", "u": "uuid", "ut": "uuid", "js": "json",
             "jb": "json", "at": "timestamp", "day": "date", "mood": "enum"}  # fmt: skip
    texts = ("ip", "iv", "r", "arr", "b", "tm", "mo", "bits")
    columns: list[dict[str, Any]] = [{"name": n, "type": t} for n, t in types.items()]
    columns += [{"name": n} for n in texts]
    columns.append({"name": "wall", "type": "timestamp", "zone": None})
    spec = plain(source={"table": "My Schema.T.x"}, columns=columns)
    data, (row, empty) = export(postgres_url, spec)
    assert row["big"] == Decimal("123456789012345678901234567890123456789012345678901234567890.1234567891")
    assert (row["n"], row["i"]) == (12, 2**63 - 1)
    assert row["u"] == row["ut"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert (row["js"], row["jb"]) == ('{"a" : 1.10}', '{"a": 1.10}')
    assert row["at"] == datetime(2026, 3, 1, 10, 30, 0, 1, UTC)
    assert (row["wall"], row["day"]) == (datetime(1, 1, 1), date(9999, 12, 31))
    assert [row[n] for n in texts] == [
        "10.0.0.1/32", "1 day", "[1,3)", "{1,NULL}", "\\x00ff", "12:30:00", "$5.00", "101"
    ]  # fmt: skip
    assert set(empty.values()) == {None}
    assert data.changed == {
        (NO_NUMBER, "rows.n"): 1, (NO_TIME, "rows.at"): 1, (NO_TIME, "rows.wall"): 1, (NO_TIME, "rows.day"): 1
    }  # fmt: skip


def test_a_value_that_does_not_fit_names_its_column(database: str) -> None:
    execute(
        database, "CREATE TABLE t (id int PRIMARY KEY, price numeric)", "INSERT INTO t VALUES (1, 12.345)"
    )
    with pytest.raises(SourceError, match=r"column 'price' holds a value that is no decimal\(12,2\)"):
        export(database, plain(columns=[{"name": "price", "type": "decimal(12,2)"}]))


def test_sqlite_keeps_anything_anywhere(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    execute(
        url,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, d DECIMAL(30,4), u, day DATE, at DATETIME)",
        "INSERT INTO t VALUES (1, 123456789012345.67, x'a0eebc999c0b4ef8bb6d6bb9bd380a11', '2026-03-29', '2026-03-29T01:30:00.5+02:00')",
        "INSERT INTO t VALUES (2, '0.30', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2026-03-29 00:00:00', '2026-03-28 23:30:00.500000')",
        "INSERT INTO t VALUES (3, 9007199254740993, 'no uuid', '2026-02-30', 'now')",
    )  # fmt: skip
    spec = plain(
        columns=[
            {"name": "id", "type": "integer"}, {"name": "d", "type": "decimal(30,4)"}, {"name": "u", "type": "uuid"},
            {"name": "day", "type": "date"}, {"name": "at", "type": "timestamp"},
        ],
        filters={"at": ["equals"], "u": ["equals"], "day": ["equals"]},
    )  # fmt: skip
    data, rows = export(url, spec)
    assert [str(row["d"]) for row in rows] == ["123456789012345.6700", "0.3000", "9007199254740993.0000"]
    same = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert [row["u"] for row in rows] == [same, same, "no uuid"]
    moment = datetime(2026, 3, 28, 23, 30, 0, 500_000, UTC)
    assert [row["at"] for row in rows] == [moment, moment, None]
    assert [row["day"] for row in rows] == [date(2026, 3, 29)] * 2 + [None]
    assert data.changed == {(NO_TIME, "rows.day"): 1, (NO_TIME, "rows.at"): 1}
    for filters in (
        {"at": {"equals": moment}},
        {"u": {"equals": same}},
        {"day": {"equals": date(2026, 3, 29)}},
    ):
        assert [row["id"] for row in export(url, spec, filters=filters)[1]] == [1, 2]


def test_a_sql_file_takes_filters_and_scope_as_parameters(database: str) -> None:
    execute(
        database,
        "CREATE TABLE teams (id int PRIMARY KEY, name text)",
        "CREATE TABLE t (id int PRIMARY KEY, team int, kind text, day date)",
        "INSERT INTO teams VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO t VALUES (1, 1, 'a:kind', '2026-01-01'), (2, 2, 'b', '2026-01-02'), (3, 1, 'it''s', '2026-01-03')",
    )
    cast = "::text" if "postgresql" in database else ""
    sql = f"""
        -- a comment with :nothing and 'a quote
        SELECT t.id, t.team, t.kind{cast} AS kind, ' :none; -- ' AS "odd :name" /* :no */
        FROM t WHERE t.team = :scope AND (:kind IS NULL OR t.kind = :kind)
        ; -- the end
    """
    spec = plain(
        source={"sql": sql},
        columns=[{"name": "id", "type": "integer"}, {"name": "kind"}, {"name": "odd", "from": "odd :name"}],
        filters={"kind": {"operators": ["equals"], "parameter": True, "type": "text"}},
        scope={"column": "team", "table": "teams"},
    )
    assert [row["id"] for row in export(database, spec, "1")[1]] == [1, 3]
    _, rows = export(database, spec, "1", filters={"kind": {"equals": "it's"}})
    assert rows == [{"id": 3, "kind": "it's", "odd": " :none; -- "}]
    assert export(database, spec, "1", filters={"kind": {"equals": "' OR 1=1 --"}})[1] == []
    spec["source"]["sql"] = "SELECT id, team, kind FROM t WHERE kind = :knd"
    with pytest.raises(SourceError, match=r":knd .*did you mean 'kind'"):
        export(database, spec, "1")


def test_a_sql_file_names_no_column_twice(database: str) -> None:
    """SQLite would number the second one, and read the first where either is meant."""
    execute(
        database,
        "CREATE TABLE a (id int PRIMARY KEY, name text)",
        "CREATE TABLE b (id int PRIMARY KEY, a_id int, name text)",
    )
    sql = "SELECT a.*, b.* FROM a JOIN b ON b.a_id = a.id"
    spec = plain(source={"sql": sql}, columns=[{"name": "id", "type": "integer"}, {"name": "name"}])
    with pytest.raises(SourceError, match=r"The \.sql file gives id, name more than once"):
        export(database, spec)


@pytest.mark.slow
def test_reading_may_stop_early(shop: tuple[str, Tables]) -> None:
    url, _ = shop
    many = "generate_series(1, 300000) AS s(i)"
    if "sqlite" in url:
        many = (
            "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i < 300000) SELECT i FROM s)"
        )
    spec = plain(
        source={"sql": f"SELECT i AS id, 'text' AS x FROM {many}"},
        columns=[{"name": "id", "type": "integer"}, {"name": "x"}],
    )
    with open_snapshot(url) as snapshot:
        for _ in range(3):
            data = table.read(snapshot, Request("t", tabular, spec, None, options(spec).model_validate({})))
            batches = data.tables["rows"].open()
            assert next(batches).column(0)[0].as_py() == 1
            batches.close()  # type: ignore[attr-defined]
        assert ITEMS.name in snapshot.tables()


def test_numbers_among_the_texts_of_sqlite_keep_all_their_digits(tmp_path: Path) -> None:
    """SQLite's own cast to text prints 15 digits of a double."""
    url = f"sqlite:///{tmp_path}/mixed.db"
    execute(
        url,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, code NUMERIC, price REAL)",
        "INSERT INTO t VALUES (1, 0.1 + 0.2, 0.1 + 0.2), (2, 1234567890.123456, 2.5), (3, 2.5, 9e999)",
        "INSERT INTO t VALUES (4, 'abc', NULL), (5, 7, NULL), (6, 9e999, NULL), (7, NULL, NULL)",
    )
    spec = plain(
        columns=[{"name": "id", "type": "integer"}, {"name": "code"}],
        filters={"code": {"operators": ["equals", "in"]}},
    )
    _, rows = export(url, spec)
    shown = ["0.30000000000000004", "1234567890.123456", "2.5", "abc", "7", "Infinity", None]
    assert [row["code"] for row in rows] == shown
    for number, value in enumerate(shown[:-1], 1):
        for asked in ({"equals": value}, {"in": [value]}):
            _, rows = export(url, spec, filters={"code": asked})
            assert [row["id"] for row in rows] == [number]

    execute(url, "ALTER TABLE t ADD COLUMN one INTEGER DEFAULT 1")
    spec["source"]["relations"] = {
        "all": {"table": "t", "from": "one", "to": "one", "many": True, "order": ["id"]}
    }
    spec["columns"].append({"name": "prices", "from": "all.price", "separator": "|"})
    _, rows = export(url, spec)
    assert rows[0]["prices"] == "0.30000000000000004|2.5|Infinity"
