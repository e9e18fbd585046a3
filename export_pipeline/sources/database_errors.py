"""Translates database errors into one line that says what to do."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from export_pipeline.database_faults import Fault, classify_fault, quotes_data, sqlstate_of
from export_pipeline.database_url import sqlite_file
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate database errors in the block into SourceError: one line, without secrets."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise describe_error(error.orig or error) from error
    except sqlite3.Error as error:
        raise describe_error(error) from error


class UnknownCharacterError(SourceError):
    """Raised when a string cannot be converted between the database's encoding and UTF-8."""


_NO_DATABASE = re.compile(r'database "[^"]*" does not exist|unknown database')
_ADVICE = {
    Fault.BUSY: "The source database could not do it now: it was locked, full, or had too much to do; of a "
    "replica raise max_standby_streaming_delay.",
    Fault.TIMEOUT: "The query took longer than EXPORT_STATEMENT_TIMEOUT_SECONDS, or somebody canceled it; "
    "raise it or export less at once.",
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
    advice = _ADVICE.get(fault, "Reading the source database failed.")
    if fault is Fault.LOST:
        advice = f"The source database cannot be reached: {_why_not(text.lower(), url)}."
    elif fault is Fault.DENIED and "row-level security" in text:
        advice = _ROW_SECURITY
    kind = _KINDS.get(fault, SourceError)
    return kind(f"{advice}{where} Details: {text[:500]}")


def _without_values(error: BaseException) -> str:
    """Return an error's text without values of rows and without the query, as it is kept longer than rows."""
    if not quotes_data(error):
        text = " ".join(str(error).split()).partition(" Query was: ")[0]
        return _EXCERPT.sub("", text)
    if isinstance(error, sqlite3.Error):
        return f"{str(error).partition(' with text ')[0]}; {_NOT_SHOWN}"
    is_numbered = len(error.args) > 1  # by MySQL
    words, code = (error.args[1], error.args[0]) if is_numbered else (str(error), sqlstate_of(error))
    shown = _QUOTE.split(str(words).partition("\n")[0])[0].strip().rstrip(":")
    return f"{shown} … ({code}); {_NOT_SHOWN}"


_NOT_SHOWN = "the value is not shown, the database's own log may have it."
_QUOTE = re.compile("[\"'`«»„“”‘’]")
_EXCERPT = re.compile(r" \w+ \d+: .* \^(?= |$)")
"""The line of a query at fault, as in "LINE 1: SELECT … ^"; its first word is in the server's language."""

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
