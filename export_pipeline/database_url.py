"""SQLAlchemy URLs of databases, and the file that a SQLite URL names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import sqlalchemy as sa

from export_pipeline.redaction import remember_credentials

_URI_OPTIONS = frozenset({"mode", "cache", "immutable", "vfs", "nolock", "psow", "modeof"})
_DRIVER_OPTIONS = frozenset(
    {"uri", "timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
)


def parse_database_url(text: str) -> sa.URL:
    """Parse a database URL. The `database` of a SQLite URL becomes the path of its file.

    The path is taken literally: `#`, `%` and `?` are ordinary characters of a file name. A `?` begins the
    options only if known options follow (`?timeout=5`). Escapes such as `%41` are decoded only if no file has
    the literal name, or in the form `file:/path/a.db?uri=true`.

    Raises:
        sqlalchemy.exc.ArgumentError: the string is not a database URL.
    """
    url = sa.make_url(text)
    if url.get_backend_name() != "sqlite":
        return url
    stands, options = _split(text.partition("://")[2].partition("/")[2])
    if not stands or stands == ":memory:" or options.get("mode") == "memory":
        return url
    if "uri" in options and stands.startswith("file:"):
        path = unquote(urlsplit(stands).path)
        if path == ":memory:":
            return url
    else:
        path = stands if os.path.exists(stands) or not os.path.exists(unquote(stands)) else unquote(stands)
    return url.set(database=path).set(query={k: v for k, v in options.items() if k != "uri"})


def _split(rest: str) -> tuple[str, dict[str, str]]:
    """Split the part after `sqlite:///` into the path and the options."""
    path, mark, query = rest.rpartition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    are_options = mark and options and options.keys() <= _KNOWN and not os.path.exists(rest)
    return (path, options) if are_options else (rest, {})


_KNOWN = _URI_OPTIONS | _DRIVER_OPTIONS


def sqlite_file(url: sa.URL) -> Path | None:
    """Return the file of a parsed SQLite URL; None for an in-memory or non-SQLite database."""
    if url.get_backend_name() != "sqlite" or "uri" in url.query or url.query.get("mode") == "memory":
        return None
    return None if not url.database or url.database == ":memory:" else Path(url.database)


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file with any name."""
    url = f"sqlite:///{file}"
    return (
        url if parse_database_url(url).database == str(file) else f"sqlite:///file:{_quoted(file)}?uri=true"
    )


def openable(url: sa.URL, *, read_only: bool = False) -> sa.URL:
    """Return the URL that opens the database of a parsed URL.

    With `read_only`, SQLite rejects writes and never creates the file.
    """
    file = sqlite_file(url)
    if file is None or not (read_only or _URI_OPTIONS & url.query.keys()):
        return url
    mode = {"mode": "ro"} if read_only else {}
    return url.set(database=f"file:{_quoted(file)}", query={**url.query, **mode, "uri": "true"})


def _quoted(file: Path) -> str:
    return quote(os.fsencode(file.absolute()))


def check_database_url(url: str) -> None:
    """Check that a string is a database URL in which the end of the password is unambiguous.

    Raises:
        ValueError: it is not; the message repeats no part of the URL.
    """
    try:
        parsed = parse_database_url(url)
    except (sa.exc.ArgumentError, ValueError):  # the latter for an invalid port
        raise ValueError(
            "is not a database URL such as postgresql://user:password@host:5432/database"
        ) from None
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        raise ValueError("holds an @ too many; write one of the user or password as %40, and a / as %2F")


def dagster_url(url: str) -> str:
    """Return the value of DAGSTER_POSTGRES_URL in a form that Dagster can use.

    SQLAlchemy 2.1 uses psycopg 3 for a URL without a driver, and its parameters fail in Dagster's NOTIFY.

    Raises:
        ValueError: the value is not a database URL; the message repeats no part of it.
    """
    try:
        check_database_url(url)
    except ValueError as error:
        raise ValueError(f"DAGSTER_POSTGRES_URL: {error}") from None
    remember_credentials(url)
    scheme, _, rest = url.partition("://")
    is_postgres = scheme.partition("+")[0] in ("postgresql", "postgres")
    return f"postgresql+psycopg2://{rest}" if is_postgres else url
