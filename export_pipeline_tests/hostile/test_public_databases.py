"""Databases that others wrote, introspected without an edit: every value of every format equals the source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from export_pipeline_tests.hostile import introspected, public_databases
from export_pipeline_tests.services.postgres import PostgresServer

TABLES = [
    (database, table)
    for database in public_databases.DATABASES
    for table in public_databases.tables_of(database)
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def urls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """URLs of the filled public databases by name, on each database that is promised."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            folder = tmp_path_factory.mktemp("public")
            urls = {name: f"sqlite:///{folder}/{name}.db" for name in public_databases.DATABASES}
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            urls = {name: stack.enter_context(server.database()) for name in public_databases.DATABASES}
        for name, url in urls.items():
            public_databases.fill(url, name)
        yield urls


@pytest.mark.slow
@pytest.mark.parametrize(("database", "table"), TABLES)
def test_every_value_of_every_format_equals_the_source(
    urls: dict[str, str], database: str, table: str, tmp_path: Path
) -> None:
    made = introspected.export(urls[database], table, tmp_path / "made")

    assert set(made.files) == {"csv", "json", "jsonl", "excel", "pdf", "parquet"}
    assert introspected.differences(urls[database], table, made) == []


def test_the_comparison_finds_a_wrong_cell_a_lost_row_and_a_doubled_one(
    urls: dict[str, str], tmp_path: Path
) -> None:
    """A wrong cell, a lost row and a doubled one would be seen."""
    made = introspected.export(urls["chinook"], "Genre", tmp_path / "made", ["csv"])
    path = made.files["csv"]
    sound = path.read_bytes()
    lines = sound.split(b"\r\n")
    for broken in (
        sound.replace(b"Jazz", b"Jaz"),
        b"\r\n".join(lines[:5] + lines[6:]),
        sound + lines[3] + b"\r\n",
    ):
        path.write_bytes(broken)
        assert introspected.differences(urls["chinook"], "Genre", made) != []


CATALOGUE = (
    "pg_catalog.pg_type", "pg_catalog.pg_class", "pg_catalog.pg_authid", "pg_catalog.pg_index", "pg_catalog.pg_aggregate",
    "pg_catalog.pg_collation", "pg_catalog.pg_timezone_names", "information_schema.tables", "information_schema.triggers",
    "information_schema.sql_features",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("table", CATALOGUE)
def test_postgres_own_catalogue_with_its_odd_types_is_exported_as_it_is(
    postgres_url: str, table: str, tmp_path: Path
) -> None:
    made = introspected.export(postgres_url, table, tmp_path / "made", ["csv", "jsonl", "parquet"])

    assert introspected.differences(postgres_url, table, made) == []
