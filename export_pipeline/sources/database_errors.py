"""What databases say of failures, as one line that says what to do."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from export_pipeline.database_url import sqlite_file
from export_pipeline.sources.snapshot import SourceError, SourceUnavailableError


@contextmanager
def readable_errors() -> Iterator[None]:
    """A database's errors in the block as SourceError, one line without secrets."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise readable(error.orig or error) from error
    except sqlite3.Error as error:
        raise readable(error) from error


_UNREACHABLE = ("connect", "unable to open database", "database is locked", "terminating", "starting up")
_NO_DATABASE = re.compile(r'database "[^"]*" does not exist|unknown database')
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")


def readable(error: BaseException, url: sa.URL | None = None) -> SourceError:
    """A database's error as one line without secrets, with what to do where that is known."""
    text = _PASSWORD.sub(r"\1***@", " ".join(str(error).split()))
    text = text.partition(" Query was: ")[0]
    where = f" ({url.render_as_string(hide_password=True)})" if url is not None else ""
    lowered = text.lower()
    if "statement timeout" in lowered or "interrupted" in lowered:
        advice = (
            "The query took longer than EXPORT_STATEMENT_TIMEOUT_SECONDS; raise it or export less at once."
        )
    elif "password authentication" in lowered:
        advice = "The user or password in EXPORT_SOURCE_URL is wrong."
    elif any(sign in lowered for sign in _UNREACHABLE):
        advice = f"The source database cannot be reached: {_why_not(lowered, url)}."
        return SourceUnavailableError(f"{advice}{where} Details: {text[:500]}")
    elif "no such table" in lowered or "does not exist" in lowered or "no such column" in lowered:
        advice = (
            "The source database lacks a table or column this export needs; was the application migrated?"
        )
    else:
        advice = "Reading the source database failed."
    return SourceError(f"{advice}{where} Details: {text[:500]}")


def _why_not(lowered: str, url: sa.URL | None) -> str:
    file = None if url is None else sqlite_file(url)
    if file is not None and not file.is_file():
        return "there is no such file; correct EXPORT_SOURCE_URL"
    if _NO_DATABASE.search(lowered):
        return "its server has no database of this name; correct EXPORT_SOURCE_URL"
    return "check EXPORT_SOURCE_URL and that it is running"
