"""Translates database errors into one line that says what to do."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from export_pipeline.database_faults import (
    Fault,
    classify_fault,
    code_of,
    message_without_values,
    sqlstate_of,
)
from export_pipeline.database_url import sqlite_file
from export_pipeline.sources.arrow_types import MisfitError
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate database errors in the block into SourceError: one line, without secrets."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise describe_error(error.orig or error) from None
    except sa.exc.UnreflectableTableError as error:  # a view of MySQL that names something that is gone
        cause = error.__cause__
        raise describe_error(getattr(cause, "orig", None) or cause or error) from None
    except sqlite3.Error as error:
        raise describe_error(error) from None


@contextmanager
def drop_after_error(connection: sa.Connection) -> Iterator[None]:
    """Drop a connection without a rollback after an error in the block.

    pymysql closes its socket when an error comes while it reads, such as a MemoryError or a signal's. The
    rollback then fails in its turn, and would make of that error one of a database that cannot be reached.
    """
    try:
        yield
    except BaseException:
        connection.invalidate()
        raise


class UnknownCharacterError(SourceError):
    """Raised when a string cannot be converted between the database's encoding and UTF-8."""


_NO_DATABASE = re.compile(r'database "[^"]*" does not exist|unknown database')
_ADVICE = {
    Fault.BUSY: "The source database could not run it now: it was locked, full or too busy; of a "
    "replica raise max_standby_streaming_delay.",
    Fault.TIMEOUT: "The query took longer than EXPORT_STATEMENT_TIMEOUT_SECONDS, or somebody canceled it; "
    "raise it or export less at once.",
    Fault.READ_ONLY: "Exports only read, and this view or .sql file writes or locks, as FOR UPDATE does "
    "and nextval(): export one without it.",
    Fault.CREDENTIALS: "The user or password in EXPORT_SOURCE_URL is wrong.",
    Fault.DENIED: "The user of EXPORT_SOURCE_URL may not read this; grant it SELECT.",
    Fault.MISSING: "The source database lacks a table or column this export needs; was the application "
    "migrated?",
    Fault.TOO_WIDE: "The export reads more columns than the source database gives at once (PostgreSQL 1,664, "
    "SQLite 2,000): declare or ask for fewer, or make two datasets.",
    Fault.CHARACTER: "The request, the declaration or the .sql file has a character that the database's "
    "encoding lacks.",
}
_ROW_SECURITY = (
    "Row level security would hide rows from the user of EXPORT_SOURCE_URL, and the export would be a part "
    "that looks like the whole: let a user with BYPASSRLS read, or, where that part is meant, declare "
    "`row_security: apply` in the dataset's source."
)


def describe_error(error: BaseException, url: sa.URL | None = None) -> SourceError:
    """Return a database's error as one line without secrets and values, with the cure where it is known."""
    text = _without_values(error)
    where = f" ({url.render_as_string(hide_password=True)})" if url is not None else ""
    fault = classify_fault(error)
    if url is not None and "password authentication" in text:
        fault = Fault.CREDENTIALS  # libpq gives no SQLSTATE for a refused connection
    advice = _advice(error, fault)
    if fault is Fault.LOST:
        advice = f"The source database cannot be reached: {_why_not(text.lower(), url)}."
    elif fault is Fault.DENIED and "row-level security" in text:
        advice = _ROW_SECURITY
    kind = _KINDS.get(fault, SourceError)
    return kind(f"{advice}{where} Details: {text[:500]}")


def _without_values(error: BaseException) -> str:
    """Return an error's text without values of rows and without the query, as it is kept longer than rows."""
    text = str(error) if isinstance(error, MisfitError) else message_without_values(error)
    if text is not None:
        return text
    is_servers = sqlstate_of(error) is not None or code_of(error).startswith("error ")
    where = "; the server's log may have it, and a client of the database shows it" if is_servers else ""
    return f"{code_of(error)}. The message may quote a value, and is not shown{where}."


def _advice(error: BaseException, fault: Fault) -> str:
    if fault in _ADVICE:
        return _ADVICE[fault]
    is_value = isinstance(error, MisfitError) or (
        isinstance(error, sqlite3.Error) and str(error).startswith(_SQLITE_VALUES)
    )
    # MySQL's drivers give both; the SQLSTATE of many errors is HY000, which says nothing.
    for code in ("22",) if is_value else (code_of(error), sqlstate_of(error) or ""):
        for cure, codes in _CURES.items():
            if code.startswith(codes):
                return cure
    return "Reading the source database failed."


_CURES = {
    "A value in the source database does not fit what its view, the declaration or the .sql file makes of "
    "it, such as a cast or a division: correct the value, or what is made of it.": (
        "22", "error 1265", "error 1292", "error 1367", "error 1411", "error 1525", "error 1690",
        "error 3141",
    ),
    "A function, view or trigger of the source database refused to go on: ask who maintains it.": (
        "P0", "38", "39", "error 1644",
    ),
    "A foreign table of the source database could not be read: look at the server that it names.": (
        "HV", "error 1296", "error 1429", "error 1430",
    ),
    "The source database does not understand the query: run the .sql file or view of this export in a client "
    "of the database.": (
        "42", "error 1052", "error 1055", "error 1056", "error 1060", "error 1064", "error 1066",
        "error 1111", "error 1140", "error 1221", "error 1222", "error 1241", "error 1247",
        "error 1248", "error 1305", "error 1582", "SQLITE_ERROR",
    ),
    "A view of the source database is broken: it names a user, table or column that does not exist, or that "
    "its owner may not read. Have it created again.": (
        "error 1356", "error 1449",
    ),
    "The source database lacks a feature that the view or .sql file of this export uses: export one without "
    "it, or have the feature installed.": (
        "0A", "error 1235", "error 1289",
    ),
    "The source database is damaged: its administrator has to check it, and to restore it from a backup.": (
        "XX001", "XX002", "SQLITE_CORRUPT",
    ),
}  # fmt: skip
"""Cures of errors that only their code tells, by the beginnings of the codes."""
_SQLITE_VALUES = ("malformed JSON", "JSON path", "bad JSON path", "integer overflow")
"""Beginnings of SQLite's messages about values; their code is that of syntax errors, SQLITE_ERROR."""

_KINDS = {
    Fault.LOST: SourceUnavailableError,
    Fault.BUSY: SourceUnavailableError,
    Fault.CHARACTER: UnknownCharacterError,
}


def _why_not(lowered: str, url: sa.URL | None) -> str:
    file = None if url is None else sqlite_file(url)
    if file is not None and not file.is_file():
        return "there is no such file; correct EXPORT_SOURCE_URL"
    if _NO_DATABASE.search(lowered):
        return "its server has no database of this name; correct EXPORT_SOURCE_URL"
    return "check EXPORT_SOURCE_URL and that it is running"
