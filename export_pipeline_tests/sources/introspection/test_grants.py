"""Roles that may read some columns, some tables, or nothing; and names with points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.datasets.table import TableModel
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline.sources.table_names import table_name, table_places
from export_pipeline.sources.tables import read as source
from export_pipeline.tabular import options
from export_pipeline_tests.hostile import file_readers, introspected
from export_pipeline_tests.sources.introspection.schemas import attributes, execute

SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, name text, email text);
CREATE TABLE closed (id int PRIMARY KEY, name text);
CREATE TABLE orders (
    id int PRIMARY KEY, number int NOT NULL UNIQUE, customer_id int REFERENCES customers, closed_id int REFERENCES closed,
    total numeric, note text, deleted_at timestamptz);
INSERT INTO customers VALUES (1, 'Ann', 'a'), (2, 'Bea', 'b');
INSERT INTO closed VALUES (1, 'x');
INSERT INTO orders VALUES (1, 20, 1, 1, 1.5, 'a', NULL), (2, 10, 2, 1, 2.5, 'b', '2024-01-01');
CREATE SCHEMA inner_sales; CREATE TABLE inner_sales.visits (id int PRIMARY KEY);
"""


@pytest.fixture
def role(postgres_url: str) -> Iterator[tuple[str, str]]:
    """The name of a role that may read nothing yet, and the URL with it."""
    name = f"exporter_{token_hex(4)}"
    execute(
        postgres_url,
        SCHEMA + f"CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA public TO {name};",
    )
    yield (
        name,
        sa.make_url(postgres_url).set(username=name, password="x").render_as_string(hide_password=False),
    )
    execute(postgres_url, f"DROP OWNED BY {name}; DROP ROLE {name};")


def read(url: str, declared: dict[str, Any], **asked: Any) -> list[dict[str, Any]]:
    spec = TableModel.model_validate(declared).spec()
    with open_snapshot(url) as snapshot:
        request = Request("orders", tabular, spec, None, options(spec)(**asked), None)
        rows: list[dict[str, Any]] = source.read(snapshot, request).tables["rows"].arrow().to_pylist()
        return rows


@pytest.mark.slow
def test_columns_without_a_grant_are_left_out_with_the_grant(
    postgres_url: str, role: tuple[str, str], tmp_path: Path
) -> None:
    name, url = role
    execute(
        postgres_url,
        f"GRANT SELECT (number, customer_id, closed_id, total) ON orders TO {name};"
        f"GRANT SELECT (id, name) ON customers TO {name};",
    )
    declared = attributes(url, "orders")
    text = introspect(url, "orders").yaml

    assert [c["name"] for c in declared["columns"]] == [
        "number",
        "customer_id",
        "closed_id",
        "total",
        "customer_name",
    ]
    assert declared["source"]["key"] == ["number"]  # the primary key cannot be read
    assert "where" not in declared["source"]
    assert [*declared["source"]["relations"]] == ["customer"]
    for column in ("id", "note", "deleted_at"):
        grant = f"run GRANT SELECT ({column}) ON public.orders TO {name}"
        assert f"# {column} is left out: the role {name} may not read its column '{column}'; {grant}." in text
    made = introspected.export(url, "orders", tmp_path / "made", ["json"])
    assert [row["number"] for row in file_readers.documents(made.files["json"])] == [10, 20]
    assert [row["customer_name"] for row in read(url, declared, preset="all")] == ["Bea", "Ann"]
    assert introspected.use_everything(url, "orders") > 8


def test_a_request_for_what_may_not_be_read_names_all_of_it(postgres_url: str, role: tuple[str, str]) -> None:
    name, url = role
    declared = attributes(postgres_url, "orders")
    execute(postgres_url, f"GRANT SELECT (id, number, customer_id, total, closed_id) ON orders TO {name};")
    with pytest.raises(SourceError) as error:
        read(url, declared)
    for part in (
        f"run GRANT SELECT (note) ON public.orders TO {name}",
        f"run GRANT SELECT (deleted_at) ON public.orders TO {name}",
        f"customers: the role {name} may not read it; run GRANT SELECT ON public.customers TO {name}",
    ):
        assert part in str(error.value)


def test_relations_read_only_what_is_granted(postgres_url: str, role: tuple[str, str]) -> None:
    name, url = role
    execute(
        postgres_url,
        "CREATE TABLE tags (id int PRIMARY KEY, order_id int, tag text, secret text);"
        "INSERT INTO tags VALUES (1, 1, 'b', 's'), (2, 1, 'a', 's');"
        f"GRANT SELECT ON orders TO {name}; GRANT SELECT (order_id, tag) ON tags TO {name};",
    )
    declared = {
        "dataset": "orders", "description": "o", "formats": ["csv"],
        "source": {"table": "orders", "relations": {"tag": {"table": "tags", "from": "id", "to": "order_id"}}},
        "columns": [{"name": "id", "type": "integer"}, {"name": "tag", "from": "tag.tag"}],
    }  # fmt: skip
    assert [row["tag"] for row in read(url, declared)] == ["a", None]


