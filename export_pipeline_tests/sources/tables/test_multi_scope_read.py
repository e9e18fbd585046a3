"""Rows of many scopes that are read together are those that each scope's own read gives."""

import copy
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.windows import Window
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.sources.tables.multi_scope_read import SCOPE, read_rows_by_scope
from export_pipeline.sources.tables.scopes import read_scope_names
from export_pipeline.tabular import options
from export_pipeline.tabular.spec import Scope
from export_pipeline_tests.sources.tables.shop import ITEMS, SCOPES, SPEC, moments
from export_pipeline_tests.sources.tables.test_table import (
    Tables,
    database,  # noqa: F401
    execute,
    export,
    plain,
    shop,  # noqa: F401
)

OWN: dict[str, Any] = {**SPEC, "scope": {"column": "shop", "table": "shops"}}
WINDOW = Window("days", min(moments()), sorted(moments())[-4], "Europe/Berlin")


def together(
    url: str, spec: dict[str, Any], scopes: list[str], window: Window | None = None, **asked: Any
) -> dict[str, tuple[ExportData, list[dict[str, Any]]]]:
    """Return each export with its rows, which are read before the next export is taken."""
    with open_snapshot(url) as snapshot:
        request = Request("items", tabular, spec, None, options(spec)(**asked), window)
        return {
            str(data.scope): (data, data.tables["rows"].arrow().to_pylist())
            for data in read_rows_by_scope(snapshot, request, scopes)
        }


@pytest.mark.parametrize("window", [None, WINDOW])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"sort": ["-quantity", "odd"], "columns": ["id", "price", "client", "labels"]},
        {"filters": {"kind": {"in": ["new", "re'turned"]}, "tag": {"is_null": False}}, "title": "Ours"},
    ],
)
def test_each_scope_has_the_rows_and_facts_of_its_own_read(
    shop: tuple[str, Tables],  # noqa: F811
    window: Window | None,
    asked: dict[str, Any],
) -> None:
    url, _ = shop
    exports = together(url, OWN, [*SCOPES, "nobody"], window, **asked)
    assert set(exports) == set(SCOPES)
    assert sum(len(rows) for _, rows in exports.values())
    for scope, (data, rows) in exports.items():
        alone, own = export(url, OWN, scope, window, **asked)
        assert {row.pop(SCOPE.name) for row in rows} <= {scope}
        assert rows == own
        assert data.tables["rows"].columns == (SCOPE, *alone.tables["rows"].columns)
        for facts in ("title", "subject", "source_rows", "source_totals", "exact_totals", "options", "spec"):
            assert getattr(data, facts) == getattr(alone, facts), facts
        assert (data.warnings, data.changed) == (alone.warnings, alone.changed)


def test_only_the_scopes_that_are_asked_for_are_read(shop: tuple[str, Tables]) -> None:  # noqa: F811
    url, _ = shop
    assert set(together(url, OWN, ["s1", "7"])) == {"s1", "7"}


@pytest.mark.parametrize("kind", [sa.Integer, sa.BigInteger, sa.Uuid])
def test_ids_of_other_types(database: str, kind: Any) -> None:  # noqa: F811
    engine, metadata = sa.create_engine(database), sa.MetaData()
    ids = [uuid.UUID(int=n << 64) if kind is sa.Uuid else n - 5 for n in range(12)]
    accounts = sa.Table("accounts", metadata, sa.Column("id", kind), sa.Column("name", sa.Text))
    rows = sa.Table("t", metadata, sa.Column("id", sa.Integer), sa.Column("account", kind))
    metadata.drop_all(engine)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(accounts.insert(), [{"id": one, "name": str(one)} for one in ids])
        connection.execute(rows.insert(), [{"id": n, "account": ids[n % 12]} for n in range(60)])
    engine.dispose()
    spec = plain(scope={"column": "account", "table": "accounts"})
    with open_snapshot(database) as snapshot:
        scopes = list(table.scopes(snapshot, spec))
    exports = together(database, spec, scopes)
    assert {scope: [row["id"] for row in rows] for scope, (_, rows) in exports.items()} == {
        scope: [row["id"] for row in export(database, spec, scope)[1]] for scope in scopes
    }
    assert sum(len(rows) for _, rows in exports.values()) == 60


