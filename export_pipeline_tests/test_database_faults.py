"""Database errors are told by their codes and classes, of real servers, over TLS and in any words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_manager
import psycopg2
import pymysql
import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.database_faults import Fault, classify_fault
from export_pipeline.jobs import LedgerError, LedgerUnavailableError
from export_pipeline.jobs.database import open_engine, transaction
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError, open_snapshot
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.services.tls import Cut, TlsProxy, tls_proxy

MISLEADING = "Abfrage: statement timeout, does not exist, connect, terminating, password authentication"
SQLSTATES = {
    Fault.LOST: ["08000", "08003", "08006", "08001", "08P01", "57P01", "57P02", "57P03", "57P05", "25P03"],
    Fault.BUSY: [
        "40001", "40P01", "40003", "53000", "53100", "53200", "53300", "55006", "55P03", "58000", "58030", "72000",
    ],
    Fault.READ_ONLY: ["25006"],
    Fault.TIMEOUT: ["57014", "25P04"],
    Fault.CREDENTIALS: ["28P01", "28000"],
    Fault.DENIED: ["42501"],
    Fault.MISSING: ["42P01", "42703", "3F000"],
    Fault.CHARACTER: ["22021", "22P05"],
    Fault.TOO_WIDE: ["54011"],
    Fault.OTHER: ["22012", "22P02", "42601", "42883", "XX000", "XX001", "53400", "P0001", "57P04", "0A000"],
}  # fmt: skip
CASES = [(state, fault) for fault, states in SQLSTATES.items() for state in states]
SQLITE = {
    Fault.BUSY: [17, 5, 5 | 1 << 8, 5 | 2 << 8, 6, 6 | 1 << 8, 7, 10, 10 | 12 << 8, 13, 15],
    Fault.LOST: [14, 14 | 2 << 8],
    Fault.READ_ONLY: [8, 8 | 5 << 8],
    Fault.TIMEOUT: [9],
    Fault.OTHER: [1, 11, 19, 23, 26],
}
MYSQL = {
    Fault.LOST: [2002, 2003, 2005, 2006, 2013, 2026, 1047, 1053, 1080, 1156, 1927, 3168, 3169, 4031],
    Fault.BUSY: [1020, 1030, 1040, 1114, 1135, 1203, 1205, 1206, 1213, 1021, 1412, 1614, 3101, 3572],
    Fault.READ_ONLY: [1290, 1792, 1836],
    Fault.TIMEOUT: [3024, 1969, 1317],
    Fault.CREDENTIALS: [1045],
    Fault.DENIED: [1142],
    Fault.MISSING: [1146, 1054],
    Fault.OTHER: [1064, 1267, 1049],
}
NUMBER = Column("n", "N", Kind.INTEGER)


@pytest.fixture(scope="module")
def raising(postgres: PostgresServer) -> Iterator[str]:
    """A database with a function that fails with any SQLSTATE, and words that mislead."""
    with postgres.database() as url:
        with closing(postgres.connect(str(sa.make_url(url).database))) as connection:
            connection.cursor().execute(
                "CREATE FUNCTION fail(state text) RETURNS int LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE EXCEPTION '{MISLEADING}' USING ERRCODE = state; END $$"
            )
        yield url


@pytest.mark.slow
@pytest.mark.parametrize(("state", "fault"), CASES)
def test_both_drivers_of_postgresql_tell_the_sqlstate(raising: str, state: str, fault: Fault) -> None:
    with pytest.raises(SourceError) as caught, open_snapshot(raising) as snapshot:
        snapshot.rows(sa.select(sa.literal_column(f"fail('{state}')")), [NUMBER])
    assert isinstance(caught.value, SourceUnavailableError) is (fault in (Fault.LOST, Fault.BUSY))
    driver: Any = caught.value.__context__
    while not isinstance(driver, adbc_driver_manager.Error):
        driver = driver.__context__
    assert classify_fault(driver) is fault

    engine = open_engine(raising)
    with pytest.raises(LedgerError) as ledgers, transaction(engine, write=False) as connection:
        connection.exec_driver_sql(f"SELECT fail('{state}')")
    engine.dispose()
    is_away = fault in (Fault.LOST, Fault.BUSY, Fault.READ_ONLY)
    assert isinstance(ledgers.value, LedgerUnavailableError) is is_away
    assert ("migrate" in str(ledgers.value)) is (fault is Fault.MISSING)


def test_texts_of_the_ledgers_triggers_are_shown(raising: str) -> None:
    engine = open_engine(raising)
    shown = {}
    for state in ("23514", "22012"):
        with pytest.raises(LedgerError) as caught, transaction(engine, write=False) as connection:
            connection.exec_driver_sql(f"SELECT fail('{state}')")
        shown[state] = MISLEADING in str(caught.value)
    engine.dispose()
    assert shown == {"23514": True, "22012": False}
    with pytest.raises(SourceError) as of_source, open_snapshot(raising) as snapshot:
        snapshot.rows(sa.select(sa.literal_column("fail('23514')")), [NUMBER])
    assert MISLEADING not in str(of_source.value)


@pytest.mark.parametrize(
    ("code", "fault"), [(code, fault) for fault, codes in SQLITE.items() for code in codes]
)
def test_faults_of_sqlite_are_classified_by_code(code: int, fault: Fault) -> None:
    error = sqlite3.OperationalError(MISLEADING)
    error.sqlite_errorcode = code
    assert classify_fault(error) is fault


def test_a_sqlite_file_that_somebody_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (i int)")
        writer.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(SourceUnavailableError, match="could not run it now"),
            open_snapshot(f"{url}?timeout=0.1"),
        ):
            pass
    with open_snapshot(url) as snapshot, pytest.raises(SourceError, match="was the application migrated"):
        snapshot.rows(sa.select(sa.column("x")).select_from(sa.table("t")), [NUMBER])


@pytest.mark.parametrize(
    ("number", "fault"), [(number, fault) for fault, numbers in MYSQL.items() for number in numbers]
)
def test_faults_of_mysql_are_classified_by_code(number: int, fault: Fault) -> None:
    assert classify_fault(pymysql.err.OperationalError(number, MISLEADING)) is fault
    if number < 2000:
        assert classify_fault(pymysql.err.ProgrammingError(number, MISLEADING)) is fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (psycopg2.OperationalError("SSL SYSCALL error: EOF detected"), Fault.LOST),
        (psycopg2.OperationalError("SSL connection has been closed unexpectedly"), Fault.LOST),
        (
            psycopg2.DatabaseError("error with status PGRES_TUPLES_OK and no message from the libpq"),
            Fault.LOST,
        ),
        (psycopg2.InterfaceError("connection already closed"), Fault.LOST),
        (psycopg2.ProgrammingError("no results to fetch"), Fault.OTHER),
        (psycopg2.DataError("x"), Fault.OTHER),
        (pymysql.err.InterfaceError(0, ""), Fault.LOST),
        (ConnectionResetError(104, "x"), Fault.LOST),
        (TimeoutError("x"), Fault.LOST),
        (ValueError("connect"), Fault.OTHER),
        (OSError(28, "No space left on device"), Fault.OTHER),
    ],
)
def test_faults_that_client_libraries_find_are_classified(error: Exception, fault: Fault) -> None:
    assert classify_fault(error) is fault


@pytest.mark.parametrize("host", ["nosuch.invalid", "127.0.0.1:1"])
def test_a_server_that_is_not_there(host: str) -> None:
    with (
        pytest.raises(SourceUnavailableError, match="cannot be reached"),
        open_snapshot(f"postgresql://u:p@{host}/x"),
    ):
        pass
    engine = open_engine(f"postgresql://u:p@{host}/x")
    with pytest.raises(LedgerUnavailableError), transaction(engine, write=False):
        pass


# --- over TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def over_tls(postgres: PostgresServer, postgres_url: str, tmp_path: Path) -> Iterator[tuple[TlsProxy, str]]:
    with tls_proxy(postgres.port, tmp_path) as proxy:
        url = sa.make_url(postgres_url).set(port=proxy.port, query={"sslmode": "require"})
        yield proxy, url.render_as_string(hide_password=False)


CUTS: list[Cut] = ["reset", "end", "close notify"]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("idle", [False, True])
def test_a_source_lost_over_tls_may_come_back(over_tls: tuple[TlsProxy, str], how: Cut, idle: bool) -> None:
    proxy, url = over_tls
    numbers = sa.select(sa.func.generate_series(1, 1 if idle else 5_000_000).column_valued("n"))
    with pytest.raises(SourceUnavailableError) as caught, open_snapshot(url) as snapshot:
        batches = snapshot.batches(numbers, [NUMBER])
        next(batches)
        proxy.cut(how)
        if idle:
            list(batches)
            snapshot.rows(numbers, [NUMBER])
        for _ in batches:
            pass
    assert re.match(r"The source database cannot be reached", str(caught.value))
    with open_snapshot(url) as snapshot:
        assert snapshot.rows(sa.select(sa.literal(7)), [NUMBER]) == [{"n": 7}]


@pytest.mark.parametrize("how", CUTS)
def test_a_ledger_lost_over_tls_may_come_back(over_tls: tuple[TlsProxy, str], how: Cut) -> None:
    proxy, url = over_tls
    engine = open_engine(url)
    for statement in ("SELECT 1", "SELECT pg_sleep(1), repeat('x', 50000000)"):
        with pytest.raises(LedgerUnavailableError), transaction(engine, write=False) as connection:
            connection.exec_driver_sql("SELECT 1")
            proxy.cut(how)
            connection.exec_driver_sql(statement)
    with transaction(engine, write=False) as connection:
        assert connection.scalar(sa.text("SELECT 7")) == 7
    engine.dispose()
