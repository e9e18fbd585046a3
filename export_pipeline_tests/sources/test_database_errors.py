"""Messages of database errors: they say what was wrong, and repeat neither values of rows nor the query."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pymysql
import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.sources.database_errors import describe_error
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline_tests.services.postgres import PostgresServer

NAME = 'Anna "the" Meier'
NUMBER = Column("n", "N", Kind.INTEGER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("name::integer", "invalid input syntax for type integer … (22P02)"),
        ("name::json->>'a'", "invalid input syntax for type json … (22P02)"),
        ("to_date(name, 'YYYY')::text", "invalid value … (22007)"),
        ("(name || '9999')::date::text", "invalid input syntax for type date … (22007)"),
        ("('9' || repeat('9', 30) || left(name, 0))::integer", "value … (22003)"),
        ("name = 5", "operator does not exist: text = integer HINT: No operator matches"),
        ("CASE WHEN name = 'Anna' THEN missing(name) END", "function missing(text) does not exist HINT:"),
    ],
)
def test_postgresql(postgres: PostgresServer, expression: str, text: str) -> None:
    with postgres.database() as url:
        with closing(postgres.connect(str(sa.make_url(url).database))) as connection:
            connection.cursor().execute("CREATE TABLE people AS SELECT %s AS name", [NAME])
        select = sa.select(sa.literal_column(expression)).select_from(sa.table("people"))
        with pytest.raises(SourceError) as caught, open_snapshot(url) as snapshot:
            list(snapshot.rows(select, [NUMBER]).batches())
    assert text in str(caught.value)
    for word in ("Anna", "Meier", "99999", "SELECT"):
        assert word not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (pymysql.err.DataError(1292, f"Truncated incorrect DOUBLE value: '{NAME}'"), "DOUBLE value … (1292)"),
        (pymysql.err.DataError(1411, f"Incorrect datetime value: '{NAME}' for function x"), "value … (1411)"),
        (sqlite3.OperationalError(f"Could not decode to UTF-8 column 'x' with text '{NAME}'"), "UTF-8 column 'x'; the value"),
    ],
)  # fmt: skip
def test_other_drivers(error: Exception, text: str) -> None:
    described = str(describe_error(error))
    assert text in described
    assert "Anna" not in described
    assert "the value is not shown" in described
