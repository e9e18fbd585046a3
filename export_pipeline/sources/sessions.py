"""Session settings that change the meaning of a statement or the bytes of its result.

A role, a database, a server or a pooler may change any of them. So each connection that reads a source sets
them itself and reads them back. A connection on which a setting does not take effect is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

POSTGRES: Mapping[str, str] = {
    "client_encoding": "UTF8",  # statements and results are UTF-8
    # The meaning of literals.
    "standard_conforming_strings": "on",  # if off, a backslash ends the quoting of a value
    "backslash_quote": "safe_encoding",  # in the E'…' of a .sql file
    "escape_string_warning": "off",  # if on, each backslash prints a notice on stderr
    "transform_null_equals": "off",  # if on, `x = NULL` matches nulls
    "array_nulls": "on",  # if off, NULL in an array literal is a string
    "DateStyle": "ISO, MDY",  # the format of times
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",  # the meaning of IST or EST
    "xmloption": "content",  # if document, text with several elements is not valid xml
    # The text of a value.
    "extra_float_digits": "3",  # if lower, a float loses digits as text
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",  # if on, a regclass is printed in quotes
    # The rows of a result.
    "gin_fuzzy_search_limit": "0",  # if above 0, an index returns only some of its rows
    "zero_damaged_pages": "off",  # if on, damaged pages are silently read as empty
    "ignore_checksum_failure": "off",
    # A snapshot lasts as long as its export; EXPORT_STATEMENT_TIMEOUT_SECONDS limits each query.
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""Without lc_monetary: `money` is stored, and must be read, by its number of decimal places."""


_UNLIKE = """
FROM (VALUES {values}) AS wanted (name, value)
WHERE pg_catalog.lower(pg_catalog.current_setting(name, true)) <> pg_catalog.lower(value)
"""
_SET = "SELECT pg_catalog.set_config(name, value, true) AS value, name" + _UNLIKE
_LEFT = "SELECT pg_catalog.current_setting(name, true) AS value, name" + _UNLIKE
# PostgreSQL's own functions take precedence unless the path names pg_catalog at a later position: then
# `lower` may be any user's function.
_PATH = """
SELECT pg_catalog.set_config('search_path', pg_catalog.array_to_string(ARRAY(
    SELECT pg_catalog.quote_ident(name) FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS name
    WHERE name <> 'pg_catalog'
), ', '), true) AS value, 'search_path' AS name
WHERE 'pg_catalog' = ANY (pg_catalog.current_schemas(false))
"""

Rows = Iterable[Mapping[str, Any]]


def prepare_postgres(query: Callable[[str], Rows], *, row_security: bool) -> None:
    """Make the settings of a PostgreSQL session for the open transaction, and read them back.

    Settings of a transaction also take effect behind poolers, which discard those of a connection. Settings
    that the server's version does not have are skipped.

    Args:
        query: Runs a query of two text columns, "value" and "name", and returns its rows.
        row_security: True lets row-level security policies hide rows; False makes a query fail if they would
            hide any.

    Raises:
        SourceError: A setting cannot be made, or does not take effect.
    """
    parameters = {**POSTGRES, "row_security": "on" if row_security else "off"}
    values = ", ".join(f"('{name}', '{value}')" for name, value in parameters.items())
    try:
        for statement in (_PATH, _SET.format(values=values)):
            list(query(statement))
    except SourceUnavailableError:
        raise
    except SourceError as error:
        raise SourceError(f"A setting of the source database's session cannot be set. {error}") from None
    for row in query(_LEFT.format(values=values)):
        _refuse(row["name"], parameters[row["name"]], row["value"])


MYSQL: Mapping[str, str] = {
    "sql_mode": "",  # NO_BACKSLASH_ESCAPES, ANSI_QUOTES and others change the meaning of a statement
    "time_zone": "+00:00",  # a TIMESTAMP is converted to the session's zone
    "sql_select_limit": "18446744073709551615",  # if lower, rows are silently left out
    "sql_auto_is_null": "0",  # if on, `id IS NULL` matches the row inserted last
    "wait_timeout": "28800",  # a snapshot lasts as long as its export
    "net_write_timeout": "28800",
}
_NAMES = ("character_set_client", "character_set_connection", "character_set_results")


def prepare_mysql(execute: Callable[[str], Rows]) -> None:
    """Make the settings of a MySQL or MariaDB session, and read them back.

    Args:
        execute: Runs a statement and returns its rows.

    Raises:
        SourceError: A setting does not take effect.
    """
    execute("SET NAMES utf8mb4")
    assignments = (f"{name} = {value if value.isdigit() else repr(value)}" for name, value in MYSQL.items())
    execute(f"SET SESSION {', SESSION '.join(assignments)}")
    expected = {**dict.fromkeys(_NAMES, "utf8mb4"), **MYSQL}
    (row,) = execute(f"SELECT {', '.join(f'@@SESSION.{name} AS {name}' for name in expected)}")
    for name, value in expected.items():
        if str(row[name]) != value:
            _refuse(name, value, row[name])


def _refuse(name: str, expected: str, is_: object) -> None:
    raise SourceError(
        f"The source database does not keep the session's setting {name} = {expected!r}, it stays {is_!r}: "
        "let EXPORT_SOURCE_URL lead to the database itself, or to a pooler of sessions or transactions."
    )
