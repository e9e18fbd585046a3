"""Settings of a database session that change what a statement means or what bytes come back.

A role, a database, a server or a pooler may set any of them. So each connection that reads a source sets them
itself, reads them back, and is refused where one does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError

POSTGRES: Mapping[str, str] = {
    "client_encoding": "UTF8",  # statements are sent, and texts are read, as UTF-8
    # What a written value means.
    "standard_conforming_strings": "on",  # off, a backslash lets a value out of its quotes
    "backslash_quote": "safe_encoding",  # in the E'…' of a .sql file
    "escape_string_warning": "off",  # each backslash would be a notice on stderr
    "transform_null_equals": "off",  # on, `x = NULL` finds the rows without a value
    "array_nulls": "on",  # off, NULL in a written array is a text
    "DateStyle": "ISO, MDY",  # how times are read and written
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",  # what IST or EST is
    "xmloption": "content",  # document, a text of several elements is no xml
    # What a value's text is.
    "extra_float_digits": "3",  # fewer, a float loses digits as it becomes text
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",  # on, a regclass is printed in quotes
    # Which rows there are.
    "gin_fuzzy_search_limit": "0",  # more, an index gives some of its rows only
    "zero_damaged_pages": "off",  # on, damaged pages are empty without a word
    "ignore_checksum_failure": "off",
    # A snapshot lives as long as its export; what a query may take is EXPORT_STATEMENT_TIMEOUT_SECONDS.
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""Not among them: lc_monetary, by whose number of decimals `money` is stored, and must be read."""


_UNLIKE = """
FROM (VALUES {values}) AS wanted (name, value)
WHERE pg_catalog.lower(pg_catalog.current_setting(name, true)) <> pg_catalog.lower(value)
"""
_SET = "SELECT pg_catalog.set_config(name, value, true) AS value, name" + _UNLIKE
_LEFT = "SELECT pg_catalog.current_setting(name, true) AS value, name" + _UNLIKE
# PostgreSQL's own functions are looked for first unless the path names pg_catalog further back: then
# `lower` may be anybody's.
_PATH = """
SELECT pg_catalog.set_config('search_path', pg_catalog.array_to_string(ARRAY(
    SELECT pg_catalog.quote_ident(name) FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS name
    WHERE name <> 'pg_catalog'
), ', '), true) AS value, 'search_path' AS name
WHERE 'pg_catalog' = ANY (pg_catalog.current_schemas(false))
"""

Rows = Iterable[Mapping[str, Any]]


def prepare_postgres(query: Callable[[str], Rows], *, row_security: bool) -> None:
    """Set what a PostgreSQL session must have for the open transaction, and read it back.

    Settings of a transaction hold behind poolers, too, which drop those of a connection. Settings that the
    server's version does not know are left out.

    Args:
        query: Runs a query of two text columns, "value" and "name", and returns its rows.
        row_security: True lets policies of row level security hide rows; False makes a query fail from which
            they would hide some.

    Raises:
        SourceError: a setting cannot be set, or does not hold.
    """
    wanted = {**POSTGRES, "row_security": "on" if row_security else "off"}
    values = ", ".join(f"('{name}', '{value}')" for name, value in wanted.items())
    try:
        for statement in (_PATH, _SET.format(values=values)):
            list(query(statement))
    except SourceUnavailableError:
        raise
    except SourceError as error:
        raise SourceError(f"A setting of the source database's session cannot be set. {error}") from error
    for row in query(_LEFT.format(values=values)):
        _refuse(row["name"], wanted[row["name"]], row["value"])


MYSQL: Mapping[str, str] = {
    "sql_mode": "",  # NO_BACKSLASH_ESCAPES, ANSI_QUOTES and others change what a statement means
    "time_zone": "+00:00",  # a TIMESTAMP is shown in the session's zone
    "sql_select_limit": "18446744073709551615",  # fewer, rows are left out without a word
    "sql_auto_is_null": "0",  # on, `id IS NULL` finds the row that was inserted last
    "wait_timeout": "28800",  # a snapshot lives as long as its export
    "net_write_timeout": "28800",
}
_NAMES = ("character_set_client", "character_set_connection", "character_set_results")


def prepare_mysql(execute: Callable[[str], Rows]) -> None:
    """Set what a session of MySQL or MariaDB must have, and read it back.

    Args:
        execute: Runs a statement and returns its rows.

    Raises:
        SourceError: a setting does not hold.
    """
    execute("SET NAMES utf8mb4")
    given = (f"{name} = {value if value.isdigit() else repr(value)}" for name, value in MYSQL.items())
    execute(f"SET SESSION {', SESSION '.join(given)}")
    wanted = {**dict.fromkeys(_NAMES, "utf8mb4"), **MYSQL}
    (row,) = execute(f"SELECT {', '.join(f'@@SESSION.{name} AS {name}' for name in wanted)}")
    for name, value in wanted.items():
        if str(row[name]) != value:
            _refuse(name, value, row[name])


def _refuse(name: str, wanted: str, is_: object) -> None:
    raise SourceError(
        f"The source database does not keep the session's setting {name} = {wanted!r}, it stays {is_!r}: "
        "let EXPORT_SOURCE_URL lead to the database itself, or to a pooler of sessions or transactions."
    )
