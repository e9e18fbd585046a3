"""Messages of database errors: they say what was wrong, and repeat neither values of rows nor the query."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import closing

import adbc_driver_manager
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
        ("raised(name, '23514')", "Details: check violation (SQLSTATE 23514)."),
        ("(SELECT x FROM raising)", "Details: check violation (SQLSTATE 23514)."),
        ("length(name::no_x)", "Details: value for domain no_x violates check constraint"),
        ("quote_ident(left(name, 4))::regclass::oid", "Details: undefined table (SQLSTATE 42P01)."),
        ("quote_ident(left(name, 4))::regrole::oid", "Details: undefined object (SQLSTATE 42704)."),
        ("quote_ident(left(name, 4))::regproc::oid", "(SQLSTATE 42883)."),
        (
            "(quote_ident(left(name, 4)) || '.b.c')::regclass::oid",
            "Details: feature not supported (SQLSTATE 0A000).",
        ),
        ("has_database_privilege(name, 'connect')::int", "Details: invalid catalog name (SQLSTATE 3D000)."),
        ("length(current_setting(name))", "Details: undefined object (SQLSTATE 42704)."),
        ("length(pg_get_serial_sequence('people', name))", "Details: undefined column (SQLSTATE 42703)."),
        ("(SELECT nentry FROM ts_stat(name))", "Details: syntax error (SQLSTATE 42601)."),
        ("length(pg_read_file(name))", "Details: undefined file (SQLSTATE 58P01)."),
        ("built(name)", "Details: undefined table (SQLSTATE 42P01)."),
        ("name = )", 'in a client of the database. Details: syntax error at or near ")"'),
        ("name,, name", 'Details: syntax error at or near ","'),
        ("(SELECT x FROM generate_series(1, 2) x)", "Details: more than one row returned by a subquery"),
        ("(SELECT 1 FROM people, people)", 'Details: table name "people" specified more than once'),
        ("missing_column", 'was the application migrated? Details: column "missing_column" does not exist'),
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
            connection.cursor().execute(
                "CREATE FUNCTION built(name text) RETURNS int LANGUAGE plpgsql AS"
                " $$ BEGIN EXECUTE format('SELECT 1 FROM %I', name); END $$"
            )
            connection.cursor().execute(
                "CREATE VIEW raising AS SELECT raised(name, '23514') AS x FROM people"
            )
            connection.cursor().execute("CREATE DOMAIN no_x AS text CHECK (length(VALUE) < 3)")
        select = sa.select(sa.literal_column(expression)).select_from(sa.table("people"))
        with pytest.raises(SourceError) as caught, open_snapshot(url) as snapshot:
            list(snapshot.rows(select, [NUMBER]))
    assert text in str(caught.value)
    for word in ("Anna", "Meier", "99999", "SELECT"):
        assert word not in str(caught.value)


def sqlite_error(statement: str) -> sqlite3.Error:
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute(statement)
    return caught.value


def server_error(state: str, message: str, **details: str) -> adbc_driver_manager.Error:
    """An error as ADBC gives it."""
    fields = {"MESSAGE_PRIMARY": message, **details}
    return adbc_driver_manager.ProgrammingError(
        message,
        status_code=adbc_driver_manager.AdbcStatusCode.INTERNAL,
        sqlstate=state,
        details=[(f"PG_DIAG_{name}", value.encode()) for name, value in fields.items()],
    )


DATA, RAISED = "correct the value, or what is made of it.", "refused to go on: ask who maintains it."
QUERY = "does not understand the query: run the .sql file or view of this export in a client of the database."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (pymysql.err.DataError(1292, f"Truncated incorrect DOUBLE value: '{NAME}'"), f"{DATA} Details: error 1292."),
        (pymysql.err.DataError(1411, f"Incorrect datetime value: '{NAME}' for function x"), "error 1411."),
        (pymysql.err.IntegrityError(1062, f"Duplicate entry '{NAME}' for key 'email'"), "error 1062."),
        (pymysql.err.OperationalError(1105, f"XPATH syntax error: '{NAME}'"), "error 1105."),
        (pymysql.err.OperationalError(1644, f"no such person: {NAME}"), f"{RAISED} Details: error 1644."),
        (pymysql.err.OperationalError(1644, f"no such person: {NAME}", sqlstate="45000"), f"{RAISED} Details: error 1644."),
        (pymysql.err.DataError(1366, f"Incorrect string value: '{NAME}'"), "error 1366."),
        (pymysql.err.ProgrammingError(1064, f"Your syntax near '{NAME}' at line 1"), "in a client of the database."),
        (pymysql.err.OperationalError(1430, f"Data source error: {NAME}"), "A foreign table"),
        (sqlite3.OperationalError(f"Could not decode to UTF-8 column 'x' with text '{NAME}'"), "UTF-8 column 'x'"),
        (sqlite_error(f"SELECT json_extract('[1]', '{NAME}')"), "SQLITE_ERROR"),
        (sqlite_error("SELECT 'Anna Meier"), "SQLITE_ERROR"),
        (pa.ArrowInvalid(f"Failed to parse string: '{NAME}' as a scalar of type int32"), "ArrowInvalid."),
        (ValueError(f"Couldn't parse date string '{NAME}'"), "ValueError."),
        (server_error("42601", "Syntaxfehler bei »'Anna'«", STATEMENT_POSITION="3"), "syntax error (SQLSTATE"),
        (server_error("42501", 'could not open file "Anna" for reading: Permission denied'), "SQLSTATE 42501"),
        (server_error("08003", 'connection "Anna" not available'), "SQLSTATE 08003"),
        (sqlite_error("SELECT 1 'Anna' 'Meier'"), "SQLITE_ERROR."),
        (KeyError(3, "Anna"), "KeyError."),
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
        (sqlite_error("SELECT 1 )"), f'{QUERY} Details: near ")": syntax error'),
        (sqlite_error("SELECT 1,, 2"), f'{QUERY} Details: near ",": syntax error'),
        (sqlite_error("SELECT 1 WHERE"), f"{QUERY} Details: incomplete input"),
        (sqlite_error("SELECT #"), 'unrecognized token: "#"'),
        (sqlite_error("SELECT 1 LIKE replace(hex(zeroblob(30000)), '00', '%x')"), "pattern too complex"),
        (sqlite_error("SELECT (SELECT 1, 2)"), f"{QUERY} Details: sub-select returns 2 columns"),
        (sqlite_error("SELECT 1 UNION SELECT 1, 2"), "SELECTs to the left and right of UNION"),
        (sqlite_error("SELECT 1 ORDER BY 5"), "1st ORDER BY term out of range"),
        (
            sqlite_error("SELECT name FROM (SELECT 1 AS name) HAVING 1"),
            "HAVING clause on a non-aggregate query",
        ),
        (sqlite_error("WITH q AS (SELECT * FROM q) SELECT * FROM q"), "circular reference: q"),
        (sqlite_error("SELECT 1; SELECT 2"), "You can only execute one statement at a time."),
        (sqlite_error("SELECT ?"), "Incorrect number of bindings supplied."),
        (sqlite_error("SELECT json_extract('[', '$')"), f"{DATA} Details: malformed JSON"),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), "a closed database."),
        (
            pymysql.err.InternalError(3, "Error writing file '/tmp/MLfd' (OS errno 28)"),
            "now: it was locked, full",
        ),
        (
            pymysql.err.OperationalError(1060, "Duplicate column name 'a'"),
            f"{QUERY} Details: Duplicate column",
        ),
        (
            pymysql.err.OperationalError(1066, "Not unique table/alias: 't'"),
            f"{QUERY} Details: Not unique table",
        ),
        (
            pymysql.err.OperationalError(1111, "Invalid use of group function"),
            f"{QUERY} Details: Invalid use",
        ),
        (
            pymysql.err.OperationalError(1140, "In aggregated query without GROUP BY"),
            f"{QUERY} Details: In agg",
        ),
        (
            pymysql.err.OperationalError(1227, "Access denied; you need the PROCESS privilege(s)"),
            "grant it SELECT.",
        ),
        (
            pymysql.err.NotSupportedError(1235, "This version of MySQL doesn't yet support"),
            "Details: This version",
        ),
        (pymysql.err.OperationalError(1248, "Every derived table must have its own alias"), "Details: Every"),
        (pymysql.err.OperationalError(1273, "Unknown collation: 'x'"), "Details: Unknown collation: 'x'"),
        (
            pymysql.err.OperationalError(1582, "Incorrect parameter count"),
            f"{QUERY} Details: Incorrect parameter",
        ),
        (
            server_error("XX001", "invalid page in block 3 of relation base/5/16384"),
            "restore it from a backup.",
        ),
        (server_error("XX002", 'index "i" contains unexpected zero page'), "restore it from a backup."),
        (
            server_error("25006", "cannot execute SELECT FOR UPDATE in a read-only transaction"),
            "export one without it. Details: cannot execute SELECT FOR UPDATE",
        ),
        (
            server_error("0A000", "unsupported XML feature"),
            "lacks a feature that the view or .sql file of this export uses: export one without it, or have",
        ),
        (
            pymysql.err.InterfaceError(0, ""),
            "cannot be reached: check EXPORT_SOURCE_URL and that it is running. "
            "Details: The connection was lost.",
        ),
        (server_error("0P000", 'role "reporting" does not exist'), 'role "reporting" does not exist'),
        (server_error("53100", "could not write file", CONTEXT="parallel worker"), "could not write file"),
        (server_error("42601", "Syntaxfehler bei »)«", STATEMENT_POSITION="3"), "Syntaxfehler bei »)«"),
        (server_error("42501", 'permission denied to set parameter "x"'), 'denied to set parameter "x"'),
        (
            server_error("42501", 'affected by row-level security policy for table "t"'),
            "a user with BYPASSRLS",
        ),
        (pa.ArrowMemoryError("malloc of size 640 failed"), "Details: malloc of size 640 failed"),
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


@pytest.mark.parametrize("hides", [False, True])
def test_values_are_hidden_in_errors_of_sqlalchemy(hides: bool) -> None:
    engine = sa.create_engine("sqlite://", hide_parameters=hides)
    with pytest.raises(sa.exc.DBAPIError) as caught, redacted_errors(), engine.connect() as connection:
        connection.execute(sa.text("SELECT json_extract('[1]', :path), 'Meier'"), {"path": NAME})
    shown = str(caught.value)
    assert shown.startswith("SQLITE_ERROR: the message may quote a value, and is not shown")
    assert "Anna" not in str(caught.value.__cause__)
    with pytest.raises(sa.exc.DBAPIError) as caught, redacted_errors(), engine.connect() as connection:
        connection.execute(sa.text("SELECT missing, :path"), {"path": NAME})
    shown += str(caught.value)
    assert "no such column: missing" in shown
    with pytest.raises(sa.exc.StatementError) as unbound, redacted_errors(), engine.connect() as connection:
        connection.execute(sa.select(sa.bindparam("day", NAME, sa.Date)))
    shown += str(unbound.value)
    with pytest.raises(sa.exc.CompileError) as unwritten, redacted_errors():
        sa.literal(NAME, sa.Date).compile(engine, compile_kwargs={"literal_binds": True})
    shown += str(unwritten.value)
    assert "Anna" not in shown
    assert "Meier" not in shown


def test_values_are_hidden_in_the_members_of_a_group() -> None:
    group = ExceptionGroup(
        "both failed", [RuntimeError("own"), pa.ArrowInvalid(f"Failed to parse string: '{NAME}'")]
    )
    with pytest.raises(ExceptionGroup) as caught, redacted_errors():
        raise ExceptionGroup("outer", [group])
    shown = str(caught.value.exceptions[0].exceptions[1])  # type: ignore[attr-defined]
    assert shown == "the message may quote a value, and is not shown"


def test_a_driver_that_keeps_its_message_beside_args() -> None:
    class DataError(Exception):
        """As that of mysql.connector."""

        def __init__(self, number: int, text: str) -> None:
            super().__init__(number, text)
            self.msg = self._full_msg = text

        def __str__(self) -> str:
            return self._full_msg

    DataError.__module__ = "mysql.connector.errors"
    with pytest.raises(DataError) as caught, redacted_errors():
        raise DataError(1292, f"Incorrect value: '{NAME}'")
    assert str(caught.value) == "error 1292: the message may quote a value, and is not shown"
