"""The Dagster instance of this deployment: on PostgreSQL if DAGSTER_POSTGRES_URL is set, else on SQLite."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import unquote

from export_pipeline.database_url import dagster_url
from export_pipeline.project import shared_file
from export_pipeline.settings import SettingsError

_ROOM_BYTES = 1 << 20
"""Free space that SQLite needs. On a full disk it cannot create its side files, so even reads fail."""


def prepare_home() -> Path:
    """Set DAGSTER_HOME to a folder with the right dagster.yaml, and return the folder.

    A dagster.yaml cannot choose its storage conditionally. So there are two, and this installs one of them.
    A custom dagster.yaml in DAGSTER_HOME (one without our first line) is not overwritten.

    Raises:
        SettingsError: DAGSTER_POSTGRES_URL is invalid, its database is unavailable, the folder cannot be
            written, or Dagster would keep its SQLite files in another folder.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or Path.cwd() / ".dagster_home").absolute()
    if not os.environ.get("DAGSTER_POSTGRES_URL") and unquote(f"{home}".partition("?")[0]) != f"{home}":
        raise SettingsError(
            f"DAGSTER_HOME: Dagster cannot keep its SQLite files in {home}, as it reads ? and % in the path "
            "as parts of a URL; name a folder without them"
        )
    os.environ["DAGSTER_HOME"] = str(home)
    url = os.environ.get("DAGSTER_POSTGRES_URL")
    if url:
        try:
            url = os.environ["DAGSTER_POSTGRES_URL"] = dagster_url(url)  # for a custom dagster.yaml, too
        except ValueError as error:
            raise SettingsError(str(error)) from None
        _must_connect(url)
    target = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text().startswith(_OURS):
            file = shared_file("dagster-postgres.yaml" if url else "dagster.yaml")
            target.write_text(_OURS + file.read_text())
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(bytes(_ROOM_BYTES))
    except OSError as error:
        raise SettingsError(
            f"DAGSTER_HOME: the folder {home} cannot be written: {error.strerror or error}. Free some space "
            "there, let this user write to it, or name another folder."
        ) from None
    return home


def _must_connect(url: str) -> None:
    """Connect to Dagster's database, to report a failure in one line; Dagster's own report is a hundred.

    Raises:
        SettingsError: the database cannot be reached.
    """
    import sqlalchemy as sa

    try:
        engine = sa.create_engine(
            url, poolclass=sa.NullPool, connect_args={"connect_timeout": 10}, hide_parameters=True
        )
        engine.connect().close()
    except sa.exc.SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise SettingsError(f"DAGSTER_POSTGRES_URL: the database cannot be reached: {reason}") from error


_OURS = "# Written by export-pipeline at each start; without this line the file is yours and stays.\n"
