"""SQLAlchemy URLs of databases, and the one file that a SQLite URL names."""

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
    """Return a URL; the `database` of a SQLite one is the path of its file.

    The path is taken as it stands: `#`, `%` and `?` are characters of a file's name like others. A `?` begins
    options only where known ones follow (`?timeout=5`). Where there is no file of that name, `%41` is read as
    in other URLs; so it is in the form `file:/path/a.db?uri=true`.

    Raises:
        sqlalchemy.exc.ArgumentError: the text is not a database URL.
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
    """Split what follows `sqlite:///` into the path and the options."""
    path, mark, query = rest.rpartition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    are_options = mark and options and options.keys() <= _KNOWN and not os.path.exists(rest)
    return (path, options) if are_options else (rest, {})


_KNOWN = _URI_OPTIONS | _DRIVER_OPTIONS


def sqlite_file(url: sa.URL) -> Path | None:
    """Return the file of a parsed SQLite URL; None for a database in memory or of another kind."""
    if url.get_backend_name() != "sqlite" or "uri" in url.query or url.query.get("mode") == "memory":
        return None
    return None if not url.database or url.database == ":memory:" else Path(url.database)


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file of any name."""
    url = f"sqlite:///{file}"
    return (
        url if parse_database_url(url).database == str(file) else f"sqlite:///file:{_quoted(file)}?uri=true"
    )


def openable(url: sa.URL, *, read_only: bool = False) -> sa.URL:
    """Return the URL to open a parsed URL's database with.

    Read only, SQLite itself refuses a write and never makes the file.
    """
    file = sqlite_file(url)
    if file is None or not (read_only or _URI_OPTIONS & url.query.keys()):
        return url
    mode = {"mode": "ro"} if read_only else {}
    return url.set(database=f"file:{_quoted(file)}", query={**url.query, **mode, "uri": "true"})


def _quoted(file: Path) -> str:
    return quote(os.fsencode(file.absolute()))


def check_database_url(url: str) -> None:
    """Refuse what is not a database URL, or is one in which nobody can tell the password's end.

    Raises:
        ValueError: the message repeats nothing of the URL.
    """
    try:
        parsed = parse_database_url(url)
    except (sa.exc.ArgumentError, ValueError):  # the latter for a port that is none
        raise ValueError(
            "is not a database URL such as postgresql://user:password@host:5432/database"
        ) from None
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        raise ValueError("holds an @ too many; write one of the user or password as %40, and a / as %2F")


def dagster_url(url: str) -> str:
    """Return DAGSTER_POSTGRES_URL as Dagster can use it.

    SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, whose parameters fail in Dagster's NOTIFY.

    Raises:
        ValueError: it is no database URL; the message repeats nothing of it.
    """
    try:
        check_database_url(url)
    except ValueError as error:
        raise ValueError(f"DAGSTER_POSTGRES_URL: {error}") from None
    remember_credentials(url)
    scheme, _, rest = url.partition("://")
    is_postgres = scheme.partition("+")[0] in ("postgresql", "postgres")
    return f"postgresql+psycopg2://{rest}" if is_postgres else url
