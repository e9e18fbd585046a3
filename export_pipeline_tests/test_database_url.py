"""SQLite files of any name: the one that is meant is opened, no other one, and none is made."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.database_url import dagster_url, parse_database_url, sqlite_file, sqlite_url
from export_pipeline.jobs import Ledger, migrate
from export_pipeline.jobs.migrate import is_current
from export_pipeline.orchestration.instance import prepare_home
from export_pipeline.settings import SettingsError, load_settings
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.snapshot import SourceError, open_snapshot

NAMES = [
    "a#b.db", "a?b.db", "a%41.db", "a%2541.db", "a b.db", "a+b.db", "ü🦊.db", "a&b=c.db", "a?mode=rwc&x.db",
    "a@b:c.db", "file:a.db", "a%ZZ.db", "a;b.db", "a'b\".db", "a\\b.db", "%3F.db", "?mode=rw.db", "a.db#",
]  # fmt: skip
DECOYS = ["a", "aA.db", "a%41.db", "a.db", "?.db", "b.db", "mode=rw.db"]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with databases, to which a test adds no file but those that it names."""
    made = tmp_path / "files"
    made.mkdir()
    for name in DECOYS:
        fill(made / name, "decoy")
    yield made
    with_journals = [file for file in made.iterdir() if not file.name.endswith(("-wal", "-shm"))]
    assert {file.name for file in with_journals} <= {*DECOYS, *NAMES}


def fill(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    connection.execute("INSERT INTO t VALUES (1, ?)", (text,))
    connection.commit()
    connection.close()


def written(file: Path) -> list[str]:
    """All the ways to write a file as a URL."""
    return [
        f"sqlite:///{file}",
        sqlite_url(file),
        sa.URL.create("sqlite", database=str(file)).render_as_string(),
        f"sqlite:///{file.as_uri().replace('file://', 'file:')}?uri=true",
        f"sqlite:///{file.as_uri()}?uri=true&mode=rwc",
        f"sqlite+pysqlite:///{file}?timeout=5",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_named_file_is_read_and_no_other(folder: Path, name: str) -> None:
    fill(folder / name, "mine")
    for url in written(folder / name):
        with open_snapshot(url) as snapshot:
            rows = snapshot.rows(sa.text("SELECT v FROM t").columns(sa.column("v")).subquery().select(), [V])
            assert rows == [{"v": "mine"}], url
            with pytest.raises(sa.exc.DBAPIError, match="readonly"):
                snapshot._connection.exec_driver_sql("DELETE FROM t")  # type: ignore[attr-defined]
        assert introspect(url, "t").dataset == "t"


V = Column("v", "V", Kind.TEXT)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_not_there_is_not_made(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    for url in written(folder / name):
        if sqlite_file(parse_database_url(url)) != folder / name:
            continue  # read as in other URLs it is one of the decoys
        for look in (
            lambda url: open_snapshot(url).__enter__(),
            lambda url: introspect(url, "t"),
            is_current,
        ):
            try:
                assert look(url) is False
            except SourceError as error:
                assert "no such file" in str(error) or "no SQLite file" in str(error)
    assert not (folder / name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NAMES} - {*DECOYS, "?mode=rw.db"}))
def test_the_ledger_lies_in_the_named_file(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / name}"
    migrate(url)
    assert is_current(url)
    with Ledger(url) as ledger:
        ledger.request("takeoff", "csv", scope="x")
    files = {file.name for file in tmp_path.iterdir()}
    assert {file.removesuffix("-wal").removesuffix("-shm") for file in files} == {name}


def test_the_demos_file_lies_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a?b", "a#b", "a%41", "a b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.delenv("EXPORT_SOURCE_URL", raising=False)
        monkeypatch.delenv("EXPORT_JOBS_URL", raising=False)
        expected = tmp_path / name / "demo_data" / "applications.db"
        settings = load_settings()
        assert sqlite_file(parse_database_url(settings.source_url)) == expected
        assert sqlite_file(parse_database_url(settings.jobs_url)) == expected


@pytest.mark.parametrize("name", ["a?b", "a%41"])
def test_a_home_that_dagster_takes_for_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / name))
    with pytest.raises(SettingsError, match="DAGSTER_HOME: Dagster cannot keep its SQLite files"):
        prepare_home()
    assert not list(tmp_path.iterdir())


def test_a_database_in_memory_stays_one() -> None:
    for url in (
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
    ):
        assert sqlite_file(parse_database_url(url)) is None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_dagster_gets_every_spelling_of_postgresql_with_its_driver(scheme: str) -> None:
    assert dagster_url(f"{scheme}://host/database") == "postgresql+psycopg2://host/database"