_UUID = "abcdef00-0000-0000-0000-000000000007"
ODD = [
    "", " ", "a", "A", "a ", "a  ", " a", "é", "e\u0301", "É", "ß", "SS", "a\nb", "a'b", 'a"b', "a\\b", "%", "漢", "x\x00y",
    "\x00", "\ud800", "\ufeffa", "0", "-0", "00", "1", "01", "+1", "1 ", " 1", "1.0", "1e0", "1e5", "-1", "--1", "-", "0x1",
    "1_0", "٣", "²", str(2**31), str(2**63 - 1), str(-(2**63)), str(2**63), "9" * 30, "9" * 5000, "0.1",
    "0.30000000000000004", "1e400", "NaN", "nan", "Infinity", "inf", "true", "null", "NULL",
    str(uuid.UUID(int=7)), uuid.UUID(int=7).hex, f"{{{uuid.UUID(int=7)}}}", _UUID, _UUID.upper(), _UUID[:-1],
]  # fmt: skip
TYPES = {
    "sqlite": ["integer", "text", "varchar(3)", "text collate nocase", "text collate rtrim"],
    "postgresql": ["integer", "bigint", "text", "varchar(40)", "char(40)", "uuid", "name"],
}


def literals(dialect: str, kind: str) -> st.SearchStrategy[str]:
    """SQL literals that a column of this type accepts. SQLite's accept any."""
    text = (st.sampled_from(ODD) | st.text(max_size=4)).filter(lambda one: "\ud800" not in one)
    quoted = text.map(lambda one: "'" + one.replace("'", "''").replace("\x00", "' || char(0) || '") + "'")
    if dialect == "sqlite":
        numbers = ["0", "1", "-1", "2.5", "0.1", "0.1 + 0.2", "1e300", "9e999", "1.0", str(2**63 - 1)]
        return quoted | st.sampled_from([*numbers, "x''", "x'61'", "x'ff01'", "NULL"])
    if kind in ("integer", "bigint"):
        return st.sampled_from(["0", "1", "-1", "7"]) | st.integers(-(2**31), 2**31 - 1).map(str)
    if kind == "uuid":
        return st.integers(0, 9).map(lambda n: f"'{uuid.UUID(int=n)}'")
    return quoted.filter(lambda one: "char(0)" not in one and len(one.encode()) < 40)


@pytest.mark.parametrize(
    ("dialect", "kind"),
    [
        *(("sqlite", kind) for kind in TYPES["sqlite"]),
        *(pytest.param("postgresql", kind, marks=pytest.mark.slow) for kind in TYPES["postgresql"]),
    ],
)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_odd_ids_are_read_together_as_alone(
    request: pytest.FixtureRequest, tmp_path: Path, dialect: str, kind: str, data: st.DataObject
) -> None:
    """Each id gives the rows of its own read together, or nothing where its own read refuses it."""
    url = f"sqlite:///{tmp_path}/odd.db" if dialect == "sqlite" else request.getfixturevalue("postgres_url")
    accounts = data.draw(st.lists(literals(dialect, kind), min_size=2, max_size=6, unique=True))
    others = data.draw(st.lists(literals(dialect, kind), max_size=4))
    execute(
        url,
        "DROP TABLE IF EXISTS t",
        "DROP TABLE IF EXISTS accounts",
        f"CREATE TABLE accounts (id {kind}, name TEXT)",
        f"CREATE TABLE t (id INTEGER, account {kind})",
        *(f"INSERT INTO accounts VALUES ({value}, 'n')" for value in accounts),
        *(
            f"INSERT INTO t VALUES ({id}, {value})"
            for id, value in enumerate([*accounts, *others, *accounts[:2]])
        ),
    )
    ensure_equal(url, data.draw(st.lists(st.sampled_from(ODD), unique=True)))


