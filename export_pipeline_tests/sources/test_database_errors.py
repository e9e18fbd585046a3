"""Messages of database errors: they say what was wrong, and repeat neither values of rows nor the query."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import closing

import pyarrow as pa
import pymysql
import pytest
import sqlalchemy as sa

from export_pipeline.core.columns import Column, Kind
from export_pipeline.redaction import redacted_errors
from export_pipeline.sources.arrow_types import MisfitError
from export_pipeline.sources.database_errors import describe_error
from export_pipeline.sources.snapshot import SourceError, open_snapshot
from export_pipeline_tests.services.postgres import PostgresServer

NAME = 'Anna "the" Meier'
NUMBER = Column("n", "N", Kind.INTEGER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("name::integer", "Details: invalid text representation (SQLSTATE 22P02)."),
        ("name::json->>'a'", "Details: invalid text representation (SQLSTATE 22P02)."),
        ("to_date(name, 'YYYY')::text", "Details: invalid datetime format (SQLSTATE 22007)."),
        ("(name || '9999')::date::text", "Details: invalid datetime format (SQLSTATE 22007)."),
        (
            "('9' || repeat('9', 30) || left(name, 0))::integer",
            "numeric value out of range (SQLSTATE 22003).",
        ),
        (
            "1 / (length(name) - length(name))",
            "correct the value, or what is made of it. Details: division by zero",
        ),
        (
            "raised(name)",
            "function, view or trigger of the source database refused to go on: ask who maintains",
        ),
        ("raised(name, 'HV000')", "A foreign table of the source database could not be read"),
        ("raised(name, '38000')", "Details: external routine exception (SQLSTATE 38000)."),
        ("raised(name, '22023')", "Details: invalid parameter value (SQLSTATE 22023)."),
        (
            "raised(name, '42703')",
            "was the application migrated? Details: undefined column (SQLSTATE 42703).",
        ),
        (
            "raised(name, 'X0123')",
            "Details: SQLSTATE X0123. The message may quote a value, and is not shown;",
        ),
        ("name = 5", "operator does not exist: text = integer HINT: No operator matches"),
        ("CASE WHEN name = 'Anna' THEN missing(name) END", "function missing(text) does not exist HINT:"),
        ("name name 'Anna'", 'Details: syntax error at or near "name"'),
        ("name || 'Anna Meier", "run the .sql file or view of this export in a client of the database."),
    ],
)
def test_postgresql(postgres: PostgresServer, expression: str, text: str) -> None:
    with postgres.database() as url:
        with closing(postgres.connect(str(sa.make_url(url).database))) as connection:
            connection.cursor().execute("CREATE TABLE people AS SELECT %s AS name", [NAME])
            connection.cursor().execute(
                "CREATE FUNCTION raised(name text, state text DEFAULT 'P0001') RETURNS int LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'no such person: %', name USING ERRCODE = state; END $$"
            )
        select = sa.select(sa.literal_column(expression)).select_from(sa.table("people"))
        with pytest.raises(SourceError) as caught, open_snapshot(url) as snapshot:
            list(snapshot.rows(select, [NUMBER]).batches())
    assert text in str(caught.value)
    for word in ("Anna", "Meier", "99999", "SELECT"):
        assert word not in str(caught.value)


def sqlite_error(statement: str) -> sqlite3.Error:
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute(statement)
    return caught.value


DATA, RAISED = "correct the value, or what is made of it.", "refused to go on: ask who maintains it."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (pymysql.err.DataError(1292, f"Truncated incorrect DOUBLE value: '{NAME}'"), f"{DATA} Details: error 1292."),
        (pymysql.err.DataError(1411, f"Incorrect datetime value: '{NAME}' for function x"), "error 1411."),
        (pymysql.err.IntegrityError(1062, f"Duplicate entry '{NAME}' for key 'email'"), "error 1062."),
        (pymysql.err.OperationalError(1105, f"XPATH syntax error: '{NAME}'"), "error 1105."),
        (pymysql.err.OperationalError(1644, f"no such person: {NAME}"), f"{RAISED} Details: error 1644."),
        (pymysql.err.DataError(1366, f"Incorrect string value: '{NAME}'"), "error 1366."),
        (pymysql.err.ProgrammingError(1064, f"Your syntax near '{NAME}' at line 1"), "in a client of the database."),
        (pymysql.err.OperationalError(1430, f"Data source error: {NAME}"), "A foreign table"),
        (sqlite3.OperationalError(f"Could not decode to UTF-8 column 'x' with text '{NAME}'"), "UTF-8 column 'x'"),
        (sqlite_error(f"SELECT json_extract('[1]', '{NAME}')"), "SQLITE_ERROR"),
        (sqlite_error("SELECT 'Anna Meier"), "SQLITE_ERROR"),
        (pa.ArrowInvalid(f"Failed to parse string: '{NAME}' as a scalar of type int32"), "ArrowInvalid."),
        (ValueError(f"Couldn't parse date string '{NAME}'"), "ValueError."),
    ],
)  # fmt: skip
def test_a_message_that_may_quote_a_value_is_not_shown(error: Exception, text: str) -> None:
    described = str(describe_error(error))
    assert text in described
    assert "Anna" not in described
    assert "is not shown" in described or "Could not decode" in described


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (pymysql.err.OperationalError(2003, "Can't connect to MySQL server on 'db'"), "MySQL server on 'db'"),
        (pymysql.err.OperationalError(1054, "Unknown column 'name' in 'field list'"), "column 'name' in"),
        (sqlite_error("SELECT name"), "no such column: name"),
        (sqlite_error("SELECT 1 FRM x y"), 'near "x": syntax error'),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), "a closed database."),
        (MisfitError(NUMBER), "column 'n' holds a value that is no integer"),
    ],
)
def test_a_message_that_quotes_no_value_is_shown(error: Exception, text: str) -> None:
    assert text in str(describe_error(error))


def test_values_are_hidden_in_the_whole_chain_of_an_error() -> None:
    error = RuntimeError("unforeseen")
    error.__cause__ = pa.ArrowInvalid(f"Failed to parse string: '{NAME}'")
    error.__cause__.__context__ = sqlite_error("SELECT 'Anna Meier")
    with pytest.raises(RuntimeError) as caught, redacted_errors():
        raise error
    shown = "".join(traceback.format_exception(caught.value))
    assert "ArrowInvalid: the message may quote a value, and is not shown" in shown
    assert "unforeseen" in shown
    assert "Meier\n" not in shown
