"""A snapshot only reads, ends in time, and says in a sentence why it cannot."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.postgres import literal_sql
from export_pipeline.sources.python_rows import build_batch
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError, open_snapshot
from export_pipeline_tests.services.postgres import PostgresServer
from export_pipeline_tests.takeoff_data import Application

NUMBER, TEXT = Column("n", "N", Kind.INTEGER), Column("t", "T", Kind.TEXT)
SLOW = {
    "sqlite": "(WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c) SELECT i FROM c WHERE i < 0)",
    "postgresql": "(SELECT count(*) FROM generate_series(1, 2000000000))",
}


def test_a_snapshot_cannot_write(application: Application) -> None:
    dialect = application.engine.dialect.name
    with pytest.raises(SourceError, match=r"(?i)read-?only"), open_snapshot(application.url) as snapshot:
        if dialect == "sqlite":
            snapshot._connection.exec_driver_sql("CREATE TABLE x (i int)")  # type: ignore[attr-defined]
        else:
            snapshot.command("CREATE TABLE x (i int)")  # type: ignore[attr-defined]


def test_a_query_ends_in_time(application: Application) -> None:
    slow = sa.select(sa.literal_column(SLOW[application.engine.dialect.name]))
    with (
        open_snapshot(application.url, statement_timeout=0.2) as snapshot,
        pytest.raises(SourceError, match="EXPORT_STATEMENT_TIMEOUT_SECONDS"),
    ):
        snapshot.rows(slow, [NUMBER])


def test_a_missing_table_says_what_to_do(application: Application) -> None:
    with (
        open_snapshot(application.url) as snapshot,
        pytest.raises(SourceError, match="was the application migrated"),
    ):
        snapshot.rows(sa.select(sa.column("n")).select_from(sa.table("nowhere")), [NUMBER])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "EXPORT_SOURCE_URL is not a database URL"),
        ("nosuchdb://x/y", "needs a database driver that is not installed"),
        ("sqlite:////nowhere/at/all.db", "cannot be reached: there is no such file; correct EXPORT_SOURCE"),
        ("postgresql://u:hunter2@127.0.0.1:1/db", "cannot be reached: check .* that it is running"),
        ("mysql+pymysql://u:hunter2@127.0.0.1:1/db", "cannot be reached: check .* that it is running"),
        ("mysql+pymysql://u@127.0.0.1:1/db?colour=red", "refuses one of the options .*'colour'"),
        ("mysql+pymysql://u@127.0.0.1:1/db?ssl_ca=/no.pem", "refuses .* a file .* No such file"),
        ("mysql+pymysql://u@127.0.0.1:1/db?ssl_ca=/dev/null", "refuses .* a file .*(?i:certificate)"),
        (
            "mysql+pymysql://u@127.0.0.1:1/db?connect_timeout=soon",
            "is not a URL that its driver knows: .*'soon'",
        ),
    ],
)
def test_a_database_that_is_not_there(url: str, says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught, open_snapshot(url):
        pass
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_never_creates_a_sqlite_file(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailableError), open_snapshot(f"sqlite:///{tmp_path}/new.db"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_wrong_password_is_named_but_not_shown(postgres: PostgresServer, postgres_url: str) -> None:
    wrong = sa.make_url(postgres_url).set(password="hunter2").render_as_string(hide_password=False)
    with pytest.raises(SourceError, match="user or password") as caught, open_snapshot(wrong):
        pass
    assert "hunter2" not in str(caught.value)


def test_a_server_without_the_database(postgres: PostgresServer, postgres_url: str) -> None:
    other = sa.make_url(postgres_url).set(database="nosuch").render_as_string(hide_password=False)
    message = "cannot be reached: its server has no database of this name; correct EXPORT_SOURCE_URL"
    with pytest.raises(SourceUnavailableError, match=message), open_snapshot(other):
        pass


def test_types_that_are_read_anew_release_those_before(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.sources.postgres._TYPES_SECONDS", 0.0)

    def read(times: int) -> None:
        for _ in range(times):
            with open_snapshot(postgres_url) as outer, open_snapshot(postgres_url) as inner:
                assert not inner.has_table("nothing")
                assert not outer.has_table("nothing")  # its types were replaced while it was open

    def megabytes() -> float:
        rollup = Path("/proc/self/smaps_rollup").read_text()
        return int(rollup.partition("Anonymous:")[2].split()[0]) / 1e3

    read(5)
    before = megabytes()
    read(20)
    assert megabytes() - before < 10  # 33 where nothing is released


@pytest.mark.slow
def test_a_type_that_was_added_since_the_last_snapshot_is_known(postgres_url: str) -> None:
    with open_snapshot(postgres_url) as snapshot:
        assert not snapshot.has_table("moods")
    engine = sa.create_engine(postgres_url)
    for _ in range(2):  # the second one has the same name and another number
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TYPE IF EXISTS mood CASCADE")
            connection.exec_driver_sql("DROP TABLE IF EXISTS moods")
            connection.exec_driver_sql("CREATE TYPE mood AS ENUM ('fine')")
            connection.exec_driver_sql("CREATE TABLE moods (mood mood)")
        with open_snapshot(postgres_url) as snapshot:
            assert snapshot.table_fields("moods")["mood"].type_name == "mood"
    engine.dispose()


def test_a_text_in_the_statement_stays_that_text(postgres_session_url: str) -> None:
    """Values that ADBC cannot bind are rendered into the statement; PostgreSQL must read back exactly that text."""
    with open_snapshot(postgres_session_url) as snapshot:

        @settings(max_examples=150, deadline=None)
        @given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
        def comes_back(text: str) -> None:
            (row,) = snapshot.rows(sa.select(sa.literal(text)), [TEXT])
            assert row["t"] == text

        comes_back()


@pytest.mark.parametrize(
    "value",
    [
        "'; SELECT pg_sleep(9); --",
        "\\'; DROP TABLE x; --",
        "$$;$$",
        "%s %(a)s %%",
        ":name",
        "E'\\x41'",
        "/*",
        "--",
    ],
)
def test_injected_sql_stays_a_string(postgres_session_url: str, value: str) -> None:
    with open_snapshot(postgres_session_url) as snapshot:
        (row,) = snapshot.rows(sa.select(sa.literal(value)).where(sa.literal(value) == value), [TEXT])
    assert row["t"] == value


def test_values_without_a_literal_form_are_refused() -> None:
    with pytest.raises(SourceError, match="cannot be written into the query"):
        literal_sql(sa.select(sa.literal(b"\x00\xff", sa.PickleType())))
    with pytest.raises(SourceError, match="NUL"):
        literal_sql(sa.select(sa.literal("a\x00b")))


def test_literals_keep_their_type() -> None:
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    text = literal_sql(sa.select(sa.literal(moment), sa.literal(2**62), sa.literal(True), sa.literal(0.1)))
    assert re.search(r"'2026-03-01 12:30:00\+00:00'.*4611686018427387904.*true.*0\.1", text, re.S)


def test_times_beside_what_is_none_keep_their_microseconds() -> None:
    column = Column("t", "T", Kind.TIMESTAMP)
    batch = build_batch([["9999-12-31 23:59:59.999999"], ["soon"], ["0001-01-01T00:00:00.000001Z"]], [column])
    assert [t and t.isoformat() for t in batch.column(0).to_pylist()] == [
        "9999-12-31T23:59:59.999999+00:00",
        None,
        "0001-01-01T00:00:00.000001+00:00",
    ]