@pytest.mark.parametrize(
    ("table", "grant"),
    [
        ("closed", "GRANT SELECT ON public.closed TO {}"),
        (
            "inner_sales.visits",
            "GRANT USAGE ON SCHEMA inner_sales TO {}; GRANT SELECT ON inner_sales.visits TO {}",
        ),
    ],
)
def test_a_table_without_a_grant_says_so_at_once(
    postgres_url: str, role: tuple[str, str], table: str, grant: str
) -> None:
    name, url = role
    declared = attributes(postgres_url, table)
    for attempt in (lambda: introspect(url, table), lambda: read(url, declared)):
        with pytest.raises(SourceError) as error:
            attempt()
        assert f"the role {name} may not read it; run {grant.format(name, name)}" in str(error.value)
        assert table in str(error.value)


def test_a_table_in_a_schema_without_a_grant_says_so_at_once(
    postgres_url: str, role: tuple[str, str]
) -> None:
    name, url = role
    declared = attributes(postgres_url, "inner_sales.visits")
    execute(postgres_url, f"GRANT SELECT ON inner_sales.visits TO {name}")
    for attempt in (lambda: introspect(url, "inner_sales.visits"), lambda: read(url, declared)):
        with pytest.raises(SourceError, match=f"run GRANT USAGE ON SCHEMA inner_sales TO {name}(?!;)"):
            attempt()


DOTTED = """
CREATE SCHEMA "dot.ted"; CREATE SCHEMA dot;
CREATE TABLE "dot.ted"."x.y" (id int PRIMARY KEY, name text);
CREATE TABLE "dot.ted".plain (id int PRIMARY KEY, name text);
CREATE TABLE dot."ted.z" (id int PRIMARY KEY, name text);
CREATE TABLE "a.b" (id int PRIMARY KEY, name text);
CREATE TABLE "dot.ted"."q""q" (id int PRIMARY KEY, name text);
CREATE TABLE refs (
    id int PRIMARY KEY, one_id int REFERENCES "dot.ted"."x.y", two_id int REFERENCES "dot.ted".plain,
    three_id int REFERENCES dot."ted.z", four_id int REFERENCES "a.b", five_id int REFERENCES "dot.ted"."q""q");
INSERT INTO "dot.ted"."x.y" VALUES (1, 'one'); INSERT INTO "dot.ted".plain VALUES (1, 'two');
INSERT INTO dot."ted.z" VALUES (1, 'three'); INSERT INTO "a.b" VALUES (1, 'four');
INSERT INTO "dot.ted"."q""q" VALUES (1, 'five'); INSERT INTO refs VALUES (1, 1, 1, 1, 1, 1);
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "written", "name"),
    [
        ("dot.ted.x.y", '"dot.ted"."x.y"', "one"),
        ('"dot.ted"."x.y"', '"dot.ted"."x.y"', "one"),
        ("dot.ted.plain", '"dot.ted"."plain"', "two"),
        ('"dot.ted".plain', '"dot.ted"."plain"', "two"),
        ("dot.ted.z", '"dot"."ted.z"', "three"),
        ("a.b", "a.b", "four"),
        ('"dot.ted"."q""q"', '"dot.ted"."q""q"', "five"),
    ],
)
def test_names_with_points_are_found(postgres_url: str, asked: str, written: str, name: str) -> None:
    execute(postgres_url, DOTTED)
    declared = attributes(postgres_url, asked)
    assert declared["source"]["table"] == written
    assert [row["name"] for row in read(postgres_url, declared)] == [name]


@pytest.mark.slow
def test_foreign_keys_lead_to_names_with_points(postgres_url: str) -> None:
    execute(postgres_url, DOTTED)
    (row,) = read(postgres_url, attributes(postgres_url, "refs"), preset="all")
    assert [row[f"{n}_name"] for n in ("one", "two", "three", "four", "five")] == [
        "one", "two", "three", "four", "five",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "table"), [("s", "t"), ("s.s", "t"), ("s", "t.t"), ('s"', "t"), (None, "t.t"), ("Ä b", "日")]
)
def test_a_written_name_is_found_again(schema: str | None, table: str) -> None:
    assert (schema, table) in table_places(table_name(table, schema))[:2]
