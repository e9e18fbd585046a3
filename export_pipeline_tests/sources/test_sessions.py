"""Sessions of a source: no setting of a role, a database or a server changes what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
import yaml

from export_pipeline import tabular
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import Request
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.introspection.schema import connect
from export_pipeline.sources.postgres import literal_sql
from export_pipeline.sources.sessions import MYSQL, POSTGRES, prepare_mysql, prepare_postgres
from export_pipeline.sources.snapshot import Snapshot, SourceError, open_snapshot
from export_pipeline.sources.tables import read as table
from export_pipeline.tabular import options
from export_pipeline.takeoff import source as takeoff
from export_pipeline_tests.services.mariadb import mariadb_server
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.sources.tables.test_key_ranges import count_connections
from export_pipeline_tests.sources.wrong_settings import WRONG, wrong_reader
from export_pipeline_tests.takeoff_data import Application

TEXT = Column("t", "T", Kind.TEXT)


def run(server: PostgresServer, url: str, *statements: str) -> None:
    with closing(server.connect(str(sa.make_url(url).database))) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def value(snapshot: Snapshot, sql: str) -> Any:
    (row,) = snapshot.rows(sa.select(sa.literal_column(sql)), [TEXT])
    return row["t"]


def read(
    snapshot: Snapshot, spec: dict[str, Any], scope: str | None = None, **asked: Any
) -> list[dict[str, Any]]:
    data = table.read(snapshot, Request("items", tabular, spec, scope, options(spec)(**asked)))
    rows: list[dict[str, Any]] = data.tables["rows"].arrow().to_pylist()
    assert len(rows) == data.source_rows
    return rows


@pytest.mark.slow
def test_every_connection_has_the_settings(postgres: PostgresServer, postgres_url: str) -> None:
    url = wrong_reader(postgres, postgres_url)
    with psycopg2.connect(sa.make_url(url).set(drivername="postgresql").render_as_string(False)) as plain:
        cursor = plain.cursor()
        for name, wrong in WRONG.items():
            if name == "DateStyle":  # which psycopg2 sets itself
                continue
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone()[0].replace('"', "") == wrong  # they are wrong indeed
    plain.close()
    with open_snapshot(url) as snapshot, connect(url) as introspecting:
        secured = snapshot.with_row_security()
        for one in (snapshot, *snapshot.sibling_connections(1), secured):
            for name, right in POSTGRES.items():
                assert value(one, f"current_setting('{name}')").lower() == right.lower(), name
            assert value(one, "current_setting('row_security')") == ("on" if one is secured else "off")
            assert value(one, "lower('ABC')") == "abc"
        for name, right in POSTGRES.items():
            assert introspecting.scalar(sa.text(f"SHOW {name}")).lower() == right.lower()
        assert introspecting.scalar(sa.text("SELECT lower('ABC')")) == "abc"


def test_a_setting_that_cannot_be_set_is_refused(postgres: PostgresServer, postgres_url: str) -> None:
    url = wrong_reader(postgres, postgres_url)
    run(postgres, postgres_url, f"ALTER ROLE {sa.make_url(url).username} SET zero_damaged_pages = on")
    with pytest.raises(SourceError, match=r"cannot be set.*zero_damaged_pages") as caught, open_snapshot(url):
        pass
    assert "\n" not in str(caught.value)
    with pytest.raises(SourceError, match="zero_damaged_pages"):
        introspect(url, "anything")


def test_a_setting_that_does_not_hold_is_refused() -> None:
    answers = iter([[], [], [{"name": "bytea_output", "value": "escape"}]])
    with pytest.raises(
        SourceError, match="does not keep the session's setting bytea_output = 'hex', it stays 'escape'"
    ):
        prepare_postgres(lambda sql: next(answers), row_security=False)
    kept = dict.fromkeys(
        ("character_set_client", "character_set_connection", "character_set_results"), "utf8mb4"
    )
    with pytest.raises(SourceError, match="sql_select_limit"):
        prepare_mysql(lambda sql: [{**kept, **MYSQL, "sql_select_limit": 5}])


@pytest.mark.parametrize("text", ["\\", "a\\'; --", "\\\\'", "'\\", "\\x41", "\\u0041", "\\101 OR 1=1"])
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_a_written_text_means_the_same_under_either_setting(
    postgres: PostgresServer, text: str, conforming: str
) -> None:
    with closing(postgres.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET standard_conforming_strings = {conforming}; SET backslash_quote = off")
        cursor.execute(literal_sql(sa.select(sa.literal(text, sa.Text()))))
        assert cursor.fetchone()[0] == text


SPEC: dict[str, Any] = {
    "source": {"table": "people"},
    "columns": [{"name": "id", "type": "integer"}, {"name": "name"}, {"name": "kind", "type": "enum"}],
    "filters": {"name": ["equals", "in", "contains"], "kind": ["equals", "in"]},
    "scope": {"column": "tenant", "table": "tenants", "id": "id", "name": "id"},
}
NAMES = {1: "é", 2: "Café Zoë", 3: "A", 4: "plain"}


def encoded(server: PostgresServer, encoding: str, names: dict[int, bytes]) -> str:
    """Make a database of this encoding; return its URL."""
    database = f"in_{encoding.lower()}"
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        cursor.execute(f"CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    url = server.url(database)
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET client_encoding = '{encoding}'")
        codec = "utf-8" if encoding == "SQL_ASCII" else server_codec(encoding)
        for statement in (
            "CREATE TYPE kind AS ENUM ('ä', 'b')",
            "CREATE TABLE tenants (id text PRIMARY KEY)",
            "INSERT INTO tenants VALUES ('é'), ('e')",
            "CREATE TABLE people (id int PRIMARY KEY, name text, kind kind, tenant text)",
            "INSERT INTO people SELECT i, NULL, 'ä', CASE WHEN i = 4 THEN 'e' ELSE 'é' END FROM generate_series(1, 4) i",
        ):
            cursor.execute(statement.encode(codec))
        for key, name in names.items():
            cursor.execute(b"UPDATE people SET name = '%s' WHERE id = %d" % (name, key))
    return url


def server_codec(encoding: str) -> str:
    return {"LATIN1": "latin-1", "WIN1252": "cp1252", "EUC_JP": "euc_jp"}[encoding]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "SQL_ASCII"])
def test_values_and_filters_are_right_in_every_encoding(postgres: PostgresServer, encoding: str) -> None:
    codec = "utf-8" if encoding == "SQL_ASCII" else server_codec(encoding)
    url = encoded(postgres, encoding, {key: name.encode(codec) for key, name in NAMES.items()})
    mine = {key: name for key, name in NAMES.items() if key != 4}
    with open_snapshot(url) as snapshot:
        assert table.scopes(snapshot, SPEC) == {"e": "e", "é": "é"}
        assert read(snapshot, SPEC, "é") == [{"id": k, "name": n, "kind": "ä"} for k, n in mine.items()]
        for asked, expected in (
            ({"name": {"equals": "é"}}, [1]),
            ({"name": {"in": ["Café Zoë", "🦊", "A"]}}, [2, 3]),
            ({"name": {"equals": "🦊"}}, []),
            ({"name": {"equals": "e\u0301"}}, []),
            ({"name": {"contains": "fé zoë"}}, [2]),
            ({"name": {"contains": "€🦊"}}, []),
            ({"kind": {"equals": "ä"}}, [1, 2, 3]),
            ({"kind": {"in": ["שלום", "b"]}}, []),
        ):
            assert [row["id"] for row in read(snapshot, SPEC, "é", filters=asked)] == expected, asked
        with pytest.raises(SourceError, match="no such scope"):
            read(snapshot, SPEC, "🦊")
    written = yaml.safe_load(introspect(url, "people").yaml)["attributes"]
    assert "name" in {column["name"] for column in written["columns"]}


def test_bytes_that_are_no_characters_name_their_column(postgres: PostgresServer) -> None:
    url = encoded(postgres, "SQL_ASCII", {1: b"sound", 2: b"caf\xe9"})
    with open_snapshot(url) as snapshot:
        before = count_connections(url)
        with pytest.raises(
            SourceError, match=r"Column name has texts that are not UTF-8.*SQL_ASCII.*convert_from"
        ) as caught:
            read(snapshot, SPEC, "é")
        assert count_connections(url) == before + 1  # which reads each of the columns alone
    assert "\n" not in str(caught.value)


def test_a_request_with_a_character_that_the_database_lacks(postgres: PostgresServer) -> None:
    url = encoded(postgres, "LATIN1", {})
    spec = {
        "source": {"sql": "SELECT id FROM people WHERE name = :name"},
        "columns": [{"name": "id", "type": "integer"}],
        "filters": {"name": {"operators": ["equals"], "parameter": True, "type": "text"}},
    }
    with (
        open_snapshot(url) as snapshot,
        pytest.raises(SourceError, match="a character that the database's encoding lacks"),
    ):
        read(snapshot, spec, filters={"name": {"equals": "🦊"}})


# --- row level security -----------------------------------------------------------------------------------

RLS = """
CREATE TABLE tenants (id text PRIMARY KEY);
INSERT INTO tenants VALUES ('a'), ('b');
CREATE TABLE notes (id int PRIMARY KEY, tenant text);
INSERT INTO notes VALUES (1, 'a'), (2, 'b'), (3, 'a');
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON notes USING (tenant = current_setting('app.tenant', true));
CREATE VIEW of_owner AS SELECT * FROM notes;
CREATE VIEW of_invoker WITH (security_invoker = true) AS SELECT * FROM notes;
DROP ROLE IF EXISTS rls_reader; DROP ROLE IF EXISTS rls_bypass; DROP ROLE IF EXISTS rls_owner;
CREATE ROLE rls_reader LOGIN PASSWORD 'p'; CREATE ROLE rls_bypass LOGIN PASSWORD 'p' BYPASSRLS;
CREATE ROLE rls_owner LOGIN PASSWORD 'p';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO rls_reader, rls_bypass, rls_owner;
"""


@pytest.fixture
def guarded(postgres: PostgresServer, postgres_url: str) -> Iterator[Callable[[str], str]]:
    """Give the URL of a database with row level security, by role."""
    run(postgres, postgres_url, RLS)
    url = sa.make_url(postgres_url)
    yield lambda role: url.set(username=role, password="p").render_as_string(hide_password=False)
    run(
        postgres,
        postgres_url,
        "DROP OWNED BY rls_reader, rls_bypass, rls_owner CASCADE",
        "DROP ROLE rls_reader, rls_bypass, rls_owner",
    )


def notes(table_: str = "notes", **source: Any) -> dict[str, Any]:
    return {
        "source": {"table": table_, **source},
        "columns": [{"name": "id", "type": "integer"}],
        "scope": {"column": "tenant", "table": "tenants", "id": "id", "name": "id"},
    }


@pytest.mark.slow
def test_hidden_rows_are_never_left_out_without_a_word(guarded: Callable[[str], str]) -> None:
    scoped_by_notes = notes() | {
        "scope": {"column": "tenant", "table": "notes", "id": "tenant", "name": "tenant"}
    }
    with (
        open_snapshot(guarded("rls_reader")) as snapshot,
        pytest.raises(SourceError, match=r"Row level security would hide rows.*row_security: apply"),
    ):
        read(snapshot, notes(), "a")
    with (
        open_snapshot(guarded("rls_reader")) as snapshot,
        pytest.raises(SourceError, match="Row level security"),
    ):
        read(snapshot, notes("of_invoker", key=["id"]), "a")
    with (
        open_snapshot(guarded("rls_reader")) as snapshot,
        pytest.raises(SourceError, match="Row level security"),
    ):
        table.scopes(snapshot, scoped_by_notes)
    for role, name in (("rls_bypass", "notes"), ("rls_bypass", "of_invoker"), ("rls_reader", "of_owner")):
        with open_snapshot(guarded(role)) as snapshot:
            assert [row["id"] for row in read(snapshot, notes(name), "a")] == [1, 3]


@pytest.mark.slow
def test_hidden_rows_are_left_out_where_that_is_declared(guarded: Callable[[str], str]) -> None:
    applied = notes(row_security="apply")
    url = guarded("rls_reader")
    with open_snapshot(url) as snapshot:
        assert read(snapshot, applied, "a") == []
        with pytest.raises(SourceError, match="Row level security"):
            read(snapshot, notes(), "a")  # the one dataset's declaration is not another's
    with open_snapshot(f"{url}?options=-c%20app.tenant%3Da") as snapshot:
        assert [row["id"] for row in read(snapshot, applied, "a")] == [1, 3]
        assert snapshot.with_row_security().opened_at == snapshot.opened_at


def test_an_owner_is_held_to_forced_policies_too(
    postgres: PostgresServer, postgres_url: str, guarded: Callable[[str], str]
) -> None:
    run(
        postgres,
        postgres_url,
        "GRANT CREATE ON SCHEMA public TO rls_owner",
        "ALTER TABLE notes OWNER TO rls_owner",
    )
    with open_snapshot(guarded("rls_owner")) as snapshot:
        assert [row["id"] for row in read(snapshot, notes(), "b")] == [2]
    run(postgres, postgres_url, "ALTER TABLE notes FORCE ROW LEVEL SECURITY")
    with (
        open_snapshot(guarded("rls_owner")) as snapshot,
        pytest.raises(SourceError, match="Row level security"),
    ):
        read(snapshot, notes(), "b")


def test_takeoff_projects_are_held_to_it_too(
    postgres: PostgresServer, postgres_application: Application
) -> None:
    url = postgres_application.url
    run(
        postgres, url, "ALTER TABLE projects ENABLE ROW LEVEL SECURITY", "DROP ROLE IF EXISTS rls_takeoff",
        "CREATE ROLE rls_takeoff LOGIN PASSWORD 'p'; GRANT pg_read_all_data TO rls_takeoff",
    )  # fmt: skip
    url = sa.make_url(url).set(username="rls_takeoff", password="p").render_as_string(hide_password=False)
    with open_snapshot(url) as snapshot, pytest.raises(SourceError, match="Row level security"):
        takeoff.scopes(snapshot, {})
    with open_snapshot(url) as snapshot:
        assert takeoff.scopes(snapshot, {"row_security": "apply"}) == {}


# --- MySQL ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    with mariadb_server() as server:
        engine = sa.create_engine(server)
        with engine.connect() as connection:
            for statement in (
                "CREATE DATABASE notes CHARACTER SET latin1",
                "CREATE TABLE notes.notes (id INT PRIMARY KEY, tenant VARCHAR(20), t VARCHAR(40), at TIMESTAMP NULL)",
                "CREATE TABLE notes.tenants (id VARCHAR(20) PRIMARY KEY)",
                "INSERT INTO notes.tenants VALUES ('a'), ('b\\\\')",
                "INSERT INTO notes.notes VALUES (1, 'a', 'é', NULL), (2, 'a', '\\\\'' OR 1=1 -- ', NULL), (3, 'b\\\\', 'x', NULL)",
                "SET GLOBAL sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'",
                "SET GLOBAL sql_select_limit = 1",
                "SET GLOBAL character_set_results = latin1, GLOBAL character_set_client = latin1",
                "SET GLOBAL time_zone = '-07:00'",
            ):
                connection.exec_driver_sql(statement)
            connection.commit()
        engine.dispose()
        yield f"{server}/notes"


@pytest.mark.slow
def test_mariadbs_settings_change_nothing(mariadb: str) -> None:
    spec = {
        "source": {"table": "notes"},
        "columns": [{"name": "id", "type": "integer"}, {"name": "t"}],
        "filters": {"t": ["equals", "in", "contains"]},
        "scope": {"column": "tenant", "table": "tenants", "id": "id", "name": "id"},
    }
    for url in (mariadb, f"{mariadb}?charset=latin1"):
        with open_snapshot(url) as snapshot:
            assert table.scopes(snapshot, spec) == {"a": "a", "b\\": "b\\"}
            assert [row["t"] for row in read(snapshot, spec, "a")] == ["é", "\\' OR 1=1 -- "]
            assert [row["id"] for row in read(snapshot, spec, "b\\")] == [3]
            for text, ids in (("é", [1]), ("\\' OR 1=1 -- ", [2]), ("\\", []), ("🦊", []), ("x", [])):
                assert [
                    row["id"] for row in read(snapshot, spec, "a", filters={"t": {"equals": text}})
                ] == ids