def ensure_equal(url: str, asked: list[str]) -> None:
    """Read scopes together and alone, those that exist and others."""
    spec = plain(scope={"column": "account", "table": "accounts"})
    with open_snapshot(url) as snapshot:
        asked = sorted({*table.scopes(snapshot, spec), *asked})
    alone = {}
    for scope in asked:
        with suppress(SourceError):
            alone[scope] = [row["id"] for row in export(url, spec, scope)[1]]
    exports = together(url, spec, asked)
    assert {scope: [row["id"] for row in rows] for scope, (_, rows) in exports.items()} == alone


def shared(spec: dict[str, Any]) -> None:
    spec["scope"]["shared"] = True


def parameter(spec: dict[str, Any]) -> None:
    spec["source"] = {"sql": "SELECT * FROM t WHERE account = :scope"}


def guarded(spec: dict[str, Any]) -> None:
    spec["readers"] = {"staff": {"table": "staff", "user": "email", "scope": "account"}}
    spec["columns"].append({"name": "note", "readers": "staff"})


def of_other_types(spec: dict[str, Any]) -> None:
    spec["scope"]["column"] = "id"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shared, "belongs to several scopes"),
        (parameter, "has the parameter :scope"),
        (guarded, "Who may read a column depends on the scope"),
        (of_other_types, "Scopes are"),
    ],
)
def test_what_depends_on_the_scope_is_refused(
    database: str,  # noqa: F811
    change: Callable[[dict[str, Any]], None],
    reason: str,
) -> None:
    execute(
        database,
        *(f"DROP TABLE IF EXISTS {name}" for name in ("t", "accounts", "staff")),
        "CREATE TABLE accounts (id text, name text)",
        "CREATE TABLE staff (email text, account text)",
        "CREATE TABLE t (id integer, account text, note text)",
        "INSERT INTO accounts VALUES ('a', 'A')",
    )
    spec = plain(scope={"column": "account", "table": "accounts"})
    assert set(together(database, spec, ["a"])) == {"a"}
    changed = copy.deepcopy(spec)
    change(changed)
    with pytest.raises(SourceError, match=reason):
        together(database, changed, ["a"])


def test_cells_that_change_are_left_to_the_reads_of_each_scope(shop: tuple[str, Tables]) -> None:  # noqa: F811
    url, _ = shop
    if "sqlite" in url:
        execute(url, 'UPDATE "Order ""Items""; --" SET at = \'soon\' WHERE shop = \'s1\'')
        reason = "cells of at change when they are read"
    else:
        price = ITEMS.c.price.name
        execute(
            url, f'ALTER TABLE "Order ""Items""; --" ALTER {price} TYPE numeric',
            f"UPDATE \"Order \"\"Items\"\"; --\" SET {price} = 'NaN' WHERE shop = 's1'",
        )  # fmt: skip
        reason = "NaN or infinite"
    with pytest.raises(SourceError, match=reason):
        together(url, OWN, list(SCOPES))


class Ids(list[str]):
    """A list that is not searched for each row: with 40,000 scopes that would take seconds."""

    def __contains__(self, one: object) -> bool:
        raise AssertionError


def test_names_of_scopes_are_found_without_a_search_for_each(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    execute(
        url,
        "CREATE TABLE accounts (id text, name text)",
        "INSERT INTO accounts VALUES ('a', 'A'), ('b', 'B')",
    )
    with open_snapshot(url) as snapshot:
        assert read_scope_names(snapshot, Scope(column="account", table="accounts"), Ids(["b", "c"])) == {
            "b": "B"
        }
